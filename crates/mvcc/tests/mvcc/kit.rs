//! What the tests share.

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use env::{Disk, RealDisk, SimDisk};
use mvcc::{Backend, CompactJob, Error, KeyRange, KvFields, Options, Progress, Range, Store};

pub(crate) const PATH: &str = "/db";

/// A directory of its own for a test, gone afterwards.
pub(crate) struct TempDir(pub(crate) PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mvcc-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Small steps of growth: thousands of files are made in memory.
fn bolt_options() -> bolt::Options {
    bolt::Options { cache_bytes: 1 << 20, grow_bytes: 64 << 10, ..bolt::Options::default() }
}

pub(crate) fn open_backend(disk: &SimDisk) -> Backend {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Backend::open(disk, Path::new(PATH), bolt_options()).unwrap()
}

pub(crate) fn try_open(disk: &SimDisk) -> Result<Store, Error> {
    Store::open(open_backend(disk), Options::default())
}

pub(crate) fn open(disk: &SimDisk, value_budget_bytes: usize) -> Store {
    Store::open(open_backend(disk), Options { value_budget_bytes }).unwrap()
}

pub(crate) fn open_file(path: &Path) -> Store {
    let backend = Backend::open(Arc::new(RealDisk), path, bolt_options()).unwrap();
    Store::open(backend, Options::default()).unwrap()
}

/// A store that nobody else sees.
pub(crate) fn fresh() -> Store {
    open(&SimDisk::new(1), usize::MAX)
}

/// Writes everything to the db file.
pub(crate) fn flush(backend: &Backend) {
    backend.commit_sealed().unwrap();
    while backend.seal() {
        backend.commit_sealed().unwrap();
    }
}

pub(crate) fn finish(job: &mut CompactJob) {
    while job.step(10).unwrap() != Progress::Done {}
}

/// Puts each key in a transaction of its own.
pub(crate) fn put_each(store: &mut Store, keys: &[&str]) {
    for key in keys {
        let mut txn = store.writer.txn();
        txn.put(key.as_bytes(), b"value", 0);
        txn.finish();
    }
}

/// The raw records of the db file.
pub(crate) fn records(backend: &Backend) -> Vec<(Bytes, Bytes)> {
    let bucket = backend.snapshot().bucket(b"key").unwrap().unwrap();
    bucket.range(Bound::Unbounded, Bound::Unbounded).collect::<Result<_, _>>().unwrap()
}

pub(crate) fn single(key: &str) -> KeyRange {
    KeyRange::Single(Bytes::copy_from_slice(key.as_bytes()))
}

pub(crate) fn all() -> Range {
    Range::of(KeyRange::all())
}

pub(crate) fn fields(kv: &Bytes) -> KvFields<'_> {
    KvFields::parse(kv).unwrap()
}
