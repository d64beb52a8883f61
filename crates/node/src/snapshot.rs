//! Snapshots of the log: what lets it forget.
//!
//! The state itself is the db file. A snapshot only notes, in a `.snap` file and in the log, up to
//! where the db file is complete, and who the members were there.

use std::path::PathBuf;
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

/// The state at a moment, as a snapshot notes it.
#[derive(Debug)]
pub(crate) struct Mark {
    at: EntryId,
    conf_state: raftpb::ConfState,
    members: Vec<u8>,
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
        let conf_state = state.conf_state()?.clone();
        let members = state.views().members.roster().to_v2_json();
        Some(Mark { at, conf_state, members, forced })
    }

    /// Writes the snapshot and lets go of what lies before it.
    pub(crate) fn save(&mut self, mark: &Mark, wal: &mut Wal) -> Result<(), Fatal> {
        let (index, term) = (Some(mark.at.index), Some(mark.at.term));
        let metadata =
            raftpb::SnapshotMetadata { conf_state: Some(mark.conf_state.clone()), index, term };
        let snapshot =
            raftpb::Snapshot { data: Some(mark.members.clone().into()), metadata: Some(metadata) };
        let total = metrics::SNAP_SAVE.start_timer();
        let timer = metrics::SNAP_MARSHAL.start_timer();
        let bytes = wal::snap::encode(&snapshot);
        timer.observe_duration();
        let timer = metrics::SNAP_FSYNC.start_timer();
        wal::snap::save_encoded(&*self.disk, &self.snap_dir, &snapshot, &bytes)?;
        timer.observe_duration();
        total.observe_duration();
        let conf_state = Some(mark.conf_state.clone());
        wal.save_snapshot(&walpb::Snapshot { index, term, conf_state })?;
        wal.release_to(mark.at.index);
        self.last = mark.at.index;
        tracing::info!("snapshot-index" = mark.at.index, "saved snapshot to disk");
        self.purge()
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
