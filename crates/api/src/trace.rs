//! Spans of distributed tracing: one for each call, with etcd's names inside it. Off unless it is
//! opened, and then only for calls that are chosen: by the client, who says so in `traceparent`, or
//! by chance.
//!
//! A span that is over lies in a bounded queue until somebody sends it; where the queue is full it
//! is lost and counted. No call waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{DeleteRangeRequest, RangeRequest, TxnRequest, WatchCreateRequest};
use proto::opentelemetry::any_value::Value;
use proto::opentelemetry::span::{Event, SpanKind};
use proto::opentelemetry::status::StatusCode;
use proto::opentelemetry::{self as otel, AnyValue, KeyValue};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::rpc::Caller;
use crate::status::{Code, Status};

/// Spans that may wait to be sent, as many as OpenTelemetry's own libraries keep.
const QUEUE_SPANS: usize = 2048;
/// Bytes that an attribute shows of a key.
const MOST_TEXT_BYTES: usize = 4096;
/// Bytes of `tracestate` that are passed on; the standard asks for 512.
const MOST_STATE_BYTES: usize = 512;
/// Events of one span; a stream may have any number.
const MOST_EVENTS: usize = 128;
/// Of the flags: the span is sent.
const SAMPLED: u8 = 1;
/// Of the flags: whether the parent is of another process is known.
const REMOTE_KNOWN: u32 = 0x100;
/// Of the flags: it is.
const REMOTE: u32 = 0x200;
const MILLION: u32 = 1_000_000;

/// Where calls leave their spans.
#[derive(Debug)]
pub struct Tracer {
    /// Of a million calls that no client has decided about.
    rate: u32,
    spans: mpsc::Sender<otel::Span>,
    lost: AtomicU64,
}

impl Tracer {
    /// A tracer that takes so many of a million calls, and the spans that somebody is to send.
    pub fn open(rate: u32) -> (Arc<Self>, mpsc::Receiver<otel::Span>) {
        let (spans, inbox) = mpsc::channel(QUEUE_SPANS);
        (Arc::new(Self { rate, spans, lost: AtomicU64::new(0) }), inbox)
    }

    /// How many spans were lost since this was asked last.
    pub fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }

    /// The span of a call, if it is to have one. `now` is since 1970.
    pub(crate) fn begin(
        self: &Arc<Self>,
        name: impl FnOnce() -> String,
        caller: &Caller,
        now: Duration,
    ) -> Option<Arc<Span>> {
        let parent = caller.trace.as_deref().and_then(TraceContext::parent);
        if parent.as_ref().map_or(self.rate == 0, |parent| parent.flags & SAMPLED == 0) {
            return None;
        }
        let (trace_id, parent_span_id) = match parent {
            Some(Parent { trace_id, span_id, .. }) => (trace_id, span_id),
            None => (random(16)?, Bytes::new()),
        };
        if parent_span_id.is_empty() && !is_chosen(&trace_id, self.rate) {
            return None;
        }
        let remote = if parent_span_id.is_empty() { 0 } else { REMOTE };
        let state = caller.trace.as_ref().filter(|_| remote != 0);
        let trace_state = state.and_then(|it| it.trace_state()).unwrap_or_default();
        let name = name();
        let mut attributes = vec![text("rpc.method", name.as_bytes())];
        attributes.push(text("rpc.system.name", b"grpc"));
        if let Some(local) = caller.local {
            attributes.push(text("server.address", local.ip().to_string().as_bytes()));
            attributes.push(number("server.port", local.port().into()));
        }
        let data = otel::Span {
            trace_id,
            span_id: random(8)?,
            trace_state,
            parent_span_id,
            name,
            kind: SpanKind::Server.into(),
            start_time_unix_nano: nanos(now),
            attributes,
            flags: u32::from(SAMPLED) | REMOTE_KNOWN | remote,
            ..otel::Span::default()
        };
        Some(Arc::new(Span::new(Arc::clone(self), data, true)))
    }
}

/// What the headers of a call say of the trace that it belongs to, unread.
#[derive(Debug, Clone, Default)]
pub(crate) struct TraceContext {
    /// `traceparent`.
    pub(crate) parent: Option<Bytes>,
    /// `tracestate`.
    pub(crate) state: Option<Bytes>,
}

/// A span of another process.
#[derive(Debug, PartialEq, Eq)]
struct Parent {
    trace_id: Bytes,
    span_id: Bytes,
    flags: u8,
}

