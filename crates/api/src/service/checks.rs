//! What keeps bad requests out of the log: the checks before anything is proposed or read.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    range_request::{SortOrder, SortTarget},
};

use crate::error;
use crate::status::Status;

pub(super) fn range(request: &RangeRequest) -> Result<(), Status> {
    if request.key.is_empty() {
        return Err(error::EMPTY_KEY);
    }
    let known = SortOrder::try_from(request.sort_order).is_ok()
        && SortTarget::try_from(request.sort_target).is_ok();
    if known { Ok(()) } else { Err(error::INVALID_SORT_OPTION) }
}

pub(super) fn range_stream(request: &RangeRequest) -> Result<(), Status> {
    range(request)?;
    let by_key = request.sort_order == SortOrder::None as i32
        || (request.sort_order == SortOrder::Ascend as i32
            && request.sort_target == SortTarget::Key as i32);
    if !by_key {
        return Err(error::STREAM_SORT);
    }
    let filtered = request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0;
    if filtered { Err(error::STREAM_FILTER) } else { Ok(()) }
}

pub(super) fn put(request: &PutRequest) -> Result<(), Status> {
    if request.key.is_empty() {
        return Err(error::EMPTY_KEY);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(error::VALUE_PROVIDED);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(error::LEASE_PROVIDED);
    }
    Ok(())
}

pub(super) fn delete_range(request: &DeleteRangeRequest) -> Result<(), Status> {
    if request.key.is_empty() { Err(error::EMPTY_KEY) } else { Ok(()) }
}

/// How deep transactions may lie in each other. The decoder of the log goes only about ten levels
/// deeper, and what is acknowledged must be readable when the log is replayed.
const MAX_DEPTH: usize = 40;

pub(super) fn txn(request: &TxnRequest, max_ops: usize) -> Result<(), Status> {
    txn_ops(request, max_ops, MAX_DEPTH)?;
    Touched::of(&request.success)?;
    Touched::of(&request.failure)?;
    Ok(())
}

fn txn_ops(request: &TxnRequest, budget: usize, depth: usize) -> Result<(), Status> {
    let widest = request.compare.len().max(request.success.len()).max(request.failure.len());
    if widest > budget || depth == 0 {
        return Err(error::TOO_MANY_OPS);
    }
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(error::EMPTY_KEY);
    }
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(Request::RequestRange(op)) => range(op)?,
            Some(Request::RequestPut(op)) => put(op)?,
            Some(Request::RequestDeleteRange(op)) => delete_range(op)?,
            Some(Request::RequestTxn(op)) => txn_ops(op, budget - widest, depth - 1)?,
            None => return Err(error::KEY_NOT_FOUND),
        }
    }
    Ok(())
}

/// The keys that a list of operations puts and deletes. A key may be put once, and not together
/// with a delete over it; the order of checks is etcd's, which makes it visible to clients.
#[derive(Default)]
struct Touched {
    puts: HashSet<Bytes>,
    deletes: Intervals,
}

impl Touched {
    fn of(ops: &[RequestOp]) -> Result<Self, Status> {
        let mut touched = Self::default();
        for op in ops {
            if let Some(Request::RequestDeleteRange(delete)) = &op.request {
                touched.deletes.add_range(&delete.key, &delete.range_end);
            }
        }
        for op in ops {
            if let Some(Request::RequestTxn(nested)) = &op.request {
                touched.add_nested(Self::of(&nested.success)?, Self::of(&nested.failure)?)?;
            }
        }
        for op in ops {
            if let Some(Request::RequestPut(put)) = &op.request {
                touched.add_put(put.key.clone())?;
            }
        }
        Ok(touched)
    }

    /// The two branches exclude each other, so they may put the same key.
    fn add_nested(&mut self, success: Self, failure: Self) -> Result<(), Status> {
        for key in &success.puts {
            self.add_put(key.clone())?;
        }
        for key in failure.puts {
            if success.puts.contains(&key) {
                continue;
            }
            self.add_put(key)?;
        }
        self.deletes.add_all(success.deletes);
        self.deletes.add_all(failure.deletes);
        Ok(())
    }

    fn add_put(&mut self, key: Bytes) -> Result<(), Status> {
        if self.deletes.contain(&key) || !self.puts.insert(key) {
            return Err(error::DUPLICATE_KEY);
        }
        Ok(())
    }
}

/// A set of keys as disjoint half-open intervals, by their start.
#[derive(Default)]
struct Intervals {
    by_start: BTreeMap<Bytes, Bytes>,
}

impl Intervals {
    fn add_range(&mut self, key: &Bytes, range_end: &Bytes) {
        if range_end.is_empty() {
            let mut next = Vec::with_capacity(key.len() + 1);
            next.extend_from_slice(key);
            next.push(0);
            self.add(key.clone(), Bytes::from(next));
        } else if key < range_end {
            self.add(key.clone(), range_end.clone());
        }
        // What is left is empty, or "from key on" (0x00), which etcd never sees as overlapping.
    }

