//! Moving the file's end down, under everybody's feet.

use std::path::Path;

use bolt::{Db, VacuumStep};
use bytes::Bytes;
use env::{Access, Disk, Random, SimDisk};

use crate::kit::{Model, PATH, Workload, assert_sound, bytes, contents, open, seeds};

fn file_len(disk: &SimDisk) -> u64 {
    disk.open(Path::new(PATH), Access::Read).unwrap().len().unwrap()
}

/// Steps until nothing is left to do.
fn vacuum(db: &Db, max_pages: usize) -> u64 {
    let mut moved = 0;
    for _ in 0..10_000 {
        let step = db.vacuum(max_pages).unwrap();
        moved += step.moved_pages;
        if !step.more {
            return moved;
        }
    }
    panic!("vacuum does not come to an end");
}

/// Pages that no shuffling can bring in: each step needs a few free ones to write a path into.
const SLACK: u64 = 24;

#[test]
fn the_file_shrinks_to_what_is_in_use() {
    for seed in seeds(12) {
        let disk = SimDisk::new(seed);
        let page_size = [1024, 4096, 16384][seed as usize % 3];
        let db = open(&disk, page_size);
        let mut model = Model::new();
        let mut workload = Workload::new(seed, 300);
        workload.big_values = false;
        for _ in 0..10 {
            let mut tx = db.write();
            workload.change(&mut tx, &mut model).unwrap();
            tx.commit().unwrap();
        }
        let before = db.size();
        vacuum(&db, 1 + workload.random.index(50));
        assert_eq!(contents(&db.read()), model);
        assert_sound(&db);
        let spare = (db.size() - db.size_in_use()) / page_size as u64;
        assert!(spare <= SLACK, "seed {seed}: {spare} pages to spare after, {before} bytes before");
        assert!(file_len(&disk) - db.size() <= 64 << 10);
        assert_eq!(db.vacuum(50).unwrap(), VacuumStep::default());
    }
}

#[test]
fn readers_keep_their_state_while_the_ground_moves() {
    for seed in seeds(4) {
        let disk = SimDisk::new(seed);
        let db = open(&disk, 1024);
        let mut model = Model::new();
        let mut workload = Workload::new(seed, 100);
        let mut readers = Vec::new();
        for _ in 0..40 {
            let mut tx = db.write();
            workload.change(&mut tx, &mut model).unwrap();
            tx.commit().unwrap();
            if workload.random.chance(1, 3) {
                db.vacuum(1 + workload.random.index(30)).unwrap();
            }
            readers.push((db.read(), model.clone()));
            if readers.len() > 4 {
                readers.remove(workload.random.index(4));
            }
            for (reader, expected) in &readers {
                assert_eq!(&contents(reader), expected, "seed {seed}");
            }
            assert_sound(&db);
        }
        drop(readers);
        vacuum(&db, 20);
        assert_eq!(contents(&db.read()), model);
        assert_sound(&db);
    }
}

/// Values of many sizes leave holes of many sizes, too small for what stands at the end.
fn spare_after_vacuum(seed: u64, sizes: &[usize], puts: u64) -> f64 {
    let disk = SimDisk::new(seed);
    let db = open(&disk, 4096);
    let mut random = Random::new(seed);
    let mut model = Model::new();
    let mut tx = db.write();
    tx.create_bucket(b"b").unwrap();
    tx.commit().unwrap();
    let keys = model.entry(b"b".to_vec()).or_default();
    for _ in 0..20 {
        let mut tx = db.write();
        for _ in 0..puts / 20 {
            let key = Bytes::from(random.below(puts).to_be_bytes().to_vec());
            let value = bytes(sizes[random.index(sizes.len())], &mut random);
            tx.put(b"b", key.clone(), value.clone()).unwrap();
            keys.insert(key.to_vec(), value.to_vec());
        }
        tx.commit().unwrap();
    }
    let mut tx = db.write();
    for key in keys.keys().cloned().collect::<Vec<_>>() {
        if random.chance(1, 2) {
            tx.delete(b"b", &key).unwrap();
            keys.remove(&key);
        }
    }
    tx.commit().unwrap();
    vacuum(&db, 100);
    assert_eq!(contents(&db.read()), model);
    assert_sound(&db);
    (db.size() - db.size_in_use()) as f64 / db.size() as f64
}

#[test]
fn pages_with_overflow_find_room() {
    for seed in seeds(2) {
        let spare = spare_after_vacuum(seed, &[100, 500, 1000, 3000, 9000], 2000);
        assert!(spare < 0.02, "seed {seed}: {spare}");
        let spare = spare_after_vacuum(seed, &[100, 3000, 9000, 20_000, 60_000], 600);
        assert!(spare < 0.15, "seed {seed}: {spare}");
    }
}
