//! What a member must be: the plain thing, done with plain maps.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmType, Compare, DeleteRangeRequest, InternalRaftRequest,
    LeaseCheckpoint, PutRequest, RangeRequest, RequestOp, TxnRequest,
};
use proto::mvccpb::KeyValue;
use state::Rejected;

use crate::told::{Told, ToldOp};

/// The keys that live, at one moment.
pub(crate) type Rows = BTreeMap<Bytes, KeyValue>;

/// A change of a key, as a watcher sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    pub(crate) deleted: bool,
    /// Of a deletion: only key and revision.
    pub(crate) kv: KeyValue,
}

/// Everything that entries can change. Nothing is ever forgotten: compaction only moves a mark.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    /// The rows as they were at revision 1, 2, ...
    past: Vec<Rows>,
    /// All changes in order.
    pub(crate) changes: Vec<Change>,
    pub(crate) compacted: i64,
    /// TTL and what is left of it, by id.
    pub(crate) leases: BTreeMap<i64, (i64, i64)>,
    pub(crate) alarms: BTreeSet<(i32, u64)>,
    /// Client URLs by name, as members publish them.
    pub(crate) published: BTreeMap<u64, (String, Vec<String>)>,
    pub(crate) cluster_version: Option<String>,
    min_lease_ttl: i64,
}

/// A txn under way.
struct Draft<'a> {
    model: &'a Model,
    rows: Rows,
    changes: Vec<Change>,
}

impl Model {
    pub(crate) fn new(min_lease_ttl: i64) -> Self {
        Self {
            past: vec![Rows::new()],
            changes: Vec::new(),
            compacted: -1,
            leases: BTreeMap::new(),
            alarms: BTreeSet::new(),
            published: BTreeMap::new(),
            cluster_version: None,
            min_lease_ttl,
        }
    }

    pub(crate) fn revision(&self) -> i64 {
        i64::try_from(self.past.len()).expect("a short run")
    }

    /// The rows at a revision, 0 for the current one; `None` where it has not come.
    pub(crate) fn rows(&self, revision: i64) -> Option<&Rows> {
        match usize::try_from(revision).ok()? {
            0 => self.past.last(),
            revision => self.past.get(revision - 1),
        }
    }

    fn current(&self) -> &Rows {
        self.past.last().expect("it begins with one")
    }