    fn add(&mut self, mut start: Bytes, mut end: Bytes) {
        while let Some((at, until)) = self.by_start.range(..=end.clone()).next_back()
            && *until >= start
        {
            let at = at.clone();
            let until = self.by_start.remove(&at).unwrap_or_default();
            start = start.min(at);
            end = end.max(until);
        }
        self.by_start.insert(start, end);
    }

    fn add_all(&mut self, other: Self) {
        for (start, end) in other.by_start {
            self.add(start, end);
        }
    }

    fn contain(&self, key: &Bytes) -> bool {
        self.by_start.range(..=key.clone()).next_back().is_some_and(|(_, end)| key < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put_op(key: &'static str) -> RequestOp {
        let put = PutRequest { key: Bytes::from_static(key.as_bytes()), ..PutRequest::default() };
        RequestOp { request: Some(Request::RequestPut(put)) }
    }

    fn delete_op(key: &'static str, end: &'static [u8]) -> RequestOp {
        let delete = DeleteRangeRequest {
            key: Bytes::from_static(key.as_bytes()),
            range_end: Bytes::from_static(end),
            ..DeleteRangeRequest::default()
        };
        RequestOp { request: Some(Request::RequestDeleteRange(delete)) }
    }

    fn txn_op(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
        let nested = TxnRequest { compare: Vec::new(), success, failure };
        RequestOp { request: Some(Request::RequestTxn(nested)) }
    }

    fn check(success: Vec<RequestOp>) -> Result<(), Status> {
        txn(&TxnRequest { compare: Vec::new(), success, failure: Vec::new() }, 128)
    }

    #[test]
    fn a_key_is_put_once_and_never_beside_its_delete() {
        let duplicate = Err(error::DUPLICATE_KEY);
        assert_eq!(check(vec![put_op("a"), put_op("b")]), Ok(()));
        assert_eq!(check(vec![put_op("a"), put_op("a")]), duplicate);
        assert_eq!(check(vec![put_op("a"), delete_op("a", b"")]), duplicate);
        assert_eq!(check(vec![delete_op("a", b"c"), put_op("b")]), duplicate);
        assert_eq!(check(vec![delete_op("a", b"c"), put_op("c")]), Ok(()));
        assert_eq!(check(vec![delete_op("a", b"c"), delete_op("b", b"d")]), Ok(()));
    }

    #[test]
    fn a_delete_to_the_end_of_all_keys_overlaps_nothing() {
        assert_eq!(check(vec![put_op("a"), delete_op("a", b"\0")]), Ok(()));
    }

    #[test]
    fn branches_of_one_nested_txn_may_share_keys_and_siblings_may_not() {
        let duplicate = Err(error::DUPLICATE_KEY);
        assert_eq!(check(vec![txn_op(vec![put_op("a")], vec![put_op("a")])]), Ok(()));
        let sibling = || txn_op(vec![put_op("a")], vec![]);
        assert_eq!(check(vec![sibling(), sibling()]), duplicate);
        assert_eq!(check(vec![sibling(), put_op("a")]), duplicate);
    }

    #[test]
    fn the_order_of_sibling_txns_decides_between_put_and_delete() {
        let puts = || txn_op(vec![put_op("a")], vec![]);
        let deletes = || txn_op(vec![delete_op("a", b"")], vec![]);
        assert_eq!(check(vec![puts(), deletes()]), Ok(()));
        assert_eq!(check(vec![deletes(), puts()]), Err(error::DUPLICATE_KEY));
    }

    #[test]
    fn the_budget_of_operations_shrinks_with_depth() {
        let ops = |n| (0..n).map(|_| delete_op("a", b"")).collect::<Vec<_>>();
        assert_eq!(check(ops(128)), Ok(()));
        assert_eq!(check(ops(129)), Err(error::TOO_MANY_OPS));
        assert_eq!(check(vec![txn_op(ops(127), vec![])]), Ok(()));
        assert_eq!(check(vec![txn_op(ops(128), vec![])]), Err(error::TOO_MANY_OPS));
    }

    #[test]
    fn transactions_lie_only_so_deep_in_each_other() {
        let nest = |levels| (1..levels).fold(put_op("a"), |op, _| txn_op(vec![op], vec![]));
        assert_eq!(check(vec![nest(MAX_DEPTH)]), Ok(()));
        assert_eq!(check(vec![nest(MAX_DEPTH + 1)]), Err(error::TOO_MANY_OPS));
    }

    #[test]
    fn an_operation_without_a_kind_is_key_not_found() {
        assert_eq!(check(vec![RequestOp { request: None }]), Err(error::KEY_NOT_FOUND));
    }

    #[test]
    fn overlapping_intervals_merge() {
        let mut set = Intervals::default();
        let key = |text: &'static str| Bytes::from_static(text.as_bytes());
        set.add(key("a"), key("c"));
        set.add(key("e"), key("g"));
        set.add(key("b"), key("f"));
        assert_eq!(set.by_start.into_iter().collect::<Vec<_>>(), [(key("a"), key("g"))]);
    }
}
