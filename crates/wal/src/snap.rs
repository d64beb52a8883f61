//! Snapshot files (`.snap`): a `raftpb.Snapshot` with a crc around it.
//!
//! The v3 state is not in them but in the db; up to etcd 3.6 a member needs them to start.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};

use bytes::Bytes;
use env::{Access, Disk};
use proto::{Message, raftpb, snappb, walpb};

use crate::error::Error;
use crate::segment::hex;

/// What was found by looking for a snapshot file.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The newest that can be used.
    pub snapshot: Option<raftpb::Snapshot>,
    /// Newer ones that could not be read, and why; they were renamed to `<name>.broken`.
    pub broken: Vec<(String, Error)>,
}

/// `TTTTTTTTTTTTTTTT-IIIIIIIIIIIIIIII.snap`.
pub fn file_name(term: u64, index: u64) -> String {
    format!("{term:016x}-{index:016x}.snap")
}

/// `IIIIIIIIIIIIIIII.snap.db`: a db that came from a leader and is not in use yet.
pub fn db_file_name(index: u64) -> String {
    format!("{index:016x}.snap.db")
}

/// Saves a snapshot durably and says where; one of index 0 is nothing to save.
///
/// The file appears whole: until it does, what it replaces stays.
pub fn save(
    disk: &dyn Disk,
    dir: &Path,
    snapshot: &raftpb::Snapshot,
) -> Result<Option<PathBuf>, Error> {
    save_encoded(disk, dir, snapshot, &encode(snapshot))
}

/// As [`save`], of a snapshot whose bytes [`encode`] has made already.
pub fn save_encoded(
    disk: &dyn Disk,
    dir: &Path,
    snapshot: &raftpb::Snapshot,
    bytes: &[u8],
) -> Result<Option<PathBuf>, Error> {
    let (term, index) = place(snapshot);
    if index == 0 {
        return Ok(None);
    }
    let name = file_name(term, index);
    let path = dir.join(&name);
    // As in etcd, what begins with "tmp" is removed at the next start.
    let temporary = dir.join(format!("tmp-{}", name.trim_end_matches(".snap")));
    let saved = write(disk, &temporary, bytes).and_then(|()| {
        disk.rename(&temporary, &path).map_err(Error::io("rename", &temporary))?;
        disk.sync_dir(dir).map_err(Error::io("sync", dir))
    });
    match saved {
        Ok(()) => Ok(Some(path)),
        Err(error) => {
            let _ = disk.remove_file(&temporary);
            Err(error)
        }
    }
}

fn write(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let file = disk.open(path, Access::Create).map_err(Error::io("create", path))?;
    file.set_len(0).map_err(Error::io("truncate", path))?;
    file.write_all_at(bytes, 0).map_err(Error::io("write", path))?;
    file.sync_data().map_err(Error::io("sync", path))
}

/// The bytes of a snapshot file.
pub fn encode(snapshot: &raftpb::Snapshot) -> Vec<u8> {
    let data = Bytes::from(snapshot.encode_to_vec());
    snappb::Snapshot { crc: Some(crc32c::crc32c(&data)), data: Some(data) }.encode_to_vec()
}

/// Reads the bytes of a snapshot file.
pub fn decode(bytes: Bytes) -> Result<raftpb::Snapshot, Error> {
    if bytes.is_empty() {
        return Err(Error::EmptySnapshot);
    }
    let file = snappb::Snapshot::decode(bytes).map_err(Error::SnapshotDecode)?;
    let data = file.data.unwrap_or_default();
    match file.crc.unwrap_or_default() {
        0 => Err(Error::EmptySnapshot),
        _ if data.is_empty() => Err(Error::EmptySnapshot),
        crc if crc != crc32c::crc32c(&data) => Err(Error::SnapshotCrc),
        _ => raftpb::Snapshot::decode(data).map_err(Error::SnapshotDecode),
    }
}

/// Reads one snapshot file.
pub fn read(disk: &dyn Disk, path: &Path) -> Result<raftpb::Snapshot, Error> {
    let file = disk.open(path, Access::Read).map_err(Error::io("open", path))?;
    let len = file.len().map_err(Error::io("read the length of", path))?;
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, 0).map_err(Error::io("read", path))?;
    decode(bytes.into())
}

