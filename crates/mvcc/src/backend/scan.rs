//! Records in the order of time, from all layers and the file.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::{Backend, KEY_BUCKET};
use crate::Error;
use crate::record::RecordKey;

impl Backend {
    /// Up to `limit` records from a key on with main revisions up to `last`. Fewer only where
    /// there are no more.
    pub(crate) fn scan(
        &self,
        from: RecordKey,
        last: i64,
        limit: usize,
    ) -> Result<Vec<(RecordKey, Bytes)>, Error> {
        let mut deleted: Vec<Arc<BTreeSet<RecordKey>>> = Vec::new();
        let mut pending = Vec::new();
        let is_deleted = |deleted: &[Arc<BTreeSet<RecordKey>>], key: &RecordKey| {
            deleted.iter().any(|keys| keys.contains(key))
        };
        let tx = {
            let layers = self.read();
            deleted.extend(layers.oldest_first().map(|layer| Arc::clone(layer.deleted_records())));
            deleted.retain(|keys| !keys.is_empty());
            for layer in layers.oldest_first() {
                let records = layer.records_from(from).iter();
                let kept = records.filter(|(key, _)| !is_deleted(&deleted, key));
                pending.extend(kept.take(limit).cloned());
            }
            self.shared.db.read()
        };
        let mut out = Vec::new();
        if let Some(bucket) = tx.bucket(KEY_BUCKET)? {
            let from = from.encode();
            for item in bucket.range(Bound::Included(from.as_ref()), Bound::Unbounded) {
                let (key, value) = item?;
                let key = RecordKey::parse(&key)?;
                if key.revision.main > last || out.len() >= limit {
                    break;
                }
                if !is_deleted(&deleted, &key) {
                    out.push((key, value));
                }
            }
        }
        // A commit may have happened that has not dropped its buffer yet: then the file has what
        // the buffer has. All else in the buffers is later than the file.
        let in_file = out.last().map(|(key, _)| *key);
        pending.retain(|(key, _)| {
            key.revision.main <= last && in_file.is_none_or(|in_file| *key > in_file)
        });
        out.extend(pending);
        out.truncate(limit);
        Ok(out)
    }
}
