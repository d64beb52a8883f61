//! Files that are not as they should be: errors, never a panic, whatever is done with them.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bolt::{Db, Error, OpenError, Options, ReadTx};
use bytes::Bytes;
use env::{Access, Disk, Random, SimDisk};

use crate::kit::{Model, PATH, Workload, bytes, contents, open, options, seeds};

const PAGE_SIZE: u64 = 1024;

fn sample(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    let db = open(&disk, PAGE_SIZE as usize);
    let mut workload = Workload::new(seed, 60);
    let mut model = Model::new();
    for _ in 0..8 {
        let mut tx = db.write();
        workload.change(&mut tx, &mut model).unwrap();
        tx.commit().unwrap();
    }
    drop(db);
    disk
}

fn try_open(disk: &SimDisk) -> Result<Db, OpenError> {
    Db::open(Arc::new(disk.clone()), Path::new(PATH), options(4096))
}

fn try_image(disk: &SimDisk) -> Result<ReadTx, OpenError> {
    Db::open_image(disk, Path::new(PATH), Options { cache_bytes: 0, ..options(4096) })
}

/// Damages a page here and there.
fn damage(disk: &SimDisk, random: &mut Random) {
    let file = disk.open(Path::new(PATH), Access::ReadWrite).unwrap();
    let pages = (file.len().unwrap() / PAGE_SIZE).min(200);
    for _ in 0..=random.below(3) {
        let at = (2 + random.below(pages - 2)) * PAGE_SIZE;
        let other = (2 + random.below(pages - 2)) * PAGE_SIZE;
        let mut page = vec![0; PAGE_SIZE as usize];
        match random.below(5) {
            // A number in the header or the element table.
            0 | 1 => {
                let offset = 4 * random.below(20);
                let numbers = [0, 1, 2, 16, 0xFFFF, u32::MAX, random.next_u64() as u32];
                let number = numbers[random.index(numbers.len())];
                file.write_all_at(&number.to_le_bytes(), at + offset).unwrap();
            }
            // Another page, pretending to be this one, so that pages are reached twice.
            2 | 3 => {
                file.read_exact_at(&mut page, other).unwrap();
                page[..8].copy_from_slice(&(at / PAGE_SIZE).to_le_bytes());
                file.write_all_at(&page, at).unwrap();
            }
            _ => {
                let len = 1 + random.index(40);
                let offset = random.below(PAGE_SIZE - 40);
                file.write_all_at(&bytes(len, random), at + offset).unwrap();
            }
        }
    }
}

/// Does everything that can be done; how many errors that made.
fn exercise(db: &Db, seed: u64) -> u32 {
    let mut errors = 0;
    let mut note = |result: Result<(), Error>| errors += u32::from(result.is_err());
    let mut random = Random::new(seed);
    for _ in 0..4 {
        let mut tx = db.write();
        let names = tx.buckets().unwrap_or_default();
        for name in names.iter().chain([&Bytes::from_static(b"new")]) {
            note(tx.create_bucket(name).map(drop));
            for _ in 0..20 {
                let key = Bytes::from(format!("{:04}", random.below(100)));
                let value = Bytes::from(vec![1; 100]);
                note(tx.put(name, key.clone(), value).map(drop));
                note(tx.delete(name, &key).map(drop));
                note(tx.get(name, &key).map(drop));
            }
            if let Ok(range) = tx.range(name, Bound::Unbounded, Bound::Unbounded) {
                let some: Vec<_> = range.take(30).filter_map(Result::ok).collect();
                for (key, _) in some {
                    note(tx.delete(name, &key).map(drop));
                }
            }
            if random.chance(1, 3) {
                note(tx.delete_bucket(name));
            }
        }
        note(tx.commit().map(drop));
        note(db.vacuum(10).map(drop));
        drop(db.check());
        drop(db.read().check_shape());
    }
    look(&db.read(), &mut note);
    errors
}

fn look(tx: &ReadTx, note: &mut impl FnMut(Result<(), Error>)) {
    let names = tx.buckets();
    note(names.as_ref().map(drop).map_err(|_| Error::KeyRequired));
    for name in names.unwrap_or_default() {
        match tx.bucket(&name) {
            Ok(Some(bucket)) => {
                let most = 100_000;
                let (all, none) = (Bound::Unbounded, Bound::Excluded(b"\xff".as_slice()));
                bucket.range(all, none).take(most).for_each(|item| note(item.map(drop)));
                bucket.range_reverse(all, all).take(most).for_each(|item| note(item.map(drop)));
                note(bucket.get(b"0007xxxxxxx").map(drop));
                note(bucket.buckets().map(drop));
            }
            Ok(None) => {}
            Err(error) => note(Err(error)),
        }
    }
}

