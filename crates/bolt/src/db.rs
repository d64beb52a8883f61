use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use env::Disk;

use crate::freelist::Freelist;
use crate::meta::Meta;
use crate::node::Child;
use crate::open::{open, open_image};
use crate::page::Run;
use crate::pager::Pager;
use crate::read::Snapshot;
use crate::write::Tree;
use crate::{Error, OpenError, ReadTx, WriteTx};

/// How to open a db.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Page size of a file that is made new; one that exists says its own.
    pub page_size: usize,
    /// Memory for pages that were read or written lately.
    pub cache_bytes: usize,
    /// A file that grows does so by this many bytes more than it needs, so that it rarely does.
    pub grow_bytes: u64,
    /// Leave out every sync: quick, and a crash may destroy the file.
    pub no_sync: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { page_size: 4096, cache_bytes: 32 << 20, grow_bytes: 16 << 20, no_sync: false }
    }
}

/// An open db file; clones share it. It stays open (and locked) until the last clone and the last
/// transaction are gone.
#[derive(Debug, Clone)]
pub struct Db {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) pager: Pager,
    pub(crate) options: Options,
    /// Held for moments only: this is all that readers and the writer share.
    state: Mutex<State>,
    /// The writer's seat: empty while a write transaction is open.
    seat: Mutex<Option<Box<Writer>>>,
    seat_free: Condvar,
}

#[derive(Debug)]
struct State {
    current: Meta,
    unused_pages: u64,
    /// How many readers see the state of each transaction.
    readers: BTreeMap<u64, usize>,
}

/// What only the writer knows.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) freelist: Freelist,
    pub(crate) file_len: u64,
    /// Pages of commits whose meta page may or may not have reached the disk.
    pub(crate) distrusted: Vec<Run>,
    /// How often more the vacuum may make room without any gain.
    pub(crate) patience: u32,
    /// New pages at the file's end start above those.
    pub(crate) distrusted_end: u64,
}

impl Writer {}

impl Db {
    /// Opens the db file at `path`, or makes one, and takes its lock.
    pub fn open(disk: Arc<dyn Disk>, path: &Path, options: Options) -> Result<Self, OpenError> {
        open(&*disk, path, options)
    }

    /// Reads the newest state of a file that nobody writes: a snapshot (what follows the pages,
    /// such as a digest, does not matter), or the db of a member that does not run. It takes no
    /// lock and changes nothing.
    pub fn open_image(disk: &dyn Disk, path: &Path, options: Options) -> Result<ReadTx, OpenError> {
        open_image(disk, path, options)
    }

    /// A transaction that reads the newest committed state.
    pub fn read(&self) -> ReadTx {
        let mut state = self.shared.state();
        let meta = state.current;
        *state.readers.entry(meta.txid).or_default() += 1;
        drop(state);
        ReadTx { snapshot: Arc::new(Snapshot { shared: Arc::clone(&self.shared), meta }) }
    }

    /// How many transactions read at this moment.
    pub fn open_read_transactions(&self) -> usize {
        self.shared.state().readers.values().sum()
    }

    /// A reader, and the pages that hold nothing of its state.
    pub(crate) fn read_with_free_pages(&self) -> (ReadTx, Vec<Run>) {
        // While a write transaction's seat is held no commit can come between the two.
        let write = self.write();
        let tx = self.read();
        let free = match &write.writer {
            Some(writer) => {
                let end = tx.snapshot.meta.high_water;
                let below = |run: &Run| Run { len: run.end().min(end) - run.start, ..*run };
                let distrusted = writer.distrusted.iter().filter(|run| run.start < end);
                writer.freelist.unused().chain(distrusted.map(below)).collect()
            }
            None => Vec::new(),
        };
        (tx, free)
    }

