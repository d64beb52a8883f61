use std::sync::Arc;

use bytes::Bytes;

use crate::Error;
use crate::balance::{Threshold, balance};
use crate::db::{Shared, Writer};
use crate::freelist::Freelist;
use crate::meta::{Meta, NO_FREELIST};
use crate::node::{Child, Items, Loader};
use crate::page::{BUCKET_ELEMENT, BucketHeader, LeafItem, Page, Run, encode_leaf};
use crate::spill::{Space, spill};
use crate::write::{Tree, WriteTx};

/// Pages that stand side by side are written together, up to this many bytes.
const WRITE_BYTES: usize = 1 << 20;

/// So many times in a row the vacuum makes room for a page that then does not come.
const PATIENCE: u32 = 4;

/// What a commit did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CommitStats {
    /// The transaction's number.
    pub txid: u64,
    /// Pages written, overflow pages counted.
    pub pages_written: u64,
    /// Pages of the state before that this one does not need any more.
    pub pages_freed: u64,
    /// The file's length in use, as [`crate::Db::size`] says it now.
    pub size_bytes: u64,
}

/// Where a commit may put its pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// Wherever it is free, and at the end of the file.
    Anywhere,
    /// Only where it is free below this page.
    Below(u64),
}

impl WriteTx {
    /// Writes all changes and makes them durable. When it fails nothing happened: the db stands
    /// at the commit before.
    pub fn commit(mut self) -> Result<CommitStats, Error> {
        let changed = self.root.changed || self.open.values().any(|tree| tree.changed);
        // While an earlier commit is in doubt even no change is worth a meta page: once it is
        // durable a crash cannot bring the other to light any more.
        let in_doubt = self.writer.as_ref().is_some_and(|writer| writer.distrusted_end > 0);
        if changed || in_doubt {
            self.restore_patience();
            return self.write_out(Room::Anywhere);
        }
        let size_bytes = self.base.len_bytes();
        Ok(CommitStats { txid: self.base.txid, size_bytes, ..CommitStats::default() })
    }

    /// Things have changed: the vacuum may try again where it got stuck.
    pub(crate) fn restore_patience(&mut self) {
        if let Some(writer) = &mut self.writer {
            writer.patience = PATIENCE;
        }
    }

    /// Commits even where nothing changed, and keeps the seat. Whether it fails or not, there is
    /// nothing left in the transaction but its base, which it must not be used on again.
    pub(crate) fn write_out(&mut self, room: Room) -> Result<CommitStats, Error> {
        let Some(mut writer) = self.writer.take() else {
            return Err(Error::corrupt(0, "transaction without a writer"));
        };
        let shared = Arc::clone(&self.shared);
        let done = commit(self, &mut writer, &shared, room);
        self.writer = Some(writer);
        done
    }
}

fn commit(
    tx: &mut WriteTx,
    writer: &mut Writer,
    shared: &Shared,
    room: Room,
) -> Result<CommitStats, Error> {
    shared.release(writer);
    let loader = Loader { pager: &shared.pager, high_water: tx.base.high_water };
    let mut draft = Draft::new(writer, tx.base, shared.pager.page_size, room);
    let root = draft_pages(tx, loader, &mut draft);
    let mut plan = draft.plan;
    let prepared = root.and_then(|root| {
        let txid = tx.base.next_txid()?;
        tx.freed.extend(freelist_run(&tx.base, loader)?);
        check_freed(&mut tx.freed, &writer.freelist, tx.base.high_water)?;
        write_pages(&mut plan, writer, shared)?;
        let high_water = plan.high_water;
        Ok(Meta { root, high_water, freelist: NO_FREELIST, txid, ..tx.base })
    });
    let meta = match prepared {
        Ok(meta) => meta,
        Err(error) => {
            plan.roll_back(writer, &tx.base);
            return Err(error);
        }
    };
    if let Err(error) = write_meta(&meta, shared) {
        plan.distrust(writer, &tx.base);
        return Err(error);
    }
    for page in plan.pages {
        shared.pager.cache.insert(page);
    }
    shared.publish(meta, writer, &plan.allocated, &tx.freed);
    Ok(CommitStats {
        txid: meta.txid,
        pages_written: plan.allocated.iter().map(|run| run.len).sum(),
        pages_freed: tx.freed.iter().map(|run| run.len).sum(),
        size_bytes: meta.len_bytes(),
    })
}

