//! What goes into the log, when it is durable, and what may be forgotten of it.

use std::collections::VecDeque;
use std::time::Duration;

use raft::{AppendTicket, Entry, LogIndex, Storage as _, StorageAppend};
use wal::{EntryRef, MustSync};

use super::{Drive, storage_failure};
use crate::wire::{self, Payload};
use crate::{Fatal, SERVER_VERSION, life, metrics};

/// Syncs whose times are kept until their entries are applied.
const DURABLE_NOTES: usize = 256;
/// Applied entries that the log in memory keeps where there is nobody to send them to.
const KEPT_ALONE: u64 = 64;
/// Bytes of entries that it keeps at most for members that are behind; who is further behind gets
/// the state instead.
const KEPT_BYTES: u64 = 128 << 20;
/// While somebody is being sent a state, what comes meanwhile is kept up to here: else he would be
/// too far behind once more when he has it.
const KEPT_BYTES_FOR_SNAPSHOT: u64 = 512 << 20;

/// Appends that are written and not yet known to be durable, oldest first.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    waiting: VecDeque<(AppendTicket, bool, u64)>,
    /// Up to which index the log was durable when, for entries that are not applied yet.
    durable: VecDeque<(u64, Duration)>,
    /// How many of them the sync that is under way covers, and its number.
    under_way: Option<(u64, usize)>,
    last_number: u64,
}

impl Unsynced {
    fn note_durable(&mut self, index: u64, now: Duration) {
        if self.durable.len() == DURABLE_NOTES {
            self.durable.pop_front();
        }
        self.durable.push_back((index, now));
    }

    /// When the entry that is applied now had become durable, and forgets what was before it.
    pub(super) fn durable_since(&mut self, index: u64) -> Option<Duration> {
        while self.durable.pop_front_if(|(upto, _)| *upto < index).is_some() {}
        self.durable.front().map(|(_, since)| *since)
    }
}

impl Drive {
    pub(super) fn append(&mut self, append: StorageAppend<Payload>) -> Result<(), Fatal> {
        let StorageAppend { hard_state, snapshot, entries, must_sync, ticket } = append;
        if let Some(state) = hard_state {
            self.parts.raft.storage_mut().set_hard_state(state);
            self.unwritten = Some(state);
        }
        if let Some(snapshot) = snapshot {
            self.install(snapshot)?;
        }
        let mut needs_sync = false;
        if must_sync || !entries.is_empty() {
            needs_sync = self.write_log(&entries, must_sync)?;
            self.parts.raft.storage_mut().append(entries).map_err(storage_failure)?;
        }
        let last = self.parts.raft.storage().last_index().0;
        self.unsynced.waiting.push_back((ticket, needs_sync, last));
        if self.sync_here && self.unsynced.under_way.is_none() {
            self.sync_now()?;
        }
        Ok(())
    }

    /// Makes durable all that is written, here and now.
    pub(super) fn sync_now(&mut self) -> Result<(), Fatal> {
        if self.unsynced.waiting.iter().any(|(_, needs_sync, _)| *needs_sync) {
            let begun = self.parts.watchful.now();
            self.parts.wal.sync()?;
            let took = self.parts.watchful.now().saturating_sub(begun);
            metrics::WAL_FSYNC.observe(took.as_secs_f64());
            self.parts.standing.note_sync(took);
        }
        // What another sync is still at is covered by this one.
        self.unsynced.under_way = None;
        let all = self.unsynced.waiting.len();
        self.report_appended(all)
    }

    /// Reports appends done that wait for nothing, and asks for a sync where others do. Whether
    /// something was reported.
    pub(super) fn settle_appends(&mut self) -> Result<bool, Fatal> {
        if self.unsynced.under_way.is_some() {
            return Ok(false);
        }
        let free =
            self.unsynced.waiting.iter().take_while(|(_, needs_sync, _)| !needs_sync).count();
        self.report_appended(free)?;
        if !self.unsynced.waiting.is_empty() {
            self.unsynced.last_number += 1;
            let number = self.unsynced.last_number;
            self.unsynced.under_way = Some((number, self.unsynced.waiting.len()));
            self.beside.sync = Some((number, self.parts.wal.sync_job()));
        }
        Ok(free > 0)
    }

    /// A sync that was asked for is done.
    pub(super) fn synced(&mut self, number: u64, outcome: Result<(), String>) -> Result<(), Fatal> {
        outcome.map_err(Fatal::Sync)?;
        match self.unsynced.under_way {
            Some((under_way, count)) if under_way == number => {
                self.unsynced.under_way = None;
                self.report_appended(count)
            }
            // Another one has done its work meanwhile.
            _ => Ok(()),
        }
    }

    fn report_appended(&mut self, count: usize) -> Result<(), Fatal> {
        if let Some((.., last)) = count.checked_sub(1).and_then(|at| self.unsynced.waiting.get(at))
        {
            let last = *last;
            self.unsynced.note_durable(last, self.parts.watchful.now());
        }
        for _ in 0..count {
            let Some((ticket, ..)) = self.unsynced.waiting.pop_front() else { break };
            self.parts
                .raft
                .on_append_done(ticket, &mut self.released)
                .map_err(|error| Fatal::Raft(error.to_string()))?;
        }
        let mut released = std::mem::take(&mut self.released);
        self.send(&mut released);
        self.released = released;
        Ok(())
    }

