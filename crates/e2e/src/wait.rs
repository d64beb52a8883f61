//! Waiting for what other processes do.

use std::sync::OnceLock;
use std::time::Duration;

use env::{Clock as _, RealClock};

/// Time since the process began to count; for deadlines.
pub fn now() -> Duration {
    static CLOCK: OnceLock<RealClock> = OnceLock::new();
    CLOCK.get_or_init(RealClock::new).now()
}

/// Asks until there is an answer, `None` if there was none within `limit`.
///
/// Other processes cannot wake us, so this polls.
pub fn until<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if now() >= deadline {
            return None;
        }
        self::pause(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Lets other processes go on for so long.
#[expect(clippy::disallowed_methods, reason = "another process has no waker for us")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
