//! What the records of a log add up to.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::path::Path;

use bytes::Bytes;
use env::Disk;
use proto::raftpb::{Entry, HardState};
use proto::{Message, walpb};

use crate::decoder::{Decoder, Record};
use crate::error::Error;
use crate::record::Kind;
use crate::repair::Repaired;
use crate::segment;

/// The snapshot that a reader already has; the log must have a record of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SnapshotMark {
    pub index: u64,
    pub term: u64,
}

impl From<&walpb::Snapshot> for SnapshotMark {
    fn from(snapshot: &walpb::Snapshot) -> Self {
        Self { index: snapshot.index.unwrap_or_default(), term: snapshot.term.unwrap_or_default() }
    }
}

/// What a log says from a snapshot on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recovered {
    /// Who the log belongs to: an encoded `etcdserverpb.Metadata`.
    pub metadata: Bytes,
    /// The last one; nothing set where the log has none.
    pub hard_state: HardState,
    /// Those behind the snapshot, without gaps; the tail may be uncommitted.
    pub entries: Vec<Entry>,
    /// What was cut off the log's end to make it readable.
    pub repaired: Option<Repaired>,
}

/// Gathers [`Recovered`] from records.
#[derive(Debug)]
pub(crate) struct Replay {
    from: SnapshotMark,
    metadata: Option<Bytes>,
    hard_state: HardState,
    entries: Vec<Entry>,
    /// The index of the entry that was written last.
    pub(crate) last_index: u64,
    /// The highest index of a snapshot record.
    pub(crate) snapshot_index: u64,
    matched: bool,
    /// The term of the entry at the snapshot's index, while the log has one.
    term_at_snapshot: Option<u64>,
    /// The entries behind the snapshot were overwritten or replaced, and none came since.
    ///
    /// etcd keeps them. A member that was sent a snapshot would come back with entries of an
    /// older term behind it, and would vote as if it had none of the newer term.
    outdated: bool,
}

impl Replay {
    pub(crate) fn new(from: SnapshotMark) -> Self {
        Self {
            from,
            metadata: None,
            hard_state: HardState::default(),
            entries: Vec::new(),
            last_index: 0,
            snapshot_index: 0,
            matched: false,
            term_at_snapshot: None,
            outdated: false,
        }
    }

    /// Takes all records up to the log's end.
    pub(crate) fn read(&mut self, decoder: &mut Decoder) -> Result<(), Error> {
        while let Some(record) = decoder.next()? {
            self.take(record, decoder)?;
        }
        Ok(())
    }

    fn take(&mut self, record: Record, decoder: &Decoder) -> Result<(), Error> {
        match record.kind {
            Kind::Entry => {
                let entry = Entry::decode(record.data);
                self.entry(entry.map_err(|error| decoder.undecodable("an entry", error))?)?;
            }
            Kind::State => {
                self.hard_state = HardState::decode(record.data)
                    .map_err(|error| decoder.undecodable("a hard state", error))?;
            }
            Kind::Metadata => match &self.metadata {
                Some(metadata) if *metadata != record.data => {
                    let segment = decoder.segment().to_owned();
                    return Err(Error::MetadataConflict { segment });
                }
                _ => self.metadata = Some(record.data),
            },
            Kind::Snapshot => {
                let snapshot = walpb::Snapshot::decode(record.data)
                    .map_err(|error| decoder.undecodable("a snapshot record", error))?;
                self.snapshot(SnapshotMark::from(&snapshot))?;
            }
            Kind::Crc => {}
            Kind::Unknown(kind) => return Err(decoder.unknown(kind)),
        }
        Ok(())
    }

    fn entry(&mut self, entry: Entry) -> Result<(), Error> {
        let index = entry.index.unwrap_or_default();
        self.last_index = index;
        let term = entry.term.unwrap_or_default();
        let Some(behind) = index.checked_sub(self.from.index).and_then(|n| n.checked_sub(1)) else {
            // What the snapshot covers is not needed; but what is behind it was overwritten.
            self.outdated = true;
            self.term_at_snapshot = (index == self.from.index).then_some(term);
            return Ok(());
        };
        match usize::try_from(behind) {
            Ok(at) if at <= self.entries.len() => {
                // A new leader overwrote the tail that it did not have.
                self.entries.truncate(at);
                self.entries.push(entry);
                self.outdated = false;
                Ok(())
            }
            _ => Err(Error::EntriesMissing {
                snapshot_index: self.from.index,
                snapshot_term: self.from.term,
                index,
                term,
                len: self.entries.len(),
            }),
        }
    }

    fn snapshot(&mut self, mark: SnapshotMark) -> Result<(), Error> {
        self.snapshot_index = self.snapshot_index.max(mark.index);
        if mark.index == self.from.index {
            if mark.term != self.from.term {
                return Err(Error::SnapshotMismatch {
                    index: mark.index,
                    found: mark.term,
                    wanted: self.from.term,
                });
            }
            if self.term_at_snapshot.is_some_and(|term| term != mark.term) {
                // It came from a leader and replaced a log that had gone another way.
                self.outdated = true;
            }
            self.matched = true;
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<Recovered, Error> {
        if !self.matched {
            let SnapshotMark { index, term } = self.from;
            return Err(Error::SnapshotNotFound { index, term });
        }
        Ok(Recovered {
            metadata: self.metadata.unwrap_or_default(),
            hard_state: self.hard_state,
            entries: if self.outdated { Vec::new() } else { self.entries },
            repaired: None,
        })
    }
}

/// Reads a log without locks and without changing it; a record that is cut off ends it.
pub fn read(disk: &dyn Disk, dir: &Path, from: SnapshotMark) -> Result<Recovered, Error> {
    let selected = segment::select(segment::list(disk, dir)?, from.index)?;
    read_from(&mut Decoder::of_names(disk, dir, &selected)?, from)
}

/// As [`read`], from a decoder that was made by hand.
pub fn read_from(decoder: &mut Decoder, from: SnapshotMark) -> Result<Recovered, Error> {
    let mut replay = Replay::new(from);
    match replay.read(decoder) {
        Err(error) if !error.is_unexpected_eof() => Err(error),
        _ => replay.finish(),
    }
}

/// The snapshots that the log has a record of and that are committed, oldest first.
pub(crate) fn valid_snapshots(disk: &dyn Disk, dir: &Path) -> Result<Vec<walpb::Snapshot>, Error> {
    let mut decoder = Decoder::open(disk, dir)?;
    let mut snapshots = Vec::new();
    let mut hard_state = HardState::default();
    loop {
        let record = match decoder.next() {
            Ok(Some(record)) => record,
            Ok(None) => break,
            Err(error) if error.is_unexpected_eof() => break,
            Err(error) => return Err(error),
        };
        match record.kind {
            Kind::Snapshot => {
                let snapshot = walpb::Snapshot::decode(record.data)
                    .map_err(|error| decoder.undecodable("a snapshot record", error))?;
                snapshots.push(snapshot);
            }
            Kind::State => {
                hard_state = HardState::decode(record.data)
                    .map_err(|error| decoder.undecodable("a hard state", error))?;
            }
            _ => {}
        }
    }
    let commit = hard_state.commit.unwrap_or_default();
    snapshots.retain(|snapshot| snapshot.index.unwrap_or_default() <= commit);
    Ok(snapshots)
}
