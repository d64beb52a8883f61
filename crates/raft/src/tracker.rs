//! The membership in force, and what is known of each member.

pub(crate) mod inflights;
pub(crate) mod progress;

use crate::conf_change::ConfState;
use crate::quorum::VoteResult;
use crate::quorum::joint::JointConfig;
use crate::types::{LogIndex, NodeId, NodeSet};
use alloc::vec::Vec;
use core::fmt;
use progress::Progress;

/// The membership in force.
///
/// Learners and voters never overlap, not even with the voters of the outgoing half: whoever is
/// in either half votes, whoever is a learner does not, and nobody has to look at the transition
/// to know which he is. A voter that is demoted through a joint configuration therefore waits in
/// `learners_next` until the outgoing half is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Config {
    pub voters: JointConfig,
    pub learners: NodeSet,
    pub learners_next: NodeSet,
    /// Whether the leader leaves the joint configuration by itself.
    pub auto_leave: bool,
}

impl Config {
    pub fn is_joint(&self) -> bool {
        self.voters.is_joint()
    }

    pub fn conf_state(&self) -> ConfState {
        ConfState {
            voters: self.voters.incoming.as_slice().to_vec(),
            learners: self.learners.as_slice().to_vec(),
            voters_outgoing: self.voters.outgoing.as_slice().to_vec(),
            learners_next: self.learners_next.as_slice().to_vec(),
            auto_leave: self.auto_leave,
        }
    }
}

/// `voters=(1 2)&&(1 2 3) learners=(4) autoleave`
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "voters={}", self.voters)?;
        if !self.learners.is_empty() {
            write!(f, " learners={}", self.learners)?;
        }
        if !self.learners_next.is_empty() {
            write!(f, " learners_next={}", self.learners_next)?;
        }
        if self.auto_leave {
            f.write_str(" autoleave")?;
        }
        Ok(())
    }
}

/// All members, by ascending id. A sorted vector: groups are small, and order must not depend on
/// a hash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Peers(Vec<(NodeId, Progress)>);

impl Peers {
    pub(crate) fn position(&self, id: NodeId) -> Option<usize> {
        self.0.binary_search_by_key(&id, |(id, _)| *id).ok()
    }

    pub(crate) fn get(&self, id: NodeId) -> Option<&Progress> {
        self.position(id).map(|at| &self.0[at].1)
    }

    pub(crate) fn get_mut(&mut self, id: NodeId) -> Option<&mut Progress> {
        self.position(id).map(|at| &mut self.0[at].1)
    }

    pub(crate) fn insert(&mut self, id: NodeId, progress: Progress) {
        match self.0.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(at) => self.0[at].1 = progress,
            Err(at) => self.0.insert(at, (id, progress)),
        }
    }

    pub(crate) fn remove(&mut self, id: NodeId) {
        if let Some(at) = self.position(id) {
            self.0.remove(at);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// By position, for loops that need the whole node in between.
    pub(crate) fn at(&mut self, at: usize) -> (NodeId, &mut Progress) {
        let (id, progress) = &mut self.0[at];
        (*id, progress)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (NodeId, &mut Progress)> {
        self.0.iter_mut().map(|(id, progress)| (*id, progress))
    }

    pub(crate) fn as_slice(&self) -> &[(NodeId, Progress)] {
        &self.0
    }
}

/// The configuration, the progress of its members, and the votes of an election.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tracker {
    pub(crate) config: Config,
    pub(crate) peers: Peers,
    votes: Vec<(NodeId, bool)>,
    pub(crate) limits: InflightLimits,
}

/// How much may be on its way to one follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct InflightLimits {
    pub(crate) messages: usize,
    pub(crate) bytes: u64,
}

impl Tracker {
    pub(crate) fn new(limits: InflightLimits) -> Self {
        Self { config: Config::default(), peers: Peers::default(), votes: Vec::new(), limits }
    }

    /// Whether `id` alone decides. Not only "is there one voter": a leader that was removed sees
    /// one voter too, and it is another (5.4).
    pub(crate) fn is_sole_voter(&self, id: NodeId) -> bool {
        !self.config.is_joint() && self.config.voters.incoming.as_slice() == [id]
    }

    /// The largest index that the voters have acknowledged.
    pub(crate) fn committed(&self) -> LogIndex {
        self.config.voters.committed_index(&|id: NodeId| self.peers.get(id).map(Progress::matched))
    }

    /// Whether a quorum was heard of since `recent_active` was last cleared.
    pub(crate) fn quorum_active(&self) -> bool {
        let active = |id: NodeId| self.peers.get(id).map(Progress::recent_active);
        self.config.voters.vote_result(&active) == VoteResult::Won
    }

    pub(crate) fn reset_votes(&mut self) {
        self.votes.clear();
    }

    /// Counts the first vote of a member; later ones change nothing.
    pub(crate) fn record_vote(&mut self, id: NodeId, granted: bool) {
        if !self.votes.iter().any(|(voter, _)| *voter == id) {
            self.votes.push((id, granted));
        }
    }

    pub(crate) fn vote_result(&self) -> VoteResult {
        let vote = |id: NodeId| self.votes.iter().find(|(voter, _)| *voter == id).map(|(_, v)| *v);
        self.config.voters.vote_result(&vote)
    }
}
