//! Power cuts, failing calls and full disks: the db always stands at a commit.

use std::path::Path;
use std::sync::Arc;

use bolt::{Db, Error, Options};
use env::{Call, Random, SimDisk};

use crate::kit::{Model, PATH, Workload, assert_sound, contents, open, options, seeds};

/// What may be found: the last commit that was acknowledged, or one that failed at a point where
/// it may nevertheless have reached the disk.
#[derive(Debug, Clone, Default)]
struct Possible {
    acknowledged: Model,
    maybe: Vec<Model>,
}

impl Possible {
    /// What a db that was just opened holds is what it must hold from now on.
    fn settle(&mut self, found: Model, what: &str) {
        let expected = found == self.acknowledged || self.maybe.contains(&found);
        assert!(expected, "{what}: neither the last commit nor the one under way");
        *self = Self { acknowledged: found, maybe: Vec::new() };
    }
}

fn try_open(disk: &SimDisk, page_size: usize) -> Option<Db> {
    Db::open(Arc::new(disk.clone()), Path::new(PATH), options(page_size)).ok()
}

/// Commits until something fails; keeps account of what may be on the disk.
fn work(
    db: &Db,
    workload: &mut Workload,
    possible: &mut Possible,
    commits: u64,
) -> Result<(), Error> {
    for _ in 0..commits {
        let mut tx = db.write();
        let mut next = possible.acknowledged.clone();
        workload.change(&mut tx, &mut next)?;
        if let Err(error) = tx.commit() {
            possible.maybe.push(next);
            return Err(error);
        }
        *possible = Possible { acknowledged: next, maybe: Vec::new() };
        if workload.random.chance(1, 4) {
            db.vacuum(workload.random.index(40))?;
        }
    }
    Ok(())
}

/// One life of a disk: work, cut the power anywhere, look; some times over.
fn crash_run(seed: u64) {
    let mut random = Random::new(seed);
    let page_size = [1024, 1024, 4096][random.index(3)];
    let mut disk = SimDisk::new(random.next_u64());
    let mut possible = Possible::default();
    let mut workload = Workload::new(random.next_u64(), [5, 30][random.index(2)]);
    workload.big_values = random.chance(1, 4);
    for life in 0..3 {
        disk.crash_after(random.below(60));
        if let Some(db) = try_open(&disk, page_size) {
            possible.settle(contents(&db.read()), &format!("seed {seed}, life {life}"));
            while work(&db, &mut workload, &mut possible, 20).is_ok() {}
        }
        disk = disk.crash();
    }
    let db = open(&disk, page_size);
    possible.settle(contents(&db.read()), &format!("seed {seed}, at last"));
    assert_sound(&db);
    work(&db, &mut workload, &mut possible, 2).unwrap();
    assert_sound(&db);
}

#[test]
fn a_power_cut_leaves_the_last_commit() {
    for seed in seeds(400) {
        crash_run(seed);
    }
}

/// Lives that end with the process or with the machine: what a db has shown once after it was
/// opened stays, though the commit that made it was cut short before its last sync.
fn kill_run(seed: u64) {
    let mut random = Random::new(seed);
    let mut disk = SimDisk::new(random.next_u64());
    let mut possible = Possible::default();
    let mut workload = Workload::new(random.next_u64(), [5, 30][random.index(2)]);
    for life in 0..12 {
        let db = open(&disk, 1024);
        possible.settle(contents(&db.read()), &format!("seed {seed}, life {life}"));
        assert_sound(&db);
        match random.below(3) {
            0 => disk.fail(Call::SyncData, PATH, random.below(8)),
            _ => disk.crash_after(random.below(30)),
        }
        let worked = work(&db, &mut workload, &mut possible, 3);
        drop(db);
        let cut = worked.is_ok() || random.chance(1, 2);
        disk = if cut { disk.crash() } else { disk.kill() };
    }
    possible.settle(contents(&open(&disk, 1024).read()), &format!("seed {seed}, at last"));
}

#[test]
fn what_was_seen_after_a_kill_survives_a_power_cut() {
    for seed in seeds(100) {
        kill_run(seed);
    }
}

/// Single calls fail; the db goes on from its last commit, and so it does after a power cut.
fn fault_run(seed: u64) {
    let mut random = Random::new(seed);
    let page_size = [1024, 4096][random.index(2)];
    let mut disk = SimDisk::new(random.next_u64());
    let mut possible = Possible::default();
    let mut workload = Workload::new(random.next_u64(), 20);
    for life in 0..3 {
        let db = open(&disk, page_size);
        possible.settle(contents(&db.read()), &format!("seed {seed}, life {life}"));
        for fault in 0..8 {
            let call = [Call::Write, Call::SyncData, Call::SyncData, Call::SetLen];
            disk.fail(call[random.index(call.len())], PATH, random.below(4));
            if work(&db, &mut workload, &mut possible, 3).is_err() {
                let found = contents(&db.read());
                assert_eq!(found, possible.acknowledged, "seed {seed}, {life}, {fault}");
                assert_sound(&db);
            }
            if random.chance(1, 3) {
                break;
            }
        }
        drop(db);
        disk = disk.crash();
    }
    let db = open(&disk, page_size);
    possible.settle(contents(&db.read()), &format!("seed {seed}, at last"));
    assert_sound(&db);
}

#[test]
fn a_failed_call_leaves_the_last_commit() {
    for seed in seeds(100) {
        fault_run(seed);
    }
}

#[test]
fn a_full_disk_fails_the_commit_and_nothing_else() {
    for seed in seeds(8) {
        let mut disk = SimDisk::new(seed);
        let db = open(&disk, 4096);
        let mut possible = Possible::default();
        let mut workload = Workload::new(seed, 200);
        work(&db, &mut workload, &mut possible, 5).unwrap();
        disk.set_capacity(Some(disk.used() + workload.random.below(200_000)));
        let mut full = 0;
        while full < 3 {
            if let Err(error) = work(&db, &mut workload, &mut possible, 1) {
                assert!(error.is_disk_full(), "{error}");
                assert_eq!(contents(&db.read()), possible.acknowledged);
                assert_sound(&db);
                full += 1;
            }
            // The disk is full before anything is written, so the commit leaves no trace.
            possible.maybe.clear();
        }
        disk.set_capacity(None);
        work(&db, &mut workload, &mut possible, 5).unwrap();
        drop(db);
        disk = disk.crash();
        let db = open(&disk, 4096);
        possible.settle(contents(&db.read()), &format!("seed {seed}"));
        assert_sound(&db);
    }
}

#[test]
fn a_failed_read_is_an_error_and_passes() {
    let disk = SimDisk::new(9);
    let mut workload = Workload::new(9, 200);
    let mut possible = Possible::default();
    let small_cache = Options { cache_bytes: 0, ..options(1024) };
    let db = Db::open(Arc::new(disk.clone()), Path::new(PATH), small_cache).unwrap();
    work(&db, &mut workload, &mut possible, 5).unwrap();
    let mut failed = 0;
    for skip in 0..50 {
        disk.fail(Call::Read, PATH, skip);
        while work(&db, &mut workload, &mut possible, 1).is_ok() {}
        failed += 1;
        possible.maybe.clear();
        assert_eq!(contents(&db.read()), possible.acknowledged);
    }
    assert_eq!(failed, 50);
    assert_sound(&db);
}
