//! `etcdserverpb.KV`: reads that may be old from the cache, and writes that empty it.

use std::sync::Arc;

use api::{Caller, Code, Replies, Requests, Status};
use bytes::{BufMut as _, Bytes, BytesMut};
use client::Repeat;
use proto::Message as _;
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, RequestOp, TxnRequest, TxnResponse,
};
use tokio::time::sleep;

use crate::cache::{Found, Keys, Question};
use crate::proxy::Proxy;
use crate::status::{self, answered, decode, encode, metadata};

pub(crate) const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";
const DELETE_RANGE: &str = "/etcdserverpb.KV/DeleteRange";
const TXN: &str = "/etcdserverpb.KV/Txn";
const COMPACT: &str = "/etcdserverpb.KV/Compact";

fn empty_key() -> Status {
    Status::new(Code::InvalidArgument, "etcdserver: key is not provided")
}

impl Proxy {
    /// A key before which a prefix is put is not empty any more: members would not mind.
    fn check_key(&self, key: &Bytes) -> Result<(), Status> {
        if key.is_empty() && !self.namespace.is_empty() { Err(empty_key()) } else { Ok(()) }
    }

    async fn ask(
        &self,
        caller: &Caller,
        path: &str,
        request: &[u8],
        repeat: Repeat,
    ) -> Result<Bytes, Status> {
        self.channel.unary(path, &metadata(caller), request, repeat).await.map_err(status::of)
    }

    /// As [`Proxy::ask`], for what changes nothing: never from before what was read last, where
    /// that is wished. Members have their turn until one is not behind.
    async fn read(&self, caller: &Caller, path: &str, request: &[u8]) -> Result<Bytes, Status> {
        let mut behind = 0;
        loop {
            let reply = self.ask(caller, path, request, Repeat::Always).await?;
            match &self.order {
                Some(order) if !order.admits(&reply) => {
                    behind += 1;
                    sleep(order.pause(behind)?).await;
                }
                _ => return Ok(reply),
            }
        }
    }
}

/// Who asks is a part of the question: what one may read is not for everybody.
fn question(caller: &Caller, request: &RangeRequest) -> Question {
    let credentials = &caller.credentials;
    let mut question = BytesMut::new();
    for part in [&credentials.token, &credentials.authorization] {
        let part = part.as_deref().unwrap_or_default();
        question.put_u32(part.len() as u32);
        question.put(part);
    }
    // One that was read linearizably is good enough for those who ask for less.
    let serializable = RangeRequest { serializable: true, ..request.clone() };
    question.put(&serializable.encode_to_vec()[..]);
    question.freeze()
}

pub(crate) async fn range(
    proxy: Arc<Proxy>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let mut range: RangeRequest = decode(&request)?;
    proxy.check_key(&range.key)?;
    let question = question(&caller, &range);
    if range.serializable {
        match proxy.cache.get(&question, range.revision) {
            Found::Answer(reply) if is_in_order(&proxy, &reply) => return Ok(reply),
            Found::Compacted => {
                let text = "etcdserver: mvcc: required revision has been compacted";
                return Err(Status::new(Code::OutOfRange, text));
            }
            Found::Answer(_) | Found::Nothing => {}
        }
    }
    let since = proxy.cache.now();
    let revision = range.revision;
    let keys = Keys { key: range.key.clone(), range_end: range.range_end.clone() };
    let reply = if proxy.namespace.is_empty() {
        proxy.read(&caller, RANGE, &request).await?
    } else {
        proxy.namespace.put_on(&mut range.key, &mut range.range_end);
        let reply = proxy.read(&caller, RANGE, &range.encode_to_vec()).await?;
        let mut reply: RangeResponse = answered(reply)?;
        proxy.namespace.range_reply(&mut reply);
        encode(&reply)
    };
    proxy.cache.add(question, keys, revision, reply.clone(), since);
    Ok(reply)
}

fn is_in_order(proxy: &Proxy, reply: &Bytes) -> bool {
    proxy.order.as_ref().is_none_or(|order| order.admits(reply))
}

