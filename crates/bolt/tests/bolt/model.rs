//! Against a BTreeMap.

use std::ops::Bound;

use bolt::{Db, Error};
use bytes::Bytes;
use env::{Random, SimDisk};
use proptest::prelude::*;

use crate::kit::{Keys, Model, Workload, assert_sound, contents, open, seeds};

fn run(seed: u64, page_size: usize, rounds: u64, keys: u64) {
    let disk = SimDisk::new(seed);
    let mut db = open(&disk, page_size);
    let mut model = Model::new();
    let mut workload = Workload::new(seed, keys);
    for round in 0..rounds {
        let mut tx = db.write();
        let before = model.clone();
        workload.change(&mut tx, &mut model).unwrap();
        match workload.random.below(10) {
            0 => {
                drop(tx);
                model = before;
            }
            _ => {
                tx.commit().unwrap();
            }
        }
        assert_eq!(contents(&db.read()), model, "seed {seed} round {round}");
        assert_sound(&db);
        if workload.random.chance(1, 5) {
            let in_use = db.size_in_use();
            drop(db);
            db = open(&disk, page_size);
            assert_eq!(db.size_in_use(), in_use, "seed {seed} round {round}");
            assert_eq!(contents(&db.read()), model);
        }
        look_around(&db, &model, &mut workload.random);
    }
}

/// Gets and ranges with random bounds, both ways.
fn look_around(db: &Db, model: &Model, random: &mut Random) {
    let tx = db.read();
    for (name, keys) in model {
        let bucket = tx.bucket(name).unwrap().unwrap();
        for _ in 0..5 {
            let (start, end) = (bound(keys, random), bound(keys, random));
            let inside = |key: &[u8]| {
                (match &start {
                    Bound::Included(start) => key >= start.as_slice(),
                    Bound::Excluded(start) => key > start.as_slice(),
                    Bound::Unbounded => true,
                }) && match &end {
                    Bound::Included(end) => key <= end.as_slice(),
                    Bound::Excluded(end) => key < end.as_slice(),
                    Bound::Unbounded => true,
                }
            };
            let mut expected: Vec<_> = keys.iter().filter(|(key, _)| inside(key)).collect();
            let (start, end) = (start.as_ref(), end.as_ref());
            let (start, end) = (start.map(Vec::as_slice), end.map(Vec::as_slice));
            let up: Vec<_> = bucket.range(start, end).map(Result::unwrap).collect();
            let pairs = |(key, value): &(Bytes, Bytes)| (key.to_vec(), value.to_vec());
            let owned = |(key, value): &(&Vec<u8>, &Vec<u8>)| ((*key).clone(), (*value).clone());
            assert!(up.iter().map(pairs).eq(expected.iter().map(owned)));
            let down: Vec<_> = bucket.range_reverse(start, end).map(Result::unwrap).collect();
            expected.reverse();
            assert!(down.iter().map(pairs).eq(expected.iter().map(owned)));
        }
        for key in keys.keys().take(20) {
            assert_eq!(bucket.get(key).unwrap().as_deref(), keys.get(key).map(Vec::as_slice));
        }
        assert_eq!(bucket.get(b"no such key").unwrap(), None);
    }
    assert!(tx.bucket(b"no such bucket").unwrap().is_none());
}

fn bound(keys: &Keys, random: &mut Random) -> Bound<Vec<u8>> {
    let mut key = keys.keys().nth(random.index(keys.len())).cloned().unwrap_or_default();
    if random.chance(1, 3) {
        key.push(b'y');
    }
    match random.below(5) {
        0 => Bound::Unbounded,
        1 | 2 => Bound::Included(key),
        _ => Bound::Excluded(key),
    }
}

