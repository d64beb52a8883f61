//! How many bytes an answer takes as a message, for the log: nothing is encoded for it.

use bytes::Bytes;
use state::{DeleteRangeReply, OpReply, PutReply, RangeReply, Reply, TxnReply};

/// What apply answers, as etcd's log describes it. Headers count with their revision alone.
pub(crate) fn described(reply: &Reply) -> String {
    let size = match reply {
        Reply::Range(rows) => range(rows),
        Reply::Put(reply) => put(reply),
        Reply::DeleteRange(reply) => delete_range(reply),
        Reply::Txn(reply) => txn(reply),
        Reply::LeaseGrant { id, ttl } => number(id.0) + number(*ttl),
        Reply::Nothing => return String::new(),
        Reply::Compaction
        | Reply::LeaseRevoke
        | Reply::LeaseCheckpoint
        | Reply::Alarm(_)
        | Reply::Auth(_) => 0,
    };
    format!("size:{size}")
}

/// A `RangeResponse`.
pub(crate) fn range(reply: &RangeReply) -> usize {
    let rows = parts(&reply.kvs);
    header(reply.revision) + rows + usize::from(reply.more) * 2 + number(reply.count)
}

/// A `TxnResponse`.
pub(crate) fn txn(reply: &TxnReply) -> usize {
    let ops: usize = reply.responses.iter().map(|op| part(operation(op))).sum();
    header(reply.revision) + usize::from(reply.succeeded) * 2 + ops
}

fn put(reply: &PutReply) -> usize {
    header(reply.revision) + reply.prev_kv.as_ref().map_or(0, |kv| part(kv.len()))
}

fn delete_range(reply: &DeleteRangeReply) -> usize {
    header(reply.revision) + number(reply.deleted) + parts(&reply.prev_kvs)
}

fn operation(op: &OpReply) -> usize {
    part(match op {
        OpReply::Range(reply) => range(reply),
        OpReply::Put(reply) => put(reply),
        OpReply::DeleteRange(reply) => delete_range(reply),
        OpReply::Txn(reply) => txn(reply),
        OpReply::Empty => return 0,
    })
}

fn header(revision: i64) -> usize {
    part(number(revision))
}

fn parts(kvs: &[Bytes]) -> usize {
    kvs.iter().map(|kv| part(kv.len())).sum()
}

/// A message in a field below 16.
fn part(len: usize) -> usize {
    1 + varint(len as u64) + len
}

/// A number in a field below 16; zero is not sent.
fn number(value: i64) -> usize {
    if value == 0 { 0 } else { 1 + varint(value.cast_unsigned()) }
}

fn varint(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen in the log of etcd 3.7.1.
    #[test]
    fn sizes_are_those_of_etcds_messages() {
        let put = PutReply { revision: 2, prev_kv: None };
        assert_eq!(described(&Reply::Put(put.clone())), "size:4");
        let nothing = RangeReply { revision: 4, ..Default::default() };
        let reply = TxnReply {
            revision: 4,
            succeeded: true,
            responses: vec![OpReply::Range(nothing.clone())],
        };
        assert_eq!(range(&nothing), 4);
        assert_eq!(txn(&reply), 14);
        assert_eq!(varint(127), 1);
        assert_eq!(varint(128), 2);
        assert_eq!(varint(u64::MAX), 10);
    }
}
