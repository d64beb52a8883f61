//! The door: calls in, [`Ready`] out.

#[cfg(test)]
mod explore;

use crate::conf_change::{ConfChange, ConfState};
use crate::config::Config;
use crate::entry::{EntryBody, Payload};
use crate::error::{
    CampaignRefused, ConfChangeError, DropReason, Fatal, OutOfOrder, StartError, StepError,
};
use crate::message::{Body, Message};
use crate::raft::Raft;
use crate::raft::SnapshotStatus;
use crate::raft::payload_bytes;
use crate::read_only::ReadRequest;
use crate::ready::{
    AppendTicket, ApplyTicket, PendingAppend, PendingApply, Ready, StorageAppend, StorageApply,
};
use crate::status::Status;
use crate::storage::Storage;
use crate::trace::{TraceEvent, TraceKind};
use crate::types::{EntryId, HardState, LogIndex, NodeId, SoftState, StateRole};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// One member of a group, as its driver sees it. The crate's documentation shows the loop.
///
/// No call blocks, fails half-way, or panics on what comes from outside. The node is plain state:
/// it can be cloned, compared and hashed, and does the same each time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RawNode<P, S> {
    raft: Raft<P, S>,
    handed_soft_state: SoftState,
    handed_hard_state: HardState,
    /// The commit index that is on disk once all appends handed out are done.
    synced_commit: LogIndex,
    appends: VecDeque<PendingAppend<P>>,
    applies: VecDeque<PendingApply>,
    next_append: u64,
    next_apply: u64,
}

impl<P: Payload, S: Storage<P>> RawNode<P, S> {
    /// Starts a node on what `storage` has: a new one, or one that was stopped.
    pub fn new(config: Config, storage: S) -> Result<Self, StartError> {
        let stored = storage.initial_state().map_err(Fatal::from)?.0;
        let raft = Raft::new(config, storage)?;
        Ok(Self {
            handed_soft_state: raft.soft_state(),
            handed_hard_state: raft.hard_state(),
            synced_commit: stored.commit,
            raft,
            appends: VecDeque::new(),
            applies: VecDeque::new(),
            next_append: 1,
            next_apply: 1,
        })
    }

    /// Starts the first life of a member of a new group, whose log must be empty. All first
    /// members must be given the same list in the same order.
    ///
    /// The members are the first entries of the log: one conf change each, of term 1, committed.
    /// `context` is carried in them for the application.
    pub fn bootstrap(
        config: Config,
        storage: S,
        members: impl IntoIterator<Item = (NodeId, Option<P>)>,
    ) -> Result<Self, StartError> {
        let mut node = Self::new(config, storage)?;
        node.raft.bootstrap(members)?;
        // Nothing of it is on disk yet.
        node.handed_hard_state = HardState::default();
        node.synced_commit = LogIndex::ZERO;
        Ok(node)
    }

    /// Counts one tick of the driver's clock.
    pub fn tick(&mut self) {
        self.raft.tick(!self.appends.is_empty());
    }

    /// Starts an election now, without waiting for a timeout.
    pub fn campaign(&mut self) -> Result<(), CampaignRefused> {
        self.raft.campaign()
    }

    /// Asks now whether an election could be won, and starts it only if so: a pre-vote whatever
    /// [`Config::pre_vote`] says, for campaigns on a suspicion, which must not cost a healthy
    /// leader its term.
    pub fn pre_campaign(&mut self) -> Result<(), CampaignRefused> {
        self.raft.pre_campaign()
    }

    /// Gives up a pre-vote of this node's own that is under way, in favour of somebody else's. Safe
    /// at any time: nothing has happened yet.
    pub fn stand_back(&mut self) {
        if self.raft.halted().is_none() {
            self.raft.stand_back();
        }
    }

    /// Whether who has a log that ends with `last` lacks nothing that this node's log has, and so
    /// could get its vote.
    pub fn is_up_to_date(&self, last: EntryId) -> bool {
        self.raft.log.is_up_to_date(last).unwrap_or(false)
    }

    /// Proposes an entry. `Ok` means that it was taken into a leader's log or sent to the leader,
    /// nothing more: it has happened when it is handed out to be applied.
    pub fn propose(&mut self, payload: P) -> Result<(), StepError> {
        self.propose_bodies([EntryBody::Normal(payload)])
    }

