//! Walks over the tree: rows of a range, counts, and the trims of a compaction.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::slot::Slot;
use super::tree::{Child, Inner, LEAF_GROWTH, Leaf, Node};
use crate::KeyRange;

/// Part of the key space: what is left of a range when a walk goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    start: Bytes,
    /// Whether `start` itself is left out.
    after_start: bool,
    end: End,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// The start is the only key.
    Single,
    Open,
    Before(Bytes),
}

impl From<&KeyRange> for Span {
    fn from(range: &KeyRange) -> Self {
        let end = match range {
            KeyRange::Single(_) => End::Single,
            KeyRange::From(_) => End::Open,
            KeyRange::Between(_, end) => End::Before(end.clone()),
        };
        Self { start: range.start().clone(), after_start: false, end }
    }
}

impl Span {
    /// Every key, the empty one too.
    pub(crate) fn everything() -> Self {
        Self { start: Bytes::new(), after_start: false, end: End::Open }
    }

    /// The one key that the span can hold, if it is one.
    pub(super) fn single(&self) -> Option<&[u8]> {
        matches!(self.end, End::Single).then_some(&self.start)
    }

    /// What is left after `key`; nothing of a single key.
    pub(crate) fn after(&self, key: Bytes) -> Self {
        let end = match &self.end {
            End::Single => End::Before(Bytes::new()),
            end => end.clone(),
        };
        Self { start: key, after_start: true, end }
    }

    pub(super) fn bounds(&self) -> Bounds<'_> {
        let end = match &self.end {
            End::Single => unreachable!("single keys are looked up"),
            End::Open => None,
            End::Before(end) => Some(end.as_ref()),
        };
        Bounds { start: Some((&self.start, self.after_start)), end }
    }
}

/// A [`Span`] as one subtree sees it: bounds that cannot cut it are gone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds<'a> {
    /// The first key, and whether it is left out.
    start: Option<(&'a [u8], bool)>,
    end: Option<&'a [u8]>,
}

impl Bounds<'_> {
    fn slots<'s>(&self, leaf: &'s Leaf) -> &'s [Slot] {
        let from = self.start.map_or(0, |(start, after)| match leaf.find(start) {
            Ok(at) => at + usize::from(after),
            Err(at) => at,
        });
        let to = self.end.map_or(leaf.slots.len(), |end| leaf.find(end).unwrap_or_else(|at| at));
        leaf.slots.get(from..to).unwrap_or_default()
    }

    /// The children that may hold keys inside, each with the bounds that matter to it.
    fn children(self, inner: &Inner) -> impl Iterator<Item = (Self, &Child)> {
        let first = self.start.map_or(0, |(start, _)| inner.child_of(start));
        let last = self.end.map_or(inner.children.len() - 1, |end| inner.child_below(end));
        (first..=last).map(move |at| {
            let start = self.start.filter(|_| at == first);
            let end = self.end.filter(|_| at == last);
            (Self { start, end }, &inner.children[at])
        })
    }
}

/// Shows the slots inside to `see`, in key order, until that breaks off. Subtrees where no key
/// lives at the revision may be left out.
pub(super) fn visit<B>(
    child: &Child,
    bounds: Bounds<'_>,
    revision: i64,
    see: &mut impl FnMut(&Slot) -> ControlFlow<B>,
) -> ControlFlow<B> {
    if child.summary.live == 0 && child.summary.turned <= revision {
        return ControlFlow::Continue(());
    }
    match &child.node {
        Node::Leaf(leaf) => bounds.slots(leaf).iter().try_for_each(see),
        Node::Inner(inner) => bounds
            .children(inner)
            .try_for_each(|(bounds, child)| visit(child, bounds, revision, see)),
    }
}

/// A count of keys that lived at a revision.
#[derive(Debug)]
pub(super) struct Counter {
    pub(super) revision: i64,
    pub(super) count: usize,
    /// Slots that may still be looked at.
    pub(super) budget: usize,
    /// The last key that was looked at when the budget ran out.
    pub(super) stopped_after: Option<Bytes>,
}

