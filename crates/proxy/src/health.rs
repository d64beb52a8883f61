//! Whether members answer, and whether the proxy does.

use std::time::Duration;

use api::{plain_answer, plain_error};
use bytes::Bytes;
use client::{Error, Metadata, Repeat};
use http::{Response, StatusCode};
use proto::Message as _;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{RangeRequest, WatchCreateRequest, WatchRequest};
use tokio::time::timeout;

use crate::kv::RANGE;
use crate::proxy::Proxy;
use crate::watch::WATCH;

const READ: Duration = Duration::from_secs(1);
const WATCHED: Duration = Duration::from_secs(3);

/// Asks for a key that need not be there, and with `watch` for a watch of it.
pub(crate) async fn answer(proxy: &Proxy, watch: bool) -> Response<Bytes> {
    if watch && proxy.options.advertise_client_url.is_empty() {
        // Nobody could find it.
        return unhealthy("no connection to proxy");
    }
    let mut reason = match timeout(READ, read(proxy)).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("GET ERROR:{error}")),
        Err(_) => Some("GET ERROR:context deadline exceeded".to_owned()),
    };
    if watch && reason.is_none() && timeout(WATCHED, watched(proxy)).await.is_err() {
        reason = Some("WATCH TIMEOUT".to_owned());
    }
    match reason {
        None => {
            let text = "text/plain; charset=utf-8";
            plain_answer(StatusCode::OK, text, r#"{"health":"true","reason":""}"#)
        }
        Some(reason) => unhealthy(&reason),
    }
}

fn unhealthy(reason: &str) -> Response<Bytes> {
    let body = serde_json::json!({ "health": "false", "reason": reason });
    plain_error(StatusCode::SERVICE_UNAVAILABLE, format!("{body}\n"))
}

async fn read(proxy: &Proxy) -> Result<(), Error> {
    let key = proxy.namespace.key(b"a");
    let request = RangeRequest { key, ..RangeRequest::default() }.encode_to_vec();
    let nobody = Metadata::default();
    match proxy.channel.unary(RANGE, &nobody, &request, Repeat::Always).await {
        // Who is refused has been heard.
        Err(Error::Status { message, .. }) if message == "etcdserver: permission denied" => Ok(()),
        other => other.map(drop),
    }
}

async fn watched(proxy: &Proxy) -> Result<(), Error> {
    let key = proxy.namespace.key(b"a");
    let create = WatchCreateRequest { key, ..WatchCreateRequest::default() };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let mut call = proxy.channel.stream(WATCH, &Metadata::default()).await?;
    call.send_bytes(&request.encode_to_vec(), false)?;
    call.next_bytes().await.map(drop)
}
