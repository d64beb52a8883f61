//! What a request costs and whether it still fits.
//!
//! The costs are etcd's. What they are held against is our own choice: the *live* bytes of the
//! db file. A file never counts pages that are free, so an operator who deletes and compacts
//! has room again without waiting for the file to shrink.

use proto::etcdserverpb::{PutRequest, RequestOp, TxnRequest, request_op};

use crate::Rejected;

/// What a key costs beside its bytes.
const KEY_OVERHEAD: u64 = 256;
/// What a lease costs.
const LEASE_COST: u64 = 64;
/// The quota when none is given: 2 GiB.
const DEFAULT_BYTES: i64 = 2 * 1024 * 1024 * 1024;

/// What a put costs.
pub fn put_cost(put: &PutRequest) -> u64 {
    KEY_OVERHEAD + put.key.len() as u64 + put.value.len() as u64
}

/// What a txn costs: its dearer branch, nested ones included. Zero if it puts nothing.
pub fn txn_cost(txn: &TxnRequest) -> u64 {
    let branch = |ops: &[RequestOp]| ops.iter().map(op_cost).sum::<u64>();
    branch(&txn.success).max(branch(&txn.failure))
}

/// What a lease costs.
pub const fn lease_cost() -> u64 {
    LEASE_COST
}

fn op_cost(op: &RequestOp) -> u64 {
    match &op.request {
        Some(request_op::Request::RequestPut(put)) => put_cost(put),
        Some(request_op::Request::RequestTxn(txn)) => txn_cost(txn),
        _ => 0,
    }
}

/// How many bytes the db file may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaBytes(Option<u64>);

impl QuotaBytes {
    /// Reads `--quota-backend-bytes`: 0 is the default, a negative number is no quota.
    pub fn from_flag(bytes: i64) -> Self {
        let bytes = if bytes == 0 { DEFAULT_BYTES } else { bytes };
        Self(u64::try_from(bytes).ok())
    }

    /// The limit; `None` for no quota.
    pub const fn limit(self) -> Option<u64> {
        self.0
    }

    /// Whether something of this cost still fits beside what is there. What costs nothing
    /// always does.
    pub fn check(self, used_bytes: u64, cost: u64) -> Result<(), Rejected> {
        match self.0 {
            Some(limit) if cost > 0 && used_bytes.saturating_add(cost) >= limit => {
                Err(Rejected::NoSpace)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proto::etcdserverpb::RangeRequest;

    use super::*;

    fn put(bytes: usize) -> RequestOp {
        let value = Bytes::from(vec![0; bytes]);
        op(request_op::Request::RequestPut(PutRequest { value, ..PutRequest::default() }))
    }

    fn op(request: request_op::Request) -> RequestOp {
        RequestOp { request: Some(request) }
    }

    #[test]
    fn a_txn_costs_its_dearer_branch_with_nested_ones() {
        let nested = TxnRequest { failure: vec![put(10)], ..TxnRequest::default() };
        let txn = TxnRequest {
            success: vec![put(1)],
            failure: vec![
                op(request_op::Request::RequestTxn(nested)),
                put(2),
                op(request_op::Request::RequestRange(RangeRequest::default())),
                RequestOp { request: None },
            ],
            ..TxnRequest::default()
        };
        assert_eq!(txn_cost(&txn), 256 + 10 + 256 + 2);
        assert_eq!(txn_cost(&TxnRequest::default()), 0);
    }

    #[test]
    fn the_flag_knows_a_default_and_none() {
        assert_eq!(QuotaBytes::from_flag(0).limit(), Some(2_147_483_648));
        assert_eq!(QuotaBytes::from_flag(-1).limit(), None);
        assert_eq!(QuotaBytes::from_flag(5).limit(), Some(5));
    }

    #[test]
    fn what_reaches_the_limit_is_refused() {
        let quota = QuotaBytes::from_flag(1000);
        assert_eq!(quota.check(700, 299), Ok(()));
        assert_eq!(quota.check(700, 300), Err(Rejected::NoSpace));
        assert_eq!(quota.check(5000, 0), Ok(()));
        assert_eq!(quota.check(u64::MAX, 1), Err(Rejected::NoSpace));
        assert_eq!(QuotaBytes::from_flag(-1).check(u64::MAX, 1), Ok(()));
    }
}
