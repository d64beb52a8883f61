//! Power cuts at any moment: what comes back is the effect of whole entries, of exactly those up
//! to the index in the file, and the log leads on from there.

use std::path::Path;
use std::sync::Arc;

use env::{Random, SimDisk};
use mvcc::{Backend, CompactJob, KeyRange, Range};
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmType, InternalRaftRequest, PutRequest, TxnRequest,
};
use state::{Effect, EntryId, Lease, Options, State};

use crate::kit::{
    delete, delete_op, on_compact, on_delete, on_grant, on_put, on_revoke, on_txn, put, put_op, row,
};

const ENTRIES: u64 = 120;

#[test]
fn a_power_cut_leaves_whole_entries() {
    for seed in 0..60 {
        Run::new(seed).run();
    }
}

struct Run {
    seed: u64,
    random: Random,
    log: Vec<InternalRaftRequest>,
    disk: SimDisk,
    state: State,
    jobs: Vec<CompactJob>,
    /// The last entry that a commit has acknowledged.
    durable: u64,
    /// The last entry that was sealed.
    sealed: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let log = (0..ENTRIES).map(|_| request(&mut random)).collect();
        let disk = SimDisk::new(seed);
        let state = open(&disk);
        Self { seed, random, log, disk, state, jobs: Vec::new(), durable: 0, sealed: 0 }
    }

    fn run(mut self) {
        while self.state.applied().index < ENTRIES {
            match self.random.below(10) {
                0 => self.seal(),
                1 => self.commit(),
                2 => self.step_compaction(),
                3 if self.random.chance(1, 4) => self.cut_power(),
                4 if self.random.chance(1, 4) => {
                    // In the middle of a commit or a compaction, whichever writes next.
                    self.disk.crash_after(self.random.below(12));
                }
                _ => self.apply(),
            }
        }
        self.seal();
        self.commit();
        self.cut_power();
    }

    fn apply(&mut self) {
        let index = self.state.applied().index + 1;
        if let Effect::Compaction(job) = apply(&mut self.state, &self.log, index) {
            self.jobs.push(job);
        }
    }

    fn seal(&mut self) {
        if self.state.seal() {
            self.sealed = self.state.applied().index;
        }
    }

    fn commit(&mut self) {
        match self.state.views().backend.commit_sealed() {
            Ok(Some(_)) => self.durable = self.sealed,
            Ok(None) => {}
            Err(error) => {
                assert!(self.disk.is_off(), "seed {}: {error}", self.seed);
                self.cut_power();
            }
        }
    }

    fn step_compaction(&mut self) {
        let Some(job) = self.jobs.first_mut() else { return };
        match job.step(3) {
            Ok(mvcc::Progress::Done) => drop(self.jobs.remove(0)),
            Ok(_) => {}
            Err(error) => {
                assert!(self.disk.is_off(), "seed {}: {error}", self.seed);
                self.cut_power();
            }
        }
    }

    fn cut_power(&mut self) {
        let applied = self.state.applied().index;
        self.disk = self.disk.crash();
        self.jobs.clear();
        self.state = open(&self.disk);
        self.jobs.extend(self.state.take_resumed_compaction());
        let back = self.state.applied().index;
        let seed = self.seed;
        assert!((self.durable..=applied).contains(&back), "seed {seed}: {back} of {applied}");
        (self.durable, self.sealed) = (back, back);

        let mut reference = open(&SimDisk::new(seed));
        for index in 1..=back {
            apply(&mut reference, &self.log, index);
        }
        assert_eq!(Seen::of(&self.state), Seen::of(&reference), "seed {seed} at {back}");
    }
}

fn open(disk: &SimDisk) -> State {
    let disk = Arc::new(disk.clone());
    let backend = Backend::open(disk, Path::new("/db"), bolt::Options::default());
    State::open(backend.expect("a db file"), Options::default()).expect("a readable state")
}

fn apply(state: &mut State, log: &[InternalRaftRequest], index: u64) -> Effect {
    let request = &log[usize::try_from(index - 1).expect("a small index")];
    let applied = state.apply(EntryId { index, term: 1 }, request, false).expect("an entry");
    applied.effect
}

/// All that readers can see.
#[derive(Debug, PartialEq)]
struct Seen {
    compacted: i64,
    /// The rows at every revision that can be read.
    rows: Vec<Vec<String>>,
    leases: Vec<(Lease, usize)>,
    alarms: Vec<AlarmMember>,
}

impl Seen {
    fn of(state: &State) -> Self {
        let views = state.views();
        let compacted = views.reader.compact_revision();
        let rows = |revision| {
            let range = Range { revision, ..Range::of(KeyRange::all()) };
            views.reader.range(&range).expect("readable").kvs.iter().map(row).collect()
        };
        let keys = |lease: Lease| (lease, views.leases.keys(lease.id).map_or(0, |keys| keys.len()));
        Self {
            compacted,
            rows: (compacted.max(1)..=views.reader.current_revision()).map(rows).collect(),
            leases: views.leases.list().into_iter().map(keys).collect(),
            alarms: views.alarms.get(AlarmType::None),
        }
    }
}

fn request(random: &mut Random) -> InternalRaftRequest {
    let lease = i64::try_from(random.below(4)).expect("small");
    let key = |random: &mut Random| format!("k{}", random.below(12));
    match random.below(12) {
        0 => on_grant(lease, 10),
        1 => on_revoke(lease),
        2 => on_compact(i64::try_from(random.below(60)).expect("small")),
        3 => on_delete(delete(&key(random), "k5")),
        4 => on_txn(TxnRequest {
            success: vec![
                delete_op(&key(random), "\0"),
                put_op(&key(random), "t"),
                put_op(&key(random), "u"),
            ],
            ..TxnRequest::default()
        }),
        5 => {
            let actions = [AlarmAction::Activate, AlarmAction::Deactivate];
            let action = actions[random.index(2)] as i32;
            // A kind that stops nothing.
            let alarm = AlarmRequest { action, member_id: random.below(3), alarm: 9 };
            InternalRaftRequest { alarm: Some(alarm), ..InternalRaftRequest::default() }
        }
        _ => {
            let value = "v".repeat(random.index(3000));
            on_put(PutRequest { lease, ..put(&key(random), &value) })
        }
    }
}
