//! What an entry does: one match over the kinds of requests, behind gates that are asked in
//! order. Nothing here knows who proposed the entry, who leads, or what time it is.

mod auth;
mod cluster;
mod kv;
mod lease;

pub use cluster::ConfChanged;

use mvcc::CompactJob;
use proto::etcdserverpb::{AlarmType, InternalRaftRequest};

use crate::auth::{Caller, Gate};
use crate::reply::{Outcome, Reply};
use crate::{EntryId, Error, Lease, LeaseId, MemberId, Rejected, State, Version, txn_cost};

/// What came of an entry.
#[derive(Debug)]
pub struct Applied {
    /// The answer for the client, who waits on one member: the same on all of them.
    pub outcome: Outcome,
    /// What else follows from it, on every member.
    pub effect: Effect,
    /// The store's revision after the entry, for headers.
    pub revision: i64,
    /// This member's quota is used up and nobody has said so: propose a NOSPACE alarm for it.
    pub raise_no_space: bool,
}

/// What follows from an entry outside of the state.
#[derive(Debug, Default)]
pub enum Effect {
    /// Nothing.
    #[default]
    None,
    /// To be dropped from history, in steps.
    Compaction(CompactJob),
    /// A new lease: the leader's clock starts.
    LeaseGranted(Lease),
    /// A lease is gone.
    LeaseRevoked(LeaseId),
    /// What is left of leases, in seconds; zero means all of the TTL.
    LeasesCheckpointed(Vec<(LeaseId, i64)>),
    /// An alarm was raised or taken back.
    AlarmsChanged,
    /// The members agreed on a version. Where it is lower than before, a snapshot is due: the
    /// older etcd must not meet what lies in the log before it.
    ClusterVersion {
        /// What it was.
        before: Option<Version>,
        /// What it is.
        now: Version,
    },
    /// A downgrade begins or ends.
    DowngradeChanged,
    /// A member has said who it is.
    MemberPublished(MemberId),
    /// Users, roles or the switch changed: what was derived from them is old.
    AuthChanged,
    /// As [`Effect::AuthChanged`]; all tokens are void.
    AuthDisabled,
    /// As [`Effect::AuthChanged`]; the tokens of this user are void: it is gone, or its password
    /// is another.
    UserInvalidated(String),
    /// A user has a new simple token, which every member knows from now on.
    Authenticated {
        /// Whose.
        username: String,
        /// The whole of it.
        token: String,
    },
}

/// The outcome and what follows from it. A refusal may have an effect: a lease that this
/// member's quota has no room for is granted all the same.
struct Done {
    outcome: Outcome,
    effect: Effect,
}

impl Done {
    fn new(reply: Reply, effect: Effect) -> Self {
        Self { outcome: Ok(reply), effect }
    }

    /// The change is made; only the answer is another where it did not fit.
    fn unless_full(self, fits: Result<(), Rejected>) -> Self {
        match fits {
            Ok(()) => self,
            Err(rejected) => Self { outcome: self.outcome.and(Err(rejected)), ..self },
        }
    }
}

impl From<Reply> for Done {
    fn from(reply: Reply) -> Self {
        Self::new(reply, Effect::None)
    }
}

impl From<Rejected> for Done {
    fn from(rejected: Rejected) -> Self {
        Self { outcome: Err(rejected), effect: Effect::None }
    }
}

impl From<Outcome> for Done {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, effect: Effect::None }
    }
}

impl State {
    /// Applies a request. `answered` says whether a client waits for the reply here; without,
    /// what only reads is not done. An entry that was applied before does nothing.
    ///
    /// After an error the state must not be used: an entry may be half done. The db file is
    /// well, it has whole entries only.
    pub fn apply(
        &mut self,
        at: EntryId,
        request: &InternalRaftRequest,
        answered: bool,
    ) -> Result<Applied, Error> {
        if !self.is_next(at) || (!answered && only_reads(request)) {
            return Ok(self.finish(at, Reply::Nothing.into()));
        }
        let done = match self.gates(request) {
            Ok(()) => self.perform(at, request, answered)?,
            Err(rejected) => rejected.into(),
        };
        Ok(self.finish(at, done))
    }

