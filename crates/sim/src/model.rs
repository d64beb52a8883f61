//! What a member must be: the plain thing, done with plain maps.

use std::collections::{BTreeMap, BTreeSet};

use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::request_op::Request as Op;
use proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmType, InternalRaftRequest, LeaseCheckpoint, PutRequest,
    RangeRequest, TxnRequest,
};
use state::Rejected;

use crate::check::{Answer, Change, Keys, Request, Rows, holds, read};
use crate::told::Told;

/// Everything that entries can change. Nothing is ever forgotten: compaction only moves a mark.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    /// The keys, with all changes in order.
    keys: Keys,
    /// The rows as they were at revision 1, 2, ...
    past: Vec<Rows>,
    pub(crate) compacted: i64,
    /// TTL and what is left of it, by id.
    pub(crate) leases: BTreeMap<i64, (i64, i64)>,
    pub(crate) alarms: BTreeSet<(i32, u64)>,
    /// Client URLs by name, as members publish them.
    pub(crate) published: BTreeMap<u64, (String, Vec<String>)>,
    pub(crate) cluster_version: Option<String>,
    min_lease_ttl: i64,
}

impl Model {
    pub(crate) fn new(min_lease_ttl: i64) -> Self {
        Self {
            keys: Keys::new(1, []),
            past: vec![Rows::new()],
            compacted: -1,
            leases: BTreeMap::new(),
            alarms: BTreeSet::new(),
            published: BTreeMap::new(),
            cluster_version: None,
            min_lease_ttl,
        }
    }

    pub(crate) fn revision(&self) -> i64 {
        self.keys.revision
    }

    /// All changes in order.
    pub(crate) fn changes(&self) -> &[Change] {
        &self.keys.changes
    }

    /// The rows at a revision, 0 for the current one; `None` where it has not come.
    pub(crate) fn rows(&self, revision: i64) -> Option<&Rows> {
        match usize::try_from(revision).ok()? {
            0 => self.past.last(),
            revision => self.past.get(revision - 1),
        }
    }

    fn current(&self) -> &Rows {
        &self.keys.rows
    }

    /// Applies a request and says what the answer is.
    pub(crate) fn apply(&mut self, request: &InternalRaftRequest) -> Result<Told, Rejected> {
        self.gates(request)?;
        if let Some(put) = &request.put {
            self.check_put(put)?;
            Ok(Told::Op(self.change(&Request::Put(put.clone()))))
        } else if let Some(delete) = &request.delete_range {
            Ok(Told::Op(self.change(&Request::DeleteRange(delete.clone()))))
        } else if let Some(txn) = &request.txn {
            self.check_txn(txn)?;
            Ok(Told::Op(self.change(&Request::Txn(txn.clone()))))
        } else if let Some(compaction) = &request.compaction {
            self.compact(compaction.revision)
        } else if let Some(grant) = &request.lease_grant {
            self.grant(grant.id, grant.ttl)
        } else if let Some(revoke) = &request.lease_revoke {
            self.revoke(revoke.id)
        } else if let Some(checkpoint) = &request.lease_checkpoint {
            Ok(self.checkpoint(&checkpoint.checkpoints))
        } else if let Some(alarm) = &request.alarm {
            Ok(self.alarm(*alarm))
        } else {
            self.note_cluster(request);
            Ok(Told::Nothing)
        }
    }

    fn gates(&self, request: &InternalRaftRequest) -> Result<(), Rejected> {
        let stands = |kind: AlarmType| self.alarms.iter().any(|(stands, _)| *stands == kind as i32);
        let keys = request.put.is_some()
            || request.range.is_some()
            || request.delete_range.is_some()
            || request.txn.is_some()
            || request.compaction.is_some()
            || request.lease_grant.is_some()
            || request.lease_revoke.is_some();
        if stands(AlarmType::Corrupt) && keys {
            return Err(Rejected::Corrupt);
        }
        let grows = request.put.is_some()
            || request.lease_grant.is_some()
            || request.txn.as_ref().is_some_and(grows);
        if stands(AlarmType::Nospace) && grows {
            return Err(Rejected::NoSpace);
        }
        Ok(())
    }

    fn change(&mut self, request: &Request) -> Answer {
        let past = &self.past;
        let rows = |revision: i64| past.get(usize::try_from(revision).ok()?.checked_sub(1)?);
        let answer = self.keys.apply(request, &rows).expect("it was checked");
        if self.keys.revision > i64::try_from(self.past.len()).expect("a short run") {
            self.past.push(self.keys.rows.clone());
        }
        answer
    }

    fn check_put(&self, put: &PutRequest) -> Result<(), Rejected> {
        if put.lease != 0 && !self.leases.contains_key(&put.lease) {
            return Err(Rejected::LeaseNotFound);
        }
        if (put.ignore_value || put.ignore_lease) && !self.current().contains_key(&put.key) {
            return Err(Rejected::KeyNotFound);
        }
        Ok(())
    }

