//! The drive: one struct that steps consensus, log and state machine, and nothing else does.
//!
//! It knows no thread and reads no clock: the caller brings requests and the time, from a thread
//! of its own, from the thread of a request, or from a simulation.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mvcc::CompactJob;
use proto::Message as _;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::{
    AlarmRequest, AlarmType, CompactionRequest, InternalRaftRequest, LeaseCheckpoint,
    LeaseCheckpointRequest, LeaseRevokeRequest, RequestHeader,
};
use raft::{
    ConfChange, Entry, EntryBody, HardState, LogIndex, MemStorage, RawNode, Ready, SoftState,
    StateRole, Storage as _, StorageAppend, StorageApply,
};
use state::{ConfChanged, Effect, EntryId, EntryRequest, Outcome, Rejected, Reply, State};
use wal::{EntryRef, MustSync, Wal};

use crate::compactor::Compactor;
use crate::ids::RequestIds;
use crate::leases::Clockwork;
use crate::life::{self, Who};
use crate::queue::{Answer, Proposal};
use crate::snapshot::{Mark, Snapshots};
use crate::standing::Standing;
use crate::tally::{self, Kind, Tally};
use crate::watchful::Watchful;
use crate::wire::{self, Payload};
use crate::{Error, Fatal, SERVER_VERSION, metrics};

/// How often leases are looked at.
const LEASE_INTERVAL: Duration = Duration::from_millis(500);
/// Leases that one look lets expire.
const EXPIRED_AT_ONCE: usize = 500;
/// Applied entries that the log in memory keeps. A single member has nobody to send them to.
const KEPT_ENTRIES: u64 = 64;

/// What the drive is told when it is made, and does not change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) tick: Duration,
    pub(crate) election_timeout: Duration,
    pub(crate) batch_interval: Duration,
    pub(crate) batch_limit: usize,
}

/// What the drive is made of.
pub(crate) struct Parts {
    pub(crate) raft: RawNode<Payload, MemStorage<Payload>>,
    pub(crate) wal: Wal,
    pub(crate) state: State,
    pub(crate) who: Who,
    pub(crate) ids: Arc<RequestIds>,
    pub(crate) standing: Arc<Standing>,
    pub(crate) clockwork: Arc<Clockwork>,
    pub(crate) compactor: Compactor,
    pub(crate) snapshots: Snapshots,
    pub(crate) watchful: Watchful,
}

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) reply: Reply,
    /// The store's revision after it.
    pub(crate) revision: i64,
}

/// What [`Drive::flush`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flush {
    /// A buffer was sealed and is to be committed.
    pub(crate) sealed: bool,
    /// With so many commits the db file has all that was applied when the flush began.
    pub(crate) commits: u64,
}

/// What a step wants done beside it.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// A buffer was sealed: commit it.
    pub(crate) commit: bool,
    /// Compactions to carry out.
    pub(crate) compactions: Vec<CompactJob>,
    /// A log segment to prepare.
    pub(crate) next_segment: Option<wal::NextSegmentJob>,
}

pub(crate) struct Drive {
    parts: Parts,
    pace: Pace,
    ready: Ready<Payload>,
    released: Vec<raft::Message<Payload>>,
    beside: Beside,
    answers: HashMap<u64, Answer>,
    /// The hard state that the log does not have yet; it holds no promise.
    unwritten: Option<HardState>,
    next_tick: Duration,
    next_lease_look: Duration,
    next_seal: Duration,
    /// The revision of a compaction of our own that is under way, and since when.
    auto_compaction: Option<(i64, Duration)>,
    /// How many buffers were sealed, and what the last one is to be remembered for.
    seals: u64,
    sealed: Option<Mark>,
    /// After an error nobody knows what is half done: nothing is done any more.
    failed: bool,
}

impl Drive {
    pub(crate) fn new(parts: Parts, pace: Pace, now: Duration) -> Self {
        Self {
            parts,
            pace,
            ready: Ready::default(),
            released: Vec::new(),
            beside: Beside::default(),
            answers: HashMap::new(),
            unwritten: None,
            next_tick: now + pace.tick,
            next_lease_look: now + LEASE_INTERVAL,
            next_seal: now + pace.batch_interval,
            auto_compaction: None,
            seals: 0,
            sealed: None,
            failed: false,
        }
    }

