use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::Error;
use crate::cursor::{Cursor, Direction, Found, Slot, find};
use crate::db::{Shared, Writer};
use crate::meta::Meta;
use crate::node::{BranchItem, Child, Items, Loader, Node};
use crate::page::{BUCKET_ELEMENT, BucketHeader, LeafItem, Page, Run};
use crate::walk::subtree_runs;

const MAX_KEY_LEN: usize = 32768;
const MAX_VALUE_LEN: usize = (1 << 31) - 2;
const DEFAULT_FILL_PERCENT: u8 = 50;

/// The one transaction that writes. Nothing of it is seen, and nothing touches the file, before
/// [`WriteTx::commit`]; dropped without it, it never was.
#[derive(Debug)]
pub struct WriteTx {
    pub(crate) shared: Arc<Shared>,
    /// The writer's seat, given back on drop.
    pub(crate) writer: Option<Box<Writer>>,
    /// The state that it changes.
    pub(crate) base: Meta,
    /// The tree of the buckets' names.
    pub(crate) root: Tree,
    /// The buckets that were asked for so far.
    pub(crate) open: BTreeMap<Bytes, Tree>,
    /// Pages of deleted buckets.
    pub(crate) freed: Vec<Run>,
}

/// A bucket in a write transaction.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) root: Child,
    pub(crate) sequence: u64,
    pub(crate) fill_percent: u8,
    /// Its header must be written anew.
    pub(crate) changed: bool,
}

impl Tree {
    pub(crate) fn new(root: Child, sequence: u64) -> Self {
        Self { root, sequence, fill_percent: DEFAULT_FILL_PERCENT, changed: false }
    }

    pub(crate) fn put(&mut self, loader: Loader<'_>, item: LeafItem) -> Result<(), Error> {
        self.changed = true;
        let Some(sibling) = self.root.put(loader, item, 0)? else { return Ok(()) };
        let lower = std::mem::replace(&mut self.root, Child::Page(0));
        // The key under which the first child stands matters to nobody before the commit.
        let first = BranchItem { key: Bytes::new(), child: lower };
        let items = Items::Branch(vec![first, sibling]);
        self.root = Child::Node(Box::new(Node::new(items)));
        Ok(())
    }
}

impl WriteTx {
    /// Makes the bucket; `false` where it was there already.
    pub fn create_bucket(&mut self, name: &[u8]) -> Result<bool, Error> {
        if self.open(name)?.is_some() {
            return Ok(false);
        }
        check_key(name).map_err(|error| match error {
            Error::KeyRequired => Error::BucketNameRequired,
            other => other,
        })?;
        let name = Bytes::copy_from_slice(name);
        let mut tree = Tree::new(Child::Node(Box::new(Node::empty_leaf())), 0);
        tree.changed = true;
        let value = BucketHeader { root: 0, sequence: 0, inline: Bytes::new() }.encode();
        let loader = Loader { pager: &self.shared.pager, high_water: self.base.high_water };
        self.root.put(loader, LeafItem { flags: BUCKET_ELEMENT, key: name.clone(), value })?;
        self.open.insert(name, tree);
        Ok(true)
    }

    /// Removes the bucket with all that is in it.
    pub fn delete_bucket(&mut self, name: &[u8]) -> Result<(), Error> {
        self.tree(name)?;
        let loader = Loader { pager: &self.shared.pager, high_water: self.base.high_water };
        let mut runs = Vec::new();
        if let Some(tree) = self.open.get(name) {
            subtree_runs(&tree.root, loader, &mut runs)?;
        }
        self.root.changed |= self.root.root.delete(loader, name, true, 0)?;
        // Nothing can fail from here on: the bucket goes whole or not at all.
        self.open.remove(name);
        self.freed.append(&mut runs);
        Ok(())
    }

    /// The names of all buckets, ascending.
    pub fn buckets(&self) -> Result<Vec<Bytes>, Error> {
        let slot = Slot::of(&self.root.root, self.loader())?;
        let mut cursor = Cursor::new(slot, Direction::Up, Bound::Unbounded, Bound::Unbounded);
        let mut names = Vec::new();
        while let Some(item) = cursor.next(self.loader())? {
            if item.is_bucket() {
                names.push(item.key);
            }
        }
        Ok(names)
    }

    /// How full pages of this bucket are made when they split, for this transaction: 50 leaves
    /// room for keys that come in between, 90 suits keys that only ever come at the end.
    pub fn set_fill_percent(&mut self, bucket: &[u8], percent: u8) -> Result<(), Error> {
        self.tree(bucket)?.fill_percent = percent.clamp(10, 100);
        Ok(())
    }

