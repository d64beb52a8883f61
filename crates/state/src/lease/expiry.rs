use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Lease;
use crate::LeaseId;

/// When leases end. Only the leader winds this clockwork; it is told the time with every call.
///
/// ```text
///   promote ──► primary: every lease has a deadline ──► expired(now) ──► a revoke is proposed
///      ▲            granted / renewed / checkpointed / revoked                  │ applied
///   demote ◄────────────────────────────────────────────────── revoked(id) ◄────┘
/// ```
///
/// A lease that expired stays until its revoke is applied, and is named again after
/// `retry` should that not have happened: the proposal may have been lost.
#[derive(Debug)]
pub struct Expiry {
    options: ExpiryOptions,
    primary: bool,
    deadlines: BTreeMap<LeaseId, Deadline>,
    due: BTreeSet<(Duration, LeaseId)>,
    checkpoints: BTreeSet<(Duration, LeaseId)>,
}

/// How the clockwork runs.
#[derive(Debug, Clone, Copy)]
pub struct ExpiryOptions {
    /// After how long an expired lease that is still there is named again.
    pub retry: Duration,
    /// How often what is left of a long lease is written down; `None`: never.
    pub checkpoint_interval: Option<Duration>,
    /// How many leases may end per second; a new leader spreads deadlines to stay below.
    pub revoke_rate: usize,
}

impl Default for ExpiryOptions {
    fn default() -> Self {
        Self { retry: Duration::from_secs(7), checkpoint_interval: None, revoke_rate: 1000 }
    }
}

/// What became of a keep-alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// It lives for this many seconds from now.
    Renewed {
        /// The granted TTL, which is what clients are told.
        ttl: i64,
    },
    /// A checkpoint shortened it: propose a checkpoint of 0 for it, then renew again.
    ClearCheckpoint,
    /// Its time is over and its revoke under way: wait until it is gone, answer "not found".
    Expired,
    /// There is no such lease.
    NotFound,
    /// Another member is the leader, or this one is not yet.
    NotPrimary,
}

#[derive(Debug, Clone, Copy)]
struct Deadline {
    lease: Lease,
    expires: Duration,
    /// Its place in `due`: the deadline, or when to name it again.
    due: Duration,
    checkpoint: Option<Duration>,
}

impl Expiry {
    /// A clockwork that stands still.
    pub fn new(options: ExpiryOptions) -> Self {
        Self {
            options,
            primary: false,
            deadlines: BTreeMap::new(),
            due: BTreeSet::new(),
            checkpoints: BTreeSet::new(),
        }
    }

    /// Whether this member decides when leases end.
    pub fn is_primary(&self) -> bool {
        self.primary
    }

    /// This member leads, and has applied all that came before its term: every lease gets
    /// what it has left plus `extend` (one election timeout, in which nobody could renew).
    pub fn promote(
        &mut self,
        now: Duration,
        extend: Duration,
        leases: impl IntoIterator<Item = Lease>,
    ) {
        self.demote();
        self.primary = true;
        for lease in leases {
            self.set(now, lease, end_of(now + extend, lease));
        }
        if self.deadlines.len() >= self.options.revoke_rate {
            self.spread(now, extend);
        }
    }

    /// This member leads no longer: nothing ends here.
    pub fn demote(&mut self) {
        self.primary = false;
        self.deadlines.clear();
        self.due.clear();
        self.checkpoints.clear();
    }

    /// A grant was applied.
    pub fn granted(&mut self, now: Duration, lease: Lease) {
        if self.primary {
            self.set(now, lease, end_of(now, lease));
        }
    }

    /// A revoke was applied.
    pub fn revoked(&mut self, id: LeaseId) {
        if let Some(deadline) = self.deadlines.remove(&id) {
            self.due.remove(&(deadline.due, id));
            if let Some(at) = deadline.checkpoint {
                self.checkpoints.remove(&(at, id));
            }
        }
    }

    /// A checkpoint was applied. The deadline stays; the next leader starts from it.
    pub fn checkpointed(&mut self, now: Duration, id: LeaseId, remaining_ttl: i64) {
        let Some(deadline) = self.deadlines.get_mut(&id) else { return };
        deadline.lease.remaining_ttl = remaining_ttl;
        self.schedule_checkpoint(now, id);
    }