impl TraceContext {
    /// Reads `00-<trace>-<span>-<flags>`. A newer version may have more behind that.
    fn parent(&self) -> Option<Parent> {
        let text = std::str::from_utf8(self.parent.as_ref()?).ok()?;
        let mut parts = text.splitn(5, '-');
        let mut part = |bytes| unhex(parts.next()?, bytes);
        let version = *part(1)?.first()?;
        let (trace_id, span_id) = (part(16)?, part(8)?);
        let flags = *part(1)?.first()?;
        let is_too_much = version == 0 && (parts.next().is_some() || flags > 3);
        let is_nothing = |id: &Bytes| id.iter().all(|byte| *byte == 0);
        if version == 255 || is_too_much || is_nothing(&trace_id) || is_nothing(&span_id) {
            return None;
        }
        Some(Parent { trace_id, span_id, flags })
    }

    fn trace_state(&self) -> Option<String> {
        let state = self.state.as_ref().filter(|state| state.len() <= MOST_STATE_BYTES)?;
        let is_good = state.iter().all(|byte| (0x20..0x7f).contains(byte));
        is_good.then(|| String::from_utf8_lossy(state).into_owned())
    }
}

/// Small letters only.
fn unhex(text: &str, bytes: usize) -> Option<Bytes> {
    let is_good = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != bytes * 2 || !text.bytes().all(is_good) {
        return None;
    }
    (0..bytes).map(|at| u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()).collect()
}

/// Whether the id of a new trace is among those that are taken: the same on all members, so that
/// each decides alike about one trace.
fn is_chosen(trace_id: &[u8], rate: u32) -> bool {
    let low = trace_id.last_chunk().map_or(0, |low| u64::from_be_bytes(*low) >> 1);
    u128::from(low) * u128::from(MILLION) < u128::from(rate) << 63
}

