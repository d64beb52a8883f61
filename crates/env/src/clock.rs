use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tells time. Leases, timeouts and ticks use [`Clock::now`], which never goes back.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Time since an arbitrary, fixed point; monotonic.
    fn now(&self) -> Duration;
    /// Wall time since the Unix epoch, for ids and logs only: it may jump.
    fn unix(&self) -> Duration;
}

/// The machine's clock.
#[derive(Debug, Clone)]
pub struct RealClock {
    start: Instant,
}

impl RealClock {
    /// Starts counting now.
    #[expect(clippy::disallowed_methods, reason = "the one place where real time comes in")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for RealClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for RealClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "the one place where real time comes in")]
    fn unix(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// A clock that stands still until somebody moves it; clones share the hand.
#[derive(Debug, Clone, Default)]
pub struct ManualClock {
    micros: Arc<AtomicU64>,
}

impl ManualClock {
    /// Moves the hand forward.
    pub fn advance(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }

    fn unix(&self) -> Duration {
        self.now()
    }
}
