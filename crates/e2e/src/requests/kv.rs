//! Requests about keys, and what of the replies two servers have in common.

use std::any::Any;

use bytes::Bytes;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, LeaseLeasesResponse, LeaseTimeToLiveResponse,
    PutRequest, RangeRequest, RequestOp, StatusResponse, TxnRequest, request_op,
};

use super::Generator;

/// Few, so that requests meet; not more than twelve, since etcd sorts more than that without
/// keeping the order of equals.
const KEYS: [&[u8]; 12] =
    [b"a", b"a\0", b"a\0b", b"ab", b"b", b"b/1", b"b/2", b"c", b"k", b"\0", b"\xff", b"\xff\xffz"];

/// Takes from a reply what depends on time, on the files, or on an order that nobody promised.
pub(super) fn settle(reply: &mut dyn Any) {
    if let Some(reply) = reply.downcast_mut::<LeaseTimeToLiveResponse>() {
        // A second may have passed on one side.
        if (0..5).contains(&(reply.granted_ttl - reply.ttl)) {
            reply.ttl = reply.granted_ttl;
        }
        reply.keys.sort();
    } else if let Some(reply) = reply.downcast_mut::<LeaseLeasesResponse>() {
        reply.leases.sort_by_key(|lease| lease.id);
    } else if let Some(reply) = reply.downcast_mut::<StatusResponse>() {
        (reply.db_size, reply.db_size_in_use) = (0, 0);
        // It follows that of the cluster within four seconds.
        reply.storage_version.clear();
        // Each build of Go's protobuf has its own taste in spaces, so that nobody relies on them.
        for error in &mut reply.errors {
            *error = error.replace("  ", " ");
        }
    }
}

impl Generator {
    fn key(&mut self) -> Bytes {
        Bytes::from_static(KEYS[self.random.index(KEYS.len())])
    }

    /// Nothing in most cases; else an end before or behind, or the end of all.
    fn range_end(&mut self) -> Bytes {
        match self.random.below(8) {
            0..4 => Bytes::new(),
            4 | 5 => self.key(),
            6 => Bytes::from_static(b"\0"),
            _ => Bytes::from_static(b"b0"),
        }
    }

    fn value(&mut self) -> Bytes {
        let length = match self.random.below(40) {
            0 => 5000 + self.random.index(5000),
            1..10 => 0,
            _ => self.random.index(60),
        };
        let mut value = vec![0; length];
        self.random.fill(&mut value);
        value.into()
    }

    /// One that is there in most cases.
    fn any_revision(&mut self) -> i64 {
        match self.random.below(12) {
            0 => self.revision + 1 + self.random.below(3) as i64,
            1 => self.compacted - 1,
            2 => -1,
            _ => self.live_revision(),
        }
    }

    fn live_revision(&mut self) -> i64 {
        self.compacted + self.random.below((self.revision - self.compacted + 1) as u64) as i64
    }

    pub(super) fn put(&mut self) -> PutRequest {
        let mut put = PutRequest {
            key: self.key(),
            value: self.value(),
            prev_kv: self.random.chance(1, 2),
            ..PutRequest::default()
        };
        match self.random.below(40) {
            0..10 => put.lease = self.lease_id(),
            10 => put.ignore_value = true,
            11 | 12 => (put.ignore_value, put.value) = (true, Bytes::new()),
            13 | 14 => put.ignore_lease = true,
            15 => (put.ignore_lease, put.lease) = (true, 1),
            16 => put.key = Bytes::new(),
            _ => {}
        }
        put
    }

    pub(super) fn delete_range(&mut self) -> DeleteRangeRequest {
        let (key, range_end) = (self.key(), self.range_end());
        DeleteRangeRequest { key, range_end, prev_kv: self.random.chance(1, 2) }
    }

