//! Many watchers of the same keys are one at a member.

use std::time::Duration;

use e2e::{Client, Grpc, Member, Server};
use proto::etcdserverpb::WatchCreateRequest;
use proto::mvccpb::Event;

use super::{proxied, put_by};
use crate::watch::{Watching, on_key, on_range, revision};

const WATCHERS: usize = 100;
/// How long a member may take to hear that nobody watches any more.
const PATIENCE: Duration = Duration::from_secs(20);

fn watchers_at(member: &Member) -> f64 {
    let (_, page) = member.get("/metrics").expect("a page");
    let mut lines = page.lines();
    let value = lines.find_map(|line| line.strip_prefix("etcd_debugging_mvcc_watcher_total "));
    value.and_then(|value| value.parse().ok()).expect("it is there")
}

#[test]
fn a_hundred_watchers_are_one_at_the_member() {
    let Some(pintle) = Server::pintle() else { return };
    let (_scratch, member, proxy) = proxied(&pintle, &[]);
    Client::connect_to(proxy.address()).unwrap().block_on(async |grpc| {
        let before = put_by(grpc, "k", "0").await;
        let mut all = Vec::new();
        for _ in 0..WATCHERS {
            let mut watching = Watching::open(grpc).await;
            let created = watching.create(on_key("k")).await;
            assert_eq!(created.header.map(|header| header.revision), Some(before));
            all.push((watching, created.watch_id));
        }
        let last = put_by(grpc, "k", "1").await;
        for (watching, watch_id) in &mut all {
            let events = watching.events_until(*watch_id, last).await;
            assert_eq!(events.iter().map(revision).collect::<Vec<_>>(), [last]);
        }
        assert!((watchers_at(&member) - 1.0).abs() < 0.5);
        let shared = proxy.metric("etcd_grpc_proxy_watchers_coalescing_total");
        assert_eq!(shared, Some((WATCHERS - 1) as f64));
        let events = proxy.metric("etcd_grpc_proxy_events_coalescing_total");
        assert_eq!(events, Some((WATCHERS - 1) as f64));
        drop(all);
    });
    let left = e2e::until(PATIENCE, || (watchers_at(&member) < 0.5).then_some(()));
    assert!(left.is_some(), "a watcher stays at the member");
}

/// What a watcher is told with these wishes, of what was before and of what comes.
async fn told(grpc: &Grpc, request: WatchCreateRequest, last: i64) -> Vec<Event> {
    let mut watching = Watching::open(grpc).await;
    let watch_id = watching.create(request).await.watch_id;
    watching.events_until(watch_id, last).await
}

#[test]
fn each_has_its_wishes() {
    let Some(pintle) = Server::pintle() else { return };
    let (_scratch, _member, proxy) = proxied(&pintle, &[]);
    Client::connect_to(proxy.address()).unwrap().block_on(async |grpc| {
        let mut revisions = Vec::new();
        for key in ["a", "b", "c", "a"] {
            revisions.push(put_by(grpc, key, "v").await);
        }
        let [first, second, third, last] = revisions[..] else { panic!("four") };
        let from = |start_revision| WatchCreateRequest { start_revision, ..on_range("a", "d") };
        let prev_kv = WatchCreateRequest { prev_kv: true, ..from(third) };
        // One is there for all that begin later.
        let mut oldest = Watching::open(grpc).await;
        oldest.create(from(first)).await;
        let events = told(grpc, from(first), last).await;
        assert_eq!(events.iter().map(revision).collect::<Vec<_>>(), revisions);
        let events = told(grpc, from(second), last).await;
        assert_eq!(events.iter().map(revision).collect::<Vec<_>>(), revisions[1..]);
        assert!(events.iter().all(|event| event.prev_kv.is_none()), "{events:?}");
        let events = told(grpc, prev_kv, last).await;
        let before = |event: &Event| event.prev_kv.as_ref().map(|kv| kv.mod_revision);
        assert_eq!(events.iter().map(before).collect::<Vec<_>>(), [None, Some(first)]);
    });
}
