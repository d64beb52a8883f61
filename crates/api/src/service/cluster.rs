//! `etcdserverpb.Cluster`: who the members are.

use std::sync::Arc;

use bytes::Bytes;
use proto::etcdserverpb::{
    MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
    MemberUpdateRequest, MemberUpdateResponse, ResponseHeader,
};

use super::{Services, decode, encode};
use crate::error;
use crate::rpc::Caller;
use crate::status::Status;

/// Answers of this service carry no revision.
fn header(services: &Services) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision: 0, ..services.node.header() })
}

pub(super) async fn member_list(
    services: Arc<Services>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let request: MemberListRequest = decode(request)?;
    if request.linearizable {
        services.node.read_barrier().await?;
    }
    services.user(&caller).await?;
    let members = services.node.members();
    Ok(encode(&MemberListResponse { header: header(&services), members }))
}

pub(super) async fn member_add(
    services: Arc<Services>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let request: MemberAddRequest = decode(request)?;
    let urls = state::check_peer_urls(&request.peer_urls).map_err(|_| error::MEMBER_BAD_URLS)?;
    services.admin(&caller).await?;
    let (member, members) = services.node.add_member(&urls, request.is_learner).await?;
    let header = header(&services);
    Ok(encode(&MemberAddResponse { header, member: Some(member), members }))
}

pub(super) async fn member_remove(
    services: Arc<Services>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let request: MemberRemoveRequest = decode(request)?;
    services.admin(&caller).await?;
    let members = services.node.remove_member(request.id).await?;
    Ok(encode(&MemberRemoveResponse { header: header(&services), members }))
}

pub(super) async fn member_update(
    services: Arc<Services>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let request: MemberUpdateRequest = decode(request)?;
    services.admin(&caller).await?;
    let members = services.node.update_member(request.id, &request.peer_urls).await?;
    Ok(encode(&MemberUpdateResponse { header: header(&services), members }))
}

pub(super) async fn member_promote(
    services: Arc<Services>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let request: MemberPromoteRequest = decode(request)?;
    services.admin(&caller).await?;
    let token = caller.credentials.token.or(caller.credentials.authorization);
    let members = services.node.promote_member(request.id, token).await?;
    Ok(encode(&MemberPromoteResponse { header: header(&services), members }))
}