    /// A client wants to keep a lease.
    pub fn renew(&mut self, now: Duration, id: LeaseId) -> Renewal {
        if !self.primary {
            return Renewal::NotPrimary;
        }
        let Some(deadline) = self.deadlines.get(&id).copied() else { return Renewal::NotFound };
        if deadline.expires <= now {
            return Renewal::Expired;
        }
        // Also by a leader that takes none itself, where etcd's would live on for what was left and
        // tell the client of all that was granted.
        if deadline.lease.remaining_ttl > 0 {
            return Renewal::ClearCheckpoint;
        }
        self.move_deadline(id, end_of(now, deadline.lease));
        Renewal::Renewed { ttl: deadline.lease.ttl }
    }

    /// Up to `limit` leases whose time is over, the longest overdue first. Each is named once
    /// per [`ExpiryOptions::retry`].
    pub fn expired(&mut self, now: Duration, limit: usize) -> Vec<LeaseId> {
        let mut expired = Vec::new();
        while expired.len() < limit {
            let Some(&(at, id)) = self.due.first() else { break };
            if at > now {
                break;
            }
            self.due.pop_first();
            if let Some(deadline) = self.deadlines.get_mut(&id) {
                deadline.due = now + self.options.retry;
                self.due.insert((deadline.due, id));
                expired.push(id);
            }
        }
        expired
    }

    /// When [`Expiry::expired`] or [`Expiry::due_checkpoints`] has something to say.
    pub fn next(&self) -> Option<Duration> {
        let ends = [self.due.first(), self.checkpoints.first()];
        ends.into_iter().flatten().map(|(at, _)| *at).min()
    }

    /// The whole seconds that are left of a lease, below zero when it is overdue; `None` where
    /// there is no such lease or another member decides.
    pub fn remaining(&self, now: Duration, id: LeaseId) -> Option<i64> {
        let deadline = self.deadlines.get(&id)?;
        let left = nanos(deadline.expires) - nanos(now);
        Some(i64::try_from(left / NANOS_PER_SECOND).unwrap_or(i64::MAX))
    }

    /// All leases with their ends, by id. A leader lists the one that ends first first.
    pub fn ends(&self) -> Vec<(Duration, LeaseId)> {
        self.deadlines.iter().map(|(id, deadline)| (deadline.expires, *id)).collect()
    }

    fn by_remaining(&self) -> Vec<LeaseId> {
        let mut ends = self.ends();
        ends.sort_unstable();
        ends.into_iter().map(|(_, id)| id).collect()
    }

    /// Up to `limit` leases whose rest (in seconds, rounded up) is to be written down.
    pub fn due_checkpoints(&mut self, now: Duration, limit: usize) -> Vec<(LeaseId, i64)> {
        let Some(interval) = self.options.checkpoint_interval else { return Vec::new() };
        let mut due = Vec::new();
        while due.len() < limit {
            let Some(&(at, id)) = self.checkpoints.first() else { break };
            if at > now {
                break;
            }
            self.checkpoints.pop_first();
            let Some(deadline) = self.deadlines.get_mut(&id) else { continue };
            deadline.checkpoint = None;
            if deadline.expires <= now {
                continue;
            }
            let left = nanos(deadline.expires) - nanos(now);
            let left = (left + NANOS_PER_SECOND - 1) / NANOS_PER_SECOND;
            let left = i64::try_from(left).unwrap_or(i64::MAX);
            if left < deadline.lease.ttl {
                due.push((id, left));
            } else {
                // Just renewed; look again later.
                deadline.checkpoint = Some(now + interval);
                self.checkpoints.insert((now + interval, id));
            }
        }
        due
    }

    fn set(&mut self, now: Duration, lease: Lease, expires: Duration) {
        self.revoked(lease.id);
        let deadline = Deadline { lease, expires, due: expires, checkpoint: None };
        self.deadlines.insert(lease.id, deadline);
        self.due.insert((expires, lease.id));
        self.schedule_checkpoint(now, lease.id);
    }

    fn move_deadline(&mut self, id: LeaseId, expires: Duration) {
        let Some(deadline) = self.deadlines.get_mut(&id) else { return };
        self.due.remove(&(deadline.due, id));
        deadline.expires = expires;
        deadline.due = expires;
        self.due.insert((expires, id));
    }

    fn schedule_checkpoint(&mut self, now: Duration, id: LeaseId) {
        let Some(interval) = self.options.checkpoint_interval else { return };
        let Some(deadline) = self.deadlines.get_mut(&id) else { return };
        if let Some(at) = deadline.checkpoint.take() {
            self.checkpoints.remove(&(at, id));
        }
        let seconds = u64::try_from(deadline.lease.seconds_left()).unwrap_or(0);
        if seconds > interval.as_secs() {
            deadline.checkpoint = Some(now + interval);
            self.checkpoints.insert((now + interval, id));
        }
    }

