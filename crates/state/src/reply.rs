use bytes::Bytes;
use proto::authpb::Permission;
use proto::etcdserverpb::AlarmMember;

use crate::{LeaseId, Rejected};

/// What an applied request answers. Keys and values are encoded `mvccpb.KeyValue`s, ready to be
/// copied into a response.
///
/// The revisions inside are those of the response headers where etcd sets them itself; every
/// other header carries that of the store after the entry.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// There is nothing to tell: no request, or one that is only for the members themselves.
    Nothing,
    /// To a range.
    Range(RangeReply),
    /// To a put.
    Put(PutReply),
    /// To a delete.
    DeleteRange(DeleteRangeReply),
    /// To a txn.
    Txn(TxnReply),
    /// The history up to the revision is gone for readers; its removal goes on behind.
    Compaction,
    /// The lease is there.
    LeaseGrant {
        /// Its id.
        id: LeaseId,
        /// The TTL in seconds, raised to the shortest one where it was too short.
        ttl: i64,
    },
    /// The lease and its keys are gone.
    LeaseRevoke,
    /// What is left of some leases is noted.
    LeaseCheckpoint,
    /// The alarms that were asked for, raised or taken back.
    Alarm(Vec<AlarmMember>),
    /// To a question about auth, or a change of it.
    Auth(AuthReply),
}

/// Answers about users and roles.
#[derive(Debug, Clone, PartialEq)]
pub enum AuthReply {
    /// The change is made.
    Done,
    /// Whether auth is on.
    Status {
        /// On or off.
        enabled: bool,
        /// How often users and roles were changed.
        revision: u64,
    },
    /// The caller may have a token. With simple tokens every member registers this one.
    Authenticated {
        /// For whom.
        username: String,
        /// The prefix that the proposer chose (empty unless tokens are simple), a dot, and the
        /// index before this entry's.
        token: String,
    },
    /// The roles of a user.
    UserRoles(Vec<String>),
    /// All users.
    Users(Vec<String>),
    /// What a role permits.
    Permissions(Vec<Permission>),
    /// All roles.
    Roles(Vec<String>),
}

/// The answer to a range.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RangeReply {
    /// The store's revision when it was read, also if an older one was asked for.
    pub revision: i64,
    /// The rows.
    pub kvs: Vec<Bytes>,
    /// Whether the limit cut some off.
    pub more: bool,
    /// How many keys live in the range, whatever limit and filters say.
    pub count: i64,
}

/// The answer to a put.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PutReply {
    /// The revision of the put.
    pub revision: i64,
    /// What was there before, if that was asked for.
    pub prev_kv: Option<Bytes>,
}

/// The answer to a delete.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeleteRangeReply {
    /// The revision of the delete; the current one if there was nothing to delete.
    pub revision: i64,
    /// How many keys were deleted.
    pub deleted: i64,
    /// What they were, if that was asked for.
    pub prev_kvs: Vec<Bytes>,
}

/// The answer to a txn.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TxnReply {
    /// The revision of the txn. A quirk of etcd: nested txns answer zero.
    pub revision: i64,
    /// Whether all compares held.
    pub succeeded: bool,
    /// One for each operation of the branch that was taken.
    pub responses: Vec<OpReply>,
}

/// The answer to one operation of a txn. Their headers have the revision and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpReply {
    /// To a range.
    Range(RangeReply),
    /// To a put.
    Put(PutReply),
    /// To a delete.
    DeleteRange(DeleteRangeReply),
    /// To a nested txn.
    Txn(TxnReply),
    /// To an operation that says nothing.
    Empty,
}

/// The outcome that every member comes to alike.
pub type Outcome = Result<Reply, Rejected>;
