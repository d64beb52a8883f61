//! What committed entries do.

use std::time::Duration;

use proto::etcdserverpb::InternalRaftRequest;
use raft::{ConfChange, Entry, EntryBody, LogIndex, StateRole, StorageApply};
use state::{ConfChanged, Effect, EntryId, EntryRequest, MemberChange, Outcome, Rejected, Reply};

use super::{Answered, Drive, Pending, Way};
use crate::tally::{self, Kind, Tally};
use crate::wire::{self, Payload};
use crate::{Error, Fatal, life, metrics};

/// How long a removed member goes on, so that others hear what it has to say of that.
const FAREWELL: Duration = Duration::from_secs(1);

impl Drive {
    pub(super) fn apply(&mut self, apply: StorageApply<Payload>) -> Result<(), Fatal> {
        let StorageApply { entries, ticket } = apply;
        let last = entries.last().map(|entry| entry.id.index);
        for entry in entries {
            self.apply_entry(entry)?;
        }
        self.parts.raft.on_apply_done(ticket).map_err(|error| Fatal::Raft(error.to_string()))?;
        if let Some(last) = last {
            self.parts.standing.applied.set(last.0);
            self.trim_log()?;
        }
        Ok(())
    }

    fn apply_entry(&mut self, entry: Entry<Payload>) -> Result<(), Fatal> {
        let at = EntryId { index: entry.id.index.0, term: entry.id.term.0 };
        match entry.body {
            EntryBody::Empty | EntryBody::Refused => {
                self.parts.state.apply_empty(at);
                self.lead_if_elected(at.term);
                Ok(())
            }
            EntryBody::Normal(payload) => self.apply_payload(at, &payload),
            EntryBody::ConfChange(change) => self.apply_conf_change(at, &change),
        }
    }

    /// The first entry of its own term tells a leader that all before it is applied.
    fn lead_if_elected(&mut self, term: u64) {
        self.new_term_begins();
        let status = self.parts.raft.status();
        if status.soft_state.role != StateRole::Leader
            || status.hard_state.term.0 != term
            || self.leads_in == Some(term)
        {
            return;
        }
        let leases = self.parts.state.views().leases.list();
        self.parts.clockwork.look().promote(self.now, self.pace.election_timeout, leases);
        self.leads_in = Some(term);
        self.note_reads_freely();
    }

    fn apply_payload(&mut self, at: EntryId, payload: &Payload) -> Result<(), Fatal> {
        if let Some(request) = &payload.request {
            return self.apply_request(at, request);
        }
        match EntryRequest::read(&payload.encoded) {
            Ok(EntryRequest::Request(request)) => self.apply_request(at, &request),
            Ok(EntryRequest::Empty) => {
                self.parts.state.apply_empty(at);
                Ok(())
            }
            Ok(EntryRequest::Ignored { method, path }) => {
                tracing::warn!(method, path, index = at.index, "ignored a v2 request in the log");
                self.parts.state.apply_empty(at);
                Ok(())
            }
            Err(error) => Err(Fatal::Entry { index: at.index, reason: error.to_string() }),
        }
    }

    fn apply_request(&mut self, at: EntryId, request: &InternalRaftRequest) -> Result<(), Fatal> {
        let id = request.header.as_ref().map_or(request.id, |header| header.id);
        let (answer, proposed) = match self.answers.remove(&id) {
            Some(Pending { answer, since, .. }) => (Some(answer), since),
            None => (None, Duration::ZERO),
        };
        let durable = self.unsynced.durable_since(at.index);
        let kind = Kind::of(request);
        let lease_keys = self.lease_keys(request);
        let is_new = at.index > self.parts.state.applied().index;
        let begun = self.parts.watchful.now();
        let applied = self.parts.state.apply(at, request, answer.is_some())?;
        if let Some(compaction) = &request.compaction
            && let Some((revision, since)) = self.auto_compaction
            && revision == compaction.revision
        {
            self.auto_compaction = None;
            let took = self.now.saturating_sub(since);
            life::compaction_done(self.parts.compactor.mode(), revision, took);
        }
        if is_new {
            self.tell(kind, begun, request, &applied.outcome, lease_keys);
        }
        if is_auth_change(&applied.effect) {
            life::auth_changed(request);
        }
        self.follow(applied.effect);
        if applied.raise_no_space {
            self.raise_no_space();
        }
        if let Some(answer) = answer {
            let revision = applied.revision;
            let applied_at = self.parts.watchful.now();
            let way = Way { proposed, durable, committed: begun, applied: applied_at };
            let outcome = applied.outcome.map(|reply| Answered { reply, revision, way });
            // The caller may have gone away.
            let _ = answer.send(outcome.map_err(Error::Rejected));
        }
        Ok(())
    }

