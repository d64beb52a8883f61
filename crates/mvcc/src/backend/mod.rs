//! The db file with buffered writes in front.
//!
//! ```text
//!   apply thread                       db thread                      readers, any thread
//!   put, delete --> [ active ]                                            |
//!                       | seal                                            v
//!                   [ sealed ] -- commit_sealed --> [ db file ]     active, sealed, file:
//!                                                                   the first that knows a key
//! ```
//!
//! A write is visible at once and durable later (until then the WAL is what remembers it). All of
//! a sealed buffer reaches the file in one transaction: the caller puts the index of the last
//! applied entry into the buffer before sealing, so what is on disk is always the effect of whole
//! entries, and of exactly those up to that index.

mod bucket;
mod layer;
mod scan;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use env::Disk;

pub use bucket::Bucket;
pub(crate) use bucket::KEY_BUCKET;
use layer::{Layer, Said};

use crate::record::RecordKey;
use crate::{Error, Revision};

/// A db file and the writes that it does not have yet. Clones are the same backend.
#[derive(Debug, Clone)]
pub struct Backend {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    layers: RwLock<Layers>,
    db: bolt::Db,
    /// Held by the one who commits.
    committing: Mutex<()>,
    /// How many sealed buffers the file has taken in.
    commits: AtomicU64,
}

#[derive(Debug, Default)]
struct Layers {
    active: Layer,
    sealed: Option<Arc<Layer>>,
}

/// How much waits to be written to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pending {
    /// Puts and deletions.
    pub ops: usize,
    /// Their keys and values.
    pub bytes: usize,
}

impl Backend {
    /// Opens a db file, made where it is missing, with all the buckets that etcd has.
    pub fn open(
        disk: Arc<dyn Disk>,
        path: &Path,
        options: bolt::Options,
    ) -> Result<Self, bolt::OpenError> {
        let db = bolt::Db::open(disk, path, options)?;
        create_buckets(&db)
            .map_err(|source| bolt::OpenError::Unusable { path: path.to_owned(), source })?;
        let layers = RwLock::new(Layers::default());
        let (committing, commits) = (Mutex::new(()), AtomicU64::new(0));
        Ok(Self { shared: Arc::new(Shared { layers, db, committing, commits }) })
    }

    /// Writes a key. A reader sees it from now on.
    pub fn put(&self, bucket: Bucket, key: Bytes, value: Bytes) {
        self.write().active.put(bucket, key, value);
    }

    /// Deletes a key, which need not exist.
    pub fn delete(&self, bucket: Bucket, key: Bytes) {
        self.write().active.delete(bucket, key);
    }

    pub(crate) fn put_record(&self, key: RecordKey, value: Bytes) {
        self.write().active.put_record(key, value);
    }

    pub(crate) fn delete_records(&self, keys: &[RecordKey]) {
        let mut layers = self.write();
        keys.iter().for_each(|key| layers.active.delete_record(*key));
    }

    /// What has been written since the last [`seal`](Self::seal).
    pub fn pending(&self) -> Pending {
        let layers = self.read();
        Pending { ops: layers.active.ops, bytes: layers.active.bytes }
    }

    /// Closes the buffer of writes so that it can be committed. Returns whether that was done:
    /// not where there is nothing to write, or where the last sealed buffer still waits.
    pub fn seal(&self) -> bool {
        let mut layers = self.write();
        if layers.sealed.is_some() || layers.active.is_empty() {
            return false;
        }
        layers.sealed = Some(Arc::new(std::mem::take(&mut layers.active)));
        true
    }

    /// Writes the sealed buffer to the file; `None` where there is none. After an error the
    /// buffer is still there and still read: the call may be made again.
    pub fn commit_sealed(&self) -> Result<Option<bolt::CommitStats>, bolt::Error> {
        let _committing = self.commit_turn();
        let Some(sealed) = self.read().sealed.clone() else { return Ok(None) };
        let mut tx = self.shared.db.write();
        sealed.write_to(&mut tx)?;
        let stats = tx.commit()?;
        let done = self.write().sealed.take();
        self.shared.commits.fetch_add(1, Ordering::AcqRel);
        // Freeing thousands of buffers takes a while: not under the lock.
        drop(done);
        Ok(Some(stats))
    }

    /// How many sealed buffers the file has taken in since it was opened.
    pub fn commits(&self) -> u64 {
        self.shared.commits.load(Ordering::Acquire)
    }

    /// Whether this is the same backend, and not only one like it.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// The value at a key.
    pub fn get(&self, bucket: Bucket, key: &[u8]) -> Result<Option<Bytes>, bolt::Error> {
        let tx = {
            let layers = self.read();
            let said = layers.newest_first().find_map(|layer| layer.get(bucket, key));
            match said {
                Some(Said::Put(value)) => return Ok(Some(value)),
                Some(Said::Deleted) => return Ok(None),
                None => self.shared.db.read(),
            }
        };
        match tx.bucket(bucket.name())? {
            Some(bucket) => bucket.get(key),
            None => Ok(None),
        }
    }

