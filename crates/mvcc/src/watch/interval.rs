//! An interval tree: which of many spans hold this key?
//!
//! An AVL tree in an arena, ordered by (start, end); every node also knows the furthest end below
//! it, so a search leaves out the subtrees that stop before the key. Equal spans share one node.
//! The balance is strict on purpose: clients choose the spans, so a tree whose depth hangs on
//! luck could be bent into a list.

use std::cmp::Ordering;

use bytes::Bytes;

use super::range::{End, Span};

const NIL: u32 = u32::MAX;

#[derive(Debug)]
struct Node {
    span: Span,
    values: Vec<u32>,
    left: u32,
    right: u32,
    height: u8,
    /// The node of this subtree whose end is furthest.
    furthest: u32,
}

/// Values filed under spans.
#[derive(Debug)]
pub(super) struct IntervalTree {
    nodes: Vec<Node>,
    free: Vec<u32>,
    root: u32,
}

impl Default for IntervalTree {
    fn default() -> Self {
        Self { nodes: Vec::new(), free: Vec::new(), root: NIL }
    }
}

impl IntervalTree {
    /// Files `value` under `span`; returns its place among the values of that very span.
    pub(super) fn insert(&mut self, span: &Span, value: u32) -> u32 {
        if let Some(node) = self.find(span) {
            let values = &mut self.node_mut(node).values;
            values.push(value);
            return place(values.len() - 1);
        }
        let fresh = self.allocate(span.clone(), value);
        self.root = self.insert_below(self.root, fresh);
        0
    }

    /// Takes out the value at `at` of `span`. Returns the value that moved into its place, if one
    /// did: the last of the span's values fills the hole.
    pub(super) fn remove(&mut self, span: &Span, at: u32) -> Option<u32> {
        let node = self.find(span).expect("only what was inserted is removed");
        let values = &mut self.node_mut(node).values;
        values.swap_remove(at as usize);
        if let Some(moved) = values.get(at as usize) {
            return Some(*moved);
        }
        if values.is_empty() {
            self.root = self.remove_below(self.root, node);
            self.node_mut(node).span = Span { start: Bytes::new(), end: End::Open };
            self.free.push(node);
        }
        None
    }

    /// Calls `visit` with every value whose span holds `key`, in the order of the spans.
    pub(super) fn stab(&self, key: &[u8], visit: &mut impl FnMut(u32)) {
        self.stab_below(self.root, key, visit);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.root == NIL
    }

    fn stab_below(&self, at: u32, key: &[u8], visit: &mut impl FnMut(u32)) {
        if at == NIL || !self.furthest_end(at).is_after(key) {
            return;
        }
        let node = self.node(at);
        self.stab_below(node.left, key, visit);
        if node.span.start.as_ref() > key {
            return;
        }
        if node.span.end.is_after(key) {
            node.values.iter().for_each(|value| visit(*value));
        }
        self.stab_below(node.right, key, visit);
    }

    fn find(&self, span: &Span) -> Option<u32> {
        let mut at = self.root;
        while at != NIL {
            let node = self.node(at);
            at = match span.cmp(&node.span) {
                Ordering::Less => node.left,
                Ordering::Greater => node.right,
                Ordering::Equal => return Some(at),
            };
        }
        None
    }

    fn allocate(&mut self, span: Span, value: u32) -> u32 {
        let reused = self.free.pop();
        let at = reused.unwrap_or(place(self.nodes.len()));
        let node =
            Node { span, values: vec![value], left: NIL, right: NIL, height: 1, furthest: at };
        match reused {
            Some(at) => *self.node_mut(at) = node,
            None => self.nodes.push(node),
        }
        at
    }

    /// Hangs the new leaf `fresh` below `at`; returns the root of the subtree.
    fn insert_below(&mut self, at: u32, fresh: u32) -> u32 {
        if at == NIL {
            return fresh;
        }
        if self.node(fresh).span < self.node(at).span {
            let left = self.insert_below(self.node(at).left, fresh);
            self.node_mut(at).left = left;
        } else {
            let right = self.insert_below(self.node(at).right, fresh);
            self.node_mut(at).right = right;
        }
        self.balance(at)
    }

    /// Unhangs `gone`, which is below `at`; returns the root of the subtree.
    fn remove_below(&mut self, at: u32, gone: u32) -> u32 {
        if at == gone {
            return self.join_children(gone);
        }
        if self.node(gone).span < self.node(at).span {
            let left = self.remove_below(self.node(at).left, gone);
            self.node_mut(at).left = left;
        } else {
            let right = self.remove_below(self.node(at).right, gone);
            self.node_mut(at).right = right;
        }
        self.balance(at)
    }

