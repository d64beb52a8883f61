//! What each call took: the line `request stats` for slow unary calls, and the histogram of
//! `--metrics=extensive`. It wraps handlers in the rpc table, so every transport has it.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use node::text;
use prometheus::{Histogram, HistogramOpts, HistogramTimer, HistogramVec, register_histogram_vec};
use proto::Message;
use proto::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, RangeRequest, RangeResponse, RequestOp,
    TxnRequest, TxnResponse,
};
use tokio::time::Instant;

use crate::audit::Audited;
use crate::rpc::{Caller, Replies, Requests};
use crate::service::Services;
use crate::status::Status;
use crate::trace::Span;

static HANDLING: LazyLock<HistogramVec> = LazyLock::new(|| {
    let opts = HistogramOpts::new(
        "grpc_server_handling_seconds",
        "Histogram of response latency (seconds) of gRPC that had been application-level handled \
         by the server.",
    );
    register_histogram_vec!(opts, &["grpc_type", "grpc_service", "grpc_method"])
        .expect("the name is registered once")
});

/// Shows the histogram of a method before its first call.
pub(crate) fn show(kind: &str, service: &str, method: &str) {
    HANDLING.with_label_values(&[kind, service, method]);
}

/// One row of the rpc table, as it is watched.
pub(crate) struct Watched {
    service: &'static str,
    method: &'static str,
    kind: &'static str,
    handling: OnceLock<Histogram>,
}

impl Watched {
    pub(crate) const fn new(
        service: &'static str,
        method: &'static str,
        kind: &'static str,
    ) -> Self {
        Self { service, method, kind, handling: OnceLock::new() }
    }

    /// Counts until it is dropped, if calls are to be timed at all.
    fn timer(&self, services: &Services) -> Option<HistogramTimer> {
        if !services.limits.extensive_metrics {
            return None;
        }
        let handling = self
            .handling
            .get_or_init(|| HANDLING.with_label_values(&[self.kind, self.service, self.method]));
        Some(handling.start_timer())
    }

    /// The caller within the span of its call, if it has one.
    fn traced(&self, services: &Services, mut caller: Caller) -> (Caller, Option<Arc<Span>>) {
        if let Some(tracer) = services.tracer.get() {
            let name = || format!("{}/{}", self.service, self.method);
            caller.span = tracer.begin(name, &caller, services.node.wall_clock());
        }
        let span = caller.span.clone();
        (caller, span)
    }

    /// Runs the handler of a call with one message each way.
    pub(crate) async fn unary<F>(
        &'static self,
        services: Arc<Services>,
        caller: Caller,
        request: Bytes,
        handler: impl FnOnce(Arc<Services>, Caller, Bytes) -> F,
    ) -> Result<Bytes, Status>
    where
        F: Future<Output = Result<Bytes, Status>>,
    {
        let _timer = self.timer(&services);
        let (caller, span) = self.traced(&services, caller);
        let mut stats = Stats {
            watched: self,
            services: Arc::clone(&services),
            remote: caller.remote,
            user: audited_user(&services, &caller).await,
            request: request.clone(),
            response: None,
            outcome: None,
            begun: Instant::now(),
        };
        let outcome = match services.pass(&caller, self.service, self.method).await {
            Ok(()) => handler(services, caller, request).await,
            Err(status) => Err(status),
        };
        if let Some(span) = span {
            span.outcome(outcome.as_ref().err());
        }
        if let Ok(response) = &outcome {
            stats.response = Some(response.clone());
        }
        if is_audited(&stats.services) {
            stats.outcome = Some(outcome.as_ref().map(drop).map_err(Clone::clone));
        }
        outcome
    }

    /// Runs the handler of a stream.
    pub(crate) async fn stream<F>(
        &'static self,
        services: Arc<Services>,
        caller: Caller,
        requests: Box<dyn Requests>,
        replies: Box<dyn Replies>,
        handler: impl FnOnce(Arc<Services>, Caller, Box<dyn Requests>, Box<dyn Replies>) -> F,
    ) -> Result<(), Status>
    where
        F: Future<Output = Result<(), Status>>,
    {
        let _timer = self.timer(&services);
        let (caller, span) = self.traced(&services, caller);
        let mut audited = AuditedStream::begin(self, &services, &caller).await;
        let outcome = match services.pass(&caller, self.service, self.method).await {
            Ok(()) => handler(services, caller, requests, replies).await,
            Err(status) => Err(status),
        };
        if let Some(span) = span {
            span.outcome(outcome.as_ref().err());
        }
        if let Some(audited) = &mut audited {
            audited.outcome = Some(outcome.clone());
        }
        outcome
    }
}

