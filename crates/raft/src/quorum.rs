//! What a quorum says: the arithmetic of consensus, free of everything else.

pub(crate) mod joint;
pub(crate) mod majority;

use crate::types::{LogIndex, NodeId};
use core::fmt;

/// The outcome of an election as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VoteResult {
    /// Neither yes nor no has a quorum, and either still may.
    Pending,
    /// A quorum can no longer be reached.
    Lost,
    Won,
}

impl fmt::Display for VoteResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "VotePending",
            Self::Lost => "VoteLost",
            Self::Won => "VoteWon",
        })
    }
}

/// Who has acknowledged what; `None` for a voter that was never heard of.
pub(crate) trait Acked {
    fn acked(&self, id: NodeId) -> Option<LogIndex>;
}

impl<F: Fn(NodeId) -> Option<LogIndex>> Acked for F {
    fn acked(&self, id: NodeId) -> Option<LogIndex> {
        self(id)
    }
}

/// Who has voted, and how.
pub(crate) trait Votes {
    fn vote(&self, id: NodeId) -> Option<bool>;
}

impl<F: Fn(NodeId) -> Option<bool>> Votes for F {
    fn vote(&self, id: NodeId) -> Option<bool> {
        self(id)
    }
}