/// The names of the snapshot files, newest first (by term, then index). Removes what a
/// defragmentation by etcd left unfinished.
pub fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<String>, Error> {
    let mut snapshots = Vec::new();
    for name in disk.list(dir).map_err(Error::io("list", dir))? {
        if name.starts_with("db.tmp") {
            let path = dir.join(&name);
            disk.remove_file(&path).map_err(Error::io("remove", &path))?;
        } else if name.ends_with(".snap") {
            snapshots.push(name);
        }
    }
    snapshots.reverse();
    Ok(snapshots)
}

/// Loads the newest snapshot file.
pub fn load_newest(disk: &dyn Disk, dir: &Path) -> Result<Loaded, Error> {
    load(disk, dir, |_, _| true)
}

/// Loads the newest snapshot file that the log knows of (see
/// [`Wal::valid_snapshots`](crate::Wal::valid_snapshots)).
pub fn load_newest_matching(
    disk: &dyn Disk,
    dir: &Path,
    known: &[walpb::Snapshot],
) -> Result<Loaded, Error> {
    load(disk, dir, |term, index| {
        known.iter().any(|known| {
            known.term.unwrap_or_default() == term && known.index.unwrap_or_default() == index
        })
    })
}

fn load(disk: &dyn Disk, dir: &Path, wanted: impl Fn(u64, u64) -> bool) -> Result<Loaded, Error> {
    let mut loaded = Loaded::default();
    for name in list(disk, dir)? {
        let path = dir.join(&name);
        match read(disk, &path) {
            Ok(snapshot) => {
                let (term, index) = place(&snapshot);
                if wanted(term, index) {
                    loaded.snapshot = Some(snapshot);
                    break;
                }
            }
            Err(error) => {
                let aside = dir.join(format!("{name}.broken"));
                disk.rename(&path, &aside).map_err(Error::io("rename", &path))?;
                loaded.broken.push((name, error));
            }
        }
    }
    Ok(loaded)
}

fn place(snapshot: &raftpb::Snapshot) -> (u64, u64) {
    let metadata = snapshot.metadata.as_ref();
    let field = |field: fn(&raftpb::SnapshotMetadata) -> Option<u64>| {
        metadata.and_then(field).unwrap_or_default()
    };
    (field(|metadata| metadata.term), field(|metadata| metadata.index))
}

/// Removes the oldest snapshot files beyond `keep`, and the oldest received dbs beyond `keep`;
/// says which.
pub fn purge(disk: &dyn Disk, dir: &Path, keep: usize) -> Result<Vec<String>, Error> {
    let names = disk.list(dir).map_err(Error::io("list", dir))?;
    let mut removed = Vec::new();
    for suffix in [".snap", ".snap.db"] {
        let files: Vec<&String> = names.iter().filter(|name| name.ends_with(suffix)).collect();
        for name in files.iter().take(files.len().saturating_sub(keep)) {
            remove(disk, &dir.join(name))?;
            removed.push((*name).clone());
        }
    }
    Ok(removed)
}

/// Removes received dbs older than the snapshot at `index`: they will never be used; says which.
pub fn release_dbs(disk: &dyn Disk, dir: &Path, index: u64) -> Result<Vec<String>, Error> {
    let mut removed = Vec::new();
    for name in disk.list(dir).map_err(Error::io("list", dir))? {
        let of = name.strip_suffix(".snap.db").and_then(hex);
        if of.is_some_and(|of| of < index) {
            remove(disk, &dir.join(&name))?;
            removed.push(name);
        }
    }
    Ok(removed)
}

/// Removes what a start or a defragmentation that was cut short has left half written; says which.
/// Nobody may be writing there.
pub fn remove_leftovers(disk: &dyn Disk, dir: &Path) -> Result<Vec<String>, Error> {
    let mut removed = Vec::new();
    for name in disk.list(dir).map_err(Error::io("list", dir))? {
        if name.starts_with("tmp") || name.starts_with("db.tmp") {
            remove(disk, &dir.join(&name))?;
            removed.push(name);
        }
    }
    Ok(removed)
}

fn remove(disk: &dyn Disk, path: &Path) -> Result<(), Error> {
    disk.remove_file(path).map_err(Error::io("remove", path))
}
