use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::commit::Room;
use crate::cursor::{Cursor, Direction, Slot};
use crate::node::{Child, Items, Loader, MAX_DEPTH, child_index};
use crate::page::{BucketHeader, Kind};
use crate::write::WriteTx;
use crate::{Db, Error};

/// What a step of [`Db::vacuum`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VacuumStep {
    /// Pages that were written anew further down, with those above them in their trees.
    pub moved_pages: u64,
    /// Bytes by which the file became shorter.
    pub cut_bytes: u64,
    /// Whether another step has something to do.
    pub more: bool,
}

impl Db {
    /// Moves up to `max_pages` pages from the end of the file into free ones further down, in one
    /// small transaction, and cuts off the end where nothing is left. Call it until there is no
    /// `more`; other transactions may come between. Readers are not disturbed: pages that one of
    /// them holds stay where they are, and are cut off by a step after it has gone.
    ///
    /// Pages of nested buckets are not moved, and neither is a page with many overflow pages for
    /// which no room can be made.
    pub fn vacuum(&self, max_pages: usize) -> Result<VacuumStep, Error> {
        let mut tx = self.write();
        let mut top = tx.topmost(max_pages.max(1))?;
        let highest = top.last_key_value().map(|(page, _)| *page);
        while let Some(lowest) = top.first_key_value().map(|(page, _)| *page) {
            match tx.move_below(lowest, top.values()) {
                Ok(moved_pages) => {
                    tx.restore_patience();
                    let cut_bytes = tx.cut(false)?;
                    return Ok(VacuumStep { moved_pages, cut_bytes, more: true });
                }
                // There is room for fewer.
                Err(Error::NoRoom) => {
                    let keep = top.len() / 2;
                    while top.len() > keep {
                        top.pop_first();
                    }
                    tx.start_over();
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(highest) = highest
            && let Some(moved_pages) = tx.make_room_for(highest)?
        {
            return Ok(VacuumStep { moved_pages, cut_bytes: 0, more: true });
        }
        let trimmed = tx.trim()?;
        Ok(VacuumStep { cut_bytes: tx.cut(trimmed)?, ..VacuumStep::default() })
    }
}

/// Where in which tree a page hangs.
#[derive(Debug)]
struct Spot {
    page: u64,
    /// None: the tree of the buckets' names.
    bucket: Option<Bytes>,
    key: Bytes,
}

type Top = BTreeMap<u64, Spot>;

impl WriteTx {
    /// The pages with the highest ids, up to `count`.
    fn topmost(&mut self, count: usize) -> Result<Top, Error> {
        let mut top = Top::new();
        match &self.writer {
            Some(writer) if writer.freelist.unused_pages() > 0 => {}
            _ => return Ok(top),
        }
        self.each_spot(&mut |page, spot| {
            if top.len() >= count && top.first_key_value().is_some_and(|(low, _)| *low > page) {
                return;
            }
            top.insert(page, spot());
            if top.len() > count {
                top.pop_first();
            }
        })?;
        Ok(top)
    }

    /// Visits all pages that can be moved. Only branches are read to find them.
    fn each_spot(&self, visit: &mut impl FnMut(u64, &dyn Fn() -> Spot)) -> Result<(), Error> {
        self.each_spot_of(None, self.base.root, visit)?;
        let slot = Slot::of(&self.root.root, self.loader())?;
        let mut buckets = Cursor::new(slot, Direction::Up, Bound::Unbounded, Bound::Unbounded);
        while let Some(item) = buckets.next(self.loader())? {
            if !item.is_bucket() {
                continue;
            }
            let root = BucketHeader::decode(&item.value)?.root;
            if root != 0 {
                self.each_spot_of(Some(item.key), root, visit)?;
            }
        }
        Ok(())
    }

    fn each_spot_of(
        &self,
        bucket: Option<Bytes>,
        root: u64,
        visit: &mut impl FnMut(u64, &dyn Fn() -> Spot),
    ) -> Result<(), Error> {
        let spot = |page, key| Spot { page, bucket: bucket.clone(), key };
        visit(root, &|| spot(root, Bytes::new()));
        let loader = self.loader();
        let mut branches = vec![(root, 0)];
        // A tree is as deep everywhere; one look tells where, and saves a leaf for each branch.
        // (Where a broken file says otherwise some pages are not moved.)
        let mut leaf_depth = None;
        let mut seen = 0;
        while let Some((id, depth)) = branches.pop() {
            seen += 1;
            if seen > loader.high_water {
                return Err(Error::corrupt(id, "reached twice"));
            }
            let page = loader.load(id)?;
            let Some(first) = page.child(0) else { continue };
            if leaf_depth.is_none() && loader.load(first)?.kind() == Kind::Leaf {
                leaf_depth = Some(depth + 1);
            }
            for index in 0..page.count() {
                let Some(child) = page.child(index) else { continue };
                visit(child, &|| spot(child, page.key_bytes(index)));
                if leaf_depth != Some(depth + 1) {
                    branches.push((child, depth + 1));
                }
            }
        }
        Ok(())
    }

    /// Moves pages out of the way so that a page with overflow pages, for which no free run is
    /// long enough, finds one at its next turn; how many pages, or none where that is of no use.
    fn make_room_for(&mut self, page: u64) -> Result<Option<u64>, Error> {
        self.start_over();
        let len = self.loader().load(page)?.run().len;
        let Some(writer) = self.writer.as_mut().filter(|w| len > 1 && w.patience > 0) else {
            return Ok(None);
        };
        writer.patience -= 1;
        let Some(hole) = writer.freelist.cheapest_hole(len, page) else { return Ok(None) };
        let mut spots = Vec::new();
        self.each_spot(&mut |page, spot| {
            if (hole.start..hole.end()).contains(&page) {
                spots.push(spot());
            }
        })?;
        let Some(writer) = self.writer.as_mut() else { return Ok(None) };
        let aside = writer.freelist.free.take_within(hole);
        let moved = self.move_below(page, spots.iter());
        if let Some(writer) = self.writer.as_mut() {
            for run in aside {
                // It was taken from there just now.
                let _ = writer.freelist.free.add(run);
            }
        }
        match moved {
            Ok(moved_pages) => Ok(Some(moved_pages)),
            Err(Error::NoRoom) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes these pages anew, below a page; how many pages were written.
    fn move_below<'a>(
        &mut self,
        page: u64,
        spots: impl Iterator<Item = &'a Spot>,
    ) -> Result<u64, Error> {
        for spot in spots {
            let shared = Arc::clone(&self.shared);
            let loader = Loader { pager: &shared.pager, high_water: self.base.high_water };
            let tree = match &spot.bucket {
                Some(name) => self.tree(name)?,
                None => &mut self.root,
            };
            if !touch(&mut tree.root, loader, spot, 0)? {
                return Err(Error::corrupt(spot.page, "page is not where it was"));
            }
            tree.changed = true;
        }
        Ok(self.write_out(Room::Below(page))?.pages_written)
    }

    /// Gives up the free pages at the end of the file; whether there were any.
    fn trim(&mut self) -> Result<bool, Error> {
        self.start_over();
        let before = self.base.high_water;
        if let Some(writer) = &mut self.writer {
            self.shared.release(writer);
            if !writer.freelist.free.ends_at(before) {
                return Ok(false);
            }
        }
        self.write_out(Room::Anywhere)?;
        Ok(self.shared.current().high_water < before)
    }

    /// Cuts off what is behind the last used page; how many bytes. Some of it is kept for growth,
    /// unless `all` is asked for.
    fn cut(&mut self, all: bool) -> Result<u64, Error> {
        let used = self.shared.current().len_bytes();
        let Some(writer) = &mut self.writer else { return Ok(0) };
        let spare = writer.file_len.saturating_sub(used);
        let keep = if all { 0 } else { self.shared.options.grow_bytes };
        if spare <= keep {
            return Ok(0);
        }
        self.shared.pager.file.set_len(used).map_err(Error::io("shorten"))?;
        writer.file_len = used;
        Ok(spare)
    }
}

/// Marks the page and all above it to be written anew; whether it was found.
fn touch(child: &mut Child, loader: Loader<'_>, spot: &Spot, depth: usize) -> Result<bool, Error> {
    if depth > MAX_DEPTH {
        return Err(Error::corrupt(spot.page, "tree too deep"));
    }
    let node = child.node(loader)?;
    let found = node.origin.is_some_and(|run| run.start == spot.page)
        || match &mut node.items {
            Items::Leaf(_) => false,
            Items::Branch(items) => {
                let index = child_index(items, &spot.key);
                match items.get_mut(index) {
                    Some(item) => touch(&mut item.child, loader, spot, depth + 1)?,
                    None => false,
                }
            }
        };
    node.dirty |= found;
    Ok(found)
}
