//! The window of appends that are on their way to one follower.

use alloc::collections::VecDeque;

use super::InflightLimits;
use crate::types::LogIndex;

/// Appends sent and not yet acknowledged: the last index and the bytes of each.
///
/// The byte limit is soft: the message that crosses it is let through, so that one large entry
/// can always be sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Inflights {
    limits: InflightLimits,
    bytes: u64,
    /// Grows on demand: most followers keep up and never need more than a few slots.
    window: VecDeque<(LogIndex, u64)>,
}

impl Inflights {
    pub(crate) const fn new(limits: InflightLimits) -> Self {
        Self { limits, bytes: 0, window: VecDeque::new() }
    }

    /// Notes a message; the caller has made sure that the window was not full.
    pub(crate) fn add(&mut self, last: LogIndex, bytes: u64) {
        self.window.push_back((last, bytes));
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Frees all messages up to and including the one that ends at `acked`.
    pub(crate) fn free_to(&mut self, acked: LogIndex) {
        while let Some((last, bytes)) = self.window.front() {
            if *last > acked {
                break;
            }
            self.bytes -= bytes;
            self.window.pop_front();
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.window.len() >= self.limits.messages || self.bytes >= self.limits.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.window.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn reset(&mut self) {
        self.window.clear();
        self.bytes = 0;
    }
}
