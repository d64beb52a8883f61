//! Several members that are one cluster.
//!
//! The long form: `PINTLE_ROUNDS=50 cargo test --release -p e2e cluster -- --nocapture`.

mod change;
mod corrupt;
mod ctl;
mod discovery;
mod failover;
mod holder;
mod hosts;
mod lease;
mod load;
mod memory;
mod mixed;
mod stale;
mod storm;
mod survive;
mod teeth;
mod watcher;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// An election need not take long, but a busy machine must not cause one.
const FLAGS: [&str; 2] = ["--heartbeat-interval=50", "--election-timeout=500"];

/// For one cluster at a time: several would take the processors from each other until their
/// elections fail.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
