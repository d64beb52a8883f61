//! A thousand watchers on one stream.

use proto::etcdserverpb::WatchCreateRequest;
use proto::etcdserverpb::watch_request::RequestUnion;

use super::{Watching, at, on_key, on_range};
use crate::both::{same, soon};

const WATCHERS: i64 = 1000;

#[test]
fn each_hears_of_what_concerns_it_once() {
    same(&[], async |talk| {
        let mut watching = Watching::open(&talk.grpc).await;
        for number in 1..=WATCHERS {
            let request = match number % 3 {
                0 => on_key("shared"),
                1 => on_range("s", "t"),
                _ => on_key(&format!("own/{number}")),
            };
            let request = WatchCreateRequest { watch_id: number, ..request };
            watching.send(RequestUnion::CreateRequest(request));
        }
        for number in 1..=WATCHERS {
            let created = watching.next().await;
            assert!(created.created && created.watch_id == number, "{created:?}");
        }
        let shared = talk.put("shared", "1").await;
        let mut heard = Vec::new();
        for _ in 0..WATCHERS / 3 * 2 + 1 {
            let response = watching.next().await;
            assert!(at(&response) == shared && response.events.len() == 1, "{response:?}");
            heard.push(response.watch_id);
        }
        heard.sort_unstable();
        talk.note("heard of the shared key", heard);
        watching.note_silence(talk).await;
        for number in (2..=WATCHERS).step_by(3) {
            talk.put(&format!("own/{number}"), "1").await;
            let response = watching.next().await;
            assert!(response.watch_id == number && response.events.len() == 1, "{response:?}");
        }
        for number in 1..=WATCHERS {
            watching.cancel(number);
        }
        for number in 1..=WATCHERS {
            let canceled = watching.next().await;
            assert!(canceled.canceled && canceled.watch_id == number, "{canceled:?}");
        }
        talk.put("shared", "2").await;
        watching.note_silence(talk).await;
    });
}

#[test]
fn a_hundred_streams_hear_the_same() {
    same(&[], async |talk| {
        let mut streams = Vec::new();
        for _ in 0..100 {
            let mut watching = Watching::open(&talk.grpc).await;
            watching.create(on_range("a", "b")).await;
            streams.push(watching);
        }
        let mut last = 0;
        for value in 0..20 {
            last = talk.put("a", &value.to_string()).await;
        }
        let mut told = Vec::new();
        for watching in &mut streams {
            told.push(soon("the events of a stream", watching.events_until(0, last)).await);
        }
        assert!(told.iter().all(|events| *events == told[0]));
        talk.note("told", &told[0]);
    });
}