fn is_audited(services: &Services) -> bool {
    services.audit.get().is_some()
}

/// Who calls, if the audit log wants to know.
async fn audited_user(services: &Services, caller: &Caller) -> Option<Arc<str>> {
    if is_audited(services) { services.name_of(caller).await } else { None }
}

/// When something began, by the time of day.
fn begun_at(services: &Services, took: Duration) -> Duration {
    services.node.wall_clock().saturating_sub(took)
}

/// A stream under way that the audit log wants to hear of when it is over.
struct AuditedStream {
    watched: &'static Watched,
    services: Arc<Services>,
    remote: Option<SocketAddr>,
    user: Option<Arc<str>>,
    outcome: Option<Result<(), Status>>,
    begun: Instant,
}

impl AuditedStream {
    async fn begin(
        watched: &'static Watched,
        services: &Arc<Services>,
        caller: &Caller,
    ) -> Option<Self> {
        if !is_audited(services) {
            return None;
        }
        Some(Self {
            watched,
            services: Arc::clone(services),
            remote: caller.remote,
            user: audited_user(services, caller).await,
            outcome: None,
            begun: Instant::now(),
        })
    }
}

impl Drop for AuditedStream {
    fn drop(&mut self) {
        let Some(audit) = self.services.audit.get() else { return };
        let took = self.begun.elapsed();
        audit.note(&Audited {
            service: self.watched.service,
            method: self.watched.method,
            remote: self.remote,
            user: self.user.as_deref(),
            request: None,
            outcome: self.outcome.as_ref(),
            begun: begun_at(&self.services, took),
            took,
        });
    }
}

/// A unary call under way. When it is over, or its client has given up, it is told of if it took
/// long.
struct Stats {
    watched: &'static Watched,
    services: Arc<Services>,
    remote: Option<SocketAddr>,
    /// For the audit log, where there is one.
    user: Option<Arc<str>>,
    request: Bytes,
    response: Option<Bytes>,
    /// For the audit log, where there is one.
    outcome: Option<Result<(), Status>>,
    begun: Instant,
}

impl Drop for Stats {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        let slow = took > self.services.limits.warning_unary_duration;
        if slow || tracing::enabled!(tracing::Level::DEBUG) {
            self.tell(took, slow);
        }
        if let Some(audit) = self.services.audit.get() {
            audit.note(&Audited {
                service: self.watched.service,
                method: self.watched.method,
                remote: self.remote,
                user: self.user.as_deref(),
                request: Some(&self.request),
                outcome: self.outcome.as_ref(),
                begun: begun_at(&self.services, took),
                took,
            });
        }
    }
}

/// What the line tells of a request and its response, without values.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    request_count: i64,
    request_size: i64,
    response_count: i64,
    response_size: i64,
    content: String,
}

macro_rules! line {
    ($level:ident, $start:ident, $took:ident, $remote:ident, $kind:ident, $told:ident) => {
        tracing::$level!(
            "start time" = ?$start,
            "time spent" = ?$took,
            remote = $remote,
            "response type" = $kind,
            "request count" = $told.request_count,
            "request size" = $told.request_size,
            "response count" = $told.response_count,
            "response size" = $told.response_size,
            "request content" = $told.content,
            "request stats"
        )
    };
}

impl Stats {
    fn tell(&self, took: Duration, slow: bool) {
        let start = std::time::UNIX_EPOCH + self.services.node.wall_clock().saturating_sub(took);
        let remote = self
            .remote
            .map_or_else(|| "No remote client info.".to_owned(), |remote| remote.to_string());
        let kind = format!("/{}/{}", self.watched.service, self.watched.method);
        let told = told(self.watched, &self.request, self.response.as_ref());
        // At level debug every request is told at that level, as in etcd.
        if tracing::enabled!(tracing::Level::DEBUG) {
            line!(debug, start, took, remote, kind, told);
        } else if slow {
            line!(warn, start, took, remote, kind, told);
        }
    }
}

