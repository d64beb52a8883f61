use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest};

use super::{View, compare};
use crate::lease::LeaseTable;
use crate::{Error, LeaseId, Rejected};

/// A txn whose branches are chosen: what it will do, in order.
///
/// All choices are made on the keys as they are before the txn. A nested compare does not see
/// what the operations before it write.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) succeeded: bool,
    pub(crate) ops: Vec<Op<'a>>,
}

/// One operation of the branch that was taken.
#[derive(Debug)]
pub(crate) enum Op<'a> {
    Range(&'a RangeRequest),
    Put(&'a PutRequest),
    DeleteRange(&'a DeleteRangeRequest),
    Txn(Plan<'a>),
    /// It names nothing; it is passed over.
    Empty,
}

impl<'a> Plan<'a> {
    /// Evaluates the compares and chooses the branches.
    pub(crate) fn new<V: View>(view: &V, txn: &'a TxnRequest) -> Result<Self, Error> {
        let succeeded = compare::all_hold(view, &txn.compare)?;
        let branch = if succeeded { &txn.success } else { &txn.failure };
        let ops = branch.iter().map(|op| Op::new(view, op)).collect::<Result<_, _>>()?;
        Ok(Self { succeeded, ops })
    }

    /// Checks every operation before any is done, on the keys as they are before the txn. What
    /// passes here cannot fail later.
    pub(crate) fn check<V: View>(
        &self,
        view: &V,
        leases: &LeaseTable,
    ) -> Result<Result<(), Rejected>, Error> {
        for op in &self.ops {
            let checked = match op {
                Op::Range(range) => check_range(view, range),
                Op::Put(put) => check_put(view, leases, put)?,
                Op::Txn(nested) => nested.check(view, leases)?,
                Op::DeleteRange(_) | Op::Empty => Ok(()),
            };
            if checked.is_err() {
                return Ok(checked);
            }
        }
        Ok(Ok(()))
    }
}

impl<'a> Op<'a> {
    fn new<V: View>(view: &V, op: &'a RequestOp) -> Result<Self, Error> {
        Ok(match &op.request {
            Some(Request::RequestRange(range)) => Self::Range(range),
            Some(Request::RequestPut(put)) => Self::Put(put),
            Some(Request::RequestDeleteRange(delete)) => Self::DeleteRange(delete),
            Some(Request::RequestTxn(txn)) => Self::Txn(Plan::new(view, txn)?),
            None => Self::Empty,
        })
    }
}

/// Whether the revision can be read. Zero is the current one; other numbers mean what they say,
/// also below zero: before the first compaction everything from -1 on "is kept".
fn check_range<V: View>(view: &V, range: &RangeRequest) -> Result<(), Rejected> {
    if range.revision == 0 {
        Ok(())
    } else if range.revision > view.revision() {
        Err(Rejected::FutureRevision)
    } else if range.revision < view.compact_revision() {
        Err(Rejected::Compacted)
    } else {
        Ok(())
    }
}

/// Whether the lease exists, and the key where the put keeps something of it.
pub(super) fn check_put<V: View>(
    view: &V,
    leases: &LeaseTable,
    put: &PutRequest,
) -> Result<Result<(), Rejected>, Error> {
    let lease = LeaseId(put.lease);
    if !lease.is_none() && !leases.contains(lease) {
        return Ok(Err(Rejected::LeaseNotFound));
    }
    if (put.ignore_value || put.ignore_lease) && view.get(&put.key)?.is_none() {
        return Ok(Err(Rejected::KeyNotFound));
    }
    Ok(Ok(()))
}

/// Whether a txn can only read: its operations, of both branches, are ranges. (As in etcd a
/// nested txn counts as a write, whatever it does.)
pub fn is_read_only(txn: &TxnRequest) -> bool {
    let mut ops = txn.success.iter().chain(&txn.failure);
    ops.all(|op| matches!(op.request, Some(Request::RequestRange(_))))
}

/// Whether a read-only txn may be answered from what this member has: all its ranges say so.
/// (A quirk of etcd: one without any range does, too.)
pub fn is_serializable(txn: &TxnRequest) -> bool {
    let mut ops = txn.success.iter().chain(&txn.failure);
    ops.all(|op| matches!(&op.request, Some(Request::RequestRange(range)) if range.serializable))
}
