//! A state that was received takes the place of this member's own, whole and at once.

use std::path::PathBuf;

use raft::{Message, Snapshot};
use state::State;
use tokio::sync::oneshot;

use super::{Drive, storage_failure};
use crate::wire::{self, Payload};
use crate::{Fatal, metrics};

/// A received state: on disk under its own name, and opened.
pub(crate) struct Prepared {
    /// What raft is told.
    pub(crate) message: Message<Payload>,
    pub(crate) index: u64,
    pub(crate) state: State,
    /// Where its db file is until it is taken.
    pub(crate) path: PathBuf,
    /// Told when raft has taken the state, or found that it has no use for it.
    pub(crate) answer: oneshot::Sender<()>,
}

impl Drive {
    pub(super) fn take_prepared(&mut self, prepared: Prepared) {
        let message = prepared.message.clone();
        self.prepared = Some(prepared);
        if let Err(error) = self.parts.raft.step(message) {
            tracing::warn!(%error, "a received snapshot was not taken");
        }
    }

    /// Raft has had its say, and it was not wanted.
    pub(super) fn drop_prepared(&mut self) {
        let Some(prepared) = self.prepared.take() else { return };
        tracing::info!("snapshot-index" = prepared.index, "ignored a received snapshot");
        drop(prepared.state);
        // It only takes room.
        let _ = self.parts.snapshots.disk.remove_file(&prepared.path);
        let _ = prepared.answer.send(());
    }

    /// First the snapshot in the log, then the db file: a crash in between is made good by the next
    /// start.
    pub(super) fn install(&mut self, snapshot: Snapshot<Payload>) -> Result<(), Fatal> {
        let index = snapshot.meta.id.index.0;
        let Some(prepared) = self.prepared.take().filter(|prepared| prepared.index == index) else {
            return Err(Fatal::Raft(format!("a snapshot at index {index} without its db file")));
        };
        let Prepared { mut state, path, answer, .. } = prepared;
        tracing::info!(
            "current-snapshot-index" = self.parts.snapshots.last,
            "current-applied-index" = self.parts.state.applied().index,
            "incoming-leader-snapshot-index" = index,
            "incoming-leader-snapshot-term" = snapshot.meta.id.term.0,
            "applying snapshot"
        );
        metrics::SNAPSHOT_APPLYING.set(1);
        // What is written and not synced yet belongs to a log that ends here.
        self.sync_now()?;
        let hard_state = self.unwritten.take().map(wire::hard_state_pb);
        self.parts.snapshots.save_received(&wire::snapshot_pb(&snapshot), &mut self.parts.wal)?;
        let _ = self.parts.wal.append(&[], hard_state)?;
        self.parts.wal.sync()?;
        self.parts.snapshots.take_db(&path)?;
        state.take_watchers_of(&self.parts.state);
        state.set_conf_state(wire::conf_state_pb(&snapshot.meta.conf_state));
        self.parts.state = state;
        self.parts.raft.storage_mut().apply_snapshot(snapshot).map_err(storage_failure)?;
        self.parts.wal.release_to(index);
        self.parts.snapshots.last = index;
        self.sealed = None;
        self.auto_compaction = None;
        self.seals = self.parts.state.views().backend.commits();
        self.beside.commit = false;
        self.beside.compactions = self.parts.state.take_resumed_compaction().into_iter().collect();
        self.beside.replaced = Some(self.parts.state.views().clone());
        self.parts.standing.applied.set(index);
        self.introduce();
        metrics::SNAPSHOT_APPLYING.set(0);
        tracing::info!("snapshot-index" = index, "applied snapshot");
        // The caller may have gone away.
        let _ = answer.send(());
        Ok(())
    }
}