    /// Proposes several entries at once: all or none are taken, and they are sent together.
    pub fn propose_all(&mut self, payloads: Vec<P>) -> Result<(), StepError> {
        if payloads.is_empty() {
            return Ok(());
        }
        self.propose_bodies(payloads.into_iter().map(EntryBody::Normal).collect::<Vec<_>>())
    }

    /// Proposes a change of membership. If it is not possible now, an empty entry is appended in
    /// its place and the change is never handed out.
    pub fn propose_conf_change(&mut self, change: ConfChange<P>) -> Result<(), StepError> {
        self.propose_bodies([EntryBody::ConfChange(Box::new(change))])
    }

    fn propose_bodies<B>(&mut self, bodies: B) -> Result<(), StepError>
    where
        B: AsMut<[EntryBody<P>]> + IntoIterator<Item = EntryBody<P>>,
    {
        if self.raft.role == StateRole::Leader {
            self.raft.refuse_if_halted()?;
            let result = self.raft.propose(bodies);
            return self.noted(result);
        }
        let id = self.raft.id;
        let body = Body::Propose { entries: bodies.into_iter().collect() };
        self.raft.step(Message { from: id, to: id, term: Default::default(), body })
    }

    /// Asks for a read index. The answer comes in [`Ready::read_states`] with the same context,
    /// unless the leader changes first; see [`Ready::soft_state`].
    pub fn read_index(&mut self, context: P) -> Result<(), StepError> {
        let id = self.raft.id;
        match (self.raft.role, self.raft.leader) {
            (StateRole::Leader, _) => {
                self.raft.refuse_if_halted()?;
                let result = self.raft.read_index(ReadRequest { from: id, context });
                self.noted(result)
            }
            (_, Some(_)) => {
                let body = Body::ReadIndex { context };
                self.raft.step(Message { from: id, to: id, term: Default::default(), body })
            }
            (_, None) => Err(StepError::Dropped(DropReason::NoLeader)),
        }
    }

    fn noted<T>(&mut self, result: Result<T, StepError>) -> Result<T, StepError> {
        if let Err(StepError::Fatal(fatal)) = &result {
            self.raft.fail(fatal.clone());
        }
        result
    }

    /// Takes in a message of another member.
    pub fn step(&mut self, message: Message<P>) -> Result<(), StepError> {
        if message.to != self.raft.id {
            return Err(StepError::WrongRecipient(message.to));
        }
        // Forwarded requests may come back in our own name.
        let forwarded = matches!(
            message.body,
            Body::TransferLeader | Body::Propose { .. } | Body::ReadIndex { .. }
        );
        if message.from == self.raft.id && !forwarded {
            return Err(StepError::LocalMessage);
        }
        if message.body.is_response() && self.raft.tracker.peers.position(message.from).is_none() {
            return Err(StepError::PeerNotFound(message.from));
        }
        self.raft.step(message)
    }

    /// Puts a conf change into force; to be called when the committed entry `at` is applied, and
    /// only if the application does not decide to ignore it. Returns what is then to be stored
    /// with the state machine.
    ///
    /// The configuration in force does not change if it is of a later entry: a snapshot may have
    /// been received while the apply was under way, and has brought its own.
    pub fn apply_conf_change(
        &mut self,
        at: LogIndex,
        change: &ConfChange<P>,
    ) -> Result<ConfState, ConfChangeError> {
        self.raft.apply_conf_change(at, change)
    }

    /// Asks for the lead to be handed over to `to`.
    pub fn transfer_leader(&mut self, to: NodeId) {
        if self.raft.halted().is_none() {
            self.raft.transfer_leader(to);
        }
    }

    /// On a follower: acts as if it had never heard of the leader of this term, so that it grants
    /// a pre-vote, and may start one, before the election timeout. Safe at any time; meant for the
    /// moment when the connection to the leader drops, see the crate's documentation. No effect
    /// with lease-based reads.
    pub fn forget_leader(&mut self) {
        self.raft.forget_leader();
    }

    /// Undoes [`RawNode::forget_leader`] if it was `id` that was forgotten and no new term has
    /// begun: for the moment when the connection to it is back.
    pub fn remember_leader(&mut self, id: NodeId) {
        if self.raft.halted().is_none() {
            self.raft.remember_leader(id);
        }
    }

    /// Tells a leader that a message to `id` was likely lost.
    pub fn report_unreachable(&mut self, id: NodeId) {
        self.raft.report_unreachable(id);
    }

