//! `etcdserverpb.KV`: range, put, delete, txn, compact.

use std::sync::Arc;

use bytes::Bytes;
use node::{Need, Node};
use proto::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, InternalRaftRequest, PutRequest, RangeRequest,
    ResponseHeader, TxnRequest,
};
use state::{RangeReply, Reply};

use super::{Services, checks, decode, decode_received};
use crate::encode::Encoder;
use crate::rpc::{self, Caller, Replies, Requests};
use crate::status::{Code, Status};
use crate::{error, reply, trace};

/// Replies up to this size are encoded on the thread of the connection.
const ENCODED_HERE_BYTES: usize = 1 << 20;
/// What gRPC sends at most in one message.
const LARGEST_REPLY_BYTES: usize = i32::MAX as usize;
/// Rows in the first message of a streamed range.
const FIRST_CHUNK_ROWS: i64 = 10;

pub(super) async fn range(
    services: Arc<Services>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let request: RangeRequest = decode(request)?;
    checks::range(&request)?;
    let caller = caller.within("range", || trace::range(&request, false));
    let mut permitted = None;
    let permit = async {
        permitted = services.permit(&caller, reads(&request)).await?;
        Ok(())
    };
    let rows = services.node.read_range(&request, permit).await?;
    services.still_holds(permitted)?;
    let header = header_of(&services, &rows);
    let bytes = rows.kvs.iter().map(Bytes::len).sum();
    encoded(&services.node, bytes, move || reply::range(header, &rows)).await
}

fn reads(request: &RangeRequest) -> Need<'_> {
    Need::Read { key: &request.key, range_end: &request.range_end }
}

/// Encodes a reply of about so many bytes: a large one on another thread, as this one has other
/// clients.
async fn encoded(
    node: &Node,
    bytes: usize,
    encode: impl FnOnce() -> Bytes + Send + 'static,
) -> Result<Bytes, Status> {
    if bytes <= ENCODED_HERE_BYTES {
        return Ok(encode());
    }
    can_be_sent(bytes)?;
    Ok(node.aside(encode).await?)
}

fn can_be_sent(bytes: usize) -> Result<(), Status> {
    if bytes <= LARGEST_REPLY_BYTES {
        return Ok(());
    }
    let text =
        format!("grpc: trying to send message larger than max ({bytes} vs. {LARGEST_REPLY_BYTES})");
    Err(Status::new(Code::ResourceExhausted, text))
}

/// The header of a range tells the revision that was read, not one that came since: clients watch
/// from there on.
fn header_of(services: &Services, rows: &RangeReply) -> ResponseHeader {
    ResponseHeader { revision: rows.revision, ..services.node.header() }
}

/// A range in pieces, all of the revision that the first one saw.
pub(super) async fn range_stream(
    services: Arc<Services>,
    caller: Caller,
    mut requests: Box<dyn Requests>,
    mut replies: Box<dyn Replies>,
) -> Result<(), Status> {
    let Some(request) = rpc::next(&mut *requests).await else { return Ok(()) };
    let mut request: RangeRequest = decode_received(request?)?;
    checks::range_stream(&request)?;
    let caller = caller.within("range_streaming", || trace::range(&request, true));
    if !request.serializable {
        services.node.read_barrier().await?;
    }
    let permitted = services.permit(&caller, reads(&request)).await?;
    let limit = request.limit.max(0);
    let mut sent = 0;
    let mut chunk_rows = FIRST_CHUNK_ROWS;
    let mut first = None;
    loop {
        request.limit = if limit == 0 { chunk_rows } else { chunk_rows.min(limit - sent) };
        let mut rows = services.node.range(&request).await?;
        if request.revision <= 0 {
            request.revision = rows.revision;
        }
        // What lies beyond the chunk counts in the first one alone.
        let (header, total) = *first.get_or_insert((header_of(&services, &rows), rows.count));
        sent += rows.kvs.len() as i64;
        let done = !rows.more || (limit > 0 && sent >= limit) || request.count_only;
        if done {
            rows.count = total;
            let message = reply::range(header, &rows);
            rpc::send(&mut *replies, wrapped(&message)).await?;
            return services.still_holds(permitted);
        }
        let last = rows.kvs.last().and_then(|kv| mvcc::KvFields::parse(kv).ok());
        request.key = last.map(|kv| after(kv.key)).unwrap_or_default();
        let message = rows_alone(&rows);
        chunk_rows = next_chunk(chunk_rows, message.len(), services.limits.request_bytes);
        rpc::send(&mut *replies, wrapped(&message)).await?;
    }
}