fn told(watched: &Watched, request: &Bytes, response: Option<&Bytes>) -> Told {
    let of_kv = watched.service == "etcdserverpb.KV";
    let known = match watched.method {
        "Range" if of_kv => of_range(request, response),
        "Put" if of_kv => decoded::<PutRequest>(request).map(|put| (1, None, 0, text::put(&put))),
        "DeleteRange" if of_kv => decoded::<DeleteRangeRequest>(request).map(|delete| {
            let reply = response.and_then(decoded::<DeleteRangeResponse>);
            (0, None, reply.map_or(0, |reply| reply.deleted), text::delete_range(&delete))
        }),
        "Txn" if of_kv => of_txn(request, response),
        _ => None,
    };
    let Some((request_count, request_size, response_count, content)) = known else {
        return Told {
            request_count: -1,
            request_size: -1,
            response_count: -1,
            response_size: -1,
            content: String::new(),
        };
    };
    let request_size = request_size.unwrap_or_else(|| length(request));
    let response_size = response.map_or(0, length);
    Told { request_count, request_size, response_count, response_size, content }
}

/// Counts, the size of the request where it is not that of the message, and the request's text.
type Known = Option<(i64, Option<i64>, i64, String)>;

fn of_range(request: &Bytes, response: Option<&Bytes>) -> Known {
    let range = decoded::<RangeRequest>(request)?;
    let count = response.and_then(decoded::<RangeResponse>).map_or(0, |reply| reply.count);
    Some((0, None, count, text::range(&range)))
}

/// Of a transaction the branch counts that it took; of one that was refused nothing does.
fn of_txn(request: &Bytes, response: Option<&Bytes>) -> Known {
    let Some(reply) = response.and_then(decoded::<TxnResponse>) else {
        return Some((0, Some(0), 0, String::new()));
    };
    let txn = decoded::<TxnRequest>(request)?;
    let taken = if reply.succeeded { &txn.success } else { &txn.failure };
    let size: usize = taken.iter().map(RequestOp::encoded_len).sum();
    let count = i64::try_from(taken.len()).unwrap_or(i64::MAX);
    Some((count, Some(i64::try_from(size).unwrap_or(i64::MAX)), 0, text::txn(&txn)))
}

fn decoded<M: Message + Default>(bytes: &Bytes) -> Option<M> {
    M::decode(bytes.clone()).ok()
}

fn length(bytes: &Bytes) -> i64 {
    i64::try_from(bytes.len()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proto::etcdserverpb::request_op::Request as Op;

    use super::*;

    fn encoded(message: &impl Message) -> Bytes {
        message.encode_to_vec().into()
    }

    /// The numbers are those of etcd 3.7.1 for the same requests.
    #[test]
    fn requests_are_told_without_values() {
        static PUT: Watched = Watched::new("etcdserverpb.KV", "Put", "unary");
        let put = PutRequest { key: "a".into(), value: "x\"y".into(), ..Default::default() };
        let expected = Told {
            request_count: 1,
            request_size: 8,
            response_count: 0,
            response_size: 3,
            content: "key:\"a\" value_size:3 ".to_owned(),
        };
        assert_eq!(told(&PUT, &encoded(&put), Some(&Bytes::from("abc"))), expected);
    }

    #[test]
    fn a_txn_is_told_by_the_branch_it_took() {
        static TXN: Watched = Watched::new("etcdserverpb.KV", "Txn", "unary");
        let range = RangeRequest { key: "b".into(), ..Default::default() };
        let delete =
            DeleteRangeRequest { key: "c".into(), range_end: "d".into(), ..Default::default() };
        let op = |request| RequestOp { request: Some(request) };
        let txn = TxnRequest {
            compare: Vec::new(),
            success: vec![op(Op::RequestRange(range))],
            failure: vec![op(Op::RequestDeleteRange(delete))],
        };
        let reply = TxnResponse { succeeded: false, ..Default::default() };
        let found = told(&TXN, &encoded(&txn), Some(&encoded(&reply)));
        assert_eq!((found.request_count, found.request_size, found.response_size), (1, 8, 0));
        assert_eq!(told(&TXN, &encoded(&txn), None).request_count, 0);
    }

    #[test]
    fn other_calls_are_told_by_name_alone() {
        static GRANT: Watched = Watched::new("etcdserverpb.Lease", "LeaseGrant", "unary");
        let found = told(&GRANT, &Bytes::new(), Some(&Bytes::from("abc")));
        assert_eq!((found.request_size, found.response_size), (-1, -1));
        assert_eq!(found.content, "");
    }
}
