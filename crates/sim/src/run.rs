//! One run: a member's life from a seed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use env::{Call, Clock as _, ManualClock, Random, SimDisk};
use node::{AutoCompaction, Bootstrap, Error, Fatal, Options, Stepped, World};
use proto::etcdserverpb::{
    InternalRaftRequest, LeaseCheckpoint, LeaseCheckpointRequest, RangeRequest,
};
use proto::raftpb::Entry;
use state::{LeaseId, Renewal};

use crate::asked::{AskedList, Standing};
use crate::check::Answer;
use crate::digest::Digest;
use crate::leases::LeaseWatch;
use crate::model::Model;
use crate::reference::Reference;
use crate::tap::{Attic, Tap};
use crate::told::Told;
use crate::verdict::{Checked, Checker, Violation, ensure};
use crate::watch::Watch;
use crate::workload::{Around, Workload};

/// What a run is to be.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many things are done in it.
    pub actions: u64,
    /// What is wrong on purpose.
    pub bug: Option<Bug>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { actions: 150, bug: None }
    }
}

/// Something wrong on purpose, to see that it is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The disk says that it has synced the log, and has not.
    UnsyncedLog,
    /// The disk says that it has synced the db file, and has not.
    UnsyncedDb,
    /// The db file says that it has the effect of an entry that it does not have.
    IndexAhead,
    /// A lease stands in the db file that nobody has granted.
    StrayLease,
    /// A record of the db file that no reader sees is another one.
    OddTombstone,
    /// A page of the db file has its keys in another order.
    LeasesSwapped,
    /// A request comes to the log with another value than it was asked with.
    AlteredRequest,
    /// An answer names another revision.
    WrongRevision,
    /// A read shows a row that is not there.
    StrayRow,
    /// The member's clock runs twice as fast.
    FastClock,
    /// The member is never stepped again after a restart.
    Asleep,
    /// The log is gone.
    NoLog,
}

/// What happened in a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// A checksum over all calls to the disk and all answers.
    pub digest: u64,
    /// Entries in the log.
    pub entries: u64,
    /// Requests that were answered.
    pub answers: u64,
    /// Times that the power was cut.
    pub power_cuts: u64,
    /// Times that only the process ended.
    pub kills: u64,
    /// Times that the member was stopped in order.
    pub stops: u64,
    /// Requests that the quota had no room for.
    pub over_quota: u64,
    /// Failures of the disk (without power cuts) that ended the process.
    pub failures: u64,
    /// Starts that came to nothing because the disk failed again.
    pub failed_starts: u64,
    /// Requests without an answer that were done all the same.
    pub unanswered_done: u64,
    /// Requests without an answer that are lost.
    pub unanswered_lost: u64,
    /// Commits of the db file.
    pub commits: u64,
    /// Snapshots of the log.
    pub snapshots: u64,
    /// Log segments that were purged.
    pub purged: u64,
    /// Compactions that came to their end.
    pub compactions: u64,
    /// Steps of the vacuum that the member found due.
    pub vacuums: u64,
    /// Reads that were recorded.
    pub reads: u64,
    /// Events that were watched.
    pub events: u64,
    /// Leases that ended by themselves.
    pub expired: u64,
}

impl Report {
    /// Adds what happened in another run.
    pub fn add(&mut self, other: &Self) {
        self.digest = self.digest.rotate_left(1) ^ other.digest;
        self.entries += other.entries;
        self.answers += other.answers;
        self.power_cuts += other.power_cuts;
        self.kills += other.kills;
        self.stops += other.stops;
        self.over_quota += other.over_quota;
        self.failures += other.failures;
        self.failed_starts += other.failed_starts;
        self.unanswered_done += other.unanswered_done;
        self.unanswered_lost += other.unanswered_lost;
        self.commits += other.commits;
        self.snapshots += other.snapshots;
        self.purged += other.purged;
        self.compactions += other.compactions;
        self.vacuums += other.vacuums;
        self.reads += other.reads;
        self.events += other.events;
        self.expired += other.expired;
    }
}

/// Runs one seed.
pub fn run(seed: u64, plan: Plan) -> Result<Report, Violation> {
    let mut action = 0;
    let done = Run::new(seed, plan).and_then(|mut run| {
        let done = run.go();
        action = run.action;
        done
    });
    done.map_err(|(checker, what)| Violation { seed, action, checker, what })
}

/// A read, and what it showed.
#[derive(Debug)]
pub(crate) struct SeenRange {
    pub(crate) request: RangeRequest,
    pub(crate) told: Answer,
}

