//! Small histories to hold checkers against.

use bytes::Bytes;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op;
use proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};
use proto::mvccpb::KeyValue;

use super::{Answer, Moment, Operation, Outcome, Request};

pub(super) fn kv(key: &str, value: &str, created: i64, revision: i64, version: i64) -> KeyValue {
    KeyValue {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        create_revision: created,
        mod_revision: revision,
        version,
        lease: 0,
    }
}

fn put_request(key: &str, value: &str) -> PutRequest {
    PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..PutRequest::default()
    }
}

fn operation(called: Moment, returned: Moment, request: Request, answer: Answer) -> Operation {
    let outcome = Outcome::Answered { returned, answer };
    Operation { client: 1, called, request, outcome }
}

pub(super) fn put(called: Moment, returned: Moment, value: &str, revision: i64) -> Operation {
    let answer = Answer::Put { revision, prev_kv: None };
    operation(called, returned, Request::Put(put_request("k", value)), answer)
}

/// A put that nobody has heard of again.
pub(super) fn lost_put(called: Moment, value: &str) -> Operation {
    let request = Request::Put(put_request("k", value));
    Operation { client: 2, called, request, outcome: Outcome::Unknown }
}

pub(super) fn get(
    called: Moment,
    returned: Moment,
    revision: i64,
    found: Option<KeyValue>,
) -> Operation {
    let range = RangeRequest { key: Bytes::from_static(b"k"), ..RangeRequest::default() };
    let kvs: Vec<KeyValue> = found.into_iter().collect();
    let answer = Answer::Range { revision, count: kvs.len(), more: false, kvs };
    operation(called, returned, Request::Range(range), answer)
}

/// As [`get`], of an older revision.
pub(super) fn get_at(called: Moment, at: i64, revision: i64, found: Option<KeyValue>) -> Operation {
    let mut operation = get(called, called + 1, revision, found);
    if let Request::Range(range) = &mut operation.request {
        range.revision = at;
    }
    operation
}

pub(super) fn delete(called: Moment, returned: Moment, revision: i64, deleted: usize) -> Operation {
    let delete = DeleteRangeRequest { key: Bytes::from_static(b"k"), ..Default::default() };
    let answer = Answer::Delete { revision, deleted, prev_kvs: Vec::new() };
    operation(called, returned, Request::DeleteRange(delete), answer)
}

/// Puts where the key's newest revision is the expected one, and else reads it.
pub(super) fn put_if(expected: i64, value: &str) -> Request {
    let compare = Compare {
        result: CompareResult::Equal as i32,
        target: CompareTarget::Mod as i32,
        key: Bytes::from_static(b"k"),
        range_end: Bytes::new(),
        target_union: Some(TargetUnion::ModRevision(expected)),
    };
    let put = request_op::Request::RequestPut(put_request("k", value));
    let range = RangeRequest { key: Bytes::from_static(b"k"), ..RangeRequest::default() };
    let range = request_op::Request::RequestRange(range);
    Request::Txn(TxnRequest {
        compare: vec![compare],
        success: vec![RequestOp { request: Some(put) }],
        failure: vec![RequestOp { request: Some(range) }],
    })
}

pub(super) fn txn(
    called: Moment,
    returned: Moment,
    request: Request,
    revision: i64,
    read: Option<KeyValue>,
) -> Operation {
    let succeeded = read.is_none();
    let op = match read {
        None => Answer::Put { revision, prev_kv: None },
        Some(kv) => Answer::Range { revision, count: 1, more: false, kvs: vec![kv] },
    };
    let answer = Answer::Txn { revision, succeeded, ops: vec![op] };
    operation(called, returned, request, answer)
}
