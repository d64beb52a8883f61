//! A counted B+tree of slots.
//!
//! ```text
//!                 inner: separators  "c"  "m"
//!                        child       child       child        each with its summary:
//!                      live 40     live 52     live 7           live keys, loose keys,
//!                      newest 90   newest 12   newest 88        newest main revision
//!                        |           |           |
//!                      leaf        leaf        leaf           slots in key order
//! ```
//!
//! The summaries answer "how many keys live in this range now" without looking at the keys, and
//! "... lived at revision r" by looking only where something changed after r. They also lead a
//! compaction past all keys that have nothing to drop.

use std::ops::{AddAssign, SubAssign};

use bytes::Bytes;

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
    /// No change below has a greater main revision.
    pub(super) newest: i64,
}

impl Summary {
    fn of(slot: &Slot) -> Self {
        Self {
            live: usize::from(slot.is_live()),
            loose: usize::from(slot.is_loose()),
            hot_bytes: slot.hot_bytes(),
            newest: slot.change().main(),
        }
    }
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.live += other.live;
        self.loose += other.loose;
        self.hot_bytes += other.hot_bytes;
        self.newest = self.newest.max(other.newest);
    }
}

impl SubAssign for Summary {
    /// `newest` stays: a bound that is too high costs time, never an answer.
    fn sub_assign(&mut self, other: Self) {
        self.live -= other.live;
        self.loose -= other.loose;
        self.hot_bytes -= other.hot_bytes;
    }
}

#[derive(Debug)]
pub(super) enum Node {
    Leaf(Vec<Slot>),
    Inner(Box<Inner>),
}

/// `separators[i]` is above every key of `children[i]` and not above any of `children[i + 1]`.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) separators: Vec<Box<[u8]>>,
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
        Self { summary: Summary::default(), node: Node::Leaf(Vec::new()) }
    }

    fn new(node: Node) -> Self {
        Self { summary: node.summarise(), node }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Slot> {
        let mut node = &self.node;
        loop {
            match node {
                Node::Leaf(slots) => return find(slots, key).ok().map(|at| &slots[at]),
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
            let inner = Inner { separators: vec![separator], children: vec![left, right] };
            *self = Self::new(Node::Inner(Box::new(inner)));
        }
    }

    fn change_below(
        &mut self,
        key: &[u8],
        make: impl FnOnce(Option<&Slot>) -> Option<(Bytes, Change)>,
    ) -> Grown {
        let grown = match &mut self.node {
            Node::Leaf(slots) => change_leaf(slots, key, make),
            Node::Inner(inner) => {
                let at = inner.child_of(key);
                let mut grown = inner.children[at].change_below(key, make);
                grown.split = grown.split.and_then(|split| inner.take_in(at, split));
                grown
            }
        };
        self.summary += grown.after;
        self.summary -= grown.before;
        if grown.split.is_some() {
            self.summary = self.node.summarise();
        }
        grown
    }
}

impl Node {
    pub(super) fn summarise(&self) -> Summary {
        let mut sum = Summary::default();
        match self {
            Self::Leaf(slots) => slots.iter().for_each(|slot| sum += Summary::of(slot)),
            Self::Inner(inner) => inner.children.iter().for_each(|child| sum += child.summary),
        }
        sum
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Leaf(slots) => slots.len(),
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
    /// The child that holds the key if any does.
    pub(super) fn child_of(&self, key: &[u8]) -> usize {
        self.separators.partition_point(|separator| separator.as_ref() <= key)
    }

    /// Adds the right half of child `at`; splits where that is one too many.
    fn take_in(&mut self, at: usize, split: Split) -> Option<Split> {
        self.separators.insert(at, split.separator);
        self.children.insert(at + 1, split.right);
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
        let right = Inner { separators, children };
        Some(Split { separator, right: Child::new(Node::Inner(Box::new(right))) })
    }

    /// Drops children that became empty and joins those that became small with a neighbour.
    pub(super) fn tidy(&mut self) {
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
                left.reserve_exact(right.len());
                left.extend(right);
            }
            (Node::Inner(left), Node::Inner(right)) => {
                left.separators.push(separator);
                left.separators.extend(right.separators);
                left.children.extend(right.children);
            }
            _ => unreachable!("all leaves are equally deep"),
        }
    }
}

fn change_leaf(
    slots: &mut Vec<Slot>,
    key: &[u8],
    make: impl FnOnce(Option<&Slot>) -> Option<(Bytes, Change)>,
) -> Grown {
    let mut grown = Grown::default();
    match find(slots, key) {
        Ok(at) => {
            let slot = &mut slots[at];
            let Some((newest, change)) = make(Some(slot)) else { return grown };
            debug_assert_eq!(crate::kv::canonical_key(&newest), key);
            grown.before = Summary::of(slot);
            slot.advance(newest, change);
            grown.after = Summary::of(slot);
        }
        Err(at) => {
            let Some((newest, change)) = make(None) else { return grown };
            debug_assert_eq!(crate::kv::canonical_key(&newest), key);
            let slot = Slot::new(newest, change);
            grown.after = Summary::of(&slot);
            if slots.len() == slots.capacity() {
                slots.reserve_exact(LEAF_GROWTH);
            }
            slots.insert(at, slot);
            grown.split = (slots.len() > LEAF_MAX).then(|| split_leaf(slots, at));
        }
    }
    grown
}

fn split_leaf(slots: &mut Vec<Slot>, inserted: usize) -> Split {
    let ascending = inserted + 1 == slots.len();
    let right = slots.split_off(if ascending { LEAF_MAX } else { LEAF_MAX / 2 });
    slots.shrink_to_fit();
    let separator = shortest_between(
        slots.last().expect("half of a full leaf").key(),
        right.first().expect("half of a full leaf").key(),
    );
    Split { separator, right: Child::new(Node::Leaf(right)) }
}

/// The shortest prefix of `right` that is above `left`.
fn shortest_between(left: &[u8], right: &[u8]) -> Box<[u8]> {
    let same = left.iter().zip(right).take_while(|(left, right)| left == right).count();
    right[..same + 1].into()
}

fn find(slots: &[Slot], key: &[u8]) -> Result<usize, usize> {
    slots.binary_search_by(|slot| slot.key().cmp(key))
}
