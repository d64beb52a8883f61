//! Writes that the db file does not have yet.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::bucket::{Bucket, KEY_BUCKET};
use crate::record::RecordKey;

/// Records are appended: a page that is full is hardly ever split again, so it may be quite full.
const RECORDS_FILL_PERCENT: u8 = 90;

/// What a layer says about a key; `None` where it has nothing to say.
pub(super) type Word<T> = Option<Said<T>>;

/// A key was put, or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said<T> {
    Put(T),
    Deleted,
}

/// A bundle of writes. Records come in ascending order and are never written twice, so they
/// stand in a plain list; compaction deletes them wherever they are. All else is little.
#[derive(Debug, Default)]
pub(super) struct Layer {
    records: Vec<(RecordKey, Bytes)>,
    /// Shared with scans: a scan never waits, a deletion during one copies.
    deleted_records: Arc<BTreeSet<RecordKey>>,
    others: [BTreeMap<Bytes, Said<Bytes>>; Bucket::ALL.len()],
    pub(super) ops: usize,
    pub(super) bytes: usize,
}

impl Layer {
    pub(super) fn put_record(&mut self, key: RecordKey, value: Bytes) {
        assert!(
            self.records.last().is_none_or(|(last, _)| *last < key),
            "record {key:?} is written after a later one"
        );
        self.note(key.encode().as_ref().len() + value.len());
        self.records.push((key, value));
    }

    pub(super) fn delete_record(&mut self, key: RecordKey) {
        self.note(key.encode().as_ref().len());
        Arc::make_mut(&mut self.deleted_records).insert(key);
    }

    pub(super) fn put(&mut self, bucket: Bucket, key: Bytes, value: Bytes) {
        self.note(key.len() + value.len());
        self.others[bucket as usize].insert(key, Said::Put(value));
    }

    pub(super) fn delete(&mut self, bucket: Bucket, key: Bytes) {
        self.note(key.len());
        self.others[bucket as usize].insert(key, Said::Deleted);
    }

    fn note(&mut self, bytes: usize) {
        self.ops += 1;
        self.bytes += bytes;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ops == 0
    }

    pub(super) fn record(&self, key: RecordKey) -> Word<&Bytes> {
        if self.deleted_records.contains(&key) {
            return Some(Said::Deleted);
        }
        let at = self.records.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        Some(Said::Put(&self.records[at].1))
    }

    pub(super) fn get(&self, bucket: Bucket, key: &[u8]) -> Word<Bytes> {
        self.others[bucket as usize].get(key).cloned()
    }

    pub(super) fn range(
        &self,
        bucket: Bucket,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
    ) -> impl Iterator<Item = (&Bytes, &Said<Bytes>)> {
        self.others[bucket as usize].range::<[u8], _>((start, end))
    }

    /// Records from a key on, deleted ones among them.
    pub(super) fn records_from(&self, from: RecordKey) -> &[(RecordKey, Bytes)] {
        &self.records[self.records.partition_point(|(key, _)| *key < from)..]
    }

    pub(super) fn deleted_records(&self) -> &Arc<BTreeSet<RecordKey>> {
        &self.deleted_records
    }

    /// Writes everything into a transaction of the db file.
    pub(super) fn write_to(&self, tx: &mut bolt::WriteTx) -> Result<(), bolt::Error> {
        tx.set_fill_percent(KEY_BUCKET, RECORDS_FILL_PERCENT)?;
        for (key, value) in &self.records {
            if !self.deleted_records.contains(key) {
                let key = Bytes::copy_from_slice(key.encode().as_ref());
                tx.put(KEY_BUCKET, key, value.clone())?;
            }
        }
        for key in self.deleted_records.iter() {
            tx.delete(KEY_BUCKET, key.encode().as_ref())?;
        }
        for bucket in Bucket::ALL {
            for (key, said) in &self.others[bucket as usize] {
                match said {
                    Said::Put(value) => tx.put(bucket.name(), key.clone(), value.clone())?,
                    Said::Deleted => tx.delete(bucket.name(), key).map(drop)?,
                }
            }
        }
        Ok(())
    }
}