    /// Pulls deadlines apart where too many fall into one second: after a change of leader
    /// they all start at the same moment, and would keep all revokes of the cluster busy.
    /// Three quarters of the rate are used, the rest is for what else ends then.
    fn spread(&mut self, now: Duration, extend: Duration) {
        let target = (self.options.revoke_rate * 3 / 4).max(1);
        let order = self.by_remaining();
        let mut base = None;
        let (mut window, mut ends) = (Duration::ZERO, 0_usize);
        for id in order {
            let Some(&Deadline { lease, expires, .. }) = self.deadlines.get(&id) else { continue };
            let remaining = expires.saturating_sub(now);
            if base.is_none() {
                base = Some(remaining);
                window = remaining + Duration::from_secs(1);
            }
            if remaining > window {
                base = Some(remaining);
                window = remaining + Duration::from_secs(1);
                ends = 1;
                continue;
            }
            ends += 1;
            if ends <= target {
                continue;
            }
            let base = base.unwrap_or_default();
            let late = Duration::from_secs(1).mul_f64(ends as f64 / target as f64);
            let delay = late.saturating_sub(remaining.saturating_sub(base));
            window = base + delay;
            self.move_deadline(id, end_of(now + extend + delay, lease));
        }
    }
}

const NANOS_PER_SECOND: i128 = 1_000_000_000;

fn nanos(time: Duration) -> i128 {
    i128::try_from(time.as_nanos()).unwrap_or(i128::MAX)
}