    /// Tells a leader what became of the snapshot that was sent to `id`; must be called for each.
    pub fn report_snapshot(&mut self, id: NodeId, status: SnapshotStatus) {
        self.raft.report_snapshot(id, status);
    }

    /// Whether [`RawNode::ready`] would have anything to say.
    pub fn has_ready(&self) -> bool {
        let raft = &self.raft;
        !raft.messages.is_empty()
            || !raft.gated.is_empty()
            || raft.log.unstable.has_next_entries()
            || raft.log.has_committed_entries()
            || raft.soft_state() != self.handed_soft_state
            || raft.hard_state() != self.handed_hard_state
            || raft.log.unstable.next_snapshot().is_some()
            || !raft.read_states.is_empty()
            || raft.halted().is_some()
    }

    /// Fills `ready` with all that is to be done, replacing what was in there. Everything in it
    /// must be done, see the fields; several may be under way at a time.
    ///
    /// `Err`: the node has failed and must be stopped.
    pub fn ready(&mut self, ready: &mut Ready<P>) -> Result<(), Fatal> {
        ready.clear();
        if let Some(fatal) = self.raft.halted() {
            return Err(fatal.clone());
        }
        let soft_state = self.raft.soft_state();
        if soft_state != self.handed_soft_state {
            self.handed_soft_state = soft_state;
            ready.soft_state = Some(soft_state);
        }
        ready.read_states.append(&mut self.raft.read_states);
        ready.messages.append(&mut self.raft.messages);
        ready.apply = self.next_apply()?;
        ready.append = self.next_append(ready.apply.as_ref());
        self.raft.trace(|_| TraceKind::Ready);
        Ok(())
    }

    fn next_apply(&mut self) -> Result<Option<StorageApply<P>>, Fatal> {
        if !self.raft.log.has_committed_entries() {
            return Ok(None);
        }
        let mut entries = Vec::new();
        let bytes = match self.raft.log.next_committed_entries(&mut entries) {
            Ok(bytes) => bytes,
            Err(fatal) => {
                self.raft.fail(fatal.clone());
                return Err(fatal);
            }
        };
        let number = self.next_apply;
        self.next_apply += 1;
        self.applies.push_back(PendingApply {
            number,
            last: self.raft.log.applying(),
            bytes,
            payload_bytes: payload_bytes(&entries),
        });
        Ok(Some(StorageApply { entries, ticket: ApplyTicket(number) }))
    }

    fn next_append(&mut self, apply: Option<&StorageApply<P>>) -> Option<StorageAppend<P>> {
        let raft = &mut self.raft;
        let now = raft.hard_state();
        let before = core::mem::replace(&mut self.handed_hard_state, now);
        let snapshot = raft.log.unstable.next_snapshot().cloned();
        let entries: Vec<_> = raft.log.unstable.next_entries().cloned().collect();

        // A commit index that is lost in a crash is found again, but a configuration that was in
        // force must not be: the index of its change is synced before it (5.2).
        let conf_change = apply.and_then(|apply| {
            apply.entries.iter().rev().find(|e| e.body.is_conf_change()).map(|e| e.id.index)
        });
        let sync_commit = conf_change.is_some_and(|index| index > self.synced_commit);
        let must_sync = sync_commit
            || !entries.is_empty()
            || snapshot.is_some()
            || (now.term, now.vote) != (before.term, before.vote);
        let changed = now != before;
        if !changed && !must_sync && raft.gated.is_empty() {
            return None;
        }
        if must_sync {
            self.synced_commit = now.commit;
        }
        let number = self.next_append;
        self.next_append += 1;
        // Each append vouches for the whole tail, also without entries of its own: the completion
        // of the one that had them may be void, see `Unstable::stable_to`.
        let stable = match raft.log.unstable.is_empty() {
            true => None,
            false => raft.log.unstable.last_id(),
        };
        self.appends.push_back(PendingAppend {
            number,
            term: raft.term,
            responses: core::mem::take(&mut raft.gated),
            stable,
            snapshot: snapshot.as_ref().map(|snapshot| snapshot.meta.id),
        });
        raft.log.unstable.accept_in_progress();
        let hard_state = (changed || sync_commit).then_some(now);
        let ticket = AppendTicket(number);
        Some(StorageAppend { hard_state, snapshot, entries, must_sync, ticket })
    }

