//! From one configuration to the next: pure, checked before and after.

use crate::conf_change::{ConfChange, ConfChangeKind, ConfChangeSingle, ConfState, Step};
use crate::error::ConfChangeError;
use crate::tracker::progress::Progress;
use crate::tracker::{Config, InflightLimits, Peers, Tracker};
use crate::types::{LogIndex, NodeId, NodeSet};
use alloc::vec::Vec;
use core::mem;

/// A copy of the configuration on which changes are tried; the original stays as it is unless
/// all of them are possible.
pub(crate) struct Changer {
    config: Config,
    peers: Peers,
    last_index: LogIndex,
    limits: InflightLimits,
}

type Changed = Result<(Config, Peers), ConfChangeError>;

impl Changer {
    /// `last_index` is where the probing of new members starts.
    pub(crate) fn new(tracker: &Tracker, last_index: LogIndex) -> Self {
        Self {
            config: tracker.config.clone(),
            peers: tracker.peers.clone(),
            last_index,
            limits: tracker.limits,
        }
    }

    /// Carries out a proposed change, whichever way it asks for.
    pub(crate) fn change<P>(self, change: &ConfChange<P>) -> Changed {
        match change.step() {
            Step::LeaveJoint => self.leave_joint(),
            Step::EnterJoint { auto_leave } => self.enter_joint(auto_leave, change.changes()),
            Step::Simple => self.simple(change.changes()),
        }
    }

    /// From `(1 2 3)` to `(new)&&(1 2 3)`, thesis 4.3.
    pub(crate) fn enter_joint(mut self, auto_leave: bool, changes: &[ConfChangeSingle]) -> Changed {
        self.check()?;
        if self.config.is_joint() {
            return Err(ConfChangeError::AlreadyJoint);
        }
        if self.config.voters.incoming.is_empty() {
            // The first member may be added to nothing (bootstrap, tests), in one step.
            return Err(ConfChangeError::ZeroVoterJoint);
        }
        self.config.voters.outgoing = self.config.voters.incoming.clone();
        self.apply(changes)?;
        self.config.auto_leave = auto_leave;
        self.finish()
    }

    /// From `(new)&&(old)` to `(new)`; demoted voters become learners now.
    pub(crate) fn leave_joint(mut self) -> Changed {
        self.check()?;
        if !self.config.is_joint() {
            return Err(ConfChangeError::NotJoint);
        }
        for id in mem::take(&mut self.config.learners_next).iter() {
            self.config.learners.insert(id);
            if let Some(progress) = self.peers.get_mut(id) {
                progress.set_learner(true);
            }
        }
        for id in mem::take(&mut self.config.voters.outgoing).iter() {
            if !self.config.voters.incoming.contains(id) && !self.config.learners.contains(id) {
                self.peers.remove(id);
            }
        }
        self.config.auto_leave = false;
        self.finish()
    }

    /// A change in one step, of at most one voter: the majorities before and after overlap
    /// (thesis 4.1).
    pub(crate) fn simple(mut self, changes: &[ConfChangeSingle]) -> Changed {
        self.check()?;
        if self.config.is_joint() {
            return Err(ConfChangeError::SimpleInJoint);
        }
        let before = self.config.voters.incoming.clone();
        self.apply(changes)?;
        if differences(&before, &self.config.voters.incoming) > 1 {
            return Err(ConfChangeError::MoreThanOneVoterChanged);
        }
        self.finish()
    }

    /// Changes always go to the incoming half.
    fn apply(&mut self, changes: &[ConfChangeSingle]) -> Result<(), ConfChangeError> {
        for change in changes {
            let Some(id) = change.node else { continue };
            match change.kind {
                ConfChangeKind::AddNode => self.make_voter(id),
                ConfChangeKind::AddLearnerNode => self.make_learner(id),
                ConfChangeKind::RemoveNode => self.remove(id),
                ConfChangeKind::UpdateNode => {}
            }
        }
        if self.config.voters.incoming.is_empty() {
            return Err(ConfChangeError::RemovedAllVoters);
        }
        Ok(())
    }

    fn make_voter(&mut self, id: NodeId) {
        match self.peers.get_mut(id) {
            None => self.add(id, false),
            Some(progress) => progress.set_learner(false),
        }
        self.config.learners.remove(id);
        self.config.learners_next.remove(id);
        self.config.voters.incoming.insert(id);
    }

