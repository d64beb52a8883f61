use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::Error;
use crate::node::{Child, Items, Loader, MAX_DEPTH, Node, child_index};
use crate::page::{BUCKET_ELEMENT, Kind, LeafItem, Page};

/// A page or a node of a write transaction, read alike.
#[derive(Debug, Clone)]
pub(crate) enum Slot<'a> {
    Page(Arc<Page>),
    Node(&'a Node),
}

impl<'a> Slot<'a> {
    pub(crate) fn of(child: &'a Child, loader: Loader<'_>) -> Result<Self, Error> {
        Ok(match child {
            Child::Page(id) => Self::Page(loader.load(*id)?),
            Child::Node(node) => Self::Node(node),
        })
    }

    fn id(&self) -> u64 {
        match self {
            Self::Page(page) => page.id(),
            Self::Node(node) => node.origin.map_or(0, |run| run.start),
        }
    }

    fn is_leaf(&self) -> bool {
        match self {
            Self::Page(page) => page.kind() == Kind::Leaf,
            Self::Node(node) => matches!(node.items, Items::Leaf(_)),
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::Page(page) => page.count(),
            Self::Node(node) => node.count(),
        }
    }

    fn item(&self, index: usize) -> Option<LeafItem> {
        match self {
            Self::Page(page) => page.item(index),
            Self::Node(node) => match &node.items {
                Items::Leaf(items) => items.get(index).cloned(),
                Items::Branch(_) => None,
            },
        }
    }

    fn child(&self, index: usize, loader: Loader<'_>) -> Result<Self, Error> {
        let missing = Error::corrupt(self.id(), "branch without children");
        match self {
            Self::Page(page) => {
                let id = page.child(index).ok_or(missing)?;
                Ok(Self::Page(loader.load(id)?))
            }
            Self::Node(node) => match &node.items {
                Items::Branch(items) => Slot::of(&items.get(index).ok_or(missing)?.child, loader),
                Items::Leaf(_) => Err(missing),
            },
        }
    }

    fn child_index(&self, key: &[u8]) -> usize {
        match self {
            Self::Page(page) => page.child_index(key),
            Self::Node(node) => match &node.items {
                Items::Branch(items) => child_index(items, key),
                Items::Leaf(_) => 0,
            },
        }
    }

    /// The flags and the value at an index of a leaf.
    fn value(&self, index: usize) -> Option<(u32, Bytes)> {
        match self {
            Self::Page(page) => page.value(index),
            Self::Node(_) => self.item(index).map(|item| (item.flags, item.value)),
        }
    }

    /// The first index of a leaf whose key is not below `key`, and whether it is `key`.
    fn search(&self, key: &[u8]) -> (usize, bool) {
        match self {
            Self::Page(page) => page.search(key),
            Self::Node(node) => match &node.items {
                Items::Leaf(items) => match items.binary_search_by(|item| (*item.key).cmp(key)) {
                    Ok(index) => (index, true),
                    Err(index) => (index, false),
                },
                Items::Branch(_) => (0, false),
            },
        }
    }
}

/// What a key holds.
#[derive(Debug)]
pub(crate) enum Found {
    Value(Bytes),
    Bucket(Bytes),
}

impl Found {
    pub(crate) fn into_value(self) -> Option<Bytes> {
        match self {
            Self::Value(value) => Some(value),
            Self::Bucket(_) => None,
        }
    }

    pub(crate) fn into_bucket(self) -> Option<Bytes> {
        match self {
            Self::Bucket(header) => Some(header),
            Self::Value(_) => None,
        }
    }
}

