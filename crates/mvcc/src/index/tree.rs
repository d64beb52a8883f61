//! A counted B+tree of slots.
//!
//! ```text
//!                 inner: separators  "c"  "m"
//!                        child       child       child        each with its summary:
//!                      live 40     live 52     live 7           live keys, loose keys,
//!                      turned 90   turned 12   turned 88        last birth or death of a key
//!                        |           |           |
//!                      leaf        leaf        leaf           slots in key order
//! ```
//!
//! The summaries answer "how many keys live in this range now" without looking at the keys, and
//! "... lived at revision r" by looking only where a key was born or died after r; most writes do
//! neither. They also lead a compaction past all keys that have nothing to drop.

use std::ops::{AddAssign, SubAssign};

use bytes::Bytes;

use super::guide::Guide;
use super::slot::{Change, Slot};

/// Slots in a leaf, at most.
pub(super) const LEAF_MAX: usize = 64;
/// Children of an inner node, at most.
pub(super) const INNER_MAX: usize = 64;
/// A leaf grows by so many slots at a time, so that little of it stands empty.
pub(super) const LEAF_GROWTH: usize = 8;

/// What a subtree holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Summary {
    /// Keys that live now.
    pub(super) live: usize,
    /// Keys with history, or with nothing but a deletion.
    pub(super) loose: usize,
    /// Bytes of encoded newest states with their values.
    pub(super) hot_bytes: usize,
    /// No key below was born or died in a transaction after this one.
    pub(super) turned: i64,
}

impl Summary {
    fn of(slot: &Slot) -> Self {
        Self {
            live: usize::from(slot.is_live()),
            loose: usize::from(slot.is_loose()),
            hot_bytes: slot.hot_bytes(),
            turned: 0,
        }
    }
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.live += other.live;
        self.loose += other.loose;
        self.hot_bytes += other.hot_bytes;
        self.turned = self.turned.max(other.turned);
    }
}

impl SubAssign for Summary {
    /// `turned` stays: a bound that is too high costs time, never an answer.
    fn sub_assign(&mut self, other: Self) {
        self.live -= other.live;
        self.loose -= other.loose;
        self.hot_bytes -= other.hot_bytes;
    }
}

#[derive(Debug)]
pub(super) enum Node {
    Leaf(Leaf),
    Inner(Box<Inner>),
}

#[derive(Debug, Default)]
pub(super) struct Leaf {
    pub(super) slots: Vec<Slot>,
    guide: Guide,
}

/// `separators[i]` is above every key of `children[i]` and not above any of `children[i + 1]`.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) separators: Vec<Box<[u8]>>,
    guide: Guide,
    pub(super) children: Vec<Child>,
}

#[derive(Debug)]
pub(super) struct Child {
    pub(super) summary: Summary,
    pub(super) node: Node,
}

/// The right half of a node that grew too large.
struct Split {
    separator: Box<[u8]>,
    right: Child,
}

/// What a change did to a subtree.
#[derive(Default)]
struct Grown {
    before: Summary,
    after: Summary,
    split: Option<Split>,
}

impl Child {
    pub(super) fn empty() -> Self {
        Self { summary: Summary::default(), node: Node::Leaf(Leaf::default()) }
    }

    fn new(node: Node) -> Self {
        Self { summary: node.summarise(), node }
    }