pub(crate) struct Run {
    pub(crate) plan: Plan,
    pub(crate) action: u64,
    pub(crate) random: Random,
    pub(crate) workload: Workload,
    pub(crate) digest: Digest,
    pub(crate) attic: Attic,
    pub(crate) disk: SimDisk,
    pub(crate) tap: Tap,
    pub(crate) clock: ManualClock,
    pub(crate) options: Options,
    pub(crate) segment_bytes: u64,
    pub(crate) member: Option<Stepped>,
    pub(crate) asked: AskedList,
    pub(crate) reads: Vec<SeenRange>,
    pub(crate) watch: Option<Watch>,
    pub(crate) leases: LeaseWatch,
    /// The log as the last recovery found it.
    pub(crate) log: Vec<Entry>,
    pub(crate) model: Model,
    pub(crate) reference: Reference,
    /// The index of the newest db file that a commit has acknowledged.
    pub(crate) committed_index: u64,
    pub(crate) report: Report,
}

/// Whether the member lives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alive {
    Yes,
    No,
}

impl Run {
    fn new(seed: u64, plan: Plan) -> Checked<Self> {
        let mut random = Random::new(seed);
        let workload = Workload::new(random.split());
        let disk = SimDisk::new(random.next_u64());
        let (digest, attic) = (Digest::default(), Attic::default());
        let options = options(&mut random);
        let min_lease_ttl = state::min_lease_ttl(options.election_ticks, 100);
        let tap = Tap::new(disk.clone(), digest.clone(), Arc::clone(&attic), None);
        let segment_bytes = [8 << 10, 16 << 10, 64 << 10][random.index(3)];
        Ok(Self {
            plan,
            action: 0,
            random,
            workload,
            digest,
            attic,
            disk,
            tap,
            clock: ManualClock::default(),
            options,
            segment_bytes,
            member: None,
            asked: AskedList::default(),
            reads: Vec::new(),
            watch: None,
            leases: LeaseWatch::default(),
            log: Vec::new(),
            model: Model::new(min_lease_ttl),
            reference: Reference::new(min_lease_ttl)?,
            committed_index: 0,
            report: Report::default(),
        })
    }

    fn go(&mut self) -> Checked<Report> {
        self.recover(true)?;
        while self.action < self.plan.actions {
            self.action += 1;
            self.act()?;
        }
        self.finish()?;
        self.report.entries = self.log.len() as u64;
        self.report.purged = crate::tap::attic(&self.attic).len() as u64;
        self.report.digest = self.digest.value();
        Ok(self.report)
    }

    pub(crate) fn world(&self) -> World {
        World { disk: Arc::new(self.tap.clone()), clock: Arc::new(self.clock.clone()) }
    }

    /// The member that lives; between two actions there always is one.
    pub(crate) fn member(&mut self) -> &mut Stepped {
        self.member.as_mut().expect("a member that died was started again")
    }

    fn act(&mut self) -> Checked {
        // What failed before was survived, and excuses nothing any more.
        self.tap.forget_failures();
        match self.random.below(100) {
            0..44 => self.ask(),
            44..56 => self.pass_time(),
            56..66 => self.commit(),
            66..70 => {
                self.member().seal();
                Ok(())
            }
            70..76 => self.compact(),
            76..79 => {
                self.member().prepare_segment();
                Ok(())
            }
            79..81 => self.vacuum(),
            81..88 => self.read(),
            88..91 => self.renew(),
            91..96 => {
                self.plan_fault();
                Ok(())
            }
            96 => self.stop(),
            _ => {
                let cut = self.random.chance(2, 3);
                self.recover(cut)
            }
        }
    }

    fn ask(&mut self) -> Checked {
        for _ in 0..=self.random.below(4) {
            let around = Around {
                member_id: self.member().member_id(),
                revision: self.member().views().reader.current_revision(),
                has_version: self.member().views().members.cluster_version().is_some(),
                has_alarm: !self.member().views().alarms.get(Default::default()).is_empty(),
            };
            let request = self.workload.request(around);
            let mut proposed = request.clone();
            if self.plan.bug == Some(Bug::AlteredRequest)
                && let Some(put) = &mut proposed.put
            {
                put.value = bytes::Bytes::from_static(b"another value");
            }
            let id = self.member().propose(proposed);
            self.asked.push(id, request)?;
        }
        if self.random.chance(3, 4) { self.step() } else { Ok(()) }
    }

