//! Calls that the proxy has nothing to do with: bytes there, bytes back.

use std::sync::Arc;

use api::{Caller, Replies, Requests, Status};
use bytes::Bytes;
use client::Repeat;

use crate::proxy::Proxy;
use crate::status::{self, metadata};

pub(crate) async fn unary(
    proxy: Arc<Proxy>,
    caller: Caller,
    path: &'static str,
    request: Bytes,
    repeat: Repeat,
) -> Result<Bytes, Status> {
    proxy.channel.unary(path, &metadata(&caller), &request, repeat).await.map_err(status::of)
}

/// As [`unary`], for calls that change who may do what: nothing that was read before counts.
pub(crate) async fn users(
    proxy: Arc<Proxy>,
    caller: Caller,
    path: &'static str,
    request: Bytes,
) -> Result<Bytes, Status> {
    let outcome = unary(Arc::clone(&proxy), caller, path, request, Repeat::Unsent).await;
    proxy.cache.clear();
    outcome
}

/// One message there, many back.
pub(crate) async fn many(
    proxy: Arc<Proxy>,
    caller: Caller,
    path: &'static str,
    mut requests: Box<dyn Requests>,
    mut replies: Box<dyn Replies>,
) -> Result<(), Status> {
    let Some(request) = api::next(&mut *requests).await else { return Ok(()) };
    let request = request?;
    let mut call = proxy.channel.stream(path, &metadata(&caller)).await.map_err(status::of)?;
    call.send_bytes(&request, true).map_err(status::of)?;
    while let Some(reply) = call.next_bytes().await.map_err(status::of)? {
        api::send(&mut *replies, reply).await?;
    }
    Ok(())
}
