//! The log in memory: what a driver keeps beside its write-ahead log, and all that tests need.

use super::{Snapshot, SnapshotMeta, Storage};
use crate::conf_change::ConfState;
use crate::entry::{Entry, Payload};
use crate::error::StorageError;
use crate::types::{EntryId, HardState, LogIndex, Term};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::Range;

/// A [`Storage`] in memory. It writes nothing to disk: a driver with a write-ahead log appends
/// here what it has appended there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MemStorage<P> {
    hard_state: HardState,
    conf_state: ConfState,
    snapshot: Option<Snapshot<P>>,
    /// The entry before the first one: compacted, or under the snapshot.
    before: EntryId,
    /// `entries[i]` has index `before.index + 1 + i`.
    entries: VecDeque<Entry<P>>,
    /// The sizes of the entries, together.
    bytes: u64,
}

impl<P> Default for MemStorage<P> {
    fn default() -> Self {
        Self {
            hard_state: HardState::default(),
            conf_state: ConfState::default(),
            snapshot: None,
            before: EntryId::default(),
            entries: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl<P: Payload> MemStorage<P> {
    /// An empty log without members.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty log after `meta`, for a start from a stored snapshot.
    pub fn at(meta: SnapshotMeta) -> Self {
        Self { before: meta.id, conf_state: meta.conf_state, ..Self::default() }
    }

    pub fn hard_state(&self) -> HardState {
        self.hard_state
    }

    pub fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }

    pub fn conf_state(&self) -> &ConfState {
        &self.conf_state
    }

    /// The membership that a node started on this storage begins with. It must belong to the same
    /// applied index that the node is started with.
    pub fn set_conf_state(&mut self, conf_state: ConfState) {
        self.conf_state = conf_state;
    }

    /// Appends what a leader or a recovered log says; whatever stood at the same or a later index
    /// is replaced, entries that are compacted already are skipped.
    pub fn append(
        &mut self,
        entries: impl IntoIterator<Item = Entry<P>>,
    ) -> Result<(), StorageError> {
        for entry in entries {
            if entry.id.index <= self.before.index {
                continue;
            }
            let at = entry.id.index - self.first_index();
            if at > self.entries.len() as u64 {
                // A hole in the log: refuse, rather than make one.
                return Err(StorageError::Unavailable);
            }
            let replaced = self.entries.drain(at as usize..);
            self.bytes -= replaced.map(|entry| entry.size()).sum::<u64>();
            self.bytes += entry.size();
            self.entries.push_back(entry);
        }
        Ok(())
    }

    /// Replaces everything by a snapshot that was received.
    pub fn apply_snapshot(&mut self, snapshot: Snapshot<P>) -> Result<(), StorageError> {
        let have = self.snapshot.as_ref().map_or(LogIndex::ZERO, |s| s.meta.id.index);
        if have != LogIndex::ZERO && have >= snapshot.meta.id.index {
            return Err(StorageError::SnapshotOutOfDate);
        }
        self.before = snapshot.meta.id;
        self.conf_state = snapshot.meta.conf_state.clone();
        self.entries.clear();
        self.bytes = 0;
        self.snapshot = Some(snapshot);
        Ok(())
    }

    /// Notes a snapshot that the application has made at an applied index; the log stays.
    pub fn create_snapshot(
        &mut self,
        index: LogIndex,
        conf_state: ConfState,
        data: P,
    ) -> Result<&Snapshot<P>, StorageError> {
        if self.snapshot.as_ref().is_some_and(|s| index <= s.meta.id.index) {
            return Err(StorageError::SnapshotOutOfDate);
        }
        let id = EntryId { term: self.term(index)?, index };
        Ok(self.snapshot.insert(Snapshot { meta: SnapshotMeta { id, conf_state }, data }))
    }

    /// Forgets the entries up to and including `index`, which must be applied.
    pub fn compact(&mut self, index: LogIndex) -> Result<(), StorageError> {
        if index <= self.before.index {
            return Err(StorageError::Compacted);
        }
        let term = self.term(index)?;
        let forgotten = self.entries.drain(..(index - self.before.index) as usize);
        self.bytes -= forgotten.map(|entry| entry.size()).sum::<u64>();
        self.before = EntryId { term, index };
        // Slots of a long log that is gone; a quarter keeps growing from being quadratic.
        if self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
        Ok(())
    }

    /// The sizes ([`Entry::size`]) of all entries together.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All entries, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Entry<P>> + ExactSizeIterator {
        self.entries.iter()
    }
}

impl<P: Payload> Storage<P> for MemStorage<P> {
    fn initial_state(&self) -> Result<(HardState, ConfState), StorageError> {
        Ok((self.hard_state, self.conf_state.clone()))
    }

    fn entries(
        &self,
        range: Range<LogIndex>,
        max_bytes: u64,
        into: &mut Vec<Entry<P>>,
    ) -> Result<(), StorageError> {
        if range.start <= self.before.index {
            return Err(StorageError::Compacted);
        }
        if range.end > self.last_index().next() {
            return Err(StorageError::Unavailable);
        }
        let first = self.first_index();
        let (lo, hi) = ((range.start - first) as usize, (range.end - first) as usize);
        // Most reads are of a whole batch; a byte limit may cut a long one short.
        into.reserve(hi.saturating_sub(lo).min(1024));
        let mut bytes = 0u64;
        for (at, entry) in self.entries.range(lo..hi.max(lo)).enumerate() {
            bytes = bytes.saturating_add(entry.size());
            if at > 0 && bytes > max_bytes {
                break;
            }
            into.push(entry.clone());
        }
        Ok(())
    }

