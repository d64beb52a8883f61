use std::sync::Arc;

use bytes::Bytes;

use crate::Error;
use crate::page::{ELEMENT_LEN, HEADER_LEN, Kind, LeafItem, Page, Run, leaf_item_len};
use crate::pager::Pager;

/// No sound tree is this deep: with two children a branch it would need 2^48 pages. A cycle of
/// pages is.
pub(crate) const MAX_DEPTH: usize = 48;
/// A leaf in memory is cut in two when a key is put into the midst of so many: moving the rest up
/// costs more than a step down. Keys put at the end do not move anything.
const CROWDED: usize = 512;

/// Where nodes come from: the pages of one committed state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loader<'a> {
    pub(crate) pager: &'a Pager,
    pub(crate) high_water: u64,
}

impl Loader<'_> {
    pub(crate) fn load(&self, id: u64) -> Result<Arc<Page>, Error> {
        self.pager.load(id, self.high_water)
    }
}

/// A subtree: a page as it stands in the file, or a node in memory that a write transaction made
/// of it. Nodes are made on the way to a change, and become pages again at the commit, once.
#[derive(Debug)]
pub(crate) enum Child {
    Page(u64),
    Node(Box<Node>),
}

#[derive(Debug)]
pub(crate) struct Node {
    /// The pages that it was read from, which are let go when it is written anew.
    pub(crate) origin: Option<Run>,
    /// Something in it or under it was changed.
    pub(crate) dirty: bool,
    /// Something was taken out of it: it may have become too small.
    pub(crate) shrunk: bool,
    pub(crate) items: Items,
}

#[derive(Debug)]
pub(crate) enum Items {
    Leaf(Vec<LeafItem>),
    Branch(Vec<BranchItem>),
}

#[derive(Debug)]
pub(crate) struct BranchItem {
    pub(crate) key: Bytes,
    pub(crate) child: Child,
}

impl Node {
    pub(crate) fn new(items: Items) -> Self {
        Self { origin: None, dirty: true, shrunk: false, items }
    }

    pub(crate) fn empty_leaf() -> Self {
        Self::new(Items::Leaf(Vec::new()))
    }

    pub(crate) fn from_page(page: &Page) -> Self {
        let all = 0..page.count();
        let items = match page.kind() {
            Kind::Leaf => Items::Leaf(all.filter_map(|index| page.item(index)).collect()),
            Kind::Branch => {
                let item = |index| {
                    let child = Child::Page(page.child(index)?);
                    Some(BranchItem { key: page.key_bytes(index), child })
                };
                Items::Branch(all.filter_map(item).collect())
            }
        };
        let origin = Some(page.run()).filter(|run| run.len > 0);
        Self { origin, dirty: false, shrunk: false, items }
    }

    pub(crate) fn count(&self) -> usize {
        match &self.items {
            Items::Leaf(items) => items.len(),
            Items::Branch(items) => items.len(),
        }
    }

    /// The bytes that it takes when written onto one page.
    pub(crate) fn len_bytes(&self) -> usize {
        let body: usize = match &self.items {
            Items::Leaf(items) => items.iter().map(leaf_item_len).sum(),
            Items::Branch(items) => items.iter().map(branch_item_len).sum(),
        };
        HEADER_LEN + body
    }
}

pub(crate) fn branch_item_len(item: &BranchItem) -> usize {
    ELEMENT_LEN + item.key.len()
}

/// What a put found in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Found(usize),
    Missing(usize),
}

impl Child {
    /// The node in memory, made of the page at need.
    pub(crate) fn node(&mut self, loader: Loader<'_>) -> Result<&mut Node, Error> {
        if let Self::Page(id) = *self {
            *self = Self::Node(Box::new(Node::from_page(&*loader.load(id)?)));
        }
        match self {
            Self::Node(node) => Ok(node),
            Self::Page(id) => Err(Error::corrupt(*id, "page did not become a node")),
        }
    }

    /// Puts an item at its key, in place of one that is there. Returns a new right sibling when
    /// the node was cut in two.
    pub(crate) fn put(
        &mut self,
        loader: Loader<'_>,
        item: LeafItem,
        depth: usize,
    ) -> Result<Option<BranchItem>, Error> {
        let node = self.node(loader)?;
        let id = node.origin.map_or(0, |run| run.start);
        if depth > MAX_DEPTH {
            return Err(Error::corrupt(id, "tree too deep"));
        }
        match &mut node.items {
            Items::Branch(children) => {
                let index = child_index(children, &item.key);
                let branch = children.get_mut(index);
                let branch = branch.ok_or(Error::corrupt(id, "branch without children"))?;
                let sibling = branch.child.put(loader, item, depth + 1)?;
                node.dirty = true;
                if let Some(sibling) = sibling {
                    children.insert(index + 1, sibling);
                }
                Ok(None)
            }
            Items::Leaf(items) => {
                let place = place(items, &item.key);
                let crowded = items.len() >= CROWDED && place != Place::Missing(items.len());
                match place {
                    Place::Found(index) => {
                        if let Some(old) = items.get_mut(index) {
                            if old.is_bucket() != item.is_bucket() {
                                return Err(Error::Incompatible);
                            }
                            *old = item;
                        }
                    }
                    Place::Missing(index) => items.insert(index, item),
                }
                node.dirty = true;
                Ok(if crowded { cut_in_two(items) } else { None })
            }
        }
    }

    /// Takes the key out; whether it was there. `bucket`: a bucket is meant, or a plain value.
    pub(crate) fn delete(
        &mut self,
        loader: Loader<'_>,
        key: &[u8],
        bucket: bool,
        depth: usize,
    ) -> Result<bool, Error> {
        let node = self.node(loader)?;
        let id = node.origin.map_or(0, |run| run.start);
        if depth > MAX_DEPTH {
            return Err(Error::corrupt(id, "tree too deep"));
        }
        let gone = match &mut node.items {
            Items::Branch(children) => {
                let index = child_index(children, key);
                let branch = children.get_mut(index);
                let branch = branch.ok_or(Error::corrupt(id, "branch without children"))?;
                branch.child.delete(loader, key, bucket, depth + 1)?
            }
            Items::Leaf(items) => match place(items, key) {
                Place::Missing(_) => false,
                Place::Found(index) => {
                    if items.get(index).is_some_and(|item| item.is_bucket() != bucket) {
                        return Err(Error::Incompatible);
                    }
                    items.remove(index);
                    node.shrunk = true;
                    true
                }
            },
        };
        node.dirty |= gone;
        Ok(gone)
    }
}

/// The child under which `key` belongs: the last whose key is not above it, or the first.
pub(crate) fn child_index(children: &[BranchItem], key: &[u8]) -> usize {
    match children.last() {
        // Keys mostly come in ascending order: at the end.
        Some(last) if last.key <= key => children.len() - 1,
        _ => children.partition_point(|item| item.key <= key).saturating_sub(1),
    }
}

/// Moves the upper half of a leaf's items to a new leaf on its right.
fn cut_in_two(items: &mut Vec<LeafItem>) -> Option<BranchItem> {
    let upper = items.split_off(items.len() / 2);
    let key = upper.first()?.key.clone();
    let child = Child::Node(Box::new(Node::new(Items::Leaf(upper))));
    Some(BranchItem { key, child })
}

fn place(items: &[LeafItem], key: &[u8]) -> Place {
    if items.last().is_none_or(|last| last.key < key) {
        return Place::Missing(items.len());
    }
    match items.binary_search_by(|item| (*item.key).cmp(key)) {
        Ok(index) => Place::Found(index),
        Err(index) => Place::Missing(index),
    }
}
