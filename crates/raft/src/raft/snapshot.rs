//! The state machine in place of the log: sending it, and taking it over.

use super::Raft;
use crate::conf_changer;
use crate::entry::Payload;
use crate::error::{Fatal, StepError, StorageError};
use crate::message::Body;
use crate::storage::{Snapshot, Storage};
use crate::tracker::Tracker;
use crate::tracker::progress::ProgressState;
use crate::types::{EntryId, LogIndex, NodeId};
use alloc::boxed::Box;

/// What became of a snapshot that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SnapshotStatus {
    Finish,
    Failure,
}

impl<P: Payload, S: Storage<P>> Raft<P, S> {
    /// Sends a snapshot to the member at this place of the tracker, if there is one and the member
    /// is there to take it. Whether it was sent.
    pub(super) fn maybe_send_snapshot(&mut self, at: usize) -> Result<bool, Fatal> {
        let (to, progress) = self.tracker.peers.at(at);
        if !progress.recent_active() {
            return Ok(false);
        }
        let snapshot = match self.log.snapshot() {
            Ok(snapshot) if snapshot.meta.id.index > LogIndex::ZERO => snapshot,
            // None was made yet, as on a leader that has joined by a snapshot itself (5.7). The
            // next heartbeat's answer tries again.
            Ok(_) | Err(StorageError::SnapshotTemporarilyUnavailable) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        progress.become_snapshot(snapshot.meta.id.index);
        self.send(to, Body::Snapshot { snapshot: Box::new(snapshot) });
        Ok(true)
    }

    /// The driver knows what became of a snapshot that was sent to `id`.
    pub(crate) fn report_snapshot(&mut self, id: NodeId, status: SnapshotStatus) {
        let Some(progress) = self.leading_to(id) else { return };
        if progress.state() != ProgressState::Snapshot {
            return;
        }
        match status {
            SnapshotStatus::Finish => progress.become_probe(),
            SnapshotStatus::Failure => progress.snapshot_failed(),
        }
        // After success its answer is on the way; after failure a heartbeat is time enough.
        progress.pause_flow();
    }

    pub(super) fn handle_snapshot(
        &mut self,
        from: NodeId,
        snapshot: Snapshot<P>,
    ) -> Result<(), StepError> {
        let index =
            if self.restore(snapshot)? { self.log.last_index() } else { self.log.committed() };
        self.send(from, Body::AppendResp { index, reject: None });
        Ok(())
    }

    /// Replaces log and configuration by a snapshot. False if it is of no use here.
    fn restore(&mut self, snapshot: Snapshot<P>) -> Result<bool, StepError> {
        let id = snapshot.meta.id;
        if id.index <= self.log.committed() {
            self.check_same_history(id)?;
            return Ok(false);
        }
        if !snapshot.meta.conf_state.contains(self.id) {
            return Ok(false);
        }
        if self.log.matches(id)? {
            // We have the entries; a snapshot only tells us that they are committed.
            self.log.commit_to(id.index)?;
            return Ok(false);
        }
        // First the configuration, which may turn out impossible, then the log.
        let fresh = Tracker::new(self.tracker.limits);
        let Ok((config, peers)) =
            conf_changer::restore(&fresh, id.index, &snapshot.meta.conf_state)
        else {
            return Err(StepError::Malformed);
        };
        self.log.restore(snapshot);
        if self.superseded_config.is_none() {
            self.superseded_config = Some(self.tracker.config.conf_state());
        }
        self.tracker = fresh;
        self.config_index = id.index;
        self.switch_config(config, peers)?;
        Ok(true)
    }

    /// A snapshot of what we have committed must agree with it: state machines that were built
    /// from different entries must never meet (openraft #1892).
    fn check_same_history(&self, theirs: EntryId) -> Result<(), Fatal> {
        match self.log.term(theirs.index)? {
            Some(term) if term != theirs.term => {
                Err(Fatal::Corrupt { ours: EntryId { term, ..theirs }, theirs })
            }
            _ => Ok(()),
        }
    }

    /// The snapshot at `index` is stored and installed.
    pub(crate) fn applied_snapshot(&mut self, index: LogIndex) {
        self.log.unstable.stable_snapshot_to(index);
        if self.log.unstable.snapshot().is_none() {
            self.superseded_config = None;
        }
        self.applied_to(index, 0);
    }
}