    fn lease_keys(&self, request: &InternalRaftRequest) -> usize {
        let Some(revoke) = &request.lease_revoke else { return 0 };
        let keys = self.parts.state.views().leases.keys(state::LeaseId(revoke.id));
        keys.map_or(0, |keys| keys.len())
    }

    /// Counts what an entry did, and logs it where it took long or was refused.
    fn tell(
        &self,
        kind: Kind,
        begun: Duration,
        request: &InternalRaftRequest,
        outcome: &Outcome,
        lease_keys: usize,
    ) {
        let took = self.parts.watchful.now().saturating_sub(begun);
        let success = matches!(outcome, Ok(_) | Err(Rejected::Compacted));
        tally::applied(kind, success, took);
        if let Ok(reply) = outcome {
            let txn = if let Reply::Txn(reply) = reply { Some(reply) } else { None };
            Tally::of(request, txn, lease_keys).count();
        }
        self.parts.watchful.applied(took, request, outcome);
    }

    fn follow(&mut self, effect: Effect) {
        let now = self.now;
        match effect {
            Effect::Compaction(job) => self.beside.compactions.push(job),
            Effect::LeaseGranted(lease) => {
                metrics::LEASES_GRANTED.inc();
                metrics::LEASE_TTLS.observe(lease.ttl as f64);
                self.parts.clockwork.look().granted(now, lease);
            }
            Effect::LeaseRevoked(id) => {
                metrics::LEASES_REVOKED.inc();
                self.parts.clockwork.look().revoked(id);
            }
            Effect::LeasesCheckpointed(checkpoints) => {
                let mut expiry = self.parts.clockwork.look();
                for (id, remaining) in checkpoints {
                    expiry.checkpointed(now, id, remaining);
                }
            }
            Effect::ClusterVersion { before, now } => {
                self.parts.who.version_agreed(before, now);
                // What is below it was raised with it; what is above goes down behind a snapshot.
                if before.is_none_or(|before| before < now) {
                    life::storage_version_set(now);
                }
            }
            Effect::AuthDisabled => self.parts.tokens.clear(),
            Effect::UserInvalidated(username) => self.parts.tokens.invalidate(&username),
            Effect::Authenticated { username, token } => {
                self.parts.tokens.assign(now, &username, token);
            }
            Effect::None
            | Effect::AlarmsChanged
            | Effect::DowngradeChanged
            | Effect::MemberPublished(_)
            | Effect::AuthChanged => {}
        }
    }

    fn apply_conf_change(
        &mut self,
        at: EntryId,
        change: &ConfChange<Payload>,
    ) -> Result<(), Fatal> {
        let [single] = change.changes() else {
            let reason = "a conf change of several members".to_owned();
            return Err(Fatal::Entry { index: at.index, reason });
        };
        let encoded = wire::conf_change_pb(change);
        let changed = self.parts.state.apply_conf_change(at, &encoded)?;
        let none = ConfChange::v1(single.kind, None);
        let (taken, outcome) = match changed {
            ConfChanged::Accepted(accepted) => {
                self.parts.who.members_changed(&accepted);
                if accepted == MemberChange::Remove(state::MemberId(self.parts.who.member_id)) {
                    self.leaves_at = Some(self.now + FAREWELL);
                }
                (change, Ok(()))
            }
            ConfChanged::Rejected(rejected) => (&none, Err(rejected)),
            ConfChanged::Old => return Ok(()),
        };
        let conf_state = self
            .parts
            .raft
            .apply_conf_change(LogIndex(at.index), taken)
            .map_err(|error| Fatal::Raft(error.to_string()))?;
        self.parts.state.set_conf_state(wire::conf_state_pb(&conf_state));
        self.note_reads_freely();
        if outcome.is_ok() {
            self.introduce();
        }
        if let Some(pending) = self.answers.remove(&encoded.id()) {
            let revision = self.parts.state.views().reader.current_revision();
            let outcome =
                outcome.map(|()| Answered { reply: Reply::Nothing, revision, way: Way::default() });
            let _ = pending.answer.send(outcome.map_err(Error::Rejected));
        }
        Ok(())
    }
}

fn is_auth_change(effect: &Effect) -> bool {
    matches!(effect, Effect::AuthChanged | Effect::AuthDisabled | Effect::UserInvalidated(_))
}
