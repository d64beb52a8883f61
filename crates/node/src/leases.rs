//! When leases end: the leader's clockwork, shared by the drive and by those who renew, and the way
//! to it from other members.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use proto::etcdserverpb::{InternalRaftRequest, LeaseCheckpoint, LeaseCheckpointRequest};
use state::{Expiry, LeaseId, Renewal};

use crate::peers::AskError;
use crate::{Error, Node, metrics};

/// How often a keep-alive looks whether an expired lease is gone.
const REVOKE_POLL: Duration = Duration::from_millis(20);
/// Between two tries to reach the leader.
const RETRY: Duration = Duration::from_millis(50);

/// [`Expiry`] behind a lock that is held for one look at a time.
#[derive(Debug)]
pub(crate) struct Clockwork {
    expiry: Mutex<Expiry>,
}

impl Clockwork {
    pub(crate) fn new(expiry: Expiry) -> Self {
        Self { expiry: Mutex::new(expiry) }
    }

    pub(crate) fn look(&self) -> MutexGuard<'_, Expiry> {
        self.expiry.lock().expect("no holder of this lock panics")
    }
}

/// A lease as `LeaseTimeToLive` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseStanding {
    /// Whole seconds that are left.
    pub remaining_seconds: i64,
    /// What was granted.
    pub granted_seconds: i64,
    /// The keys that hang on it in byte order, where they were asked for.
    pub keys: Vec<Bytes>,
}

impl Node {
    /// An id for a lease whose client did not choose one.
    pub fn next_lease_id(&self) -> i64 {
        self.shared.ids.next_lease()
    }

    /// Renews a lease, wherever the leader is: the TTL that it has again, or `None` where there is
    /// no such lease.
    pub async fn renew_lease(&self, id: i64) -> Result<Option<i64>, Error> {
        self.within_request_timeout(async {
            loop {
                match self.renew_lease_here(id).await {
                    Err(Error::NotPrimary) => {}
                    outcome => return outcome,
                }
                let leader = self.wait_leader().await?;
                if leader != self.shared.member_id
                    && let Some(others) = self.shared.others.get()
                {
                    match others.renew_lease(leader, id).await {
                        Ok(ttl) => return Ok(Some(ttl)),
                        Err(AskError::NotFound) => return Ok(None),
                        Err(_) => {}
                    }
                }
                tokio::time::sleep(RETRY).await;
            }
        })
        .await
    }

    /// As [`Node::renew_lease`], of the leader itself.
    pub async fn renew_lease_here(&self, id: i64) -> Result<Option<i64>, Error> {
        let id = LeaseId(id);
        let deadline = self.now() + self.shared.limits.request_timeout;
        loop {
            let renewal = self.shared.clockwork.look().renew(self.now(), id);
            match renewal {
                Renewal::Renewed { ttl } => {
                    // A leader that was deposed, and has not heard of it, has renewed nothing: the
                    // next one counts from when it was elected, which must not be before this.
                    self.read_barrier().await?;
                    if !self.shared.clockwork.look().is_primary() {
                        return Err(Error::NotPrimary);
                    }
                    metrics::LEASES_RENEWED.inc();
                    return Ok(Some(ttl));
                }
                Renewal::NotFound => {
                    // It may have been granted, and not applied here yet.
                    self.read_barrier().await?;
                    let there = self.shared.views().leases.lease(id).is_some();
                    if !there {
                        return Ok(None);
                    }
                }
                Renewal::NotPrimary => return Err(Error::NotPrimary),
                Renewal::ClearCheckpoint => {
                    let checkpoint = LeaseCheckpoint { id: id.0, remaining_ttl: 0 };
                    let checkpoints = vec![checkpoint];
                    let lease_checkpoint = Some(LeaseCheckpointRequest { checkpoints });
                    self.propose(InternalRaftRequest { lease_checkpoint, ..Default::default() })
                        .await?;
                }
                // Its revoke is on its way; the answer waits for it, so that "gone" is true.
                Renewal::Expired if self.now() >= deadline => return Err(Error::Timeout),
                Renewal::Expired => tokio::time::sleep(REVOKE_POLL).await,
            }
        }
    }

    /// What is left of a lease, wherever the leader is; `None` where there is no such lease.
    pub async fn lease_time_to_live(
        &self,
        id: i64,
        keys: bool,
    ) -> Result<Option<LeaseStanding>, Error> {
        self.within_request_timeout(async {
            loop {
                match self.lease_time_to_live_here(id, keys).await {
                    Err(Error::NotPrimary) => {}
                    outcome => return outcome,
                }
                let leader = self.wait_leader().await?;
                if leader != self.shared.member_id
                    && let Some(others) = self.shared.others.get()
                {
                    match others.lease_time_to_live(leader, id, keys).await {
                        Ok(lease) => return Ok(Some(lease)),
                        Err(AskError::NotFound) => return Ok(None),
                        Err(_) => {}
                    }
                }
                tokio::time::sleep(RETRY).await;
            }
        })
        .await
    }

    /// As [`Node::lease_time_to_live`], of the leader itself.
    pub async fn lease_time_to_live_here(
        &self,
        id: i64,
        keys: bool,
    ) -> Result<Option<LeaseStanding>, Error> {
        if !self.shared.clockwork.look().is_primary() {
            return Err(Error::NotPrimary);
        }
        self.read_barrier().await?;
        let id = LeaseId(id);
        let leases = self.shared.views().leases.clone();
        let Some(lease) = leases.lease(id) else { return Ok(None) };
        let remaining = {
            let expiry = self.shared.clockwork.look();
            match expiry.remaining(self.now(), id) {
                None if expiry.is_primary() => return Ok(None),
                None => return Err(Error::NotPrimary),
                Some(remaining) => remaining,
            }
        };
        let keys = if keys { leases.keys(id).unwrap_or_default() } else { Vec::new() };
        Ok(Some(LeaseStanding { remaining_seconds: remaining, granted_seconds: lease.ttl, keys }))
    }

    /// All leases, the one that ends first first.
    pub fn leases(&self) -> Vec<i64> {
        let expiry = self.shared.clockwork.look();
        if expiry.is_primary() {
            let mut ends = expiry.ends();
            // The drive needs the clockwork, and sorting takes its time.
            drop(expiry);
            ends.sort_unstable();
            return ends.into_iter().map(|(_, id)| id.0).collect();
        }
        drop(expiry);
        self.shared.views().leases.list().into_iter().map(|lease| lease.id.0).collect()
    }
}
