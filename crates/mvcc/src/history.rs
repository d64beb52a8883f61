//! The past, change by change, as watchers want it.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::hash::next_after;
use crate::kv::{KvFields, canonical_key_bytes};
use crate::record::RecordKey;
use crate::{Error, Event, EventKind, History, HistoryError, Previous, Reader, Revision};

/// Records that are read at a time, at most.
const READ_CHUNK: usize = 1001;

impl Reader {
    /// The changes from a revision on, ascending, whole revisions, of at most `limit` of them.
    /// Where fewer come, there was nothing more up to the revision that was current when the
    /// call began.
    pub fn history(&self, from: i64, limit: usize) -> Result<Vec<Event>, Error> {
        let current = self.current_revision();
        self.check_not_compacted(from)?;
        let mut events = Vec::new();
        let mut revisions = 0;
        let mut last = 0;
        let mut start = Some(RecordKey::put(Revision::new(from.max(0), 0)));
        let mut records = VecDeque::new();
        // Where a revision is one record, a chunk is what was asked for and the one that shows
        // where it ends: callers bound memory by the limit.
        let chunk_size = limit.saturating_add(1).clamp(2, READ_CHUNK);
        loop {
            let Some((key, value)) = records.pop_front() else {
                let Some(next) = start else { break };
                let chunk = self.shared.backend.scan(next, current, chunk_size)?;
                start = next_after(&chunk, chunk_size);
                if chunk.is_empty() {
                    break;
                }
                records.extend(chunk);
                continue;
            };
            if key.revision.main != last {
                if revisions == limit {
                    break;
                }
                revisions += 1;
                last = key.revision.main;
            }
            events.push(event_of(key, value)?);
        }
        // A compaction in the meantime may have made gaps.
        self.check_not_compacted(from)?;
        Ok(events)
    }

    fn check_not_compacted(&self, from: i64) -> Result<(), Error> {
        if from < self.compact_revision() { Err(Error::Compacted) } else { Ok(()) }
    }
}

fn event_of(key: RecordKey, value: Bytes) -> Result<Event, Error> {
    let fields = KvFields::parse(&value)?;
    let revision = key.revision;
    if key.tombstone {
        let fields =
            KvFields { key: fields.key, mod_revision: revision.main, ..KvFields::default() };
        let kv = fields.encode();
        let key = canonical_key_bytes(&kv);
        let previous = Previous::InHistory;
        return Ok(Event { kind: EventKind::Delete, revision, key, kv, previous });
    }
    let creates = fields.create_revision == fields.mod_revision;
    let previous = if creates { Previous::None } else { Previous::InHistory };
    let key = value.slice_ref(fields.key);
    Ok(Event { kind: EventKind::Put, revision, key, kv: value, previous })
}

impl History for Reader {
    fn current_revision(&self) -> i64 {
        self.current_revision()
    }

    fn compact_revision(&self) -> i64 {
        self.compact_revision()
    }

    fn history(&self, from: i64, limit: usize) -> Result<Vec<Event>, HistoryError> {
        self.history(from, limit).map_err(|error| match error {
            Error::Compacted => HistoryError::Compacted,
            error => HistoryError::Unreadable(error.to_string()),
        })
    }

    fn previous(&self, key: &[u8], main: i64) -> Option<Bytes> {
        // Compacted or unreadable: etcd's watchers get the event without its past then, too.
        self.previous(key, main).ok().flatten()
    }
}
