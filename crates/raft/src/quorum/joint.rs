//! Two majorities that must agree.

use super::{Acked, VoteResult, Votes, majority};
use crate::types::{LogIndex, NodeId, NodeSet};
use core::fmt;

/// The voters. While the membership changes jointly, decisions need a majority of each half
/// (thesis 4.3); otherwise `outgoing` is empty and has no say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct JointConfig {
    pub incoming: NodeSet,
    pub outgoing: NodeSet,
}

impl JointConfig {
    pub fn contains(&self, id: NodeId) -> bool {
        self.incoming.contains(id) || self.outgoing.contains(id)
    }

    /// All voters of either half, ascending.
    pub fn ids(&self) -> NodeSet {
        self.incoming.iter().chain(self.outgoing.iter()).collect()
    }

    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    pub(crate) fn committed_index(&self, acked: &impl Acked) -> LogIndex {
        let incoming = majority::committed_index(&self.incoming, acked);
        incoming.min(majority::committed_index(&self.outgoing, acked))
    }

    pub(crate) fn vote_result(&self, votes: &impl Votes) -> VoteResult {
        let incoming = majority::vote_result(&self.incoming, votes);
        let outgoing = majority::vote_result(&self.outgoing, votes);
        match (incoming, outgoing) {
            (one, other) if one == other => one,
            (VoteResult::Lost, _) | (_, VoteResult::Lost) => VoteResult::Lost,
            // One half is won and the other is not known yet.
            _ => VoteResult::Pending,
        }
    }
}

/// `(1 2 3)&&(3 4 5)`
impl fmt::Display for JointConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.incoming.fmt(f)?;
        if self.is_joint() {
            write!(f, "&&{}", self.outgoing)?;
        }
        Ok(())
    }
}
