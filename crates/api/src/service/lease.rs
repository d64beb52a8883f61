//! `etcdserverpb.Lease`: keys that go when their owner does.

use std::sync::Arc;

use bytes::Bytes;
use node::Need;
use proto::etcdserverpb::{
    InternalRaftRequest, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseStatus,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};
use state::LeaseId;

use super::{Services, decode, decode_received, encode, kv};
use crate::rpc::{self, Caller, Replies, Requests};
use crate::status::Status;
use crate::trace;

pub(super) async fn grant(
    services: Arc<Services>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let mut request: LeaseGrantRequest = decode(request)?;
    services.node.check_quota(state::lease_cost()).await?;
    if request.id == 0 {
        request.id = services.node.next_lease_id();
    }
    let caller = caller.within("lease_grant", || {
        vec![trace::number("id", request.id), trace::number("ttl", request.ttl)]
    });
    services.user(&caller).await?;
    let proposal = InternalRaftRequest { lease_grant: Some(request), ..Default::default() };
    kv::propose(&services, &caller, proposal).await
}

pub(super) async fn revoke(
    services: Arc<Services>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let request: LeaseRevokeRequest = decode(request)?;
    let caller = caller.within("lease_revoke", || vec![trace::number("id", request.id)]);
    let proposal = InternalRaftRequest { lease_revoke: Some(request), ..Default::default() };
    kv::propose(&services, &caller, proposal).await
}

/// One answer for each message, in their order. A lease that is gone is answered with TTL 0.
pub(super) async fn keep_alive(
    services: Arc<Services>,
    caller: Caller,
    mut requests: Box<dyn Requests>,
    mut replies: Box<dyn Replies>,
) -> Result<(), Status> {
    while let Some(request) = rpc::next(&mut *requests).await {
        let request: LeaseKeepAliveRequest = decode_received(request?)?;
        // The header is taken before: it must not promise more than the renewal saw.
        let header = services.node.header();
        let keys = Need::WriteKeysOf(LeaseId(request.id));
        services.permit_user(&caller, keys).await?;
        let renewal = caller.span.as_ref();
        let renewal =
            renewal.map(|span| span.child("lease_renew", vec![trace::number("id", request.id)]));
        let ttl = services.node.renew_lease(request.id).await?.unwrap_or(0);
        drop(renewal);
        let reply = LeaseKeepAliveResponse { header: Some(header), id: request.id, ttl };
        rpc::send(&mut *replies, encode(&reply)).await?;
    }
    Ok(())
}

pub(super) async fn time_to_live(
    services: Arc<Services>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let request: LeaseTimeToLiveRequest = decode(request)?;
    let header = Some(services.node.header());
    let permitted = match request.keys {
        true => services.permit(&caller, Need::ReadKeysOf(LeaseId(request.id))).await?,
        false => None,
    };
    let found = services.node.lease_time_to_live(request.id, request.keys).await?;
    services.still_holds(permitted)?;
    let Some(lease) = found else {
        let gone =
            LeaseTimeToLiveResponse { header, id: request.id, ttl: -1, ..Default::default() };
        return Ok(encode(&gone));
    };
    Ok(encode(&LeaseTimeToLiveResponse {
        header,
        id: request.id,
        ttl: lease.remaining_seconds,
        granted_ttl: lease.granted_seconds,
        keys: lease.keys,
    }))
}

pub(super) async fn leases(
    services: Arc<Services>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let LeaseLeasesRequest {} = decode(request)?;
    services.permit(&caller, Need::ReadKeysOfAll).await?;
    let leases = services.node.leases().into_iter().map(|id| LeaseStatus { id }).collect();
    Ok(encode(&LeaseLeasesResponse { header: Some(services.node.header()), leases }))
}
