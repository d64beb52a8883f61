//! Answers in one form, whether they come from a member's state, over the wire or from a model.

use bytes::Bytes;
use proto::Message as _;
use proto::etcdserverpb::response_op::Response;
use proto::etcdserverpb::{
    DeleteRangeResponse, LeaseRevokeResponse, PutResponse, RangeResponse, ResponseHeader,
    ResponseOp, TxnResponse,
};
use proto::mvccpb::KeyValue;
use state::{OpReply, RangeReply};

/// What a client is told of an operation on keys. Revisions are those of the header.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names are etcd's")]
pub enum Answer {
    Range { revision: i64, count: usize, more: bool, kvs: Vec<KeyValue> },
    Put { revision: i64, prev_kv: Option<KeyValue> },
    Delete { revision: i64, deleted: usize, prev_kvs: Vec<KeyValue> },
    Txn { revision: i64, succeeded: bool, ops: Vec<Answer> },
    Revoke { revision: i64 },
    Empty,
}

impl Answer {
    /// The store's revision after the operation.
    pub fn revision(&self) -> i64 {
        match self {
            Self::Range { revision, .. }
            | Self::Put { revision, .. }
            | Self::Delete { revision, .. }
            | Self::Txn { revision, .. }
            | Self::Revoke { revision } => *revision,
            Self::Empty => 0,
        }
    }

    /// Whether this says that a key was changed; the end of a lease does not say so.
    pub(crate) fn tells_of_a_change(&self) -> bool {
        match self {
            Self::Put { .. } => true,
            Self::Delete { deleted, .. } => *deleted > 0,
            Self::Txn { ops, .. } => ops.iter().any(Self::tells_of_a_change),
            Self::Range { .. } | Self::Revoke { .. } | Self::Empty => false,
        }
    }

    /// All pairs that are shown.
    pub(crate) fn kvs(&self) -> Vec<&KeyValue> {
        match self {
            Self::Range { kvs, .. } | Self::Delete { prev_kvs: kvs, .. } => kvs.iter().collect(),
            Self::Put { prev_kv, .. } => prev_kv.iter().collect(),
            Self::Txn { ops, .. } => ops.iter().flat_map(Self::kvs).collect(),
            Self::Revoke { .. } | Self::Empty => Vec::new(),
        }
    }
}

impl From<OpReply> for Answer {
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

impl From<RangeReply> for Answer {
    fn from(range: RangeReply) -> Self {
        Self::Range {
            revision: range.revision,
            count: usize::try_from(range.count).unwrap_or(usize::MAX),
            more: range.more,
            kvs: range.kvs.iter().map(decoded).collect(),
        }
    }
}

impl From<RangeResponse> for Answer {
    fn from(range: RangeResponse) -> Self {
        Self::Range {
            revision: revision_of(range.header.as_ref()),
            count: usize::try_from(range.count).unwrap_or(usize::MAX),
            more: range.more,
            kvs: range.kvs,
        }
    }
}

impl From<PutResponse> for Answer {
    fn from(put: PutResponse) -> Self {
        Self::Put { revision: revision_of(put.header.as_ref()), prev_kv: put.prev_kv }
    }
}

impl From<DeleteRangeResponse> for Answer {
    fn from(delete: DeleteRangeResponse) -> Self {
        Self::Delete {
            revision: revision_of(delete.header.as_ref()),
            deleted: usize::try_from(delete.deleted).unwrap_or(usize::MAX),
            prev_kvs: delete.prev_kvs,
        }
    }
}

impl From<TxnResponse> for Answer {
    fn from(txn: TxnResponse) -> Self {
        Self::Txn {
            revision: revision_of(txn.header.as_ref()),
            succeeded: txn.succeeded,
            ops: txn.responses.into_iter().map(Self::from).collect(),
        }
    }
}

impl From<LeaseRevokeResponse> for Answer {
    fn from(revoke: LeaseRevokeResponse) -> Self {
        Self::Revoke { revision: revision_of(revoke.header.as_ref()) }
    }
}

impl From<ResponseOp> for Answer {
    fn from(op: ResponseOp) -> Self {
        match op.response {
            Some(Response::ResponseRange(range)) => range.into(),
            Some(Response::ResponsePut(put)) => put.into(),
            Some(Response::ResponseDeleteRange(delete)) => delete.into(),
            Some(Response::ResponseTxn(txn)) => txn.into(),
            None => Self::Empty,
        }
    }
}

fn revision_of(header: Option<&ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

/// A row; one that is none compares unequal to all that are.
pub(crate) fn decoded(kv: &Bytes) -> KeyValue {
    KeyValue::decode(kv.clone())
        .unwrap_or_else(|_| KeyValue { version: i64::MIN, ..KeyValue::default() })
}
