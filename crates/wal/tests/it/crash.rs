//! Power cuts, kills and failing calls at any moment, from seeds.
//!
//! The model is the list of records that were handed to the log. Whatever happens, the log that
//! is opened afterwards must read as a beginning of that list which has at least everything that
//! a successful sync covered.

use env::{Call, Random};

use super::*;
use ::wal::{Decoder, Error, Kind, purge};
use proto::Message;

#[derive(Debug, Clone, PartialEq)]
enum Recorded {
    /// The data as its length and crc.
    Entry {
        term: u64,
        index: u64,
        data: (usize, u32),
    },
    State(HardState),
    /// One that came from a leader replaces the log.
    Snapshot {
        mark: SnapshotMark,
        installed: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Default)]
struct View {
    entries: Vec<(u64, u64, (usize, u32))>,
    hard_state: HardState,
}

impl View {
    /// What a member that starts from `mark` has to find.
    fn of(records: &[Recorded], mark: SnapshotMark) -> View {
        let mut view = View::default();
        for record in records {
            match record {
                Recorded::State(state) => view.hard_state = *state,
                Recorded::Entry { term, index, data } => {
                    view.entries.retain(|(_, before, _)| before < index);
                    view.entries.push((*term, *index, *data));
                }
                Recorded::Snapshot { mark: at, installed } => {
                    if *installed && at.index <= mark.index {
                        view.entries.clear();
                    }
                }
            }
        }
        view.entries.retain(|(_, index, _)| *index > mark.index);
        view
    }

    fn recovered(recovered: &Recovered) -> View {
        let entries = recovered.entries.iter().map(|entry| {
            (
                entry.term.unwrap(),
                entry.index.unwrap(),
                digest(entry.data.as_deref().unwrap_or(&[])),
            )
        });
        View { entries: entries.collect(), hard_state: recovered.hard_state }
    }
}

fn digest(data: &[u8]) -> (usize, u32) {
    (data.len(), crc32c::crc32c(data))
}

/// All snapshots that the log has a record of, also those that are not committed.
fn snapshots(disk: &SimDisk) -> Vec<SnapshotMark> {
    let mut decoder = Decoder::open(disk, dir()).unwrap();
    let mut snapshots = Vec::new();
    while let Some(record) = decoder.next().unwrap() {
        if record.kind == Kind::Snapshot {
            let snapshot = walpb::Snapshot::decode(record.data).unwrap();
            snapshots.push(SnapshotMark::from(&snapshot));
        }
    }
    snapshots
}

fn newest_valid(records: &[Recorded]) -> SnapshotMark {
    let mut commit = 0;
    for record in records {
        if let Recorded::State(state) = record {
            commit = state.commit.unwrap();
        }
    }
    let valid = records.iter().rev().find_map(|record| match record {
        Recorded::Snapshot { mark, .. } if mark.index <= commit => Some(*mark),
        _ => None,
    });
    valid.unwrap_or_default()
}

