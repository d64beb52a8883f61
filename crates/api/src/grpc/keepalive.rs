//! gRPC's keepalive: who pings too often is sent away, who is silent for too long is pinged.
//! Without a clock: the times come in.

use std::time::Duration;

use tokio::time::Instant;

use crate::service::Keepalive;

/// A client without calls has no reason to ping more often.
const WITHOUT_CALLS: Duration = Duration::from_secs(2 * 3600);
/// What grpc-go takes where no minimum is set.
const DEFAULT_MIN_TIME: Duration = Duration::from_secs(5 * 60);
/// Pings too early that are borne.
const STRIKES: u32 = 2;

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing yet.
    Nothing,
    /// Ping the client.
    Ping,
    /// The client is gone.
    Gone,
}

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Watchman {
    policy: Keepalive,
    last_read: Instant,
    pinged: Option<Instant>,
    last_ping: Option<Instant>,
    strikes: u32,
    /// Frames of responses at the last ping.
    progress: u64,
}

impl Watchman {
    pub(super) fn new(policy: Keepalive, now: Instant) -> Self {
        Self { policy, last_read: now, pinged: None, last_ping: None, strikes: 0, progress: 0 }
    }

    /// Something came from the client.
    pub(super) fn heard(&mut self, now: Instant) {
        self.last_read = now;
        self.pinged = None;
    }

    /// The client has pinged. `progress` counts what was sent to it, `calls` are open. False: it
    /// is to be sent away.
    pub(super) fn bears_ping(&mut self, now: Instant, progress: u64, calls: usize) -> bool {
        let before = self.last_ping.replace(now);
        // Who receives something may ping again: gRPC measures the line that way.
        if std::mem::replace(&mut self.progress, progress) != progress {
            self.strikes = 0;
            return true;
        }
        let least = match calls {
            0 => WITHOUT_CALLS,
            _ if self.policy.min_time.is_zero() => DEFAULT_MIN_TIME,
            _ => self.policy.min_time,
        };
        if before.is_some_and(|before| now.duration_since(before) < least) {
            self.strikes += 1;
        }
        self.strikes <= STRIKES
    }

    /// When something is due; `None`: never.
    pub(super) fn next(&self) -> Option<Instant> {
        let Keepalive { interval, timeout, .. } = self.policy;
        if interval.is_zero() || timeout.is_zero() {
            return None;
        }
        match self.pinged {
            Some(pinged) => pinged.checked_add(timeout),
            None => self.last_read.checked_add(interval),
        }
    }

    /// What is due.
    pub(super) fn due(&mut self, now: Instant) -> Due {
        if self.next().is_none_or(|at| now < at) {
            return Due::Nothing;
        }
        match self.pinged.replace(now) {
            Some(_) => Due::Gone,
            None => Due::Ping,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_third_ping_too_early_is_too_many() {
        let start = Instant::now();
        let mut watchman = Watchman::new(Keepalive::default(), start);
        let ping =
            |watchman: &mut Watchman, seconds| watchman.bears_ping(start + after(seconds), 7, 1);
        // The first one follows a response.
        assert!(ping(&mut watchman, 0) && ping(&mut watchman, 1) && ping(&mut watchman, 2));
        assert!(!ping(&mut watchman, 3));
        let mut patient = Watchman::new(Keepalive::default(), start);
        assert!((0..50).all(|turn| ping(&mut patient, turn * 5)));
        assert!(patient.bears_ping(start + after(246), 8, 1), "a response forgives");
        assert_eq!(patient.strikes, 0);
    }

    #[test]
    fn without_calls_there_is_no_reason_to_ping() {
        let start = Instant::now();
        let mut watchman = Watchman::new(Keepalive::default(), start);
        let borne = (0..10).take_while(|turn| watchman.bears_ping(start + after(turn * 600), 0, 0));
        assert_eq!(borne.count(), 3);
    }

    #[test]
    fn the_silent_are_pinged_and_then_given_up() {
        let start = Instant::now();
        let policy = Keepalive { interval: after(10), timeout: after(3), ..Keepalive::default() };
        let mut watchman = Watchman::new(policy, start);
        assert_eq!(watchman.next(), Some(start + after(10)));
        watchman.heard(start + after(4));
        assert_eq!(watchman.due(start + after(10)), Due::Nothing);
        assert_eq!(watchman.next(), Some(start + after(14)));
        assert_eq!(watchman.due(start + after(14)), Due::Ping);
        assert_eq!(watchman.due(start + after(14)), Due::Nothing);
        assert_eq!(watchman.next(), Some(start + after(17)));
        watchman.heard(start + after(15));
        assert_eq!(watchman.due(start + after(17)), Due::Nothing);
        assert_eq!(watchman.due(start + after(25)), Due::Ping);
        assert_eq!(watchman.due(start + after(28)), Due::Gone);
        for never in [
            Keepalive { interval: Duration::ZERO, ..policy },
            Keepalive { timeout: Duration::ZERO, ..policy },
            Keepalive { interval: Duration::MAX, ..policy },
        ] {
            assert_eq!(Watchman::new(never, start).next(), None);
        }
    }
}
