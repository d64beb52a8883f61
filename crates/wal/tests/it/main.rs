//! The log as others use it: vectors, damage, power cuts, and data of real servers.

mod crash;
mod damage;
mod fixtures;
mod snap;
mod vectors;
mod wal;

use std::path::Path;
use std::sync::Arc;

use ::wal::{EntryRef, MustSync, Options, Recovered, SnapshotMark, Wal};
use env::{Access, Disk, SimDisk};
use proto::raftpb::{ConfState, EntryType, HardState};
use proto::walpb;

const METADATA: &[u8] =
    b"\x08\xcd\x9b\x88\xc6\xf2\xe8\xc4\xc1\x61\x10\x97\xca\xe4\xdd\xc6\x84\xf2\x8f\xd1\x01";

fn dir() -> &'static Path {
    Path::new("/data/wal")
}

/// A disk with an empty data directory.
fn disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.create_dir_all(Path::new("/data")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

fn shared(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

fn small(segment_bytes: u64) -> Options {
    Options { segment_bytes, ..Options::default() }
}

fn create(disk: &SimDisk, options: Options) -> Wal {
    Wal::create_with(shared(disk), dir(), METADATA, options).unwrap()
}

fn open(disk: &SimDisk, options: Options) -> Result<(Wal, Recovered), ::wal::Error> {
    Wal::open_with(shared(disk), dir(), SnapshotMark::default(), options)
}

fn entry(term: u64, index: u64, data: &[u8]) -> EntryRef<'_> {
    EntryRef { kind: EntryType::EntryNormal, term, index, data }
}

fn state(term: u64, vote: u64, commit: u64) -> HardState {
    HardState { term: Some(term), vote: Some(vote), commit: Some(commit) }
}

fn snapshot_record(index: u64, term: u64) -> walpb::Snapshot {
    let conf_state = Some(ConfState { voters: vec![1], ..ConfState::default() });
    walpb::Snapshot { index: Some(index), term: Some(term), conf_state }
}

fn read_file(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, Access::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn write_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) {
    let file = disk.open(path, Access::Create).unwrap();
    file.set_len(0).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(path.parent().unwrap()).unwrap();
}

fn segments(disk: &SimDisk) -> Vec<String> {
    let names = disk.list(dir()).unwrap();
    names.into_iter().filter(|name| name.ends_with(".wal")).collect()
}

/// Terms and indexes of what was recovered.
fn places(recovered: &Recovered) -> Vec<(u64, u64)> {
    let place = |entry: &proto::raftpb::Entry| (entry.term.unwrap(), entry.index.unwrap());
    recovered.entries.iter().map(place).collect()
}
