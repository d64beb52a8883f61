//! Following a leader.

use super::Raft;
use super::election::Campaign;
use crate::entry::{Entry, Payload};
use crate::error::{DropReason, StepError};
use crate::message::{Body, Message};
use crate::read_only::{ReadOnlyOption, ReadState};
use crate::storage::Storage;
use crate::types::{EntryId, LogIndex, NodeId, StateRole};
use alloc::vec::Vec;

impl<P: Payload, S: Storage<P>> Raft<P, S> {
    pub(super) fn step_follower(&mut self, message: Message<P>) -> Result<(), StepError> {
        let from = message.from;
        if message.body.is_from_leader() {
            // Even if we reject what it says, it lives (redpanda #30817).
            self.election_elapsed = 0;
            self.leader = Some(from);
            self.forgotten = None;
        }
        match message.body {
            Body::Append { prev, entries, commit } => {
                self.handle_append(from, prev, entries, commit)
            }
            Body::Heartbeat { commit, context } => self.handle_heartbeat(from, commit, context),
            Body::Snapshot { snapshot } => self.handle_snapshot(from, *snapshot),
            Body::Propose { .. } if self.config.disable_proposal_forwarding => {
                let reason = match self.leader {
                    Some(_) => DropReason::ForwardingDisabled,
                    None => DropReason::NoLeader,
                };
                Err(StepError::Dropped(reason))
            }
            Body::Propose { .. } | Body::ReadIndex { .. } => match self.leader {
                Some(_) => self.forward(message),
                None => Err(StepError::Dropped(DropReason::NoLeader)),
            },
            Body::TransferLeader => match self.leader {
                Some(_) => self.forward(message),
                None => Ok(()),
            },
            Body::TimeoutNow => {
                // Never with a pre-vote: the leader has just asked for it, nothing is disturbed.
                let _ = self.start_campaign(Campaign::Transfer);
                Ok(())
            }
            Body::ReadIndexResp { index, context } => {
                self.read_states.push(ReadState { index, context });
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Sends on to the leader what only a leader can do.
    fn forward(&mut self, message: Message<P>) -> Result<(), StepError> {
        let Some(leader) = self.leader else { return Ok(()) };
        // A leader that is ourselves is none: this is a follower.
        if leader != self.id {
            let term = if message.body.has_no_term() { message.term } else { self.term };
            self.route(Message { to: leader, term, ..message });
        }
        Ok(())
    }

    fn handle_append(
        &mut self,
        from: NodeId,
        prev: EntryId,
        entries: Vec<Entry<P>>,
        commit: LogIndex,
    ) -> Result<(), StepError> {
        let committed = self.log.committed();
        if prev.index < committed {
            // Old news; what is committed matches for sure.
            self.send(from, Body::AppendResp { index: committed, reject: None });
            return Ok(());
        }
        let body = match self.log.maybe_append(prev, entries, commit)? {
            Some(last) => Body::AppendResp { index: last, reject: None },
            None => {
                let hint = prev.index.min(self.log.last_index());
                let hint = self.log.find_conflict_by_term(hint, prev.term)?;
                Body::AppendResp { index: prev.index, reject: Some(hint) }
            }
        };
        self.send(from, body);
        Ok(())
    }

    fn handle_heartbeat(
        &mut self,
        from: NodeId,
        commit: LogIndex,
        context: Option<u64>,
    ) -> Result<(), StepError> {
        if let Err(fatal) = self.log.commit_to(commit) {
            // We answer, so that the leader knows us alive and can repair us, but confirm no read:
            // that would be a promise about votes that we no longer know of.
            self.send(from, Body::HeartbeatResp { context: None });
            return Err(fatal.into());
        }
        let context = context.filter(|_| self.fatal.is_none());
        self.send(from, Body::HeartbeatResp { context });
        Ok(())
    }

    /// Forgets the leader without changing anything else: the vote is free again for whoever has
    /// a reason to campaign. Ours is a reason too, once the connection to the leader has dropped.
    pub(crate) fn forget_leader(&mut self) {
        if self.role == StateRole::Follower && self.config.read_only != ReadOnlyOption::LeaseBased {
            self.forgotten = self.leader.take().or(self.forgotten);
        }
    }

    /// The connection to the forgotten leader is back, so it lives: protects it again. Otherwise
    /// until its next heartbeat anybody else who loses it would find an ally here, and two links
    /// that flap one after the other could unseat it.
    ///
    /// Safe, since it was forgotten in this very term, and who leads a term never changes; whether
    /// it still does, the timer finds out.
    pub(crate) fn remember_leader(&mut self, id: NodeId) {
        let waits = matches!(self.role, StateRole::Follower | StateRole::PreCandidate);
        if waits && self.forgotten == Some(id) {
            self.become_follower(self.term, Some(id));
        }
    }
}