    fn pass_time(&mut self) -> Checked {
        let millis = [20, 100, 400, 2500][self.random.index(4)];
        self.clock.advance(Duration::from_millis(millis));
        self.step()
    }

    /// Steps the member, and looks at what came of it.
    pub(crate) fn step(&mut self) -> Checked {
        if self.step_alive()? == Alive::No { self.recover_from_failure() } else { Ok(()) }
    }

    pub(crate) fn step_alive(&mut self) -> Checked<Alive> {
        let now = self.clock.now();
        let speed = if self.plan.bug == Some(Bug::FastClock) { 2 } else { 1 };
        let stepped = self.member().step(now * speed);
        self.collect(now);
        if self.survived(stepped)? == Alive::No {
            return Ok(Alive::No);
        }
        let Self { member, leases, asked, watch, report, .. } = self;
        let member = member.as_ref().expect("it was stepped");
        report.expired += leases.look(now, &member.views().leases, asked)?;
        if let Some(watch) = watch {
            report.events += watch.poll();
        }
        Ok(Alive::Yes)
    }

    /// Takes the answers.
    pub(crate) fn collect(&mut self, now: Duration) {
        for (id, outcome) in self.member().outcomes() {
            let outcome = match outcome {
                Ok((reply, revision)) => (Ok(Told::from(reply)), revision),
                // A refusal comes without a revision.
                Err(Error::Rejected(rejected)) => (Err(rejected), 0),
                Err(Error::NoLeader) => {
                    self.asked.answered(id, Standing::Dropped);
                    continue;
                }
                Err(_) => continue,
            };
            let (outcome, mut revision) = outcome;
            if let Ok(Told::LeaseGrant { id, ttl }) = outcome {
                self.leases.granted(now, id, ttl);
            }
            if self.plan.bug == Some(Bug::WrongRevision) {
                revision += i64::from(outcome.is_ok());
            }
            self.digest.note("answer", &[id, revision.unsigned_abs()], &[]);
            self.report.answers += 1;
            self.asked.answered(id, Standing::Answered { outcome, revision });
        }
    }

    /// A member may fail only where its disk did.
    pub(crate) fn survived<T>(&self, done: Result<T, Fatal>) -> Checked<Alive> {
        let Err(failure) = done else { return Ok(Alive::Yes) };
        ensure(self.tap.has_failed(), Checker::Boot, || format!("failed by itself: {failure}"))?;
        Ok(Alive::No)
    }

    fn recover_from_failure(&mut self) -> Checked {
        let is_off = self.disk.is_off();
        self.report.failures += u64::from(!is_off);
        let cut = is_off || self.random.chance(1, 2);
        self.recover(cut)
    }

    /// An orderly end: the next start finds everything in the db file.
    fn stop(&mut self) -> Checked {
        let applied = self.member().applied().index;
        let closed = self.member().close();
        if self.survived(closed)? == Alive::No {
            return self.recover_from_failure();
        }
        self.report.stops += 1;
        self.committed_index = applied;
        let cut = self.random.chance(1, 2);
        self.recover(cut)
    }

    fn commit(&mut self) -> Checked {
        let committed = self.member().commit_sealed();
        self.report.commits += u64::from(matches!(committed, Ok(true)));
        if self.survived(committed)? == Alive::No {
            return self.recover_from_failure();
        }
        self.note_committed();
        self.vacuum_if_due()
    }

    fn compact(&mut self) -> Checked {
        let limit = 1 + self.random.index(20);
        let stepped = self.member().step_compaction(limit);
        let done = matches!(stepped, Ok(Some(mvcc::Progress::Done)));
        self.report.compactions += u64::from(done);
        if self.survived(stepped)? == Alive::No { self.recover_from_failure() } else { Ok(()) }
    }

    /// As the thread does that has just committed.
    fn vacuum_if_due(&mut self) -> Checked {
        // A run is short, and the vacuum waits for longer than that.
        let now = self.clock.now() * 20;
        let step = self.member().vacuum(now);
        self.report.vacuums += u64::from(matches!(step, Ok(true)));
        if self.survived(step)? == Alive::No { self.recover_from_failure() } else { Ok(()) }
    }

    fn vacuum(&mut self) -> Checked {
        let pages = 1 + self.random.index(8);
        let step = self.member().views().backend.db().vacuum(pages);
        let step = step.map_err(|error| Fatal::Storage(mvcc::Error::from(error)));
        if self.survived(step)? == Alive::No { self.recover_from_failure() } else { Ok(()) }
    }

