use mvcc::KeyRange;
use proto::etcdserverpb::LeaseCheckpoint;

use super::{Done, Effect};
use crate::reply::Reply;
use crate::{Error, LeaseId, Rejected, State, Version, lease_cost, schema};

/// From this cluster version on every member keeps checkpoints.
const CHECKPOINTS_PERSIST: Version = Version::new(3, 6);

impl State {
    pub(super) fn lease_grant(&mut self, id: LeaseId, ttl: i64) -> Done {
        let fits = self.views.check_quota(lease_cost());
        let mut leases = self.views.leases.write();
        let lease = match leases.check_grant(id, ttl, self.options.min_lease_ttl) {
            Ok(lease) => lease,
            Err(rejected) => return rejected.into(),
        };
        leases.insert(lease);
        drop(leases);
        self.write([schema::lease_put(&lease)]);
        let reply = Reply::LeaseGrant { id, ttl: lease.ttl };
        Done::new(reply, Effect::LeaseGranted(lease)).unless_full(fits)
    }

    /// Deletes a lease and its keys, in byte order as one change; the record of the lease is
    /// gone in the same commit.
    pub(super) fn lease_revoke(&mut self, id: LeaseId) -> Result<Done, Error> {
        let Some(keys) = self.views.leases.keys(id) else {
            return Ok(Rejected::LeaseNotFound.into());
        };
        let mut execution = self.execution(false);
        for key in keys {
            execution.delete(&KeyRange::Single(key));
        }
        let finished = execution.finish();
        self.views.leases.write().remove(id);
        self.write([schema::lease_deleted(id)]);
        self.publish(finished);
        Ok(Done::new(Reply::LeaseRevoke, Effect::LeaseRevoked(id)))
    }

    /// Notes what is left of leases. Unknown ones are passed over.
    pub(super) fn lease_checkpoint(&mut self, checkpoints: &[LeaseCheckpoint]) -> Done {
        let version = self.views.members.cluster_version();
        let persist = self.options.persist_checkpoints
            || version.is_some_and(|version| version >= CHECKPOINTS_PERSIST);
        let mut leases = self.views.leases.write();
        let mut noted = Vec::with_capacity(checkpoints.len());
        for checkpoint in checkpoints {
            let id = LeaseId(checkpoint.id);
            let Some(lease) = leases.checkpoint(id, checkpoint.remaining_ttl) else { continue };
            noted.push((id, lease.remaining_ttl));
            if persist {
                self.write([schema::lease_put(&lease)]);
            }
        }
        Done::new(Reply::LeaseCheckpoint, Effect::LeasesCheckpointed(noted))
    }
}