    /// One tree of the two below `gone`: its successor takes its place.
    fn join_children(&mut self, gone: u32) -> u32 {
        let (left, right) = (self.node(gone).left, self.node(gone).right);
        if left == NIL {
            return right;
        }
        if right == NIL {
            return left;
        }
        let (rest, first) = self.take_first(right);
        let heir = self.node_mut(first);
        heir.left = left;
        heir.right = rest;
        self.balance(first)
    }

    /// Unhangs the first node below `at`; returns what is left of the subtree, and that node.
    fn take_first(&mut self, at: u32) -> (u32, u32) {
        let left = self.node(at).left;
        if left == NIL {
            return (self.node(at).right, at);
        }
        let (rest, first) = self.take_first(left);
        self.node_mut(at).left = rest;
        (self.balance(at), first)
    }

    /// Restores height, furthest end and balance of `at`, whose children are in order.
    fn balance(&mut self, at: u32) -> u32 {
        let (left, right) = (self.node(at).left, self.node(at).right);
        let (left_height, right_height) = (self.height(left), self.height(right));
        if left_height > right_height + 1 {
            if self.height(self.node(left).left) < self.height(self.node(left).right) {
                let pivot = self.rotate_left(left);
                self.node_mut(at).left = pivot;
            }
            return self.rotate_right(at);
        }
        if right_height > left_height + 1 {
            if self.height(self.node(right).right) < self.height(self.node(right).left) {
                let pivot = self.rotate_right(right);
                self.node_mut(at).right = pivot;
            }
            return self.rotate_left(at);
        }
        self.refresh(at);
        at
    }

    fn rotate_left(&mut self, at: u32) -> u32 {
        let up = self.node(at).right;
        let middle = self.node(up).left;
        self.node_mut(at).right = middle;
        self.node_mut(up).left = at;
        self.refresh(at);
        self.refresh(up);
        up
    }

    fn rotate_right(&mut self, at: u32) -> u32 {
        let up = self.node(at).left;
        let middle = self.node(up).right;
        self.node_mut(at).left = middle;
        self.node_mut(up).right = at;
        self.refresh(at);
        self.refresh(up);
        up
    }

    fn refresh(&mut self, at: u32) {
        let (left, right) = (self.node(at).left, self.node(at).right);
        let height = self.height(left).max(self.height(right)) + 1;
        let mut furthest = at;
        for child in [left, right] {
            if child != NIL && *self.furthest_end(child) > self.node(furthest).span.end {
                furthest = self.node(child).furthest;
            }
        }
        let node = self.node_mut(at);
        node.height = height;
        node.furthest = furthest;
    }

    fn furthest_end(&self, at: u32) -> &End {
        &self.node(self.node(at).furthest).span.end
    }

    fn height(&self, at: u32) -> u8 {
        if at == NIL { 0 } else { self.node(at).height }
    }

    fn node(&self, at: u32) -> &Node {
        &self.nodes[at as usize]
    }

    fn node_mut(&mut self, at: u32) -> &mut Node {
        &mut self.nodes[at as usize]
    }
}

