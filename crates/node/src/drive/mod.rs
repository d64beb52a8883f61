//! The drive: one struct that steps consensus, log and state machine, and nothing else does.
//!
//! It knows no thread and reads no clock: the caller brings what waits and the time, from a thread
//! of its own, from the thread of a request, or from a simulation.
//!
//! Files in reading order: this one, `propose`, `log`, `apply`, `barrier`, `talk`, `failover`,
//! `install`.

mod apply;
mod barrier;
mod failover;
mod heartbeats;
mod install;
mod log;
mod propose;
mod talk;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use env::Random;
use mvcc::CompactJob;
use raft::{
    HardState, LogIndex, MemStorage, NodeId, RawNode, Ready, SoftState, StateRole, Storage as _,
};
use state::{Reply, State};
use wal::Wal;

use crate::compactor::Compactor;
use crate::ids::RequestIds;
use crate::leases::Clockwork;
use crate::life::Who;
use crate::peers::{Others, Peer};
use crate::queue::{Answer, Input, Proposal};
use crate::snapshot::{Mark, Snapshots};
use crate::standing::Standing;
use crate::tokens::Tokens;
use crate::watchful::Watchful;
use crate::wire::{self, Payload};
use crate::{Fatal, metrics};
use barrier::Barrier;
use failover::FastCampaign;
use heartbeats::Heartbeats;
pub(crate) use install::Prepared;
use log::Unsynced;
pub(crate) use propose::no_space_alarm;
use talk::SnapshotsOut;

/// How often leases are looked at.
const LEASE_INTERVAL: Duration = Duration::from_millis(500);

/// Ticks in which a member that starts hears of the leader, where there is one.
const TICKS_TO_HEAR: u32 = 3;

/// What the drive is told when it is made, and does not change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) tick: Duration,
    pub(crate) election_timeout: Duration,
    pub(crate) batch_interval: Duration,
    pub(crate) batch_limit: usize,
    /// Whether members ask whether they could be elected before they begin a term.
    pub(crate) pre_vote: bool,
    /// Whether what is left of leases is written down also where nobody else would need it.
    pub(crate) checkpoint_leases: bool,
    /// Applied entries that are kept in memory for members that are a little behind.
    pub(crate) catchup_entries: u64,
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
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) compactor: Compactor,
    pub(crate) snapshots: Snapshots,
    pub(crate) watchful: Watchful,
    pub(crate) others: Arc<Others>,
    /// Whom to speak to, too, as long as the log has not told of them.
    pub(crate) remotes: Vec<Peer>,
    pub(crate) random: Random,
}

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) reply: Reply,
    /// The store's revision after it.
    pub(crate) revision: i64,
    /// When it passed where.
    pub(crate) way: Way,
}

/// When a request passed where, on this member's clock.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Way {
    /// The drive took it.
    pub(crate) proposed: Duration,
    /// Its entry was synced in this member's log, if that was before it was applied.
    pub(crate) durable: Option<Duration>,
    /// It was committed, and its turn to be applied came.
    pub(crate) committed: Duration,
    /// It was applied.
    pub(crate) applied: Duration,
}

/// What [`Drive::flush`] came to.
#[derive(Clone)]
pub(crate) struct Flush {
    /// A buffer was sealed and is to be committed.
    pub(crate) sealed: bool,
    /// With so many commits the db file has all that was applied when the flush began.
    pub(crate) commits: u64,
    /// Which db file; another one may take its place.
    pub(crate) backend: mvcc::Backend,
}

/// What a step wants done beside it.
#[derive(Default)]
pub(crate) struct Beside {
    /// A buffer was sealed: commit it.
    pub(crate) commit: bool,
    /// Compactions to carry out.
    pub(crate) compactions: Vec<CompactJob>,
    /// A log segment to prepare.
    pub(crate) next_segment: Option<wal::NextSegmentJob>,
    /// A sync to make, and to report as done under its number.
    pub(crate) sync: Option<(u64, wal::SyncJob)>,
    /// The state was replaced by a received one: these views take the place of all others.
    pub(crate) replaced: Option<state::Views>,
}

