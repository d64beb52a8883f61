use std::collections::{BTreeMap, BTreeSet};

use crate::page::Run;

/// Runs of this many pages and more share one size class.
const LARGE: u64 = 64;

/// A set of page ids kept as runs; a new run takes the lowest place where it fits, which keeps
/// the file's tail free.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    by_start: BTreeMap<u64, u64>,
    /// Starts of the runs of 1, 2, ... `LARGE` - 1 pages; the last class holds all longer ones.
    by_len: Vec<BTreeSet<u64>>,
    pages: u64,
}

impl Runs {
    /// How many pages it holds.
    pub(crate) fn pages(&self) -> u64 {
        self.pages
    }

    /// How many separate runs.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.by_start.len()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = Run> + '_ {
        self.by_start.iter().map(|(start, len)| Run { start: *start, len: *len })
    }

    /// Adds a run and joins it with its neighbours. `false`: some page of it is here already, and
    /// nothing changed.
    #[must_use]
    pub(crate) fn add(&mut self, run: Run) -> bool {
        if run.len == 0 {
            return true;
        }
        let before = self.by_start.range(..=run.start).next_back().map(to_run);
        let after = self.by_start.range(run.start..).next().map(to_run);
        if before.is_some_and(|b| b.end() > run.start) || after.is_some_and(|a| a.start < run.end())
        {
            return false;
        }
        let mut whole = run;
        if let Some(before) = before.filter(|b| b.end() == run.start) {
            self.unlink(before);
            whole = Run { start: before.start, len: before.len + whole.len };
        }
        if let Some(after) = after.filter(|a| a.start == run.end()) {
            self.unlink(after);
            whole.len += after.len;
        }
        self.link(whole);
        true
    }

    /// Whether any page of the run is here.
    pub(crate) fn overlaps(&self, run: Run) -> bool {
        self.by_start
            .range(..run.end())
            .next_back()
            .is_some_and(|last| to_run(last).end() > run.start)
    }

    /// Takes `len` pages from the lowest run that has as many.
    pub(crate) fn take_lowest(&mut self, len: u64) -> Option<Run> {
        let found = self.lowest(len)?;
        self.unlink(found);
        self.link(Run { start: found.start + len, len: found.len - len });
        Some(Run { start: found.start, len })
    }

    /// The lowest run with at least `len` pages.
    pub(crate) fn lowest(&self, len: u64) -> Option<Run> {
        let exact = self.by_len.iter().take(LARGE as usize - 1).skip(len.max(1) as usize - 1);
        let small = exact.filter_map(|starts| starts.first().copied()).min();
        let fits = |start: &u64| self.by_start.get(start).is_some_and(|l| *l >= len);
        let large = self.by_len.get(LARGE as usize - 1);
        let large = large.and_then(|starts| starts.iter().copied().find(fits));
        let start = match (small, large) {
            (Some(a), Some(b)) => a.min(b),
            (one, other) => one.or(other)?,
        };
        Some(Run { start, len: *self.by_start.get(&start)? })
    }

    /// Takes all pages that lie in a run.
    pub(crate) fn take_within(&mut self, run: Run) -> Vec<Run> {
        let mut taken = Vec::new();
        while let Some(last) = self.by_start.range(..run.end()).next_back().map(to_run)
            && last.end() > run.start
        {
            self.unlink(last);
            let (start, end) = (last.start.max(run.start), last.end().min(run.end()));
            self.link(Run { start: last.start, len: start - last.start });
            self.link(Run { start: end, len: last.end() - end });
            taken.push(Run { start, len: end - start });
        }
        taken
    }

    /// Takes the run that ends at `end`, if one does.
    pub(crate) fn take_ending_at(&mut self, end: u64) -> Option<Run> {
        let last = self.by_start.range(..end).next_back().map(to_run).filter(|r| r.end() == end)?;
        self.unlink(last);
        Some(last)
    }

    /// Whether a run ends there.
    pub(crate) fn ends_at(&self, end: u64) -> bool {
        self.by_start.range(..end).next_back().is_some_and(|last| to_run(last).end() == end)
    }

    fn link(&mut self, run: Run) {
        if run.len == 0 {
            return;
        }
        self.by_start.insert(run.start, run.len);
        if self.by_len.is_empty() {
            self.by_len.resize_with(LARGE as usize, BTreeSet::new);
        }
        if let Some(starts) = self.by_len.get_mut(class(run.len)) {
            starts.insert(run.start);
        }
        self.pages += run.len;
    }

    fn unlink(&mut self, run: Run) {
        self.by_start.remove(&run.start);
        if let Some(starts) = self.by_len.get_mut(class(run.len)) {
            starts.remove(&run.start);
        }
        self.pages -= run.len;
    }
}

fn class(len: u64) -> usize {
    len.clamp(1, LARGE) as usize - 1
}

fn to_run((start, len): (&u64, &u64)) -> Run {
    Run { start: *start, len: *len }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The lowest start of `len` consecutive ids, the plain way.
    fn lowest_plain(ids: &BTreeSet<u64>, len: u64) -> Option<u64> {
        ids.iter().copied().find(|start| (*start..start + len).all(|id| ids.contains(&id)))
    }

    proptest! {
        #[test]
        fn behaves_as_a_set_of_ids(
            steps in proptest::collection::vec((0u8..4, 0u64..300, 1u64..90), 1..200),
        ) {
            let mut runs = Runs::default();
            let mut ids = BTreeSet::new();
            for (kind, start, len) in steps {
                let run = Run { start, len };
                match kind {
                    0 | 1 => {
                        let free = (start..start + len).all(|id| !ids.contains(&id));
                        prop_assert_eq!(runs.overlaps(run), !free);
                        prop_assert_eq!(runs.add(run), free);
                        if free {
                            ids.extend(start..start + len);
                        }
                    }
                    2 => {
                        let taken = runs.take_within(run);
                        let mut taken: Vec<u64> =
                            taken.iter().flat_map(|r| r.start..r.end()).collect();
                        taken.sort_unstable();
                        let expected = ids.range(start..start + len).copied();
                        prop_assert_eq!(&taken, &expected.collect::<Vec<u64>>());
                        for id in taken {
                            ids.remove(&id);
                        }
                    }
                    _ => {
                        let taken = runs.take_lowest(len);
                        prop_assert_eq!(taken.map(|r| r.start), lowest_plain(&ids, len));
                        for id in taken.map_or(0..0, |r| r.start..r.end()) {
                            ids.remove(&id);
                        }
                    }
                }
                prop_assert_eq!(runs.pages(), ids.len() as u64);
                let listed: Vec<u64> = runs.iter().flat_map(|r| r.start..r.end()).collect();
                prop_assert_eq!(listed, ids.iter().copied().collect::<Vec<_>>());
                let joined = runs.iter().zip(runs.iter().skip(1)).all(|(a, b)| a.end() < b.start);
                prop_assert!(joined);
                prop_assert!(runs.count() <= ids.len());
            }
        }
    }
}