fn random(bytes: usize) -> Option<Bytes> {
    let mut id = vec![0; bytes];
    getrandom::fill(&mut id).ok()?;
    Some(id.into())
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A span under way. It is over when the last who holds it lets it go.
#[derive(Debug)]
pub(crate) struct Span {
    tracer: Arc<Tracer>,
    begun: Instant,
    /// A call that nobody has ended was given up.
    is_call: bool,
    data: Mutex<otel::Span>,
}

impl Span {
    fn new(tracer: Arc<Tracer>, data: otel::Span, is_call: bool) -> Self {
        Self { tracer, begun: Instant::now(), is_call, data: Mutex::new(data) }
    }

    /// A part of this one.
    pub(crate) fn child(&self, name: &str, attributes: Vec<KeyValue>) -> Option<Arc<Self>> {
        let data = self.data.lock().expect("no holder of this lock panics");
        let child = otel::Span {
            trace_id: data.trace_id.clone(),
            span_id: random(8)?,
            trace_state: data.trace_state.clone(),
            parent_span_id: data.span_id.clone(),
            name: name.to_owned(),
            kind: SpanKind::Internal.into(),
            start_time_unix_nano: self.now(&data),
            attributes,
            flags: u32::from(SAMPLED) | REMOTE_KNOWN,
            ..otel::Span::default()
        };
        Some(Arc::new(Self::new(Arc::clone(&self.tracer), child, false)))
    }

    /// Something has happened.
    pub(crate) fn event(&self, name: &str, attributes: Vec<KeyValue>) {
        let mut data = self.data.lock().expect("no holder of this lock panics");
        if data.events.len() < MOST_EVENTS {
            let time_unix_nano = self.now(&data);
            data.events.push(Event { time_unix_nano, name: name.to_owned(), attributes });
        }
    }

    /// How the call ended.
    pub(crate) fn outcome(&self, refused: Option<&Status>) {
        let mut data = self.data.lock().expect("no holder of this lock panics");
        let code = refused.map_or(Code::Ok, |status| status.code);
        data.attributes.push(text("rpc.response.status_code", canonical(code).as_bytes()));
        // What is the client's own fault is no error of the server.
        data.status = refused.filter(|_| is_ours(code)).map(|status| otel::Status {
            message: status.message.clone().into_owned(),
            code: StatusCode::Error.into(),
        });
    }

    fn now(&self, data: &otel::Span) -> u64 {
        data.start_time_unix_nano.saturating_add(nanos(self.begun.elapsed()))
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let told = |data: &otel::Span| {
            data.attributes.iter().any(|attribute| attribute.key == "rpc.response.status_code")
        };
        if self.is_call && !self.data.get_mut().is_ok_and(|data| told(data)) {
            self.outcome(Some(&Status::new(Code::Canceled, "context canceled")));
        }
        let Ok(data) = self.data.get_mut() else { return };
        let mut data = std::mem::take(data);
        data.end_time_unix_nano =
            data.start_time_unix_nano.saturating_add(nanos(self.begun.elapsed()));
        if self.tracer.spans.try_send(data).is_err() {
            self.tracer.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Caller {
    /// What it says of its trace.
    pub(crate) fn trace(&mut self) -> &mut TraceContext {
        self.trace.get_or_insert_default()
    }

    /// This caller, within a part of the span that it is in.
    pub(crate) fn within(self, name: &str, attributes: impl FnOnce() -> Vec<KeyValue>) -> Self {
        let Some(span) = &self.span else { return self };
        let span = span.child(name, attributes());
        Self { span, ..self }
    }
}

/// gRPC's name of a code, as it stands in specifications.
fn canonical(code: Code) -> String {
    if code == Code::Canceled {
        return "CANCELLED".to_owned();
    }
    let mut out = String::new();
    for c in code.name().chars() {
        if c.is_ascii_uppercase() && !out.is_empty() && code != Code::Ok {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

fn is_ours(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// An attribute that is text, or as much of it as is text.
pub(crate) fn text(key: &str, value: &[u8]) -> KeyValue {
    let part = value.get(..MOST_TEXT_BYTES).unwrap_or(value);
    attribute(key, Value::StringValue(String::from_utf8_lossy(part).into_owned()))
}

pub(crate) fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

pub(crate) fn flag(key: &str, value: bool) -> KeyValue {
    attribute(key, Value::BoolValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}

fn count(key: &str, count: usize) -> KeyValue {
    number(key, i64::try_from(count).unwrap_or(i64::MAX))
}

/// What a range is told by; of one that is streamed etcd says a little less.
pub(crate) fn range(range: &RangeRequest, is_streamed: bool) -> Vec<KeyValue> {
    let mut attributes = vec![
        text("range_begin", &range.key),
        text("range_end", &range.range_end),
        number("rev", range.revision),
        number("limit", range.limit),
        flag("count_only", range.count_only),
    ];
    if !is_streamed {
        attributes.push(flag("keys_only", range.keys_only));
    }
    attributes
}

pub(crate) fn delete_range(delete: &DeleteRangeRequest) -> Vec<KeyValue> {
    vec![text("range_begin", &delete.key), text("range_end", &delete.range_end)]
}

/// As etcd: the first keys that are not empty, and the lease of the first put.
pub(crate) fn txn(txn: &TxnRequest) -> Vec<KeyValue> {
    let not_empty = |key: &&Bytes| !key.is_empty();
    let compared = txn.compare.iter().map(|compare| &compare.key).find(not_empty);
    let ops = || txn.success.iter().filter_map(|op| op.request.as_ref());
    let first_key = ops().filter_map(key_of).find(not_empty);
    let lease = ops().find_map(|op| match op {
        Request::RequestPut(put) => Some(put.lease),
        _ => None,
    });
    vec![
        text("compare_first_key", compared.map_or(&[], |key| key)),
        text("success_first_key", first_key.map_or(&[], |key| key)),
        text("success_first_type", ops().next().map_or("", type_of).as_bytes()),
        number("success_first_lease", lease.unwrap_or(-1)),
        count("compare_len", txn.compare.len()),
        count("success_len", txn.success.len()),
        count("failure_len", txn.failure.len()),
        flag("read_only", state::is_read_only(txn)),
    ]
}

fn key_of(op: &Request) -> Option<&Bytes> {
    match op {
        Request::RequestPut(put) => Some(&put.key),
        Request::RequestRange(range) => Some(&range.key),
        Request::RequestDeleteRange(delete) => Some(&delete.key),
        Request::RequestTxn(_) => None,
    }
}

fn type_of(op: &Request) -> &'static str {
    match op {
        Request::RequestPut(_) => "put",
        Request::RequestRange(_) => "range",
        Request::RequestDeleteRange(_) => "delete_range",
        Request::RequestTxn(_) => "txn",
    }
}

pub(crate) fn watch(create: &WatchCreateRequest) -> Vec<KeyValue> {
    vec![
        text("key", &create.key),
        text("range_end", &create.range_end),
        number("start_rev", create.start_revision),
        flag("progress_notify", create.progress_notify),
        flag("prev_kv", create.prev_kv),
        flag("fragment", create.fragment),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn caller(parent: &str) -> Caller {
        let parent = (!parent.is_empty()).then(|| Bytes::copy_from_slice(parent.as_bytes()));
        let trace = Some(Box::new(TraceContext { parent, state: Some("a=b".into()) }));
        Caller { trace, ..Caller::default() }
    }

    fn begin(rate: u32, parent: &str) -> Option<otel::Span> {
        let (tracer, mut spans) = Tracer::open(rate);
        let span = tracer.begin(|| "a.S/M".to_owned(), &caller(parent), Duration::from_nanos(7));
        span.as_ref()?.outcome(None);
        drop(span);
        spans.try_recv().ok()
    }

    #[test]
    fn the_client_decides_and_where_it_does_not_chance_does() {
        let span = begin(0, PARENT).expect("is sampled");
        assert_eq!(span.trace_id[..4], [0x0a, 0xf7, 0x65, 0x19]);
        assert_eq!(span.parent_span_id[..2], [0xb7, 0xad]);
        assert_eq!((span.trace_state.as_str(), span.flags), ("a=b", 0x301));
        assert!(begin(MILLION, &PARENT.replace("-01", "-00")).is_none());
        assert!(begin(0, "").is_none());
        let root = begin(MILLION, "").expect("all are sampled");
        assert!(root.parent_span_id.is_empty() && root.trace_state.is_empty());
        assert_eq!((root.trace_id.len(), root.span_id.len(), root.flags), (16, 8, 0x101));
    }

    #[test]
    fn what_is_no_traceparent_is_none() {
        for bad in [
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-04",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c8031\u{fc}-b7ad6b7169203331-01",
            "nonsense",
        ] {
            assert!(begin(0, bad).is_none(), "{bad}");
        }
        assert!(begin(0, &PARENT.replace("00-0a", "01-0a")).is_some());
        assert!(begin(0, &(PARENT.replace("00-0a", "01-0a") + "-more")).is_some());
    }

    #[test]
    fn a_share_of_all_traces_is_taken_by_their_ids() {
        let id = |low: u64| [[0; 8], low.to_be_bytes()].concat();
        assert!(is_chosen(&id(u64::MAX), MILLION) && is_chosen(&id(0), 1));
        assert!(is_chosen(&id((1 << 63) - 2), 500_000) && !is_chosen(&id(1 << 63), 500_000));
        assert!(!is_chosen(&id(0), 0));
    }

    #[test]
    fn a_part_lies_in_its_call_and_errors_of_ours_are_told() {
        let (tracer, mut spans) = Tracer::open(0);
        let mut caller = caller(PARENT);
        caller.span = tracer.begin(|| "a.S/M".to_owned(), &caller, Duration::ZERO);
        let call = caller.span.clone().expect("is sampled");
        let inner = caller.within("put", || vec![text("key", &[b'k'; 5000])]);
        inner.span.as_ref().expect("is sampled").event("it happens", Vec::new());
        drop(inner);
        let part = spans.try_recv().expect("is over");
        call.outcome(Some(&Status::new(Code::Unavailable, "no leader")));
        drop(call);
        let call = spans.try_recv().expect("is over");
        assert_eq!((&part.trace_id, &part.parent_span_id), (&call.trace_id, &call.span_id));
        assert_eq!((part.name.as_str(), part.events.len(), part.flags), ("put", 1, 0x101));
        assert_eq!(part.attributes, [text("key", &[b'k'; MOST_TEXT_BYTES])]);
        assert!(call.attributes.contains(&text("rpc.response.status_code", b"UNAVAILABLE")));
        assert_eq!(call.status.expect("is an error").code(), StatusCode::Error);
    }

    #[test]
    fn a_call_that_is_dropped_was_cancelled() {
        let (tracer, mut spans) = Tracer::open(0);
        drop(tracer.begin(|| "a.S/M".to_owned(), &caller(PARENT), Duration::ZERO));
        let call = spans.try_recv().expect("is over");
        assert!(call.attributes.contains(&text("rpc.response.status_code", b"CANCELLED")));
        assert_eq!(call.status, None);
    }

    #[test]
    fn what_the_queue_has_no_room_for_is_counted() {
        let (tracer, _spans) = Tracer::open(0);
        for _ in 0..QUEUE_SPANS + 3 {
            drop(tracer.begin(String::new, &caller(PARENT), Duration::ZERO));
        }
        assert_eq!((tracer.take_lost(), tracer.take_lost()), (3, 0));
    }
}
