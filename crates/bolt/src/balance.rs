//! Joins what deletions made too small, by bbolt's rules: a leaf in a branch has at least one item,
//! a branch at least two children. bbolt asserts the latter when it deletes, so a file with a lone
//! child makes a Go etcd panic in its next compaction.

use crate::Error;
use crate::node::{BranchItem, Child, Items, Loader, MAX_DEPTH, Node};
use crate::page::Run;

/// Pages that lost their content, to be let go by the commit.
pub(crate) type Freed = Vec<Run>;

/// How small a node may become before it is joined with a neighbour.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Threshold(pub(crate) usize);

impl Threshold {
    /// Half of what a page is filled to.
    pub(crate) fn new(page_size: usize, fill_percent: usize) -> Self {
        Self(page_size * fill_percent / 200)
    }
}

/// Joins nodes under `root`, and makes the tree lower where its root has a lone child.
pub(crate) fn balance(
    root: &mut Child,
    loader: Loader<'_>,
    threshold: Threshold,
    freed: &mut Freed,
) -> Result<(), Error> {
    if !matches!(root, Child::Node(node) if node.dirty) {
        return Ok(());
    }
    settle(root, loader, threshold, freed, 0)?;
    for _ in 0..MAX_DEPTH {
        let node = root.node(loader)?;
        let Items::Branch(items) = &mut node.items else { return Ok(()) };
        match items.len() {
            0 => node.items = Items::Leaf(Vec::new()),
            1 => {
                freed.extend(node.origin);
                match items.pop() {
                    Some(only) => *root = only.child,
                    None => return Ok(()),
                }
            }
            _ => return Ok(()),
        }
    }
    Err(Error::corrupt(0, "tree too deep"))
}

fn settle(
    child: &mut Child,
    loader: Loader<'_>,
    threshold: Threshold,
    freed: &mut Freed,
    depth: usize,
) -> Result<(), Error> {
    let Child::Node(node) = child else { return Ok(()) };
    if depth > MAX_DEPTH {
        return Err(Error::corrupt(0, "tree too deep"));
    }
    if !node.dirty {
        return Ok(());
    }
    let Items::Branch(items) = &mut node.items else { return Ok(()) };
    for item in items.iter_mut() {
        settle(&mut item.child, loader, threshold, freed, depth + 1)?;
    }
    let count = items.len();
    *items = join(std::mem::take(items), loader, threshold, freed, depth)?;
    node.shrunk |= items.len() < count;
    Ok(())
}

/// Drops empty children and joins each that is too small with the one on its left, or the one on
/// its right with it.
fn join(
    items: Vec<BranchItem>,
    loader: Loader<'_>,
    threshold: Threshold,
    freed: &mut Freed,
    depth: usize,
) -> Result<Vec<BranchItem>, Error> {
    let mut joined: Vec<BranchItem> = Vec::with_capacity(items.len());
    for item in items {
        if let Child::Node(node) = &item.child
            && node.count() == 0
        {
            freed.extend(node.origin);
            continue;
        }
        match joined.last_mut() {
            Some(left) if is_small(&left.child, threshold) || is_small(&item.child, threshold) => {
                absorb(&mut left.child, item.child, loader, threshold, freed, depth)?;
            }
            _ => joined.push(item),
        }
    }
    Ok(joined)
}

fn is_small(child: &Child, threshold: Threshold) -> bool {
    match child {
        Child::Page(_) => false,
        Child::Node(node) => {
            let least = if matches!(node.items, Items::Leaf(_)) { 1 } else { 2 };
            node.count() < least || node.shrunk && node.len_bytes() <= threshold.0
        }
    }
}

/// Moves all of `right` to the end of `left`.
fn absorb(
    left: &mut Child,
    mut right: Child,
    loader: Loader<'_>,
    threshold: Threshold,
    freed: &mut Freed,
    depth: usize,
) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::corrupt(0, "tree too deep"));
    }
    let left: &mut Node = left.node(loader)?;
    let right = right.node(loader)?;
    freed.extend(right.origin);
    left.dirty = true;
    left.shrunk = true;
    match (&mut left.items, &mut right.items) {
        (Items::Leaf(to), Items::Leaf(from)) => to.append(from),
        (Items::Branch(to), Items::Branch(from)) => {
            to.append(from);
            // A lone child had no neighbour to be joined with before; now it has.
            *to = join(std::mem::take(to), loader, threshold, freed, depth + 1)?;
        }
        _ => {
            let page = right.origin.map_or(0, |run| run.start);
            return Err(Error::corrupt(page, "leaf and branch under one branch"));
        }
    }
    Ok(())
}
