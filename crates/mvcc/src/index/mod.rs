//! Every key of the store, in order, with its newest state and what compaction has left of its
//! history. Lives in memory; restored from the `key` bucket when a store opens.

mod guide;
mod slot;
mod tree;
mod walk;

use std::ops::ControlFlow;

use bytes::Bytes;

pub(crate) use slot::{Change, Slot, StateAt};
use tree::{Child, Node};
pub(crate) use walk::Span;
use walk::{Counter, Sweep, Work};

/// Slots that one walk may look at before the lock is let go.
pub(crate) const WALK_CHUNK: usize = 1000;
/// Slots that one write may cool to make room for its own value.
const COOL_CHUNK: usize = 64;

/// The keys.
#[derive(Debug)]
pub(crate) struct Index {
    root: Child,
    /// Bytes of values that may be kept at hand.
    value_budget: usize,
    /// Where values were let go last.
    cooled_to: Option<Bytes>,
}

/// How far a chunked count came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) count: usize,
    /// What is left to be counted.
    pub(crate) rest: Option<Span>,
}

impl Index {
    pub(crate) fn new(value_budget: usize) -> Self {
        Self { root: Child::empty(), value_budget, cooled_to: None }
    }

    /// Keys that live now.
    pub(crate) fn live(&self) -> usize {
        self.root.summary.live
    }

    /// Bytes of values kept at hand.
    pub(crate) fn hot_bytes(&self) -> usize {
        self.root.summary.hot_bytes
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Slot> {
        self.root.get(key)
    }

    /// Shows a key's slot to `make`; what that returns becomes the key's newest state.
    pub(crate) fn change(
        &mut self,
        key: &[u8],
        make: impl FnOnce(Option<&Slot>) -> Option<(Bytes, Change)>,
    ) {
        self.root.change(key, make);
        self.make_room();
    }

    /// Lets values go, round and round through the keys, until the rest fits the budget. Each
    /// write does a bounded share; the budget is passed by little and not for long.
    fn make_room(&mut self) {
        let over = self.hot_bytes().saturating_sub(self.value_budget);
        if over == 0 {
            return;
        }
        let mut sweep = Sweep::new(Work::Cool { bytes: over }, COOL_CHUNK);
        let from = self.cooled_to.take();
        if sweep.run(&mut self.root, from.as_deref()).is_continue() {
            let _ = sweep.run(&mut self.root, None);
        }
        self.cooled_to = sweep.stopped_after;
    }

    /// Shows slots to `see`, in key order, until that breaks off. Slots where no key lives at the
    /// revision may be left out.
    pub(crate) fn visit<B>(
        &self,
        span: &Span,
        revision: i64,
        see: &mut impl FnMut(&Slot) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        match span.single() {
            Some(key) => self.get(key).map_or(ControlFlow::Continue(()), see),
            None => walk::visit(&self.root, span.bounds(), revision, see),
        }
    }

    /// Counts the keys that lived at a revision, looking at not much more than `budget` slots.
    pub(crate) fn count(&self, span: &Span, revision: i64, budget: usize) -> Counted {
        if let Some(key) = span.single() {
            let lives = self.get(key).is_some_and(|slot| slot.lives_at(revision));
            return Counted { count: usize::from(lives), rest: None };
        }
        let mut counter = Counter { revision, count: 0, budget, stopped_after: None };
        let _ = counter.count(&self.root, span.bounds());
        Counted { count: counter.count, rest: counter.stopped_after.map(|key| span.after(key)) }
    }

    /// Drops what no read at or after the revision can see, from the key after `after` on,
    /// looking at not much more than `budget` slots. Returns where to go on.
    pub(crate) fn compact(
        &mut self,
        revision: i64,
        after: Option<Bytes>,
        budget: usize,
    ) -> Option<Bytes> {
        let mut sweep = Sweep::new(Work::Compact { revision }, budget);
        let _ = sweep.run(&mut self.root, after.as_deref());
        self.shrink_root();
        sweep.stopped_after
    }

    fn shrink_root(&mut self) {
        while let Node::Inner(inner) = &mut self.root.node
            && inner.children.len() <= 1
        {
            self.root = inner.children.pop().unwrap_or_else(Child::empty);
        }
    }
}

impl Sweep {
    fn new(work: Work, budget: usize) -> Self {
        Self { work, budget, stopped_after: None }
    }
}

#[cfg(test)]
mod tests;
