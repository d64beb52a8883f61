//! Responses that are larger than the limit of a message.

use proto::etcdserverpb::{WatchCreateRequest, WatchResponse};
use proto::{Message as _, mvccpb::Event};

use super::{Watching, at, on_range, revision};
use crate::both::{put_op, same};

const MAX_REQUEST_BYTES: usize = 400_000;
const FLAG: &str = "--max-request-bytes=400000";
/// The limit of a response is that of a request with what etcd adds.
const LIMIT: usize = MAX_REQUEST_BYTES + 512 * 1024;

#[test]
fn come_in_pieces_to_who_asks_for_that() {
    same(&[FLAG], async |talk| {
        let mut watching = Watching::open(&talk.grpc).await;
        for fragment in [false, true] {
            let request = on_range("a", "z");
            watching.create(WatchCreateRequest { fragment, prev_kv: true, ..request }).await;
        }
        // Three times what is put is told: large before, and large after.
        for value in ["1", "2"] {
            let value = value.repeat(3900);
            talk.txn((0..100).map(|key| put_op(format!("k{key:02}"), value.clone())).collect())
                .await;
            for watch_id in [0, 1] {
                let pieces = pieces(&mut watching, watch_id).await;
                note_pieces(talk, watch_id, &pieces);
            }
        }
        watching.note_silence(talk).await;
    });
}

#[test]
fn one_event_is_never_cut() {
    same(&[FLAG], async |talk| {
        let mut watching = Watching::open(&talk.grpc).await;
        let (fragment, prev_kv) = (true, true);
        watching.create(WatchCreateRequest { fragment, prev_kv, ..on_range("a", "z") }).await;
        for value in ["1", "2"] {
            talk.put("k", &value.repeat(399_000)).await;
            let pieces = pieces(&mut watching, 0).await;
            note_pieces(talk, 0, &pieces);
        }
    });
}

/// Of the past, any number of revisions may be in a response.
#[test]
fn the_past_comes_in_pieces_too() {
    same(&[FLAG], async |talk| {
        let mut last = 0;
        for number in 0..30 {
            last = talk.put(&format!("k{number:02}"), &"v".repeat(100_000)).await;
        }
        let mut watching = Watching::open(&talk.grpc).await;
        let (fragment, start_revision) = (true, 1);
        watching
            .create(WatchCreateRequest { fragment, start_revision, ..on_range("a", "z") })
            .await;
        let mut events: Vec<Event> = Vec::new();
        while events.last().is_none_or(|event| revision(event) < last) {
            for piece in pieces(&mut watching, 0).await {
                assert!(piece.encoded_len() <= LIMIT, "{} bytes", piece.encoded_len());
                events.extend(piece.events);
            }
        }
        let told: Vec<_> = events.iter().map(revision).collect();
        talk.note("told", told);
        watching.note_silence(talk).await;
    });
}

/// The pieces of the next response of a watcher.
async fn pieces(watching: &mut Watching, watch_id: i64) -> Vec<WatchResponse> {
    let mut pieces = Vec::new();
    loop {
        let piece = watching.next_that(|response| response.watch_id == watch_id).await;
        let more = piece.fragment;
        pieces.push(piece);
        if !more {
            return pieces;
        }
    }
}

fn note_pieces(talk: &mut crate::both::Talk, watch_id: i64, pieces: &[WatchResponse]) {
    let sizes: Vec<_> = pieces
        .iter()
        .map(|piece| (at(piece), piece.fragment, piece.events.len(), piece.encoded_len()))
        .collect();
    talk.note(&format!("pieces of {watch_id}"), sizes);
}
