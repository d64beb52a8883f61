//! Where this member stands, for everybody to read without a lock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// Where syncs of the log take longer than this (in microseconds), steps do not wait for them: they
/// would hold up heartbeats and votes.
const QUICK_SYNC_MICROS: u64 = 1000;

/// Numbers that the drive moves and others read. Each is right by itself; no two are read as one.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    pub(crate) term: Number,
    /// Zero: nobody leads.
    pub(crate) leader: Number,
    pub(crate) committed: Number,
    pub(crate) applied: Number,
    /// This member leads, and has applied all that came before its term.
    pub(crate) leads: Flag,
    /// This member leads alone and has committed in its term: what it has applied is all that was
    /// ever acknowledged, so a read needs nobody's leave.
    pub(crate) reads_freely: Flag,
    /// This member has no vote.
    pub(crate) learner: Flag,
    /// The member goes down or has failed.
    pub(crate) stopped: Flag,
    /// How long syncs of the log take, smoothed.
    sync_micros: Number,
    /// For those who wait until somebody (else) leads.
    leaders: watch::Sender<u64>,
}

impl Standing {
    /// Notes how long a sync of the log took.
    pub(crate) fn note_sync(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sync_micros.set((self.sync_micros.read() * 7 + micros) / 8);
    }

    /// Whether syncs of the log are short enough to wait for them.
    pub(crate) fn syncs_quickly(&self) -> bool {
        self.sync_micros.read() < QUICK_SYNC_MICROS
    }

    pub(crate) fn set_leader(&self, leader: u64) {
        self.leader.set(leader);
        self.leaders.send_if_modified(|known| std::mem::replace(known, leader) != leader);
    }

    /// Who leads, to wait for changes of.
    pub(crate) fn leaders(&self) -> watch::Receiver<u64> {
        self.leaders.subscribe()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Number(AtomicU64);

impl Number {
    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }
}

#[derive(Debug, Default)]
pub(crate) struct Flag(AtomicBool);

impl Flag {
    pub(crate) fn is_up(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn set(&self, up: bool) {
        self.0.store(up, Ordering::Release);
    }
}
