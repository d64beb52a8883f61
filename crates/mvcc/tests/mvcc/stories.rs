//! Claims one by one.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use env::{Disk, SimDisk};
use mvcc::{Backend, Bucket, Error, KeyRange, Progress, Range, SortOrder, SortTarget, Store};

use crate::kit::{
    PATH, all, fields, finish, flush, fresh, open, open_backend, put_each, records, single,
    try_open,
};

fn keys(kvs: &[Bytes]) -> Vec<String> {
    kvs.iter().map(|kv| String::from_utf8(fields(kv).key.to_vec()).unwrap()).collect()
}

/// Writes records into a db file past the store.
fn plant(disk: &SimDisk, records: &[(&[u8], &[u8])]) {
    drop(open_backend(disk));
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let db = bolt::Db::open(disk, Path::new(PATH), bolt::Options::default()).unwrap();
    let mut tx = db.write();
    for (key, value) in records {
        tx.put(b"key", Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)).unwrap();
    }
    tx.commit().unwrap();
}

#[test]
fn records_are_etcds_byte_for_byte() {
    let mut store = fresh();
    put_each(&mut store, &["a"]);
    let mut txn = store.writer.txn();
    txn.put(b"b", b"", 7);
    txn.delete_range(&single("a"));
    txn.finish();
    flush(store.reader.backend());
    let expected: [(&[u8], &[u8]); 3] = [
        (b"\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\0", b"\x0a\x01a\x10\x02\x18\x02\x20\x01\x2a\x05value"),
        (b"\0\0\0\0\0\0\0\x03_\0\0\0\0\0\0\0\0", b"\x0a\x01b\x10\x03\x18\x03\x20\x01\x30\x07"),
        (b"\0\0\0\0\0\0\0\x03_\0\0\0\0\0\0\0\x01t", b"\x0a\x01a"),
    ];
    let found = records(store.reader.backend());
    let found: Vec<(&[u8], &[u8])> =
        found.iter().map(|(key, value)| (key.as_ref(), value.as_ref())).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_bumped_revision_is_no_damage() {
    let disk = SimDisk::new(3);
    plant(
        &disk,
        &[
            (b"\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\0", b"\x0a\x01a\x10\x02\x18\x02\x20\x01\x2a\x01v"),
            (b"\0\0\0\0\x3b\x9a\xca\x02_\0\0\0\0\0\0\0\0", b""),
        ],
    );
    let mut store = try_open(&disk).unwrap();
    assert_eq!(store.reader.current_revision(), 1_000_000_002);
    assert_eq!(keys(&store.reader.range(&all()).unwrap().kvs), ["a"]);
    put_each(&mut store, &["b"]);
    let mut job = store.writer.compact(1_000_000_002).unwrap();
    finish(&mut job);
    flush(store.reader.backend());
    assert_eq!(records(store.reader.backend()).len(), 3, "etcd keeps the empty record as well");
    let kv = store.reader.previous(b"b", 1_000_000_003).unwrap().unwrap();
    assert_eq!(fields(&kv).create_revision, 1_000_000_003);
}

#[test]
fn records_that_cannot_be_are_refused_not_fatal() {
    let put: &[u8] = b"\x0a\x01a\x10\x02\x18\x02\x20\x01\x2a\x01v";
    let bad: [(&[u8], &[u8]); 6] = [
        (b"short", put),
        (b"\xff\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\0", put),
        (b"\0\0\0\0\0\0\0\x02-\0\0\0\0\0\0\0\0", put),
        (b"\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\0", b"\x0a\x05a"),
        (b"\x7f\xff\xff\xff\xff\xff\xff\xff_\0\0\0\0\0\0\0\0", put),
        (b"\0\0\0\0\0\0\0\0_\0\0\0\0\0\0\0\0", put),
    ];
    for (at, record) in bad.iter().enumerate() {
        let disk = SimDisk::new(at as u64);
        plant(&disk, &[*record]);
        assert!(matches!(try_open(&disk), Err(Error::Damaged(_))), "record {at}");
    }
    let marks = SimDisk::new(98);
    let backend = open_backend(&marks);
    let mark = b"\x7f\xff\xff\xff\xff\xff\xff\xff_\0\0\0\0\0\0\0\0";
    backend.put(Bucket::Meta, "scheduledCompactRev".into(), Bytes::from_static(mark));
    flush(&backend);
    drop(backend);
    assert!(matches!(try_open(&marks), Err(Error::Damaged(_))));
    let twice = SimDisk::new(99);
    let key: &[u8] = b"\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\0t";
    plant(&twice, &[(&key[..17], put), (key, b"\x0a\x01a")]);
    assert!(matches!(try_open(&twice), Err(Error::Damaged(_))));
}

#[test]
fn a_damaged_file_gives_errors_not_panics() {
    let disk = SimDisk::new(11);
    let mut store = open(&disk, 0);
    for round in 0..30 {
        put_each(&mut store, &["a", "b", "c", "d", if round % 2 == 0 { "e" } else { "f" }]);
    }
    flush(store.reader.backend());
    drop(store);
    for seed in 0..200 {
        let hurt = disk.kill();
        let hurt = SimDisk::clone(&hurt);
        for _ in 0..=seed % 4 {
            hurt.flip_any_bit(Path::new(PATH)).unwrap();
        }
        let arc: Arc<dyn Disk> = Arc::new(hurt);
        let Ok(backend) = Backend::open(arc, Path::new(PATH), bolt::Options::default()) else {
            continue;
        };
        let options = mvcc::Options { value_budget_bytes: 0 };
        let Ok(mut store) = Store::open(backend, options) else { continue };
        let revision = store.reader.current_revision();
        let _ = store.reader.range(&Range { revision: revision / 2, ..all() });
        let _ = store.reader.history(2, 1000);
        let _ = store.reader.hash_kv(0);
        let _ = store.reader.hash();
        if let Ok(mut job) = store.writer.compact(revision / 2) {
            while matches!(job.step(100), Ok(Progress::More)) {}
        }
    }
}

#[test]
fn a_full_disk_is_told_and_survived() {
    let disk = SimDisk::new(5);
    let mut store = open(&disk, 0);
    disk.set_capacity(Some(disk.used()));
    let mut txn = store.writer.txn();
    for n in 0..2000 {
        txn.put(format!("{n:04}").as_bytes(), &[b'x'; 200], 0);
    }
    txn.finish();
    assert!(store.reader.backend().seal());
    let error = store.reader.backend().commit_sealed().unwrap_err();
    assert!(error.is_disk_full(), "{error}");
    assert!(!store.reader.backend().seal(), "the sealed buffer still waits");
    put_each(&mut store, &["later"]);
    let rows = store.reader.range(&all()).unwrap();
    assert_eq!(rows.kvs.len(), 2001);
    disk.set_capacity(None);
    flush(store.reader.backend());
    drop(store);
    let store = open(&disk, 0);
    assert_eq!(store.reader.range(&all()).unwrap(), rows);
}

#[test]
fn ranges_page_across_the_chunks_of_a_walk() {
    let mut store = fresh();
    let names: Vec<String> = (0..3003).map(|n| format!("{n:04}")).collect();
    put_each(&mut store, &names.iter().map(String::as_str).collect::<Vec<_>>());
    for limit in [1, 999, 1000, 1001, 2000, 3002, 3003, 3004] {
        let rows = store.reader.range(&Range { limit, ..all() }).unwrap();
        assert_eq!(rows.kvs.len(), names.len().min(limit as usize));
        assert_eq!((rows.count, rows.more), (3003, limit < 3003), "limit {limit}");
        let sorted = Range { limit, order: SortOrder::Descend, target: SortTarget::Mod, ..all() };
        let sorted = store.reader.range(&sorted).unwrap();
        let expected: Vec<&String> = names.iter().rev().take(limit as usize).collect();
        assert_eq!(keys(&sorted.kvs).iter().collect::<Vec<_>>(), expected);
        assert_eq!((sorted.count, sorted.more), (3003, limit < 3003), "limit {limit}");
    }
}

#[test]
fn the_length_of_a_range_is_known_before_it_is_read() {
    let mut store = fresh();
    let names: Vec<String> = (0..3000).map(|number| format!("k{number:04}")).collect();
    put_each(&mut store, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let ahead = |range: &Range| store.reader.rows_ahead(range, 2000);
    let from = |key: &'static str| Range::of(KeyRange::From(Bytes::from_static(key.as_bytes())));
    let sorted = |limit| Range { limit, order: SortOrder::Descend, ..from("k") };
    assert!(ahead(&from("k")) > 2000);
    assert_eq!(ahead(&from("k2900")), 100);
    assert_eq!(ahead(&Range { limit: 10, ..from("k") }), 11);
    assert!(ahead(&sorted(10)) > 2000, "all rows are looked at");
    assert!(ahead(&Range { limit: i64::MAX, min_mod_revision: 7, ..from("k") }) > 2000);
    assert_eq!(ahead(&Range { count_only: true, ..from("k") }), 2000, "counts are at hand");
    assert!(ahead(&Range { count_only: true, revision: 5, ..from("k") }) > 2000);
    assert_eq!(ahead(&Range::of(single("k0001"))), 1);
    let inverted = KeyRange::Between(Bytes::from_static(b"l"), Bytes::from_static(b"k"));
    assert_eq!(ahead(&Range::of(inverted)), 0);
}

#[test]
fn a_sort_with_a_small_limit_forgets_what_cannot_come_back() {
    let mut store = fresh();
    let names: Vec<String> = (0..20_000).map(|n| format!("{:05}", n * 7919 % 20_000)).collect();
    put_each(&mut store, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let request = Range { limit: 3, order: SortOrder::Ascend, target: SortTarget::Create, ..all() };
    let rows = store.reader.range(&request).unwrap();
    assert_eq!(keys(&rows.kvs), names[..3]);
    assert_eq!((rows.count, rows.more), (20_000, true));
}

#[test]
fn a_range_is_deleted_in_the_order_of_its_keys() {
    let mut store = fresh();
    let names: Vec<String> = (0..200).map(|n| format!("{:03}", n * 77 % 200)).collect();
    put_each(&mut store, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut txn = store.writer.txn();
    assert_eq!(txn.delete_range(&KeyRange::all()).len(), 200);
    assert!(txn.delete_range(&KeyRange::all()).is_empty());
    let finished = txn.finish();
    let order: Vec<i64> = finished.events.iter().map(|event| event.revision.sub).collect();
    assert_eq!(order, (0..200).collect::<Vec<_>>());
    assert!(finished.events.windows(2).all(|pair| pair[0].key < pair[1].key));
    assert_eq!(store.reader.live_keys(), 0);
}

#[test]
fn a_transaction_dropped_half_done_is_the_last() {
    let mut store = fresh();
    assert!(store.writer.txn().delete_range(&KeyRange::all()).is_empty());
    store.writer.txn().put(b"a", b"1", 0);
    assert!(store.reader.range(&all()).unwrap().kvs.is_empty(), "nobody sees it");
    let next = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = store.writer.txn();
    }));
    assert!(next.is_err());
}

#[test]
fn compaction_hides_at_once_and_drops_in_steps() {
    let mut store = fresh();
    put_each(&mut store, &["a", "a", "a", "b"]);
    let mut job = store.writer.compact(4).unwrap();
    let old = Range { revision: 3, ..all() };
    assert!(matches!(store.reader.range(&old), Err(Error::Compacted)));
    assert_eq!(store.reader.range(&Range { revision: 4, ..all() }).unwrap().count, 1);
    flush(store.reader.backend());
    assert_eq!(records(store.reader.backend()).len(), 4);
    finish(&mut job);
    flush(store.reader.backend());
    assert_eq!((records(store.reader.backend()).len(), job.deleted()), (2, 2));
    assert!(matches!(store.writer.compact(4), Err(Error::Compacted)));
    assert!(matches!(store.writer.compact(6), Err(Error::FutureRevision)));
}

#[test]
fn compactions_take_turns_and_a_dropped_one_makes_way() {
    let mut store = fresh();
    put_each(&mut store, &["a", "a", "a", "a"]);
    let first = store.writer.compact(3).unwrap();
    let mut second = store.writer.compact(4).unwrap();
    assert_eq!(second.step(10).unwrap(), Progress::Waiting);
    drop(first);
    finish(&mut second);
    assert_eq!(second.hash(), None, "the one before had not finished");
    flush(store.reader.backend());
    assert_eq!(records(store.reader.backend()).len(), 2);
    let mut third = store.writer.compact(5).unwrap();
    finish(&mut third);
    assert_eq!(store.reader.compaction_hashes(), [third.hash().unwrap()]);
    assert_eq!(store.reader.hash_kv(5).unwrap().compact_revision, 4, "the stored one");
    assert_eq!(store.reader.hash_kv(0).unwrap().compact_revision, 5, "a new one");
}

#[test]
fn a_compaction_goes_on_after_a_restart() {
    let disk = SimDisk::new(8);
    let mut store = open(&disk, usize::MAX);
    put_each(&mut store, &["a", "a", "a", "b"]);
    drop(store.writer.compact(4).unwrap());
    flush(store.reader.backend());
    drop(store);
    let store = open(&disk, usize::MAX);
    assert_eq!(store.reader.compact_revision(), 4);
    let mut job = store.resumed_compaction.unwrap();
    finish(&mut job);
    flush(store.reader.backend());
    assert_eq!(records(store.reader.backend()).len(), 2);
    drop((job, store.reader, store.writer));
    assert!(open(&disk, usize::MAX).resumed_compaction.is_none());
}

#[test]
fn the_revision_stays_when_compaction_took_its_records() {
    let disk = SimDisk::new(9);
    let mut store = open(&disk, usize::MAX);
    put_each(&mut store, &["a"]);
    store.writer.txn().finish();
    let mut txn = store.writer.txn();
    txn.delete_range(&single("a"));
    txn.put(b"b", b"", 0);
    txn.delete_range(&single("b"));
    assert_eq!(txn.finish().revision, 3);
    finish(&mut store.writer.compact(3).unwrap());
    flush(store.reader.backend());
    drop(store);
    let store = open(&disk, usize::MAX);
    assert_eq!((store.reader.current_revision(), store.reader.live_keys()), (3, 0));
}

#[test]
fn buckets_read_through_the_buffers() {
    let disk = SimDisk::new(10);
    let backend = open_backend(&disk);
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let put = |key: &str, value: &str| backend.put(Bucket::Lease, bytes(key), bytes(value));
    for key in ["a", "b", "c", "d"] {
        put(key, "file");
    }
    flush(&backend);
    put("b", "sealed");
    backend.delete(Bucket::Lease, bytes("c"));
    put("e", "sealed");
    assert!(backend.seal());
    put("a", "active");
    put("c", "active");
    backend.delete(Bucket::Lease, bytes("e"));
    assert!(!backend.seal(), "one at a time");
    assert_eq!(backend.pending().ops, 3);
    let found = |start: &str, limit| {
        let start = std::ops::Bound::Included(start.as_bytes());
        let all = backend.range(Bucket::Lease, start, std::ops::Bound::Unbounded, limit).unwrap();
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        all.iter().map(|(key, value)| text(key) + "=" + &text(value)).collect::<Vec<_>>().join(" ")
    };
    for _ in 0..3 {
        assert_eq!(found("a", 9), "a=active b=sealed c=active d=file");
        assert_eq!(found("b", 2), "b=sealed c=active");
        assert_eq!(backend.get(Bucket::Lease, b"e").unwrap(), None);
        assert_eq!(backend.get(Bucket::Lease, b"c").unwrap().unwrap(), "active");
        backend.commit_sealed().unwrap();
        backend.seal();
    }
    assert_eq!(backend.get(Bucket::Meta, b"a").unwrap(), None);
}
