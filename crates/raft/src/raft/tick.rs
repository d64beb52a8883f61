//! Time, as far as the core knows it: ticks that the driver counts.

use super::Raft;
use crate::entry::Payload;
use crate::storage::Storage;
use crate::types::StateRole;

impl<P: Payload, S: Storage<P>> Raft<P, S> {
    /// One tick. `append_pending`: whether an append that was handed out is not done yet.
    pub(crate) fn tick(&mut self, append_pending: bool) {
        if self.halted().is_some() {
            return;
        }
        match self.role {
            StateRole::Leader => self.tick_leader(append_pending),
            StateRole::Follower | StateRole::PreCandidate | StateRole::Candidate => {
                self.tick_election();
            }
        }
    }

    fn tick_election(&mut self) {
        self.election_elapsed = self.election_elapsed.saturating_add(1);
        if self.is_promotable() && self.election_elapsed >= self.randomized_election_timeout {
            self.election_elapsed = 0;
            // A refusal passes: the next timeout tries again.
            let _ = self.campaign();
        }
    }

    fn tick_leader(&mut self, append_pending: bool) {
        self.heartbeat_elapsed = self.heartbeat_elapsed.saturating_add(1);
        self.election_elapsed = self.election_elapsed.saturating_add(1);
        self.stalled_elapsed = if append_pending { self.stalled_elapsed + 1 } else { 0 };

        if self.is_stalled() {
            self.become_follower(self.term, None);
            return;
        }
        if self.election_elapsed >= self.config.election_tick {
            self.election_elapsed = 0;
            if self.config.check_quorum {
                self.check_quorum();
            }
            // A transfer that takes longer than an election is given up (thesis 3.10).
            self.transferee = None;
        }
        if self.role == StateRole::Leader && self.heartbeat_elapsed >= self.config.heartbeat_tick {
            self.heartbeat_elapsed = 0;
            self.broadcast_heartbeat();
        }
    }

    /// An append was reported done.
    pub(crate) fn note_append_done(&mut self) {
        self.stalled_elapsed = 0;
    }

    /// With a dead disk a leader keeps office for ever: heartbeats need no disk, and followers
    /// that hear them do not campaign (etcd #13527). With nobody else to lead it had better wait.
    fn is_stalled(&self) -> bool {
        self.config.step_down_on_stall
            && self.stalled_elapsed >= self.config.election_tick
            && !self.tracker.is_sole_voter(self.id)
    }

    fn check_quorum(&mut self) {
        if !self.tracker.quorum_active() {
            self.become_follower(self.term, None);
        }
        let own = self.id;
        for (id, progress) in self.tracker.peers.iter_mut() {
            if id != own {
                progress.set_recent_active(false);
            }
        }
    }
}