#[test]
fn damaged_pages_are_errors() {
    let (mut refused, mut failed, mut unharmed) = (0, 0, 0);
    for seed in seeds(120) {
        let mut random = Random::new(seed);
        let disk = sample(seed % 20);
        damage(&disk, &mut random);
        // Reading alone, where no walk at the start has found anything.
        if let Ok(tx) = try_image(&disk) {
            look(&tx, &mut drop);
            drop(tx.check());
        }
        match try_open(&disk) {
            Err(_) => refused += 1,
            Ok(db) => match exercise(&db, seed) {
                0 => unharmed += 1,
                _ => failed += 1,
            },
        }
    }
    assert!(refused > 20 && failed + unharmed > 20, "{refused} {failed} {unharmed}");
}

/// Damage that comes while the file is open, after the walk that looked at all of it.
#[test]
fn pages_damaged_under_an_open_db_are_errors() {
    let mut failed = 0;
    for seed in seeds(80) {
        let mut random = Random::new(seed);
        let disk = sample(seed % 20);
        let no_cache = Options { cache_bytes: 0, ..options(4096) };
        let db = Db::open(Arc::new(disk.clone()), Path::new(PATH), no_cache).unwrap();
        damage(&disk, &mut random);
        failed += u32::from(exercise(&db, seed) > 0);
    }
    assert!(failed > 20, "{failed}");
}

#[test]
fn a_flipped_bit_is_an_error_or_goes_unnoticed() {
    for seed in seeds(80) {
        let disk = sample(seed % 20);
        disk.flip_any_bit(Path::new(PATH)).unwrap();
        if let Ok(db) = try_open(&disk) {
            exercise(&db, seed);
        }
    }
}

/// A branch whose every child is itself or its parent: a walk of it would never end.
#[test]
fn a_circle_of_pages_is_an_error() {
    let disk = SimDisk::new(1);
    let db = open(&disk, PAGE_SIZE as usize);
    let mut tx = db.write();
    tx.create_bucket(b"b").unwrap();
    for key in 0..500u32 {
        let key = Bytes::from(key.to_be_bytes().to_vec());
        tx.put(b"b", key, Bytes::from(vec![1; 50])).unwrap();
    }
    tx.commit().unwrap();
    drop(db);
    let file = disk.open(Path::new(PATH), Access::ReadWrite).unwrap();
    for page in 2..file.len().unwrap() / PAGE_SIZE {
        let mut bytes = vec![0; PAGE_SIZE as usize];
        file.read_exact_at(&mut bytes, page * PAGE_SIZE).unwrap();
        let count = u16::from_le_bytes([bytes[10], bytes[11]]);
        if bytes[8] == 1 {
            for index in 0..u64::from(count) {
                let at = page * PAGE_SIZE + 16 + index * 16 + 8;
                file.write_all_at(&page.to_le_bytes(), at).unwrap();
            }
        }
    }
    assert!(matches!(try_open(&disk), Err(OpenError::Unusable { .. })));
    let tx = try_image(&disk).unwrap();
    assert_ne!(tx.check(), []);
    let bucket = tx.bucket(b"b").unwrap().unwrap();
    let key = 7u32.to_be_bytes();
    assert!(bucket.get(&key).is_err());
    assert!(bucket.range(Bound::Unbounded, Bound::Unbounded).any(|item| item.is_err()));
    assert!(bucket.range_reverse(Bound::Unbounded, Bound::Unbounded).any(|item| item.is_err()));
}

fn with_file(act: impl FnOnce(&dyn env::File)) -> Result<Db, OpenError> {
    let disk = sample(3);
    act(&*disk.open(Path::new(PATH), Access::ReadWrite).unwrap());
    try_open(&disk)
}

