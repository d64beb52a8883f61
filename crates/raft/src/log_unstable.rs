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
