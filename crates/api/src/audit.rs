//! The audit log: a line for each call, of who asked from where for which keys, and what came of
//! it. Off unless it is opened; then a call leaves a line in a bounded queue, and never waits for
//! whoever writes it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use proto::Message;
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest};
use proto::v3electionpb::{CampaignRequest, LeaderRequest, ProclaimRequest, ResignRequest};
use proto::v3lockpb::{LockRequest, UnlockRequest};
use serde_json::{Value, json};

use crate::status::{Code, Status};

/// Lines that may wait to be written; more are lost, and the next one tells how many.
const QUEUE_LINES: usize = 4096;
/// Keys that a line names.
const MOST_KEYS: usize = 32;
/// Bytes of a key that a line shows.
const MOST_KEY_BYTES: usize = 256;

/// Which calls have a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Methods (`Put`), services (`etcdserverpb.KV`) or both (`etcdserverpb.KV/Put`); none for
    /// all.
    pub methods: Vec<String>,
    /// Calls that touch keys under one of these; none for all calls, also those without keys.
    pub prefixes: Vec<Bytes>,
}

/// A line of the audit log, without its end.
pub type AuditLine = String;

/// Where calls leave their lines.
#[derive(Debug)]
pub struct Audit {
    filter: AuditFilter,
    lines: SyncSender<AuditLine>,
    lost: AtomicU64,
}

/// A call that is over.
pub(crate) struct Audited<'a> {
    pub(crate) service: &'static str,
    pub(crate) method: &'static str,
    pub(crate) remote: Option<SocketAddr>,
    /// Who called, where auth is on and something said it.
    pub(crate) user: Option<&'a str>,
    /// The request of a call that has a single one.
    pub(crate) request: Option<&'a Bytes>,
    /// `None` where the caller gave up.
    pub(crate) outcome: Option<&'a Result<(), Status>>,
    /// Since 1970.
    pub(crate) begun: Duration,
    pub(crate) took: Duration,
}

impl Audit {
    /// An audit log, and the lines that somebody is to write.
    pub fn open(filter: AuditFilter) -> (Self, Receiver<AuditLine>) {
        let (lines, inbox) = sync_channel(QUEUE_LINES);
        (Self { filter, lines, lost: AtomicU64::new(0) }, inbox)
    }

    pub(crate) fn note(&self, call: &Audited<'_>) {
        if !self.filter.wants_method(call.service, call.method) {
            return;
        }
        let keys = call.request.map_or_else(Vec::new, |it| keys(call.service, call.method, it));
        if !self.filter.wants_keys(&keys) {
            return;
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if self.lines.try_send(line(call, &keys, lost)).is_err() {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
    }
}

impl AuditFilter {
    fn wants_method(&self, service: &str, method: &str) -> bool {
        let matches = |wanted: &String| match wanted.split_once('/') {
            Some((of, name)) => of == service && name == method,
            None => wanted == method || wanted == service,
        };
        self.methods.is_empty() || self.methods.iter().any(matches)
    }

    fn wants_keys(&self, keys: &[Keys]) -> bool {
        let under = |keys: &Keys| self.prefixes.iter().any(|prefix| keys.meets(prefix));
        self.prefixes.is_empty() || keys.iter().any(under)
    }
}

/// A key, or a range of them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Keys {
    key: Bytes,
    range_end: Bytes,
}

impl Keys {
    fn one(key: &Bytes) -> Self {
        Self { key: key.clone(), range_end: Bytes::new() }
    }

    /// Whether some key under the prefix may be among these.
    fn meets(&self, prefix: &Bytes) -> bool {
        if self.key.starts_with(prefix) {
            return true;
        }
        let open = self.range_end[..] == [0];
        // Those from the key on that begin with the prefix, if the range goes so far.
        !self.range_end.is_empty() && self.key < *prefix && (open || *prefix < self.range_end)
    }

