//! The rpc table: every call that a client can make, by its gRPC path.
//!
//! A handler is a plain async function from the encoded request and the caller to the encoded
//! reply or a [`Status`]; it names no type of a transport. gRPC is served from this table, and
//! whatever else speaks for it later (JSON) is too.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use proto::Message as _;
use proto::etcdserverpb::RangeRequest;

use crate::metrics::RpcMetrics;
use crate::service::Services;
use crate::status::Status;
use crate::trace::{Span, TraceContext};

/// A boxed future that any of the runtimes may run.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Who calls, as far as the transport knows.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The metadata `hasleader: true` was sent.
    pub require_leader: bool,
    /// The metadata `client-api-version`, or `unknown`.
    pub api_version: Option<String>,
    /// Where from; a unix client has no address.
    pub remote: Option<SocketAddr>,
    /// Where it was heard; not on a unix socket.
    pub local: Option<SocketAddr>,
    /// What the caller shows to say who it is.
    pub credentials: Credentials,
    /// The trace that the caller says the call belongs to.
    pub(crate) trace: Option<Box<TraceContext>>,
    /// What the call is at, where it is traced.
    pub(crate) span: Option<Arc<Span>>,
}

/// What a caller shows to say who it is, unjudged.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// The metadata `token`.
    pub token: Option<Bytes>,
    /// The metadata `authorization`, which counts where there is no `token`.
    pub authorization: Option<Bytes>,
    /// The common name of a client certificate that was verified.
    pub common_name: Option<Arc<str>>,
    /// The call comes by way of a gateway (metadata `grpcgateway-accept`): the certificate, if
    /// there is one, is the gateway's.
    pub by_gateway: bool,
}

/// The messages of a streaming request, one at a time.
pub trait Requests: Send {
    /// The next message; `None` after the client has closed its half.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>>;
}

/// The way back to the client of a stream. The peer sets the pace.
pub trait Replies: Send {
    /// Ready when the next [`Replies::send`] will not pile up in memory; fails when the client is
    /// gone.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>>;
    /// Sends one message.
    fn send(&mut self, message: Bytes) -> Result<(), Status>;
}

/// Waits until the stream takes another message, then sends it.
pub async fn send(replies: &mut dyn Replies, message: Bytes) -> Result<(), Status> {
    std::future::poll_fn(|cx| replies.poll_ready(cx)).await?;
    replies.send(message)
}

/// The next request message of a stream.
pub async fn next(requests: &mut dyn Requests) -> Option<Result<Bytes, Status>> {
    std::future::poll_fn(|cx| requests.poll_next(cx)).await
}

/// Ends a stream whose client wants to hear of it when nobody leads.
pub(crate) async fn while_led(
    lost: BoxFuture<Status>,
    handler: BoxFuture<Result<(), Status>>,
) -> Result<(), Status> {
    tokio::select! {
        biased;
        done = handler => done,
        status = lost => Err(status),
    }
}

/// A handler of a call with one message each way.
pub type Unary<H = Services> = fn(Arc<H>, Caller, Bytes) -> BoxFuture<Result<Bytes, Status>>;
/// A handler of a stream.
pub type Streaming<H = Services> =
    fn(Arc<H>, Caller, Box<dyn Requests>, Box<dyn Replies>) -> BoxFuture<Result<(), Status>>;

/// How a call is made.
pub enum Kind<H = Services> {
    /// One message in, one out.
    Unary(Unary<H>),
    /// One message in, many out.
    ServerStream(Streaming<H>),
    /// Many in, many out.
    Bidi(Streaming<H>),
}

// A host need not be copied for its handlers to be.
impl<H> Clone for Kind<H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H> Copy for Kind<H> {}

impl<H> Kind<H> {
    /// The value of the metric label `grpc_type`.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Unary(_) => "unary",
            Self::ServerStream(_) => "server_stream",
            Self::Bidi(_) => "bidi_stream",
        }
    }
}

/// One row of the table.
pub struct Rpc<H = Services> {
    /// The full service name, as in `etcdserverpb.KV`.
    pub(crate) service: &'static str,
    /// The name of the method alone.
    pub(crate) method: &'static str,
    /// How it is called, and what answers.
    pub(crate) kind: Kind<H>,
    /// Its counters.
    pub(crate) metrics: RpcMetrics,
    learners: Learners,
}

/// Whether a member without a vote, whose state may be old, answers a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Learners {
    Never,
    Always,
    /// Where the range says that it may be stale.
    Serializable,
}

impl<H> Rpc<H> {
    /// Whether a learner answers this call, and this request.
    pub(crate) fn is_for_learners(&self, request: Option<&Bytes>) -> bool {
        match self.learners {
            Learners::Never => false,
            Learners::Always => true,
            Learners::Serializable => request.is_some_and(|request| {
                RangeRequest::decode(request.clone()).is_ok_and(|range| range.serializable)
            }),
        }
    }
}

fn learners(service: &str, method: &str) -> Learners {
    match (service, method) {
        ("etcdserverpb.KV", "Range") => Learners::Serializable,
        ("etcdserverpb.Maintenance", "Status" | "Snapshot") => Learners::Always,
        _ => Learners::Never,
    }
}

/// Lock and Election come later in etcd than what fills its counters.
pub(crate) fn is_shown_before_calls(service: &str) -> bool {
    !matches!(service, "v3lockpb.Lock" | "v3electionpb.Election")
}

/// All rows, found by path (`/etcdserverpb.KV/Put`).
pub struct Table<H = Services> {
    rows: HashMap<String, Arc<Rpc<H>>>,
}

impl<H> Table<H> {
    /// The table of these rows.
    pub fn new(rows: Vec<(&'static str, &'static str, Kind<H>)>) -> Self {
        let rows = rows
            .into_iter()
            .map(|(service, method, kind)| {
                let metrics = RpcMetrics::new(service, method, kind.label());
                if is_shown_before_calls(service) {
                    metrics.show();
                }
                let learners = learners(service, method);
                let rpc = Arc::new(Rpc { service, method, kind, metrics, learners });
                (format!("/{service}/{method}"), rpc)
            })
            .collect();
        Self { rows }
    }

    /// The row of a path.
    pub(crate) fn find(&self, path: &str) -> Option<&Arc<Rpc<H>>> {
        self.rows.get(path)
    }

    /// All paths.
    #[cfg(test)]
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.rows.keys().map(String::as_str)
    }

    /// What gRPC answers for a path that is no row.
    pub(crate) fn unknown(&self, path: &str) -> Status {
        let name = path.strip_prefix('/').unwrap_or(path);
        let text = match name.rsplit_once('/') {
            None => format!("malformed method name: {path:?}"),
            Some((service, method)) if self.rows.values().any(|rpc| rpc.service == service) => {
                format!("unknown method {method} for service {service}")
            }
            Some((service, _)) => format!("unknown service {service}"),
        };
        Status::new(crate::status::Code::Unimplemented, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_row_is_told_as_grpc_tells_it() {
        let kind = Kind::<()>::Unary(|_, _, _| Box::pin(async { Ok(Bytes::new()) }));
        let table = Table::new(vec![("a.S", "M", kind)]);
        let text = |path| table.unknown(path).message;
        assert!(table.find("/a.S/M").is_some());
        assert_eq!(text("/a.S/N"), "unknown method N for service a.S");
        assert_eq!(text("/b.S/M"), "unknown service b.S");
        assert_eq!(text("/a.S/M/N"), "unknown service a.S/M");
        assert_eq!(text("/a.S"), "malformed method name: \"/a.S\"");
    }
}
