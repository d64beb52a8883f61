use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use env::{Access, Disk, File};

use crate::bytes_at::u64_at;
use crate::cache::PageCache;
use crate::commit::write_meta;
use crate::db::{Shared, Writer};
use crate::freelist::Freelist;
use crate::meta::{META_PAGE_LEN, Meta, NO_FREELIST, NotMeta, header, is_page_size, newest};
use crate::node::Loader;
use crate::page::{FREELIST_FLAG, HEADER_LEN, Run, encode_leaf};
use crate::pager::Pager;
use crate::runs::Runs;
use crate::walk::reachable;
use crate::{Db, Error, OpenError, Options, ReadTx};

pub(crate) fn open(disk: &dyn Disk, path: &Path, options: Options) -> Result<Db, OpenError> {
    let page_size = u32::try_from(options.page_size).ok();
    let Some(page_size) = page_size.filter(|size| is_page_size(*size) && *size <= 65536) else {
        return Err(OpenError::PageSize(options.page_size));
    };
    let at = At(path);
    let file = disk.open(path, Access::Create).map_err(at.io("open"))?;
    file.try_lock_db().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked { path: path.to_path_buf() },
        _ => at.io("lock")(error),
    })?;
    create_if_new(disk, &*file, path, page_size, options.no_sync).map_err(at.io("create"))?;
    let (meta, pager, file_len) = read_file(file, path, options)?;
    let loader = Loader { pager: &pager, high_water: meta.high_water };
    let freelist = free_pages(&meta, loader).map_err(at.unusable())?;
    let writer = Writer { freelist, file_len, ..Writer::default() };
    let shared = Shared::new(pager, options, meta, writer);
    // The process before may have died (or failed) between a meta page and its sync. The next
    // commit writes over pages that only the state before has, so this state must not be lost any
    // more. Written again, for after a failed sync nothing is left to be synced. The pages behind
    // it were durable before it was written at all.
    if !options.no_sync {
        write_meta(&meta, &shared).map_err(at.unusable())?;
    }
    Ok(Db { shared: Arc::new(shared) })
}

/// Opens a file that nobody writes, to read its newest state.
pub(crate) fn open_image(
    disk: &dyn Disk,
    path: &Path,
    options: Options,
) -> Result<ReadTx, OpenError> {
    let file = disk.open(path, Access::Read).map_err(At(path).io("open"))?;
    let (meta, pager, file_len) = read_file(file, path, options)?;
    let writer = Writer { file_len, ..Writer::default() };
    let shared = Arc::new(Shared::new(pager, options, meta, writer));
    Ok(Db { shared }.read())
}

/// The newest meta, and the pages behind it.
fn read_file(
    file: Arc<dyn File>,
    path: &Path,
    options: Options,
) -> Result<(Meta, Pager, u64), OpenError> {
    let meta = read_meta(&*file, path)?;
    let page_size = meta.page_size as usize;
    let file_len = file.len().map_err(At(path).io("see the length of"))?;
    // The high water mark is bounded by this, and by it all that is read or counted.
    if file_len < meta.len_bytes() {
        let expected = meta.len_bytes();
        return Err(OpenError::Truncated { path: path.to_path_buf(), len: file_len, expected });
    }
    let pager = Pager { file, page_size, cache: PageCache::new(options.cache_bytes) };
    Ok((meta, pager, file_len))
}

/// The path, for errors.
#[derive(Clone, Copy)]
struct At<'a>(&'a Path);

impl At<'_> {
    fn io(self, action: &'static str) -> impl FnOnce(io::Error) -> OpenError {
        let path = self.path();
        move |source| OpenError::Io { action, path, source }
    }

    fn unusable(self) -> impl FnOnce(Error) -> OpenError {
        let path = self.path();
        move |source| OpenError::Unusable { path, source }
    }

    fn path(self) -> PathBuf {
        self.0.to_path_buf()
    }
}

/// Writes an empty db into an empty file, or into one whose creation a crash cut short.
fn create_if_new(
    disk: &dyn Disk,
    file: &dyn File,
    path: &Path,
    page_size: u32,
    no_sync: bool,
) -> io::Result<()> {
    let image = empty_image(page_size)?;
    let len = file.len()?;
    if len > image.len() as u64 || len > 0 && !is_torn_creation(file, &image, len)? {
        return Ok(());
    }
    file.write_all_at(&image, 0)?;
    if !no_sync {
        file.sync_data()?;
        match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => disk.sync_dir(dir)?,
            _ => disk.sync_dir(Path::new("."))?,
        }
    }
    Ok(())
}

