//! From the `key` bucket back to the index.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::hash::next_after;
use crate::index::{Change, Index, Slot, Span};
use crate::kv::KvFields;
use crate::record::RecordKey;
use crate::{Backend, Bucket, Error, Revision};

/// In `meta`: the compaction that was asked for last, and the one that was finished last.
pub(crate) const SCHEDULED_COMPACTION: &[u8] = b"scheduledCompactRev";
pub(crate) const FINISHED_COMPACTION: &[u8] = b"finishedCompactRev";

/// What a db file says about the history of keys.
pub(crate) struct Restored {
    pub(crate) index: Index,
    pub(crate) current: i64,
    /// -1 where no compaction was ever finished.
    pub(crate) finished: i64,
    pub(crate) scheduled: Option<i64>,
}

/// Records that are read at a time.
const READ_CHUNK: usize = 10_000;

pub(crate) fn restore(backend: &Backend, value_budget: usize) -> Result<Restored, Error> {
    let finished = compaction(backend, FINISHED_COMPACTION)?.unwrap_or(-1);
    let scheduled = compaction(backend, SCHEDULED_COMPACTION)?;
    let mut index = Index::new(value_budget);
    let mut last = Revision::new(1, -1);
    let mut from = Some(RecordKey::put(Revision::default()));
    while let Some(start) = from {
        let records = backend.scan(start, i64::MAX, READ_CHUNK)?;
        for (key, value) in &records {
            if key.revision <= last || key.revision.main == i64::MAX {
                return Err(Error::Damaged(format!("record {key:?} stands after {last:?}")));
            }
            last = key.revision;
            take_in(&mut index, *key, KvFields::parse(value)?);
        }
        from = next_after(&records, READ_CHUNK);
    }
    // Compaction may have taken the newest records away, or be about to.
    let current = last.main.max(finished).max(scheduled.unwrap_or(0));
    Ok(Restored { index, current, finished, scheduled })
}

/// Reads one of the compaction marks.
pub(crate) fn compaction(backend: &Backend, mark: &[u8]) -> Result<Option<i64>, Error> {
    let Some(bytes) = backend.get(Bucket::Meta, mark)? else { return Ok(None) };
    let revision = RecordKey::parse(&bytes)?.revision.main;
    if revision == i64::MAX {
        return Err(Error::Damaged("a compaction at the end of time".into()));
    }
    Ok(Some(revision))
}

/// Writes one of the compaction marks.
pub(crate) fn mark_compaction(backend: &Backend, mark: &'static [u8], revision: i64) {
    let value = RecordKey::put(Revision::new(revision, 0)).encode();
    let value = Bytes::copy_from_slice(value.as_ref());
    backend.put(Bucket::Meta, Bytes::from_static(mark), value);
}

/// The index gets its own copy: a value from the file would hold a whole page in memory. A record
/// without a single byte is one that `snapshot restore --bump-revision` wrote: the empty key.
fn take_in(index: &mut Index, key: RecordKey, fields: KvFields<'_>) {
    let fields = match key.tombstone {
        true => KvFields { key: fields.key, ..KvFields::default() },
        false => fields,
    };
    let change = Change::new(key.revision, key.tombstone);
    index.change(fields.key, |_| Some((fields.encode(), change)));
}

/// Keys with a lease, and that lease.
pub(crate) fn attachments(index: &Index) -> Result<Vec<(Bytes, i64)>, Error> {
    let mut attachments = Vec::new();
    let mut see = |slot: &Slot| -> Result<(), Error> {
        let fields = KvFields::parse(slot.newest())?;
        if slot.is_live() && fields.lease != 0 {
            attachments.push((Bytes::copy_from_slice(fields.key), fields.lease));
        }
        Ok(())
    };
    let mut result = Ok(());
    let _ = index.visit(&Span::everything(), i64::MAX, &mut |slot| {
        result = see(slot);
        if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    result.map(|()| attachments)
}