    /// Moves on past an entry without a request: a new leader's first one, or one that raft
    /// emptied.
    pub fn apply_empty(&mut self, at: EntryId) {
        if self.is_next(at) {
            self.applied = at;
        }
    }

    pub(crate) fn is_next(&self, at: EntryId) -> bool {
        at.index > self.applied.index
    }

    fn finish(&mut self, at: EntryId, done: Done) -> Applied {
        if self.is_next(at) {
            self.applied = at;
        }
        let Done { outcome, effect } = done;
        let raise_no_space =
            matches!(outcome, Err(Rejected::NoSpace)) && !self.views.alarms.any(AlarmType::Nospace);
        Applied { outcome, effect, revision: self.writer.revision(), raise_no_space }
    }

    /// Corrupt? No space? May the caller?
    fn gates(&self, request: &InternalRaftRequest) -> Result<(), Rejected> {
        let alarms = self.views.alarms.read();
        if !alarms.is_empty() {
            if alarms.any(AlarmType::Corrupt) && touches_keys(request) {
                return Err(Rejected::Corrupt);
            }
            if alarms.any(AlarmType::Nospace) && takes_space(request) {
                return Err(Rejected::NoSpace);
            }
        }
        drop(alarms);
        let auth = self.views.auth.read();
        if !auth.is_enabled() {
            return Ok(());
        }
        let leases = self.views.leases.read();
        let caller = match &request.header {
            Some(header) => Caller { username: &header.username, revision: header.auth_revision },
            None => Caller::default(),
        };
        Gate { auth: &auth, leases: &leases, caller }.check(request)
    }

    /// Does what the first member that is set says, in etcd's order.
    fn perform(
        &mut self,
        at: EntryId,
        request: &InternalRaftRequest,
        answered: bool,
    ) -> Result<Done, Error> {
        if let Some(set) = &request.cluster_version_set {
            self.set_cluster_version(at, &set.ver)
        } else if let Some(set) = &request.cluster_member_attr_set {
            self.set_member_attributes(at, set)
        } else if let Some(set) = &request.downgrade_info_set {
            self.set_downgrade(at, set)
        } else if request.downgrade_version_test.is_some() {
            Ok(Reply::Nothing.into())
        } else if let Some(range) = &request.range {
            self.range(range)
        } else if let Some(put) = &request.put {
            self.put(put, answered)
        } else if let Some(delete) = &request.delete_range {
            self.delete_range(delete, answered)
        } else if let Some(txn) = &request.txn {
            self.txn(txn, answered)
        } else if let Some(compaction) = &request.compaction {
            self.compact(compaction.revision)
        } else if let Some(grant) = &request.lease_grant {
            Ok(self.lease_grant(LeaseId(grant.id), grant.ttl))
        } else if let Some(revoke) = &request.lease_revoke {
            self.lease_revoke(LeaseId(revoke.id))
        } else if let Some(checkpoint) = &request.lease_checkpoint {
            Ok(self.lease_checkpoint(&checkpoint.checkpoints))
        } else if let Some(alarm) = &request.alarm {
            Ok(self.alarm(*alarm))
        } else {
            self.auth(at, request)
        }
    }
}

/// What need not be done where nobody waits for the answer.
fn only_reads(request: &InternalRaftRequest) -> bool {
    request.range.is_some()
        || request.auth_user_get.is_some()
        || request.auth_role_get.is_some()
        || request.auth_status.is_some()
}

/// What a corrupt cluster does not do any more.
fn touches_keys(request: &InternalRaftRequest) -> bool {
    request.put.is_some()
        || request.range.is_some()
        || request.delete_range.is_some()
        || request.txn.is_some()
        || request.compaction.is_some()
        || request.lease_grant.is_some()
        || request.lease_revoke.is_some()
}

/// What a full cluster does not do any more.
fn takes_space(request: &InternalRaftRequest) -> bool {
    request.put.is_some()
        || request.lease_grant.is_some()
        || request.txn.as_ref().is_some_and(|txn| txn_cost(txn) > 0)
}