    fn term(&self, index: LogIndex) -> Result<Term, StorageError> {
        if index == self.before.index {
            return Ok(self.before.term);
        }
        if index < self.before.index {
            return Err(StorageError::Compacted);
        }
        let at = (index - self.first_index()) as usize;
        self.entries.get(at).map(|entry| entry.id.term).ok_or(StorageError::Unavailable)
    }

    fn first_index(&self) -> LogIndex {
        self.before.index.next()
    }

    fn last_index(&self) -> LogIndex {
        self.before.index + self.entries.len() as u64
    }

    fn snapshot(&self) -> Result<Snapshot<P>, StorageError> {
        self.snapshot.clone().ok_or(StorageError::SnapshotTemporarilyUnavailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::EntryBody;
    use alloc::string::ToString;

    type Mem = MemStorage<&'static str>;

    fn entry(term: u64, index: u64) -> Entry<&'static str> {
        Entry { id: EntryId::new(term, index), body: EntryBody::Empty }
    }

    /// Entries 4 to 6 of terms 4 to 6, after a compacted entry 3.
    fn storage() -> Mem {
        let meta = SnapshotMeta { id: EntryId::new(3, 3), ..SnapshotMeta::default() };
        let mut storage = MemStorage::at(meta);
        storage.append((4..=6).map(|n| entry(n, n))).expect("no holes");
        storage
    }

    fn terms(storage: &Mem) -> Vec<u64> {
        storage.iter().map(|entry| entry.id.term.0).collect()
    }

    #[test]
    fn terms_are_known_from_the_entry_before_the_first() {
        let term = |index| storage().term(LogIndex(index));
        assert_eq!(term(2), Err(StorageError::Compacted));
        assert_eq!([term(3), term(4), term(6)], [Ok(Term(3)), Ok(Term(4)), Ok(Term(6))]);
        assert_eq!(term(7), Err(StorageError::Unavailable));
        assert_eq!((storage().first_index(), storage().last_index()), (LogIndex(4), LogIndex(6)));
    }

    #[test]
    fn entries_are_given_by_size_but_one_at_least() {
        let get = |lo, hi, max| {
            let mut into = Vec::new();
            storage()
                .entries(LogIndex(lo)..LogIndex(hi), max, &mut into)
                .map(|()| into.iter().map(|entry| entry.id.index.0).collect::<Vec<_>>())
        };
        let size = entry(4, 4).size();
        assert_eq!(get(3, 5, u64::MAX), Err(StorageError::Compacted));
        assert_eq!(get(4, 8, u64::MAX), Err(StorageError::Unavailable));
        assert_eq!(get(4, 7, u64::MAX), Ok(alloc::vec![4, 5, 6]));
        assert_eq!(get(4, 7, 0), Ok(alloc::vec![4]));
        assert_eq!(get(4, 7, 2 * size), Ok(alloc::vec![4, 5]));
        assert_eq!(get(5, 7, 3 * size - 1), Ok(alloc::vec![5, 6]));
        assert_eq!(get(5, 5, u64::MAX), Ok(alloc::vec![]));
    }

    #[test]
    fn an_append_replaces_the_end_and_leaves_no_hole() {
        for (first, new, after) in [
            (1, &[1, 2][..], &[4, 5, 6][..]),
            (2, &[2, 3, 9, 9], &[9, 9]),
            (5, &[8, 8], &[4, 8, 8]),
            (7, &[7], &[4, 5, 6, 7]),
            (4, &[], &[4, 5, 6]),
        ] {
            let mut storage = storage();
            storage.append((first..).zip(new).map(|(at, term)| entry(*term, at))).expect("fits");
            assert_eq!(terms(&storage), after, "{first} {new:?}");
        }
        let mut storage = storage();
        let hole = storage.append([entry(8, 8)]);
        assert_eq!(hole.map_err(|e| e.to_string()), Err(StorageError::Unavailable.to_string()));
        assert_eq!(terms(&storage), [4, 5, 6]);
    }

    #[test]
    fn compaction_keeps_the_term_of_the_last_entry_that_goes() {
        let mut storage = storage();
        assert_eq!(storage.compact(LogIndex(3)), Err(StorageError::Compacted));
        assert_eq!(storage.compact(LogIndex(7)), Err(StorageError::Unavailable));
        assert_eq!(storage.compact(LogIndex(5)), Ok(()));
        assert_eq!((terms(&storage), storage.term(LogIndex(5))), (alloc::vec![6], Ok(Term(5))));
        assert_eq!(storage.compact(LogIndex(6)), Ok(()));
        assert_eq!((storage.first_index(), storage.last_index()), (LogIndex(7), LogIndex(6)));
    }

    #[test]
    fn snapshots_only_get_newer() {
        let mut storage = storage();
        assert_eq!(storage.snapshot(), Err(StorageError::SnapshotTemporarilyUnavailable));
        storage.create_snapshot(LogIndex(5), ConfState::default(), "five").expect("in the log");
        let older = storage.create_snapshot(LogIndex(4), ConfState::default(), "four");
        assert_eq!(older, Err(StorageError::SnapshotOutOfDate));
        assert_eq!(storage.snapshot().map(|s| s.meta.id), Ok(EntryId::new(5, 5)));
        let received = |index| {
            let meta = SnapshotMeta { id: EntryId::new(7, index), ..SnapshotMeta::default() };
            Snapshot { meta, data: "received" }
        };
        assert_eq!(storage.apply_snapshot(received(5)), Err(StorageError::SnapshotOutOfDate));
        assert_eq!(storage.apply_snapshot(received(9)), Ok(()));
        assert_eq!((storage.iter().len(), storage.last_index()), (0, LogIndex(9)));
        assert_eq!(storage.term(LogIndex(9)), Ok(Term(7)));
    }
}