pub(crate) async fn range_stream(
    _: Arc<Proxy>,
    _: Caller,
    _: Box<dyn Requests>,
    _: Box<dyn Replies>,
) -> Result<(), Status> {
    let text = "RangeStream is not supported by the gRPC proxy";
    Err(Status::new(Code::Unimplemented, text))
}

pub(crate) async fn put(
    proxy: Arc<Proxy>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let mut put: PutRequest = decode(&request)?;
    proxy.check_key(&put.key)?;
    let keys = Keys { key: put.key.clone(), range_end: Bytes::new() };
    let _writing = proxy.cache.writing(vec![keys]);
    if proxy.namespace.is_empty() {
        return proxy.ask(&caller, PUT, &request, Repeat::Unsent).await;
    }
    put.key = proxy.namespace.key(&put.key);
    let reply = proxy.ask(&caller, PUT, &put.encode_to_vec(), Repeat::Unsent).await?;
    let mut reply: PutResponse = answered(reply)?;
    proxy.namespace.put_reply(&mut reply);
    Ok(encode(&reply))
}

pub(crate) async fn delete_range(
    proxy: Arc<Proxy>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let mut delete: DeleteRangeRequest = decode(&request)?;
    proxy.check_key(&delete.key)?;
    let keys = Keys { key: delete.key.clone(), range_end: delete.range_end.clone() };
    let _writing = proxy.cache.writing(vec![keys]);
    if proxy.namespace.is_empty() {
        return proxy.ask(&caller, DELETE_RANGE, &request, Repeat::Unsent).await;
    }
    proxy.namespace.put_on(&mut delete.key, &mut delete.range_end);
    let reply = proxy.ask(&caller, DELETE_RANGE, &delete.encode_to_vec(), Repeat::Unsent).await?;
    let mut reply: DeleteRangeResponse = answered(reply)?;
    proxy.namespace.delete_reply(&mut reply);
    Ok(encode(&reply))
}

pub(crate) async fn txn(
    proxy: Arc<Proxy>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let mut txn: TxnRequest = decode(&request)?;
    let mut keys = Vec::new();
    touched(&txn, &mut keys);
    // Whoever looks at keys on which something depends shall see what it depends on.
    for compare in &txn.compare {
        keys.push(Keys { key: compare.key.clone(), range_end: compare.range_end.clone() });
    }
    let is_read_only = is_read_only(&txn);
    let _writing = proxy.cache.writing(keys);
    let request = match proxy.namespace.is_empty() {
        true => request,
        false => {
            proxy.namespace.txn(&mut txn);
            encode(&txn)
        }
    };
    let reply = match is_read_only {
        true => proxy.read(&caller, TXN, &request).await?,
        false => proxy.ask(&caller, TXN, &request, Repeat::Unsent).await?,
    };
    if proxy.namespace.is_empty() {
        return Ok(reply);
    }
    let mut reply: TxnResponse = answered(reply)?;
    proxy.namespace.txn_reply(&mut reply);
    Ok(encode(&reply))
}

fn ops(txn: &TxnRequest) -> impl Iterator<Item = &RequestOp> {
    txn.success.iter().chain(&txn.failure)
}

/// What either branch may write.
fn touched(txn: &TxnRequest, keys: &mut Vec<Keys>) {
    for op in ops(txn) {
        match &op.request {
            Some(Request::RequestPut(put)) => {
                keys.push(Keys { key: put.key.clone(), range_end: Bytes::new() });
            }
            Some(Request::RequestDeleteRange(delete)) => {
                let (key, range_end) = (delete.key.clone(), delete.range_end.clone());
                keys.push(Keys { key, range_end });
            }
            Some(Request::RequestTxn(inner)) => touched(inner, keys),
            Some(Request::RequestRange(_)) | None => {}
        }
    }
}

fn is_read_only(txn: &TxnRequest) -> bool {
    ops(txn).all(|op| matches!(op.request, Some(Request::RequestRange(_))))
}

pub(crate) async fn compact(
    proxy: Arc<Proxy>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let CompactionRequest { revision, .. } = decode(&request)?;
    let reply = proxy.ask(&caller, COMPACT, &request, Repeat::Unsent).await?;
    proxy.cache.compact(revision);
    Ok(reply)
}
