use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use crate::compact::CompactJob;
use crate::hash::HashKv;
use crate::index::Index;
use crate::{Backend, Error, Reader, Writer, restore};

/// What an operator may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Memory for newest values, so that reading them needs no db file.
    pub value_budget_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { value_budget_bytes: 1 << 30 }
    }
}

/// A store as it opens.
#[derive(Debug)]
pub struct Store {
    /// For the one thread that applies.
    pub writer: Writer,
    /// For everybody who reads.
    pub reader: Reader,
    /// Keys with a lease and that lease, in the order of the keys. They own their memory.
    pub attachments: Vec<(Bytes, i64)>,
    /// The rest of a compaction that was under way when the store was last closed.
    pub resumed_compaction: Option<CompactJob>,
}

impl Store {
    /// Reads the history of keys from the backend.
    pub fn open(backend: Backend, options: Options) -> Result<Self, Error> {
        let restored = restore::restore(&backend, options.value_budget_bytes)?;
        let attachments = restore::attachments(&restored.index)?;
        let shared = Arc::new(Shared {
            index: RwLock::new(restored.index),
            current: AtomicI64::new(restored.current),
            compacted: AtomicI64::new(restored.finished),
            backend,
            pins: Mutex::default(),
            hashes: Mutex::default(),
            compactions: Mutex::default(),
        });
        let mut writer = Writer::new(Arc::clone(&shared));
        let resumed_compaction = match restored.scheduled {
            Some(scheduled) if scheduled > restored.finished => Some(writer.compact(scheduled)?),
            _ => None,
        };
        Ok(Self { writer, reader: Reader::new(shared), attachments, resumed_compaction })
    }
}

/// What writer, readers and compactions have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    index: RwLock<Index>,
    /// The newest revision that readers may see. Changes above it are of a transaction that is
    /// still being applied.
    current: AtomicI64,
    /// The revision of the newest compaction, -1 for none. Moves under the index's write lock, so
    /// that who holds the read lock can rely on it.
    compacted: AtomicI64,
    pub(crate) backend: Backend,
    /// Revisions that somebody is reading without holding the index, and how many do.
    pins: Mutex<BTreeMap<i64, usize>>,
    /// Hashes that compactions took on their way, ascending.
    hashes: Mutex<VecDeque<HashKv>>,
    /// Compactions take turns.
    pub(crate) compactions: Mutex<VecDeque<i64>>,
}

const NO_PANIC: &str = "a panic while holding the lock ends the process";

impl Shared {
    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().expect(NO_PANIC)
    }

    pub(crate) fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().expect(NO_PANIC)
    }

    pub(crate) fn current(&self) -> i64 {
        self.current.load(Ordering::Acquire)
    }

    pub(crate) fn publish(&self, revision: i64) {
        self.current.store(revision, Ordering::Release);
    }

    pub(crate) fn compacted(&self) -> i64 {
        self.compacted.load(Ordering::Acquire)
    }

    /// No read below the revision begins from now on.
    pub(crate) fn raise_compacted(&self, revision: i64) {
        let _no_reader_in_between = self.index_mut();
        self.compacted.store(revision, Ordering::Release);
    }

    /// Keeps compactions above the revision from starting. To be called with the index held and
    /// the revision checked against [`compacted`](Self::compacted): then what was visible stays.
    pub(crate) fn pin(&self, revision: i64) -> Pin<'_> {
        *self.pins().entry(revision).or_default() += 1;
        Pin { shared: self, revision }
    }

    /// Whether somebody still reads below the revision.
    pub(crate) fn is_pinned_below(&self, revision: i64) -> bool {
        self.pins().first_key_value().is_some_and(|(pinned, _)| *pinned < revision)
    }

    fn pins(&self) -> MutexGuard<'_, BTreeMap<i64, usize>> {
        self.pins.lock().expect(NO_PANIC)
    }

    pub(crate) fn hashes(&self) -> MutexGuard<'_, VecDeque<HashKv>> {
        self.hashes.lock().expect(NO_PANIC)
    }

    pub(crate) fn compactions(&self) -> MutexGuard<'_, VecDeque<i64>> {
        self.compactions.lock().expect(NO_PANIC)
    }
}

/// A revision that stays readable.
#[derive(Debug)]
pub(crate) struct Pin<'a> {
    shared: &'a Shared,
    revision: i64,
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        let mut pins = self.shared.pins();
        if let Some(count) = pins.get_mut(&self.revision) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.revision);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use env::SimDisk;

    use super::*;
    use crate::Progress;

    fn three_puts() -> Store {
        let options = bolt::Options { grow_bytes: 64 << 10, ..bolt::Options::default() };
        let backend = Backend::open(Arc::new(SimDisk::new(1)), Path::new("/db"), options);
        let backend = backend.expect("a new file");
        let mut store = Store::open(backend, Options::default()).expect("an empty store");
        for value in [b"1", b"2", b"3"] {
            let mut txn = store.writer.txn();
            txn.put(b"key", value, 0);
            txn.finish();
        }
        store
    }

    #[test]
    fn a_compaction_waits_for_those_who_read_below_it() {
        let mut store = three_puts();
        let shared = Arc::clone(&store.reader.shared);
        let (below, at) = (shared.pin(2), shared.pin(3));
        let twice = shared.pin(2);
        let mut job = store.writer.compact(3).expect("not compacted");
        assert_eq!(job.step(100).expect("readable"), Progress::Waiting);
        drop(below);
        assert_eq!(job.step(100).expect("readable"), Progress::Waiting);
        drop(twice);
        while job.step(100).expect("readable") != Progress::Done {}
        assert_eq!(job.deleted(), 1);
        drop(at);
        assert!(shared.pins().is_empty());
    }

    #[test]
    fn a_read_leaves_no_pin_behind() {
        let store = three_puts();
        let old = store.reader.previous(b"key", 2).expect("readable").expect("it lived");
        assert!(old.ends_with(b"1"));
        store.reader.hash_kv(3).expect("readable");
        assert!(store.reader.shared.pins().is_empty());
    }
}