    /// A read that a client is answered. What it shows must never be taken back.
    fn read(&mut self) -> Checked {
        if !self.member().reads_freely() {
            return Ok(());
        }
        let reader = self.member().views().reader.clone();
        let (current, compacted) = (reader.current_revision(), reader.compact_revision());
        let request = self.workload.range(current, compacted);
        match reader.range(&state::range_of(&request)) {
            Ok(ranged) => {
                let mut told = Answer::from(state::RangeReply::from(ranged));
                if self.plan.bug == Some(Bug::StrayRow)
                    && let Answer::Range { kvs, .. } = &mut told
                {
                    kvs.push(Default::default());
                }
                self.report.reads += 1;
                self.reads.push(SeenRange { request, told });
                Ok(())
            }
            // Who reads is told; the member itself goes on.
            Err(error) => ensure(self.tap.has_failed(), Checker::Seen, || {
                format!("{request:?} at {current} (compacted {compacted}): {error}")
            }),
        }
    }

    fn renew(&mut self) -> Checked {
        let now = self.clock.now();
        let id = 1 + self.random.below(4) as i64;
        let speed = if self.plan.bug == Some(Bug::FastClock) { 2 } else { 1 };
        match self.member().renew_lease(now * speed, LeaseId(id)) {
            Renewal::Renewed { ttl } => self.leases.renewed(now, id, ttl),
            Renewal::ClearCheckpoint => {
                let checkpoint = LeaseCheckpoint { id, remaining_ttl: 0 };
                let clear = LeaseCheckpointRequest { checkpoints: vec![checkpoint] };
                let request = InternalRaftRequest {
                    lease_checkpoint: Some(clear),
                    ..InternalRaftRequest::default()
                };
                let id = self.member().propose(request.clone());
                self.asked.push(id, request)?;
            }
            Renewal::Expired | Renewal::NotFound | Renewal::NotPrimary => {}
        }
        Ok(())
    }

    fn plan_fault(&mut self) {
        let calls = [
            (Call::Write, ".wal"),
            (Call::Write, "snap/db"),
            (Call::SyncData, ".wal"),
            (Call::SyncData, "snap/db"),
            (Call::Read, "snap/db"),
            (Call::Create, ""),
            (Call::Rename, ""),
            (Call::Remove, ""),
            (Call::SyncDir, ""),
            (Call::SetLen, ""),
            (Call::SyncData, ".snap"),
            (Call::Write, ".snap"),
        ];
        match self.random.below(6) {
            0 => {
                let used = self.disk.used();
                self.disk.set_capacity(Some(used + self.random.below(50_000)));
            }
            1 | 2 => {
                let (call, part) = calls[self.random.index(calls.len())];
                let skip = self.random.below(6);
                self.disk.fail(call, part, skip);
            }
            _ => self.disk.crash_after(self.random.below(40)),
        }
    }
}

fn options(random: &mut Random) -> Options {
    let url = "http://localhost:2380";
    Options {
        name: "simulated".to_owned(),
        data_dir: PathBuf::from("/data"),
        wal_dir: None,
        client_urls: Vec::new(),
        bootstrap: Some(Bootstrap::with_new([("simulated", [url])], "simulation")),
        force_new_cluster: false,
        tick: Duration::from_millis(100),
        election_ticks: 10,
        pre_vote: random.chance(1, 2),
        snapshot_count: [3, 12, 40, 100_000][random.index(4)],
        catchup_entries: 5000,
        strict_reconfig_check: true,
        max_snapshots: random.index(4),
        max_wals: random.index(4),
        quota_bytes: [-1, -1, -1, 90_000][random.index(4)],
        batch_interval: Duration::from_millis([50, 500, 60_000][random.index(3)]),
        batch_limit: [3, 20, 10_000][random.index(3)],
        request_bytes: 1 << 20,
        max_learners: 1,
        auto_compaction: AutoCompaction::Off,
        compaction_batch: 1000,
        compaction_pause: Duration::from_millis(10),
        corrupt_check_interval: None,
        compact_hash_check_interval: None,
        downgrade_check_interval: Duration::from_secs(5),
        initial_corrupt_check: false,
        initial_election_tick_advance: false,
        warning_apply_duration: Duration::from_millis(100),
        features: Vec::new(),
        no_fsync: false,
        value_budget_bytes: [0, 500, 1 << 20][random.index(3)],
        page_cache_bytes: [64 << 10, 4 << 20][random.index(2)],
        simple_token_ttl: Some(Duration::from_secs(300)),
        recent_events_bytes: 2 << 20,
        disarm_when_space: false,
    }
}
