//! Snapshots of the log: what lets it forget.
//!
//! The state itself is the db file. A snapshot only notes, in a `.snap` file and in the log, up to
//! where the db file is complete, and who the members were there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use env::Disk;
use proto::{raftpb, walpb};
use state::{EntryId, MemberId, State};
use wal::Wal;

use crate::{Fatal, metrics};

/// When snapshots are made, and what is kept of old ones.
#[derive(Debug)]
pub(crate) struct Snapshots {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) snap_dir: PathBuf,
    pub(crate) wal_dir: PathBuf,
    pub(crate) member_id: u64,
    /// Entries between two snapshots.
    pub(crate) count: u64,
    pub(crate) max_snapshots: usize,
    pub(crate) max_wals: usize,
    /// The index of the last one.
    pub(crate) last: u64,
}

/// The state at a moment, as a snapshot tells of it.
#[derive(Debug)]
pub(crate) struct Place {
    at: EntryId,
    conf_state: raftpb::ConfState,
    members: Vec<u8>,
}

impl Place {
    /// Where the state is now.
    pub(crate) fn of(state: &State) -> Option<Self> {
        let conf_state = state.conf_state()?.clone();
        let members = state.views().members.roster().to_v2_json();
        Some(Self { at: state.applied(), conf_state, members })
    }

    pub(crate) fn to_snapshot(&self) -> raftpb::Snapshot {
        let metadata = raftpb::SnapshotMetadata {
            conf_state: Some(self.conf_state.clone()),
            index: Some(self.at.index),
            term: Some(self.at.term),
        };
        raftpb::Snapshot { data: Some(self.members.clone().into()), metadata: Some(metadata) }
    }
}

/// The state at the moment for which a snapshot of the log is due.
#[derive(Debug)]
pub(crate) struct Mark {
    place: Place,
    /// It was due before its time: the db file is to become one of an older version behind it.
    pub(crate) forced: bool,
}

impl Snapshots {
    /// Notes the state as it is now, if a snapshot of it is due once it is in the db file.
    pub(crate) fn mark(&self, state: &State) -> Option<Mark> {
        let at = state.applied();
        let forced = state.agreed_below_storage().is_some();
        if at.index.saturating_sub(self.last) <= self.count && !forced {
            return None;
        }
        tracing::info!(
            "local-member-id" = %MemberId(self.member_id),
            "local-member-applied-index" = at.index,
            "local-member-snapshot-index" = self.last,
            "local-member-snapshot-count" = self.count,
            "snapshot-forced" = forced,
            "triggering snapshot"
        );
        Some(Mark { place: Place::of(state)?, forced })
    }

    /// Writes the snapshot and lets go of what lies before it.
    pub(crate) fn save(&mut self, mark: &Mark, wal: &mut Wal) -> Result<(), Fatal> {
        self.write(&mark.place.to_snapshot(), wal)?;
        let index = mark.place.at.index;
        wal.release_to(index);
        self.last = index;
        tracing::info!("snapshot-index" = index, "saved snapshot to disk");
        self.purge()
    }

    /// Writes a snapshot that was received. It does not count before a hard state that reaches it
    /// is in the log.
    pub(crate) fn save_received(
        &self,
        snapshot: &raftpb::Snapshot,
        wal: &mut Wal,
    ) -> Result<(), Fatal> {
        self.write(snapshot, wal)
    }

    fn write(&self, snapshot: &raftpb::Snapshot, wal: &mut Wal) -> Result<(), Fatal> {
        let total = metrics::SNAP_SAVE.start_timer();
        let timer = metrics::SNAP_MARSHAL.start_timer();
        let bytes = wal::snap::encode(snapshot);
        timer.observe_duration();
        let timer = metrics::SNAP_FSYNC.start_timer();
        wal::snap::save_encoded(&*self.disk, &self.snap_dir, snapshot, &bytes)?;
        timer.observe_duration();
        total.observe_duration();
        let metadata = snapshot.metadata.clone().unwrap_or_default();
        let (index, term) = (metadata.index, metadata.term);
        Ok(wal.save_snapshot(&walpb::Snapshot { index, term, conf_state: metadata.conf_state })?)
    }

    /// Puts a received db file into the place of this member's own.
    pub(crate) fn take_db(&self, received: &Path) -> Result<(), Fatal> {
        let db = self.snap_dir.join("db");
        let renamed = self.disk.rename(received, &db);
        let renamed = renamed.and_then(|()| self.disk.sync_dir(&self.snap_dir));
        renamed.map_err(|source| Fatal::Io { what: "rename", path: received.to_owned(), source })
    }

    fn purge(&self) -> Result<(), Fatal> {
        if self.max_wals > 0 {
            wal::purge(&*self.disk, &self.wal_dir, self.max_wals)?;
        }
        if self.max_snapshots > 0 {
            wal::snap::purge(&*self.disk, &self.snap_dir, self.max_snapshots)?;
        }
        Ok(())
    }
}