/// Two metas and the root bucket's empty leaf.
fn empty_image(page_size: u32) -> io::Result<Vec<u8>> {
    let meta =
        |txid| Meta { page_size, root: 2, sequence: 0, freelist: NO_FREELIST, high_water: 3, txid };
    let leaf = encode_leaf(&[], Some(Run { start: 2, len: 1 }), page_size as usize);
    let mut image = meta(0).encode(0);
    image.extend_from_slice(&meta(1).encode(1));
    image.extend_from_slice(&leaf.map_err(io::Error::other)?);
    Ok(image)
}

/// Whether a file holds nothing but parts of the first write to it, and not all of it. Nobody can
/// have committed to it: the first commit comes after that write is durable.
fn is_torn_creation(file: &dyn File, image: &[u8], len: u64) -> io::Result<bool> {
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0)?;
    let torn = bytes.iter().zip(image).all(|(is, should)| *is == 0 || is == should);
    Ok(torn && bytes != image)
}

/// The newest valid meta of the file.
fn read_meta(file: &dyn File, path: &Path) -> Result<Meta, OpenError> {
    let at = At(path);
    let read = |offset: u64| -> Result<Result<Meta, NotMeta>, OpenError> {
        let mut page = [0; META_PAGE_LEN];
        let len = read_up_to(file, &mut page, offset).map_err(at.io("read"))?;
        let meta = Meta::decode(page.get(..len).unwrap_or_default());
        Ok(meta.and_then(|m| if is_page_size(m.page_size) { Ok(m) } else { Err(NotMeta::Invalid) }))
    };
    let first = read(0)?;
    let second = match first {
        Ok(meta) => read(u64::from(meta.page_size))?,
        // The page size is unknown then: the second page is looked for wherever it can be.
        Err(_) => {
            let mut found = Err(NotMeta::Invalid);
            for size in (0..15).map(|shift| 1024 << shift) {
                found = read(size)?.or(found);
                if found.is_ok_and(|meta| u64::from(meta.page_size) == size) {
                    break;
                }
            }
            found
        }
    };
    let meta = match (newest(first.ok(), second.ok()), first) {
        (Some(meta), _) => meta,
        (None, Err(NotMeta::Version(version))) => {
            return Err(OpenError::Version { path: at.path(), version });
        }
        (None, _) => return Err(OpenError::Invalid { path: at.path() }),
    };
    meta.plausible().map_err(at.unusable())?;
    Ok(meta)
}

/// Reads until the buffer is full or the file ends.
fn read_up_to(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64)? {
            0 => break,
            read => done += read,
        }
    }
    Ok(done)
}

/// The free pages: as a stored freelist has them, or all that are not reached. A stored list is
/// not just believed: writing on a page that is used would destroy it.
fn free_pages(meta: &Meta, loader: Loader<'_>) -> Result<Freelist, Error> {
    let mut free = Runs::default();
    let used = reachable(meta.root, loader)?;
    if meta.freelist != NO_FREELIST {
        for page in stored_freelist(meta, loader)? {
            let known = (2..meta.high_water).contains(&page) && !used.contains(page);
            if !known || !free.add(Run { start: page, len: 1 }) {
                return Err(Error::corrupt(meta.freelist, "a page on the freelist is not free"));
            }
        }
    } else {
        for run in used.gaps(2, meta.high_water) {
            if !free.add(run) {
                return Err(Error::corrupt(run.start, "freed twice"));
            }
        }
    }
    Ok(Freelist::new(free))
}

fn stored_freelist(meta: &Meta, loader: Loader<'_>) -> Result<Vec<u64>, Error> {
    let bad = |problem| Error::corrupt(meta.freelist, problem);
    let page = loader.pager.read_raw(meta.freelist, meta.high_water)?;
    let (id, flags, count, _) = header(&page).ok_or(bad("shorter than a page header"))?;
    if id != meta.freelist || flags != FREELIST_FLAG {
        return Err(bad("no freelist page"));
    }
    // A count that does not fit stands before the ids.
    let (count, at) = match count {
        0xFFFF => (u64_at(&page, HEADER_LEN).unwrap_or(u64::MAX), HEADER_LEN + 8),
        count => (u64::from(count), HEADER_LEN),
    };
    if count > ((page.len() - at) / 8) as u64 {
        return Err(bad("freelist longer than its page"));
    }
    let ids = (0..count as usize).map_while(|index| u64_at(&page, at + index * 8));
    Ok(ids.collect())
}