#[test]
fn what_is_no_db_file_is_refused_by_name() {
    let text = with_file(|file| {
        file.set_len(0).unwrap();
        file.write_all_at(&b"just a text, and a long one ".repeat(1000), 0).unwrap();
    });
    assert!(matches!(text, Err(OpenError::Invalid { .. })), "{text:?}");
    let short = with_file(|file| {
        file.set_len(0).unwrap();
        file.write_all_at(b"short", 0).unwrap();
    });
    assert!(matches!(short, Err(OpenError::Invalid { .. })), "{short:?}");
    let cut = with_file(|file| file.set_len(5 * PAGE_SIZE).unwrap());
    assert!(matches!(cut, Err(OpenError::Truncated { .. })), "{cut:?}");
    let both = with_file(|file| {
        file.write_all_at(&[9], 70).unwrap();
        file.write_all_at(&[9], 70 + PAGE_SIZE).unwrap();
    });
    assert!(matches!(both, Err(OpenError::Invalid { .. })), "{both:?}");
    let version = with_file(|file| {
        file.write_all_at(&[7], 20).unwrap();
        file.write_all_at(&[7], 20 + PAGE_SIZE).unwrap();
    });
    assert!(matches!(version, Err(OpenError::Version { version: 7, .. })), "{version:?}");
}

#[test]
fn one_meta_is_enough_at_any_page_size() {
    for page_size in [1024, 4096, 16384, 65536] {
        for broken in 0..2 {
            let disk = SimDisk::new(1);
            let db = open(&disk, page_size);
            let mut models = vec![Model::new()];
            let mut workload = Workload::new(1, 30);
            for _ in 0..5 {
                let mut model = models[models.len() - 1].clone();
                let mut tx = db.write();
                tx.create_bucket(b"always").unwrap();
                model.entry(b"always".to_vec()).or_default();
                workload.change(&mut tx, &mut model).unwrap();
                tx.put(b"always", "commit".into(), Bytes::from(vec![models.len() as u8])).unwrap();
                let keys = model.get_mut(b"always".as_slice()).unwrap();
                keys.insert(b"commit".to_vec(), vec![models.len() as u8]);
                tx.commit().unwrap();
                models.push(model);
            }
            let txid = db.read().txid();
            drop(db);
            let file = disk.open(Path::new(PATH), Access::ReadWrite).unwrap();
            file.write_all_at(&[0xFF; 80], broken * page_size as u64).unwrap();
            // Whatever page size is asked for, the file says its own.
            let db = open(&disk, 8192);
            assert_eq!(db.page_size(), page_size);
            let newest = txid % 2 != broken;
            assert_eq!(db.read().txid(), if newest { txid } else { txid - 1 });
            if newest {
                assert_eq!(contents(&db.read()), models[5]);
            }
        }
    }
}

#[test]
fn a_second_opener_is_told_that_the_file_is_locked() {
    let disk = SimDisk::new(1);
    let db = open(&disk, 4096);
    let error = try_open(&disk).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }));
    assert_eq!(error.to_string(), "another process holds the lock on /db");
    let tx = db.read();
    drop(db);
    assert!(try_open(&disk).is_err(), "a reader keeps the file open");
    drop(tx);
    assert!(try_open(&disk).is_ok());
    let odd = Options { page_size: 5000, ..Options::default() };
    let error = Db::open(Arc::new(disk), Path::new(PATH), odd).unwrap_err();
    assert!(matches!(error, OpenError::PageSize(5000)));
}

/// Gives both metas this transaction id.
fn number_metas(disk: &SimDisk, txid: u64) {
    let file = disk.open(Path::new(PATH), Access::ReadWrite).unwrap();
    for page in 0..2 {
        let mut body = [0; 64];
        file.read_exact_at(&mut body, page * PAGE_SIZE + 16).unwrap();
        body[48..56].copy_from_slice(&txid.to_le_bytes());
        let sum = body[..56].iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
            (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        });
        body[56..].copy_from_slice(&sum.to_le_bytes());
        file.write_all_at(&body, page * PAGE_SIZE + 16).unwrap();
    }
}

/// One more would be number 0: a commit that is older than all others, and lost at the next open.
#[test]
fn the_last_transaction_ids_are_errors() {
    let disk = SimDisk::new(1);
    drop(open(&disk, PAGE_SIZE as usize));
    number_metas(&disk, u64::MAX);
    assert!(matches!(try_open(&disk), Err(OpenError::Unusable { .. })));
    assert!(matches!(try_image(&disk), Err(OpenError::Unusable { .. })));

    number_metas(&disk, u64::MAX - 2);
    let db = try_open(&disk).unwrap();
    let mut tx = db.write();
    tx.create_bucket(b"last").unwrap();
    tx.commit().unwrap();
    for _ in 0..2 {
        let mut tx = db.write();
        tx.create_bucket(b"none").unwrap();
        assert!(matches!(tx.commit(), Err(Error::Corrupt { .. })));
        drop(db.vacuum(4));
    }
    drop(db);
    let names = try_open(&disk).unwrap().read().buckets().unwrap();
    assert_eq!(names, [Bytes::from_static(b"last")]);
}
