use std::collections::HashMap;

use crate::page::Run;
use crate::runs::Runs;

/// Which pages the next commit may write on.
///
/// A page that transaction `n` let go is still read by whoever reads a state before `n`, so it
/// waits in `pending` until no such reader is left. Readers only ever start at the newest state,
/// so who is not there now will not come.
#[derive(Debug, Default)]
pub(crate) struct Freelist {
    pub(crate) free: Runs,
    pending: Vec<Pending>,
    pending_pages: u64,
    /// The transaction that wrote the run which starts at a page, while some reader may be older
    /// than that: a page born and let go after a long reader began is none of that reader's.
    births: HashMap<u64, u64>,
    /// At this many births those that no reader is older than are forgotten.
    prune_at: usize,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    run: Run,
    born: u64,
    freed: u64,
}

impl Freelist {
    pub(crate) fn new(free: Runs) -> Self {
        Self { free, ..Self::default() }
    }

    /// Pages that hold nothing of the newest state.
    pub(crate) fn unused_pages(&self) -> u64 {
        self.free.pages() + self.pending_pages
    }

    /// The same, one by one.
    pub(crate) fn unused(&self) -> impl Iterator<Item = Run> + '_ {
        self.free.iter().chain(self.pending.iter().map(|pending| pending.run))
    }

    /// The run of so many pages below a page in which the fewest are in use. It begins where a
    /// free run begins, so no page's overflow reaches into it from below, and it has no pages
    /// that wait for readers: these cannot be moved. None where a run is free as it is.
    pub(crate) fn cheapest_hole(&self, len: u64, below: u64) -> Option<Run> {
        let free: Vec<Run> = self.free.iter().collect();
        let mut waiting: Vec<u64> = self.pending.iter().map(|pending| pending.run.start).collect();
        waiting.sort_unstable();
        let mut best: Option<(u64, Run)> = None;
        for (index, first) in free.iter().enumerate() {
            let hole = Run { start: first.start, len };
            if hole.end() > below {
                break;
            }
            let next = waiting.partition_point(|page| *page < hole.start);
            if waiting.get(next).is_some_and(|page| *page < hole.end()) {
                continue;
            }
            let inside = free.iter().skip(index).take_while(|run| run.start < hole.end());
            let unused: u64 = inside.map(|run| run.end().min(hole.end()) - run.start).sum();
            if unused == len {
                return None;
            }
            if best.is_none_or(|(most, _)| unused > most) {
                best = Some((unused, hole));
            }
        }
        best.map(|(_, hole)| hole)
    }

    /// Notes what transaction `txid` wrote and let go. `oldest` is the oldest state that has
    /// readers.
    pub(crate) fn committed(
        &mut self,
        txid: u64,
        written: &[Run],
        freed: &[Run],
        oldest: Option<u64>,
    ) {
        for run in freed {
            let born = self.births.remove(&run.start).unwrap_or(0);
            self.pending.push(Pending { run: *run, born, freed: txid });
            self.pending_pages += run.len;
        }
        let Some(oldest) = oldest else {
            self.births.clear();
            return;
        };
        self.births.extend(written.iter().map(|run| (run.start, txid)));
        if self.births.len() > self.prune_at {
            self.births.retain(|_, born| *born > oldest);
            self.prune_at = self.births.len() * 2 + 1024;
        }
    }

    /// Frees what no reader holds any more; `readers` are their transaction ids, ascending.
    pub(crate) fn release(&mut self, readers: &[u64]) {
        let held = |pending: &Pending| {
            let next = readers.partition_point(|reader| *reader < pending.born);
            readers.get(next).is_some_and(|reader| *reader < pending.freed)
        };
        let free = &mut self.free;
        let pending_pages = &mut self.pending_pages;
        self.pending.retain(|pending| {
            let stays = held(pending);
            if !stays {
                *pending_pages -= pending.run.len;
                // A run that is free already would be a page let go twice, which the commit
                // refuses; should it be, leaving the run out loses room and nothing else.
                let _ = free.add(pending.run);
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(start: u64) -> Run {
        Run { start, len: 1 }
    }

    #[test]
    fn a_freed_page_waits_for_every_older_reader() {
        let mut list = Freelist::default();
        list.committed(5, &[], &[run(10)], Some(3));
        list.release(&[3, 4]);
        assert_eq!((list.free.pages(), list.pending_pages), (0, 1));
        list.release(&[4]);
        assert_eq!(list.free.pages(), 0);
        list.release(&[5]);
        assert_eq!((list.free.pages(), list.pending_pages), (1, 0));
    }

    #[test]
    fn a_page_born_after_the_reader_does_not_wait_for_it() {
        let mut list = Freelist::default();
        list.committed(5, &[run(20)], &[], Some(3));
        list.committed(6, &[], &[run(20)], Some(3));
        list.release(&[3]);
        assert_eq!(list.free.pages(), 1);
        list.committed(7, &[run(21)], &[], Some(3));
        list.committed(9, &[], &[run(21)], Some(3));
        list.release(&[3, 8]);
        assert_eq!(list.free.pages(), 1, "the reader of 8 sees page 21");
    }
}
