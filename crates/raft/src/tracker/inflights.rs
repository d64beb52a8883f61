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

#[cfg(test)]
mod tests {
    use super::*;

    fn window(messages: usize, bytes: u64) -> Inflights {
        Inflights::new(InflightLimits { messages, bytes })
    }

    #[test]
    fn a_window_is_full_by_messages_or_by_bytes() {
        let mut by_messages = window(3, u64::MAX);
        let mut by_bytes = window(100, 250);
        for n in 1..=3 {
            assert!(!by_messages.is_full() && !by_bytes.is_full(), "{n}");
            by_messages.add(LogIndex(n), 100);
            by_bytes.add(LogIndex(n), 100);
        }
        // The third message was let through although only 50 bytes were left.
        assert!(by_messages.is_full() && by_bytes.is_full());
        assert_eq!(by_bytes.bytes(), 300);
    }

    #[test]
    fn an_acknowledgement_frees_everything_up_to_it() {
        let mut window = window(10, u64::MAX);
        for n in 0..5 {
            window.add(LogIndex(10 + 10 * n), n);
        }
        for (acked, left, bytes) in [(5, 5, 10), (10, 4, 10), (35, 2, 7), (34, 2, 7), (90, 0, 0)] {
            window.free_to(LogIndex(acked));
            assert_eq!((window.len(), window.bytes()), (left, bytes), "after {acked}");
        }
    }

    /// raft e419ba5: bytes that are not given back with their messages close the window for good.
    #[test]
    fn a_window_that_was_full_and_is_drained_is_as_new() {
        let mut used = window(4, 1000);
        for round in 0..100u64 {
            while !used.is_full() {
                used.add(LogIndex(round * 10 + used.len() as u64), 300 + round);
            }
            used.free_to(LogIndex(round * 10 + 9));
            assert_eq!(used, window(4, 1000), "round {round}");
        }
        used.add(LogIndex(5000), 1);
        used.reset();
        assert_eq!(used, window(4, 1000));
    }
}
