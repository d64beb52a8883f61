//! A leader's view of one member.

use super::InflightLimits;
use super::inflights::Inflights;
use crate::types::LogIndex;
use core::fmt;

/// How the leader talks to a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProgressState {
    /// Where its log ends is not known: one append at a time, to find out.
    #[default]
    Probe,
    /// It keeps up: entries are sent as they come, without waiting for answers.
    Replicate,
    /// It needs entries that the leader no longer has: a snapshot is on its way, nothing else.
    Snapshot,
}

impl fmt::Display for ProgressState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Probe => "StateProbe",
            Self::Replicate => "StateReplicate",
            Self::Snapshot => "StateSnapshot",
        })
    }
}

/// A leader's view of one member.
///
/// Invariant: `matched < next`. In `Snapshot` state `next` is one after the pending snapshot and
/// `sent_commit` is at it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Progress {
    /// Up to here its log is known to equal the leader's.
    matched: LogIndex,
    /// The next entry to send; what lies between `matched` and `next` is on its way.
    next: LogIndex,
    /// The highest commit index on its way; lets the leader skip appends that say nothing new.
    sent_commit: LogIndex,
    state: ProgressState,
    /// Index of the snapshot on its way. Not a condition for going on: any acknowledgement that
    /// connects to the leader's log will do, wherever the member got its state from (raft #110).
    pending_snapshot: LogIndex,
    /// Whether it was heard of since the last check of the quorum.
    recent_active: bool,
    /// In `Probe`, or with a full window: wait for an answer or a heartbeat's echo before the
    /// next append.
    flow_paused: bool,
    inflights: Inflights,
    is_learner: bool,
}

impl Progress {
    /// The view that a fresh leader has of a member: nothing known, start at the end.
    pub(crate) fn new(next: LogIndex, limits: InflightLimits, is_learner: bool) -> Self {
        Self {
            matched: LogIndex::ZERO,
            next: next.max(LogIndex(1)),
            sent_commit: LogIndex::ZERO,
            state: ProgressState::Probe,
            pending_snapshot: LogIndex::ZERO,
            recent_active: false,
            flow_paused: false,
            inflights: Inflights::new(limits),
            is_learner,
        }
    }

    pub fn matched(&self) -> LogIndex {
        self.matched
    }

    pub fn next(&self) -> LogIndex {
        self.next
    }

    pub fn state(&self) -> ProgressState {
        self.state
    }

    pub fn pending_snapshot(&self) -> Option<LogIndex> {
        (self.pending_snapshot != LogIndex::ZERO).then_some(self.pending_snapshot)
    }

    pub fn recent_active(&self) -> bool {
        self.recent_active
    }

    pub fn is_learner(&self) -> bool {
        self.is_learner
    }

    /// Appends on their way.
    pub fn inflight_messages(&self) -> usize {
        self.inflights.len()
    }

    pub fn inflight_bytes(&self) -> u64 {
        self.inflights.bytes()
    }

    /// Whether nothing may be sent for now.
    pub fn is_paused(&self) -> bool {
        match self.state {
            ProgressState::Probe | ProgressState::Replicate => self.flow_paused,
            ProgressState::Snapshot => true,
        }
    }

    pub(crate) fn window_is_full(&self) -> bool {
        self.inflights.is_full()
    }

    pub(crate) fn set_recent_active(&mut self, active: bool) {
        self.recent_active = active;
    }

    pub(crate) fn set_learner(&mut self, is_learner: bool) {
        self.is_learner = is_learner;
    }

    pub(crate) fn set_matched(&mut self, matched: LogIndex) {
        self.matched = matched;
        self.next = self.next.max(matched.next());
    }

    pub(crate) fn pause_flow(&mut self) {
        self.flow_paused = true;
    }

    pub(crate) fn resume_flow(&mut self) {
        self.flow_paused = false;
    }

    pub(crate) fn free_inflights(&mut self, acked: LogIndex) {
        self.inflights.free_to(acked);
    }

    fn enter(&mut self, state: ProgressState) {
        self.flow_paused = false;
        self.pending_snapshot = LogIndex::ZERO;
        self.state = state;
        self.inflights.reset();
    }

    /// Starts over after what is known, which after a snapshot that was sent is the snapshot.
    pub(crate) fn become_probe(&mut self) {
        let after_snapshot = match self.state {
            ProgressState::Snapshot => self.pending_snapshot.next(),
            ProgressState::Probe | ProgressState::Replicate => LogIndex::ZERO,
        };
        self.enter(ProgressState::Probe);
        self.next = self.matched.next().max(after_snapshot);
        self.sent_commit = self.sent_commit.min(self.next.prev());
    }

