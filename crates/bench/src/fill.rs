//! The keys that a load needs before it can begin.

use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{
    PutRequest, RangeRequest, RangeResponse, RequestOp, TxnRequest, TxnResponse,
};

use crate::grpc::Connection;
use crate::options::Workload;
use crate::requests::{KEYS, MANY_KEYS, RANGE, TXN, key, value};

/// What a transaction may hold at most: servers allow 128 operations and 1.5 MiB.
const OPERATIONS: u64 = 128;
const BYTES: u64 = 1 << 20;

/// Keys that a workload reads or writes.
pub(crate) fn keys_of(workload: Workload) -> u64 {
    match workload {
        Workload::RangeLimited => MANY_KEYS,
        Workload::Watch | Workload::LeaseKeepalive => 0,
        _ => KEYS,
    }
}

/// Puts the keys, many in a transaction, over all connections at once.
pub(crate) async fn fill(
    connections: &[Connection],
    keys: u64,
    value_size: usize,
) -> anyhow::Result<()> {
    let batch = (BYTES / (value_size as u64 + 64)).clamp(1, OPERATIONS);
    let mut tasks = tokio::task::JoinSet::new();
    for (lane, connection) in connections.iter().enumerate() {
        let mut txn = connection.method(TXN)?;
        let (lane, step) = (lane as u64 * batch, connections.len() as u64 * batch);
        tasks.spawn_local(async move {
            for first in (lane..keys).step_by(usize::try_from(step)?) {
                let puts = (first..keys.min(first + batch)).map(|number| RequestOp {
                    request: Some(Request::RequestPut(PutRequest {
                        key: key(number),
                        value: value(number, value_size),
                        ..PutRequest::default()
                    })),
                });
                let request = TxnRequest { success: puts.collect(), ..TxnRequest::default() };
                txn.ask::<TxnResponse>(&request).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    // A member that is behind has them, too, once it has answered this.
    for connection in connections {
        let request = RangeRequest { key: key(0), ..RangeRequest::default() };
        connection.method(RANGE)?.ask::<RangeResponse>(&request).await?;
    }
    Ok(())
}