    /// The transaction that writes. There is one at a time: this waits until the one before is
    /// committed or dropped.
    pub fn write(&self) -> WriteTx {
        let seat = self.shared.seat.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = self.shared.seat_free.wait_while(seat, |seat| seat.is_none());
        let writer = taken.unwrap_or_else(PoisonError::into_inner).take();
        let base = self.shared.current();
        let root = Tree::new(Child::Page(base.root), base.sequence);
        let shared = Arc::clone(&self.shared);
        WriteTx { shared, writer, base, root, open: BTreeMap::new(), freed: Vec::new() }
    }

    /// The bytes of the file that were ever used: pages up to the high water mark.
    pub fn size(&self) -> u64 {
        self.shared.current().len_bytes()
    }

    /// The bytes of pages that hold something of the newest state.
    pub fn size_in_use(&self) -> u64 {
        let state = self.shared.state();
        state.current.high_water.saturating_sub(state.unused_pages) * self.page_size() as u64
    }

    /// The size of a page.
    pub fn page_size(&self) -> usize {
        self.shared.pager.page_size
    }
}

impl Shared {
    pub(crate) fn new(pager: Pager, options: Options, meta: Meta, writer: Writer) -> Self {
        let unused_pages = writer.freelist.unused_pages();
        let state = State { current: meta, unused_pages, readers: BTreeMap::new() };
        Self {
            pager,
            options,
            state: Mutex::new(state),
            seat: Mutex::new(Some(Box::new(writer))),
            seat_free: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under this lock can leave it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest state.
    pub(crate) fn current(&self) -> Meta {
        self.state().current
    }

    /// A reader of this transaction's state is gone.
    pub(crate) fn leave(&self, txid: u64) {
        let mut state = self.state();
        if let Some(count) = state.readers.get_mut(&txid) {
            *count -= 1;
            if *count == 0 {
                state.readers.remove(&txid);
            }
        }
    }

    pub(crate) fn give_back(&self, writer: Box<Writer>) {
        *self.seat.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        self.seat_free.notify_one();
    }

    /// Makes a durable commit the state that new readers see.
    pub(crate) fn publish(&self, meta: Meta, writer: &mut Writer, written: &[Run], freed: &[Run]) {
        // This commit has taken the place of any that failed at its meta page.
        writer.distrusted_end = 0;
        for run in writer.distrusted.drain(..) {
            let _ = writer.freelist.free.add(run);
        }
        let freed_pages: u64 = freed.iter().map(|run| run.len).sum();
        let unused_pages = writer.freelist.unused_pages() + freed_pages;
        let mut state = self.state();
        state.current = meta;
        state.unused_pages = unused_pages;
        let readers: Vec<u64> = state.readers.keys().copied().collect();
        drop(state);
        writer.freelist.committed(meta.txid, written, freed, readers.first().copied());
        writer.freelist.release(&readers);
    }

    /// Frees what readers that are gone by now had held.
    pub(crate) fn release(&self, writer: &mut Writer) {
        let readers: Vec<u64> = self.state().readers.keys().copied().collect();
        writer.freelist.release(&readers);
    }

    /// Makes the file at least so long, before anything is written past its end: a full disk is
    /// met here.
    pub(crate) fn grow(&self, writer: &mut Writer, len: u64) -> Result<(), Error> {
        if len <= writer.file_len {
            return Ok(());
        }
        let page_size = self.pager.page_size as u64;
        let ahead = (len + self.options.grow_bytes).next_multiple_of(page_size);
        let file = &self.pager.file;
        // Near the end of the disk just what is needed may still fit.
        let allocated = file.allocate(ahead).or_else(|_| file.allocate(len));
        allocated.map_err(Error::io("grow"))?;
        writer.file_len = file.len().map_err(Error::io("see the length of"))?;
        Ok(())
    }

    pub(crate) fn sync(&self, action: &'static str) -> Result<(), Error> {
        if self.options.no_sync {
            return Ok(());
        }
        self.pager.file.sync_data().map_err(Error::io(action))
    }
}