    /// Appends the entries and the newest hard state to the log; whether that is still to be
    /// synced. A hard state that only brings a new commit index waits for this: nobody relies on
    /// it, and it would be a write of its own for every batch.
    pub(super) fn write_log(
        &mut self,
        entries: &[Entry<Payload>],
        must_sync: bool,
    ) -> Result<bool, Fatal> {
        let hard_state = self.unwritten.take();
        let timer = metrics::WAL_WRITE.start_timer();
        let data: Vec<_> = entries.iter().map(|entry| wire::entry_data(&entry.body)).collect();
        let refs: Vec<_> = entries
            .iter()
            .zip(&data)
            .map(|(entry, (kind, data))| EntryRef {
                kind: *kind,
                term: entry.id.term.0,
                index: entry.id.index.0,
                data,
            })
            .collect();
        let written = self.parts.wal.append(&refs, hard_state.map(wire::hard_state_pb))?;
        timer.observe_duration();
        let written_bytes = self.parts.wal.written_bytes();
        metrics::WAL_WRITE_BYTES.set(i64::try_from(written_bytes).unwrap_or(i64::MAX));
        Ok(must_sync || written == MustSync::Yes)
    }

    /// What is applied need not stay in memory, but for members that are a little behind.
    pub(super) fn trim_log(&mut self) -> Result<(), Fatal> {
        let alone = self.parts.raft.status().progress.len() <= 1;
        let sending = self.snapshots_out.keeps_log(self.now);
        let applied = self.parts.state.applied();
        let kept = if alone { KEPT_ALONE } else { self.pace.catchup_entries };
        let storage = self.parts.raft.storage();
        let first = storage.first_index().0;
        let most = if sending { KEPT_BYTES_FOR_SNAPSHOT } else { KEPT_BYTES };
        let keep_from = if storage.bytes() > most {
            // Half of what there is: the next time is a while away then.
            first + applied.index.saturating_sub(first) / 2
        } else if sending {
            return Ok(());
        } else {
            applied.index.saturating_sub(kept)
        };
        if keep_from <= first + KEPT_ALONE.min(kept) || keep_from > applied.index {
            return Ok(());
        }
        self.note_snapshot()?;
        let storage = self.parts.raft.storage_mut();
        storage.compact(LogIndex(keep_from)).map_err(storage_failure)
    }

    /// Tells raft that there is a state to send to who is too far behind: the one of now. What is
    /// sent in the end may be a later one.
    pub(super) fn note_snapshot(&mut self) -> Result<(), Fatal> {
        let applied = LogIndex(self.parts.state.applied().index);
        let conf_state = self.parts.raft.status().config.conf_state();
        let storage = self.parts.raft.storage_mut();
        match storage.create_snapshot(applied, conf_state, Payload::default()) {
            // There is one of just now.
            Ok(_) | Err(raft::StorageError::SnapshotOutOfDate) => Ok(()),
            Err(error) => Err(storage_failure(error)),
        }
    }

    pub(super) fn seal_if_due(&mut self) {
        let now = self.now;
        let pending = self.parts.state.views().backend.pending().ops;
        let due = now >= self.next_seal
            || pending >= self.pace.batch_limit
            || self.snapshots_out.wants_image();
        if due && self.seal() {
            self.beside.commit = true;
            self.next_seal = now + self.pace.batch_interval;
        }
    }

    pub(super) fn seal(&mut self) -> bool {
        let sealed = self.parts.state.seal();
        if sealed {
            self.seals += 1;
            self.sealed = self.parts.snapshots.mark(&self.parts.state);
            self.mark_for_sending();
        } else if self.snapshots_out.wants_image()
            && self.parts.state.views().backend.commits() == self.seals
        {
            // Nothing was written lately: the db file has all there is.
            self.mark_for_sending();
            self.send_snapshots();
        }
        sealed
    }

    /// Once the db file has everything up to an index, the log before it may go, and the file may
    /// be sent.
    pub(super) fn snapshot_if_due(&mut self) -> Result<(), Fatal> {
        if self.parts.state.views().backend.commits() != self.seals {
            return Ok(());
        }
        self.send_snapshots();
        let Some(mark) = self.sealed.take() else { return Ok(()) };
        // A snapshot in the log counts only behind a commit index that reaches it.
        self.write_log(&[], false)?;
        self.parts.snapshots.save(&mark, &mut self.parts.wal)?;
        // The older etcd must not meet what lies in the log before the snapshot.
        let lower = self.parts.state.agreed_below_storage().filter(|_| mark.forced);
        if let Some(version) = lower {
            self.parts.state.lower_storage_version(version)?;
            life::storage_version_set(version);
            let downgrade = self.parts.state.views().members.downgrade();
            if downgrade.enabled {
                tracing::info!(
                    "target-version" = downgrade.target_version,
                    "server-version" = SERVER_VERSION,
                    "The server is ready to downgrade"
                );
            }
        }
        Ok(())
    }
}
