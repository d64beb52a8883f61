//! Leading: proposals, replication, commit, reads.

use super::Raft;
use crate::config::limit;
use crate::entry::{Entry, EntryBody, Payload};
use crate::error::{DropReason, Fatal, StepError, StorageError};
use crate::message::{Body, Message};
use crate::read_only::{ReadOnlyOption, ReadRequest, ReadState};
use crate::storage::Storage;
use crate::trace::TraceKind;
use crate::tracker::progress::ProgressState;
use crate::types::{EntryId, LogIndex, NodeId};
use alloc::vec::Vec;

impl<P: Payload, S: Storage<P>> Raft<P, S> {
    pub(super) fn step_leader(&mut self, message: Message<P>) -> Result<(), StepError> {
        let from = message.from;
        match message.body {
            Body::Propose { entries } => self.propose(entries),
            Body::ReadIndex { context } => self.read_index(ReadRequest { from, context }),
            Body::AppendResp { index, reject: None } => self.handle_append_accepted(from, index),
            Body::AppendResp { index, reject: Some(hint) } => {
                self.handle_append_rejected(from, index, hint)
            }
            Body::HeartbeatResp { context } => self.handle_heartbeat_response(from, context),
            Body::TransferLeader => self.handle_transfer(from),
            _ => Ok(()),
        }
    }

    /// Takes proposals into the log and sends them out.
    pub(crate) fn propose<B>(&mut self, mut bodies: B) -> Result<(), StepError>
    where
        B: AsMut<[EntryBody<P>]> + IntoIterator<Item = EntryBody<P>>,
    {
        if self.tracker.peers.position(self.id).is_none() {
            return Err(StepError::Dropped(DropReason::Removed));
        }
        if self.transferee.is_some() {
            return Err(StepError::Dropped(DropReason::Transferring));
        }
        self.check_conf_changes(bodies.as_mut());
        let bytes = bodies.as_mut().iter().map(EntryBody::payload_size).sum();
        self.reserve_uncommitted(bytes)?;
        self.append_entries(bodies);
        Ok(self.broadcast_append()?)
    }

    /// A limit on what is proposed faster than it is applied. The first proposal always fits, and
    /// so does one without payload, which a leader needs to begin and to leave a joint
    /// configuration.
    fn reserve_uncommitted(&mut self, bytes: u64) -> Result<(), StepError> {
        let after = self.uncommitted_bytes.saturating_add(bytes);
        let max = limit(self.config.max_uncommitted_size);
        if self.uncommitted_bytes > 0 && bytes > 0 && after > max {
            return Err(StepError::Dropped(DropReason::UncommittedLimit));
        }
        self.uncommitted_bytes = after;
        Ok(())
    }

    /// Applied proposals no longer count. What an earlier leader proposed was never counted, hence
    /// the saturation.
    pub(crate) fn release_uncommitted(&mut self, bytes: u64) {
        self.uncommitted_bytes = self.uncommitted_bytes.saturating_sub(bytes);
    }

    pub(super) fn append_entries(&mut self, bodies: impl IntoIterator<Item = EntryBody<P>>) {
        for body in bodies {
            self.trace_append(&body);
            self.log.append(self.term, body);
        }
        // The leader counts itself when the entries are on its disk, not before.
        let index = self.log.last_index();
        self.send(self.id, Body::AppendResp { index, reject: None });
    }

    /// Sends to all others what they do not have.
    pub(super) fn broadcast_append(&mut self) -> Result<(), Fatal> {
        for at in 0..self.tracker.peers.len() {
            self.maybe_send_append(at, true)?;
        }
        Ok(())
    }

    pub(super) fn send_append_to(&mut self, to: NodeId) -> Result<(), Fatal> {
        if let Some(at) = self.tracker.peers.position(to) {
            self.maybe_send_append(at, true)?;
        }
        Ok(())
    }

