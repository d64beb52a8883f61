//! Leases live as long as they were promised, and no longer than that for ever.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Broken, Rule, ensure};

/// What clients know of leases, in the order in which it ended. Times are those of one clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseRecord {
    /// Granted: it was not there before, and lives so long.
    Granted(LeasePromise),
    /// Renewed: it was there, and lives so long from now on.
    Renewed(LeasePromise),
    /// Somebody asked to revoke it, whatever came of that.
    Revoked {
        /// Which.
        id: i64,
        /// When that was asked.
        called: Duration,
    },
    /// It was found to be gone.
    Gone {
        /// Which.
        id: i64,
        /// When that was known.
        at: Duration,
    },
    /// It was found to be there: that was asked at this time, or later.
    There {
        /// Which.
        id: i64,
        /// When that was asked.
        called: Duration,
    },
}

/// How long a lease is to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeasePromise {
    /// Which.
    pub id: i64,
    /// When that was asked.
    pub called: Duration,
    /// When it was answered.
    pub returned: Duration,
    /// What was answered.
    pub ttl: Duration,
}

/// What clocks and elections are given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Leniency {
    /// How much faster than ours a member's clock may run; 1.0 for as fast.
    pub fastest: f64,
    /// How much slower.
    pub slowest: f64,
    /// How long a lease may outlive its time: elections, queues, faults.
    pub overtime: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Promise {
    /// When the newest one was asked for.
    called: Duration,
    /// Not before.
    earliest: Duration,
    /// Not after.
    latest: Duration,
    /// Somebody asked for its end.
    revoked: Option<Duration>,
}

impl Promise {
    fn of(promise: LeasePromise, leniency: Leniency) -> Self {
        let LeasePromise { called, returned, ttl, .. } = promise;
        let earliest = called + ttl.div_f64(leniency.fastest);
        let latest = returned + ttl.div_f64(leniency.slowest) + leniency.overtime;
        Self { called, earliest, latest, revoked: None }
    }

    /// Both stand.
    fn and(self, other: Self) -> Self {
        Self {
            called: self.called.max(other.called),
            earliest: self.earliest.max(other.earliest),
            latest: self.latest.max(other.latest),
            revoked: self.revoked.or(other.revoked),
        }
    }

    fn check_end(&self, id: i64, at: Duration) -> Result<(), Broken> {
        let early = at < self.earliest && self.revoked.is_none_or(|asked| asked > at);
        ensure(!early, Rule::LeaseEarly, || {
            format!("lease {id} was gone at {at:?}, promised until {:?}", self.earliest)
        })
    }
}