/// The first key behind this one.
fn after(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    Bytes::from(next)
}

/// Chunks grow or shrink until they fill about half a message.
fn next_chunk(rows: i64, bytes: usize, message_bytes: usize) -> i64 {
    if bytes < message_bytes / 2 {
        rows.saturating_mul(2)
    } else if bytes > message_bytes * 2 {
        (rows / 2).max(1)
    } else {
        rows
    }
}

fn rows_alone(rows: &RangeReply) -> Bytes {
    let mut encoder = Encoder::default();
    for kv in &rows.kvs {
        encoder.part(2, kv);
    }
    encoder.finish()
}

/// A `RangeStreamResponse` around a `RangeResponse`.
fn wrapped(range_response: &[u8]) -> Bytes {
    let mut encoder = Encoder::with_capacity(range_response.len() + 8);
    encoder.part(1, range_response);
    encoder.finish()
}

pub(super) async fn put(
    services: Arc<Services>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let request: PutRequest = decode(request)?;
    services.node.check_quota(state::put_cost(&request)).await?;
    checks::put(&request)?;
    let caller = caller.within("put", || vec![trace::text("key", &request.key)]);
    propose(&services, &caller, InternalRaftRequest { put: Some(request), ..Default::default() })
        .await
}

pub(super) async fn delete_range(
    services: Arc<Services>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let request: DeleteRangeRequest = decode(request)?;
    checks::delete_range(&request)?;
    let caller = caller.within("delete_range", || trace::delete_range(&request));
    let proposal = InternalRaftRequest { delete_range: Some(request), ..Default::default() };
    propose(&services, &caller, proposal).await
}

pub(super) async fn txn(
    services: Arc<Services>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let request: TxnRequest = decode(request)?;
    services.node.check_quota(state::txn_cost(&request)).await?;
    checks::txn(&request, services.limits.txn_ops)?;
    let caller = caller.within("txn", || trace::txn(&request));
    if !state::is_read_only(&request) {
        return propose(
            &services,
            &caller,
            InternalRaftRequest { txn: Some(request), ..Default::default() },
        )
        .await;
    }
    let mut permitted = None;
    let permit = async {
        permitted = services.permit(&caller, Need::Txn(&request)).await?;
        Ok(())
    };
    let reply = Reply::Txn(services.node.read_txn(&request, permit).await?);
    services.still_holds(permitted)?;
    let header = services.node.header();
    encoded(&services.node, reply::rows_len(&reply), move || reply::encode(header, &reply)).await
}

pub(super) async fn compact(
    services: Arc<Services>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let request: CompactionRequest = decode(request)?;
    let (revision, physical) = (request.revision, request.physical);
    let caller = caller.within("compact", || {
        vec![trace::flag("is_physical", physical), trace::number("rev", revision)]
    });
    let proposal = InternalRaftRequest { compaction: Some(request), ..Default::default() };
    let outcome = propose(&services, &caller, proposal).await;
    // Also where somebody else compacted first: what the caller wants is that it is over.
    if physical && (outcome.is_ok() || outcome == Err(error::COMPACTED)) {
        services.node.wait_compacted(revision).await?;
    }
    outcome
}

/// Sends a request through the log and encodes what it answers.
pub(super) async fn propose(
    services: &Services,
    caller: &Caller,
    request: InternalRaftRequest,
) -> Result<Bytes, Status> {
    let (reply, revision) = services.propose(caller, request).await?;
    let header = ResponseHeader { revision, ..services.node.header() };
    encoded(&services.node, reply::rows_len(&reply), move || reply::encode(header, &reply)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_that_grpc_could_not_send_is_refused() {
        assert_eq!(can_be_sent(LARGEST_REPLY_BYTES), Ok(()));
        let refused = can_be_sent(LARGEST_REPLY_BYTES + 1).unwrap_err();
        assert_eq!(refused.code, Code::ResourceExhausted);
        assert_eq!(
            refused.message,
            "grpc: trying to send message larger than max (2147483648 vs. 2147483647)"
        );
    }
}
