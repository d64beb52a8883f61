//! Leases: what is replicated of them (ids, TTLs, attached keys), and the clockwork that the
//! leader winds beside it.

mod expiry;
mod table;
mod view;

pub use expiry::{Expiry, ExpiryOptions, Renewal};
pub(crate) use table::LeaseTable;
pub use view::Leases;

use crate::LeaseId;

/// A lease as all members know it; when it ends is known to the leader alone ([`Expiry`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Which one.
    pub id: LeaseId,
    /// The TTL in seconds that was granted.
    pub ttl: i64,
    /// What a checkpoint left of it, in seconds; zero means all.
    pub remaining_ttl: i64,
}

impl Lease {
    /// The seconds that a new leader gives it: what the last checkpoint left, or all.
    pub const fn seconds_left(&self) -> i64 {
        if self.remaining_ttl > 0 { self.remaining_ttl } else { self.ttl }
    }
}

/// The shortest TTL in seconds that leases are granted: one and a half election timeouts,
/// rounded up, so that a change of leader does not end them. Made of local flags, which
/// therefore must be the same on all members.
pub fn min_lease_ttl(election_ticks: u32, tick_ms: u64) -> i64 {
    let ticks = u64::from(election_ticks) * 3 / 2;
    let seconds = (ticks * tick_ms).div_ceil(1000);
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_ttl_is_rounded_up() {
        assert_eq!(min_lease_ttl(10, 100), 2);
        assert_eq!(min_lease_ttl(10, 1), 1);
        assert_eq!(min_lease_ttl(3, 500), 2);
        assert_eq!(min_lease_ttl(50, 1000), 75);
    }
}
