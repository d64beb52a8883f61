//! `v3lockpb.Lock`: who has put a key under a name first owns the lock of that name.

use std::sync::Arc;

use bytes::Bytes;
use proto::etcdserverpb::TxnRequest;
use proto::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};

use super::claim::{self, Calls, Claim};
use super::{Services, decode, encode};
use crate::rpc::Caller;
use crate::status::{Code, Status};

/// The revision in the answer grows from owner to owner: it can fence off those who were before.
pub(super) async fn lock(
    services: Arc<Services>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let request: LockRequest = decode(request)?;
    let calls = Calls::new(services, caller);
    let lease = calls.lease(request.lease).await?;
    let prefix = claim::prefix_of(&request.name);
    let key = claim::key_of(&prefix, lease);
    let owner = || claim::get(claim::by_creation(&prefix));
    let reply = calls
        .txn(&TxnRequest {
            compare: vec![claim::created_at(&key, 0)],
            success: vec![claim::put(&key, Bytes::new(), lease), owner()],
            failure: vec![claim::get(claim::get_key(&key)), owner()],
        })
        .await?;
    // Who asks again with the same lease has its place already.
    let mine = match claim::first_row(&reply.responses, 0) {
        Some(mine) if !reply.succeeded => mine.create_revision,
        _ => claim::revision_of(reply.header.as_ref()),
    };
    let owner = claim::first_row(&reply.responses, 1);
    if owner.is_none_or(|owner| owner.create_revision == mine) {
        return Ok(encode(&LockResponse { header: reply.header, key }));
    }
    let waiting = Claim::new(calls.clone(), key.clone(), mine);
    if let Err(status) = calls.wait_for_older(&prefix, mine).await {
        waiting.give_up().await;
        return Err(status);
    }
    let reply = match calls.range(&claim::get_key(&key)).await {
        Ok(reply) => reply,
        Err(status) => {
            waiting.give_up().await;
            return Err(status);
        }
    };
    waiting.keep();
    if reply.kvs.is_empty() {
        return Err(Status::new(Code::Unknown, "mutex: session is expired"));
    }
    Ok(encode(&LockResponse { header: reply.header, key }))
}

/// Whoever knows the key may remove it, also where it is gone already.
pub(super) async fn unlock(
    services: Arc<Services>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let request: UnlockRequest = decode(request)?;
    let reply = Calls::new(services, caller).delete(request.key).await?;
    Ok(encode(&UnlockResponse { header: reply.header }))
}