    pub(crate) fn become_replicate(&mut self) {
        self.enter(ProgressState::Replicate);
        self.next = self.matched.next();
    }

    pub(crate) fn become_snapshot(&mut self, index: LogIndex) {
        self.enter(ProgressState::Snapshot);
        self.pending_snapshot = index;
        self.next = index.next().max(self.matched.next());
        self.sent_commit = index;
    }

    /// The snapshot did not arrive: probe from what is known, not from where it would have led.
    pub(crate) fn snapshot_failed(&mut self) {
        self.pending_snapshot = LogIndex::ZERO;
        self.become_probe();
    }

    /// Notes that `entries` entries of `bytes` bytes from `next` on were sent.
    pub(crate) fn sent_entries(&mut self, entries: usize, bytes: u64) {
        match self.state {
            ProgressState::Replicate => {
                if entries > 0 {
                    self.next = self.next + entries as u64;
                    self.inflights.add(self.next.prev(), bytes);
                }
                // A message that fills the window, or an empty one sent into a full window, is a
                // probe: wait for what comes back.
                self.flow_paused = self.inflights.is_full();
            }
            ProgressState::Probe => {
                if entries > 0 {
                    self.flow_paused = true;
                }
            }
            ProgressState::Snapshot => {}
        }
    }

    /// Whether hearing of this commit index could let the member commit more than what was sent
    /// to it already.
    pub(crate) fn can_bump_commit(&self, commit: LogIndex) -> bool {
        commit > self.sent_commit && self.sent_commit < self.next.prev()
    }

    pub(crate) fn note_sent_commit(&mut self, commit: LogIndex) {
        self.sent_commit = commit;
    }

    /// The member acknowledges up to `index`. False for old news.
    pub(crate) fn maybe_update(&mut self, index: LogIndex) -> bool {
        if index <= self.matched {
            return false;
        }
        self.matched = index;
        self.next = self.next.max(index.next());
        self.flow_paused = false;
        true
    }

    /// The member rejects an append after `rejected` and may match up to `hint`. False if that is
    /// old news; messages may come late or twice.
    pub(crate) fn maybe_decrease(&mut self, rejected: LogIndex, hint: LogIndex) -> bool {
        if self.state == ProgressState::Replicate {
            if rejected <= self.matched {
                return false;
            }
            self.next = self.matched.next();
        } else {
            // Probes go one at a time, so a rejection of any other is not of this one.
            if self.next.prev() != rejected {
                return false;
            }
            if rejected == self.matched && hint < rejected {
                // It denies what it has acknowledged: its log is lost, or this is very old news.
                // Either way nothing is known any more, and asking again for the same would never
                // end. Nothing committed becomes uncommitted by it.
                self.matched = LogIndex::ZERO;
            }
            self.next = rejected.min(hint.next()).max(self.matched.next());
            self.flow_paused = false;
        }
        // What was sent with the rejected append was not taken.
        self.sent_commit = self.sent_commit.min(self.next.prev());
        true
    }
}