    fn check_txn(&self, txn: &TxnRequest) -> Result<(), Rejected> {
        let holds = txn.compare.iter().all(|compare| holds(self.current(), compare));
        for op in if holds { &txn.success } else { &txn.failure } {
            match &op.request {
                Some(Op::RequestRange(range)) if range.revision > self.revision() => {
                    return Err(Rejected::FutureRevision);
                }
                Some(Op::RequestRange(range))
                    if range.revision != 0 && range.revision < self.compacted =>
                {
                    return Err(Rejected::Compacted);
                }
                Some(Op::RequestPut(put)) => self.check_put(put)?,
                Some(Op::RequestTxn(nested)) => self.check_txn(nested)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether a watcher may find nothing of a change any more. It may begin at the revision that
    /// was compacted to, of which only the newest record of each key has stayed, as in etcd.
    pub(crate) fn is_compacted_away(&self, at: usize) -> bool {
        let revision = |change: &Change| change.kv.mod_revision;
        let change = &self.changes()[at];
        revision(change) <= self.compacted
            && self.changes()[at + 1..]
                .iter()
                .take_while(|other| revision(other) == revision(change))
                .any(|other| other.kv.key == change.kv.key)
    }

    fn compact(&mut self, revision: i64) -> Result<Told, Rejected> {
        if revision <= self.compacted {
            return Err(Rejected::Compacted);
        }
        if revision > self.revision() {
            return Err(Rejected::FutureRevision);
        }
        self.compacted = revision;
        Ok(Told::Compaction)
    }

    fn grant(&mut self, id: i64, ttl: i64) -> Result<Told, Rejected> {
        if id == 0 {
            return Err(Rejected::LeaseNotFound);
        }
        if ttl > 9_000_000_000 {
            return Err(Rejected::LeaseTtlTooLarge);
        }
        if self.leases.contains_key(&id) {
            return Err(Rejected::LeaseExists);
        }
        let ttl = ttl.max(self.min_lease_ttl);
        self.leases.insert(id, (ttl, 0));
        Ok(Told::LeaseGrant { id, ttl })
    }

    fn revoke(&mut self, id: i64) -> Result<Told, Rejected> {
        if self.leases.remove(&id).is_none() {
            return Err(Rejected::LeaseNotFound);
        }
        self.change(&Request::LeaseRevoke(id));
        Ok(Told::LeaseRevoke)
    }

    fn checkpoint(&mut self, checkpoints: &[LeaseCheckpoint]) -> Told {
        for LeaseCheckpoint { id, remaining_ttl } in checkpoints {
            if let Some(lease) = self.leases.get_mut(id) {
                lease.1 = *remaining_ttl;
            }
        }
        Told::LeaseCheckpoint
    }

    fn alarm(&mut self, request: AlarmRequest) -> Told {
        let alarm = (request.alarm, request.member_id);
        let said = AlarmMember { member_id: request.member_id, alarm: request.alarm };
        match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => Told::Alarm(self.alarms_of(request.alarm)),
            Ok(AlarmAction::Activate) if request.alarm != AlarmType::None as i32 => {
                self.alarms.insert(alarm);
                Told::Alarm(vec![said])
            }
            Ok(AlarmAction::Deactivate) if self.alarms.remove(&alarm) => Told::Alarm(vec![said]),
            _ => Told::Alarm(Vec::new()),
        }
    }

    /// The alarms of a kind; 0 for all.
    pub(crate) fn alarms_of(&self, kind: i32) -> Vec<AlarmMember> {
        let standing = self.alarms.iter().filter(|(stands, _)| kind == 0 || *stands == kind);
        standing.map(|&(alarm, member_id)| AlarmMember { member_id, alarm }).collect()
    }

    fn note_cluster(&mut self, request: &InternalRaftRequest) {
        if let Some(set) = &request.cluster_version_set {
            self.cluster_version = Some(set.ver.clone());
        } else if let Some(set) = &request.cluster_member_attr_set {
            let attributes = set.member_attributes.clone().unwrap_or_default();
            self.published.insert(set.member_id, (attributes.name, attributes.client_urls));
        }
    }

    /// What the reader of a range must have been told, at the moment that the answer is of;
    /// `None` where that moment has not come.
    pub(crate) fn range_as_of(&self, range: &RangeRequest, told: &Answer) -> Option<Answer> {
        let Answer::Range { revision, .. } = told else { return None };
        let at = if range.revision == 0 { *revision } else { range.revision };
        self.rows(at).map(|rows| read(rows, range, *revision))
    }

    /// A model to which nothing has happened.
    pub(crate) fn fresh(&self) -> Self {
        Self::new(self.min_lease_ttl)
    }
}

/// Whether a txn could make the db file larger.
fn grows(txn: &TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
        Some(Op::RequestPut(_)) => true,
        Some(Op::RequestTxn(nested)) => grows(nested),
        _ => false,
    })
}
