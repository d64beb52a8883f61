//! Everything that can go wrong, typed.

use crate::ready::{AppendTicket, ApplyTicket};
use crate::types::{EntryId, LogIndex, NodeId};
use alloc::string::String;
use core::fmt;

/// Why a [`crate::Config`] makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConfigError {
    HeartbeatTickZero,
    ElectionTickNotAboveHeartbeatTick,
    MaxInflightMsgsZero,
    MaxInflightBytesBelowMaxSizePerMsg,
    LeaseBasedReadsWithoutCheckQuorum,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HeartbeatTickZero => "heartbeat tick must be greater than 0",
            Self::ElectionTickNotAboveHeartbeatTick => {
                "election tick must be greater than heartbeat tick"
            }
            Self::MaxInflightMsgsZero => "max inflight messages must be greater than 0",
            Self::MaxInflightBytesBelowMaxSizePerMsg => {
                "max inflight bytes must not be below max message size"
            }
            Self::LeaseBasedReadsWithoutCheckQuorum => {
                "lease-based reads need check-quorum to be enabled"
            }
        })
    }
}

/// Why a node could not be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    Config(ConfigError),
    /// The stored configuration is not one that conf changes can lead to.
    ConfState(ConfChangeError),
    /// The state machine is ahead of the log, which then has lost entries, or behind its first
    /// entry.
    AppliedOutOfRange {
        applied: LogIndex,
        first: LogIndex,
        last: LogIndex,
    },
    /// Bootstrap needs at least one member and a log without entries.
    NotBootstrappable,
    Fatal(Fatal),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => write!(f, "invalid raft config: {error}"),
            Self::ConfState(error) => write!(f, "stored conf state is invalid: {error}"),
            Self::AppliedOutOfRange { applied, first, last } => {
                write!(f, "applied index {applied} is outside of the log [{first}, {last}]")
            }
            Self::NotBootstrappable => {
                f.write_str("bootstrap needs at least one member and an empty log")
            }
            Self::Fatal(fatal) => fatal.fmt(f),
        }
    }
}

impl From<Fatal> for StartError {
    fn from(fatal: Fatal) -> Self {
        Self::Fatal(fatal)
    }
}

/// Why a call or a message had no effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StepError {
    /// The proposal or read was not taken; it will not happen and may be tried again.
    Dropped(DropReason),
    /// An answer from somebody who is no member.
    PeerNotFound(NodeId),
    /// For somebody else.
    WrongRecipient(NodeId),
    /// In this node's own name, from outside.
    LocalMessage,
    /// No leader can have sent this.
    Malformed,
    /// See [`Fatal`].
    Fatal(Fatal),
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped(reason) => write!(f, "raft proposal dropped: {reason}"),
            Self::PeerNotFound(id) => write!(f, "cannot step response of unknown peer {id}"),
            Self::WrongRecipient(id) => write!(f, "cannot step message for {id}"),
            Self::LocalMessage => f.write_str("cannot step message of this node itself"),
            Self::Malformed => f.write_str("cannot step malformed message"),
            Self::Fatal(fatal) => fatal.fmt(f),
        }
    }
}

impl From<Fatal> for StepError {
    fn from(fatal: Fatal) -> Self {
        Self::Fatal(fatal)
    }
}

/// Why a proposal or a read was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Nobody is known to lead.
    NoLeader,
    /// Another member leads and forwarding is disabled.
    ForwardingDisabled,
    /// The leader is handing over.
    Transferring,
    /// Too many bytes wait for commit.
    UncommittedLimit,
    /// This leader is no longer a member.
    Removed,
    /// Too many reads wait for confirmation.
    TooManyReads,
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoLeader => "no leader",
            Self::ForwardingDisabled => "not the leader and forwarding is disabled",
            Self::Transferring => "leader transfer in progress",
            Self::UncommittedLimit => "too many uncommitted bytes",
            Self::Removed => "removed from the configuration",
            Self::TooManyReads => "too many pending reads",
        })
    }
}

/// Why a campaign did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CampaignRefused {
    AlreadyLeader,
    /// No voter of the configuration, or a snapshot is still being installed.
    NotPromotable,
    /// A committed conf change is not applied yet; the quorum is not known (etcd #7280).
    ConfChangePending,
    /// There is no later term. Only a broken peer can lead here.
    LastTerm,
    /// See [`Fatal`].
    Fatal,
}