/// Makes pages of all that changed; the page of the root bucket.
fn draft_pages(tx: &mut WriteTx, loader: Loader<'_>, draft: &mut Draft<'_>) -> Result<u64, Error> {
    let freed = &mut tx.freed;
    for (name, tree) in &mut tx.open {
        if !tree.changed {
            continue;
        }
        let header = finish_bucket(tree, loader, draft, freed)?;
        let item = LeafItem { flags: BUCKET_ELEMENT, key: name.clone(), value: header.encode() };
        tx.root.put(loader, item)?;
    }
    finish_tree(&mut tx.root, loader, draft, freed)
}

fn finish_bucket(
    tree: &mut Tree,
    loader: Loader<'_>,
    draft: &mut Draft<'_>,
    freed: &mut Vec<Run>,
) -> Result<BucketHeader, Error> {
    let page_size = draft.page_size();
    let threshold = Threshold::new(page_size, usize::from(tree.fill_percent));
    balance(&mut tree.root, loader, threshold, freed)?;
    if let Child::Node(node) = &tree.root
        && let Items::Leaf(items) = &node.items
        && node.len_bytes() <= page_size / 4
        && !items.iter().any(LeafItem::is_bucket)
    {
        freed.extend(node.origin);
        let inline = encode_leaf(items, None, page_size)?;
        return Ok(BucketHeader { root: 0, sequence: tree.sequence, inline });
    }
    let root = finish_tree(tree, loader, draft, freed)?;
    Ok(BucketHeader { root, sequence: tree.sequence, inline: Bytes::new() })
}

fn finish_tree(
    tree: &mut Tree,
    loader: Loader<'_>,
    draft: &mut Draft<'_>,
    freed: &mut Vec<Run>,
) -> Result<u64, Error> {
    let fill_percent = usize::from(tree.fill_percent);
    let threshold = Threshold::new(draft.page_size(), fill_percent);
    balance(&mut tree.root, loader, threshold, freed)?;
    let root = std::mem::replace(&mut tree.root, Child::Page(0));
    spill(root, fill_percent, draft, freed)
}

/// What a commit is about to write, and where.
#[derive(Default)]
struct Plan {
    high_water: u64,
    allocated: Vec<Run>,
    /// Free pages at the end of the file, given up.
    trimmed: Option<Run>,
    pages: Vec<Arc<Page>>,
}

impl Plan {
    /// Gives the room back that a failed commit had taken.
    fn roll_back(&self, writer: &mut Writer, base: &Meta) {
        let below = self.trimmed.map_or(base.high_water, |run| run.start);
        for run in self.allocated.iter().filter(|run| run.start < below).chain(&self.trimmed) {
            // It was taken from the free set, so it cannot be there already.
            let _ = writer.freelist.free.add(*run);
        }
    }

    /// Keeps the pages of a commit that failed at its very last step as they are, until a later
    /// commit has taken its place: its meta may have reached the disk, and a crash would bring
    /// it to light.
    fn distrust(self, writer: &mut Writer, base: &Meta) {
        if self.trimmed.is_some() && self.high_water < base.high_water {
            let len = base.high_water - self.high_water;
            let _ = writer.freelist.free.add(Run { start: self.high_water, len });
        }
        writer.distrusted.extend(self.allocated);
        writer.distrusted_end = writer.distrusted_end.max(self.high_water);
    }
}

/// Takes room for a commit.
struct Draft<'a> {
    freelist: &'a mut Freelist,
    page_size: usize,
    room: Room,
    plan: Plan,
}

