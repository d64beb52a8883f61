//! The plain HTTP: health, version, metrics.

mod access;
mod go;
mod health;
mod metrics;
mod path;
mod pprof;
mod process;
mod vars;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, ORIGIN};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, request};

pub use access::Access;
pub use metrics::page as metrics_page;
pub use pprof::answer as pprof_page;

use crate::answer::{Answer, Request};
use crate::door::Offer;
use crate::gateway;
use crate::service::Services;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

/// Makes the metrics of this door visible before they count.
pub(crate) fn register() {
    health::register();
    metrics::register();
}

/// Answers a plain HTTP request.
pub(crate) async fn answer(
    services: &Arc<Services>,
    offer: Offer,
    request: Request,
) -> Response<Answer> {
    let parts = &request.parts;
    match offer {
        Offer::Grpc => return Answer::whole(not_found()),
        Offer::Metrics => return Answer::whole(checks(services, parts).await),
        Offer::Everything | Offer::Http => {}
    }
    if let Some(refusal) = services.access.refusal(parts) {
        return Answer::whole(refusal);
    }
    let origin = parts.headers.get(ORIGIN).cloned();
    let mut response = if parts.method == Method::OPTIONS {
        Answer::whole(Response::new(Bytes::new()))
    } else if let Some(place) = path::elsewhere(&parts.method, &parts.uri, services.access.gateway)
    {
        Answer::whole(path::redirect(&parts.method, &place))
    } else if services.access.gateway && gateway::has(parts.uri.path()) {
        gateway::answer(services, request).await
    } else {
        Answer::whole(own(services, parts).await)
    };
    services.access.mark(origin.as_ref(), response.headers_mut());
    response
}

/// What is served but to clients of the member.
async fn own(services: &Arc<Services>, request: &request::Parts) -> Response<Bytes> {
    match request.uri.path() {
        "/version" => get_only(request, async { version(services) }).await,
        "/debug/vars" => get_only(request, async { vars::answer(services) }).await,
        path => match profile(services, request, path) {
            Some(answer) => answer,
            None => checks(services, request).await,
        },
    }
}

/// Behind its switch, what is asked of Go's profiler.
fn profile(services: &Services, request: &request::Parts, path: &str) -> Option<Response<Bytes>> {
    let path = path.strip_prefix("/debug/pprof/").filter(|_| services.limits.pprof)?;
    pprof::answer(path, request.uri.query().unwrap_or_default())
}

/// What metrics listeners answer, too.
async fn checks(services: &Arc<Services>, request: &request::Parts) -> Response<Bytes> {
    match request.uri.path() {
        "/metrics" => metrics::answer(services, request),
        "/health" => get_only(request, health::health(services, request)).await,
        path => match health::Probe::of(path) {
            Some(probe) => get_only(request, probe.answer(services, request)).await,
            None => not_found(),
        },
    }
}

async fn get_only(
    request: &request::Parts,
    answer: impl Future<Output = Response<Bytes>>,
) -> Response<Bytes> {
    if request.method == Method::GET {
        return answer.await;
    }
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
    response
}

fn version(services: &Services) -> Response<Bytes> {
    let unless_empty = |text: String, otherwise: &str| {
        if text.is_empty() { otherwise.to_owned() } else { text }
    };
    let body = serde_json::json!({
        "etcdserver": services.node.server_version(),
        "etcdcluster": unless_empty(services.node.cluster_version(), "not_decided"),
        "storage": unless_empty(services.node.storage_version(), "unknown"),
    });
    // The order of keys is part of what scripts compare.
    let body = format!(
        r#"{{"etcdserver":{},"etcdcluster":{},"storage":{}}}"#,
        body["etcdserver"], body["etcdcluster"], body["storage"]
    );
    typed(StatusCode::OK, JSON, body)
}

fn not_found() -> Response<Bytes> {
    error(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// A plain text answer that browsers must not take for anything else.
pub fn error(code: StatusCode, text: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = typed(code, TEXT, text);
    response.headers_mut().insert(NOSNIFF, HeaderValue::from_static("nosniff"));
    response
}

pub fn typed(code: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