impl fmt::Display for CampaignRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlreadyLeader => "already leader",
            Self::NotPromotable => "not promotable to leader",
            Self::ConfChangePending => "committed conf change not applied yet",
            Self::LastTerm => "there is no later term",
            Self::Fatal => "node has failed",
        })
    }
}

/// Why a configuration cannot change as asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ConfChangeError {
    AlreadyJoint,
    NotJoint,
    /// A simple change in a joint configuration.
    SimpleInJoint,
    ZeroVoterJoint,
    RemovedAllVoters,
    MoreThanOneVoterChanged,
    /// The configuration contradicts itself.
    Invariant(&'static str, NodeId),
    /// What was restored is not what was stored.
    NotEquivalent,
}

impl fmt::Display for ConfChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyJoint => f.write_str("config is already joint"),
            Self::NotJoint => f.write_str("can't leave a non-joint config"),
            Self::SimpleInJoint => f.write_str("can't apply simple config change in joint config"),
            Self::ZeroVoterJoint => f.write_str("can't make a zero-voter config joint"),
            Self::RemovedAllVoters => f.write_str("removed all voters"),
            Self::MoreThanOneVoterChanged => {
                f.write_str("more than one voter changed without entering joint config")
            }
            Self::Invariant(what, id) => write!(f, "{id} {what}"),
            Self::NotEquivalent => f.write_str("restored config differs from the stored one"),
        }
    }
}

/// What a [`crate::Storage`] answers when it cannot answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StorageError {
    /// The entry is older than the log.
    Compacted,
    /// The entry is newer than the log.
    Unavailable,
    /// Ask again later.
    SnapshotTemporarilyUnavailable,
    /// The snapshot at hand is newer.
    SnapshotOutOfDate,
    Other(String),
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compacted => f.write_str("requested index is unavailable due to compaction"),
            Self::Unavailable => f.write_str("requested entry at index is unavailable"),
            Self::SnapshotTemporarilyUnavailable => {
                f.write_str("snapshot is temporarily unavailable")
            }
            Self::SnapshotOutOfDate => {
                f.write_str("requested index is older than the existing snapshot")
            }
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// What makes this node unfit to take part. It never clears within one life of the process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fatal {
    /// The leader knows of entries that this node once acknowledged and does not have: a wiped
    /// disk, a restored backup. The node follows on, so that it can be repaired, but it neither
    /// votes nor campaigns (thesis 3.8: what it promised is lost too).
    LogLost { commit: LogIndex, last: LogIndex },
    /// The storage failed.
    Storage(StorageError),
    /// A committed entry is contradicted by somebody who must have it too.
    Corrupt { ours: EntryId, theirs: EntryId },
}

impl Fatal {
    /// Whether the node must stop; otherwise it may follow, see [`Fatal::LogLost`].
    pub const fn halts(&self) -> bool {
        !matches!(self, Self::LogLost { .. })
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LogLost { commit, last } => write!(
                f,
                "commit index {commit} is beyond the last entry {last}: was the raft log \
                 corrupted, truncated or lost?"
            ),
            Self::Storage(error) => write!(f, "raft storage failed: {error}"),
            Self::Corrupt { ours, theirs } => write!(
                f,
                "committed entry {} has term {} here and term {} at the leader",
                theirs.index, ours.term, theirs.term
            ),
        }
    }
}

impl From<StorageError> for Fatal {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// A storage completion was reported out of order. Nothing happened; the ticket is given back.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the ticket in here is still to be reported"]
pub enum OutOfOrder {
    Append { expected: Option<u64>, ticket: AppendTicket },
    Apply { expected: Option<u64>, ticket: ApplyTicket },
}

impl fmt::Display for OutOfOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, expected, number) = match self {
            Self::Append { expected, ticket } => ("append", expected, ticket.number()),
            Self::Apply { expected, ticket } => ("apply", expected, ticket.number()),
        };
        match expected {
            Some(expected) => {
                write!(f, "{what} {number} reported done while {expected} is the oldest")
            }
            None => write!(f, "{what} {number} reported done while none is in progress"),
        }
    }
}

macro_rules! errors {
    ($($name:ty),*) => { $(impl core::error::Error for $name {})* };
}
errors!(
    ConfigError,
    StartError,
    StepError,
    CampaignRefused,
    ConfChangeError,
    StorageError,
    Fatal,
    OutOfOrder
);