    /// Sums up the node again. Slots do not say when they turned: a leaf keeps its bound.
    pub(super) fn renew_summary(&mut self) {
        let turned = self.summary.turned;
        self.summary = self.node.summarise();
        if matches!(self.node, Node::Leaf(_)) {
            self.summary.turned = turned;
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Slot> {
        let mut node = &self.node;
        loop {
            match node {
                Node::Leaf(leaf) => return leaf.find(key).ok().map(|at| &leaf.slots[at]),
                Node::Inner(inner) => node = &inner.children[inner.child_of(key)].node,
            }
        }
    }

    /// Shows a key's slot to `make`; what that returns becomes the key's newest state.
    pub(super) fn change(
        &mut self,
        key: &[u8],
        make: impl FnOnce(Option<&Slot>) -> Option<(Bytes, Change)>,
    ) {
        if let Some(Split { separator, right }) = self.change_below(key, make).split {
            let left = std::mem::replace(self, Self::empty());
            let inner = Inner::new(vec![separator], vec![left, right]);
            *self = Self::new(Node::Inner(Box::new(inner)));
        }
    }

    fn change_below(
        &mut self,
        key: &[u8],
        make: impl FnOnce(Option<&Slot>) -> Option<(Bytes, Change)>,
    ) -> Grown {
        let mut grown = match &mut self.node {
            Node::Leaf(leaf) => leaf.change(key, make),
            Node::Inner(inner) => {
                let at = inner.child_of(key);
                let mut grown = inner.children[at].change_below(key, make);
                grown.split = grown.split.and_then(|split| inner.take_in(at, split));
                grown
            }
        };
        self.summary += grown.after;
        self.summary -= grown.before;
        if let Some(split) = &mut grown.split {
            if matches!(self.node, Node::Leaf(_)) {
                split.right.summary.turned = self.summary.turned;
            }
            self.renew_summary();
        }
        grown
    }
}

impl Node {
    pub(super) fn summarise(&self) -> Summary {
        let mut sum = Summary::default();
        match self {
            Self::Leaf(leaf) => leaf.slots.iter().for_each(|slot| sum += Summary::of(slot)),
            Self::Inner(inner) => inner.children.iter().for_each(|child| sum += child.summary),
        }
        sum
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.slots.len(),
            Self::Inner(inner) => inner.children.len(),
        }
    }

    const fn max_len(&self) -> usize {
        match self {
            Self::Leaf(_) => LEAF_MAX,
            Self::Inner(_) => INNER_MAX,
        }
    }
}

impl Inner {
    fn new(separators: Vec<Box<[u8]>>, children: Vec<Child>) -> Self {
        let mut inner = Self { separators, guide: Guide::default(), children };
        inner.renew_guide();
        inner
    }

    fn renew_guide(&mut self) {
        self.guide = Guide::of(self.separators.iter().map(|separator| separator.as_ref()));
    }

    /// The child that holds the key if any does.
    pub(super) fn child_of(&self, key: &[u8]) -> usize {
        match self.guide.find(key, |at| &self.separators[at]) {
            Ok(at) => at + 1,
            Err(at) => at,
        }
    }

    /// The last child that holds a key below this one if any does.
    pub(super) fn child_below(&self, key: &[u8]) -> usize {
        self.guide.find(key, |at| &self.separators[at]).unwrap_or_else(|at| at)
    }

    /// Adds the right half of child `at`; splits where that is one too many.
    fn take_in(&mut self, at: usize, split: Split) -> Option<Split> {
        let guided = self.guide.insert(at, &split.separator);
        self.separators.insert(at, split.separator);
        self.children.insert(at + 1, split.right);
        if !guided {
            self.renew_guide();
        }
        if self.children.len() <= INNER_MAX {
            return None;
        }
        // Keys often come in ascending order: then the left half is never touched again.
        let keep = if at + 2 == self.children.len() { INNER_MAX } else { INNER_MAX / 2 };
        let children = self.children.split_off(keep);
        let separators = self.separators.split_off(keep);
        let separator = self.separators.pop().expect("as many as children kept");
        self.children.shrink_to_fit();
        self.separators.shrink_to_fit();
        self.renew_guide();
        let right = Inner::new(separators, children);
        Some(Split { separator, right: Child::new(Node::Inner(Box::new(right))) })
    }

    /// Drops children that became empty and joins those that became small with a neighbour.
    pub(super) fn tidy(&mut self) {
        let before = self.children.len();
        let mut at = 0;
        while at < self.children.len() {
            if self.children[at].node.len() == 0 {
                self.children.remove(at);
                if !self.separators.is_empty() {
                    self.separators.remove(at.saturating_sub(1));
                }
            } else if at > 0 && self.may_join(at - 1) {
                self.join(at - 1);
            } else {
                at += 1;
            }
        }
        if self.children.len() < before {
            self.renew_guide();
        }
    }

