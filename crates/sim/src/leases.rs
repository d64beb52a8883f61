//! Leases seen from outside: none may end before its time.

use std::collections::BTreeMap;
use std::time::Duration;

use state::{LeaseId, Leases};

use crate::asked::AskedList;
use crate::verdict::{Checked, Checker, ensure};

/// When each known lease may end at the earliest.
#[derive(Debug, Default)]
pub(crate) struct LeaseWatch {
    ends: BTreeMap<i64, Duration>,
}

impl LeaseWatch {
    /// A client was told so.
    pub(crate) fn granted(&mut self, now: Duration, id: i64, ttl: i64) {
        self.renewed(now, id, ttl);
    }

    /// A client was told so.
    pub(crate) fn renewed(&mut self, now: Duration, id: i64, ttl: i64) {
        self.ends.insert(id, now + Duration::from_secs(ttl.unsigned_abs()));
    }

    /// A member has begun to lead: every lease has what was left of it when that was last noted.
    pub(crate) fn restarted(&mut self, now: Duration, leases: &Leases) {
        let end = |left: i64| now + Duration::from_secs(left.unsigned_abs());
        let leases = leases.list().into_iter();
        self.ends = leases.map(|lease| (lease.id.0, end(lease.seconds_left()))).collect();
    }

    /// Looks which leases are gone, and says how many of them ended by themselves.
    pub(crate) fn look(
        &mut self,
        now: Duration,
        leases: &Leases,
        asked: &AskedList,
    ) -> Checked<u64> {
        let gone: Vec<(i64, Duration)> = self
            .ends
            .iter()
            .filter(|(id, _)| leases.lease(LeaseId(**id)).is_none())
            .map(|(id, end)| (*id, *end))
            .collect();
        let mut ended = 0;
        for (id, end) in gone {
            self.ends.remove(&id);
            let revokes = |request: &proto::etcdserverpb::InternalRaftRequest| {
                request.lease_revoke.as_ref().is_some_and(|revoke| revoke.id == id)
            };
            if asked.recent().any(|asked| revokes(&asked.request)) {
                continue;
            }
            ended += 1;
            ensure(now >= end, Checker::Lease, || {
                format!("lease {id} ended at {now:?}, not at {end:?} or after")
            })?;
        }
        Ok(ended)
    }
}
