//! Handing over the lead (thesis 3.10).

use super::Raft;
use crate::entry::Payload;
use crate::error::StepError;
use crate::message::{Body, Message};
use crate::storage::Storage;
use crate::types::{NodeId, StateRole, Term};

impl<P: Payload, S: Storage<P>> Raft<P, S> {
    /// Asks for a hand-over to `to`, here or, on a follower, at the leader.
    pub(crate) fn transfer_leader(&mut self, to: NodeId) {
        match (self.role, self.leader) {
            (StateRole::Leader, _) => {
                let started = self.handle_transfer(to);
                if let Err(StepError::Fatal(fatal)) = started {
                    self.fail(fatal);
                }
            }
            (StateRole::Follower, Some(leader)) => {
                let body = Body::TransferLeader;
                self.messages.push(Message { from: to, to: leader, term: self.term, body });
            }
            // Nobody to ask. The asker sees that nothing happens, as he would with a lost message.
            (StateRole::Follower | StateRole::PreCandidate | StateRole::Candidate, _) => {}
        }
    }

    pub(super) fn handle_transfer(&mut self, to: NodeId) -> Result<(), StepError> {
        let last = self.log.last_index();
        let Some(progress) = self.tracker.peers.get(to) else { return Ok(()) };
        if progress.is_learner() || self.transferee == Some(to) {
            return Ok(());
        }
        // Another one than before: the earlier transfer is given up.
        self.transferee = None;
        if to == self.id {
            return Ok(());
        }
        // It has one election timeout from here.
        self.election_elapsed = 0;
        self.transferee = Some(to);
        if progress.matched() == last {
            self.order_campaign(to);
        } else {
            self.send_append_to(to)?;
        }
        Ok(())
    }

    /// The target has caught up: proposals are refused meanwhile, so it stays caught up.
    pub(super) fn finish_transfer_if_caught_up(&mut self, from: NodeId) {
        let last = self.log.last_index();
        if self.transferee == Some(from)
            && self.tracker.peers.get(from).is_some_and(|progress| progress.matched() == last)
        {
            self.order_campaign(from);
        }
    }

    fn order_campaign(&mut self, to: NodeId) {
        debug_assert_ne!(self.term, Term::ZERO, "a leader has a term");
        self.give_lease_away();
        self.send(to, Body::TimeoutNow);
    }
}