    /// Sends the next append to the member at this place of the tracker, unless it is paused.
    /// Empty ones, which only carry the commit index, only if asked for. Whether one was sent.
    pub(super) fn maybe_send_append(
        &mut self,
        at: usize,
        send_if_empty: bool,
    ) -> Result<bool, Fatal> {
        let (to, progress) = self.tracker.peers.at(at);
        if to == self.id || progress.is_paused() {
            return Ok(false);
        }
        let next = progress.next();
        let last = self.log.last_index();
        let Some(prev_term) = self.log.term(next.prev())? else {
            // Compacted; only a snapshot can help (also a learner that was never reachable,
            // openraft #1828).
            return self.maybe_send_snapshot(at);
        };
        let mut entries = Vec::new();
        // With a full window only empty appends are sent: if all that filled it was lost, one of
        // them will be rejected or acknowledged, and either empties the window (raft #52).
        let throttled = progress.state() == ProgressState::Replicate && progress.window_is_full();
        if !throttled && next <= last {
            let max = limit(self.config.max_size_per_msg);
            match self.log.entries(next, last.next(), max, &mut entries) {
                Ok(()) => {}
                Err(StorageError::Compacted) => return self.maybe_send_snapshot(at),
                Err(error) => return Err(error.into()),
            }
        }
        if entries.is_empty() && !send_if_empty {
            return Ok(false);
        }
        let commit = self.log.committed();
        let bytes = entries.iter().map(|entry| entry.body.payload_size()).sum();
        progress.sent_entries(entries.len(), bytes);
        progress.note_sent_commit(commit);
        let prev = EntryId { term: prev_term, index: next.prev() };
        self.send(to, Body::Append { prev, entries, commit });
        Ok(true)
    }

    pub(super) fn broadcast_heartbeat(&mut self) {
        let context = self.read_only.heartbeat_context();
        let committed = self.log.committed();
        for at in 0..self.tracker.peers.len() {
            let (to, progress) = self.tracker.peers.at(at);
            if to != self.id {
                // Not beyond what is known to match: a follower would take the commit index for
                // whatever it has there.
                let commit = progress.matched().min(committed);
                progress.note_sent_commit(commit);
                self.send(to, Body::Heartbeat { commit, context });
            }
        }
    }

    /// Whether the commit index moved; the caller then tells everybody.
    pub(super) fn maybe_commit(&mut self) -> Result<bool, Fatal> {
        let index = self.tracker.committed();
        let moved = self.log.maybe_commit(EntryId { term: self.term, index });
        self.trace(|_| TraceKind::Commit);
        moved
    }

    fn handle_append_accepted(&mut self, from: NodeId, index: LogIndex) -> Result<(), StepError> {
        let Some(progress) = self.tracker.peers.get_mut(from) else { return Ok(()) };
        progress.set_recent_active(true);
        if index > self.log.last_index() {
            // Nobody can have more than the leader of the term has made.
            return Err(StepError::Malformed);
        }
        // Also without news: a follower that was marked unreachable and has everything would stay
        // in probe for ever (raft #52, etcd #14633).
        let probed = progress.matched() == index && progress.state() == ProgressState::Probe;
        if !progress.maybe_update(index) && !probed {
            return Ok(());
        }
        match progress.state() {
            ProgressState::Probe => progress.become_replicate(),
            ProgressState::Replicate => progress.free_inflights(index),
            ProgressState::Snapshot => {
                // Any acknowledgement that connects to our log ends the wait for the snapshot.
                if progress.matched().next() >= self.log.first_index() {
                    progress.become_probe();
                    progress.become_replicate();
                }
            }
        }
        if self.maybe_commit()? {
            self.release_early_reads()?;
            self.broadcast_append()?;
        } else if from != self.id {
            let committed = self.log.committed();
            if self.tracker.peers.get(from).is_some_and(|p| p.can_bump_commit(committed)) {
                self.send_append_to(from)?;
            }
        }
        if from != self.id {
            // The window may have room for several messages now.
            while let Some(at) = self.tracker.peers.position(from)
                && self.maybe_send_append(at, false)?
            {}
            self.finish_transfer_if_caught_up(from);
        }
        Ok(())
    }

    fn handle_append_rejected(
        &mut self,
        from: NodeId,
        rejected: LogIndex,
        hint: EntryId,
    ) -> Result<(), StepError> {
        let Some(progress) = self.tracker.peers.get_mut(from) else { return Ok(()) };
        progress.set_recent_active(true);
        // The hint names the end of what may match at the follower. Where our term there is above
        // the follower's, ours cannot match either: skip the whole term, not one entry a time.
        let next_probe = if hint.term > crate::types::Term::ZERO {
            self.log.find_conflict_by_term(hint.index, hint.term)?.index
        } else {
            hint.index
        };
        if progress.maybe_decrease(rejected, next_probe) {
            if progress.state() == ProgressState::Replicate {
                progress.become_probe();
            }
            self.send_append_to(from)?;
        }
        Ok(())
    }

