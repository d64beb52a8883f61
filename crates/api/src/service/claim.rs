//! What Lock and Election are made of: under a name each lease has a key, and the oldest of these
//! keys owns the name.
//!
//! All that is read and written goes through the handlers of the calls that a client could make
//! itself, so it is checked like those, and on the caller's behalf.

use std::sync::Arc;

use bytes::Bytes;
use mvcc::{
    EventKind, WatchBatch, WatchContent, WatchCreate, WatchFilters, WatchNext, WatchStream,
};
use proto::Message;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::response_op::Response;
use proto::etcdserverpb::{
    Compare, DeleteRangeRequest, DeleteRangeResponse, LeaseGrantRequest, LeaseGrantResponse,
    PutRequest, RangeRequest, RangeResponse, RequestOp, ResponseOp, TxnRequest, TxnResponse,
};
use proto::mvccpb::KeyValue;

use super::{Services, decode, encode, kv, lease};
use crate::error;
use crate::rpc::{BoxFuture, Caller};
use crate::status::{Code, Status};

/// How long a lease lives that is made for a caller who has none.
const SESSION_TTL_SECONDS: i64 = 60;

/// Calls on behalf of a caller.
#[derive(Clone)]
pub(super) struct Calls {
    services: Arc<Services>,
    caller: Caller,
}

/// etcd makes these calls by its client library, whose errors have a text and no code.
fn without_code(status: Status) -> Status {
    Status { code: Code::Unknown, ..status }
}

impl Calls {
    pub(super) fn new(services: Arc<Services>, caller: Caller) -> Self {
        Self { services, caller }
    }

    pub(super) fn services(&self) -> &Services {
        &self.services
    }

    async fn call<Reply: Message + Default>(
        &self,
        handler: impl FnOnce(Arc<Services>, Caller, Bytes) -> BoxFuture<Result<Bytes, Status>>,
        request: &impl Message,
    ) -> Result<Reply, Status> {
        let reply = handler(Arc::clone(&self.services), self.caller.clone(), encode(request));
        decode(reply.await.map_err(without_code)?).map_err(without_code)
    }

    pub(super) async fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Status> {
        self.call(|services, caller, bytes| Box::pin(kv::range(services, caller, bytes)), request)
            .await
    }

    pub(super) async fn txn(&self, request: &TxnRequest) -> Result<TxnResponse, Status> {
        self.call(|services, caller, bytes| Box::pin(kv::txn(services, caller, bytes)), request)
            .await
    }

    pub(super) async fn delete(&self, key: Bytes) -> Result<DeleteRangeResponse, Status> {
        let request = DeleteRangeRequest { key, ..DeleteRangeRequest::default() };
        let handler =
            |services, caller, bytes| Box::pin(kv::delete_range(services, caller, bytes)) as _;
        self.call(handler, &request).await
    }

    /// The lease of a request, or a new one where it names none.
    pub(super) async fn lease(&self, lease: i64) -> Result<i64, Status> {
        if lease != 0 {
            return Ok(lease);
        }
        let request = LeaseGrantRequest { ttl: SESSION_TTL_SECONDS, id: 0 };
        let handler =
            |services, caller, bytes| Box::pin(lease::grant(services, caller, bytes)) as _;
        let granted: LeaseGrantResponse = self.call(handler, &request).await?;
        Ok(granted.id)
    }

    /// Returns when no key under the prefix is left that is older than this revision. Who waits
    /// watches the one before it only, so that an end wakes one and not all.
    pub(super) async fn wait_for_older(&self, prefix: &Bytes, revision: i64) -> Result<(), Status> {
        loop {
            let newest = RangeRequest {
                sort_order: SortOrder::Descend.into(),
                max_create_revision: revision - 1,
                ..by_creation(prefix)
            };
            let reply = self.range(&newest).await?;
            let Some(older) = reply.kvs.first() else { return Ok(()) };
            // That the caller may read this key was asked for the range.
            let from = revision_of(reply.header.as_ref());
            let mut watch = Watch::open(&self.services, older.key.clone(), Bytes::new(), from)?;
            while !has_delete(&watch.next().await?) {}
        }
    }
}

fn has_delete(batch: &WatchBatch) -> bool {
    let WatchContent::Events(events) = &batch.content else { return false };
    events.iter().any(|event| event.event.kind == EventKind::Delete)
}