impl Counter {
    pub(super) fn count(&mut self, child: &Child, bounds: Bounds<'_>) -> ControlFlow<()> {
        let whole = bounds.start.is_none() && bounds.end.is_none();
        if child.summary.turned <= self.revision && (whole || child.summary.live == 0) {
            self.count += child.summary.live;
            return ControlFlow::Continue(());
        }
        match &child.node {
            Node::Leaf(leaf) => {
                let slots = bounds.slots(leaf);
                let live = slots.iter().filter(|slot| slot.lives_at(self.revision));
                self.count += live.count();
                self.budget = self.budget.saturating_sub(slots.len());
                match slots.last() {
                    Some(last) if self.budget == 0 => {
                        self.stopped_after = Some(last.shared_key());
                        ControlFlow::Break(())
                    }
                    _ => ControlFlow::Continue(()),
                }
            }
            Node::Inner(inner) => {
                bounds.children(inner).try_for_each(|(bounds, child)| self.count(child, bounds))
            }
        }
    }
}

/// One walk that changes slots: a compaction's trims, or making room in the value budget.
#[derive(Debug)]
pub(super) struct Sweep {
    pub(super) work: Work,
    /// Slots that may still be looked at.
    pub(super) budget: usize,
    /// The last key that was looked at when the budget ran out.
    pub(super) stopped_after: Option<Bytes>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    /// Drop what no read at or after the revision can see.
    Compact { revision: i64 },
    /// Let values go until this many bytes are free.
    Cool { bytes: usize },
}

impl Sweep {
    /// Goes through the slots after `start`.
    pub(super) fn run(&mut self, child: &mut Child, start: Option<&[u8]>) -> ControlFlow<()> {
        if !self.concerns(child) {
            return ControlFlow::Continue(());
        }
        let flow = match &mut child.node {
            Node::Leaf(leaf) => self.run_leaf(leaf, start),
            Node::Inner(inner) => {
                let first = start.map_or(0, |start| inner.child_of(start));
                let flow = (first..inner.children.len()).try_for_each(|at| {
                    self.run(&mut inner.children[at], start.filter(|_| at == first))
                });
                if matches!(self.work, Work::Compact { .. }) {
                    inner.tidy();
                }
                flow
            }
        };
        child.renew_summary();
        flow
    }

    fn concerns(&self, child: &Child) -> bool {
        match self.work {
            Work::Compact { .. } => child.summary.loose > 0,
            Work::Cool { .. } => child.summary.hot_bytes > 0,
        }
    }

    fn run_leaf(&mut self, leaf: &mut Leaf, start: Option<&[u8]>) -> ControlFlow<()> {
        let from = start.map_or(0, |start| leaf.find(start).map_or_else(|at| at, |at| at + 1));
        let slots = &mut leaf.slots;
        let seen = slots.len() - from;
        let mut last = slots.last().map(Slot::shared_key);
        let mut done = false;
        match &mut self.work {
            Work::Compact { revision } => {
                let before = slots.len();
                let mut at = 0;
                slots.retain_mut(|slot| {
                    at += 1;
                    at <= from || slot.compact(*revision)
                });
                if slots.len() < before {
                    slots.shrink_to(slots.len() + LEAF_GROWTH);
                    leaf.renew_guide();
                }
            }
            Work::Cool { bytes } => {
                for slot in &mut slots[from..] {
                    if *bytes == 0 {
                        break;
                    }
                    *bytes = bytes.saturating_sub(slot.hot_bytes());
                    slot.cool();
                    last = Some(slot.shared_key());
                }
                done = *bytes == 0;
            }
        }
        self.budget = self.budget.saturating_sub(seen);
        if self.budget == 0 || done {
            self.stopped_after = last;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}