    /// Takes in the requests (leaving the list empty), lets time pass, and does all that can be
    /// done: append, sync, apply, answer. After an error nobody is answered any more.
    pub(crate) fn step(
        &mut self,
        now: Duration,
        proposals: &mut Vec<Proposal>,
    ) -> Result<Beside, Fatal> {
        let stepped = if self.failed { Err(Fatal::Failed) } else { self.try_step(now, proposals) };
        if stepped.is_err() {
            self.failed = true;
            proposals.clear();
            self.answers.clear();
        }
        stepped
    }

    fn try_step(&mut self, now: Duration, proposals: &mut Vec<Proposal>) -> Result<Beside, Fatal> {
        self.pass_time(now);
        for proposal in proposals.drain(..) {
            self.propose(proposal);
        }
        while self.parts.raft.has_ready() {
            self.round(now)?;
        }
        // A single voter need not wait whether somebody else leads; refused while committed
        // changes of membership are not applied, the next step then tries again.
        if self.parts.raft.status().soft_state.leader.is_none()
            && self.parts.raft.campaign().is_ok()
        {
            while self.parts.raft.has_ready() {
                self.round(now)?;
            }
        }
        self.snapshot_if_due()?;
        self.seal_if_due(now);
        self.beside.next_segment = self.parts.wal.next_segment_job();
        Ok(std::mem::take(&mut self.beside))
    }

    /// Closes the buffer of what is applied, so that it can be committed to the db file. Where a
    /// commit is under way, that has to wait: ask again after it, with what this call has said.
    /// After a failure nothing is brought there: what is applied may be the half of an entry.
    pub(crate) fn flush(&mut self, begun: Option<Flush>) -> Result<Flush, Fatal> {
        if self.failed {
            return Err(Fatal::Failed);
        }
        let sealed = begun.is_none_or(|begun| begun.commits > self.seals) && self.seal();
        let commits = begun.map_or_else(
            || self.seals + u64::from(self.parts.state.views().backend.pending().ops > 0),
            |begun| begun.commits,
        );
        Ok(Flush { sealed, commits })
    }

    /// Brings everything to the db file and closes the log. Nobody may be committing any more.
    pub(crate) fn close(&mut self) -> Result<(), Fatal> {
        self.answers.clear();
        if self.failed {
            return Err(Fatal::Failed);
        }
        let backend = self.parts.state.views().backend.clone();
        // What was sealed before, then what is applied since.
        backend.commit_sealed().map_err(mvcc::Error::from)?;
        self.parts.state.seal();
        backend.commit_sealed().map_err(mvcc::Error::from)?;
        self.write_log(&[], false)?;
        Ok(self.parts.wal.sync()?)
    }

    /// The rest of a compaction that the last run did not finish.
    pub(crate) fn take_resumed_compaction(&mut self) -> Option<CompactJob> {
        self.parts.state.take_resumed_compaction()
    }

    /// When [`Drive::step`] has something to do without a request.
    pub(crate) fn wake_at(&self) -> Duration {
        self.next_tick
    }

    pub(crate) fn state(&self) -> &State {
        &self.parts.state
    }

    fn pass_time(&mut self, now: Duration) {
        // A late caller owes ticks, but a machine that slept must not storm.
        for _ in 0..10 {
            if now < self.next_tick {
                break;
            }
            self.parts.raft.tick();
            self.next_tick += self.pace.tick;
        }
        if self.next_tick <= now {
            self.next_tick = now + self.pace.tick;
        }
        if now < self.next_lease_look || !self.parts.standing.reads_freely.is_up() {
            return;
        }
        self.next_lease_look = now + LEASE_INTERVAL;
        self.expire_leases(now);
        let current = self.parts.state.views().reader.current_revision();
        if let Some(revision) = self.parts.compactor.tick(now, current) {
            life::compaction_begins(self.parts.compactor.mode(), revision);
            self.auto_compaction = Some((revision, now));
            self.parts.compactor.succeeded(now, revision);
            let compaction = CompactionRequest { revision, physical: false };
            self.propose_own(InternalRaftRequest {
                compaction: Some(compaction),
                ..Default::default()
            });
        }
    }

