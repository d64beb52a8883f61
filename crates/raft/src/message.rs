//! What members say to each other.

use crate::entry::{Entry, EntryBody};
use crate::storage::Snapshot;
use crate::types::{EntryId, LogIndex, NodeId, Term};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// A message between two members (or, gated on storage, from a member to itself).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message<P> {
    /// The sender. In a forwarded `TransferLeader` this is the member that shall lead.
    pub from: NodeId,
    pub to: NodeId,
    /// The sender's term; zero in `Propose` and `ReadIndex`, which stand outside of terms. In a
    /// `PreVote`, and in a `PreVoteResp` that grants it, the term that the sender *would* start.
    pub term: Term,
    pub body: Body<P>,
}

/// What a message says: etcd's message types, each with its own fields only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body<P> {
    /// A proposal on its way to the leader.
    Propose {
        entries: Vec<EntryBody<P>>,
    },
    /// Entries that follow `prev`, and the leader's commit index.
    Append {
        prev: EntryId,
        entries: Vec<Entry<P>>,
        commit: LogIndex,
    },
    /// `index` is the last index that now matches or, in a rejection, the `prev.index` that did
    /// not; `reject` then holds the highest entry that may still match (term zero: unknown).
    AppendResp {
        index: LogIndex,
        reject: Option<EntryId>,
    },
    /// `transfer` marks the election of a leader transfer, which leases must not stop.
    Vote {
        last: EntryId,
        transfer: bool,
    },
    /// `committed`: what the sender knows to be committed, added to a refusal by a member that is
    /// no voter any more; whoever asks it has not heard of that. (On the wire: commit and log term,
    /// which etcd leaves unread here.)
    VoteResp {
        reject: bool,
        committed: Option<EntryId>,
    },
    PreVote {
        last: EntryId,
    },
    PreVoteResp {
        reject: bool,
        committed: Option<EntryId>,
    },
    /// The state machine in place of entries that the leader no longer has.
    Snapshot {
        snapshot: Box<Snapshot<P>>,
    },
    /// `context` confirms reads: the answer carries it back unseen.
    Heartbeat {
        commit: LogIndex,
        context: Option<u64>,
    },
    HeartbeatResp {
        context: Option<u64>,
    },
    /// Asks the leader to hand over to `from`.
    TransferLeader,
    /// Campaign at once, by order of the leader that hands over.
    TimeoutNow,
    /// A read on its way to the leader.
    ReadIndex {
        context: P,
    },
    ReadIndexResp {
        index: LogIndex,
        context: P,
    },
}

impl<P> Body<P> {
    /// Whether the message makes a promise that must survive a crash, so that it may leave only
    /// when everything before it is on disk.
    ///
    /// Votes and acknowledgements (thesis 3.8): a vote that is heard and then forgotten is given
    /// twice; an entry that is counted and then lost was not replicated. Beyond etcd-io/raft also
    /// `Vote` itself: a candidate that asks before its term is on disk may crash, come back in the
    /// old term and campaign in the *same* term again, with another log, and both times be voted
    /// for.
    ///
    /// Rejections wait too: they may rest on state that is not on disk yet, and they are rare.
    pub const fn waits_for_append(&self) -> bool {
        matches!(
            self,
            Self::AppendResp { .. }
                | Self::VoteResp { .. }
                | Self::PreVoteResp { .. }
                | Self::Vote { .. }
        )
    }

    /// Whether only a known member may send it.
    pub(crate) const fn is_response(&self) -> bool {
        matches!(
            self,
            Self::AppendResp { .. }
                | Self::VoteResp { .. }
                | Self::PreVoteResp { .. }
                | Self::HeartbeatResp { .. }
                | Self::ReadIndexResp { .. }
        )
    }

    /// Whether only the leader of the message's term can have sent it.
    pub(crate) const fn is_from_leader(&self) -> bool {
        matches!(self, Self::Append { .. } | Self::Heartbeat { .. } | Self::Snapshot { .. })
    }

    /// Whether it stands outside of terms.
    pub(crate) const fn has_no_term(&self) -> bool {
        matches!(self, Self::Propose { .. } | Self::ReadIndex { .. })
    }

    /// etcd's name of the message type.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Propose { .. } => "MsgProp",
            Self::Append { .. } => "MsgApp",
            Self::AppendResp { .. } => "MsgAppResp",
            Self::Vote { .. } => "MsgVote",
            Self::VoteResp { .. } => "MsgVoteResp",
            Self::PreVote { .. } => "MsgPreVote",
            Self::PreVoteResp { .. } => "MsgPreVoteResp",
            Self::Snapshot { .. } => "MsgSnap",
            Self::Heartbeat { .. } => "MsgHeartbeat",
            Self::HeartbeatResp { .. } => "MsgHeartbeatResp",
            Self::TransferLeader => "MsgTransferLeader",
            Self::TimeoutNow => "MsgTimeoutNow",
            Self::ReadIndex { .. } => "MsgReadIndex",
            Self::ReadIndexResp { .. } => "MsgReadIndexResp",
        }
    }
}

impl<P> Message<P> {
    /// Whether the term is one that a node can reach, and the entries of an append can be a piece
    /// of a leader's log: consecutive, terms never falling and none above the leader's own.
    /// etcd-io/raft trusts the sender here; a panic that a peer can cause is not for us.
    pub(crate) fn is_well_formed(&self) -> bool {
        if self.term == Term::MAX {
            return false;
        }
        match &self.body {
            Body::Append { prev, entries, .. } => {
                let mut last = *prev;
                for entry in entries {
                    if entry.id.term < last.term || entry.id.index != last.index.next() {
                        return false;
                    }
                    last = entry.id;
                }
                self.can_have(last)
            }
            Body::Snapshot { snapshot } => self.can_have(snapshot.meta.id),
            _ => true,
        }
    }

    /// Whether the leader of this message's term can have such an entry. No log is half as long as
    /// the range of its indexes, so no index of ours ever comes near the end of it.
    fn can_have(&self, id: EntryId) -> bool {
        id.term <= self.term && id.index.0 <= u64::MAX / 2
    }
}