#[test]
fn holds_what_a_model_holds() {
    for seed in seeds(24) {
        let page_size = [1024, 4096, 8192, 16384][seed as usize % 4];
        run(seed, page_size, 25, [8, 60, 300][seed as usize % 3]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// One tree, small steps, so that a failure shrinks to something to look at.
    #[test]
    fn a_bucket_behaves_as_a_map(
        commits in proptest::collection::vec(
            proptest::collection::vec((0u16..200, proptest::option::of(0usize..700)), 0..80),
            1..12,
        ),
    ) {
        let disk = SimDisk::new(1);
        let db = open(&disk, 1024);
        let mut model = Model::new();
        let mut tx = db.write();
        tx.create_bucket(b"b").unwrap();
        tx.commit().unwrap();
        let keys = model.entry(b"b".to_vec()).or_default();
        for commit in commits {
            let mut tx = db.write();
            for (key, len) in commit {
                let key = Bytes::from(format!("{key:05}"));
                match len {
                    Some(len) => {
                        let value = vec![key[4]; len];
                        tx.put(b"b", key.clone(), value.clone().into()).unwrap();
                        keys.insert(key.to_vec(), value);
                    }
                    None => {
                        let was_there = keys.remove(&*key).is_some();
                        prop_assert_eq!(tx.delete(b"b", &key).unwrap(), was_there);
                    }
                }
                prop_assert_eq!(
                    tx.get(b"b", &key).unwrap().map(|v| v.to_vec()),
                    keys.get(&*key).cloned()
                );
            }
            let seen = tx.range(b"b", Bound::Unbounded, Bound::Unbounded).unwrap();
            let pair = |(key, value): (Bytes, Bytes)| (key.to_vec(), value.to_vec());
            let seen: Keys = seen.map(|item| item.map(pair).unwrap()).collect();
            prop_assert_eq!(&seen, &*keys);
            tx.commit().unwrap();
            let contents = contents(&db.read());
            prop_assert_eq!(contents.get(b"b".as_slice()), Some(&*keys));
            assert_sound(&db);
        }
    }
}

#[test]
fn a_reader_keeps_its_state_through_later_commits() {
    let disk = SimDisk::new(3);
    let db = open(&disk, 4096);
    let mut model = Model::new();
    let mut workload = Workload::new(3, 100);
    let mut readers = Vec::new();
    for _ in 0..60 {
        let mut tx = db.write();
        workload.change(&mut tx, &mut model).unwrap();
        tx.commit().unwrap();
        readers.push((db.read(), model.clone()));
        if readers.len() > 6 {
            readers.remove(workload.random.index(6));
        }
        for (reader, expected) in &readers {
            assert_eq!(&contents(reader), expected);
        }
        assert_sound(&db);
    }
}

#[test]
fn pages_are_used_again_once_nobody_reads_them() {
    let disk = SimDisk::new(4);
    let db = open(&disk, 4096);
    let rewrite = |round: u32| {
        let mut tx = db.write();
        tx.create_bucket(b"b").unwrap();
        for key in 0..500u32 {
            let value = Bytes::from(vec![round as u8; 300]);
            tx.put(b"b", key.to_be_bytes().to_vec().into(), value).unwrap();
        }
        tx.commit().unwrap();
    };
    for round in 0..5 {
        rewrite(round);
    }
    let settled = db.size();
    for round in 0..50 {
        rewrite(round);
    }
    assert_eq!(db.size(), settled, "two generations are enough without readers");
    let reader = db.read();
    let seen = contents(&reader);
    for round in 0..50 {
        rewrite(round);
    }
    assert!(db.size() <= settled * 2, "one reader keeps one generation, not fifty");
    assert_eq!(contents(&reader), seen);
    drop(reader);
    rewrite(0);
    rewrite(1);
    assert!(db.size_in_use() < settled);
    assert_sound(&db);
}

#[test]
fn limits_of_the_format_are_errors() {
    let disk = SimDisk::new(5);
    let db = open(&disk, 4096);
    let mut tx = db.write();
    assert!(matches!(tx.create_bucket(b""), Err(Error::BucketNameRequired)));
    assert!(tx.create_bucket(b"b").unwrap());
    let value = Bytes::from_static(b"v");
    let longest = Bytes::from(vec![7; 32768]);
    assert!(matches!(tx.put(b"b", Bytes::new(), value.clone()), Err(Error::KeyRequired)));
    let longer = Bytes::from(vec![7; 32769]);
    assert!(matches!(tx.put(b"b", longer, value.clone()), Err(Error::KeyTooLarge(32769))));
    assert!(matches!(tx.put(b"c", longest.clone(), value.clone()), Err(Error::BucketNotFound(_))));
    tx.put(b"b", longest.clone(), value.clone()).unwrap();
    tx.put(b"b", value.clone(), Bytes::new()).unwrap();
    tx.commit().unwrap();
    let bucket = db.read().bucket(b"b").unwrap().unwrap();
    assert_eq!(bucket.get(&longest).unwrap(), Some(value.clone()));
    assert_eq!(bucket.get(&value).unwrap(), Some(Bytes::new()));
    assert_sound(&db);
}

#[test]
fn many_buckets_make_a_deep_root() {
    let disk = SimDisk::new(6);
    let db = open(&disk, 1024);
    let mut tx = db.write();
    for number in 0..500u32 {
        let name = format!("bucket {number:04}");
        tx.create_bucket(name.as_bytes()).unwrap();
        for key in 0..number % 50 {
            let key = Bytes::from(key.to_be_bytes().to_vec());
            tx.put(name.as_bytes(), key.clone(), key).unwrap();
        }
    }
    tx.commit().unwrap();
    assert_sound(&db);
    let mut tx = db.write();
    for number in (0..500u32).filter(|number| number % 7 != 0) {
        tx.delete_bucket(format!("bucket {number:04}").as_bytes()).unwrap();
    }
    tx.commit().unwrap();
    assert_sound(&db);
    drop(db);
    let db = open(&disk, 1024);
    assert_eq!(db.read().buckets().unwrap().len(), 72);
    assert_eq!(contents(&db.read())[b"bucket 0049".as_slice()].len(), 49);
}
