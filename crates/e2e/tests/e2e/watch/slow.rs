//! Who does not read costs others nothing, and loses nothing.

use e2e::Grpc;
use proto::etcdserverpb::WatchCreateRequest;

use super::{Watching, on_range, revision};
use crate::both::{same, wait_ms};

const PUTS: usize = 300;

#[test]
fn a_reader_that_sleeps_gets_all_of_it_later() {
    same(&[], async |talk| {
        // Windows so small that the server has to keep what is sent.
        let address = talk.member.address();
        let narrow = Grpc::connect_with_windows(address, 65_535, 65_535).await.unwrap();
        let mut slow = Watching::open(&narrow).await;
        slow.create(on_range("k", "l")).await;
        slow.create(WatchCreateRequest { prev_kv: true, ..on_range("k", "l") }).await;
        let mut fast = Watching::open(&talk.grpc).await;
        fast.create(on_range("k", "l")).await;
        let value = "v".repeat(20_000);
        let mut last = 0;
        for number in 0..PUTS {
            last = talk.put(&format!("k{}", number % 7), &value).await;
        }
        // The fast one has all of it while the slow one sleeps.
        let events = fast.events_until(0, last).await;
        let revisions: Vec<_> = events.iter().map(revision).collect();
        talk.note("told the fast one", &revisions);
        wait_ms(500).await;
        for (watch_id, prev_kv) in [(0, false), (1, true)] {
            let late = slow.events_until(watch_id, last).await;
            let told: Vec<_> = late.iter().map(revision).collect();
            assert_eq!(told, revisions, "{}: watcher {watch_id}", talk.server.name);
            let kvs = late.iter().zip(&events).all(|(late, event)| late.kv == event.kv);
            let before = late.iter().filter(|event| event.prev_kv.is_some()).count();
            talk.note("told the slow one", (kvs, prev_kv, before));
        }
        // It is as awake as any other from now on.
        let last = talk.put("k", "end").await;
        for watch_id in [0, 1] {
            let events = slow.events_until(watch_id, last).await;
            talk.note("told in the end", events);
        }
    });
}

#[test]
fn a_reader_that_goes_away_is_forgotten() {
    same(&[], async |talk| {
        let address = talk.member.address();
        for _ in 0..20 {
            let narrow = Grpc::connect_with_windows(address, 65_535, 65_535).await.unwrap();
            let mut slow = Watching::open(&narrow).await;
            slow.create(on_range("k", "l")).await;
            for _ in 0..5 {
                talk.put("k", &"v".repeat(100_000)).await;
            }
            slow.call.cancel();
        }
        let mut fast = Watching::open(&talk.grpc).await;
        fast.create(on_range("k", "l")).await;
        let last = talk.put("k", "end").await;
        let events = fast.events_until(0, last).await;
        talk.note("events", events);
    });
}
