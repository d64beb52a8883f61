//! `grpc.health.v1.Health`: one service of the empty name, serving for as long as we do.

use std::sync::Arc;

use bytes::Bytes;
use proto::health::health_check_response::ServingStatus;
use proto::health::{HealthCheckRequest, HealthCheckResponse};

use super::{Services, decode, decode_received, encode};
use crate::rpc::{self, Caller, Replies, Requests};
use crate::status::{Code, Status};

pub(super) async fn check(
    _services: Arc<Services>,
    _caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let request: HealthCheckRequest = decode(request)?;
    if !request.service.is_empty() {
        return Err(Status::new(Code::NotFound, "unknown service"));
    }
    Ok(reply(ServingStatus::Serving))
}

pub(super) async fn watch(
    _services: Arc<Services>,
    _caller: Caller,
    mut requests: Box<dyn Requests>,
    mut replies: Box<dyn Replies>,
) -> Result<(), Status> {
    let Some(request) = rpc::next(&mut *requests).await else { return Ok(()) };
    let request: HealthCheckRequest = decode_received(request?)?;
    let known = request.service.is_empty();
    let status = if known { ServingStatus::Serving } else { ServingStatus::ServiceUnknown };
    rpc::send(&mut *replies, reply(status)).await?;
    // The status does not change while the process lives; the stream ends with its client.
    std::future::pending().await
}

fn reply(status: ServingStatus) -> Bytes {
    encode(&HealthCheckResponse { status: status as i32 })
}
