//! So that a message that repeats without end does not fill the disk.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Level;

/// Of equal messages in a second, so many are written ...
const FIRST: u64 = 100;
/// ... and of the others every so-manieth.
const THEREAFTER: u64 = 100;
const SLOTS_PER_LEVEL: usize = 1024;
const LEVELS: usize = Level::Fatal as usize + 1;

/// Counts messages by level and text; texts that share a slot are counted as one.
#[derive(Debug)]
pub(super) struct Sampler {
    slots: Box<[Slot]>,
}

#[derive(Debug, Default)]
struct Slot {
    second: AtomicU64,
    count: AtomicU64,
}

impl Sampler {
    pub(super) fn new() -> Sampler {
        Sampler { slots: (0..LEVELS * SLOTS_PER_LEVEL).map(|_| Slot::default()).collect() }
    }

    /// Whether a message is to be written.
    pub(super) fn takes(&self, level: Level, message: &str, unix: Duration) -> bool {
        let mut hasher = DefaultHasher::new();
        message.hash(&mut hasher);
        let within = (hasher.finish() % SLOTS_PER_LEVEL as u64) as usize;
        let slot = &self.slots[level as usize * SLOTS_PER_LEVEL + within];
        // Off by one, so that a clock at zero differs from a slot that was never used.
        let second = unix.as_secs() + 1;
        if slot.second.swap(second, Ordering::Relaxed) != second {
            slot.count.store(0, Ordering::Relaxed);
        }
        let nth = slot.count.fetch_add(1, Ordering::Relaxed) + 1;
        nth <= FIRST || (nth - FIRST).is_multiple_of(THEREAFTER)
    }
}