    /// Keys and values between two bounds, ascending, at most `limit`.
    pub fn range(
        &self,
        bucket: Bucket,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, bolt::Error> {
        if is_inverted(start, end) {
            return Ok(Vec::new());
        }
        let mut said: BTreeMap<Bytes, Said<Bytes>> = BTreeMap::new();
        let tx = {
            let layers = self.read();
            for layer in layers.oldest_first() {
                let words = layer.range(bucket, start, end);
                said.extend(words.map(|(key, word)| (key.clone(), word.clone())));
            }
            self.shared.db.read()
        };
        let mut out = Vec::new();
        let mut said = said.into_iter().peekable();
        let in_file = tx.bucket(bucket.name())?.map(|bucket| bucket.range(start, end));
        for item in in_file.into_iter().flatten() {
            let (key, value) = item?;
            while let Some((key, word)) = said.next_if(|(said, _)| *said < key) {
                out.extend(put_of(key, word));
            }
            match said.next_if(|(said, _)| *said == key) {
                Some((key, word)) => out.extend(put_of(key, word)),
                None => out.push((key, value)),
            }
            if out.len() >= limit {
                break;
            }
        }
        out.extend(said.filter_map(|(key, word)| put_of(key, word)));
        out.truncate(limit);
        Ok(out)
    }

    /// The puts at these revisions, in the order of the question. Each must exist.
    pub(crate) fn records(&self, revisions: &[Revision]) -> Result<Vec<Bytes>, Error> {
        let mut out: Vec<Option<Bytes>> = Vec::with_capacity(revisions.len());
        let tx = {
            let layers = self.read();
            for revision in revisions {
                let key = RecordKey::put(*revision);
                let said = layers.newest_first().find_map(|layer| layer.record(key));
                out.push(match said {
                    Some(Said::Put(value)) => Some(value.clone()),
                    Some(Said::Deleted) => return Err(missing(*revision)),
                    None => None,
                });
            }
            out.iter().any(Option::is_none).then(|| self.shared.db.read())
        };
        let bucket = match tx {
            Some(tx) => tx.bucket(KEY_BUCKET)?,
            None => None,
        };
        for (value, revision) in out.iter_mut().zip(revisions) {
            if let (None, Some(bucket)) = (&value, &bucket) {
                *value = bucket.get(RecordKey::put(*revision).encode().as_ref())?;
            }
        }
        let found = out.into_iter().zip(revisions);
        found.map(|(value, revision)| value.ok_or_else(|| missing(*revision))).collect()
    }

    /// The file as the last commit left it.
    pub fn snapshot(&self) -> bolt::ReadTx {
        self.shared.db.read()
    }

    /// The db file itself, for what concerns the file alone: sizes, vacuum, check. Writing its
    /// buckets is up to [`commit_sealed`](Self::commit_sealed).
    pub fn db(&self) -> &bolt::Db {
        &self.shared.db
    }

    fn read(&self) -> RwLockReadGuard<'_, Layers> {
        self.shared.layers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Layers> {
        self.shared.layers.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit_turn(&self) -> MutexGuard<'_, ()> {
        self.shared.committing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Layers {
    fn newest_first(&self) -> impl Iterator<Item = &Layer> {
        std::iter::once(&self.active).chain(self.sealed.as_deref())
    }

    fn oldest_first(&self) -> impl Iterator<Item = &Layer> {
        self.sealed.as_deref().into_iter().chain([&self.active])
    }
}

fn create_buckets(db: &bolt::Db) -> Result<(), bolt::Error> {
    let there = db.read().buckets()?;
    let mut names = Bucket::ALL.map(Bucket::name).to_vec();
    names.push(KEY_BUCKET);
    names.retain(|name| !there.iter().any(|there| there == name));
    if names.is_empty() {
        return Ok(());
    }
    let mut tx = db.write();
    for name in names {
        tx.create_bucket(name)?;
    }
    tx.commit().map(drop)
}

/// Whether bounds are such that a `BTreeMap` refuses them; no key lies between them.
fn is_inverted(start: Bound<&[u8]>, end: Bound<&[u8]>) -> bool {
    match (start, end) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Excluded(start), Bound::Excluded(end)) => end <= start,
        (
            Bound::Included(start) | Bound::Excluded(start),
            Bound::Included(end) | Bound::Excluded(end),
        ) => end < start,
    }
}

fn put_of(key: Bytes, word: Said<Bytes>) -> Option<(Bytes, Bytes)> {
    match word {
        Said::Put(value) => Some((key, value)),
        Said::Deleted => None,
    }
}

fn missing(revision: Revision) -> Error {
    Error::Damaged(format!("the record of revision {revision:?} is missing"))
}
