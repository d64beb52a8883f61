//! Changes of membership: proposed one at a time, in force when applied (thesis 4).

use super::Raft;
use crate::conf_change::{ConfChange, ConfState, Step};
use crate::conf_changer::{self, Changer};
use crate::entry::{EntryBody, Payload};
use crate::error::{ConfChangeError, Fatal, StartError};
use crate::storage::Storage;
use crate::trace::TraceKind;
use crate::tracker::progress::Progress;
use crate::tracker::{Config, Peers, Tracker};
use crate::types::{LogIndex, NodeId, StateRole, Term};
use alloc::boxed::Box;

impl<P: Payload, S: Storage<P>> Raft<P, S> {
    /// Replaces conf changes that cannot be taken now by refused entries, and remembers the
    /// others.
    pub(super) fn check_conf_changes(&mut self, bodies: &mut [EntryBody<P>]) {
        let last = self.log.last_index();
        for (at, body) in bodies.iter_mut().enumerate() {
            let EntryBody::ConfChange(change) = body else { continue };
            if self.config.disable_conf_change_validation || self.can_propose(change) {
                self.pending_conf_index = last + at as u64 + 1;
                if !change.changes().is_empty() {
                    self.trace(|_| TraceKind::ChangeConf(change.changes().to_vec()));
                }
            } else {
                *body = EntryBody::Refused;
            }
        }
    }

    /// Whether the change is possible on the configuration in force, which is the one that it will
    /// meet: no other change may be on its way (etcd #7625).
    ///
    /// The result is looked at, not only the form: a change that is found impossible when it is
    /// applied stops every replica at once (5.6).
    fn can_propose(&self, change: &ConfChange<P>) -> bool {
        let pending = self.pending_conf_index > self.log.applied();
        let joint = self.tracker.config.is_joint();
        let leave = change.step() == Step::LeaveJoint;
        if pending || joint != leave || (!joint && change.changes().is_empty()) {
            return false;
        }
        Changer::new(&self.tracker, self.log.last_index()).change(change).is_ok()
    }

    /// Puts an applied change into force.
    pub(crate) fn apply_conf_change(
        &mut self,
        at: LogIndex,
        change: &ConfChange<P>,
    ) -> Result<ConfState, ConfChangeError> {
        if at <= self.config_index {
            return self.change_superseded(change);
        }
        let (config, peers) = Changer::new(&self.tracker, self.log.last_index()).change(change)?;
        self.config_index = at;
        let switched = self.switch_config(config, peers);
        self.note(switched);
        Ok(self.tracker.config.conf_state())
    }

    /// A change from before a snapshot that has come in the meantime. It does not touch the
    /// configuration in force; but until the snapshot is installed the state machine is where it
    /// was, and must be stored with the configuration that belongs there.
    fn change_superseded(&mut self, change: &ConfChange<P>) -> Result<ConfState, ConfChangeError> {
        let Some(old) = &self.superseded_config else {
            // The snapshot is installed, and what comes late is in it.
            return Ok(self.tracker.config.conf_state());
        };
        let mut tracker = Tracker::new(self.tracker.limits);
        let last = self.log.last_index();
        (tracker.config, tracker.peers) = conf_changer::restore(&tracker, last, old)?;
        let (config, _) = Changer::new(&tracker, last).change(change)?;
        Ok(self.superseded_config.insert(config.conf_state()).clone())
    }

    pub(super) fn switch_config(&mut self, config: Config, peers: Peers) -> Result<(), Fatal> {
        self.trace(|_| TraceKind::ApplyConfChange(config.voters.incoming.clone()));
        self.tracker.config = config;
        self.tracker.peers = peers;
        let own = self.tracker.peers.get(self.id).map(Progress::is_learner);
        self.is_learner = own == Some(true);
        if self.role != StateRole::Leader {
            return Ok(());
        }
        if own != Some(false) {
            // Removed or demoted. Going on would mean to lead without a vote, and to answer reads
            // for a group that may have another leader (5.4).
            if self.config.step_down_on_removal {
                self.become_follower(self.term, None);
            }
            return Ok(());
        }
        if self.maybe_commit()? {
            // The quorum may be smaller now.
            self.broadcast_append()?;
        } else {
            // Newcomers need not wait for the next heartbeat.
            for at in 0..self.tracker.peers.len() {
                self.maybe_send_append(at, false)?;
            }
        }
        if self.transferee.is_some_and(|to| !self.tracker.config.voters.contains(to)) {
            self.transferee = None;
        }
        Ok(())
    }

    /// Everything up to `index` is applied; `bytes` of it were handed out for that.
    pub(crate) fn applied_to(&mut self, index: LogIndex, bytes: u64) {
        self.log.applied_to(index, bytes);
        // The last conf change is applied and has led into a joint configuration that is to be
        // left. Refused during a transfer; then the next apply, or the next leader, tries again,
        // hence asked anew each time (etcd #12136, #14538). Never twice: taking it into the log
        // moves `pending_conf_index`.
        if self.tracker.config.auto_leave
            && self.role == StateRole::Leader
            && self.log.applied() >= self.pending_conf_index
        {
            let leave = EntryBody::ConfChange(Box::new(ConfChange::AutoLeave));
            if let Err(crate::error::StepError::Fatal(fatal)) = self.propose([leave]) {
                self.fail(fatal);
            }
        }
    }

    /// Makes the first entries of a new group: one change for each first member, committed by
    /// decree, the same on all of them.
    pub(crate) fn bootstrap(
        &mut self,
        members: impl IntoIterator<Item = (NodeId, Option<P>)>,
    ) -> Result<(), StartError> {
        use crate::conf_change::{ConfChangeKind, ConfChangeSingle};
        if self.log.last_index() != LogIndex::ZERO {
            return Err(StartError::NotBootstrappable);
        }
        self.become_follower(Term(1), None);
        for (node, context) in members {
            let change = ConfChangeSingle::new(ConfChangeKind::AddNode, Some(node));
            let change = ConfChange::V1 { id: 0, change, context };
            // In force at once, so that a member may campaign; applied once more when the
            // application gets to it, which changes nothing.
            let at = self.log.append(self.term, EntryBody::ConfChange(Box::new(change.clone())));
            self.apply_conf_change(at, &change).map_err(StartError::ConfState)?;
        }
        self.config_index = LogIndex::ZERO;
        if self.log.last_index() == LogIndex::ZERO {
            return Err(StartError::NotBootstrappable);
        }
        self.log.commit_bootstrap();
        Ok(())
    }
}