    fn expire_leases(&mut self, now: Duration) {
        let (expired, checkpoints) = {
            let mut expiry = self.parts.clockwork.look();
            (expiry.expired(now, EXPIRED_AT_ONCE), expiry.due_checkpoints(now, EXPIRED_AT_ONCE))
        };
        for id in expired {
            metrics::LEASES_EXPIRED.inc();
            let revoke = LeaseRevokeRequest { id: id.0 };
            self.propose_own(InternalRaftRequest {
                lease_revoke: Some(revoke),
                ..Default::default()
            });
        }
        if !checkpoints.is_empty() {
            let checkpoints = checkpoints
                .into_iter()
                .map(|(id, remaining_ttl)| LeaseCheckpoint { id: id.0, remaining_ttl })
                .collect();
            self.propose_own(InternalRaftRequest {
                lease_checkpoint: Some(LeaseCheckpointRequest { checkpoints }),
                ..Default::default()
            });
        }
    }

    /// A request that no client waits for.
    fn propose_own(&mut self, mut request: InternalRaftRequest) {
        let id = self.parts.ids.next();
        request.header = Some(RequestHeader { id, ..Default::default() });
        let encoded = Bytes::from(request.encode_to_vec());
        self.propose(Proposal { request: Arc::new(request), encoded, answer: None });
    }

    fn propose(&mut self, proposal: Proposal) {
        let Proposal { request, encoded, answer } = proposal;
        let id = request.header.as_ref().map_or(request.id, |header| header.id);
        let payload = Payload { encoded, request: Some(request) };
        match self.parts.raft.propose(payload) {
            Ok(()) => {
                if let Some(answer) = answer {
                    self.answers.insert(id, answer);
                }
            }
            Err(failure) => {
                metrics::PROPOSALS_FAILED.inc();
                tracing::warn!(error = %failure, "raft proposal dropped");
                if let Some(answer) = answer {
                    // The caller may have gone away.
                    let _ = answer.send(Err(Error::NoLeader));
                }
            }
        }
    }

    fn round(&mut self, now: Duration) -> Result<(), Fatal> {
        self.parts.raft.ready(&mut self.ready).map_err(raft_failure)?;
        if let Some(soft_state) = self.ready.soft_state.take() {
            self.soft_state_changed(soft_state);
        }
        // A single member has nobody to send to; messages to itself do not leave raft.
        self.ready.messages.clear();
        if let Some(append) = self.ready.append.take() {
            self.append(append)?;
        }
        if let Some(apply) = self.ready.apply.take() {
            self.apply(now, apply)?;
        }
        let status = self.parts.raft.status();
        self.parts.standing.term.set(status.hard_state.term.0);
        self.parts.standing.committed.set(status.hard_state.commit.0);
        Ok(())
    }

    fn soft_state_changed(&mut self, soft_state: SoftState) {
        let leader = soft_state.leader.map_or(0, raft::NodeId::get);
        if leader != 0 && leader != self.parts.standing.leader.read() {
            metrics::LEADER_CHANGES.inc();
            self.parts.who.elected(leader, self.parts.raft.status().hard_state.term.0);
        }
        self.parts.standing.leader.set(leader);
        if soft_state.role != StateRole::Leader {
            self.parts.standing.reads_freely.set(false);
            self.parts.clockwork.look().demote();
        }
    }

    fn append(&mut self, append: StorageAppend<Payload>) -> Result<(), Fatal> {
        let StorageAppend { hard_state, entries, ticket, must_sync, .. } = append;
        if let Some(state) = hard_state {
            self.parts.raft.storage_mut().set_hard_state(state);
            self.unwritten = Some(state);
        }
        if must_sync || !entries.is_empty() {
            self.write_log(&entries, must_sync)?;
            self.parts.raft.storage_mut().append(entries).map_err(storage_failure)?;
        }
        self.parts
            .raft
            .on_append_done(ticket, &mut self.released)
            .map_err(|error| Fatal::Raft(error.to_string()))?;
        self.released.clear();
        Ok(())
    }

