//! What clients asked and were told.

use proto::etcdserverpb::request_op;
use proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest};
use proto::mvccpb::KeyValue;

use super::{Answer, Moment};

/// What a client asks of the keys.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// A range; a serializable one may show an older state.
    Range(RangeRequest),
    /// A put.
    Put(PutRequest),
    /// A deletion.
    DeleteRange(DeleteRangeRequest),
    /// A txn.
    Txn(TxnRequest),
    /// The end of a lease, which deletes its keys.
    LeaseRevoke(i64),
}

impl From<request_op::Request> for Request {
    fn from(request: request_op::Request) -> Self {
        match request {
            request_op::Request::RequestRange(range) => Self::Range(range),
            request_op::Request::RequestPut(put) => Self::Put(put),
            request_op::Request::RequestDeleteRange(delete) => Self::DeleteRange(delete),
            request_op::Request::RequestTxn(txn) => Self::Txn(txn),
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It was done, and this was answered.
    Answered {
        /// When the answer was there.
        returned: Moment,
        /// What it says.
        answer: Answer,
    },
    /// It may have been done, be done later, or never: time ran out, a connection broke.
    Unknown,
}

/// One request of one client. What was surely not done (refused by every member alike, or before
/// it was proposed) is left out of a history.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// Who asked, for messages only.
    pub client: u64,
    /// When it was asked.
    pub called: Moment,
    /// What was asked.
    pub request: Request,
    /// What came of it.
    pub outcome: Outcome,
}

/// A change that some watcher has seen.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenEvent {
    /// When it was there.
    pub at: Moment,
    /// A deletion, of which only key and revision are known.
    pub deleted: bool,
    /// What was seen.
    pub kv: KeyValue,
}

/// Everything that clients know of a stretch of time.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The revision at its beginning, 1 for a new cluster (0 means the same).
    pub revision: i64,
    /// The rows at its beginning.
    pub rows: Vec<KeyValue>,
    /// In any order.
    pub operations: Vec<Operation>,
    /// What watchers saw, in any order; it helps to tell which of the unanswered were done.
    pub events: Vec<SeenEvent>,
    /// The newest revision that anybody asked to compact to; 0 for none.
    pub compacted: i64,
}
