//! Names of segments and which of them count.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::io;
use std::path::Path;

use env::{Access, Disk};

use crate::error::{Error, LOCK};

/// `SSSSSSSSSSSSSSSS-IIIIIIIIIIIIIIII.wal`: the sequence number of a segment, and an index that
/// every entry of earlier segments (and still in force) is below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentName {
    pub(crate) sequence: u64,
    pub(crate) index: u64,
}

impl std::fmt::Display for SegmentName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}-{:016x}.wal", self.sequence, self.index)
    }
}

impl SegmentName {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (sequence, index) = name.strip_suffix(".wal")?.split_once('-')?;
        Some(Self { sequence: hex(sequence)?, index: hex(index)? })
    }
}

pub(crate) fn hex(digits: &str) -> Option<u64> {
    let valid = digits.len() <= 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    valid.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// A segment that is there.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) parsed: SegmentName,
}

/// All segments of a directory in order; other names are not ours to judge.
pub(crate) fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<Found>, Error> {
    let names = disk.list(dir).map_err(Error::io("list", dir))?;
    let found: Vec<Found> = names
        .into_iter()
        .filter_map(|name| SegmentName::parse(&name).map(|parsed| Found { name, parsed }))
        .collect();
    if found.is_empty() { Err(Error::NoSegments(dir.to_owned())) } else { Ok(found) }
}

/// The segments from which a reader that has the snapshot at `index` must read.
pub(crate) fn select(mut found: Vec<Found>, index: u64) -> Result<Vec<Found>, Error> {
    let first = found.iter().rposition(|segment| segment.parsed.index <= index);
    let first = first.ok_or(Error::NoSegmentFor(index))?;
    let selected = found.split_off(first);
    match selected.windows(2).find(|pair| gap(pair)) {
        Some([_, after]) => Err(Error::MissingSegment(after.name.clone())),
        _ => Ok(selected),
    }
}

/// The newest segments without a gap: what lies before one is the rest of an unfinished purge.
pub(crate) fn unbroken(mut found: Vec<Found>) -> Vec<Found> {
    match found.windows(2).rposition(gap) {
        Some(at) => found.split_off(at + 1),
        None => found,
    }
}

/// Nothing is known about what follows sequence number 0: etcd lets any number follow it.
fn gap(pair: &[Found]) -> bool {
    match pair {
        [before, after] => {
            let before = before.parsed.sequence;
            before != 0 && before.checked_add(1) != Some(after.parsed.sequence)
        }
        _ => false,
    }
}

/// Whether a log was ever made in the directory.
pub(crate) fn exists(disk: &dyn Disk, dir: &Path) -> io::Result<bool> {
    match disk.list(dir) {
        Ok(names) => Ok(names.iter().any(|name| name.ends_with(".wal"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the oldest segments beyond `keep`, up to the first that somebody still holds; says
/// which.
///
/// A log holds what it needs (see [`Wal::release_to`](crate::Wal::release_to)), so this may run on
/// any thread.
pub fn purge(disk: &dyn Disk, dir: &Path, keep: usize) -> Result<Vec<String>, Error> {
    let names = disk.list(dir).map_err(Error::io("list", dir))?;
    let segments: Vec<String> = names.into_iter().filter(|name| name.ends_with(".wal")).collect();
    let surplus = segments.len().saturating_sub(keep);
    let mut removed = Vec::new();
    for name in segments.into_iter().take(surplus) {
        let path = dir.join(&name);
        let file = disk.open(&path, Access::ReadWrite).map_err(Error::io("open", &path))?;
        match file.try_lock_segment().map_err(Error::io(LOCK, &path)) {
            Ok(()) => {}
            Err(Error::Locked { .. }) => break,
            Err(error) => return Err(error),
        }
        disk.remove_file(&path).map_err(Error::io("remove", &path))?;
        // One by one: a crash must not bring an older one back without its successor.
        disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
        removed.push(name);
    }
    Ok(removed)
}