    /// Appends the entries and the newest hard state to the log. A hard state that only brings a
    /// new commit index waits for this: nobody relies on it, and it would be a write of its own
    /// for every batch.
    fn write_log(&mut self, entries: &[Entry<Payload>], sync: bool) -> Result<(), Fatal> {
        let hard_state = self.unwritten.take();
        let timer = metrics::WAL_WRITE.start_timer();
        let data: Vec<_> = entries.iter().map(|entry| wire::entry_data(&entry.body)).collect();
        let refs: Vec<_> = entries
            .iter()
            .zip(&data)
            .map(|(entry, (kind, data))| EntryRef {
                kind: *kind,
                term: entry.id.term.0,
                index: entry.id.index.0,
                data,
            })
            .collect();
        let written = self.parts.wal.append(&refs, hard_state.map(wire::hard_state_pb))?;
        timer.observe_duration();
        let written_bytes = self.parts.wal.written_bytes();
        metrics::WAL_WRITE_BYTES.set(i64::try_from(written_bytes).unwrap_or(i64::MAX));
        if sync || written == MustSync::Yes {
            let timer = metrics::WAL_FSYNC.start_timer();
            self.parts.wal.sync()?;
            timer.observe_duration();
        }
        Ok(())
    }

    fn apply(&mut self, now: Duration, apply: StorageApply<Payload>) -> Result<(), Fatal> {
        let StorageApply { entries, ticket } = apply;
        let last = entries.last().map(|entry| entry.id.index);
        for entry in entries {
            self.apply_entry(now, entry)?;
        }
        self.parts.raft.on_apply_done(ticket).map_err(|error| Fatal::Raft(error.to_string()))?;
        if let Some(last) = last {
            self.parts.standing.applied.set(last.0);
            self.trim_log(last)?;
        }
        Ok(())
    }

    fn apply_entry(&mut self, now: Duration, entry: Entry<Payload>) -> Result<(), Fatal> {
        let at = EntryId { index: entry.id.index.0, term: entry.id.term.0 };
        match entry.body {
            EntryBody::Empty | EntryBody::Refused => {
                self.parts.state.apply_empty(at);
                self.lead_if_elected(now, at.term);
            }
            EntryBody::Normal(payload) => self.apply_payload(now, at, &payload)?,
            EntryBody::ConfChange(change) => self.apply_conf_change(at, &change)?,
        }
        Ok(())
    }

    /// The first entry of its own term tells a leader that all before it is applied.
    fn lead_if_elected(&mut self, now: Duration, term: u64) {
        let status = self.parts.raft.status();
        if status.soft_state.role != StateRole::Leader || status.hard_state.term.0 != term {
            return;
        }
        let leases = self.parts.state.views().leases.list();
        self.parts.clockwork.look().promote(now, self.pace.election_timeout, leases);
        self.parts.standing.reads_freely.set(true);
    }

