use bytes::Bytes;
use mvcc::{Finished, KeyRange, KvFields, Ranged, WriteTxn};
use proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest};

use super::plan::Op;
use super::{Before, Plan, plan, range_of};
use crate::lease::Leases;
use crate::reply::{DeleteRangeReply, OpReply, PutReply, RangeReply, TxnReply};
use crate::{Error, LeaseId, Rejected};

/// A write txn on the keys, and the leases that they hang on.
pub(crate) struct Execution<'a> {
    pub(crate) txn: WriteTxn<'a>,
    pub(crate) leases: &'a Leases,
    /// Whether somebody waits for the rows of ranges. Without, they are not read: they change
    /// nothing.
    pub(crate) answered: bool,
}

impl Execution<'_> {
    /// Does what the plan says. Its checks have passed, so nothing of it can be refused.
    pub(crate) fn run(&mut self, plan: &Plan<'_>) -> Result<TxnReply, Error> {
        let mut reply = self.run_nested(plan)?;
        reply.revision = self.txn.revision();
        Ok(reply)
    }

    fn run_nested(&mut self, plan: &Plan<'_>) -> Result<TxnReply, Error> {
        let mut responses = Vec::with_capacity(plan.ops.len());
        for op in &plan.ops {
            responses.push(match op {
                Op::Range(range) => OpReply::Range(self.range(range)?),
                Op::Put(put) => OpReply::Put(self.put(put)?),
                Op::DeleteRange(delete) => OpReply::DeleteRange(self.delete_range(delete)?),
                Op::Txn(nested) => OpReply::Txn(self.run_nested(nested)?),
                Op::Empty => OpReply::Empty,
            });
        }
        // The header of a nested txn is empty, as in etcd.
        Ok(TxnReply { revision: 0, succeeded: plan.succeeded, responses })
    }

    fn range(&self, range: &RangeRequest) -> Result<RangeReply, Error> {
        if !self.answered {
            return Ok(RangeReply { revision: self.txn.revision(), ..RangeReply::default() });
        }
        Ok(self.txn.range(&range_of(range))?.into())
    }

    fn put(&mut self, put: &PutRequest) -> Result<PutReply, Error> {
        let kept = if put.ignore_value { self.txn.get(&put.key)? } else { None };
        let lease = if put.ignore_lease {
            self.txn.peek(&put.key).map_or(0, |prior| prior.lease())
        } else {
            put.lease
        };
        let value: &[u8] = match &kept {
            Some(kv) => KvFields::parse(kv)?.value,
            None => &put.value,
        };
        let prior = self.txn.put(&put.key, value, lease);
        self.attach(&put.key, LeaseId(lease));
        let prev_kv = match prior.filter(|_| put.prev_kv && self.answered) {
            Some(prior) => Some(self.txn.whole(&prior)?),
            None => None,
        };
        Ok(PutReply { revision: self.txn.revision(), prev_kv })
    }

    fn delete_range(&mut self, delete: &DeleteRangeRequest) -> Result<DeleteRangeReply, Error> {
        let range = KeyRange::new(delete.key.clone(), delete.range_end.clone());
        let deleted = self.delete(&range);
        let mut prev_kvs = Vec::new();
        if delete.prev_kv && self.answered {
            for deleted in &deleted {
                prev_kvs.push(self.txn.whole(&deleted.prior)?);
            }
        }
        let deleted = i64::try_from(deleted.len()).unwrap_or(i64::MAX);
        Ok(DeleteRangeReply { revision: self.txn.revision(), deleted, prev_kvs })
    }

    /// Deletes the keys that live in a range and takes them off their leases.
    pub(crate) fn delete(&mut self, range: &KeyRange) -> Vec<mvcc::Deleted> {
        let deleted = self.txn.delete_range(range);
        if !deleted.is_empty() && !self.leases.read().is_unattached() {
            let mut leases = self.leases.write();
            deleted.iter().for_each(|deleted| leases.detach(&deleted.key));
        }
        deleted
    }

    fn attach(&self, key: &Bytes, lease: LeaseId) {
        if lease.is_none() && self.leases.read().is_unattached() {
            return;
        }
        if !self.leases.write().attach(key, lease) {
            // Only an old record can name a lease that is gone, and only `ignore_lease` keep it.
            tracing::warn!(%lease, "failed to attach a lease");
        }
    }

    pub(crate) fn finish(self) -> Finished {
        self.txn.finish()
    }
}

/// A put by itself: checked, then done.
pub(crate) fn plain_put(
    execution: &mut Execution<'_>,
    put: &PutRequest,
) -> Result<Result<PutReply, Rejected>, Error> {
    let before = Before { txn: &execution.txn, compact_revision: -1 };
    let checked = plan::check_put(&before, &execution.leases.read(), put)?;
    Ok(match checked {
        Ok(()) => Ok(execution.put(put)?),
        Err(rejected) => Err(rejected),
    })
}

/// A delete by itself.
pub(crate) fn plain_delete(
    execution: &mut Execution<'_>,
    delete: &DeleteRangeRequest,
) -> Result<DeleteRangeReply, Error> {
    execution.delete_range(delete)
}

/// A range by itself.
pub(crate) fn plain_range(
    reader: &mvcc::Reader,
    range: &RangeRequest,
) -> Result<Result<RangeReply, Rejected>, Error> {
    match reader.range(&range_of(range)) {
        Ok(ranged) => Ok(Ok(ranged.into())),
        Err(mvcc::Error::Compacted) => Ok(Err(Rejected::Compacted)),
        Err(mvcc::Error::FutureRevision) => Ok(Err(Rejected::FutureRevision)),
        Err(error) => Err(error.into()),
    }
}

impl From<Ranged> for RangeReply {
    fn from(ranged: Ranged) -> Self {
        let Ranged { kvs, count, more, revision } = ranged;
        Self { revision, kvs, more, count }
    }
}
