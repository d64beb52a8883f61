//! The outside world as traits: clock, disk, chance and failpoints.
//!
//! `raft`, `wal`, `bolt`, `mvcc` and `state` touch the world only through what is here, so that
//! the same code runs on a real machine and in a simulation that one seed drives.
//!
//! Files in reading order: [`disk`](Disk), `real_disk`, `clock`.

mod clock;
mod disk;
mod real_disk;

pub use clock::{Clock, ManualClock, RealClock};
pub use disk::{Access, Disk, File};
pub use real_disk::RealDisk;
