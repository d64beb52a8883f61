//! A compaction under a watcher that is on its way through the past.

use e2e::Grpc;
use proto::etcdserverpb::WatchCreateRequest;

use super::{Watching, on_range, revision};
use crate::both::{Talk, same};

const PUTS: i64 = 600;

/// How far it has come by then is chance; but what it is told has no gap, and ends either with all
/// there is or with where it may go on.
#[test]
fn tells_without_a_gap_where_it_ends() {
    same(&[], async |talk| {
        let value = "v".repeat(10_000);
        for number in 0..PUTS {
            talk.put(&format!("k{}", number % 5), &value).await;
        }
        let last = PUTS + 1;
        for compacted in [200, 400, last] {
            let told = told_of_the_past(talk, compacted - 150, compacted).await;
            talk.note("without a gap", told);
        }
    });
}

async fn told_of_the_past(talk: &mut Talk, start_revision: i64, compacted: i64) -> bool {
    let last = PUTS + 1;
    // It has room for six events; the rest of the past is still to be read by the server.
    let narrow = Grpc::connect_with_windows(talk.member.address(), 65_535, 65_535).await.unwrap();
    let mut watching = Watching::open(&narrow).await;
    watching.create(WatchCreateRequest { start_revision, ..on_range("k", "l") }).await;
    talk.compact(compacted).await;
    let mut next = start_revision;
    while next <= last {
        let response = watching.next().await;
        for event in &response.events {
            assert_eq!(revision(event), next, "{}: a gap or a duplicate", talk.server.name);
            next += 1;
        }
        if response.canceled {
            assert_eq!(response.compact_revision, compacted, "{response:?}");
            return next < compacted;
        }
    }
    true
}
