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
    /// When the last leader was lost: milliseconds of the member's clock and one more; zero while
    /// none was.
    lost_at: Number,
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

    pub(crate) fn set_leader(&self, leader: u64, now: Duration) {
        if leader == 0 && self.leader.read() != 0 {
            // Before the leader goes: who reads them the other way round sees one of both.
            self.lost_at.set(millis(now) + 1);
        }
        self.leader.set(leader);
        self.leaders.send_if_modified(|known| std::mem::replace(known, leader) != leader);
    }

    /// Whether somebody leads, or did so at most that long ago.
    pub(crate) fn has_led_within(&self, time: Duration, now: Duration) -> bool {
        if self.leader.read() != 0 {
            return true;
        }
        let lost_at = self.lost_at.read();
        lost_at != 0 && millis(now) < (lost_at - 1).saturating_add(millis(time))
    }

    /// Who leads, to wait for changes of.
    pub(crate) fn leaders(&self) -> watch::Receiver<u64> {
        self.leaders.subscribe()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX - 1)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_lost_its_leader_is_led_for_a_while() {
        let standing = Standing::default();
        let (second, at) = (Duration::from_secs(1), Duration::from_millis);
        assert!(!standing.has_led_within(second, at(0)), "it never had one");
        standing.set_leader(0, at(1));
        assert!(!standing.has_led_within(second, at(2)), "it never had one");
        standing.set_leader(7, at(3));
        assert!(standing.has_led_within(second, at(100_000)));
        standing.set_leader(0, at(100_000));
        standing.set_leader(0, at(100_500));
        assert!(standing.has_led_within(second, at(100_999)));
        assert!(!standing.has_led_within(second, at(101_000)));
        standing.set_leader(8, at(200_000));
        assert!(standing.has_led_within(second, at(300_000)));
    }
}
