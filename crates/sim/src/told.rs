//! Answers in a form that the model can make and a member's can be brought to.

use bytes::Bytes;
use proto::Message as _;
use proto::etcdserverpb::AlarmMember;
use proto::mvccpb::KeyValue;
use state::{OpReply, RangeReply, Reply};

/// What a client is told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Told {
    Nothing,
    Op(ToldOp),
    Compaction,
    LeaseGrant {
        id: i64,
        ttl: i64,
    },
    LeaseRevoke,
    LeaseCheckpoint,
    Alarm(Vec<AlarmMember>),
    /// What no request of a run asks for.
    Other,
}

/// What is told of an operation on keys.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ToldOp {
    Range { revision: i64, count: usize, more: bool, kvs: Vec<KeyValue> },
    Put { revision: i64, prev_kv: Option<KeyValue> },
    Delete { revision: i64, deleted: usize, prev_kvs: Vec<KeyValue> },
    Txn { revision: i64, succeeded: bool, ops: Vec<ToldOp> },
    Empty,
}

impl From<Reply> for Told {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Nothing => Self::Nothing,
            Reply::Range(range) => Self::Op(range.into()),
            Reply::Put(put) => Self::Op(OpReply::Put(put).into()),
            Reply::DeleteRange(delete) => Self::Op(OpReply::DeleteRange(delete).into()),
            Reply::Txn(txn) => Self::Op(OpReply::Txn(txn).into()),
            Reply::Compaction => Self::Compaction,
            Reply::LeaseGrant { id, ttl } => Self::LeaseGrant { id: id.0, ttl },
            Reply::LeaseRevoke => Self::LeaseRevoke,
            Reply::LeaseCheckpoint => Self::LeaseCheckpoint,
            Reply::Alarm(alarms) => Self::Alarm(alarms),
            Reply::Auth(_) => Self::Other,
        }
    }
}

impl From<OpReply> for ToldOp {
    fn from(reply: OpReply) -> Self {
        match reply {
            OpReply::Range(range) => range.into(),
            OpReply::Put(put) => {
                Self::Put { revision: put.revision, prev_kv: put.prev_kv.as_ref().map(decoded) }
            }
            OpReply::DeleteRange(delete) => Self::Delete {
                revision: delete.revision,
                deleted: usize::try_from(delete.deleted).unwrap_or(usize::MAX),
                prev_kvs: delete.prev_kvs.iter().map(decoded).collect(),
            },
            OpReply::Txn(txn) => Self::Txn {
                revision: txn.revision,
                succeeded: txn.succeeded,
                ops: txn.responses.into_iter().map(Self::from).collect(),
            },
            OpReply::Empty => Self::Empty,
        }
    }
}

impl From<RangeReply> for ToldOp {
    fn from(range: RangeReply) -> Self {
        Self::Range {
            revision: range.revision,
            count: usize::try_from(range.count).unwrap_or(usize::MAX),
            more: range.more,
            kvs: range.kvs.iter().map(decoded).collect(),
        }
    }
}

/// A row; one that is none compares unequal to all that are.
pub(crate) fn decoded(kv: &Bytes) -> KeyValue {
    KeyValue::decode(kv.clone())
        .unwrap_or_else(|_| KeyValue { version: i64::MIN, ..KeyValue::default() })
}
