//! Auto compaction: when to compact to which revision. Pure: the caller brings the time.

use std::collections::VecDeque;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
/// How often the revision mode looks.
const REVISION_INTERVAL: Duration = Duration::from_secs(300);

/// What `--auto-compaction-mode` and `--auto-compaction-retention` ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutoCompaction {
    /// Never by itself.
    Off,
    /// Keep what is younger than this.
    Periodic(Duration),
    /// Keep this many revisions.
    Revision(i64),
}

/// Decides when to compact.
#[derive(Debug)]
pub(crate) struct Compactor {
    mode: AutoCompaction,
    /// Revisions as they were seen, one per look, the oldest first (periodic mode).
    seen: VecDeque<i64>,
    next_look: Duration,
    last_success: Duration,
    /// The first compaction waits a whole period, the following ones an hour at most.
    wait: Duration,
    last_revision: i64,
}

impl Compactor {
    pub(crate) fn new(mode: AutoCompaction, now: Duration) -> Self {
        let (wait, first_look) = match mode {
            AutoCompaction::Off => (Duration::MAX, Duration::MAX),
            AutoCompaction::Periodic(period) => (period, now),
            AutoCompaction::Revision(_) => (Duration::ZERO, now + REVISION_INTERVAL),
        };
        Self {
            mode,
            seen: VecDeque::new(),
            next_look: first_look,
            last_success: now,
            wait,
            last_revision: 0,
        }
    }

    /// The revision to compact to now, if it is time.
    pub(crate) fn tick(&mut self, now: Duration, current: i64) -> Option<i64> {
        if now < self.next_look {
            return None;
        }
        match self.mode {
            AutoCompaction::Off => None,
            AutoCompaction::Periodic(period) => self.tick_periodic(now, current, period),
            AutoCompaction::Revision(keep) => {
                self.next_look = now + REVISION_INTERVAL;
                let target = current - keep;
                (target > 0 && target != self.last_revision).then_some(target)
            }
        }
    }

    fn tick_periodic(&mut self, now: Duration, current: i64, period: Duration) -> Option<i64> {
        let look_every = period.min(HOUR) / 10;
        self.next_look = now + look_every;
        let oldest = self.seen.front().copied();
        let looks = period.as_nanos().checked_div(look_every.as_nanos()).unwrap_or(0);
        self.seen.push_back(current);
        if self.seen.len() as u128 > looks + 1 {
            self.seen.pop_front();
        }
        let target = oldest?;
        if now.saturating_sub(self.last_success) < self.wait || target == self.last_revision {
            return None;
        }
        self.wait = period.min(HOUR);
        Some(target)
    }

    /// What it was asked for.
    pub(crate) fn mode(&self) -> AutoCompaction {
        self.mode
    }

    /// The compaction to `revision` is done (or somebody else had done it).
    pub(crate) fn succeeded(&mut self, now: Duration, revision: i64) {
        self.last_success = now;
        self.last_revision = revision;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(mode: AutoCompaction, step: Duration, steps: u32) -> Vec<(u64, i64)> {
        let mut compactor = Compactor::new(mode, Duration::ZERO);
        let mut done = Vec::new();
        for number in 0..steps {
            let now = step * number;
            if let Some(revision) = compactor.tick(now, i64::from(number) + 1) {
                compactor.succeeded(now, revision);
                done.push((now.as_secs() / 60, revision));
            }
        }
        done
    }

    #[test]
    fn off_never_compacts() {
        assert_eq!(run(AutoCompaction::Off, HOUR, 1000), []);
    }

    #[test]
    fn periodic_keeps_one_period_of_history() {
        // One revision a minute, ten minutes to keep, one look a minute.
        let minute = Duration::from_secs(60);
        let done = run(AutoCompaction::Periodic(minute * 10), minute, 41);
        assert_eq!(done, [(10, 1), (20, 10), (30, 20), (40, 30)]);
    }

    #[test]
    fn long_periods_compact_every_hour() {
        let minute = Duration::from_secs(60);
        let done = run(AutoCompaction::Periodic(HOUR * 3), minute, 60 * 6);
        assert_eq!(done.iter().map(|(at, _)| at / 60).collect::<Vec<_>>(), [3, 4, 5]);
    }

    #[test]
    fn revision_mode_keeps_a_count_of_revisions() {
        let minute = Duration::from_secs(60);
        let done = run(AutoCompaction::Revision(3), minute, 16);
        assert_eq!(done, [(5, 3), (10, 8), (15, 13)]);
    }
}