struct World {
    seed: u64,
    random: Random,
    disk: SimDisk,
    options: Options,
    wal: Option<Wal>,
    records: Vec<Recorded>,
    synced: usize,
    term: u64,
    commit: u64,
    last: u64,
    repairs: usize,
    lost: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let segment_bytes = [704, 2000, 5000, 20_000][random.index(4)];
        Self {
            seed,
            random,
            disk: disk(seed),
            options: small(segment_bytes),
            wal: None,
            records: Vec::new(),
            synced: 0,
            term: 1,
            commit: 0,
            last: 0,
            repairs: 0,
            lost: 0,
        }
    }

    fn plan_faults(&mut self) {
        if self.random.chance(1, 2) {
            self.disk.crash_after(self.random.below(60));
        }
        if self.random.chance(1, 3) {
            let calls = [Call::Write, Call::SyncData, Call::SyncDir, Call::Rename, Call::SetLen];
            self.disk.fail(calls[self.random.index(5)], "", self.random.below(30));
        }
    }

    /// The process ends; with it, perhaps, the machine.
    fn stop(&mut self) {
        let off = self.disk.is_off();
        let after =
            if off || self.random.chance(1, 2) { self.disk.crash() } else { self.disk.kill() };
        self.wal = None;
        self.disk = after;
        if self.random.chance(1, 4) {
            self.plan_faults();
        }
    }

    /// Starts as a member does, again and again until no fault is in the way.
    fn start(&mut self) {
        loop {
            match self.try_start() {
                Ok(wal) => {
                    self.wal = Some(wal);
                    self.plan_faults();
                    return;
                }
                Err(Error::Io { .. } | Error::Broken) => self.stop(),
                Err(error) => panic!("seed {}: {error}", self.seed),
            }
        }
    }

    fn try_start(&mut self) -> Result<Wal, Error> {
        let exists = Wal::exists(&self.disk, dir());
        let exists = exists.map_err(|source| Error::Io {
            action: "list",
            path: dir().to_owned(),
            source,
        })?;
        if !exists {
            assert_eq!(self.synced, 0, "seed {}: a synced log is gone", self.seed);
            self.records.clear();
            return Wal::create_with(shared(&self.disk), dir(), METADATA, self.options);
        }
        let valid = Wal::valid_snapshots(&self.disk, dir())?;
        let mark = SnapshotMark::from(valid.last().expect("snapshot 0 or a later one"));
        let (wal, recovered) = Wal::open_with(shared(&self.disk), dir(), mark, self.options)?;
        assert_eq!(recovered.metadata, METADATA);
        self.adopt(mark, &recovered);
        Ok(wal)
    }

    /// Checks what was recovered, and goes on from there.
    fn adopt(&mut self, mark: SnapshotMark, recovered: &Recovered) {
        let view = View::recovered(recovered);
        let newest = snapshots(&self.disk).pop().unwrap();
        let kept = (self.synced..=self.records.len()).rev().find(|kept| {
            let records = &self.records[..*kept];
            let snapshot = records.iter().rev().find_map(|record| match record {
                Recorded::Snapshot { mark, .. } => Some(*mark),
                _ => None,
            });
            newest_valid(records) == mark
                && snapshot.unwrap_or_default() == newest
                && View::of(records, mark) == view
        });
        let Some(kept) = kept else {
            let (seed, synced, records) = (self.seed, self.synced, &self.records);
            panic!("seed {seed}: {mark:?} {view:#?} does not begin {records:#?}, {synced} synced");
        };
        self.lost += usize::from(kept < self.records.len());
        self.repairs += usize::from(recovered.repaired.is_some());
        self.records.truncate(kept);
        self.synced = kept;
        self.commit = view.hard_state.commit.unwrap_or_default();
        self.last = view.entries.last().map_or(mark.index, |(_, index, _)| *index);
        self.term = self.term.max(view.hard_state.term.unwrap_or(1));
        for record in &mut self.records {
            if let Recorded::Snapshot { mark: at, installed } = record
                && at.index > mark.index
            {
                // It was not installed before the end. What it covers is committed elsewhere, so
                // the leader overwrites what differs before anything more is committed here.
                *installed = false;
                self.term += 1;
                self.last = self.commit;
            }
        }
    }

    fn step(&mut self) -> Result<(), Error> {
        match self.random.below(20) {
            0 => self.snapshot()?,
            1 => self.install_snapshot()?,
            2 => self.release()?,
            3 => {
                if let Some(job) = self.wal.as_ref().unwrap().next_segment_job()
                    && self.random.chance(4, 5)
                {
                    job.run()?;
                }
            }
            4 => {
                self.wal.take().unwrap().close()?;
                self.synced = self.records.len();
                self.start();
            }
            5..=9 => {
                let job = self.wal.as_ref().unwrap().sync_job();
                let covered = self.records.len();
                if self.random.chance(1, 3) {
                    self.append()?;
                }
                job.run()?;
                self.synced = self.synced.max(covered);
            }
            _ => self.append()?,
        }
        Ok(())
    }

    fn append(&mut self) -> Result<(), Error> {
        let mut entries = Vec::new();
        if self.random.chance(1, 8) && self.last > self.commit {
            // A new leader overwrites what is not committed.
            self.term += 1;
            self.last = self.commit + self.random.below(self.last - self.commit + 1);
        }
        for _ in 0..self.random.below(5) {
            self.last += 1;
            let len = match self.random.below(8) {
                0 => self.random.index(3000),
                1 => 0,
                _ => self.random.index(100),
            };
            let mut data = vec![0; len];
            if self.random.chance(9, 10) {
                self.random.fill(&mut data);
            }
            entries.push((self.last, data));
        }
        let state = self.random.chance(1, 2).then(|| {
            self.commit += self.random.below(self.last - self.commit + 1);
            state(self.term, self.random.below(2), self.commit)
        });
        let refs: Vec<EntryRef<'_>> =
            entries.iter().map(|(index, data)| entry(self.term, *index, data)).collect();
        for (index, data) in &entries {
            let (term, index, data) = (self.term, *index, digest(data));
            self.records.push(Recorded::Entry { term, index, data });
        }
        self.records.extend(state.map(Recorded::State));
        let wal = self.wal.as_mut().unwrap();
        let _ = wal.append(&refs, state)?;
        Ok(())
    }

    fn save_snapshot(&mut self, mark: SnapshotMark, installed: bool) -> Result<(), Error> {
        self.records.push(Recorded::Snapshot { mark, installed });
        let record = snapshot_record(mark.index, mark.term);
        self.wal.as_mut().unwrap().save_snapshot(&record)?;
        self.synced = self.records.len();
        Ok(())
    }

    fn snapshot(&mut self) -> Result<(), Error> {
        let mark = newest_valid(&self.records);
        let view = View::of(&self.records, mark);
        let newest = self.newest_snapshot();
        let mut committed = view.entries.iter().filter(|(_, index, _)| *index <= self.commit);
        match committed.next_back() {
            // Nobody takes two snapshots at one index.
            Some((term, index, _)) if *index > newest => {
                self.save_snapshot(SnapshotMark { index: *index, term: *term }, false)
            }
            _ => Ok(()),
        }
    }

    fn newest_snapshot(&self) -> u64 {
        let indexes = self.records.iter().map(|record| match record {
            Recorded::Snapshot { mark, .. } => mark.index,
            _ => 0,
        });
        indexes.max().unwrap_or(0)
    }

    /// A leader sent a snapshot: from far ahead, or of a log that went another way.
    fn install_snapshot(&mut self) -> Result<(), Error> {
        self.term += 1;
        let least = self.commit.max(self.newest_snapshot());
        let index = least + 1 + self.random.below(self.last.saturating_sub(least) + 10);
        self.save_snapshot(SnapshotMark { index, term: self.term }, true)?;
        let state = state(self.term, 0, index);
        self.records.push(Recorded::State(state));
        let _ = self.wal.as_mut().unwrap().append(&[], Some(state))?;
        self.wal.as_ref().unwrap().sync()?;
        self.synced = self.records.len();
        (self.commit, self.last) = (index, index);
        Ok(())
    }

    fn release(&mut self) -> Result<(), Error> {
        let durable = newest_valid(&self.records[..self.synced]);
        self.wal.as_mut().unwrap().release_to(durable.index);
        purge(&self.disk, dir(), self.random.index(3))?;
        Ok(())
    }
}

