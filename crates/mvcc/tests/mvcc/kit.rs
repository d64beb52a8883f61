//! What the tests share.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use env::{Disk, SimDisk};
use mvcc::{Backend, Options, Store};

pub(crate) const PATH: &str = "/db";

pub(crate) fn open_backend(disk: &SimDisk) -> Backend {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let options =
        bolt::Options { cache_bytes: 1 << 20, grow_bytes: 64 << 10, ..bolt::Options::default() };
    Backend::open(disk, Path::new(PATH), options).unwrap()
}

pub(crate) fn open(disk: &SimDisk, value_budget_bytes: usize) -> Store {
    Store::open(open_backend(disk), Options { value_budget_bytes }).unwrap()
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

/// The raw records of the db file.
pub(crate) fn records(backend: &Backend) -> Vec<(Bytes, Bytes)> {
    let bucket = backend.snapshot().bucket(b"key").unwrap().unwrap();
    bucket.range(Bound::Unbounded, Bound::Unbounded).collect::<Result<_, _>>().unwrap()
}
