//! The end of the log that storage does not have yet.

use crate::entry::Entry;
use crate::storage::Snapshot;
use crate::types::{EntryId, LogIndex, Term};
use alloc::collections::VecDeque;

/// Slots kept for the next burst when everything is stable.
const KEEP_SLOTS: usize = 4096;

/// Entries and a snapshot that were accepted and are not known to be stored.
///
/// They stay here while they are being written, so that the log looks the same all the time, and
/// go when the write is reported done *and* can no longer be overwritten, see
/// [`Unstable::stable_to`]. `offset` may be below the last stored index: then the next write
/// replaces the end of what is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Unstable<P> {
    snapshot: Option<Snapshot<P>>,
    snapshot_in_progress: bool,
    /// `entries[i]` has index `offset + i`.
    entries: VecDeque<Entry<P>>,
    offset: LogIndex,
    /// Entries before this index are being written. Invariant: `offset <= in_progress_to`.
    in_progress_to: LogIndex,
}

impl<P: Clone> Unstable<P> {
    pub(crate) fn new(offset: LogIndex) -> Self {
        Self {
            snapshot: None,
            snapshot_in_progress: false,
            entries: VecDeque::new(),
            offset,
            in_progress_to: offset,
        }
    }

    pub(crate) fn offset(&self) -> LogIndex {
        self.offset
    }

    pub(crate) fn snapshot(&self) -> Option<&Snapshot<P>> {
        self.snapshot.as_ref()
    }

    pub(crate) fn first_index(&self) -> Option<LogIndex> {
        self.snapshot.as_ref().map(|snapshot| snapshot.meta.id.index.next())
    }

    pub(crate) fn last_id(&self) -> Option<EntryId> {
        match self.entries.back() {
            Some(entry) => Some(entry.id),
            None => self.snapshot.as_ref().map(|snapshot| snapshot.meta.id),
        }
    }

