//! Numbers for requests and leases, unique among live members.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Sixteen bits of the member, forty of its start in milliseconds, eight to count from there.
///
/// The counter runs over into the time, which it outruns only at more than 256 requests in each
/// millisecond since the start.
#[derive(Debug)]
pub(crate) struct RequestIds {
    prefix: u64,
    suffix: AtomicU64,
}

const SUFFIX_BITS: u32 = 48;
const SUFFIX_MASK: u64 = (1 << SUFFIX_BITS) - 1;
const TIME_MASK: u64 = (1 << 40) - 1;

impl RequestIds {
    /// Ids of a member that starts now.
    pub(crate) fn new(member: u64, unix: Duration) -> Self {
        let millis = unix.as_millis() as u64 & TIME_MASK;
        Self { prefix: (member & 0xffff) << SUFFIX_BITS, suffix: AtomicU64::new(millis << 8) }
    }

    /// The next id of a request.
    pub(crate) fn next(&self) -> u64 {
        let suffix = self.suffix.fetch_add(1, Ordering::Relaxed) + 1;
        self.prefix | (suffix & SUFFIX_MASK)
    }

    /// The next id of a lease whose client did not choose one: positive, never zero.
    pub(crate) fn next_lease(&self) -> i64 {
        loop {
            let id = (self.next() & (u64::MAX >> 1)) as i64;
            if id != 0 {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_hold_member_time_and_counter() {
        let ids = RequestIds::new(0xabcd_1234, Duration::from_millis(0x1122_3344_5566));
        assert_eq!(ids.next(), 0x1234_2233_4455_6601);
        assert_eq!(ids.next(), 0x1234_2233_4455_6602);
    }

    #[test]
    fn lease_ids_are_positive() {
        let ids = RequestIds::new(0xffff, Duration::ZERO);
        assert_eq!(ids.next_lease(), 0x7fff_0000_0000_0001);
    }
}
