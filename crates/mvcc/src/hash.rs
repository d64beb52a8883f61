//! Hashes by which members find out whether they still agree.
//!
//! They must not depend on how far a compaction has come on this member's disk, so records that
//! one would drop are left out, whether or not they are still there.

use std::collections::BTreeSet;
use std::ops::Bound;

use bytes::Bytes;

use crate::backend::KEY_BUCKET;
use crate::index::{Span, WALK_CHUNK};
use crate::kv::KvFields;
use crate::record::RecordKey;
use crate::store::Shared;
use crate::{Bucket, Error, Reader, Revision};

/// Records that are read and hashed at a time.
const HASH_CHUNK: usize = 1000;
/// Keys that are looked up in one hold of the index.
pub(crate) const LOOKUP_CHUNK: usize = 64;
/// Compaction hashes that are kept.
const STORED_HASHES: usize = 10;
/// Keys of `meta` that differ between members that agree.
const IGNORED_META: [&[u8]; 3] = [b"consistent_index", b"term", b"storageVersion"];

/// A hash over the history of keys up to a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashKv {
    /// CRC-32C.
    pub hash: u32,
    /// What was compacted before; -1 for nothing. Hashes compare only where this is equal too.
    pub compact_revision: i64,
    /// The revision.
    pub revision: i64,
}

impl Reader {
    /// Hashes the history up to a revision; 0 is the current one. Reads all of it: this is for a
    /// thread that has time. Nobody waits for it.
    ///
    /// A compaction hash that was stored for exactly this revision is given instead, with the
    /// compaction before as its `compact_revision`.
    pub fn hash_kv(&self, revision: i64) -> Result<HashKv, Error> {
        let stored = self.shared.hashes().iter().find(|hash| hash.revision == revision).copied();
        match stored {
            Some(hash) => Ok(hash),
            None => self.shared.hash_kv(revision),
        }
    }

    /// Hashes that compactions took on their way, at most ten, ascending by revision.
    pub fn compaction_hashes(&self) -> Vec<HashKv> {
        self.shared.hashes().iter().copied().collect()
    }

    /// Hashes the whole db file as the last commit left it, but for what members need not have
    /// in common.
    pub fn hash(&self) -> Result<u32, Error> {
        let tx = self.shared.backend.snapshot();
        let mut crc = 0;
        for name in tx.buckets()? {
            crc = crc32c::crc32c_append(crc, &name);
            let Some(bucket) = tx.bucket(&name)? else { continue };
            for item in bucket.range(Bound::Unbounded, Bound::Unbounded) {
                let (key, value) = item?;
                let is_meta = name == Bucket::Meta.name();
                if !(is_meta && IGNORED_META.contains(&key.as_ref())) {
                    crc = crc32c::crc32c_append(crc, &key);
                    crc = crc32c::crc32c_append(crc, &value);
                }
            }
        }
        Ok(crc)
    }
}

/// What to leave out of a hash, and the hash so far.
#[derive(Debug)]
pub(crate) struct Hasher {
    crc: u32,
    compact_revision: i64,
    revision: i64,
}

impl Hasher {
    pub(crate) fn new(compact_revision: i64, revision: i64) -> Self {
        Self { crc: crc32c::crc32c(KEY_BUCKET), compact_revision, revision }
    }

    /// Whether it matters if the record is one that a compaction keeps.
    pub(crate) fn asks(&self, key: RecordKey) -> bool {
        key.revision.main <= self.compact_revision
    }

    /// Adds a record. `kept` matters only where [`asks`](Self::asks) says so.
    pub(crate) fn add(&mut self, key: RecordKey, value: &[u8], kept: bool) {
        let main = key.revision.main;
        let is_edge = key.tombstone && main == self.compact_revision;
        if main > self.revision || is_edge || (self.asks(key) && !kept) {
            return;
        }
        self.crc = crc32c::crc32c_append(self.crc, key.encode().as_ref());
        self.crc = crc32c::crc32c_append(self.crc, value);
    }

    pub(crate) fn finish(&self) -> HashKv {
        let Self { crc, compact_revision, revision } = *self;
        HashKv { hash: crc, compact_revision, revision }
    }
}

