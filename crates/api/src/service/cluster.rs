//! `etcdserverpb.Cluster`: who the members are.

use std::sync::Arc;

use bytes::Bytes;
use proto::etcdserverpb::{MemberListRequest, MemberListResponse, ResponseHeader};

use super::{Services, decode, encode};
use crate::rpc::Caller;
use crate::status::Status;

pub(super) async fn member_list(
    services: Arc<Services>,
    _caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let request: MemberListRequest = decode(request)?;
    if request.linearizable {
        services.node.read_barrier().await?;
    }
    // Answers of this service carry no revision.
    let header = ResponseHeader { revision: 0, ..services.node.header() };
    Ok(encode(&MemberListResponse { header: Some(header), members: services.node.members() }))
}
