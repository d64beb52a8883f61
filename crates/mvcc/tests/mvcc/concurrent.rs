//! One writer, many readers, a compaction and a committer at once.

use std::sync::atomic::{AtomicBool, Ordering};

use mvcc::{KeyRange, Progress, Range, Reader, Store};

use crate::kit::{all, fields, fresh};

/// More than a reader takes in one hold of the index.
const KEYS: usize = 2500;
const ROUNDS: i64 = 40;

fn key(n: usize) -> String {
    format!("key{n:05}")
}

/// Each transaction writes one value to all keys, so whoever sees two values saw half of one.
fn write_all(store: &mut Store) -> i64 {
    let mut txn = store.writer.txn();
    let value = (txn.begin_revision() + 1).to_string();
    for n in 0..KEYS {
        txn.put(key(n).as_bytes(), value.as_bytes(), 0);
    }
    txn.finish().revision
}

fn read_all(reader: &Reader) {
    let asked = reader.current_revision();
    let rows = reader.range(&all()).unwrap();
    assert!(rows.revision >= asked);
    assert_eq!((rows.kvs.len(), rows.count), (KEYS, KEYS as i64));
    for kv in &rows.kvs {
        let kv = fields(kv);
        assert_eq!(kv.mod_revision, rows.revision);
        assert_eq!(kv.value, rows.revision.to_string().as_bytes());
    }
    let page = Range { limit: 10, ..Range::of(KeyRange::From(key(KEYS / 2).into())) };
    let page = reader.range(&page).unwrap();
    assert_eq!((page.kvs.len(), page.count, page.more), (10, (KEYS / 2) as i64, true));
}

/// A page of an old revision, as a client that pages through a list asks for it.
fn read_old(reader: &Reader) {
    let revision = (reader.current_revision() - 3).max(2);
    match reader.range(&Range { revision, limit: 1500, ..all() }) {
        Err(mvcc::Error::Compacted) => {}
        rows => {
            let rows = rows.unwrap();
            assert_eq!((rows.kvs.len(), rows.count), (1500, KEYS as i64));
            assert!(rows.kvs.iter().all(|kv| fields(kv).mod_revision == revision));
        }
    }
}

#[test]
fn readers_see_whole_transactions_through_compactions_and_commits() {
    let mut store = fresh();
    write_all(&mut store);
    let reader = store.reader.clone();
    let stop = AtomicBool::new(false);
    let (compactions, jobs) = std::sync::mpsc::channel::<mvcc::CompactJob>();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    read_all(&reader);
                    read_old(&reader);
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                reader.backend().seal();
                reader.backend().commit_sealed().unwrap();
            }
        });
        scope.spawn(|| {
            for mut job in jobs {
                while job.step(100).unwrap() != Progress::Done {
                    std::thread::yield_now();
                }
            }
        });
        for round in 0..ROUNDS {
            let revision = write_all(&mut store);
            if round % 3 == 0 {
                compactions.send(store.writer.compact(revision - 1).unwrap()).unwrap();
            }
        }
        drop(compactions);
        stop.store(true, Ordering::Relaxed);
    });
    read_all(&reader);
}

#[test]
fn hashes_do_not_depend_on_what_happens_meanwhile() {
    let mut store = fresh();
    for _ in 0..4 {
        write_all(&mut store);
    }
    let reader = store.reader.clone();
    let expected = reader.hash_kv(4).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(reader.hash_kv(4).unwrap(), expected);
            }
        });
        for _ in 0..10 {
            write_all(&mut store);
            reader.backend().seal();
            reader.backend().commit_sealed().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
}