    /// Puts a value at a key.
    pub fn put(&mut self, bucket: &[u8], key: Bytes, value: Bytes) -> Result<(), Error> {
        check_key(&key)?;
        if value.len() > MAX_VALUE_LEN {
            return Err(Error::ValueTooLarge(value.len()));
        }
        let loader = Loader { pager: &self.shared.pager, high_water: self.base.high_water };
        let tree = open_tree(&mut self.open, &self.root, loader, bucket)?;
        let tree = tree.ok_or_else(|| not_found(bucket))?;
        tree.put(loader, LeafItem { flags: 0, key, value })
    }

    /// Removes a key; whether it was there.
    pub fn delete(&mut self, bucket: &[u8], key: &[u8]) -> Result<bool, Error> {
        let loader = Loader { pager: &self.shared.pager, high_water: self.base.high_water };
        let tree = open_tree(&mut self.open, &self.root, loader, bucket)?;
        let tree = tree.ok_or_else(|| not_found(bucket))?;
        let gone = tree.root.delete(loader, key, false, 0)?;
        tree.changed |= gone;
        Ok(gone)
    }

    /// The value at a key, as this transaction left it.
    pub fn get(&mut self, bucket: &[u8], key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.tree(bucket)?;
        let found = match self.open.get(bucket) {
            Some(tree) => find(Slot::of(&tree.root, self.loader())?, self.loader(), key)?,
            None => None,
        };
        Ok(found.and_then(Found::into_value))
    }

    /// Keys and values between two bounds, ascending, as this transaction left them.
    pub fn range(
        &mut self,
        bucket: &[u8],
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
    ) -> Result<WriteRange<'_>, Error> {
        self.tree(bucket)?;
        let Some(tree) = self.open.get(bucket) else { return Err(not_found(bucket)) };
        let slot = Slot::of(&tree.root, self.loader())?;
        let cursor = Cursor::new(slot, Direction::Up, start, end);
        Ok(WriteRange { loader: self.loader(), cursor })
    }

    /// Forgets all changes and begins anew, without leaving the seat.
    pub(crate) fn start_over(&mut self) {
        self.base = self.shared.current();
        self.root = Tree::new(Child::Page(self.base.root), self.base.sequence);
        self.open.clear();
        self.freed.clear();
    }

    pub(crate) fn loader(&self) -> Loader<'_> {
        Loader { pager: &self.shared.pager, high_water: self.base.high_water }
    }

    pub(crate) fn tree(&mut self, name: &[u8]) -> Result<&mut Tree, Error> {
        self.open(name)?.ok_or_else(|| not_found(name))
    }

    fn open(&mut self, name: &[u8]) -> Result<Option<&mut Tree>, Error> {
        let loader = Loader { pager: &self.shared.pager, high_water: self.base.high_water };
        open_tree(&mut self.open, &self.root, loader, name)
    }
}

/// The bucket of this name, read on its first use.
fn open_tree<'a>(
    open: &'a mut BTreeMap<Bytes, Tree>,
    root: &Tree,
    loader: Loader<'_>,
    name: &[u8],
) -> Result<Option<&'a mut Tree>, Error> {
    if !open.contains_key(name) {
        let value = match find(Slot::of(&root.root, loader)?, loader, name)? {
            Some(Found::Bucket(value)) => value,
            Some(Found::Value(_)) => return Err(Error::Incompatible),
            None => return Ok(None),
        };
        let header = BucketHeader::decode(&value)?;
        let root = match header.root {
            0 => {
                let page = Page::parse_inline(header.inline)?;
                Child::Node(Box::new(Node::from_page(&page)))
            }
            id => Child::Page(id),
        };
        open.insert(Bytes::copy_from_slice(name), Tree::new(root, header.sequence));
    }
    Ok(open.get_mut(name))
}

impl Drop for WriteTx {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.shared.give_back(writer);
        }
    }
}

/// An iterator over what a [`WriteTx`] holds. After an error it ends.
#[derive(Debug)]
pub struct WriteRange<'a> {
    loader: Loader<'a>,
    cursor: Cursor<'a>,
}

impl Iterator for WriteRange<'_> {
    type Item = Result<(Bytes, Bytes), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.cursor.next(self.loader) {
                Ok(Some(item)) if item.is_bucket() => {}
                Ok(item) => return item.map(|item| Ok((item.key, item.value))),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

fn check_key(key: &[u8]) -> Result<(), Error> {
    match key.len() {
        0 => Err(Error::KeyRequired),
        1..=MAX_KEY_LEN => Ok(()),
        len => Err(Error::KeyTooLarge(len)),
    }
}

fn not_found(name: &[u8]) -> Error {
    Error::BucketNotFound(String::from_utf8_lossy(name).into_owned())
}
