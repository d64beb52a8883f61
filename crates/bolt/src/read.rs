use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::Error;
use crate::cursor::{Cursor, Direction, Found, Slot, find};
use crate::db::Shared;
use crate::meta::Meta;
use crate::node::Loader;
use crate::page::{BucketHeader, Page};
use crate::pager::Pager;

/// One committed state of the db, frozen for as long as this (or anything made from it) lives.
///
/// It owns what it needs, so it can be kept anywhere and used from any thread. It waits for
/// nobody and nobody waits for it; but pages that it can see are not used again while it lives.
#[derive(Debug, Clone)]
pub struct ReadTx {
    pub(crate) snapshot: Arc<Snapshot>,
}

/// The pages of one state, kept from being written on.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) shared: Arc<Shared>,
    pub(crate) meta: Meta,
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.shared.leave(self.meta.txid);
    }
}

impl Snapshot {
    pub(crate) fn loader(&self) -> Loader<'_> {
        Loader { pager: self.pager(), high_water: self.meta.high_water }
    }

    pub(crate) fn pager(&self) -> &Pager {
        &self.shared.pager
    }
}

impl ReadTx {
    /// The transaction that wrote this state; each commit counts one up.
    pub fn txid(&self) -> u64 {
        self.snapshot.meta.txid
    }

    /// The bucket of this name.
    pub fn bucket(&self, name: &[u8]) -> Result<Option<Bucket>, Error> {
        self.root()?.bucket(name)
    }

    /// The names of all buckets, ascending.
    pub fn buckets(&self) -> Result<Vec<Bytes>, Error> {
        self.root()?.buckets()
    }

    fn root(&self) -> Result<Bucket, Error> {
        let root = self.snapshot.loader().load(self.snapshot.meta.root)?;
        let sequence = self.snapshot.meta.sequence;
        Ok(Bucket { snapshot: Arc::clone(&self.snapshot), root, sequence })
    }
}

/// Keys and values in a [`ReadTx`].
#[derive(Debug, Clone)]
pub struct Bucket {
    snapshot: Arc<Snapshot>,
    root: Arc<Page>,
    sequence: u64,
}

impl Bucket {
    /// The value at a key, sharing the memory of the page that it is on. A key that holds a
    /// nested bucket has no value.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let found = find(self.slot(), self.snapshot.loader(), key)?;
        Ok(found.and_then(Found::into_value))
    }

    /// Keys and values between two bounds, ascending.
    pub fn range(&self, start: Bound<&[u8]>, end: Bound<&[u8]>) -> Range {
        self.walk(Direction::Up, start, end)
    }

    /// Keys and values between two bounds, descending.
    pub fn range_reverse(&self, start: Bound<&[u8]>, end: Bound<&[u8]>) -> Range {
        self.walk(Direction::Down, start, end)
    }

    /// The nested bucket at a key.
    pub fn bucket(&self, name: &[u8]) -> Result<Option<Bucket>, Error> {
        let found = find(self.slot(), self.snapshot.loader(), name)?;
        found.and_then(Found::into_bucket).map(|header| self.open(&header)).transpose()
    }

    /// The names of the nested buckets, ascending.
    pub fn buckets(&self) -> Result<Vec<Bytes>, Error> {
        let everything = (Bound::Unbounded, Bound::Unbounded);
        let mut cursor = Cursor::new(self.slot(), Direction::Up, everything.0, everything.1);
        let mut names = Vec::new();
        while let Some(item) = cursor.next(self.snapshot.loader())? {
            if item.is_bucket() {
                names.push(item.key);
            }
        }
        Ok(names)
    }

    /// A number that the file keeps for the bucket's users.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    fn open(&self, value: &Bytes) -> Result<Self, Error> {
        let header = BucketHeader::decode(value)?;
        let root = match header.root {
            0 => Arc::new(Page::parse_inline(header.inline)?),
            id => self.snapshot.loader().load(id)?,
        };
        let snapshot = Arc::clone(&self.snapshot);
        Ok(Self { snapshot, root, sequence: header.sequence })
    }

    fn slot(&self) -> Slot<'static> {
        Slot::Page(Arc::clone(&self.root))
    }

    fn walk(&self, direction: Direction, start: Bound<&[u8]>, end: Bound<&[u8]>) -> Range {
        let cursor = Cursor::new(self.slot(), direction, start, end);
        Range { snapshot: Arc::clone(&self.snapshot), cursor }
    }
}

/// An iterator over keys and values; it owns its snapshot. After an error it ends.
#[derive(Debug)]
pub struct Range {
    snapshot: Arc<Snapshot>,
    cursor: Cursor<'static>,
}

impl Iterator for Range {
    type Item = Result<(Bytes, Bytes), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.cursor.next(self.snapshot.loader()) {
                Ok(Some(item)) if item.is_bucket() => {}
                Ok(item) => return item.map(|item| Ok((item.key, item.value))),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
