//! A prefix before every key that goes to members, and taken off what comes back.

use bytes::{BufMut as _, Bytes, BytesMut};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::response_op::Response;
use proto::etcdserverpb::{
    DeleteRangeResponse, PutResponse, RangeResponse, RequestOp, ResponseOp, TxnRequest, TxnResponse,
};
use proto::mvccpb::KeyValue;

/// The end of a range that has none.
const ALL: &[u8] = &[0];

/// The prefix; with an empty one nothing is changed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Namespace {
    prefix: Bytes,
}

impl Namespace {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: Bytes::copy_from_slice(prefix.as_bytes()) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.prefix.is_empty()
    }

    pub(crate) fn key(&self, key: &[u8]) -> Bytes {
        let mut whole = BytesMut::with_capacity(self.prefix.len() + key.len());
        whole.put(&self.prefix[..]);
        whole.put(key);
        whole.freeze()
    }

    /// The end of a range whose keys stay within the namespace.
    pub(crate) fn end(&self, range_end: &[u8]) -> Bytes {
        match range_end {
            [] => Bytes::new(),
            ALL => behind(&self.prefix),
            end => self.key(end),
        }
    }

    pub(crate) fn put_on(&self, key: &mut Bytes, range_end: &mut Bytes) {
        if !self.is_empty() {
            (*key, *range_end) = (self.key(key), self.end(range_end));
        }
    }

    pub(crate) fn take_off(&self, key: &mut Bytes) {
        *key = self.bare(key).unwrap_or_default();
    }

    /// A key without the prefix, if it has it.
    pub(crate) fn bare(&self, key: &Bytes) -> Option<Bytes> {
        key.starts_with(&self.prefix).then(|| key.slice(self.prefix.len()..))
    }

    fn all(&self, kvs: &mut [KeyValue]) {
        kvs.iter_mut().for_each(|kv| self.take_off(&mut kv.key));
    }

    pub(crate) fn range_reply(&self, reply: &mut RangeResponse) {
        self.all(&mut reply.kvs);
    }

    pub(crate) fn put_reply(&self, reply: &mut PutResponse) {
        if let Some(kv) = &mut reply.prev_kv {
            self.take_off(&mut kv.key);
        }
    }

    pub(crate) fn delete_reply(&self, reply: &mut DeleteRangeResponse) {
        self.all(&mut reply.prev_kvs);
    }

    pub(crate) fn txn(&self, txn: &mut TxnRequest) {
        if self.is_empty() {
            return;
        }
        for compare in &mut txn.compare {
            let end = &mut compare.range_end;
            (compare.key, *end) = (self.key(&compare.key), self.end(end));
        }
        txn.success.iter_mut().chain(&mut txn.failure).for_each(|op| self.op(op));
    }

    fn op(&self, op: &mut RequestOp) {
        match &mut op.request {
            Some(Request::RequestRange(range)) => self.put_on(&mut range.key, &mut range.range_end),
            Some(Request::RequestPut(put)) => put.key = self.key(&put.key),
            Some(Request::RequestDeleteRange(delete)) => {
                self.put_on(&mut delete.key, &mut delete.range_end);
            }
            Some(Request::RequestTxn(txn)) => self.txn(txn),
            None => {}
        }
    }

    pub(crate) fn txn_reply(&self, reply: &mut TxnResponse) {
        reply.responses.iter_mut().for_each(|op| self.op_reply(op));
    }

    fn op_reply(&self, op: &mut ResponseOp) {
        match &mut op.response {
            Some(Response::ResponseRange(range)) => self.range_reply(range),
            Some(Response::ResponsePut(put)) => self.put_reply(put),
            Some(Response::ResponseDeleteRange(delete)) => self.delete_reply(delete),
            Some(Response::ResponseTxn(txn)) => self.txn_reply(txn),
            None => {}
        }
    }
}

/// The first key behind all that begin so.
fn behind(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end.into();
        }
    }
    Bytes::from_static(ALL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stay_within_the_namespace() {
        let namespace = Namespace::new("ns/");
        assert_eq!(namespace.key(b"a"), "ns/a");
        assert_eq!(namespace.end(b""), "");
        assert_eq!(namespace.end(b"b"), "ns/b");
        assert_eq!(namespace.end(b"\0"), "ns0");
        assert_eq!(behind(b"a\xff"), "b");
        assert_eq!(behind(b"\xff\xff"), &b"\0"[..]);
        assert_eq!(namespace.bare(&Bytes::from("ns/a")), Some(Bytes::from("a")));
        assert_eq!(namespace.bare(&Bytes::from("other")), None);
    }

    #[test]
    fn a_txn_in_a_txn_has_the_prefix_too() {
        let namespace = Namespace::new("ns/");
        let put = proto::etcdserverpb::PutRequest { key: "k".into(), ..Default::default() };
        let inner = TxnRequest {
            failure: vec![RequestOp { request: Some(Request::RequestPut(put)) }],
            ..TxnRequest::default()
        };
        let mut txn = TxnRequest {
            success: vec![RequestOp { request: Some(Request::RequestTxn(inner)) }],
            ..TxnRequest::default()
        };
        namespace.txn(&mut txn);
        let Some(Request::RequestTxn(inner)) = &txn.success[0].request else { panic!("a txn") };
        let Some(Request::RequestPut(put)) = &inner.failure[0].request else { panic!("a put") };
        assert_eq!(put.key, "ns/k");
    }
}
