//! The whole log: what storage has, what it does not have yet, and how far it is committed and
//! applied.

use crate::entry::{Entry, EntryBody, Payload};
use crate::error::{Fatal, StorageError};
use crate::log_unstable::Unstable;
use crate::storage::{Snapshot, Storage};
use crate::types::{EntryId, LogIndex, Term};
use alloc::vec::Vec;

/// The log of one node.
///
/// Invariant: `applied <= applying <= committed <= last_index()`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RaftLog<P, S> {
    pub(crate) storage: S,
    pub(crate) unstable: Unstable<P>,
    committed: LogIndex,
    /// Handed out to be applied.
    applying: LogIndex,
    applied: LogIndex,
    budget: ApplyBudget,
    apply_unstable: bool,
}

/// How many bytes may be handed out to be applied and not be reported applied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ApplyBudget {
    max: u64,
    used: u64,
    /// The next entry does not fit. Never with nothing handed out, whatever the limit: one entry
    /// is always allowed, or a small limit would stop a node for good (5.5).
    paused: bool,
}

impl<P: Payload, S: Storage<P>> RaftLog<P, S> {
    /// As if everything up to the first entry was committed and applied, and nothing after it.
    pub(crate) fn new(storage: S, max_applying_bytes: u64, apply_unstable: bool) -> Self {
        let before = storage.first_index().prev();
        let end = storage.last_index().next();
        Self {
            storage,
            unstable: Unstable::new(end),
            committed: before,
            applying: before,
            applied: before,
            budget: ApplyBudget { max: max_applying_bytes, used: 0, paused: false },
            apply_unstable,
        }
    }

    pub(crate) fn committed(&self) -> LogIndex {
        self.committed
    }

    pub(crate) fn applying(&self) -> LogIndex {
        self.applying
    }

    pub(crate) fn applied(&self) -> LogIndex {
        self.applied
    }

    pub(crate) fn first_index(&self) -> LogIndex {
        self.unstable.first_index().unwrap_or_else(|| self.storage.first_index())
    }

    pub(crate) fn last_index(&self) -> LogIndex {
        match self.unstable.last_id() {
            Some(id) => id.index,
            None => self.storage.last_index(),
        }
    }

    pub(crate) fn last_id(&self) -> Result<EntryId, Fatal> {
        if let Some(id) = self.unstable.last_id() {
            return Ok(id);
        }
        let index = self.storage.last_index();
        Ok(EntryId { term: self.storage.term(index)?, index })
    }