/// Looks for a key.
pub(crate) fn find(root: Slot<'_>, loader: Loader<'_>, key: &[u8]) -> Result<Option<Found>, Error> {
    let mut slot = root;
    for _ in 0..MAX_DEPTH {
        if slot.is_leaf() {
            let (index, exact) = slot.search(key);
            let value = if exact { slot.value(index) } else { None };
            return Ok(value.map(|(flags, value)| match flags & BUCKET_ELEMENT {
                0 => Found::Value(value),
                _ => Found::Bucket(value),
            }));
        }
        slot = slot.child(slot.child_index(key), loader)?;
    }
    Err(Error::corrupt(slot.id(), "tree too deep"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Up,
    Down,
}

/// A walk over the items between two bounds, in one direction.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    /// The way from the root to where the next item is: a slot and the index in it to visit next
    /// (counted from the top when going down, so that it never falls below zero: the item is the
    /// one before it).
    path: Vec<(Slot<'a>, usize)>,
    root: Option<Slot<'a>>,
    /// How many pages it stepped into.
    pages: u64,
    direction: Direction,
    start: Bound<Bytes>,
    end: Bound<Bytes>,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(
        root: Slot<'a>,
        direction: Direction,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
    ) -> Self {
        Self {
            path: Vec::new(),
            root: Some(root),
            pages: 0,
            direction,
            start: start.map(Bytes::copy_from_slice),
            end: end.map(Bytes::copy_from_slice),
        }
    }

    /// The next item. After an error or the end there is nothing more.
    pub(crate) fn next(&mut self, loader: Loader<'_>) -> Result<Option<LeafItem>, Error> {
        let step = self.step(loader);
        if !matches!(step, Ok(Some(_))) {
            self.root = None;
            self.path.clear();
        }
        step
    }

    fn step(&mut self, loader: Loader<'_>) -> Result<Option<LeafItem>, Error> {
        if let Some(root) = self.root.take() {
            self.seek(root, loader)?;
        }
        while let Some((slot, next)) = self.path.last_mut() {
            let index = match self.direction {
                Direction::Up => Some(*next).filter(|index| *index < slot.count()),
                Direction::Down => next.checked_sub(1),
            };
            let Some(index) = index else {
                self.path.pop();
                continue;
            };
            *next = match self.direction {
                Direction::Up => index + 1,
                Direction::Down => index,
            };
            if slot.is_leaf() {
                let Some(item) = slot.item(index) else { return Ok(None) };
                return Ok(Some(item).filter(|item| self.is_inside(&item.key)));
            }
            let child = slot.child(index, loader)?;
            self.enter(child, loader)?;
        }
        Ok(None)
    }

    /// Steps into a subtree whose items all lie ahead.
    fn enter(&mut self, slot: Slot<'a>, loader: Loader<'_>) -> Result<(), Error> {
        if self.path.len() >= MAX_DEPTH {
            return Err(Error::corrupt(slot.id(), "tree too deep"));
        }
        // A walk meets no page twice, so it ends; unless pages point to each other in a circle.
        self.pages += u64::from(matches!(slot, Slot::Page(_)));
        if self.pages > loader.high_water {
            return Err(Error::corrupt(slot.id(), "reached twice"));
        }
        let next = match self.direction {
            Direction::Up => 0,
            Direction::Down => slot.count(),
        };
        self.path.push((slot, next));
        Ok(())
    }

    /// Goes to the bound where the walk begins.
    fn seek(&mut self, root: Slot<'a>, loader: Loader<'_>) -> Result<(), Error> {
        let from = match self.direction {
            Direction::Up => self.start.clone(),
            Direction::Down => self.end.clone(),
        };
        let (key, inclusive) = match from {
            Bound::Unbounded => return self.enter(root, loader),
            Bound::Included(key) => (key, true),
            Bound::Excluded(key) => (key, false),
        };
        let mut slot = root;
        while !slot.is_leaf() {
            let index = slot.child_index(&key);
            let child = slot.child(index, loader)?;
            self.enter(slot, loader)?;
            if let Some((_, next)) = self.path.last_mut() {
                *next = match self.direction {
                    Direction::Up => index + 1,
                    Direction::Down => index,
                };
            }
            slot = child;
        }
        let (index, exact) = slot.search(&key);
        let skip = match self.direction {
            Direction::Up => exact && !inclusive,
            Direction::Down => exact && inclusive,
        };
        self.enter(slot, loader)?;
        if let Some((_, next)) = self.path.last_mut() {
            *next = index + usize::from(skip);
        }
        Ok(())
    }

    /// Whether the walk has not yet passed the bound where it ends.
    fn is_inside(&self, key: &[u8]) -> bool {
        match self.direction {
            Direction::Up => match &self.end {
                Bound::Unbounded => true,
                Bound::Included(end) => key <= &**end,
                Bound::Excluded(end) => key < &**end,
            },
            Direction::Down => match &self.start {
                Bound::Unbounded => true,
                Bound::Included(start) => key >= &**start,
                Bound::Excluded(start) => key > &**start,
            },
        }
    }
}