impl Shared {
    fn hash_kv(&self, revision: i64) -> Result<HashKv, Error> {
        let (compacted, revision, _pin) = {
            let _index = self.index();
            let current = self.current();
            let revision = if revision == 0 { current } else { revision };
            if revision > current {
                return Err(Error::FutureRevision);
            }
            let compacted = self.compacted();
            if revision > 0 && revision < compacted {
                return Err(Error::Compacted);
            }
            (compacted, revision, self.pin(compacted))
        };
        // Where nothing would be kept, etcd takes in all that the compaction has left.
        let keep = match self.hash_keeps_any(revision)? {
            true => Keep::HashAt(revision),
            false => Keep::CompactionAt(compacted),
        };
        let mut hasher = Hasher::new(compacted, revision);
        let mut from = Some(RecordKey::put(Revision::default()));
        while let Some(start) = from {
            let records = self.backend.scan(start, revision, HASH_CHUNK)?;
            from = next_after(&records, HASH_CHUNK);
            for chunk in records.chunks(LOOKUP_CHUNK) {
                let kept = self.kept(chunk, keep, |key| hasher.asks(key))?;
                for ((key, value), kept) in chunk.iter().zip(kept) {
                    hasher.add(*key, value, kept);
                }
            }
        }
        Ok(hasher.finish())
    }

    pub(crate) fn store_hash(&self, hash: HashKv) {
        let mut hashes = self.hashes();
        let at = hashes.partition_point(|stored| stored.revision <= hash.revision);
        hashes.insert(at, hash);
        if hashes.len() > STORED_HASHES {
            hashes.pop_front();
        }
    }

    /// Keys that lived at a revision.
    pub(crate) fn count_all(&self, revision: i64) -> usize {
        let mut sum = 0;
        let mut rest = Some(Span::everything());
        while let Some(span) = rest {
            let counted = self.index().count(&span, revision, WALK_CHUNK);
            sum += counted.count;
            rest = counted.rest;
        }
        sum
    }

    /// Keys that were deleted in a transaction, whether or not they were written again in it.
    pub(crate) fn deleted_in(&self, main: i64) -> Result<BTreeSet<Bytes>, Error> {
        let mut deleted = BTreeSet::new();
        let mut from = Some(RecordKey::put(Revision::new(main, 0)));
        while let Some(start) = from {
            let records = self.backend.scan(start, main, HASH_CHUNK)?;
            from = next_after(&records, HASH_CHUNK);
            for (_, value) in records.iter().filter(|(key, _)| key.tombstone) {
                deleted.insert(value.slice_ref(KvFields::parse(value)?.key));
            }
        }
        Ok(deleted)
    }

    /// Whether [`Keep::HashAt`] keeps a record of any key.
    fn hash_keeps_any(&self, revision: i64) -> Result<bool, Error> {
        let live = self.count_all(revision);
        if live == 0 {
            return Ok(false);
        }
        let mut reborn = 0;
        for key in self.deleted_in(revision)? {
            let index = self.index();
            reborn += usize::from(index.get(&key).is_some_and(|slot| slot.lives_at(revision)));
        }
        Ok(live > reborn)
    }

    /// Which records are kept; those that nobody asks for are said to be.
    pub(crate) fn kept(
        &self,
        records: &[(RecordKey, Bytes)],
        keep: Keep,
        asks: impl Fn(RecordKey) -> bool,
    ) -> Result<Vec<bool>, Error> {
        let index = self.index();
        let kept = records.iter().map(|(key, value)| {
            if !asks(*key) {
                return Ok(true);
            }
            if key.tombstone {
                return Ok(keep.keeps_tombstone(*key));
            }
            let slot = index.get(KvFields::parse(value)?.key);
            Ok(slot.is_some_and(|slot| match keep {
                Keep::CompactionAt(revision) => is_state_at(slot, revision, *key),
                Keep::HashAt(revision) => {
                    is_state_at(slot, revision, *key) && !slot.was_deleted_in(revision)
                }
            }))
        });
        kept.collect()
    }
}

/// Which records up to a revision are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Keep {
    /// Those that a compaction leaves: each key's newest; deletions only at the very revision.
    CompactionAt(i64),
    /// Those that a hash takes in: each key's newest. A key that was deleted in that very
    /// transaction is left out even where it was written again after: etcd does so.
    HashAt(i64),
}

impl Keep {
    fn keeps_tombstone(self, key: RecordKey) -> bool {
        matches!(self, Self::CompactionAt(revision) if key.revision.main == revision)
    }
}

fn is_state_at(slot: &crate::index::Slot, revision: i64, key: RecordKey) -> bool {
    slot.change_at(revision).is_some_and(|change| change.revision() == key.revision)
}

/// Where a scan goes on; `None` where it came to the end.
pub(crate) fn next_after(records: &[(RecordKey, Bytes)], limit: usize) -> Option<RecordKey> {
    let (last, _) = records.last().filter(|_| records.len() >= limit)?;
    Some(last.next())
}