    /// Applies a request and says what the answer is.
    pub(crate) fn apply(&mut self, request: &InternalRaftRequest) -> Result<Told, Rejected> {
        self.gates(request)?;
        if let Some(put) = &request.put {
            self.check_put(put)?;
            let mut change = self.begin();
            let ToldOp::Put { prev_kv, .. } = change.put(put) else { unreachable!("a put") };
            let revision = change.revision();
            self.finish(change.into_parts());
            Ok(Told::Op(ToldOp::Put { revision, prev_kv }))
        } else if let Some(delete) = &request.delete_range {
            let mut change = self.begin();
            let told = change.delete(delete);
            self.finish(change.into_parts());
            Ok(Told::Op(told))
        } else if let Some(txn) = &request.txn {
            self.txn(txn)
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

    fn begin(&self) -> Draft<'_> {
        Draft { model: self, rows: self.current().clone(), changes: Vec::new() }
    }

    fn finish(&mut self, (rows, changes): (Rows, Vec<Change>)) {
        if !changes.is_empty() {
            self.past.push(rows);
            self.changes.extend(changes);
        }
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

    fn txn(&mut self, txn: &TxnRequest) -> Result<Told, Rejected> {
        self.check_txn(txn)?;
        let mut change = self.begin();
        let (succeeded, ops) = change.txn(txn);
        let revision = change.revision();
        self.finish(change.into_parts());
        Ok(Told::Op(ToldOp::Txn { revision, succeeded, ops }))
    }

    /// The branch that is taken; all compares look at the keys before the txn.
    fn branch<'a>(&self, txn: &'a TxnRequest) -> (bool, &'a [RequestOp]) {
        let holds = txn.compare.iter().all(|compare| self.holds(compare));
        (holds, if holds { &txn.success } else { &txn.failure })
    }

    fn check_txn(&self, txn: &TxnRequest) -> Result<(), Rejected> {
        for op in self.branch(txn).1 {
            match &op.request {
                Some(Request::RequestRange(range)) if range.revision > self.revision() => {
                    return Err(Rejected::FutureRevision);
                }
                Some(Request::RequestRange(range))
                    if range.revision != 0 && range.revision < self.compacted =>
                {
                    return Err(Rejected::Compacted);
                }
                Some(Request::RequestPut(put)) => self.check_put(put)?,
                Some(Request::RequestTxn(nested)) => self.check_txn(nested)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn holds(&self, compare: &Compare) -> bool {
        let found: Vec<&KeyValue> =
            select(self.current(), &compare.key, &compare.range_end).collect();
        if found.is_empty() {
            let is_value = compare.target == CompareTarget::Value as i32;
            return !is_value && holds_for(compare, &KeyValue::default());
        }
        found.into_iter().all(|kv| holds_for(compare, kv))
    }

    /// Whether a watcher may find nothing of a change any more. It may begin at the revision that
    /// was compacted to, of which only the newest record of each key has stayed, as in etcd.
    pub(crate) fn is_compacted_away(&self, at: usize) -> bool {
        let revision = |change: &Change| change.kv.mod_revision;
        let change = &self.changes[at];
        revision(change) <= self.compacted
            && self.changes[at + 1..]
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
        let mut change = self.begin();
        for key in keys_of(self.current(), id) {
            change.delete_key(&key);
        }
        self.finish(change.into_parts());
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
    pub(crate) fn range_as_of(&self, range: &RangeRequest, told: &ToldOp) -> Option<ToldOp> {
        let ToldOp::Range { revision, .. } = told else { return None };
        let at = if range.revision == 0 { *revision } else { range.revision };
        self.rows(at).map(|rows| read(rows, range, *revision))
    }

    /// A model to which nothing has happened.
    pub(crate) fn fresh(&self) -> Self {
        Self::new(self.min_lease_ttl)
    }
}

impl Draft<'_> {
    fn into_parts(self) -> (Rows, Vec<Change>) {
        (self.rows, self.changes)
    }

    fn revision(&self) -> i64 {
        self.model.revision() + i64::from(!self.changes.is_empty())
    }

    fn txn(&mut self, txn: &TxnRequest) -> (bool, Vec<ToldOp>) {
        let (succeeded, branch) = self.model.branch(txn);
        let told = branch.iter().map(|op| match &op.request {
            Some(Request::RequestRange(range)) => self.range(range),
            Some(Request::RequestPut(put)) => self.put(put),
            Some(Request::RequestDeleteRange(delete)) => self.delete(delete),
            Some(Request::RequestTxn(nested)) => {
                let (succeeded, ops) = self.txn(nested);
                // As in etcd, the header of a nested txn is empty.
                ToldOp::Txn { revision: 0, succeeded, ops }
            }
            None => ToldOp::Empty,
        });
        (succeeded, told.collect())
    }

    fn range(&self, range: &RangeRequest) -> ToldOp {
        let rows = match range.revision {
            0 => &self.rows,
            past if past > self.model.revision() => &self.rows,
            past => self.model.rows(past).expect("it was checked"),
        };
        read(rows, range, self.revision())
    }

    fn put(&mut self, put: &PutRequest) -> ToldOp {
        let main = self.model.revision() + 1;
        let old = self.rows.get(&put.key).cloned();
        let row = KeyValue {
            key: put.key.clone(),
            value: match &old {
                Some(old) if put.ignore_value => old.value.clone(),
                _ => put.value.clone(),
            },
            create_revision: old.as_ref().map_or(main, |old| old.create_revision),
            mod_revision: main,
            version: old.as_ref().map_or(1, |old| old.version + 1),
            lease: match &old {
                Some(old) if put.ignore_lease => old.lease,
                _ => put.lease,
            },
        };
        self.rows.insert(put.key.clone(), row.clone());
        self.changes.push(Change { deleted: false, kv: row });
        ToldOp::Put { revision: main, prev_kv: old.filter(|_| put.prev_kv) }
    }

    fn delete(&mut self, delete: &DeleteRangeRequest) -> ToldOp {
        let found = select(&self.rows, &delete.key, &delete.range_end);
        let found: Vec<KeyValue> = found.cloned().collect();
        found.iter().for_each(|kv| self.delete_key(&kv.key));
        ToldOp::Delete {
            revision: self.revision(),
            deleted: found.len(),
            prev_kvs: if delete.prev_kv { found } else { Vec::new() },
        }
    }

    fn delete_key(&mut self, key: &Bytes) {
        if self.rows.remove(key).is_some() {
            let mod_revision = self.model.revision() + 1;
            let kv = KeyValue { key: key.clone(), mod_revision, ..KeyValue::default() };
            self.changes.push(Change { deleted: true, kv });
        }
    }
}

/// The keys that hang on a lease.
pub(crate) fn keys_of(rows: &Rows, lease: i64) -> Vec<Bytes> {
    rows.values().filter(|kv| kv.lease == lease).map(|kv| kv.key.clone()).collect()
}

fn select<'a>(rows: &'a Rows, key: &'a [u8], end: &'a [u8]) -> impl Iterator<Item = &'a KeyValue> {
    rows.values().filter(move |kv| match end {
        [] => kv.key == key,
        [0] => kv.key >= key,
        end => kv.key >= key && kv.key < end,
    })
}

/// The rows that a range shows, in the order of keys or against it.
fn read(rows: &Rows, range: &RangeRequest, revision: i64) -> ToldOp {
    let mut found: Vec<KeyValue> = select(rows, &range.key, &range.range_end).cloned().collect();
    let count = found.len();
    if range.count_only {
        return ToldOp::Range { revision, count, more: false, kvs: Vec::new() };
    }
    if range.sort_order == 2 {
        found.reverse();
    }
    let limit = usize::try_from(range.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let more = found.len() > limit;
    found.truncate(limit);
    if range.keys_only {
        for kv in &mut found {
            kv.value = Bytes::new();
            kv.lease = 0;
        }
    }
    ToldOp::Range { revision, count, more, kvs: found }
}

/// Whether a txn could make the db file larger.
fn grows(txn: &TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
        Some(Request::RequestPut(_)) => true,
        Some(Request::RequestTxn(nested)) => grows(nested),
        _ => false,
    })
}

fn holds_for(compare: &Compare, kv: &KeyValue) -> bool {
    let ordering = match &compare.target_union {
        Some(TargetUnion::Version(wanted)) => kv.version.cmp(wanted),
        Some(TargetUnion::CreateRevision(wanted)) => kv.create_revision.cmp(wanted),
        Some(TargetUnion::ModRevision(wanted)) => kv.mod_revision.cmp(wanted),
        Some(TargetUnion::Lease(wanted)) => kv.lease.cmp(wanted),
        Some(TargetUnion::Value(wanted)) => kv.value.cmp(wanted),
        None => std::cmp::Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => ordering.is_eq(),
        Ok(CompareResult::NotEqual) => ordering.is_ne(),
        Ok(CompareResult::Greater) => ordering.is_gt(),
        Ok(CompareResult::Less) => ordering.is_lt(),
        Err(_) => true,
    }
}
