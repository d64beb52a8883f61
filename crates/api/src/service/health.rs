//! `grpc.health.v1.Health`: one service of the empty name, which stands for all.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proto::health::health_check_response::ServingStatus;
use proto::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};

use super::{Services, decode, decode_received, encode};
use crate::rpc::{self, Caller, Replies, Requests};
use crate::status::{Code, Status};

pub(super) async fn check(
    services: Arc<Services>,
    _caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let request: HealthCheckRequest = decode(request)?;
    if !request.service.is_empty() {
        return Err(Status::new(Code::NotFound, "unknown service"));
    }
    Ok(encode(&reply(status(*services.serving.borrow()))))
}

pub(super) async fn list(
    services: Arc<Services>,
    _caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let HealthListRequest {} = decode(request)?;
    let all = reply(status(*services.serving.borrow()));
    Ok(encode(&HealthListResponse { statuses: BTreeMap::from([(String::new(), all)]) }))
}

pub(super) async fn watch(
    services: Arc<Services>,
    _caller: Caller,
    mut requests: Box<dyn Requests>,
    mut replies: Box<dyn Replies>,
) -> Result<(), Status> {
    let Some(request) = rpc::next(&mut *requests).await else { return Ok(()) };
    let request: HealthCheckRequest = decode_received(request?)?;
    if !request.service.is_empty() {
        rpc::send(&mut *replies, encode(&reply(ServingStatus::ServiceUnknown))).await?;
        // Nobody will register it; the stream ends with its client.
        return std::future::pending().await;
    }
    let mut serving = services.serving.subscribe();
    loop {
        let now = status(*serving.borrow_and_update());
        rpc::send(&mut *replies, encode(&reply(now))).await?;
        if serving.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

fn status(serving: bool) -> ServingStatus {
    if serving { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn reply(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status as i32 }
}

/// Tells that calls are answered, and is heard by those who ask.
pub(super) fn serve(services: &Services) {
    tracing::info!(service = "", status = "SERVING", "grpc service status changed");
    set(services, true);
}

fn set(services: &Services, serving: bool) {
    services.serving.send_if_modified(|now| std::mem::replace(now, serving) != serving);
}

/// A defragmentation is under way until this is dropped. With the feature gate
/// `StopGRPCServiceOnDefrag` the member says meanwhile that it does not serve; it does.
pub(super) struct Defragmenting<'a> {
    services: &'a Services,
}

pub(super) fn defragmenting(services: &Services) -> Defragmenting<'_> {
    if services.limits.stop_serving_on_defrag {
        tracing::warn!(
            service = "",
            status = "NOT_SERVING",
            reason = "defrag is active",
            "grpc service status changed"
        );
        set(services, false);
    }
    Defragmenting { services }
}

impl Drop for Defragmenting<'_> {
    fn drop(&mut self) {
        serve(self.services);
    }
}