fn end_of(start: Duration, lease: Lease) -> Duration {
    start.saturating_add(Duration::from_secs(u64::try_from(lease.seconds_left()).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn lease(id: i64, ttl: i64) -> Lease {
        Lease { id: LeaseId(id), ttl, remaining_ttl: 0 }
    }

    fn primary(options: ExpiryOptions, leases: &[Lease]) -> Expiry {
        let mut expiry = Expiry::new(options);
        expiry.promote(Duration::ZERO, Duration::ZERO, leases.iter().copied());
        expiry
    }

    #[test]
    fn only_a_primary_renews_and_expires() {
        let mut expiry = Expiry::new(ExpiryOptions::default());
        expiry.granted(secs(1), lease(1, 5));
        assert_eq!(expiry.renew(secs(1), LeaseId(1)), Renewal::NotPrimary);
        assert_eq!(expiry.expired(secs(100), 10), []);
        assert_eq!(expiry.remaining(secs(1), LeaseId(1)), None);
        expiry.promote(secs(100), secs(1), [lease(1, 5)]);
        assert_eq!(expiry.remaining(secs(100), LeaseId(1)), Some(6));
        expiry.demote();
        assert_eq!(expiry.expired(secs(1000), 10), []);
        assert_eq!(expiry.next(), None);
    }

    #[test]
    fn an_expired_lease_is_named_again_until_it_is_revoked() {
        let mut expiry = primary(ExpiryOptions::default(), &[lease(1, 5), lease(2, 3)]);
        assert_eq!(expiry.next(), Some(secs(3)));
        assert_eq!(expiry.expired(secs(2), 10), []);
        assert_eq!(expiry.expired(secs(5), 1), [LeaseId(2)]);
        assert_eq!(expiry.expired(secs(5), 10), [LeaseId(1)]);
        assert_eq!(expiry.expired(secs(11), 10), []);
        assert_eq!(expiry.expired(secs(12), 10), [LeaseId(1), LeaseId(2)]);
        expiry.revoked(LeaseId(1));
        assert_eq!(expiry.renew(secs(13), LeaseId(1)), Renewal::NotFound);
        assert_eq!(expiry.renew(secs(13), LeaseId(2)), Renewal::Expired);
        assert_eq!(expiry.remaining(secs(13), LeaseId(2)), Some(-10));
    }

    #[test]
    fn a_renewal_starts_the_granted_ttl_again() {
        let mut expiry = primary(ExpiryOptions::default(), &[lease(1, 5)]);
        assert_eq!(expiry.renew(secs(4), LeaseId(1)), Renewal::Renewed { ttl: 5 });
        assert_eq!(expiry.expired(secs(8), 10), []);
        assert_eq!(expiry.remaining(Duration::from_millis(8001), LeaseId(1)), Some(0));
        assert_eq!(expiry.expired(secs(9), 10), [LeaseId(1)]);
    }

    #[test]
    fn a_new_leader_starts_from_the_checkpoint() {
        let mut expiry = Expiry::new(ExpiryOptions::default());
        expiry.promote(secs(10), secs(1), [Lease { remaining_ttl: 30, ..lease(1, 600) }]);
        assert_eq!(expiry.remaining(secs(10), LeaseId(1)), Some(31));
        // It takes no checkpoints itself, and yet a client that renews gets all it is told.
        assert_eq!(expiry.renew(secs(20), LeaseId(1)), Renewal::ClearCheckpoint);
        assert_eq!(expiry.remaining(secs(20), LeaseId(1)), Some(21));
        expiry.checkpointed(secs(20), LeaseId(1), 0);
        assert_eq!(expiry.renew(secs(20), LeaseId(1)), Renewal::Renewed { ttl: 600 });
        assert_eq!(expiry.remaining(secs(20), LeaseId(1)), Some(600));
    }

    #[test]
    fn checkpoints_come_at_their_interval_and_are_cleared_by_a_renewal() {
        let options =
            ExpiryOptions { checkpoint_interval: Some(secs(300)), ..ExpiryOptions::default() };
        let mut expiry = primary(options, &[lease(1, 600), lease(2, 300)]);
        assert_eq!(expiry.due_checkpoints(secs(299), 10), []);
        let now = Duration::from_millis(300_500);
        assert_eq!(expiry.due_checkpoints(now, 10), [(LeaseId(1), 300)]);
        assert_eq!(expiry.due_checkpoints(secs(900), 10), []);
        expiry.checkpointed(now, LeaseId(1), 300);
        assert_eq!(expiry.renew(secs(301), LeaseId(1)), Renewal::ClearCheckpoint);
        expiry.checkpointed(secs(301), LeaseId(1), 0);
        assert_eq!(expiry.renew(secs(301), LeaseId(1)), Renewal::Renewed { ttl: 600 });
        assert_eq!(expiry.remaining(secs(301), LeaseId(1)), Some(600));
        assert_eq!(expiry.due_checkpoints(secs(602), 10), [(LeaseId(1), 299)]);
    }

    #[test]
    fn a_lease_that_was_just_renewed_is_looked_at_again_later() {
        let options =
            ExpiryOptions { checkpoint_interval: Some(secs(300)), ..ExpiryOptions::default() };
        let mut expiry = primary(options, &[lease(1, 600)]);
        expiry.renew(secs(300), LeaseId(1));
        assert_eq!(expiry.due_checkpoints(secs(300), 10), []);
        assert_eq!(expiry.due_checkpoints(secs(600), 10), [(LeaseId(1), 300)]);
    }

    #[test]
    fn promotion_spreads_leases_that_would_end_together() {
        let options = ExpiryOptions { revoke_rate: 100, ..ExpiryOptions::default() };
        let leases: Vec<Lease> = (1..=1000).map(|id| lease(id, 10)).collect();
        let expiry = primary(options, &leases);
        let mut per_second = BTreeMap::new();
        for deadline in expiry.deadlines.values() {
            assert!(deadline.expires >= secs(10));
            *per_second.entry(deadline.expires.as_secs()).or_insert(0) += 1;
        }
        assert!(per_second.len() >= 1000 / 100, "{per_second:?}");
        assert!(per_second.values().all(|count| *count <= 75 + 75), "{per_second:?}");
        let last = expiry.deadlines.values().map(|deadline| deadline.expires).max();
        assert!(last <= Some(secs(10) + secs(1000 / 75 + 1)), "{last:?}");
    }

    #[test]
    fn few_leases_are_not_spread() {
        let leases: Vec<Lease> = (1..=999).map(|id| lease(id, 10)).collect();
        let expiry = primary(ExpiryOptions::default(), &leases);
        assert!(expiry.deadlines.values().all(|deadline| deadline.expires == secs(10)));
    }

    #[test]
    fn the_longest_ttl_does_not_overflow() {
        let mut expiry = primary(ExpiryOptions::default(), &[lease(1, 9_000_000_000)]);
        assert_eq!(expiry.remaining(secs(1), LeaseId(1)), Some(8_999_999_999));
        assert_eq!(expiry.expired(secs(1_000_000), 1), []);
    }

    #[test]
    fn lists_are_sorted_by_what_is_left() {
        let expiry = primary(ExpiryOptions::default(), &[lease(1, 9), lease(2, 3), lease(3, 6)]);
        assert_eq!(expiry.by_remaining(), [LeaseId(2), LeaseId(3), LeaseId(1)]);
    }
}
