//! Whether a leader's heartbeats leave in time.

use std::collections::BTreeMap;
use std::time::Duration;

use raft::NodeId;

/// When each member was sent the last one, by this leader.
#[derive(Debug, Default)]
pub(super) struct Heartbeats {
    sent: BTreeMap<NodeId, Duration>,
}

impl Heartbeats {
    /// One leaves. How much later than two intervals after the one before, if it is.
    pub(super) fn leaves(
        &mut self,
        to: NodeId,
        now: Duration,
        interval: Duration,
    ) -> Option<Duration> {
        let before = self.sent.insert(to, now)?;
        let exceeded = now.checked_sub(before)?.checked_sub(interval * 2)?;
        (!exceeded.is_zero()).then_some(exceeded)
    }

    /// Another one leads, or nobody.
    pub(super) fn forget(&mut self) {
        self.sent.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_leaves_after_more_than_two_intervals_is_late() {
        let (a, b) = (NodeId::new(1).expect("no zero"), NodeId::new(2).expect("no zero"));
        let at = Duration::from_millis;
        let mut heartbeats = Heartbeats::default();
        let mut leaves = |to, now| heartbeats.leaves(to, at(now), at(100));
        assert_eq!(leaves(a, 1000), None, "the first one");
        assert_eq!(leaves(a, 1200), None);
        assert_eq!(leaves(b, 1300), None, "the first one to another member");
        assert_eq!(leaves(a, 1450), Some(at(50)));
        assert_eq!(leaves(a, 1550), None);
        heartbeats.forget();
        assert_eq!(heartbeats.leaves(a, at(9000), at(100)), None);
    }
}