    fn shown(&self) -> Value {
        if self.range_end.is_empty() {
            return json!(shown(&self.key));
        }
        json!([shown(&self.key), shown(&self.range_end)])
    }
}

/// A key as text, also where it is none.
fn shown(key: &Bytes) -> String {
    let whole = key.len() <= MOST_KEY_BYTES;
    let part = &key[..key.len().min(MOST_KEY_BYTES)];
    match std::str::from_utf8(part) {
        Ok(text) if whole => text.to_owned(),
        _ => format!("{}{}", part.escape_ascii(), if whole { "" } else { "..." }),
    }
}

/// Which keys a call is about.
fn keys(service: &str, method: &str, request: &Bytes) -> Vec<Keys> {
    fn read<M: Message + Default>(request: &Bytes, keys: impl FnOnce(M) -> Vec<Keys>) -> Vec<Keys> {
        M::decode(request.clone()).map_or_else(|_| Vec::new(), keys)
    }
    let under = |name: &Bytes| {
        let [key, range_end] = [b'/', b'0'].map(|end| [&name[..], &[end]].concat().into());
        vec![Keys { key, range_end }]
    };
    match (service, method) {
        ("etcdserverpb.KV", "Range") => read(request, |it: RangeRequest| vec![of_range(&it)]),
        ("etcdserverpb.KV", "Put") => read(request, |it: PutRequest| vec![Keys::one(&it.key)]),
        ("etcdserverpb.KV", "DeleteRange") => {
            read(request, |it: DeleteRangeRequest| vec![of_delete(&it)])
        }
        ("etcdserverpb.KV", "Txn") => read(request, |it: TxnRequest| of_txn(&it)),
        ("v3lockpb.Lock", "Lock") => read(request, |it: LockRequest| under(&it.name)),
        ("v3lockpb.Lock", "Unlock") => read(request, |it: UnlockRequest| vec![Keys::one(&it.key)]),
        ("v3electionpb.Election", "Campaign") => {
            read(request, |it: CampaignRequest| under(&it.name))
        }
        ("v3electionpb.Election", "Leader") => read(request, |it: LeaderRequest| under(&it.name)),
        ("v3electionpb.Election", "Proclaim") => read(request, |it: ProclaimRequest| {
            it.leader.iter().map(|leader| Keys::one(&leader.key)).collect()
        }),
        ("v3electionpb.Election", "Resign") => read(request, |it: ResignRequest| {
            it.leader.iter().map(|leader| Keys::one(&leader.key)).collect()
        }),
        _ => Vec::new(),
    }
}

fn of_range(range: &RangeRequest) -> Keys {
    Keys { key: range.key.clone(), range_end: range.range_end.clone() }
}

fn of_delete(delete: &DeleteRangeRequest) -> Keys {
    Keys { key: delete.key.clone(), range_end: delete.range_end.clone() }
}

/// Of both branches: which one was taken is not asked. Compares tell of a key, too.
fn of_txn(txn: &TxnRequest) -> Vec<Keys> {
    let compared = txn
        .compare
        .iter()
        .map(|compare| Keys { key: compare.key.clone(), range_end: compare.range_end.clone() });
    let ops = txn.success.iter().chain(&txn.failure).flat_map(of_op);
    let mut all: Vec<Keys> = Vec::new();
    for keys in compared.chain(ops) {
        if !all.contains(&keys) {
            all.push(keys);
        }
    }
    all
}

fn of_op(op: &RequestOp) -> Vec<Keys> {
    match &op.request {
        Some(Request::RequestRange(range)) => vec![of_range(range)],
        Some(Request::RequestPut(put)) => vec![Keys::one(&put.key)],
        Some(Request::RequestDeleteRange(delete)) => vec![of_delete(delete)],
        Some(Request::RequestTxn(txn)) => of_txn(txn),
        None => Vec::new(),
    }
}

fn line(call: &Audited<'_>, keys: &[Keys], lost: u64) -> AuditLine {
    let (code, message) = match call.outcome {
        Some(Ok(())) => (Code::Ok, ""),
        Some(Err(status)) => (status.code, &*status.message),
        None => (Code::Canceled, "the caller gave up"),
    };
    let mut line = json!({
        "unix_ms": u64::try_from(call.begun.as_millis()).unwrap_or(u64::MAX),
        "took_us": u64::try_from(call.took.as_micros()).unwrap_or(u64::MAX),
        "remote": call.remote.map(|remote| remote.to_string()),
        "method": format!("{}/{}", call.service, call.method),
        "keys": keys.iter().take(MOST_KEYS).map(Keys::shown).collect::<Vec<_>>(),
        "outcome": code.name(),
    });
    if let Some(user) = call.user {
        line["user"] = json!(user);
    }
    if keys.len() > MOST_KEYS {
        line["more_keys"] = json!(keys.len() - MOST_KEYS);
    }
    if !message.is_empty() {
        line["message"] = json!(message);
    }
    if lost > 0 {
        line["lost_before"] = json!(lost);
    }
    line.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call<'a>(method: &'static str, request: &'a Bytes) -> Audited<'a> {
        Audited {
            service: "etcdserverpb.KV",
            method,
            remote: Some(([127, 0, 0, 1], 9).into()),
            user: None,
            request: Some(request),
            outcome: Some(&Ok(())),
            begun: Duration::from_millis(5),
            took: Duration::from_micros(7),
        }
    }

    fn put(key: &'static str) -> Bytes {
        PutRequest { key: key.into(), value: "secret".into(), ..Default::default() }
            .encode_to_vec()
            .into()
    }

    fn range(key: &'static [u8], range_end: &'static [u8]) -> Bytes {
        let (key, range_end) = (Bytes::from_static(key), Bytes::from_static(range_end));
        RangeRequest { key, range_end, ..Default::default() }.encode_to_vec().into()
    }

    #[test]
    fn a_line_tells_of_keys_and_never_of_values() {
        let (audit, lines) = Audit::open(AuditFilter::default());
        audit.note(&call("Put", &put("a\"b")));
        assert_eq!(
            lines.try_recv().expect("a line"),
            concat!(
                r#"{"keys":["a\"b"],"method":"etcdserverpb.KV/Put","outcome":"OK","#,
                r#""remote":"127.0.0.1:9","took_us":7,"unix_ms":5}"#
            )
        );
        let refused = Err(Status::new(Code::NotFound, "no lease"));
        let range = range(b"\xff", b"\0");
        audit.note(&Audited { outcome: Some(&refused), ..call("Range", &range) });
        let line = lines.try_recv().expect("a line");
        assert!(line.contains(r#""keys":[["\\xff","\u0000"]]"#), "{line}");
        assert!(line.contains(r#""message":"no lease","method""#), "{line}");
        let garbage = Bytes::from_static(b"\xff");
        audit.note(&Audited { outcome: None, user: Some("u"), ..call("Range", &garbage) });
        let line = lines.try_recv().expect("a line");
        assert!(line.contains(r#""keys":[]"#) && line.contains("Canceled"), "{line}");
        assert!(line.contains(r#""user":"u""#), "{line}");
    }

    #[test]
    fn filters_go_by_method_and_by_prefix() {
        let prefixes = vec![Bytes::from_static(b"m/")];
        let methods = ["Put", "etcdserverpb.KV/Range", "other.S/Txn"].map(str::to_owned).into();
        let (audit, lines) = Audit::open(AuditFilter { methods, prefixes });
        let noted = |method, request: Bytes| {
            audit.note(&call(method, &request));
            lines.try_recv().is_ok()
        };
        assert!(noted("Put", put("m/1")) && !noted("Put", put("n/1")));
        assert!(!noted("Txn", Bytes::new()), "of another service");
        assert!(noted("Range", range(b"a", b"\0")), "all from a on");
        assert!(noted("Range", range(b"a", b"m0")) && noted("Range", range(b"m/5", b"m/6")));
        assert!(!noted("Range", range(b"a", b"m/")) && !noted("Range", range(b"m0", b"\0")));
    }

    #[test]
    fn a_queue_that_is_full_loses_lines_and_says_how_many() {
        let (audit, lines) = Audit::open(AuditFilter::default());
        for _ in 0..QUEUE_LINES + 3 {
            audit.note(&call("Put", &put("a")));
        }
        assert_eq!(lines.try_iter().count(), QUEUE_LINES);
        audit.note(&call("Put", &put("a")));
        assert!(lines.try_recv().expect("a line").contains(r#""lost_before":3"#));
    }

    #[test]
    fn a_txn_tells_each_of_its_keys_once() {
        let op = |request| RequestOp { request: Some(request) };
        let put = || Request::RequestPut(PutRequest { key: "a".into(), ..Default::default() });
        let nested = TxnRequest { failure: vec![op(put())], ..Default::default() };
        let delete = DeleteRangeRequest { key: "b".into(), ..Default::default() };
        let txn = TxnRequest {
            success: vec![op(put()), op(Request::RequestTxn(nested))],
            failure: vec![op(Request::RequestDeleteRange(delete))],
            ..Default::default()
        };
        let found = keys("etcdserverpb.KV", "Txn", &txn.encode_to_vec().into());
        assert_eq!(found, [Keys::one(&"a".into()), Keys::one(&"b".into())]);
    }
}