/// `StateReplicate match=11 next=12 inflight=1`
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} match={} next={}", self.state, self.matched, self.next)?;
        if self.is_learner {
            f.write_str(" learner")?;
        }
        if self.is_paused() {
            f.write_str(" paused")?;
        }
        if let Some(index) = self.pending_snapshot() {
            write!(f, " pendingSnap={index}")?;
        }
        if !self.recent_active {
            f.write_str(" inactive")?;
        }
        if self.inflights.len() > 0 {
            write!(f, " inflight={}", self.inflights.len())?;
            if self.inflights.is_full() {
                f.write_str("[full]")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ProgressState::{Probe, Replicate, Snapshot};

    const LIMITS: InflightLimits = InflightLimits { messages: 2, bytes: u64::MAX };

    fn progress(state: ProgressState, matched: u64, next: u64) -> Progress {
        let mut progress = Progress::new(LogIndex(next), LIMITS, false);
        progress.matched = LogIndex(matched);
        progress.state = state;
        progress
    }

    fn ends(progress: &Progress) -> (u64, u64) {
        (progress.matched.0, progress.next.0)
    }

    #[test]
    fn display_names_what_is_unusual() {
        let mut p = progress(Replicate, 11, 12);
        p.set_recent_active(true);
        assert_eq!(alloc::format!("{p}"), "StateReplicate match=11 next=12");
        p.sent_entries(1, 5);
        assert_eq!(alloc::format!("{p}"), "StateReplicate match=11 next=13 inflight=1");
        p.sent_entries(1, 5);
        let full = "StateReplicate match=11 next=14 paused inflight=2[full]";
        assert_eq!(alloc::format!("{p}"), full);
        p.become_snapshot(LogIndex(20));
        p.set_learner(true);
        p.set_recent_active(false);
        let snapshot = "StateSnapshot match=11 next=21 learner paused pendingSnap=20 inactive";
        assert_eq!(alloc::format!("{p}"), snapshot);
    }

    #[test]
    fn acknowledgements_move_forward_only_and_keep_match_below_next() {
        for (acked, news, ends_at) in
            [(2, false, (3, 5)), (3, false, (3, 5)), (4, true, (4, 5)), (8, true, (8, 9))]
        {
            let mut p = progress(Replicate, 3, 5);
            p.pause_flow();
            assert_eq!(p.maybe_update(LogIndex(acked)), news, "{acked}");
            assert_eq!((ends(&p), p.is_paused()), (ends_at, !news), "{acked}");
        }
    }

    #[test]
    fn rejections_lower_next_unless_they_are_old_news() {
        let cases = [
            // State, match, next, rejected, hint -> taken, next
            (Replicate, 5, 10, 5, 5, false, 10),
            (Replicate, 5, 10, 4, 4, false, 10),
            (Replicate, 5, 10, 9, 9, true, 6),
            (Probe, 0, 0, 0, 0, true, 1),
            (Probe, 0, 10, 5, 5, false, 10),
            (Probe, 0, 10, 9, 9, true, 9),
            (Probe, 0, 10, 9, 2, true, 3),
            (Probe, 0, 10, 9, 0, true, 1),
            // Never below what is known (openraft cecb5de8).
            (Probe, 5, 10, 9, 2, true, 6),
        ];
        for (state, matched, next, rejected, hint, taken, after) in cases {
            let mut p = progress(state, matched, next);
            assert_eq!(p.maybe_decrease(LogIndex(rejected), LogIndex(hint)), taken, "{rejected}");
            assert_eq!(ends(&p), (matched, after), "{state} {rejected} {hint}");
        }
    }

    #[test]
    fn whoever_denies_what_it_has_acknowledged_is_probed_anew() {
        let mut p = progress(Probe, 5, 6);
        assert!(p.maybe_decrease(LogIndex(5), LogIndex(2)));
        assert_eq!(ends(&p), (0, 3));
        let mut p = progress(Replicate, 5, 9);
        assert!(!p.maybe_decrease(LogIndex(5), LogIndex(2)), "answers may be late here");
    }

    #[test]
    fn probing_starts_after_the_match_or_after_the_snapshot_that_was_sent() {
        let mut p = progress(Replicate, 1, 5);
        p.become_probe();
        assert_eq!((ends(&p), p.state()), ((1, 2), Probe));

        p.become_snapshot(LogIndex(10));
        p.become_probe();
        assert_eq!((ends(&p), p.pending_snapshot()), ((1, 11), None));

        p.become_snapshot(LogIndex(10));
        p.snapshot_failed();
        assert_eq!(ends(&p), (1, 2));

        p.become_snapshot(LogIndex(10));
        p.maybe_update(LogIndex(15));
        p.become_probe();
        assert_eq!(ends(&p), (15, 16), "what is acknowledged is ahead of the snapshot");
    }

    /// raft #149: `next` at or below `match` after a snapshot older than what is acknowledged.
    #[test]
    fn raft_149_a_snapshot_keeps_match_below_next() {
        let mut p = progress(Replicate, 15, 16);
        p.become_snapshot(LogIndex(10));
        assert_eq!(ends(&p), (15, 16));
    }

    #[test]
    fn one_probe_at_a_time_and_nothing_during_a_snapshot() {
        let mut p = progress(Probe, 0, 1);
        p.sent_entries(0, 0);
        assert!(!p.is_paused(), "an empty probe costs nothing");
        p.sent_entries(3, 30);
        assert!(p.is_paused());
        assert_eq!(ends(&p), (0, 1), "a probe is no promise");
        p.resume_flow();
        assert!(!p.is_paused());
        p.become_snapshot(LogIndex(4));
        p.resume_flow();
        assert!(p.is_paused());
        assert_eq!(p.state(), Snapshot);
    }

    #[test]
    fn a_commit_index_is_worth_sending_once_and_up_to_what_was_sent() {
        let mut p = progress(Replicate, 5, 8);
        assert!(p.can_bump_commit(LogIndex(1)));
        p.note_sent_commit(LogIndex(6));
        assert!(!p.can_bump_commit(LogIndex(6)));
        assert!(p.can_bump_commit(LogIndex(7)));
        p.note_sent_commit(LogIndex(7));
        assert!(!p.can_bump_commit(LogIndex(20)), "it can commit no more than it has");
    }
}
