//! The store itself, with its reader as history.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use env::SimDisk;
use mvcc::{Backend, CompactJob, Event, History, KeyRange, Options, Progress, Store};

use crate::model::Machine;
use crate::store::{Keep, Op};

pub(crate) struct RealStore {
    store: Store,
    backend: Backend,
    jobs: Vec<CompactJob>,
    transactions: usize,
}

impl RealStore {
    pub(crate) fn new(value_budget_bytes: usize) -> Self {
        let disk = Arc::new(SimDisk::new(1));
        let options = bolt::Options { cache_bytes: 1 << 20, ..bolt::Options::default() };
        let backend = Backend::open(disk, Path::new("/db"), options).unwrap();
        let store = Store::open(backend.clone(), Options { value_budget_bytes }).unwrap();
        Self { store, backend, jobs: Vec::new(), transactions: 0 }
    }

    /// Compactions go on in small steps, and some of what is written reaches the file.
    fn work(&mut self) {
        self.transactions += 1;
        if self.transactions.is_multiple_of(5) {
            self.backend.seal();
        }
        if self.transactions.is_multiple_of(7) {
            self.backend.commit_sealed().unwrap();
        }
        self.jobs.retain_mut(|job| !matches!(job.step(3).unwrap(), Progress::Done));
    }
}

impl Machine for RealStore {
    fn apply(&mut self, ops: &[Op], _: Keep) -> (i64, Arc<[Event]>) {
        self.work();
        let mut txn = self.store.writer.txn();
        for op in ops {
            match op {
                Op::Put(key, value) => {
                    txn.put(key.as_bytes(), value.as_bytes(), 0);
                }
                Op::Delete(key) => {
                    txn.delete_range(&KeyRange::Single(Bytes::from(key.clone())));
                }
            }
        }
        let finished = txn.finish();
        (finished.revision, finished.events)
    }

    fn compact(&mut self, revision: i64) {
        self.jobs.push(self.store.writer.compact(revision).unwrap());
    }

    fn compact_revision(&self) -> i64 {
        self.store.reader.compact_revision()
    }

    fn history(&self) -> Arc<dyn History> {
        Arc::new(self.store.reader.clone())
    }
}
