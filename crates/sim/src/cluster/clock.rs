//! A host's clock, which goes as it likes.

use std::time::Duration;

use env::{Clock as _, ManualClock};

/// A clock that runs faster or slower than true time, and jumps, but never back.
#[derive(Debug)]
pub(super) struct HostClock {
    /// What the member reads.
    hand: ManualClock,
    /// What it showed at a true time, and how fast it goes since.
    shown: Duration,
    since: Duration,
    permille: u64,
}

impl HostClock {
    pub(super) fn new(start: Duration) -> Self {
        let hand = ManualClock::default();
        hand.advance(start);
        Self { hand, shown: start, since: Duration::ZERO, permille: 1000 }
    }

    pub(super) fn hand(&self) -> ManualClock {
        self.hand.clone()
    }

    /// What it shows.
    pub(super) fn read(&self, now: Duration) -> Duration {
        let passed = now.saturating_sub(self.since).as_micros() as u64;
        self.shown + Duration::from_micros(passed * self.permille / 1000)
    }

    /// Moves the hand to what it shows, and says that.
    pub(super) fn set(&self, now: Duration) -> Duration {
        let shows = self.read(now);
        self.hand.advance(shows.saturating_sub(self.hand.now()));
        shows
    }

    /// The true time at which it shows `shows`.
    pub(super) fn when(&self, shows: Duration) -> Duration {
        let ahead = shows.saturating_sub(self.shown).as_micros() as u64;
        self.since + Duration::from_micros((ahead * 1000).div_ceil(self.permille))
    }

    /// Lets it go this fast from now on.
    pub(super) fn go(&mut self, now: Duration, permille: u64) {
        (self.shown, self.since) = (self.read(now), now);
        self.permille = permille;
    }

    pub(super) fn jump(&mut self, now: Duration, by: Duration) {
        (self.shown, self.since) = (self.read(now) + by, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_at_its_pace_and_says_when_it_will_show_something() {
        let mut clock = HostClock::new(Duration::from_secs(50));
        let second = Duration::from_secs(1);
        clock.go(second, 500);
        assert_eq!(clock.read(3 * second), 52 * second);
        assert_eq!(clock.when(52 * second), 3 * second);
        clock.go(3 * second, 2000);
        clock.jump(3 * second, 10 * second);
        assert_eq!(clock.set(4 * second), 64 * second);
        assert_eq!(clock.hand().now(), 64 * second);
        assert_eq!(clock.read(clock.when(65 * second)), 65 * second);
    }
}
