//! How fast the db file is: `cargo run --release -p bolt --example measure [dir]`.
//!
//! Puts, gets, scans, deletes of the oldest keys, vacuum, and opening, on the real disk.

use std::error::Error;
use std::io::Write;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bolt::{Db, Options};
use bytes::Bytes;
use env::{Clock, Random, RealClock, RealDisk};

const KEYS: u64 = 500_000;
const BATCH: u64 = 10_000;
const VALUE_BYTES: usize = 300;

struct Stage {
    clock: RealClock,
    start: Duration,
    start_cpu: Duration,
}

impl Stage {
    fn begin() -> Self {
        let clock = RealClock::new();
        Self { start: clock.now(), clock, start_cpu: cpu_time() }
    }

    fn done(&mut self, what: &str, count: u64) {
        let took = self.clock.now() - self.start;
        let cpu = cpu_time() - self.start_cpu;
        let each = took.as_secs_f64() / count as f64;
        let line = format!(
            "{what:<46} {count:>8} in {:>7.1} ms: {:>8.0} /s, {:>6.2} us each, {:>6.2} us of CPU",
            took.as_secs_f64() * 1e3,
            1.0 / each,
            each * 1e6,
            cpu.as_secs_f64() * 1e6 / count as f64
        );
        let _ = writeln!(std::io::stdout(), "{line}");
        self.start = self.clock.now();
        self.start_cpu = cpu_time();
    }
}

/// How long this thread was on a processor: steady where the machine has other things to do.
fn cpu_time() -> Duration {
    let line = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = line.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(first.unwrap_or(0))
}

/// A revision as etcd writes it: main, underscore, sub.
fn key(main: u64) -> Bytes {
    let mut key = main.to_be_bytes().to_vec();
    key.push(b'_');
    key.extend_from_slice(&0u64.to_be_bytes());
    key.into()
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let path = dir.join(format!("bolt-measure-{}", std::process::id()));
    let done = run(&path);
    std::fs::remove_file(&path)?;
    done
}

fn open(path: &Path, cache_bytes: usize) -> Result<Db, bolt::OpenError> {
    Db::open(Arc::new(RealDisk), path, Options { cache_bytes, ..Options::default() })
}

fn run(path: &Path) -> Result<(), Box<dyn Error>> {
    let mut stage = Stage::begin();
    let mut db = open(path, 512 << 20)?;
    put(&db)?;
    stage.done("put, ascending keys, batches of 10k, synced", KEYS);

    let mut random = Random::new(1);
    get(&db, &mut random, 1_000_000)?;
    stage.done("get, random keys, all pages cached", 1_000_000);
    scan(&db)?;
    stage.done("scan, all pages cached", KEYS);
    drop(db);
    db = open(path, 16 << 20)?;
    let pages = db.size() / 4096;
    stage.done("open: walk of all pages", pages);
    get(&db, &mut random, 300_000)?;
    stage.done("get, random keys, a tenth of the pages cached", 300_000);
    scan(&db)?;
    stage.done("scan, a tenth of the pages cached", KEYS);

    delete(&db, 300_000)?;
    stage.done("delete of the oldest keys, batches of 10k", 300_000);
    let mut moved = 0;
    loop {
        let step = db.vacuum(256)?;
        moved += step.moved_pages;
        if !step.more {
            break;
        }
    }
    stage.done("vacuum in steps of 256 pages: pages moved", moved);
    let _ = writeln!(
        std::io::stdout(),
        "size {} in use {} file {}",
        db.size(),
        db.size_in_use(),
        std::fs::metadata(path)?.len()
    );
    random_puts(&db, &mut random)?;
    stage.done("put, random keys, batches of 10k, synced", 200_000);
    let problems = db.check();
    assert!(problems.is_empty(), "{problems:?}");
    stage.done("check, pages", db.size() / 4096);
    Ok(())
}

fn put(db: &Db) -> Result<(), bolt::Error> {
    let mut value = vec![0; VALUE_BYTES];
    let mut random = Random::new(1);
    for batch in 0..KEYS / BATCH {
        let mut tx = db.write();
        tx.create_bucket(b"key")?;
        tx.set_fill_percent(b"key", 90)?;
        for main in batch * BATCH..(batch + 1) * BATCH {
            random.fill(&mut value);
            tx.put(b"key", key(main), Bytes::copy_from_slice(&value))?;
        }
        tx.commit()?;
    }
    Ok(())
}

fn random_puts(db: &Db, random: &mut Random) -> Result<(), bolt::Error> {
    for _ in 0..200_000 / BATCH {
        let mut tx = db.write();
        tx.create_bucket(b"random")?;
        for _ in 0..BATCH {
            let value = Bytes::from(vec![1; 100]);
            tx.put(b"random", key(random.next_u64()), value)?;
        }
        tx.commit()?;
    }
    Ok(())
}

fn get(db: &Db, random: &mut Random, count: u64) -> Result<(), bolt::Error> {
    let tx = db.read();
    let Some(bucket) = tx.bucket(b"key")? else { return Ok(()) };
    for _ in 0..count {
        let value = bucket.get(&key(random.below(KEYS)))?;
        assert_eq!(value.map(|value| value.len()), Some(VALUE_BYTES));
    }
    Ok(())
}

fn scan(db: &Db) -> Result<(), bolt::Error> {
    let tx = db.read();
    let Some(bucket) = tx.bucket(b"key")? else { return Ok(()) };
    let mut bytes = 0;
    for item in bucket.range(Bound::Unbounded, Bound::Unbounded) {
        bytes += item?.1.len();
    }
    assert_eq!(bytes as u64, KEYS * VALUE_BYTES as u64);
    Ok(())
}

fn delete(db: &Db, count: u64) -> Result<(), bolt::Error> {
    for batch in 0..count / BATCH {
        let mut tx = db.write();
        tx.set_fill_percent(b"key", 90)?;
        for main in batch * BATCH..(batch + 1) * BATCH {
            assert!(tx.delete(b"key", &key(main))?);
        }
        tx.commit()?;
    }
    Ok(())
}