    /// Reports the oldest append done, in storage and, if it had to be, on disk. Adds to `released`
    /// the messages that have waited for it; send them.
    pub fn on_append_done(
        &mut self,
        ticket: AppendTicket,
        released: &mut Vec<Message<P>>,
    ) -> Result<(), OutOfOrder> {
        let expected = self.appends.front().map(|append| append.number);
        if expected != Some(ticket.0) {
            return Err(OutOfOrder::Append { expected, ticket });
        }
        let Some(append) = self.appends.pop_front() else { return Ok(()) };
        self.raft.note_append_done();
        self.take_responses(append.responses, released);
        if let Some(id) = append.stable
            && append.term == self.raft.term
        {
            self.raft.log.unstable.stable_to(id);
        }
        if let Some(id) = append.snapshot {
            // Whatever the term: what is in a snapshot is committed.
            self.raft.applied_snapshot(id.index);
        }
        Ok(())
    }

    fn take_responses(&mut self, responses: Vec<Message<P>>, released: &mut Vec<Message<P>>) {
        let own = self.raft.id;
        let alone = self.raft.tracker.peers.len() == 1 && !self.raft.has_early_reads();
        let mut responses = responses.into_iter().peekable();
        while let Some(message) = responses.next() {
            if message.to != own {
                released.push(message);
                continue;
            }
            // A burst of proposals leaves a burst of own acknowledgements. With nobody to tell of
            // each step of the commit index, the last one says it all.
            let acknowledges = matches!(message.body, Body::AppendResp { .. });
            if alone
                && acknowledges
                && responses.peek().is_some_and(|next| {
                    next.to == own
                        && next.term == message.term
                        && next.body.name() == message.body.name()
                })
            {
                continue;
            }
            // Refused: the node is no longer what it was when it promised this. That is fine.
            let _ = self.raft.step(message);
        }
    }

    /// Reports the oldest apply done.
    pub fn on_apply_done(&mut self, ticket: ApplyTicket) -> Result<(), OutOfOrder> {
        let expected = self.applies.front().map(|apply| apply.number);
        if expected != Some(ticket.0) {
            return Err(OutOfOrder::Apply { expected, ticket });
        }
        let Some(apply) = self.applies.pop_front() else { return Ok(()) };
        self.raft.applied_to(apply.last, apply.bytes);
        self.raft.release_uncommitted(apply.payload_bytes);
        Ok(())
    }

    /// The appends that were handed out and not reported done, oldest first.
    pub fn pending_appends(&self) -> impl ExactSizeIterator<Item = &PendingAppend<P>> {
        self.appends.iter()
    }

    /// Takes the events that were kept since the last time; empty without [`Config::trace`].
    pub fn take_trace(&mut self) -> Vec<TraceEvent<P>> {
        self.raft.trace.as_mut().map(core::mem::take).unwrap_or_default()
    }

    /// Why the node has failed, if it has. A node that [`Fatal::halts`] does nothing more.
    pub fn fatal(&self) -> Option<&Fatal> {
        self.raft.fatal.as_ref()
    }

    pub fn status(&self) -> Status<'_> {
        let raft = &self.raft;
        Status {
            id: raft.id,
            hard_state: raft.hard_state(),
            soft_state: raft.soft_state(),
            applied: raft.log.applied(),
            applying: raft.log.applying(),
            first_index: raft.log.first_index(),
            last_index: raft.log.last_index(),
            is_learner: raft.is_learner,
            transferee: raft.transferee,
            config: &raft.tracker.config,
            progress: raft.tracker.peers.as_slice(),
            fatal: raft.fatal.as_ref(),
        }
    }

    pub fn storage(&self) -> &S {
        &self.raft.log.storage
    }

    /// To store what [`Ready`] says, to compact what is applied, to note snapshots. What the core
    /// has in use must not be touched behind its back.
    pub fn storage_mut(&mut self) -> &mut S {
        &mut self.raft.log.storage
    }

    /// Until the next change of role or term: for tests and simulations that need to know who
    /// campaigns first.
    pub fn set_randomized_election_timeout(&mut self, ticks: u32) {
        self.raft.set_randomized_election_timeout(ticks);
    }

    pub fn randomized_election_timeout(&self) -> u32 {
        self.raft.randomized_election_timeout()
    }
}
