//! The JSON gateway: the calls of the rpc table as `POST /v3/...`, with JSON both ways.
//!
//! ```text
//!   POST /v3/kv/put {..} --> [ paths, metadata, values ] --> [ call ] --> rpc table --> JSON
//!           [ websocket ] --'                                   `--> [ stream ]: lines of JSON
//! ```
//!
//! What comes out is what grpc-gateway makes of etcd's calls, to the words of its errors. Calls are
//! made in process: there is no connection of ours to ourselves, and what a client that goes away
//! has begun is dropped where it stands.
//!
//! Files in reading order: `paths`, `metadata`, `values`, `call`, `stream`, `reply`,
//! `websocket`.

mod call;
mod metadata;
mod paths;
mod reply;
mod stream;
mod values;
mod websocket;

use std::sync::Arc;

use http::{Method, Response};

use crate::answer::{Answer, Request};
use crate::service::Services;
use crate::status::{Code, Status};

pub(crate) use stream::Lines;
pub(crate) use websocket::Upgraded;

/// Whether a path is the gateway's.
pub(crate) fn has(path: &str) -> bool {
    path.starts_with("/v3/") || path.starts_with("/v3beta/")
}

/// Answers a request whose path is the gateway's.
pub(crate) async fn answer(services: &Arc<Services>, request: Request) -> Response<Answer> {
    if websocket::is_asked_for(&request.parts) {
        return websocket::answer(services, request);
    }
    post(services, request).await
}

async fn post(services: &Arc<Services>, mut request: Request) -> Response<Answer> {
    let method = metadata::method(&request.parts);
    let Some(route) = paths::route(request.parts.uri.path()) else {
        return reply::refusal(&Status::new(Code::NotFound, "Not Found"));
    };
    if *method.as_ref().unwrap_or(&request.parts.method) != Method::POST {
        return reply::refusal(&Status::new(Code::Unimplemented, "Method Not Allowed"));
    }
    if method.is_some() {
        // As a form the body was read before anybody asked for JSON.
        request.body = crate::answer::nothing();
    }
    let outcome = call::answer(services, route, request).await;
    outcome.unwrap_or_else(|status| reply::refusal(&status))
}