    fn apply_payload(
        &mut self,
        now: Duration,
        at: EntryId,
        payload: &Payload,
    ) -> Result<(), Fatal> {
        if let Some(request) = &payload.request {
            return self.apply_request(now, at, request);
        }
        match EntryRequest::read(&payload.encoded) {
            Ok(EntryRequest::Request(request)) => self.apply_request(now, at, &request),
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

    fn apply_request(
        &mut self,
        now: Duration,
        at: EntryId,
        request: &InternalRaftRequest,
    ) -> Result<(), Fatal> {
        let id = request.header.as_ref().map_or(request.id, |header| header.id);
        let answer = self.answers.remove(&id);
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
            let took = now.saturating_sub(since);
            life::compaction_done(self.parts.compactor.mode(), revision, took);
        }
        if is_new {
            self.tell(kind, begun, request, &applied.outcome, lease_keys);
        }
        self.follow(now, applied.effect);
        if applied.raise_no_space {
            self.raise_no_space();
        }
        if let Some(answer) = answer {
            let revision = applied.revision;
            let outcome = applied.outcome.map(|reply| Answered { reply, revision });
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

    fn follow(&mut self, now: Duration, effect: Effect) {
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
            Effect::None
            | Effect::AlarmsChanged
            | Effect::DowngradeChanged
            | Effect::MemberPublished(_)
            | Effect::AuthChanged => {}
        }
    }

    fn raise_no_space(&mut self) {
        tracing::warn!("message exceeded backend quota; raising alarm");
        self.propose_own(InternalRaftRequest {
            alarm: Some(no_space_alarm(self.parts.who.member_id)),
            ..Default::default()
        });
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
        let changed = self.parts.state.apply_conf_change(at, &wire::conf_change_pb(change))?;
        let none = ConfChange::v1(single.kind, None);
        let taken = match changed {
            ConfChanged::Accepted(accepted) => {
                self.parts.who.members_changed(&accepted);
                change
            }
            ConfChanged::Rejected(_) => &none,
            ConfChanged::Old => return Ok(()),
        };
        let conf_state = self
            .parts
            .raft
            .apply_conf_change(LogIndex(at.index), taken)
            .map_err(|error| Fatal::Raft(error.to_string()))?;
        self.parts.state.set_conf_state(wire::conf_state_pb(&conf_state));
        Ok(())
    }

    /// What is applied need not stay in memory.
    fn trim_log(&mut self, applied: LogIndex) -> Result<(), Fatal> {
        let storage = self.parts.raft.storage_mut();
        let keep_from = applied.0.saturating_sub(KEPT_ENTRIES);
        if keep_from > storage.first_index().0 + KEPT_ENTRIES {
            storage.compact(LogIndex(keep_from)).map_err(storage_failure)?;
        }
        Ok(())
    }

    fn seal_if_due(&mut self, now: Duration) {
        let pending = self.parts.state.views().backend.pending().ops;
        if (now >= self.next_seal || pending >= self.pace.batch_limit) && self.seal() {
            self.beside.commit = true;
            self.next_seal = now + self.pace.batch_interval;
        }
    }

    fn seal(&mut self) -> bool {
        let sealed = self.parts.state.seal();
        if sealed {
            self.seals += 1;
            self.sealed = self.parts.snapshots.mark(&self.parts.state);
        }
        sealed
    }

    /// Once the db file has everything up to an index, the log before it may go.
    fn snapshot_if_due(&mut self) -> Result<(), Fatal> {
        if self.parts.standing.commits.read() != self.seals {
            return Ok(());
        }
        let Some(mark) = self.sealed.take() else { return Ok(()) };
        // A snapshot in the log counts only behind a commit index that reaches it.
        self.write_log(&[], false)?;
        self.parts.snapshots.save(&mark, &mut self.parts.wal)?;
        // The older etcd must not meet what lies in the log before the snapshot.
        let lower = self.parts.state.agreed_below_storage().filter(|_| mark.forced);
        if let Some(version) = lower {
            self.parts.state.lower_storage_version(version)?;
            life::storage_version_set(version);
            let downgrade = self.parts.state.views().members.downgrade();
            if downgrade.enabled {
                tracing::info!(
                    "target-version" = downgrade.target_version,
                    "server-version" = SERVER_VERSION,
                    "The server is ready to downgrade"
                );
            }
        }
        Ok(())
    }
}

/// Asks for this member's NOSPACE alarm.
pub(crate) fn no_space_alarm(member_id: u64) -> AlarmRequest {
    AlarmRequest {
        action: AlarmAction::Activate as i32,
        member_id,
        alarm: AlarmType::Nospace as i32,
    }
}

fn raft_failure(failure: raft::Fatal) -> Fatal {
    Fatal::Raft(failure.to_string())
}

fn storage_failure(failure: raft::StorageError) -> Fatal {
    Fatal::Raft(failure.to_string())
}
