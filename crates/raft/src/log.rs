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
            && self.applying < self.last_to_apply()
    }

    /// As a rule only what is committed *and* in our own storage is applied: what is applied must
    /// not be ahead of the log that a restart finds.
    fn last_to_apply(&self) -> LogIndex {
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
        let end = self.last_to_apply();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::mem::MemStorage;
    use alloc::vec;

    type Log = RaftLog<&'static str, MemStorage<&'static str>>;

    fn entry(term: u64, index: u64) -> Entry<&'static str> {
        Entry { id: EntryId::new(term, index), body: EntryBody::Normal("payload") }
    }

    /// Entries of these terms, from index 1: the first `stored` in storage, the others not yet.
    fn log(terms: &[u64], stored: usize) -> Log {
        with_budget(terms, stored, u64::MAX)
    }

    fn with_budget(terms: &[u64], stored: usize, max: u64) -> Log {
        let mut entries = terms.iter().enumerate().map(|(at, term)| entry(*term, at as u64 + 1));
        let mut storage = MemStorage::new();
        storage.append(entries.by_ref().take(stored)).expect("no holes");
        let mut log = RaftLog::new(storage, max, false);
        for entry in entries {
            log.unstable.push(entry);
        }
        log
    }

    fn terms(log: &Log) -> Vec<u64> {
        let term = |index| log.term(LogIndex(index)).ok().flatten().map(|term| term.0);
        (1..=log.last_index().0).filter_map(term).collect()
    }

    #[test]
    fn a_later_term_is_ahead_and_then_a_longer_log() {
        let log = log(&[1, 2, 3], 2);
        let cases = [
            ((4, 1), true),
            ((4, 9), true),
            ((2, 9), false),
            ((3, 2), false),
            ((3, 3), true),
            ((3, 4), true),
        ];
        for ((term, index), ahead) in cases {
            let last = EntryId::new(term, index);
            assert_eq!(log.is_up_to_date(last), Ok(ahead), "{last:?}");
        }
    }

    #[test]
    fn entries_are_taken_where_the_logs_agree() {
        // Previous entry, new terms, commit -> last matching index, all terms, commit
        type Case = ((u64, u64), &'static [u64], u64, Option<u64>, &'static [u64], u64);
        let cases: &[Case] = &[
            // Nothing to agree on.
            ((2, 3), &[4], 3, None, &[1, 2, 3], 1),
            ((3, 4), &[4], 4, None, &[1, 2, 3], 1),
            // The end.
            ((3, 3), &[], 3, Some(3), &[1, 2, 3], 3),
            ((3, 3), &[], 9, Some(3), &[1, 2, 3], 3),
            ((3, 3), &[], 2, Some(3), &[1, 2, 3], 2),
            ((3, 3), &[4], 3, Some(4), &[1, 2, 3, 4], 3),
            ((3, 3), &[4, 4], 9, Some(5), &[1, 2, 3, 4, 4], 5),
            // What is there already is not cut off by an old message.
            ((0, 0), &[1], 1, Some(1), &[1, 2, 3], 1),
            ((1, 1), &[2], 3, Some(2), &[1, 2, 3], 2),
            // Conflicts.
            ((1, 1), &[4], 2, Some(2), &[1, 4], 2),
            ((1, 1), &[2, 4, 4], 3, Some(4), &[1, 2, 4, 4], 3),
            ((2, 2), &[4], 3, Some(3), &[1, 2, 4], 3),
        ];
        for stored in [0, 2, 3] {
            for (prev, new, commit, last, after, committed) in cases {
                let mut log = log(&[1, 2, 3], stored);
                log.commit_to(LogIndex(1)).expect("it is there");
                let prev = EntryId::new(prev.0, prev.1);
                let entries: Vec<_> = (prev.index.0 + 1..)
                    .zip(*new)
                    .map(|(index, term)| entry(*term, index))
                    .collect();
                let taken = log.maybe_append(prev, entries, LogIndex(*commit));
                assert_eq!(taken, Ok(last.map(LogIndex)), "{prev:?} {new:?}");
                assert_eq!(terms(&log), *after, "{prev:?} {new:?} stored {stored}");
                assert_eq!(log.committed(), LogIndex(*committed), "{prev:?} {new:?}");
            }
        }
    }

    #[test]
    fn a_conflict_with_a_committed_entry_is_corruption() {
        let mut log = log(&[1, 2, 3], 3);
        log.commit_to(LogIndex(2)).expect("it is there");
        let taken = log.maybe_append(EntryId::new(1, 1), vec![entry(4, 2)], LogIndex(2));
        let (ours, theirs) = (EntryId::new(2, 2), EntryId::new(4, 2));
        assert_eq!(taken, Err(Fatal::Corrupt { ours, theirs }));
        assert_eq!(terms(&log), [1, 2, 3]);
    }

    /// One probe per term, whatever the length of the tails (paper 5.3, figure 7).
    #[test]
    fn the_search_for_agreement_skips_whole_terms() {
        // Our terms, index and term of the other log -> term and index to try
        type Case = (&'static [u64], u64, u64, (u64, u64));
        let cases: &[Case] = &[
            (&[2, 2, 5, 5, 5], 5, 1, (0, 0)),
            (&[2, 2, 5, 5, 5], 5, 2, (2, 2)),
            (&[2, 2, 5, 5, 5], 5, 4, (2, 2)),
            (&[2, 2, 5, 5, 5], 5, 5, (5, 5)),
            (&[2, 2, 5, 5, 5], 4, 6, (5, 4)),
            (&[2, 2, 5, 5, 5], 1, 1, (0, 0)),
            // Beyond the end nothing is known.
            (&[2, 2, 5, 5, 5], 9, 1, (0, 9)),
            (&[], 0, 3, (0, 0)),
        ];
        for (log_terms, index, term, found) in cases {
            for stored in [0, log_terms.len() / 2, log_terms.len()] {
                let log = log(log_terms, stored);
                let found = EntryId::new(found.0, found.1);
                let search = log.find_conflict_by_term(LogIndex(*index), Term(*term));
                assert_eq!(search, Ok(found), "{log_terms:?} {index} {term}");
            }
        }
    }

    #[test]
    fn terms_of_compacted_and_of_future_entries_are_not_known() {
        let mut log = log(&[1, 2, 3, 4], 4);
        log.storage.compact(LogIndex(2)).expect("it is there");
        let terms = [1, 2, 3, 4, 5].map(|index| log.term(LogIndex(index)));
        let known = [None, Some(2), Some(3), Some(4), None].map(|term| Ok(term.map(Term)));
        assert_eq!(terms, known);
        let mut into = Vec::new();
        let gone = log.entries(LogIndex(2), LogIndex(4), u64::MAX, &mut into);
        assert_eq!(gone, Err(StorageError::Compacted));
    }

    /// The same cut wherever the border between storage and memory is (etcd #10063).
    #[test]
    fn entries_are_cut_by_size_across_the_border_of_storage() {
        let size = entry(1, 1).size();
        for stored in 0..=5 {
            let log = log(&[1; 5], stored);
            for (lo, hi, max, count) in [
                (1, 6, u64::MAX, 5),
                (1, 6, 0, 1),
                (1, 6, size - 1, 1),
                (1, 6, size, 1),
                (1, 6, 2 * size - 1, 1),
                (1, 6, 2 * size, 2),
                (2, 6, 3 * size, 3),
                (3, 4, 9 * size, 1),
                (3, 3, 9 * size, 0),
                (6, 6, 9 * size, 0),
            ] {
                let mut into = Vec::new();
                log.entries(LogIndex(lo), LogIndex(hi), max, &mut into).expect("they are there");
                let got: Vec<u64> = into.iter().map(|entry| entry.id.index.0).collect();
                assert_eq!(got, (lo..lo + count).collect::<Vec<_>>(), "{stored} {lo}..{hi} {max}");
            }
        }
    }

    #[test]
    fn only_an_entry_of_the_given_term_is_committed_by_counting() {
        let mut log = log(&[1, 2, 2], 3);
        assert_eq!(log.maybe_commit(EntryId::new(2, 1)), Ok(false));
        assert_eq!(log.maybe_commit(EntryId::new(2, 2)), Ok(true));
        assert_eq!(log.maybe_commit(EntryId::new(2, 2)), Ok(false));
        assert_eq!(log.maybe_commit(EntryId::new(1, 1)), Ok(false));
        assert_eq!(log.maybe_commit(EntryId::new(2, 4)), Ok(false));
        assert_eq!(log.committed(), LogIndex(2));
        let lost = Fatal::LogLost { commit: LogIndex(4), last: LogIndex(3) };
        assert_eq!(log.commit_to(LogIndex(4)), Err(lost));
        assert_eq!(log.commit_to(LogIndex(1)), Ok(()), "never back");
        assert_eq!(log.committed(), LogIndex(2));
    }

    fn handed(log: &mut Log) -> Vec<u64> {
        let mut into = Vec::new();
        log.next_committed_entries(&mut into).expect("they are there");
        into.iter().map(|entry| entry.id.index.0).collect()
    }

    #[test]
    fn only_stored_entries_are_handed_out_unless_the_driver_stores_before_it_applies() {
        let mut log = log(&[1, 1, 1, 1], 2);
        log.commit_to(LogIndex(3)).expect("it is there");
        assert_eq!(handed(&mut log), [1, 2]);
        log.unstable.accept_in_progress();
        assert!(!log.has_committed_entries());
        log.apply_unstable = true;
        assert_eq!(handed(&mut log), [3]);
    }

    #[test]
    fn entries_are_handed_out_by_pages_until_they_are_reported() {
        let size = entry(1, 1).size();
        for max in [1, size, 2 * size, 2 * size + 1, 3 * size] {
            let mut log = with_budget(&[1; 7], 7, max);
            log.commit_to(LogIndex(7)).expect("it is there");
            let (mut all, mut pages) = (Vec::<u64>::new(), 0);
            while log.has_committed_entries() {
                let page = handed(&mut log);
                assert!(page.len() == 1 || page.len() as u64 * size <= max, "{max} {page:?}");
                all.extend_from_slice(&page);
                pages += 1;
                assert!(!log.has_committed_entries(), "the budget is used up");
                let last = LogIndex(*page.last().expect("never empty"));
                log.applied_to(last, page.len() as u64 * size);
            }
            assert_eq!(all, [1, 2, 3, 4, 5, 6, 7], "{max}");
            assert_eq!(pages, 7u64.div_ceil((max / size).max(1)), "{max}");
        }
    }

    /// 5.5: with the smallest limit, and a state machine that has applied something already.
    #[test]
    fn the_smallest_budget_does_not_stop_a_restarted_node() {
        let mut log = with_budget(&[1; 3], 3, 1);
        log.commit_to(LogIndex(3)).expect("it is there");
        log.applied_to(LogIndex(1), 0);
        assert_eq!(handed(&mut log), [2]);
        assert_eq!(handed(&mut log), []);
        log.applied_to(LogIndex(2), entry(1, 2).size());
        assert_eq!(handed(&mut log), [3]);
    }

    #[test]
    fn a_conf_change_is_found_wherever_it_waits() {
        for at in 1..=6u64 {
            for max in [1, 50, u64::MAX] {
                let mut log = with_budget(&[1; 3], 3, max);
                for index in 4..=6 {
                    log.unstable.push(entry(1, index));
                }
                let change = crate::conf_change::ConfChange::leave_joint();
                let change = EntryBody::ConfChange(alloc::boxed::Box::new(change));
                log.unstable.truncate(LogIndex(at));
                log.unstable.push(Entry { id: EntryId::new(1, at), body: change });
                assert_eq!(log.has_unapplied_conf_change(), Ok(false), "not committed");
                log.commit_to(LogIndex(at)).expect("it is there");
                assert_eq!(log.has_unapplied_conf_change(), Ok(true), "{at} {max}");
                log.applied_to(LogIndex(at), 0);
                assert_eq!(log.has_unapplied_conf_change(), Ok(false), "{at} {max}");
            }
        }
    }
}