pub(super) fn revision_of(header: Option<&proto::etcdserverpb::ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

/// Under which the keys of a name are.
pub(super) fn prefix_of(name: &[u8]) -> Bytes {
    [name, b"/"].concat().into()
}

/// The key of a lease under a prefix; the number as Go writes it.
pub(super) fn key_of(prefix: &Bytes, lease: i64) -> Bytes {
    let sign = if lease < 0 { "-" } else { "" };
    let number = format!("{sign}{:x}", lease.unsigned_abs());
    [&prefix[..], number.as_bytes()].concat().into()
}

/// Where the keys under a prefix end. All prefixes here end in a slash.
pub(super) fn end_of(prefix: &Bytes) -> Bytes {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end.into()
}

/// The key under the prefix that is the oldest.
pub(super) fn by_creation(prefix: &Bytes) -> RangeRequest {
    RangeRequest {
        key: prefix.clone(),
        range_end: end_of(prefix),
        limit: 1,
        sort_order: SortOrder::Ascend.into(),
        sort_target: SortTarget::Create.into(),
        ..RangeRequest::default()
    }
}

/// Holds if the key was created by this revision; 0 for a key that is not there.
pub(super) fn created_at(key: &Bytes, revision: i64) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Create.into(),
        key: key.clone(),
        target_union: Some(TargetUnion::CreateRevision(revision)),
        ..Compare::default()
    }
}

pub(super) fn get(request: RangeRequest) -> RequestOp {
    RequestOp { request: Some(Request::RequestRange(request)) }
}

pub(super) fn get_key(key: &Bytes) -> RangeRequest {
    RangeRequest { key: key.clone(), ..RangeRequest::default() }
}

pub(super) fn put(key: &Bytes, value: Bytes, lease: i64) -> RequestOp {
    let request = PutRequest { key: key.clone(), value, lease, ..PutRequest::default() };
    RequestOp { request: Some(Request::RequestPut(request)) }
}

pub(super) fn delete(key: &Bytes) -> RequestOp {
    let request = DeleteRangeRequest { key: key.clone(), ..DeleteRangeRequest::default() };
    RequestOp { request: Some(Request::RequestDeleteRange(request)) }
}

/// The first row of an answer inside of a transaction.
pub(super) fn first_row(responses: &[ResponseOp], at: usize) -> Option<&KeyValue> {
    match responses.get(at)?.response.as_ref()? {
        Response::ResponseRange(rows) => rows.kvs.first(),
        _ => None,
    }
}

/// A key that waits for its turn. A caller who gives up takes it away, so that nobody waits for it.
pub(super) struct Claim {
    calls: Calls,
    key: Bytes,
    revision: i64,
    waits: bool,
}

impl Claim {
    pub(super) fn new(calls: Calls, key: Bytes, revision: i64) -> Self {
        Self { calls, key, revision, waits: true }
    }

    /// The key stays.
    pub(super) fn keep(mut self) {
        self.waits = false;
    }

    /// Takes the key away, and returns when it is gone.
    pub(super) async fn give_up(mut self) {
        self.waits = false;
        take_away(self.calls.clone(), self.key.clone(), self.revision).await;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Only while a runtime is there: when the member goes down, the lease sees to the key.
        if self.waits
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let key = std::mem::take(&mut self.key);
            // It ends by itself: what it does has the deadline of every proposal.
            runtime.spawn(take_away(self.calls.clone(), key, self.revision));
        }
    }
}

/// Removes a key, but not one of the same name that came later.
async fn take_away(calls: Calls, key: Bytes, revision: i64) {
    let request = TxnRequest {
        compare: vec![created_at(&key, revision)],
        success: vec![delete(&key)],
        failure: Vec::new(),
    };
    if let Err(status) = calls.txn(&request).await {
        tracing::warn!(error = status.to_string(), "failed to remove the key of a waiter");
    }
}

/// A watcher of its own.
pub(super) struct Watch {
    stream: WatchStream,
}

impl Watch {
    pub(super) fn open(
        services: &Services,
        key: Bytes,
        range_end: Bytes,
        start_revision: i64,
    ) -> Result<Self, Status> {
        let mut stream = services.node.watch_hub().open_stream();
        let filters = WatchFilters::default();
        let create =
            WatchCreate { key, range_end, start_revision, filters, ..WatchCreate::default() };
        stream.create(create).map_err(|error| Status::new(Code::Unknown, error.to_string()))?;
        Ok(Self { stream })
    }

    /// What happened next.
    pub(super) async fn next(&mut self) -> Result<WatchBatch, Status> {
        loop {
            match std::future::poll_fn(|cx| self.stream.poll_next(cx)).await {
                WatchNext::Pause => tokio::task::yield_now().await,
                WatchNext::Over => {
                    let text = self.stream.failure().map_or_else(String::new, ToString::to_string);
                    return Err(Status::new(Code::Unknown, text));
                }
                WatchNext::Batch(batch) => match &batch.content {
                    WatchContent::Events(_) => return Ok(batch),
                    WatchContent::Progress => {}
                    WatchContent::Compacted { .. } => return Err(without_code(error::COMPACTED)),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_name_and_its_lease_in_hexadecimal() {
        let prefix = prefix_of(b"name");
        assert_eq!(key_of(&prefix, 0x70cc_1b2a), "name/70cc1b2a");
        assert_eq!(key_of(&prefix, 0), "name/0");
        assert_eq!(key_of(&prefix, -1), "name/-1");
        assert_eq!(key_of(&prefix, i64::MIN), "name/-8000000000000000");
        assert_eq!(end_of(&prefix), "name0");
    }
}