    /// The term of an entry; `None` if the entry is compacted or does not exist.
    pub(crate) fn term(&self, index: LogIndex) -> Result<Option<Term>, Fatal> {
        if let Some(term) = self.unstable.term(index) {
            return Ok(Some(term));
        }
        if index.next() < self.first_index() || index > self.last_index() {
            return Ok(None);
        }
        match self.storage.term(index) {
            Ok(term) => Ok(Some(term)),
            Err(StorageError::Compacted | StorageError::Unavailable) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn matches(&self, id: EntryId) -> Result<bool, Fatal> {
        Ok(self.term(id.index)? == Some(id.term))
    }

    /// Whether a log that ends with `last` is at least as far as ours (paper 5.4.1).
    pub(crate) fn is_up_to_date(&self, last: EntryId) -> Result<bool, Fatal> {
        let ours = self.last_id()?;
        Ok((last.term, last.index) >= (ours.term, ours.index))
    }

    /// Takes a leader's entries after `prev`. `None` if our log does not have `prev`; otherwise
    /// the last index that is now known to match.
    pub(crate) fn maybe_append(
        &mut self,
        prev: EntryId,
        entries: Vec<Entry<P>>,
        commit: LogIndex,
    ) -> Result<Option<LogIndex>, Fatal> {
        if !self.matches(prev)? {
            return Ok(None);
        }
        let last = prev.index + entries.len() as u64;
        let mut known = 0;
        while known < entries.len() && self.matches(entries[known].id)? {
            known += 1;
        }
        if let Some(entry) = entries.get(known) {
            let from = entry.id.index;
            if from <= self.committed {
                let ours = self.term(from)?.unwrap_or_default();
                let ours = EntryId { term: ours, index: from };
                return Err(Fatal::Corrupt { ours, theirs: entry.id });
            }
            self.unstable.truncate(from);
            for entry in entries.into_iter().skip(known) {
                self.unstable.push(entry);
            }
        }
        self.commit_to(commit.min(last))?;
        Ok(Some(last))
    }

    /// Appends a leader's own entry.
    pub(crate) fn append(&mut self, term: Term, body: EntryBody<P>) -> LogIndex {
        let index = self.last_index().next();
        self.unstable.push(Entry { id: EntryId { term, index }, body });
        index
    }

    /// Where, at or before `index`, this log may agree with one that has `term` at `index`: the
    /// last entry of that term or an earlier one. With an unknown term (zero) if it is compacted
    /// or not there.
    ///
    /// Both sides of a rejected append use it, so that a long diverging tail costs one probe per
    /// term and not one per entry: terms never fall within a log, so where ours is above `term`
    /// the other log cannot agree.
    pub(crate) fn find_conflict_by_term(
        &self,
        index: LogIndex,
        term: Term,
    ) -> Result<EntryId, Fatal> {
        let mut index = index;
        while index > LogIndex::ZERO {
            match self.term(index)? {
                Some(ours) if ours > term => index = index.prev(),
                ours => return Ok(EntryId { term: ours.unwrap_or_default(), index }),
            }
        }
        Ok(EntryId::default())
    }

    /// Never decreases. An index beyond the log means that we lost what we once acknowledged.
    pub(crate) fn commit_to(&mut self, index: LogIndex) -> Result<(), Fatal> {
        if index > self.committed {
            let last = self.last_index();
            if index > last {
                return Err(Fatal::LogLost { commit: index, last });
            }
            self.committed = index;
        }
        Ok(())
    }

    /// A leader commits by counting only in its own term (paper 5.4.2, figure 8): an entry of an
    /// earlier term that a quorum has can still be overwritten.
    pub(crate) fn maybe_commit(&mut self, at: EntryId) -> Result<bool, Fatal> {
        if at.index <= self.committed || !self.matches(at)? {
            return Ok(false);
        }
        self.commit_to(at.index)?;
        Ok(true)
    }

    pub(crate) fn snapshot(&self) -> Result<Snapshot<P>, StorageError> {
        match self.unstable.snapshot() {
            Some(snapshot) => Ok(snapshot.clone()),
            None => self.storage.snapshot(),
        }
    }

    pub(crate) fn restore(&mut self, snapshot: Snapshot<P>) {
        self.committed = snapshot.meta.id.index;
        self.unstable.restore(snapshot);
    }

    /// Bootstrap only: the first entries of a group are committed by decree.
    pub(crate) fn commit_bootstrap(&mut self) {
        self.committed = self.last_index();
    }

    pub(crate) fn has_committed_entries(&self) -> bool {
        !self.budget.paused
            // What comes first, the snapshot or the entries? Never both.
            && self.unstable.snapshot().is_none()
            && self.applying < self.max_appliable()
    }

    /// As a rule only what is committed *and* in our own storage is applied: what is applied must
    /// not be ahead of the log that a restart finds.
    fn max_appliable(&self) -> LogIndex {
        if self.apply_unstable {
            return self.committed;
        }
        self.committed.min(self.unstable.offset().prev())
    }

    /// Hands out the next entries to apply, as many as the budget allows, and their size.
    pub(crate) fn next_committed_entries(
        &mut self,
        into: &mut Vec<Entry<P>>,
    ) -> Result<u64, Fatal> {
        if !self.has_committed_entries() {
            return Ok(0);
        }
        let end = self.max_appliable();
        let left = self.budget.max - self.budget.used;
        let before = into.len();
        self.entries(self.applying.next(), end.next(), left, into)?;
        let handed = &into[before..];
        let bytes = handed.iter().map(Entry::size).sum();
        self.applying = self.applying + handed.len() as u64;
        self.budget.used = self.budget.used.saturating_add(bytes);
        self.budget.paused = self.budget.used >= self.budget.max || self.applying < end;
        Ok(bytes)
    }

    /// The application has applied up to `index`; `bytes` of what was handed out come back.
    pub(crate) fn applied_to(&mut self, index: LogIndex, bytes: u64) {
        self.applied = self.applied.max(index.min(self.committed));
        self.applying = self.applying.max(self.applied);
        self.budget.used = self.budget.used.saturating_sub(bytes);
        self.budget.paused = self.budget.used > 0 && self.budget.used >= self.budget.max;
    }

    /// Appends to `into` the entries `lo..hi`, as long as they fit into `max_bytes`; but one.
    /// `Err(Compacted)` if the first of them is no longer in the log.
    pub(crate) fn entries(
        &self,
        lo: LogIndex,
        hi: LogIndex,
        max_bytes: u64,
        into: &mut Vec<Entry<P>>,
    ) -> Result<(), StorageError> {
        if lo >= hi {
            return Ok(());
        }
        if lo < self.first_index() {
            return Err(StorageError::Compacted);
        }
        let before = into.len();
        let offset = self.unstable.offset();
        let mut left = max_bytes;
        if lo < offset {
            let cut = hi.min(offset);
            self.storage.entries(lo..cut, max_bytes, into)?;
            if ((into.len() - before) as u64) < cut - lo || hi <= offset {
                return Ok(());
            }
            let used = into[before..].iter().map(Entry::size).sum();
            left = max_bytes.saturating_sub(used);
        }
        for entry in self.unstable.range(lo.max(offset), hi) {
            let size = entry.size();
            if size > left && into.len() > before {
                break;
            }
            left = left.saturating_sub(size);
            into.push(entry.clone());
        }
        Ok(())
    }

    /// Whether there is a conf change that is committed and not applied.
    pub(crate) fn has_unapplied_conf_change(&self) -> Result<bool, Fatal> {
        let mut page = Vec::new();
        let (mut lo, hi) = (self.applied.next(), self.committed.next());
        while lo < hi {
            // By pages: there is no bound on how far the state machine lags.
            page.clear();
            self.entries(lo, hi, self.budget.max, &mut page)?;
            if page.is_empty() {
                return Err(Fatal::Storage(StorageError::Unavailable));
            }
            if page.iter().any(|entry| entry.body.is_conf_change()) {
                return Ok(true);
            }
            lo = lo + page.len() as u64;
        }
        Ok(false)
    }
}
