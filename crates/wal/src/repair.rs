//! Cuts a record off the log's end that was never written whole.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::path::Path;
use std::sync::Arc;

use env::{Access, Disk, File};

use crate::decoder::Decoder;
use crate::error::{Error, LOCK};
use crate::segment;

/// What a repair did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// The segment; a copy of what it was is beside it, as `<segment>.broken`.
    pub segment: String,
    /// Its length before.
    pub len_before: u64,
    /// Its length now: where the last whole record ends.
    pub len: u64,
}

/// Repairs the last segment, which it reads alone; `None` where there is nothing to repair.
pub(crate) fn repair(disk: &dyn Disk, dir: &Path) -> Result<Option<Repaired>, Error> {
    let Some(last) = segment::list(disk, dir)?.pop() else { return Ok(None) };
    let path = dir.join(&last.name);
    let file = disk.open(&path, Access::ReadWrite).map_err(Error::io("open", &path))?;
    file.try_lock_segment().map_err(Error::io(LOCK, &path))?;
    let mut decoder = Decoder::of_files(dir, [(last.name.clone(), Arc::clone(&file))])?;
    loop {
        match decoder.next() {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(None),
            Err(error) if error.is_unexpected_eof() => break,
            Err(error) => return Err(error),
        }
    }
    let broken = dir.join(format!("{}.broken", last.name));
    let len_before = file.len().map_err(Error::io("read the length of", &path))?;
    copy(disk, &*file, len_before, &broken).map_err(Error::io("write", &broken))?;
    let len = decoder.offset();
    file.set_len(len).map_err(Error::io("truncate", &path))?;
    file.sync_data().map_err(Error::io("sync", &path))?;
    Ok(Some(Repaired { segment: last.name, len_before, len }))
}

fn copy(disk: &dyn Disk, from: &dyn File, len: u64, to: &Path) -> std::io::Result<()> {
    let to = disk.open(to, Access::Create)?;
    to.set_len(0)?;
    let mut chunk = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < len {
        let read = from.read_at(&mut chunk, offset)?;
        let bytes = chunk.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        // The reserved rest of a segment is zeros: leave a hole.
        if bytes.iter().any(|byte| *byte != 0) {
            to.write_all_at(bytes, offset)?;
        }
        offset += read as u64;
    }
    to.set_len(len)?;
    to.sync_data()
}