    pub(super) fn range(&mut self) -> RangeRequest {
        let mut range = RangeRequest {
            key: self.key(),
            range_end: self.range_end(),
            serializable: self.random.chance(1, 4),
            keys_only: self.random.chance(1, 6),
            count_only: self.random.chance(1, 10),
            ..RangeRequest::default()
        };
        if self.random.chance(1, 3) {
            range.key = Bytes::from_static(b"\0");
            range.range_end = Bytes::from_static(b"\0");
        }
        if self.random.chance(1, 3) {
            range.revision = self.any_revision();
        }
        if self.random.chance(1, 3) {
            range.limit = self.random.below(6) as i64 - 1;
        }
        if self.random.chance(1, 4) {
            range.sort_order = self.random.below(3) as i32;
            range.sort_target = self.random.below(5) as i32;
        }
        match self.random.below(30) {
            0 => range.min_mod_revision = self.any_revision(),
            1 => range.max_mod_revision = self.any_revision(),
            2 => range.min_create_revision = self.any_revision(),
            3 => range.max_create_revision = self.any_revision(),
            4 => range.sort_order = 3,
            5 => range.sort_target = 5,
            6 => range.key = Bytes::new(),
            _ => {}
        }
        range
    }

    /// A target without an order is sorted by after all, and then etcd 3.7.1 goes on behind the
    /// wrong key and counts keys twice; so that is left out.
    pub(super) fn stream_of_range(&mut self) -> RangeRequest {
        let mut range = self.range();
        if range.sort_order == 0 {
            range.sort_target = 0;
        }
        range
    }

    pub(super) fn compaction(&mut self) -> CompactionRequest {
        let revision =
            if self.random.chance(1, 4) { self.any_revision() } else { self.live_revision() };
        CompactionRequest { revision, physical: self.random.chance(1, 2) }
    }

    /// Two things end etcd 3.7.1 with a panic, so they are left out. A put that leans on what its
    /// txn has deleted before: a txn either deletes or leans. And a key that one txn deletes and
    /// puts, where a compaction at just its revision drops the live record: that takes a delete
    /// without an end, the only one whose overlap with puts is not refused.
    pub(super) fn txn(&mut self) -> TxnRequest {
        let deletes = self.random.chance(2, 3);
        self.nested_txn(0, deletes)
    }

    fn nested_txn(&mut self, depth: u64, deletes: bool) -> TxnRequest {
        let compare = (0..self.random.below(3)).map(|_| self.compare()).collect();
        let success = self.operations(depth, deletes);
        let failure = self.operations(depth, deletes);
        TxnRequest { compare, success, failure }
    }

    fn operations(&mut self, depth: u64, deletes: bool) -> Vec<RequestOp> {
        (0..self.random.below(4)).map(|_| self.operation(depth, deletes)).collect()
    }

    fn operation(&mut self, depth: u64, deletes: bool) -> RequestOp {
        use request_op::Request::{RequestDeleteRange, RequestPut, RequestRange, RequestTxn};
        let request = match self.random.below(20) {
            0 if self.random.chance(1, 4) => return RequestOp { request: None },
            0..9 => {
                let put = self.put();
                let leans = (put.ignore_value || put.ignore_lease) && !deletes;
                RequestPut(PutRequest {
                    ignore_value: put.ignore_value && leans,
                    ignore_lease: put.ignore_lease && leans,
                    ..put
                })
            }
            9..13 if deletes => {
                let mut delete = self.delete_range();
                if delete.range_end == b"\0".as_slice() {
                    delete.range_end = Bytes::from_static(b"z");
                }
                RequestDeleteRange(delete)
            }
            13..16 if depth < 3 => RequestTxn(self.nested_txn(depth + 1, deletes)),
            _ => RequestRange(self.range()),
        };
        RequestOp { request: Some(request) }
    }

    fn compare(&mut self) -> Compare {
        use CompareTarget::{Create, Lease, Mod, Value, Version};
        let target = [Version, Create, Mod, Value, Lease][self.random.index(5)];
        let number = match self.random.below(3) {
            0 => 0,
            1 => self.live_revision(),
            _ => self.random.below(4) as i64,
        };
        let union = match target {
            Version => TargetUnion::Version(number),
            Create => TargetUnion::CreateRevision(number),
            Mod => TargetUnion::ModRevision(number),
            Value => TargetUnion::Value(self.value()),
            Lease => TargetUnion::Lease(number),
        };
        use CompareResult::{Equal, Greater, Less, NotEqual};
        let result = [Equal, Greater, Less, NotEqual][self.random.index(4)];
        Compare {
            result: result.into(),
            target: target.into(),
            key: self.key(),
            range_end: if self.random.chance(1, 5) { self.range_end() } else { Bytes::new() },
            // Sometimes nothing to compare with, which is as zero.
            target_union: Some(union).filter(|_| !self.random.chance(1, 20)),
        }
    }
}