/// A request that is on its way through the log.
struct Pending {
    answer: Answer,
    /// The term in which it was proposed.
    term: u64,
    /// When.
    since: Duration,
}

pub(crate) struct Drive {
    parts: Parts,
    pace: Pace,
    ready: Ready<Payload>,
    released: Vec<raft::Message<Payload>>,
    outbox: Vec<proto::raftpb::Message>,
    beside: Beside,
    answers: HashMap<u64, Pending>,
    /// Requests that wait for somebody to lead.
    held: Vec<Proposal>,
    /// When requests of earlier terms are given up.
    give_up_at: Option<Duration>,
    barrier: Barrier,
    unsynced: Unsynced,
    /// Whether steps sync the log themselves.
    sync_here: bool,
    fast: Option<FastCampaign>,
    settles_until: Duration,
    heartbeats: Heartbeats,
    snapshots_out: SnapshotsOut,
    prepared: Option<Prepared>,
    /// When a member that was removed ends.
    leaves_at: Option<Duration>,
    /// The term whose first entry this member has proposed and applied: it leads.
    leads_in: Option<u64>,
    /// The hard state that the log does not have yet; it holds no promise.
    unwritten: Option<HardState>,
    now: Duration,
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
        let found = parts.raft.status().hard_state;
        let drive = Self {
            seals: parts.state.views().backend.commits(),
            parts,
            pace,
            ready: Ready::default(),
            released: Vec::new(),
            outbox: Vec::new(),
            beside: Beside::default(),
            answers: HashMap::new(),
            held: Vec::new(),
            give_up_at: None,
            barrier: Barrier::default(),
            unsynced: Unsynced::default(),
            sync_here: true,
            fast: None,
            settles_until: now,
            heartbeats: Heartbeats::default(),
            snapshots_out: SnapshotsOut::default(),
            prepared: None,
            leaves_at: None,
            leads_in: None,
            // The log may not know how far it is committed, which the db file has told. A snapshot
            // beyond what it knows would not count for the next start, with its entries gone.
            unwritten: (found.commit.0 > 0).then_some(found),
            now,
            next_tick: now + pace.tick,
            next_lease_look: now + LEASE_INTERVAL,
            next_seal: now + pace.batch_interval,
            auto_compaction: None,
            sealed: None,
            failed: false,
        };
        drive.introduce();
        drive
    }

    /// Takes in what waits (leaving the lists empty), lets time pass, and does all that can be
    /// done: append, sync, send, apply, answer. After an error nobody is answered any more.
    pub(crate) fn step(&mut self, now: Duration, input: &mut Input) -> Result<Beside, Fatal> {
        let stepped = if self.failed { Err(Fatal::Failed) } else { self.try_step(now, input) };
        if stepped.is_err() {
            self.failed = true;
            input.clear();
            self.answers.clear();
            self.held.clear();
            self.barrier.clear();
        }
        stepped
    }

    fn try_step(&mut self, now: Duration, input: &mut Input) -> Result<Beside, Fatal> {
        self.now = now;
        self.barrier.applied(self.parts.state.applied().index);
        // First what others say: who was stopped for a while must not act on old news.
        for incoming in input.incoming.drain(..) {
            self.hear(incoming);
        }
        for order in input.orders.drain(..) {
            self.obey(order)?;
        }
        if self.leaves_at.is_some_and(|at| at <= now) {
            return Err(Fatal::Removed);
        }
        self.pass_time();
        self.propose_held();
        for proposal in input.proposals.drain(..) {
            self.propose(proposal);
        }
        self.barrier.add(&mut input.reads);
        self.rounds()?;
        if self.propose_held() {
            self.rounds()?;
        }
        let role = self.parts.raft.status().soft_state.role;
        if self.is_sole_voter() && self.leader().is_none() && role == StateRole::Follower {
            // A single voter need not wait whether somebody else leads; refused while committed
            // changes of membership are not applied, the next step then tries again. Who has
            // voted for itself already waits until that is synced: one more term would be one
            // more vote to sync, for ever where steps come faster than syncs.
            if self.parts.raft.campaign().is_ok() {
                self.rounds()?;
            }
        }
        self.snapshot_if_due()?;
        self.seal_if_due();
        self.beside.next_segment = self.parts.wal.next_segment_job();
        Ok(std::mem::take(&mut self.beside))
    }

    /// Goes on until raft has nothing more to say.
    fn rounds(&mut self) -> Result<(), Fatal> {
        loop {
            self.ask_reads();
            while self.parts.raft.has_ready() {
                self.round()?;
            }
            if !self.settle_appends()? && !self.parts.raft.has_ready() {
                break;
            }
        }
        self.drop_prepared();
        Ok(())
    }

    fn round(&mut self) -> Result<(), Fatal> {
        let mut ready = std::mem::take(&mut self.ready);
        self.parts.raft.ready(&mut ready).map_err(raft_failure)?;
        if let Some(soft_state) = ready.soft_state.take() {
            self.soft_state_changed(soft_state)?;
        }
        self.parts.standing.term.set(self.parts.raft.status().hard_state.term.0);
        for read in ready.read_states.drain(..) {
            self.barrier.confirmed(read.index.0, &read.context.encoded);
        }
        // A leader's words go out beside its own append.
        self.send(&mut ready.messages);
        let conf_change = ready
            .apply
            .as_ref()
            .is_some_and(|apply| apply.entries.iter().any(|entry| entry.body.is_conf_change()));
        if let Some(append) = ready.append.take() {
            self.append(append)?;
        }
        if conf_change {
            // A configuration must not be undone by a crash.
            self.sync_now()?;
        }
        if let Some(apply) = ready.apply.take() {
            self.apply(apply)?;
        }
        self.parts.standing.committed.set(self.parts.raft.status().hard_state.commit.0);
        // Readers see a state that was received once this step is over, not before.
        if self.beside.replaced.is_none() {
            self.barrier.applied(self.parts.state.applied().index);
        }
        self.ready = ready;
        Ok(())
    }

    fn soft_state_changed(&mut self, soft_state: SoftState) -> Result<(), Fatal> {
        let leader = soft_state.leader.map_or(0, NodeId::get);
        let before = self.parts.standing.leader.read();
        if leader != 0 && leader != before {
            metrics::LEADER_CHANGES.inc();
            self.parts.who.elected(leader, self.parts.raft.status().hard_state.term.0);
            self.fast = None;
        }
        if leader != before {
            // What was asked before the change is answered by nobody.
            self.barrier.ask_again();
        }
        self.parts.standing.set_leader(leader, self.now);
        if soft_state.role != StateRole::Leader {
            self.leads_in = None;
            self.parts.clockwork.look().demote();
            self.fail_snapshots_out();
            self.heartbeats.forget();
        } else {
            // Before it can commit anything: who is needed for that may be far behind.
            self.note_snapshot()?;
        }
        match soft_state.role {
            StateRole::PreCandidate => self.ask_after(1),
            StateRole::Candidate => self.stands(),
            // A leader that steps down may be the one with the longest log.
            StateRole::Follower if self.fast.is_none() => self.ask_after(1),
            StateRole::Follower | StateRole::Leader => {}
        }
        self.note_reads_freely();
        Ok(())
    }

    /// A sole voter that leads and has applied an entry of its own has applied all that was ever
    /// acknowledged.
    fn note_reads_freely(&self) {
        let freely = self.leads_in.is_some() && self.is_sole_voter();
        self.parts.standing.reads_freely.set(freely);
        self.parts.standing.leads.set(self.leads_in.is_some());
    }

    fn is_sole_voter(&self) -> bool {
        let status = self.parts.raft.status();
        let voters = &status.config.voters;
        voters.incoming.as_slice() == [status.id] && voters.outgoing.is_empty()
    }

    fn leader(&self) -> Option<NodeId> {
        self.parts.raft.status().soft_state.leader
    }

    /// Closes the buffer of what is applied, so that it can be committed to the db file. Where a
    /// commit is under way, that has to wait: ask again after it, with what this call has said.
    /// After a failure nothing is brought there: what is applied may be the half of an entry.
    pub(crate) fn flush(&mut self, begun: Option<Flush>) -> Result<Flush, Fatal> {
        if self.failed {
            return Err(Fatal::Failed);
        }
        let backend = self.parts.state.views().backend.clone();
        let begun = begun.filter(|begun| begun.backend.is_same(&backend));
        let wanted = begun.as_ref().map(|begun| begun.commits);
        let sealed = wanted.is_none_or(|commits| commits > self.seals) && self.seal();
        let commits = wanted.unwrap_or_else(|| self.seals + u64::from(backend.pending().ops > 0));
        Ok(Flush { sealed, commits, backend })
    }

    /// Brings everything to the db file and closes the log. Nobody may be committing any more.
    pub(crate) fn close(&mut self) -> Result<(), Fatal> {
        self.answers.clear();
        self.held.clear();
        self.barrier.clear();
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

    /// Whether steps sync the log themselves, or ask for that to be done beside them.
    pub(crate) fn sync_here(&mut self, here: bool) {
        self.sync_here = here;
    }

    /// A member that starts need not wait out a whole election timeout: of a leader that is there
    /// it hears within a few ticks.
    pub(crate) fn advance_election(&mut self, election_ticks: u32) {
        for _ in 0..election_ticks.saturating_sub(TICKS_TO_HEAR) {
            self.parts.raft.tick();
        }
    }

    /// When [`Drive::step`] has something to do without a request.
    pub(crate) fn wake_at(&self) -> Duration {
        let also = [self.fast.as_ref().map(FastCampaign::at), self.give_up_at, self.leaves_at];
        also.into_iter().flatten().fold(self.next_tick, Duration::min)
    }

    pub(crate) fn state(&self) -> &State {
        &self.parts.state
    }

    pub(crate) fn status(&self) -> raft::Status<'_> {
        self.parts.raft.status()
    }

    /// Index and term of the entries in memory.
    pub(crate) fn log_ids(&self) -> Vec<(u64, u64)> {
        let entries = self.parts.raft.storage().iter();
        entries.map(|entry| (entry.id.index.0, entry.id.term.0)).collect()
    }

    /// An entry in memory.
    pub(crate) fn log_entry(&self, index: u64) -> Option<proto::raftpb::Entry> {
        let mut found = Vec::new();
        let at = LogIndex(index);
        self.parts.raft.storage().entries(at..at.next(), u64::MAX, &mut found).ok()?;
        found.pop().map(|entry| {
            let (kind, data) = wire::entry_data(&entry.body);
            proto::raftpb::Entry {
                r#type: Some(kind as i32),
                term: Some(entry.id.term.0),
                index: Some(entry.id.index.0),
                data: (!data.is_empty()).then_some(data),
            }
        })
    }

    fn pass_time(&mut self) {
        let now = self.now;
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
        self.campaign_if_due();
        self.give_up_if_due();
        self.barrier.pass_time(now);
        if now < self.next_lease_look || !self.leads() {
            return;
        }
        self.next_lease_look = now + LEASE_INTERVAL;
        self.expire_leases();
        self.compact_if_due();
    }

    /// Whether this member leads, and has applied all that came before its term.
    fn leads(&self) -> bool {
        self.leads_in.is_some() && self.parts.raft.status().soft_state.role == StateRole::Leader
    }
}

fn raft_failure(failure: raft::Fatal) -> Fatal {
    Fatal::Raft(failure.to_string())
}

fn storage_failure(failure: raft::StorageError) -> Fatal {
    Fatal::Raft(failure.to_string())
}