fn live(seed: u64) -> World {
    let mut world = World::new(seed);
    world.start();
    for _ in 0..40 {
        let stops = world.random.chance(1, 25);
        match world.step() {
            Ok(()) if !stops => {}
            Ok(()) | Err(Error::Io { .. } | Error::Broken) => {
                world.stop();
                world.start();
            }
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    world.disk = world.disk.crash();
    world.wal = None;
    world.start();
    world
}

#[test]
fn a_synced_record_survives_everything() {
    let seeds = std::env::var("PINTLE_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    let (mut repairs, mut lost, mut segments_made) = (0, 0, 0);
    for seed in 0..seeds.unwrap_or(1000) {
        let world = live(seed);
        repairs += world.repairs;
        lost += world.lost;
        segments_made += segments(&world.disk).len();
    }
    assert!(repairs > 30, "{repairs} repairs, {lost} losses, {segments_made} segments");
    assert!(lost > repairs && segments_made > 1000);
}

#[test]
fn the_same_seed_lives_the_same_life() {
    for seed in [3, 77, 1234] {
        assert_eq!(live(seed).records, live(seed).records);
    }
}

#[test]
fn creation_is_whole_or_not_at_all() {
    for seed in 0..50 {
        for changes in 0.. {
            let disk = disk(seed);
            disk.crash_after(changes);
            let created = Wal::create_with(shared(&disk), dir(), METADATA, small(4096));
            let done = created.is_ok();
            drop(created);
            let after = disk.crash();
            if Wal::exists(&after, dir()).unwrap() {
                let (_, recovered) = open(&after, small(4096)).unwrap();
                assert_eq!((recovered.metadata.as_ref(), recovered.entries.len()), (METADATA, 0));
                assert_eq!(recovered.repaired, None);
            } else {
                assert!(!done, "a created log is gone");
                drop(create(&after, small(4096)));
            }
            if done {
                break;
            }
        }
    }
}

/// One life with a cut, a snapshot, a job and a purge in it, ended at each change in turn.
#[test]
fn a_power_cut_at_each_single_change_loses_nothing_synced() {
    for seed in 0..20 {
        for changes in 0.. {
            let disk = disk(seed);
            let mut wal = create(&disk, small(2000));
            disk.crash_after(changes);
            let mut synced = 0;
            let lived = (|| -> Result<(), Error> {
                for index in 1..=12 {
                    let data = [index as u8; 300];
                    let state = state(1, 1, index);
                    if wal.append(&[entry(1, index, &data)], Some(state))? == MustSync::Yes {
                        wal.sync()?;
                    }
                    synced = index;
                    match index {
                        3 | 10 => wal.save_snapshot(&snapshot_record(index, 1))?,
                        5 | 8 => {
                            if let Some(job) = wal.next_segment_job() {
                                job.run()?;
                            }
                        }
                        11 => {
                            wal.release_to(10);
                            purge(&disk, dir(), 1)?;
                        }
                        _ => {}
                    }
                }
                Ok(())
            })();
            drop(wal);
            let after = disk.crash();
            let valid = Wal::valid_snapshots(&after, dir()).unwrap();
            let mark = SnapshotMark::from(valid.last().unwrap());
            let opened = Wal::open_with(shared(&after), dir(), mark, small(2000));
            let (mut wal, recovered) = opened.unwrap();
            let last = mark.index + recovered.entries.len() as u64;
            assert!(last >= synced, "seed {seed}, change {changes}: {last} < {synced}");
            let commit = recovered.hard_state.commit.unwrap_or_default();
            assert!(commit >= synced && commit <= last);
            for (at, entry) in recovered.entries.iter().enumerate() {
                let index = mark.index + at as u64 + 1;
                assert_eq!(entry.index, Some(index));
                assert_eq!(entry.data.as_ref().unwrap().as_ref(), [index as u8; 300]);
            }
            let _ = wal.append(&[entry(2, last + 1, b"on")], None).unwrap();
            if lived.is_ok() {
                break;
            }
        }
    }
}
