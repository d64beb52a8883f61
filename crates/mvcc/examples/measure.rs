//! What the hot paths cost in time on the processor, without syncs:
//! `cargo run --release -p mvcc --example measure`, with `hot` or `cold` for memory.

use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use env::{Random, RealDisk};
use mvcc::{Backend, KeyRange, Options, Progress, Range, SortOrder, SortTarget, Store};

const VALUE: [u8; 256] = [b'v'; 256];

fn main() {
    if let Some(what) = std::env::args().nth(1) {
        return memory(&what);
    }
    let small = fill(10_000, usize::MAX, 64 << 20);
    ranges(&small);
    drop(small);
    let started = now();
    let mut large = fill(300_000, usize::MAX, 64 << 20);
    say("fill 300 k keys, with commits", now() - started, 300_000);
    pages(&large);
    writes(&mut large);
    past(&mut large);
}

/// Time that this thread spent on a processor.
fn now() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn say(what: &str, took: Duration, times: u32) {
    line(&format!("{what}: {:.3} us each", took.as_secs_f64() * 1e6 / f64::from(times)));
}

fn repeat(what: &str, times: u32, mut work: impl FnMut(u32)) {
    let started = now();
    (0..times).for_each(&mut work);
    say(what, now() - started, times);
}

fn key(n: u64) -> String {
    format!("/registry/{n:09}")
}

/// What the keys and values take, little else being there: each in a process of its own.
fn memory(what: &str) {
    let value_budget_bytes = if what == "cold" { 0 } else { usize::MAX };
    let before = resident_bytes();
    let store = fill(300_000, value_budget_bytes, 1 << 20);
    let taken = (resident_bytes() - before) as f64 / 300_000.0;
    let payload = key(0).len();
    line(&format!("keys of {payload} + 256 bytes, values {what}"));
    line(&format!("memory per key, with what commits left behind: {taken:.0} B"));
    let before = resident_bytes();
    let backend = store.reader.backend().clone();
    let again = Store::open(backend, Options { value_budget_bytes }).expect("readable");
    let taken = (resident_bytes() - before) as f64 / 300_000.0;
    line(&format!("memory per key, restored: {taken:.0} B"));
    drop((store, again));
}

/// A store with so many keys, written in no order, all of it in the db file.
fn fill(keys: u64, value_budget_bytes: usize, cache_bytes: usize) -> Store {
    let options = bolt::Options { no_sync: true, cache_bytes, ..bolt::Options::default() };
    let path = std::env::temp_dir().join(format!("mvcc-measure-{}", std::process::id()));
    let backend = Backend::open(Arc::new(RealDisk), &path, options).expect("a new file");
    std::fs::remove_file(path).expect("made just now");
    let mut store = Store::open(backend, Options { value_budget_bytes }).expect("an empty store");
    for n in 0..keys {
        let mut txn = store.writer.txn();
        txn.put(key(n * 7919 % keys).as_bytes(), &VALUE, 0);
        txn.finish();
        if n % 10_000 == 9_999 {
            commit(&store);
        }
    }
    commit(&store);
    store
}

fn commit(store: &Store) {
    store.reader.backend().seal();
    store.reader.backend().commit_sealed().expect("room in memory");
}

fn ranges(store: &Store) {
    let page = |n: u64| KeyRange::Between(key(n * 1000).into(), key(n * 1000 + 1000).into());
    let reader = &store.reader;
    repeat("range 1000 of 10 k keys", 2000, |n| {
        let rows = reader.range(&Range::of(page(u64::from(n) % 10))).expect("readable");
        assert_eq!(black_box(rows).kvs.len(), 1000);
    });
    repeat("range 1000 of 10 k keys, keys only", 1000, |n| {
        let request = Range { keys_only: true, ..Range::of(page(u64::from(n) % 10)) };
        assert_eq!(black_box(reader.range(&request).expect("readable")).kvs.len(), 1000);
    });
    repeat("range 1000 of 10 k keys, newest first", 1000, |n| {
        let (order, target) = (SortOrder::Descend, SortTarget::Mod);
        let request = Range { order, target, ..Range::of(page(u64::from(n) % 10)) };
        assert_eq!(black_box(reader.range(&request).expect("readable")).kvs.len(), 1000);
    });
    gets("get of 10 k keys", store, 10_000);
}