    pub(crate) fn term(&self, index: LogIndex) -> Option<Term> {
        if index < self.offset {
            let id = self.snapshot.as_ref()?.meta.id;
            return (id.index == index).then_some(id.term);
        }
        self.entries.get((index - self.offset) as usize).map(|entry| entry.id.term)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries `lo..hi`, as far as they are here.
    pub(crate) fn range(&self, lo: LogIndex, hi: LogIndex) -> impl Iterator<Item = &Entry<P>> {
        let len = self.entries.len();
        let hi = ((hi - self.offset) as usize).min(len);
        let lo = ((lo - self.offset) as usize).min(hi);
        self.entries.range(lo..hi)
    }

    /// Entries to write that are not being written.
    pub(crate) fn next_entries(&self) -> impl ExactSizeIterator<Item = &Entry<P>> {
        self.entries.range((self.in_progress_to - self.offset) as usize..)
    }

    pub(crate) fn has_next_entries(&self) -> bool {
        self.in_progress_to - self.offset < self.entries.len() as u64
    }

    /// The snapshot to write, if it is not being written.
    pub(crate) fn next_snapshot(&self) -> Option<&Snapshot<P>> {
        self.snapshot.as_ref().filter(|_| !self.snapshot_in_progress)
    }

    /// All that is here is being written now.
    pub(crate) fn accept_in_progress(&mut self) {
        self.in_progress_to = self.offset + self.entries.len() as u64;
        self.snapshot_in_progress = self.snapshot.is_some();
    }

    /// Everything up to `id` is stored, and no write in progress will replace it.
    ///
    /// The id must match what is here. That alone is not enough, because of an ABA race
    /// (etcd-io/raft #8): entries A are being written, B replaces them, then A is sent again by a
    /// newer leader, and all three writes are queued. The first completion matches A, but storage
    /// will hold B for a while. Hence the caller also compares terms: B and the second A came with
    /// a change of term, so a completion from before it is ignored, and each later write vouches
    /// for the whole tail again.
    pub(crate) fn stable_to(&mut self, id: EntryId) {
        if id.index < self.offset || self.term(id.index) != Some(id.term) {
            return;
        }
        self.entries.drain(..=(id.index - self.offset) as usize);
        self.offset = id.index.next();
        self.in_progress_to = self.in_progress_to.max(self.offset);
        if self.entries.is_empty() && self.entries.capacity() > KEEP_SLOTS {
            self.entries.shrink_to(KEEP_SLOTS);
        }
    }

    pub(crate) fn stable_snapshot_to(&mut self, index: LogIndex) {
        if self.snapshot.as_ref().is_some_and(|snapshot| snapshot.meta.id.index == index) {
            self.snapshot = None;
            self.snapshot_in_progress = false;
        }
    }

    /// A snapshot replaces the whole log.
    pub(crate) fn restore(&mut self, snapshot: Snapshot<P>) {
        self.offset = snapshot.meta.id.index.next();
        self.in_progress_to = self.offset;
        self.entries.clear();
        self.snapshot = Some(snapshot);
        self.snapshot_in_progress = false;
    }

    /// Makes room for entries from `from` on: whatever is at or after it is replaced. Of what is
    /// being written only the part before `from` still counts as such.
    pub(crate) fn truncate(&mut self, from: LogIndex) {
        if from <= self.offset {
            self.offset = from;
            self.in_progress_to = from;
            self.entries.clear();
        } else {
            self.entries.truncate((from - self.offset) as usize);
            self.in_progress_to = self.in_progress_to.min(from);
        }
    }

    /// Appends the next entry.
    pub(crate) fn push(&mut self, entry: Entry<P>) {
        debug_assert_eq!(entry.id.index, self.offset + self.entries.len() as u64);
        self.entries.push_back(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::EntryBody;
    use crate::storage::SnapshotMeta;
    use alloc::vec::Vec;

    type U = Unstable<&'static str>;

    fn entry(term: u64, index: u64) -> Entry<&'static str> {
        Entry { id: EntryId::new(term, index), body: EntryBody::Empty }
    }

    fn snapshot(term: u64, index: u64) -> Snapshot<&'static str> {
        let meta = SnapshotMeta { id: EntryId::new(term, index), ..SnapshotMeta::default() };
        Snapshot { meta, data: "" }
    }

    /// Entries of these terms from index 5 on.
    fn from_5(terms: &[u64]) -> U {
        let mut unstable = U::new(LogIndex(5));
        for (at, term) in terms.iter().enumerate() {
            unstable.push(entry(*term, 5 + at as u64));
        }
        unstable
    }

    fn next(unstable: &U) -> Vec<u64> {
        unstable.next_entries().map(|entry| entry.id.index.0).collect()
    }

    fn append(unstable: &mut U, term: u64, indexes: core::ops::RangeInclusive<u64>) {
        unstable.truncate(LogIndex(*indexes.start()));
        for index in indexes {
            unstable.push(entry(term, index));
        }
    }

    #[test]
    fn entries_are_handed_out_once() {
        let mut unstable = from_5(&[1, 1]);
        assert_eq!(next(&unstable), [5, 6]);
        unstable.accept_in_progress();
        assert!(!unstable.has_next_entries());
        unstable.push(entry(1, 7));
        assert_eq!(next(&unstable), [7]);
    }

    #[test]
    fn terms_are_known_of_entries_and_of_the_snapshot_before_them() {
        let mut unstable = U::new(LogIndex(5));
        assert_eq!((unstable.term(LogIndex(5)), unstable.last_id()), (None, None));
        unstable.restore(snapshot(1, 4));
        assert_eq!(unstable.first_index(), Some(LogIndex(5)));
        assert_eq!(unstable.last_id(), Some(EntryId::new(1, 4)));
        unstable.push(entry(2, 5));
        let terms = [3, 4, 5, 6].map(|index| unstable.term(LogIndex(index)).map(|term| term.0));
        assert_eq!(terms, [None, Some(1), Some(2), None]);
        assert_eq!(unstable.last_id(), Some(EntryId::new(2, 5)));
    }

    #[test]
    fn replaced_entries_are_to_be_written_again_and_others_are_not() {
        // All of it, from before the beginning, from the middle, from the end.
        let cases = [
            (5..=6, alloc::vec![5, 6], 5),
            (3..=4, alloc::vec![3, 4], 3),
            (6..=8, alloc::vec![6, 7, 8], 5),
            (7..=8, alloc::vec![7, 8], 5),
        ];
        for (indexes, to_write, offset) in cases {
            let mut unstable = from_5(&[1, 1]);
            unstable.accept_in_progress();
            append(&mut unstable, 2, indexes.clone());
            assert_eq!(next(&unstable), to_write, "{indexes:?}");
            assert_eq!(unstable.offset(), LogIndex(offset), "{indexes:?}");
            assert_eq!(unstable.last_id(), Some(EntryId::new(2, *indexes.end())));
        }
    }

    #[test]
    fn only_what_matches_becomes_stable() {
        let cases = [
            // Term, index -> what is left
            (1, 5, alloc::vec![6, 7]),
            (1, 6, alloc::vec![7]),
            (2, 7, alloc::vec![]),
            (1, 7, alloc::vec![5, 6, 7]),
            (2, 6, alloc::vec![5, 6, 7]),
            (1, 4, alloc::vec![5, 6, 7]),
            (2, 8, alloc::vec![5, 6, 7]),
        ];
        for (term, index, left) in cases {
            let mut unstable = from_5(&[1, 1, 2]);
            unstable.stable_to(EntryId::new(term, index));
            assert_eq!(next(&unstable), left, "{term}/{index}");
        }
    }

    /// Overwritten entries, written late: their completion proves nothing (etcd-io/raft #8).
    #[test]
    fn completion_of_overwritten_entries_is_ignored() {
        let mut unstable = from_5(&[1, 1]);
        unstable.accept_in_progress();
        append(&mut unstable, 2, 5..=6);
        unstable.accept_in_progress();
        unstable.stable_to(EntryId::new(1, 6));
        assert!(!unstable.is_empty());
        unstable.stable_to(EntryId::new(2, 6));
        assert!(unstable.is_empty());
        assert_eq!(unstable.offset(), LogIndex(7));
    }

    #[test]
    fn a_snapshot_replaces_everything_and_goes_when_it_is_installed() {
        let mut unstable = from_5(&[1, 1]);
        unstable.accept_in_progress();
        unstable.restore(snapshot(3, 20));
        assert!(unstable.is_empty() && unstable.next_snapshot().is_some());
        unstable.accept_in_progress();
        assert!(unstable.next_snapshot().is_none() && unstable.snapshot().is_some());
        // A second one before the first is installed (etcd #18055).
        unstable.restore(snapshot(3, 30));
        unstable.stable_snapshot_to(LogIndex(20));
        assert_eq!(unstable.next_snapshot().map(|s| s.meta.id.index), Some(LogIndex(30)));
        unstable.accept_in_progress();
        unstable.stable_snapshot_to(LogIndex(30));
        assert!(unstable.snapshot().is_none());
        assert_eq!(unstable.offset(), LogIndex(31));
    }
}