    fn handle_heartbeat_response(
        &mut self,
        from: NodeId,
        context: Option<u64>,
    ) -> Result<(), StepError> {
        let last = self.log.last_index();
        let Some(progress) = self.tracker.peers.get_mut(from) else { return Ok(()) };
        progress.set_recent_active(true);
        progress.resume_flow();
        if progress.matched() < last || progress.state() == ProgressState::Probe {
            self.send_append_to(from)?;
        }
        if let Some(number) = context {
            self.read_only.ack(from, number);
            self.answer_confirmed_reads();
        }
        Ok(())
    }

    /// A read: the commit index now, once it is sure that nobody else leads (thesis 6.4).
    pub(crate) fn read_index(&mut self, request: ReadRequest<P>) -> Result<(), StepError> {
        if self.early_reads.len() + self.read_only.len() >= self.config.max_pending_reads {
            return Err(StepError::Dropped(DropReason::TooManyReads));
        }
        if !self.has_committed_in_term()? {
            // Until its first commit a leader does not know what was committed before it, not
            // even if it is the only voter (etcd #7331, 5.3).
            self.early_reads.push(request);
            return Ok(());
        }
        self.serve_read(request);
        Ok(())
    }

    fn serve_read(&mut self, request: ReadRequest<P>) {
        let committed = self.log.committed();
        // A transfer breaks the lease: its target may be elected any moment (openraft #1747).
        let leased = self.config.read_only == ReadOnlyOption::LeaseBased && !self.lease_given_away;
        if leased || self.tracker.is_sole_voter(self.id) {
            self.answer_read(committed, request);
            return;
        }
        self.read_only.add(committed, request);
        if let Some(number) = self.read_only.heartbeat_context() {
            self.read_only.ack(self.id, number);
        }
        self.broadcast_heartbeat();
    }

    fn answer_confirmed_reads(&mut self) {
        let confirmed: Vec<_> = self.read_only.advance(&self.tracker.config.voters).collect();
        for (index, request) in confirmed {
            self.answer_read(index, request);
        }
    }

    fn answer_read(&mut self, index: LogIndex, request: ReadRequest<P>) {
        let ReadRequest { from, context } = request;
        if from == self.id {
            self.read_states.push(ReadState { index, context });
        } else {
            self.send(from, Body::ReadIndexResp { index, context });
        }
    }

    pub(crate) fn has_early_reads(&self) -> bool {
        !self.early_reads.is_empty()
    }

    fn release_early_reads(&mut self) -> Result<(), Fatal> {
        if !self.early_reads.is_empty() && self.has_committed_in_term()? {
            for request in core::mem::take(&mut self.early_reads) {
                self.serve_read(request);
            }
        }
        Ok(())
    }

    /// Notes that no lease holds any more in this term.
    pub(super) fn give_lease_away(&mut self) {
        self.lease_given_away = true;
    }

    fn has_committed_in_term(&self) -> Result<bool, Fatal> {
        Ok(self.log.term(self.log.committed())? == Some(self.term))
    }

    /// The driver could not reach a member.
    pub(crate) fn report_unreachable(&mut self, id: NodeId) {
        if let Some(progress) = self.leading_to(id)
            && progress.state() == ProgressState::Replicate
        {
            // What was on its way is likely lost.
            progress.become_probe();
        }
    }

    pub(super) fn leading_to(
        &mut self,
        id: NodeId,
    ) -> Option<&mut crate::tracker::progress::Progress> {
        if self.role != crate::types::StateRole::Leader {
            return None;
        }
        self.tracker.peers.get_mut(id)
    }
}

/// The bytes that these entries have taken of the limit of uncommitted bytes.
pub(crate) fn payload_bytes<P: Payload>(entries: &[Entry<P>]) -> u64 {
    entries.iter().map(|entry| entry.body.payload_size()).sum()
}