/// An index as the arena stores it.
pub(super) fn place(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than four billion watchers")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: &str, end: &str) -> Span {
        let end = if end.is_empty() {
            End::Open
        } else {
            End::Before(Bytes::copy_from_slice(end.as_bytes()))
        };
        Span { start: Bytes::copy_from_slice(start.as_bytes()), end }
    }

    fn number_span(start: u32, end: u32) -> Span {
        span(&format!("{start:06}"), &format!("{end:06}"))
    }

    fn stab(tree: &IntervalTree, key: &str) -> Vec<u32> {
        let mut found = Vec::new();
        tree.stab(key.as_bytes(), &mut |value| found.push(value));
        found
    }

    /// Checks order, balance, heights and furthest ends below `at`; returns the spans in order.
    fn check(tree: &IntervalTree, at: u32, out: &mut Vec<Span>) -> u8 {
        if at == NIL {
            return 0;
        }
        let node = tree.node(at);
        let first = out.len();
        let left = check(tree, node.left, out);
        out.push(node.span.clone());
        let right = check(tree, node.right, out);
        assert!(left.abs_diff(right) <= 1, "balanced at {:?}", node.span);
        assert_eq!(node.height, left.max(right) + 1);
        let furthest = out[first..].iter().map(|span| &span.end).max();
        assert_eq!(Some(tree.furthest_end(at)), furthest);
        assert!(out.is_sorted());
        assert!(!node.values.is_empty());
        node.height
    }

    fn spans(tree: &IntervalTree) -> Vec<Span> {
        let mut out = Vec::new();
        check(tree, tree.root, &mut out);
        out
    }

    #[test]
    fn stab_finds_every_span_that_holds_the_key() {
        let mut tree = IntervalTree::default();
        for (value, (start, end)) in
            [("0", "1"), ("0", "2"), ("5", "6"), ("6", "8"), ("0", "3")].into_iter().enumerate()
        {
            tree.insert(&span(start, end), place(value));
        }
        assert_eq!(tree.furthest_end(tree.root), &span("6", "8").end);
        assert_eq!(stab(&tree, "0"), [0, 1, 4]);
        assert_eq!(stab(&tree, "1"), [1, 4]);
        assert_eq!(stab(&tree, "2"), [4]);
        assert_eq!(stab(&tree, "3"), [0; 0]);
        assert_eq!(stab(&tree, "5"), [2]);
        assert_eq!(stab(&tree, "55"), [2]);
        assert_eq!(stab(&tree, "6"), [3]);
        assert_eq!(stab(&tree, "8"), [0; 0]);
    }

    #[test]
    fn a_span_is_half_open() {
        let mut tree = IntervalTree::default();
        tree.insert(&span("1", "3"), 7);
        let held = ["0", "1", "11", "2", "3"].map(|key| !stab(&tree, key).is_empty());
        assert_eq!(held, [false, true, true, true, false]);
    }

    #[test]
    fn an_open_end_is_behind_every_key() {
        let mut tree = IntervalTree::default();
        tree.insert(&span("8", ""), 1);
        tree.insert(&span("\u{0}", ""), 2);
        assert_eq!(stab(&tree, "9"), [2, 1]);
        assert_eq!(stab(&tree, "7"), [2]);
        assert_eq!(stab(&tree, "\u{10ffff}\u{10ffff}"), [2, 1]);
    }

    #[test]
    fn ascending_spans_do_not_make_a_list() {
        let mut tree = IntervalTree::default();
        for value in 0..1000 {
            tree.insert(&number_span(value, value + 1), value);
        }
        assert_eq!(spans(&tree).len(), 1000);
        assert!(tree.node(tree.root).height <= 14, "height {}", tree.node(tree.root).height);
        for value in 0..1000 {
            assert_eq!(tree.remove(&number_span(value, value + 1), 0), None);
        }
        assert!(tree.is_empty());
    }

    #[test]
    fn deleting_inner_nodes_keeps_order_and_ends() {
        let starts = [510, 82, 830, 11, 383, 647, 899, 261, 410, 514, 815, 888, 972, 238, 292, 953];
        let mut tree = IntervalTree::default();
        for start in starts {
            tree.insert(&number_span(start, start + 1), start);
        }
        let mut left: Vec<u32> = starts.to_vec();
        left.sort_unstable();
        for gone in [514, 11, 510, 830, 383] {
            tree.remove(&number_span(gone, gone + 1), 0);
            left.retain(|start| *start != gone);
            let expected: Vec<_> = left.iter().map(|at| number_span(*at, at + 1)).collect();
            assert_eq!(spans(&tree), expected);
            assert_eq!(stab(&tree, &format!("{gone:06}")), [0; 0]);
        }
    }

    #[test]
    fn equal_spans_share_a_node_and_fill_holes_from_the_end() {
        let mut tree = IntervalTree::default();
        let both = span("a", "b");
        assert_eq!([1, 2, 3].map(|value| tree.insert(&both, value)), [0, 1, 2]);
        assert_eq!(tree.insert(&span("a", "c"), 4), 0, "another end is another span");
        assert_eq!(tree.remove(&both, 0), Some(3));
        assert_eq!(stab(&tree, "a"), [3, 2, 4]);
        assert_eq!(tree.remove(&both, 1), None);
        assert_eq!(tree.remove(&both, 0), None);
        assert_eq!(stab(&tree, "a"), [4]);
    }

    #[test]
    fn agrees_with_a_plain_list_under_random_changes() {
        let mut random = 0x9e37_79b9_u64;
        let mut next = move |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            u32::try_from(random % below).expect("small")
        };
        let mut tree = IntervalTree::default();
        let mut plain: Vec<(Span, u32)> = Vec::new();
        for step in 0..4000_u32 {
            if plain.is_empty() || next(100) < 55 {
                let start = next(120);
                let end = start + 1 + next(40);
                let span = if next(10) == 0 {
                    Span { end: End::Open, ..number_span(start, end) }
                } else {
                    number_span(start, end)
                };
                tree.insert(&span, step);
                plain.push((span, step));
            } else {
                let (span, value) = plain.swap_remove(next(plain.len() as u64) as usize);
                let node = tree.find(&span).expect("it is there");
                let at = tree.node(node).values.iter().position(|own| *own == value);
                tree.remove(&span, place(at.expect("its value too")));
            }
            if step % 64 == 0 {
                spans(&tree);
            }
            let key = format!("{:06}", next(170));
            let mut found = stab(&tree, &key);
            found.sort_unstable();
            let mut expected: Vec<u32> = plain
                .iter()
                .filter(|(span, _)| {
                    span.start <= key.as_bytes() && span.end.is_after(key.as_bytes())
                })
                .map(|(_, value)| *value)
                .collect();
            expected.sort_unstable();
            assert_eq!(found, expected, "at {key}");
        }
    }
}
