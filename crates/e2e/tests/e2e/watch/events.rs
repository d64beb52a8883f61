//! What a watcher is told: which keys, which changes, and what was there before.

use proto::etcdserverpb::WatchCreateRequest;

use super::{Watching, on_all, on_key, on_range};
use crate::both::{delete_op, put_op, same};

#[test]
fn of_its_keys_only() {
    same(&[], async |talk| {
        let mut watching = Watching::open(&talk.grpc).await;
        let requests = [
            on_key("b"),
            // All keys, by two ways to say it.
            on_all(),
            on_range("", "\0"),
            // An empty key is the smallest one there can be.
            on_key(""),
            on_range("", "b"),
            on_range("b", "d"),
            on_range("b", "\0"),
            on_range("b", "b\0"),
            on_range("", "\0\0"),
            // There is nothing in these.
            on_range("b", "b"),
            on_range("c", "b"),
        ];
        for request in requests {
            let created = watching.create(request).await;
            talk.note("created", created);
        }
        for key in ["a", "b", "c", "d", "\0"] {
            talk.put(key, "v").await;
        }
        let last = talk.txn(["\0", "a", "b", "c", "d"].map(|key| put_op(key, "w")).into()).await;
        for watch_id in 0..9 {
            let events = watching.events_until(watch_id, last).await;
            talk.note(&format!("watcher {watch_id}"), events);
        }
        watching.note_silence(talk).await;
    });
}

#[test]
fn without_what_it_filters() {
    same(&[], async |talk| {
        let mut watching = Watching::open(&talk.grpc).await;
        // NOPUT is 0 and NODELETE is 1; 7 is nothing.
        for filters in [vec![], vec![0], vec![1], vec![0, 1], vec![7], vec![1, 1, 7]] {
            let request = WatchCreateRequest { filters, ..on_range("a", "z") };
            watching.create(request).await;
        }
        talk.put("a", "1").await;
        watching.note_next(talk, 4).await;
        talk.delete("a", "").await;
        watching.note_next(talk, 3).await;
        talk.put("b", "1").await;
        watching.note_next(talk, 4).await;
        talk.txn(vec![put_op("c", "1"), delete_op("b", "")]).await;
        watching.note_next(talk, 5).await;
        watching.note_silence(talk).await;
    });
}

#[test]
fn with_what_was_before() {
    same(&[], async |talk| {
        let first = talk.put("a", "0").await;
        let mut watching = Watching::open(&talk.grpc).await;
        let with = |start_revision| WatchCreateRequest {
            prev_kv: true,
            start_revision,
            ..on_range("a", "z")
        };
        watching.create(with(0)).await;
        watching.create(on_range("a", "z")).await;
        talk.put("a", "1").await;
        talk.put("b", "1").await;
        talk.delete("a", "").await;
        talk.put("a", "2").await;
        talk.txn(vec![put_op("a", "3"), delete_op("b", "")]).await;
        watching.note_next(talk, 10).await;
        let last = talk.put("b", "2").await;
        watching.note_next(talk, 2).await;
        // What was before may be compacted, or may have been at the compacted revision.
        for compacted in [first + 1, first + 2, last - 1] {
            talk.compact(compacted).await;
            let mut watching = Watching::open(&talk.grpc).await;
            watching.create(with(compacted)).await;
            let events = watching.events_until(0, last).await;
            talk.note("after a compaction", events);
        }
    });
}

#[test]
fn of_a_txn_at_once() {
    same(&[], async |talk| {
        for key in ["k1", "k2", "k3"] {
            talk.put(key, "v").await;
        }
        let mut watching = Watching::open(&talk.grpc).await;
        for request in [on_all(), on_key("k2"), on_range("k", "l"), on_key("other")] {
            watching.create(request).await;
        }
        talk.txn(vec![
            put_op("new", "1"),
            delete_op("k2", "l"),
            put_op("k1", "2"),
            put_op("a", "1"),
        ])
        .await;
        watching.note_next(talk, 3).await;
        talk.delete("\0", "\0").await;
        watching.note_next(talk, 2).await;
        // Nothing is changed by these.
        talk.delete("\0", "\0").await;
        talk.txn(vec![delete_op("k", "l")]).await;
        watching.note_silence(talk).await;
    });
}

#[test]
fn in_the_order_of_revisions() {
    same(&[], async |talk| {
        let mut watching = Watching::open(&talk.grpc).await;
        for request in [on_key("a"), on_range("a", "c"), on_key("b"), on_all()] {
            watching.create(request).await;
        }
        for value in 0..50 {
            talk.put(if value % 3 == 0 { "b" } else { "a" }, &value.to_string()).await;
        }
        watching.note_next(talk, 150).await;
        watching.note_silence(talk).await;
    });
}

#[test]
fn even_when_the_client_says_no_more() {
    same(&[], async |talk| {
        let mut watching = Watching::open(&talk.grpc).await;
        watching.create(on_key("a")).await;
        watching.call.close().unwrap();
        talk.put("a", "1").await;
        watching.note_next(talk, 1).await;
        watching.note_silence(talk).await;
    });
}

#[test]
fn of_keys_that_a_lease_took_along() {
    same(&[], async |talk| {
        use proto::etcdserverpb::{LeaseGrantRequest, LeaseRevokeRequest, PutRequest};
        let mut watching = Watching::open(&talk.grpc).await;
        watching.create(WatchCreateRequest { prev_kv: true, ..on_all() }).await;
        talk.ask(LeaseGrantRequest { ttl: 100, id: 9 }).await;
        for key in ["b", "a", "c"] {
            let request = PutRequest { key: key.into(), lease: 9, ..PutRequest::default() };
            talk.ask(request).await;
        }
        watching.note_next(talk, 3).await;
        talk.ask(LeaseRevokeRequest { id: 9 }).await;
        watching.note_next(talk, 1).await;
        watching.note_silence(talk).await;
    });
}