    /// A member that still votes in the outgoing half cannot be a learner yet, see
    /// [`Config::learners_next`].
    fn make_learner(&mut self, id: NodeId) {
        let Some(progress) = self.peers.get_mut(id) else {
            self.add(id, true);
            self.config.learners.insert(id);
            return;
        };
        if progress.is_learner() {
            return;
        }
        self.config.voters.incoming.remove(id);
        if self.config.voters.outgoing.contains(id) {
            self.config.learners_next.insert(id);
        } else {
            progress.set_learner(true);
            self.config.learners.insert(id);
        }
    }

    fn remove(&mut self, id: NodeId) {
        self.config.voters.incoming.remove(id);
        self.config.learners.remove(id);
        self.config.learners_next.remove(id);
        // Its outgoing half still needs to hear of what is to be committed.
        if !self.config.voters.outgoing.contains(id) {
            self.peers.remove(id);
        }
    }

    fn add(&mut self, id: NodeId, is_learner: bool) {
        let mut progress = Progress::new(self.last_index, self.limits, is_learner);
        // As if just heard of: otherwise a check of the quorum could depose the leader before
        // the new member had a chance to say anything.
        progress.set_recent_active(true);
        self.peers.insert(id, progress);
    }

    fn finish(self) -> Changed {
        self.check()?;
        Ok((self.config, self.peers))
    }

    fn check(&self) -> Result<(), ConfChangeError> {
        let (config, peers) = (&self.config, &self.peers);
        let invariant = |holds: bool, what, id| {
            if holds { Ok(()) } else { Err(ConfChangeError::Invariant(what, id)) }
        };
        let voters = config.voters.incoming.iter().chain(config.voters.outgoing.iter());
        for id in voters.chain(config.learners.iter()).chain(config.learners_next.iter()) {
            invariant(peers.get(id).is_some(), "is a member without progress", id)?;
        }
        for id in config.learners_next.iter() {
            let waits = config.voters.outgoing.contains(id);
            invariant(waits, "waits to be a learner and is no outgoing voter", id)?;
            let learner = peers.get(id).is_some_and(Progress::is_learner);
            invariant(!learner, "waits to be a learner and is one", id)?;
        }
        for id in config.learners.iter() {
            invariant(!config.voters.contains(id), "is a learner and a voter", id)?;
            let learner = peers.get(id).is_some_and(Progress::is_learner);
            invariant(learner, "is a learner and not tracked as one", id)?;
        }
        if !config.is_joint() && (config.auto_leave || !config.learners_next.is_empty()) {
            return Err(ConfChangeError::NotJoint);
        }
        Ok(())
    }
}

/// How many members are in one set and not in the other.
fn differences(a: &NodeSet, b: &NodeSet) -> usize {
    a.iter().filter(|id| !b.contains(*id)).count() + b.iter().filter(|id| !a.contains(*id)).count()
}

/// The configuration that a stored state describes, built by the same changes that may have led
/// to it, and so by the same checks.
///
/// For a joint state the outgoing half is built first, one voter at a time; entering the joint
/// configuration then takes everybody out and puts the incoming half in.
pub(crate) fn restore(
    tracker: &Tracker,
    last_index: LogIndex,
    state: &ConfState,
) -> Result<(Config, Peers), ConfChangeError> {
    let single = |kind| move |id: &NodeId| ConfChangeSingle::new(kind, Some(*id));
    let add = single(ConfChangeKind::AddNode);
    let add_learner = single(ConfChangeKind::AddLearnerNode);
    let remove = single(ConfChangeKind::RemoveNode);

    let mut tracker = Tracker::new(tracker.limits);
    let incoming: Vec<ConfChangeSingle> = (state.voters.iter().map(add))
        .chain(state.learners.iter().map(add_learner))
        .chain(state.learners_next.iter().map(add_learner))
        .collect();
    let one_by_one = if state.voters_outgoing.is_empty() {
        incoming.clone()
    } else {
        state.voters_outgoing.iter().map(add).collect()
    };
    for change in &one_by_one {
        let (config, peers) =
            Changer::new(&tracker, last_index).simple(core::slice::from_ref(change))?;
        (tracker.config, tracker.peers) = (config, peers);
    }
    let (config, peers) = if state.voters_outgoing.is_empty() {
        (tracker.config, tracker.peers)
    } else {
        let changes: Vec<ConfChangeSingle> =
            state.voters_outgoing.iter().map(remove).chain(incoming).collect();
        Changer::new(&tracker, last_index).enter_joint(state.auto_leave, &changes)?
    };
    if !config.conf_state().equivalent(state) {
        return Err(ConfChangeError::NotEquivalent);
    }
    Ok((config, peers))
}
