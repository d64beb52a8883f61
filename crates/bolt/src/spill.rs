//! Turns a write transaction's nodes into pages, each exactly once.

use bytes::Bytes;

use crate::Error;
use crate::balance::Freed;
use crate::node::{BranchItem, Child, Items, Node};
use crate::page::{
    HEADER_LEN, LeafItem, MAX_ELEMENTS, Run, encode_branch, encode_leaf, leaf_item_len,
};

/// A page never has fewer elements after a split, and none with up to twice as many is split.
const MIN_ELEMENTS: usize = 2;

/// Where a commit puts its pages.
pub(crate) trait Space {
    /// A run for so many bytes.
    fn allocate(&mut self, len_bytes: usize) -> Result<Run, Error>;
    /// The finished page.
    fn write(&mut self, run: Run, page: Bytes) -> Result<(), Error>;
    fn page_size(&self) -> usize;
}

/// Writes what is new under `root` and returns the page that is the root now.
pub(crate) fn spill(
    root: Child,
    fill_percent: usize,
    space: &mut impl Space,
    freed: &mut Freed,
) -> Result<u64, Error> {
    let mut top = spill_child(Bytes::new(), root, fill_percent, space, freed)?;
    loop {
        match top.as_slice() {
            [(_, page)] => return Ok(*page),
            [] => return Err(Error::corrupt(0, "tree without a root")),
            _ => {}
        }
        let item = |(key, page)| BranchItem { key, child: Child::Page(page) };
        let items = top.into_iter().map(item).collect();
        let root = Child::Node(Box::new(Node::new(Items::Branch(items))));
        top = spill_child(Bytes::new(), root, fill_percent, space, freed)?;
    }
}

/// Writes a subtree; returns the pages that take its place, with their first keys.
fn spill_child(
    key: Bytes,
    child: Child,
    fill_percent: usize,
    space: &mut impl Space,
    freed: &mut Freed,
) -> Result<Vec<(Bytes, u64)>, Error> {
    let node = match child {
        Child::Page(page) => return Ok(vec![(key, page)]),
        Child::Node(node) => node,
    };
    if let (false, Some(origin)) = (node.dirty, node.origin) {
        return Ok(vec![(key, origin.start)]);
    }
    freed.extend(node.origin);
    match node.items {
        Items::Leaf(items) => spill_leaf(&items, fill_percent, space),
        Items::Branch(items) => {
            let mut children = Vec::with_capacity(items.len());
            for item in items {
                children.extend(spill_child(item.key, item.child, fill_percent, space, freed)?);
            }
            spill_branch(&children, fill_percent, space)
        }
    }
}

fn spill_leaf(
    mut items: &[LeafItem],
    fill_percent: usize,
    space: &mut impl Space,
) -> Result<Vec<(Bytes, u64)>, Error> {
    let page_size = space.page_size();
    let mut pages = Vec::new();
    loop {
        let lens = items.iter().map(leaf_item_len);
        let (head, rest) = items.split_at(first_page(lens, items.len(), page_size, fill_percent));
        let len = HEADER_LEN + head.iter().map(leaf_item_len).sum::<usize>();
        let run = space.allocate(len)?;
        space.write(run, encode_leaf(head, Some(run), page_size)?)?;
        let key = head.first().map(|item| item.key.clone()).unwrap_or_default();
        pages.push((key, run.start));
        if rest.is_empty() {
            return Ok(pages);
        }
        items = rest;
    }
}

fn spill_branch(
    mut children: &[(Bytes, u64)],
    fill_percent: usize,
    space: &mut impl Space,
) -> Result<Vec<(Bytes, u64)>, Error> {
    let page_size = space.page_size();
    let len_of = |(key, _): &(Bytes, u64)| crate::page::ELEMENT_LEN + key.len();
    let mut pages = Vec::new();
    loop {
        let lens = children.iter().map(len_of);
        let cut = first_page(lens, children.len(), page_size, fill_percent);
        let (head, rest) = children.split_at(cut);
        let len = HEADER_LEN + head.iter().map(len_of).sum::<usize>();
        let run = space.allocate(len)?;
        space.write(run, encode_branch(head, run, page_size)?)?;
        let key = head.first().map(|(key, _)| key.clone()).unwrap_or_default();
        pages.push((key, run.start));
        if rest.is_empty() {
            return Ok(pages);
        }
        children = rest;
    }
}

/// How many of the elements go onto the first page: all when they fit or are few, else as many as
/// fill it to the percentage, at least two, leaving at least two.
fn first_page(
    lens: impl Iterator<Item = usize> + Clone,
    count: usize,
    page_size: usize,
    fill_percent: usize,
) -> usize {
    if count <= MIN_ELEMENTS * 2 || count <= MAX_ELEMENTS && fits(lens.clone(), page_size) {
        return count;
    }
    let limit = page_size * fill_percent / 100;
    let mut len = HEADER_LEN;
    for (index, next) in lens.take(count - MIN_ELEMENTS).enumerate() {
        if index >= MIN_ELEMENTS && len + next > limit || index >= MAX_ELEMENTS {
            return index;
        }
        len += next;
    }
    count - MIN_ELEMENTS
}

/// Whether a page has room for all; stops counting as soon as it has not.
fn fits(lens: impl Iterator<Item = usize>, page_size: usize) -> bool {
    let mut room = page_size - HEADER_LEN;
    for len in lens {
        if len >= room {
            return false;
        }
        room -= len;
    }
    true
}