fn pages(store: &Store) {
    let reader = &store.reader;
    repeat("range with limit 1000 over 300 k keys", 2000, |n| {
        let from = KeyRange::From(key(u64::from(n) * 100).into());
        let rows = reader.range(&Range { limit: 1000, ..Range::of(from) }).expect("readable");
        assert_eq!(black_box(rows).kvs.len(), 1000);
    });
    repeat("count 300 k keys", 100_000, |n| {
        let from = KeyRange::From(key(u64::from(n)).into());
        let request = Range { count_only: true, ..Range::of(from) };
        assert!(black_box(reader.range(&request).expect("readable")).count > 100_000);
    });
    gets("get of 300 k keys", store, 300_000);
}

fn gets(what: &str, store: &Store, keys: u64) {
    let mut random = Random::new(1);
    let keys: Vec<Bytes> = (0..1_000_000).map(|_| key(random.below(keys)).into()).collect();
    repeat(what, 1_000_000, |n| {
        let request = Range::of(KeyRange::Single(keys[n as usize].clone()));
        assert_eq!(black_box(store.reader.range(&request).expect("readable")).count, 1);
    });
}

fn writes(store: &mut Store) {
    let mut random = Random::new(2);
    let keys: Vec<Bytes> = (0..300_000).map(|_| key(random.below(300_000)).into()).collect();
    let mut spent = Duration::ZERO;
    for chunk in keys.chunks(10_000) {
        let started = now();
        for key in chunk {
            let mut txn = store.writer.txn();
            txn.put(key, &VALUE, 0);
            black_box(txn.finish());
        }
        spent += now() - started;
        commit(store);
    }
    say("put over 300 k keys, commits not counted", spent, 300_000);
    let started = now();
    for chunk in keys.chunks(10_000).take(10) {
        for key in chunk {
            let mut txn = store.writer.txn();
            txn.put(key, &VALUE, 0);
            txn.finish();
        }
        commit(store);
    }
    say("put over 300 k keys, commits counted", now() - started, 100_000);
}

fn past(store: &mut Store) {
    let reader = store.reader.clone();
    let old = reader.current_revision() - 150_000;
    repeat("count 300 k keys, 150 k changes ago", 20, |_| {
        let request = Range { count_only: true, revision: old, ..Range::of(KeyRange::all()) };
        black_box(reader.range(&request).expect("readable"));
    });
    repeat("range with limit 1000, 150 k changes ago", 100, |n| {
        let from = KeyRange::From(key(u64::from(n) * 1000).into());
        let request = Range { limit: 1000, revision: old, ..Range::of(from) };
        black_box(reader.range(&request).expect("readable"));
    });
    repeat("history of 1000 revisions", 200, |n| {
        let from = old + i64::from(n) * 100;
        assert_eq!(black_box(reader.history(from, 1000).expect("readable")).len(), 1000);
    });
    let started = now();
    black_box(reader.hash_kv(0).expect("readable"));
    say("hash of 700 k records", now() - started, 1);
    let mut job = store.writer.compact(reader.current_revision()).expect("not compacted");
    let (mut longest, mut steps) = (Duration::ZERO, 0);
    let started = now();
    loop {
        let step = now();
        let progress = job.step(1000).expect("readable");
        longest = longest.max(now() - step);
        steps += 1;
        if progress == Progress::Done {
            break;
        }
    }
    line(&format!("{steps} steps, the longest {longest:?}"));
    say("compaction of 700 k records to 300 k, without commits", now() - started, 1);
    commit(store);
    let started = now();
    black_box(reader.hash_kv(0).expect("readable"));
    say("hash of 300 k records, all looked up", now() - started, 1);
    line(&format!("{} MB resident", resident_bytes() >> 20));
    let started = now();
    let backend = reader.backend().clone();
    let again = Store::open(backend, Options::default()).expect("readable");
    say("restore of 300 k keys", now() - started, 1);
    assert_eq!(again.reader.live_keys(), reader.live_keys());
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}