/// Checks all leases.
pub fn check_leases(records: &[LeaseRecord], leniency: Leniency) -> Result<(), Broken> {
    let mut promises: BTreeMap<i64, Promise> = BTreeMap::new();
    for record in records {
        match *record {
            LeaseRecord::Granted(granted) => {
                let id = granted.id;
                let mut promise = Promise::of(granted, leniency);
                if let Some(before) = promises.get(&id) {
                    // What was asked for later may be a renewal of this very one.
                    if before.called >= granted.called {
                        promise = promise.and(*before);
                    } else {
                        before.check_end(id, granted.returned)?;
                    }
                }
                promises.insert(id, promise);
            }
            LeaseRecord::Renewed(renewed) => {
                let promise = Promise::of(renewed, leniency);
                let before = promises.get(&renewed.id).copied();
                promises.insert(renewed.id, before.map_or(promise, |before| before.and(promise)));
            }
            LeaseRecord::Revoked { id, called } => {
                if let Some(promise) = promises.get_mut(&id) {
                    promise.revoked = promise.revoked.or(Some(called));
                }
            }
            LeaseRecord::Gone { id, at } => {
                // The same id may be granted anew.
                if let Some(promise) = promises.remove(&id) {
                    promise.check_end(id, at)?;
                }
            }
            LeaseRecord::There { id, called } => {
                let promise = promises.get(&id);
                let late = promise.is_some_and(|promise| called > promise.latest);
                ensure(!late, Rule::LeaseLate, || {
                    format!("lease {id} was there at {called:?}, but {promise:?}")
                })?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXACT: Leniency =
        Leniency { fastest: 1.0, slowest: 1.0, overtime: Duration::from_secs(1) };

    fn promise(called: u64, ttl: u64) -> LeasePromise {
        let seconds = Duration::from_secs;
        LeasePromise {
            id: 7,
            called: seconds(called),
            returned: seconds(called + 1),
            ttl: seconds(ttl),
        }
    }

    fn granted(called: u64, ttl: u64) -> LeaseRecord {
        LeaseRecord::Granted(promise(called, ttl))
    }

    fn renewed(called: u64, ttl: u64) -> LeaseRecord {
        LeaseRecord::Renewed(promise(called, ttl))
    }

    fn gone(at: u64) -> LeaseRecord {
        LeaseRecord::Gone { id: 7, at: Duration::from_secs(at) }
    }

    fn there(called: u64) -> LeaseRecord {
        LeaseRecord::There { id: 7, called: Duration::from_secs(called) }
    }

    fn revoked(called: u64) -> LeaseRecord {
        LeaseRecord::Revoked { id: 7, called: Duration::from_secs(called) }
    }

    #[track_caller]
    fn breaks(records: &[LeaseRecord], rule: Rule) {
        let broken = check_leases(records, EXACT).expect_err("it is wrong");
        assert_eq!(broken.rule, rule, "{broken}");
    }

    #[test]
    fn a_lease_that_ends_in_time_is_right() {
        check_leases(&[granted(0, 5), gone(5)], EXACT).expect("not before its time");
        check_leases(&[granted(0, 5), renewed(4, 5), there(8), gone(10)], EXACT).expect("renewed");
        check_leases(&[granted(0, 5), there(7)], EXACT).expect("overtime");
        check_leases(&[gone(3)], EXACT).expect("nobody was promised anything");
    }

    #[test]
    fn a_lease_that_ends_early_is_noticed() {
        breaks(&[granted(0, 5), gone(4)], Rule::LeaseEarly);
        breaks(&[granted(0, 5), renewed(4, 5), gone(8)], Rule::LeaseEarly);
    }

    #[test]
    fn a_renewal_that_is_heard_of_before_the_grant_counts() {
        breaks(&[renewed(4, 5), granted(0, 5), gone(8)], Rule::LeaseEarly);
    }

    #[test]
    fn a_lease_that_does_not_end_is_noticed() {
        breaks(&[granted(0, 5), there(8)], Rule::LeaseLate);
    }

    #[test]
    fn who_revokes_a_lease_may_not_complain() {
        check_leases(&[granted(0, 50), revoked(2), gone(3)], EXACT).expect("it was asked for");
        breaks(&[granted(0, 50), revoked(4), gone(3)], Rule::LeaseEarly);
    }

    #[test]
    fn a_lease_that_is_granted_anew_is_another_one() {
        let records = [granted(0, 50), revoked(1), gone(2), granted(3, 5), gone(9)];
        check_leases(&records, EXACT).expect("the second one was short");
        check_leases(&[granted(0, 9), granted(10, 2), gone(13)], EXACT).expect("nobody looked");
        breaks(&[granted(0, 5), gone(6), granted(7, 5), gone(9)], Rule::LeaseEarly);
        breaks(&[granted(0, 50), granted(7, 5)], Rule::LeaseEarly);
    }

    #[test]
    fn a_fast_clock_is_given_its_share() {
        let fast = Leniency { fastest: 2.0, slowest: 0.5, ..EXACT };
        check_leases(&[granted(0, 10), gone(5)], fast).expect("twice as fast");
        check_leases(&[granted(0, 10), there(21)], fast).expect("half as fast");
        check_leases(&[granted(0, 10), gone(4)], fast).expect_err("not so fast");
    }
}
