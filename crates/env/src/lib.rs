//! The outside world as traits: clock, disk, chance and failpoints.
//!
//! `raft`, `wal`, `bolt`, `mvcc` and `state` touch the world only through what is here, so that
//! the same code runs on a real machine and in a simulation that one seed drives.
//!
//! ```text
//!   Disk, File:  RealDisk (the machine's)    SimDisk (a seed, power cuts, faults)
//!   Clock:       RealClock                   ManualClock
//!   chance:      Random::from_machine        Random::new(seed)
//! ```
//!
//! Files in reading order: [`disk`](Disk), `real_disk`, `clock`, `random`, `sim_disk`, `failpoint`.

mod clock;
mod disk;
mod failpoint;
mod random;
mod real_disk;
mod sim_disk;

pub use clock::{Clock, ManualClock, RealClock};
pub use disk::{Access, Disk, File};
pub use failpoint::failpoint;
#[cfg(feature = "failpoints")]
pub use failpoint::{configure_failpoint, failpoints};
pub use random::Random;
pub use real_disk::RealDisk;
pub use sim_disk::{Call, SimDisk};
