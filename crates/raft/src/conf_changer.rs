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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::progress::ProgressState;
    use alloc::format;
    use alloc::string::{String, ToString};
    use proptest::prelude::*;

    const LIMITS: InflightLimits = InflightLimits { messages: 10, bytes: u64::MAX };

    fn id(id: u64) -> NodeId {
        NodeId::new(id).expect("not zero")
    }

    /// `v1 l2 r3 u4`
    fn changes(text: &str) -> Vec<ConfChangeSingle> {
        let change = |token: &str| {
            let kind = match &token[..1] {
                "v" => ConfChangeKind::AddNode,
                "l" => ConfChangeKind::AddLearnerNode,
                "r" => ConfChangeKind::RemoveNode,
                _ => ConfChangeKind::UpdateNode,
            };
            ConfChangeSingle::new(kind, NodeId::new(token[1..].parse().expect("an id")))
        };
        text.split_whitespace().map(change).collect()
    }

    /// Carries out `simple ...`, `joint ...`, `autojoint ...` or `leave`, and describes the result.
    fn step(tracker: &mut Tracker, command: &str) -> String {
        let (verb, text) = command.split_once(' ').unwrap_or((command, ""));
        let changer = Changer::new(tracker, LogIndex(7));
        let changed = match verb {
            "simple" => changer.simple(&changes(text)),
            "joint" => changer.enter_joint(false, &changes(text)),
            "autojoint" => changer.enter_joint(true, &changes(text)),
            "leave" => changer.leave_joint(),
            other => panic!("unknown verb {other}"),
        };
        match changed {
            Ok((config, peers)) => {
                (tracker.config, tracker.peers) = (config, peers);
                tracker.config.to_string()
            }
            Err(error) => error.to_string(),
        }
    }

    fn play(steps: &[(&str, &str)]) {
        let mut tracker = Tracker::new(LIMITS);
        for (command, result) in steps {
            assert_eq!(step(&mut tracker, command), *result, "after {command:?}");
        }
    }

    #[test]
    fn simple_changes_move_one_voter_at_a_time() {
        play(&[
            ("simple l1", "removed all voters"),
            ("simple v1", "voters=(1)"),
            ("simple v1", "voters=(1)"),
            ("simple v2", "voters=(1 2)"),
            ("simple l1", "voters=(2) learners=(1)"),
            ("simple l1", "voters=(2) learners=(1)"),
            ("simple r1", "voters=(2)"),
            ("simple r1", "voters=(2)"),
            ("simple v3", "voters=(2 3)"),
            ("simple r3", "voters=(2)"),
            ("simple r4", "voters=(2)"),
            ("simple u2", "voters=(2)"),
            ("simple v0", "voters=(2)"),
            ("simple v4 v5", "more than one voter changed without entering joint config"),
            ("simple v4 r2", "more than one voter changed without entering joint config"),
            ("simple r2", "removed all voters"),
            ("simple l2", "removed all voters"),
            // Two changes of which one voter is the sum.
            ("simple v4 l5", "voters=(2 4) learners=(5)"),
            ("simple v5 r4 v4", "voters=(2 4 5)"),
            ("leave", "can't leave a non-joint config"),
        ]);
    }

    #[test]
    fn a_joint_configuration_takes_no_further_change() {
        play(&[
            ("joint v1", "can't make a zero-voter config joint"),
            ("simple v1", "voters=(1)"),
            ("joint r1", "removed all voters"),
            ("joint", "voters=(1)&&(1)"),
            ("leave", "voters=(1)"),
            ("joint v2 v3", "voters=(1 2 3)&&(1)"),
            ("simple v4", "can't apply simple config change in joint config"),
            ("joint v4", "config is already joint"),
            ("leave", "voters=(1 2 3)"),
            ("leave", "can't leave a non-joint config"),
            ("autojoint r1 r2 v4", "voters=(3 4)&&(1 2 3) autoleave"),
            ("leave", "voters=(3 4)"),
        ]);
    }

    #[test]
    fn a_demoted_voter_is_a_learner_when_its_old_half_is_gone() {
        play(&[
            ("simple v1", "voters=(1)"),
            ("joint v2 v3 l4", "voters=(1 2 3)&&(1) learners=(4)"),
            ("leave", "voters=(1 2 3) learners=(4)"),
            ("autojoint l1 l4 r4 v5", "voters=(2 3 5)&&(1 2 3) learners_next=(1) autoleave"),
            ("leave", "voters=(2 3 5) learners=(1)"),
            // Changed minds within one change.
            ("joint l2 v2", "voters=(2 3 5)&&(2 3 5) learners=(1)"),
            ("leave", "voters=(2 3 5) learners=(1)"),
            ("joint l2 r2", "voters=(3 5)&&(2 3 5) learners=(1)"),
            ("leave", "voters=(3 5) learners=(1)"),
            ("joint r3 l3", "voters=(5)&&(3 5) learners=(1) learners_next=(3)"),
            ("leave", "voters=(5) learners=(1 3)"),
        ]);
    }

    #[test]
    fn a_new_member_is_probed_from_the_end_and_taken_for_alive() {
        let mut tracker = Tracker::new(LIMITS);
        step(&mut tracker, "simple v1");
        step(&mut tracker, "simple l2");
        let learner = tracker.peers.get(id(2)).expect("a member");
        assert_eq!(learner.state(), ProgressState::Probe);
        assert_eq!((learner.matched(), learner.next()), (LogIndex(0), LogIndex(7)));
        assert!(learner.is_learner() && learner.recent_active());
        // Whoever is promoted keeps what is known of it.
        tracker.peers.get_mut(id(2)).expect("a member").maybe_update(LogIndex(9));
        step(&mut tracker, "simple v2");
        let voter = tracker.peers.get(id(2)).expect("a member");
        assert_eq!((voter.matched(), voter.is_learner()), (LogIndex(9), false));
    }

    #[test]
    fn restore_builds_what_was_stored_and_nothing_else() {
        let set =
            |text: &str| text.split_whitespace().map(|n| id(n.parse().expect("id"))).collect();
        let good = [
            ("", "", "", "", false),
            ("1 2 3", "", "", "", false),
            ("3 1 2", "5", "", "", false),
            ("1 2 3", "5", "1 2 4 6", "4", true),
            ("1", "", "2", "", false),
        ];
        for (voters, learners, outgoing, next, auto_leave) in good {
            let state = ConfState {
                voters: set(voters),
                learners: set(learners),
                voters_outgoing: set(outgoing),
                learners_next: set(next),
                auto_leave,
            };
            let (config, peers) =
                restore(&Tracker::new(LIMITS), LogIndex(3), &state).expect("good");
            assert!(config.conf_state().equivalent(&state), "{state:?}");
            let members = config.voters.ids().len() + config.learners.len();
            assert_eq!(peers.len(), members, "{state:?}");
        }
        let bad = [
            // Learners alone, a voter that is a learner, a joint state without incoming voters,
            // waiting learners and automatic leaving without a joint state.
            ("", "1", "", "", false),
            ("1", "1", "", "", false),
            ("", "", "1", "", false),
            ("1", "", "", "2", false),
            ("1", "", "", "", true),
        ];
        for (voters, learners, outgoing, next, auto_leave) in bad {
            let state = ConfState {
                voters: set(voters),
                learners: set(learners),
                voters_outgoing: set(outgoing),
                learners_next: set(next),
                auto_leave,
            };
            assert!(restore(&Tracker::new(LIMITS), LogIndex(3), &state).is_err(), "{state:?}");
        }
    }

    fn any_changes() -> impl Strategy<Value = Vec<(usize, u64)>> {
        proptest::collection::vec((0usize..4, 1u64..8), 0..8)
    }

    fn built(raw: &[(usize, u64)]) -> Vec<ConfChangeSingle> {
        let kinds = [
            ConfChangeKind::AddNode,
            ConfChangeKind::AddLearnerNode,
            ConfChangeKind::RemoveNode,
            ConfChangeKind::UpdateNode,
        ];
        raw.iter().map(|(kind, n)| ConfChangeSingle::new(kinds[*kind], Some(id(*n)))).collect()
    }

    proptest! {
        /// In one step or through a joint configuration, the same members come out, and what is
        /// stored in between can be restored.
        #[test]
        fn both_ways_lead_to_the_same_configuration(
            setup in any_changes(),
            change in any_changes(),
        ) {
            let mut tracker = Tracker::new(LIMITS);
            step(&mut tracker, "simple v1");
            for change in built(&setup) {
                if let Ok((config, peers)) = Changer::new(&tracker, LogIndex(7)).simple(&[change]) {
                    (tracker.config, tracker.peers) = (config, peers);
                }
            }
            let change = built(&change);
            let simple = Changer::new(&tracker, LogIndex(7)).simple(&change);
            let mut joint = tracker.clone();
            let entered = Changer::new(&tracker, LogIndex(7)).enter_joint(false, &change);
            if let Ok((config, peers)) = entered {
                let state = config.conf_state();
                let restored = restore(&tracker, LogIndex(7), &state);
                prop_assert_eq!(restored.map(|(config, _)| config), Ok(config.clone()));
                (joint.config, joint.peers) = (config, peers);
                let (config, peers) = Changer::new(&joint, LogIndex(7)).leave_joint()
                    .expect("a joint configuration can be left");
                if let Ok((simple, simple_peers)) = simple {
                    prop_assert_eq!(format!("{config}"), format!("{simple}"));
                    prop_assert_eq!(peers.len(), simple_peers.len());
                }
            } else {
                prop_assert!(simple.is_err());
            }
        }
    }
}
