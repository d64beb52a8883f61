//! Where this member stands, for everybody to read without a lock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Numbers that the drive moves and others read. Each is right by itself; no two are read as one.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    pub(crate) term: Number,
    /// Zero: nobody leads.
    pub(crate) leader: Number,
    pub(crate) committed: Number,
    pub(crate) applied: Number,
    /// How many sealed buffers the db file has taken in.
    pub(crate) commits: Number,
    /// This member leads alone and has committed in its term: what it has applied is all that was
    /// ever acknowledged, so a read needs nobody's leave.
    pub(crate) reads_freely: Flag,
    /// The member goes down or has failed.
    pub(crate) stopped: Flag,
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

    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
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