    fn may_join(&self, at: usize) -> bool {
        let (left, right) = (&self.children[at].node, &self.children[at + 1].node);
        let max = left.max_len();
        left.len().min(right.len()) < max / 4 && left.len() + right.len() <= max / 4 * 3
    }

    fn join(&mut self, at: usize) {
        let right = self.children.remove(at + 1);
        let separator = self.separators.remove(at);
        let left = &mut self.children[at];
        left.summary += right.summary;
        match (&mut left.node, right.node) {
            (Node::Leaf(left), Node::Leaf(right)) => {
                left.slots.reserve_exact(right.slots.len());
                left.slots.extend(right.slots);
                left.renew_guide();
            }
            (Node::Inner(left), Node::Inner(right)) => {
                left.separators.push(separator);
                left.separators.extend(right.separators);
                left.children.extend(right.children);
                left.renew_guide();
            }
            _ => unreachable!("all leaves are equally deep"),
        }
    }
}

impl Leaf {
    fn new(slots: Vec<Slot>) -> Self {
        let mut leaf = Self { slots, guide: Guide::default() };
        leaf.renew_guide();
        leaf
    }

    pub(super) fn renew_guide(&mut self) {
        self.guide = Guide::of(self.slots.iter().map(Slot::key));
    }

    /// Where a key is, or where it would be.
    pub(super) fn find(&self, key: &[u8]) -> Result<usize, usize> {
        self.guide.find(key, |at| self.slots[at].key())
    }

    fn change(
        &mut self,
        key: &[u8],
        make: impl FnOnce(Option<&Slot>) -> Option<(Bytes, Change)>,
    ) -> Grown {
        let mut grown = Grown::default();
        match self.find(key) {
            Ok(at) => {
                let slot = &mut self.slots[at];
                let Some((newest, change)) = make(Some(slot)) else { return grown };
                debug_assert_eq!(crate::kv::canonical_key(&newest), key);
                grown.before = Summary::of(slot);
                slot.advance(newest, change);
                grown.after = Summary::of(slot);
                if grown.before.live != grown.after.live {
                    grown.after.turned = change.main();
                }
            }
            Err(at) => {
                let Some((newest, change)) = make(None) else { return grown };
                debug_assert_eq!(crate::kv::canonical_key(&newest), key);
                let slot = Slot::new(newest, change);
                grown.after = Summary { turned: change.main(), ..Summary::of(&slot) };
                self.insert(at, slot);
                grown.split = (self.slots.len() > LEAF_MAX).then(|| self.split(at));
            }
        }
        grown
    }

    fn insert(&mut self, at: usize, slot: Slot) {
        let guided = self.guide.insert(at, slot.key());
        if self.slots.len() == self.slots.capacity() {
            self.slots.reserve_exact(LEAF_GROWTH);
        }
        self.slots.insert(at, slot);
        if !guided {
            self.renew_guide();
        }
    }

    fn split(&mut self, inserted: usize) -> Split {
        let ascending = inserted + 1 == self.slots.len();
        let right = self.slots.split_off(if ascending { LEAF_MAX } else { LEAF_MAX / 2 });
        self.slots.shrink_to_fit();
        self.renew_guide();
        let separator = shortest_between(
            self.slots.last().expect("half of a full leaf").key(),
            right.first().expect("half of a full leaf").key(),
        );
        Split { separator, right: Child::new(Node::Leaf(Leaf::new(right))) }
    }
}

/// The shortest prefix of `right` that is above `left`.
fn shortest_between(left: &[u8], right: &[u8]) -> Box<[u8]> {
    let same = left.iter().zip(right).take_while(|(left, right)| left == right).count();
    right[..same + 1].into()
}