impl<'a> Draft<'a> {
    fn new(writer: &'a mut Writer, base: Meta, page_size: usize, room: Room) -> Self {
        let mut plan = Plan { high_water: base.high_water, ..Plan::default() };
        if writer.distrusted_end > 0 {
            plan.high_water = plan.high_water.max(writer.distrusted_end);
        } else if let Some(run) = writer.freelist.free.take_ending_at(base.high_water) {
            plan.high_water = run.start;
            plan.trimmed = Some(run);
        }
        Self { freelist: &mut writer.freelist, page_size, room, plan }
    }
}

impl Space for Draft<'_> {
    fn allocate(&mut self, len_bytes: usize) -> Result<Run, Error> {
        let len = len_bytes.div_ceil(self.page_size).max(1) as u64;
        let free = &mut self.freelist.free;
        let run = match (self.room, free.lowest(len)) {
            (Room::Below(page), Some(run)) if run.start.saturating_add(len) > page => None,
            (_, Some(_)) => free.take_lowest(len),
            (Room::Below(_), None) => None,
            (Room::Anywhere, None) => {
                let run = Run { start: self.plan.high_water, len };
                self.plan.high_water = run.end();
                Some(run)
            }
        };
        let run = run.ok_or(Error::NoRoom)?;
        self.plan.allocated.push(run);
        Ok(run)
    }

    /// Checks the page as a reader will, before it is anywhere near the disk.
    fn write(&mut self, run: Run, page: Bytes) -> Result<(), Error> {
        self.plan.pages.push(Arc::new(Page::parse(run.start, page)?));
        Ok(())
    }

    fn page_size(&self) -> usize {
        self.page_size
    }
}

/// The pages of a stored freelist, which we neither keep up to date nor write.
pub(crate) fn freelist_run(base: &Meta, loader: Loader<'_>) -> Result<Option<Run>, Error> {
    if base.freelist == NO_FREELIST {
        return Ok(None);
    }
    let len = loader.pager.read_raw(base.freelist, base.high_water)?.len();
    Ok(Some(Run { start: base.freelist, len: loader.pager.pages_for(len) }))
}

/// A page that two parents point to would be let go twice, and then used twice at once.
fn check_freed(freed: &mut [Run], freelist: &Freelist, high_water: u64) -> Result<(), Error> {
    freed.sort_unstable();
    let mut end = 2;
    for run in freed.iter() {
        if run.start < end || run.end() > high_water || freelist.free.overlaps(*run) {
            return Err(Error::corrupt(run.start, "freed twice"));
        }
        end = run.end();
    }
    Ok(())
}

fn write_pages(plan: &mut Plan, writer: &mut Writer, shared: &Shared) -> Result<(), Error> {
    let page_size = shared.pager.page_size as u64;
    shared.grow(writer, plan.high_water * page_size)?;
    plan.pages.sort_unstable_by_key(|page| page.id());
    let file = &shared.pager.file;
    let write = |at: Run, bytes: &[u8]| {
        if bytes.is_empty() {
            return Ok(());
        }
        file.write_all_at(bytes, at.start * page_size).map_err(Error::io("write pages to"))
    };
    let mut gathered: Vec<u8> = Vec::new();
    let mut at = Run { start: 0, len: 0 };
    for page in &plan.pages {
        let run = page.run();
        if run.start != at.end() || gathered.len() + page.bytes().len() > WRITE_BYTES {
            write(at, &gathered)?;
            gathered.clear();
            at = Run { start: run.start, len: 0 };
        }
        gathered.extend_from_slice(page.bytes());
        at.len += run.len;
    }
    write(at, &gathered)?;
    if plan.pages.is_empty() { Ok(()) } else { shared.sync("sync pages of") }
}

/// Makes a state whose pages are durable the newest one.
pub(crate) fn write_meta(meta: &Meta, shared: &Shared) -> Result<(), Error> {
    let page = meta.encode(meta.slot());
    let at = meta.slot() * shared.pager.page_size as u64;
    shared.pager.file.write_all_at(&page, at).map_err(Error::io("write the meta page of"))?;
    shared.sync("sync the meta page of")
}
