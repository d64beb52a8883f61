use std::path::PathBuf;

use state::Rejected;

/// Why a request was not answered with a reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It was applied, and refused; the same on every member.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// It is larger than `--max-request-bytes`.
    #[error("request is too large")]
    TooLarge,
    /// Too much waits to be applied.
    #[error("too many requests")]
    TooManyRequests,
    /// No member leads.
    #[error("no leader")]
    NoLeader,
    /// The member that led was lost while the request was on its way. Whether it was done is not
    /// known.
    #[error("request timed out, possibly due to previous leader failure")]
    LeaderLost,
    /// This member does not decide about leases now.
    #[error("not a primary lessor")]
    NotPrimary,
    /// Another member leads.
    #[error("not leader")]
    NotLeader,
    /// The lead cannot go to a member without a vote, or to none.
    #[error("bad leader transferee")]
    BadTransferee,
    /// The other member has not taken the lead in time.
    #[error("request timed out, leader transfer took too long")]
    TransferTimeout,
    /// Too many members have never been started for this change.
    #[error("re-configuration failed due to not enough started members")]
    NotEnoughStarted,
    /// Too many members are not heard for this change.
    #[error("unhealthy cluster")]
    Unhealthy,
    /// The learner lacks too much of the leader's log.
    #[error("can only promote a learner member which is in sync with leader")]
    LearnerNotReady,
    /// What this member (in hexadecimal) holds is not what others hold.
    #[error("{0} found data inconsistency with peers")]
    Inconsistent(String),
    /// Another member has refused, in its own words.
    #[error("{0}")]
    Refused(String),
    /// It comes from another member and is nothing that a member can have sent.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// The member goes down, or had to stop.
    #[error("server stopped")]
    Stopped,
    /// It took longer than it may. Whether it was done is not known.
    #[error("request timed out")]
    Timeout,
    /// What was asked for lies before the last compaction.
    #[error("required revision has been compacted")]
    Compacted,
    /// What was asked for has not happened.
    #[error("required revision is a future revision")]
    FutureRevision,
    /// The target of a downgrade is no version.
    #[error("wrong downgrade target version format")]
    DowngradeVersion,
    /// A downgrade goes one minor version down, and nowhere else.
    #[error("invalid downgrade target version")]
    DowngradeTarget,
    /// One is prepared already.
    #[error("cluster has a downgrade job in progress")]
    DowngradeUnderWay,
    /// There is none to take back.
    #[error("no inflight downgrade job")]
    NoDowngrade,
    /// The members have not agreed on a version yet.
    #[error("cluster version not found during downgrade")]
    NoClusterVersion,
    /// The request asks for nothing that is known.
    #[error("unknown method")]
    UnknownMethod,
    /// The token of the caller is of nobody, or no more.
    #[error("invalid auth token")]
    InvalidAuthToken,
    /// The db file could not be read.
    #[error("{0}")]
    Storage(String),
}

impl From<mvcc::Error> for Error {
    fn from(error: mvcc::Error) -> Self {
        match error {
            mvcc::Error::Compacted => Self::Compacted,
            mvcc::Error::FutureRevision => Self::FutureRevision,
            other => Self::Storage(other.to_string()),
        }
    }
}

/// Why a member could not start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The log or a snapshot file.
    #[error(transparent)]
    Wal(#[from] wal::Error),
    /// The state machine or its db file.
    #[error(transparent)]
    State(#[from] state::Error),
    /// The db file, outside of apply.
    #[error(transparent)]
    Storage(#[from] mvcc::Error),
    /// The db file, as it was opened.
    #[error(transparent)]
    Db(#[from] bolt::OpenError),
    /// Consensus.
    #[error("raft: {0}")]
    Raft(String),
    /// A file or directory.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The log and the db file do not belong together.
    #[error(
        "failed to find database snapshot file (snap: snapshot file doesn't exist): the db file \
         (consistent index {consistent_index}) is behind the snapshot in the log (index \
         {snapshot_index}); restore the db file, or this member from a backup"
    )]
    DbBehindSnapshot {
        /// What the db holds.
        consistent_index: u64,
        /// What the log builds on.
        snapshot_index: u64,
    },
    /// An entry of the log makes no sense.
    #[error("cannot apply entry {index}: {reason}")]
    Entry {
        /// Which one.
        index: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The log's head is not readable.
    #[error("the log's metadata cannot be read: {0}")]
    Metadata(String),
    /// It could not go on before, and does nothing any more.
    #[error("the member has failed before")]
    Failed,
    /// The log could not be synced.
    #[error("{0}")]
    Sync(String),
    /// The cluster goes on without this member.
    #[error("the member has been permanently removed from the cluster")]
    Removed,
    /// The flags name no such member, or what the cluster needs is not given.
    #[error("{0}")]
    Bootstrap(String),
}
