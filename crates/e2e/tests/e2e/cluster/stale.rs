//! No read is stale that a member answers while it is sent a whole state.

use std::time::Duration;

use e2e::{Cluster, Grpc, Server};
use proto::etcdserverpb::{PutRequest, RangeRequest};

use super::alone;
use super::storm::SNAPSHOTS;

const READS: usize = 64;

/// An old leader that goes on is behind, of all that it needs only a snapshot is left, and it was
/// asked meanwhile.
#[test]
fn reads_that_wait_for_a_snapshot_see_what_is_in_it() {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    let mut cluster = Cluster::start("stale-snapshot", &[&pintle; 3], &SNAPSHOTS).unwrap();
    for round in 0..e2e::rounds(5) {
        let old = cluster.wait_for_leader().unwrap();
        let grpc = cluster.runtime().block_on(Grpc::connect(cluster.member(old).address()));
        let grpc = grpc.unwrap();
        cluster.pause(old).unwrap();
        let leader = cluster.wait_for_leader().unwrap();
        for _ in 0..300 {
            let put = PutRequest { key: "stale".into(), ..PutRequest::default() };
            cluster.call(leader, &put).unwrap();
        }
        let written = cluster.revision(leader).unwrap();
        let reads: Vec<_> =
            (0..READS).map(|_| cluster.runtime().spawn(read(grpc.clone()))).collect();
        cluster.resume(old).unwrap();
        for asked in reads {
            // Who is told nothing is told nothing stale.
            let Some(revision) = cluster.runtime().block_on(asked).unwrap() else { continue };
            assert!(
                revision >= written,
                "round {round}: {revision} was read, and {written} written"
            );
        }
        cluster.same_hash().unwrap();
    }
}

/// The revision that a linearizable read tells.
async fn read(grpc: Grpc) -> Option<i64> {
    let range = RangeRequest { key: "stale".into(), ..RangeRequest::default() };
    let reply =
        tokio::time::timeout(Duration::from_secs(10), grpc.call(&range)).await.ok()?.ok()?;
    Some(reply.header?.revision)
}
