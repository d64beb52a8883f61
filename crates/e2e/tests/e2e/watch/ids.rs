//! Who a watcher is: ids that are given, chosen, taken, free again, or nobody's.

use proto::etcdserverpb::WatchCreateRequest;

use super::{Watching, on_key};
use crate::both::same;

fn named(watch_id: i64, key: &str) -> WatchCreateRequest {
    WatchCreateRequest { watch_id, ..on_key(key) }
}

#[test]
fn are_given_or_chosen() {
    same(&[], async |talk| {
        let mut watching = Watching::open(&talk.grpc).await;
        for watch_id in [0, 2, 0, 0, 0, i64::MAX, 7, 0] {
            let created = watching.create(named(watch_id, "a")).await;
            talk.note(&format!("{watch_id} created"), created);
        }
        talk.put("a", "1").await;
        watching.note_next(talk, 8).await;
        watching.note_silence(talk).await;
    });
}

#[test]
fn are_refused_when_taken() {
    same(&[], async |talk| {
        let mut watching = Watching::open(&talk.grpc).await;
        for watch_id in [5, 5, 0, 0, 1] {
            let created = watching.create(named(watch_id, "a")).await;
            talk.note(&format!("{watch_id} created"), created);
        }
        talk.put("a", "1").await;
        watching.note_next(talk, 3).await;
        watching.note_silence(talk).await;
    });
}

#[test]
fn are_free_after_a_cancel() {
    same(&[], async |talk| {
        let mut watching = Watching::open(&talk.grpc).await;
        for watch_id in [0, 5, 0] {
            watching.create(named(watch_id, "a")).await;
        }
        for watch_id in [5, 0, 5, 77, -1] {
            watching.cancel(watch_id);
        }
        watching.note_next(talk, 2).await;
        watching.note_silence(talk).await;
        talk.put("a", "1").await;
        watching.note_next(talk, 1).await;
        for watch_id in [0, 5, 0] {
            let created = watching.create(named(watch_id, "b")).await;
            talk.note(&format!("{watch_id} created again"), created);
        }
        talk.put("b", "1").await;
        watching.note_next(talk, 3).await;
        watching.note_silence(talk).await;
    });
}

#[test]
fn may_be_negative_but_minus_one_is_nobody() {
    same(&[], async |talk| {
        let mut watching = Watching::open(&talk.grpc).await;
        let created = watching.create(named(-7, "a")).await;
        talk.note("created", created);
        talk.put("a", "1").await;
        watching.note_next(talk, 1).await;
        watching.cancel(-7);
        watching.note_next(talk, 1).await;
        watching.note_silence(talk).await;
    });
}

#[test]
fn nothing_comes_after_a_cancel() {
    same(&[], async |talk| {
        let mut watching = Watching::open(&talk.grpc).await;
        watching.create(on_key("a")).await;
        watching.cancel(0);
        watching.note_next(talk, 1).await;
        talk.put("a", "1").await;
        watching.note_silence(talk).await;
    });
}

#[test]
fn a_request_for_nothing_is_passed_over() {
    same(&[], async |talk| {
        let mut watching = Watching::open(&talk.grpc).await;
        watching.call.send_frame(0, &[]).unwrap();
        // A field that nobody knows.
        watching.call.send_frame(0, &[0x7a, 1, 0]).unwrap();
        watching.note_silence(talk).await;
        let created = watching.create(on_key("a")).await;
        talk.note("created", created);
    });
}
