//! Where a watcher starts: now, in the past, in the future, or where there is nothing any more.

use proto::etcdserverpb::WatchCreateRequest;

use super::{Watching, on_all, on_key};
use crate::both::{Talk, put_op, same};

/// Revisions 2 to 8.
async fn some_history(talk: &mut Talk) {
    for value in ["1", "2", "3"] {
        talk.put("a", value).await;
        talk.put("b", value).await;
    }
    talk.delete("a", "").await;
}

fn from(start_revision: i64, request: WatchCreateRequest) -> WatchCreateRequest {
    WatchCreateRequest { start_revision, ..request }
}

#[test]
fn now() {
    same(&[], async |talk| {
        some_history(talk).await;
        let mut watching = Watching::open(&talk.grpc).await;
        for start_revision in [0, 9] {
            let created = watching.create(from(start_revision, on_key("a"))).await;
            talk.note("created", created);
        }
        talk.put("b", "4").await;
        talk.put("a", "4").await;
        watching.note_next(talk, 2).await;
        watching.note_silence(talk).await;
    });
}

#[test]
fn in_the_past() {
    same(&[], async |talk| {
        some_history(talk).await;
        for start_revision in 1..=9 {
            let mut watching = Watching::open(&talk.grpc).await;
            for request in [on_key("a"), on_key("b"), on_all()] {
                let created = watching.create(from(start_revision, request)).await;
                talk.note("created", created);
            }
            let last = talk.txn(vec![put_op("a", "last"), put_op("b", "last")]).await;
            for watch_id in 0..3 {
                let events = watching.events_until(watch_id, last).await;
                talk.note("events", events);
            }
            watching.note_silence(talk).await;
        }
    });
}

#[test]
fn in_the_future() {
    same(&[], async |talk| {
        let revision = talk.put("a", "now").await;
        let mut watching = Watching::open(&talk.grpc).await;
        for ahead in [1, 2, 4, i64::MAX - 100] {
            let created = watching.create(from(revision + ahead, on_key("a"))).await;
            talk.note("created", created);
        }
        for value in ["1", "2", "3"] {
            talk.put("a", value).await;
        }
        // 1 and 2 ahead have seen three and two of them, 4 ahead nothing.
        watching.note_next(talk, 5).await;
        watching.note_silence(talk).await;
        talk.put("a", "4").await;
        watching.note_next(talk, 3).await;
        watching.note_silence(talk).await;
    });
}

#[test]
fn where_all_is_compacted() {
    same(&[], async |talk| {
        some_history(talk).await;
        talk.compact(6).await;
        for start_revision in [1, 5, 6, 7] {
            let mut watching = Watching::open(&talk.grpc).await;
            let watch_id = 40;
            let request = WatchCreateRequest { watch_id, ..from(start_revision, on_all()) };
            let created = watching.create(request).await;
            talk.note("created", created);
            if start_revision < 6 {
                watching.note_next(talk, 1).await;
                // Is it still there for a cancel, and is its id free?
                watching.cancel(watch_id);
                let again = WatchCreateRequest { watch_id, ..on_key("again") };
                let created = watching.create(again).await;
                talk.note("created again", created);
            } else {
                let events = watching.events_until(watch_id, 8).await;
                talk.note("events", events);
            }
            watching.note_silence(talk).await;
        }
    });
}

#[test]
fn before_all_revisions() {
    same(&[], async |talk| {
        let mut watching = Watching::open(&talk.grpc).await;
        for start_revision in [-1, i64::MIN] {
            let created = watching.create(from(start_revision, on_key("a"))).await;
            talk.note("created", created);
        }
        talk.put("a", "1").await;
        watching.note_silence(talk).await;
    });
}
