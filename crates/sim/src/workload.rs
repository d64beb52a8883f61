//! What clients ask, from a seed.

use bytes::Bytes;
use env::Random;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{
    AlarmRequest, AlarmType, CompactionRequest, Compare, DeleteRangeRequest, InternalRaftRequest,
    LeaseCheckpoint, LeaseCheckpointRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest,
    RangeRequest, RequestOp, TxnRequest,
};
use proto::membershippb::{Attributes, ClusterMemberAttrSetRequest, ClusterVersionSetRequest};

const KEYS: u64 = 12;
const LEASES: u64 = 5;

/// What a request may build on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Around {
    pub(crate) member_id: u64,
    pub(crate) revision: i64,
    /// Checkpoints of leases are kept only once the cluster has a version.
    pub(crate) has_version: bool,
    pub(crate) has_alarm: bool,
}

/// Makes requests.
#[derive(Debug)]
pub(crate) struct Workload {
    random: Random,
    made: u64,
    largest_value: usize,
}

impl Workload {
    pub(crate) fn new(mut random: Random) -> Self {
        let largest_value = [20, 300, 3000, 9000][random.index(4)];
        Self { random, made: 0, largest_value }
    }

    pub(crate) fn request(&mut self, around: Around) -> InternalRaftRequest {
        self.made += 1;
        let mut request = InternalRaftRequest::default();
        match self.random.below(100) {
            _ if around.has_alarm && self.random.chance(1, 4) => {
                request.alarm = Some(self.alarm(around.member_id, AlarmAction::Deactivate));
            }
            0..45 => request.put = Some(self.put(true)),
            45..55 => request.delete_range = Some(self.delete()),
            55..73 => request.txn = Some(self.txn(around.revision, 2)),
            73..79 => {
                let (id, ttl) = (self.lease(), self.number(9));
                request.lease_grant = Some(LeaseGrantRequest { id, ttl });
            }
            79..83 => request.lease_revoke = Some(LeaseRevokeRequest { id: self.lease() }),
            83..86 if around.has_version => {
                let checkpoint =
                    LeaseCheckpoint { id: self.lease(), remaining_ttl: self.number(4) };
                let checkpoints = vec![checkpoint];
                request.lease_checkpoint = Some(LeaseCheckpointRequest { checkpoints });
            }
            86..92 => {
                // Mostly one that is possible, at times an old or a future one.
                let revision = self.number(around.revision.unsigned_abs() + 2);
                request.compaction = Some(CompactionRequest { revision, physical: false });
            }
            92..94 => request.alarm = Some(self.alarm(around.member_id, AlarmAction::Activate)),
            94..96 => request.cluster_member_attr_set = Some(Box::new(self.publish(around))),
            96..98 => {
                let ver = "3.7.0".to_owned();
                request.cluster_version_set = Some(Box::new(ClusterVersionSetRequest { ver }));
            }
            _ => request.alarm = Some(self.alarm(around.member_id, AlarmAction::Get)),
        }
        request
    }

    /// A range, of now or of the past.
    pub(crate) fn range(&mut self, revision: i64, oldest: i64) -> RangeRequest {
        let oldest = oldest.max(1);
        let past = oldest + self.number((revision - oldest + 1).unsigned_abs());
        RangeRequest {
            key: self.key(),
            range_end: self.end(),
            limit: if self.random.chance(1, 3) { self.number(5) } else { 0 },
            revision: if self.random.chance(1, 2) { past } else { 0 },
            sort_order: if self.random.chance(1, 4) { 2 } else { 0 },
            keys_only: self.random.chance(1, 6),
            count_only: self.random.chance(1, 6),
            ..RangeRequest::default()
        }
    }

    fn number(&mut self, below: u64) -> i64 {
        i64::try_from(self.random.below(below)).expect("a small number")
    }

    fn lease(&mut self) -> i64 {
        self.number(LEASES)
    }

    fn key(&mut self) -> Bytes {
        format!("k{:02}", self.random.below(KEYS)).into()
    }

    fn end(&mut self) -> Bytes {
        match self.random.below(4) {
            0 => Bytes::from_static(b"\0"),
            1 => self.key(),
            _ => Bytes::new(),
        }
    }

    /// Every value is another one.
    fn value(&mut self) -> Bytes {
        let largest = if self.random.chance(1, 4) { self.largest_value } else { 20 };
        let mut value = format!("{}.", self.made).into_bytes();
        let len = value.len() + self.random.index(largest);
        let filling = b'a' + (self.made % 26) as u8;
        value.resize(len, filling);
        value.into()
    }

    fn put(&mut self, may_keep: bool) -> PutRequest {
        let keeps = may_keep && self.random.chance(1, 8);
        let keeps_lease = may_keep && self.random.chance(1, 8);
        let hangs = !keeps_lease && self.random.chance(1, 3);
        PutRequest {
            key: self.key(),
            value: if keeps { Bytes::new() } else { self.value() },
            lease: if hangs { self.lease() } else { 0 },
            prev_kv: self.random.chance(1, 3),
            ignore_value: keeps,
            ignore_lease: keeps_lease,
        }
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        // Mostly one key, so that something is left.
        let range_end = if self.random.chance(1, 3) { self.end() } else { Bytes::new() };
        DeleteRangeRequest { key: self.key(), range_end, prev_kv: self.random.chance(1, 3) }
    }

    fn txn(&mut self, revision: i64, depth: u64) -> TxnRequest {
        let compare = (0..self.random.below(3)).map(|_| self.compare(revision)).collect();
        let success = (0..self.random.below(4)).map(|_| self.op(revision, depth)).collect();
        let failure = (0..self.random.below(4)).map(|_| self.op(revision, depth)).collect();
        TxnRequest { compare, success, failure }
    }

    fn op(&mut self, revision: i64, depth: u64) -> RequestOp {
        let request = match self.random.below(10) {
            // What keeps a part of a key that the txn has deleted has no answer in etcd.
            0..5 => Request::RequestPut(self.put(false)),
            5..7 => Request::RequestDeleteRange(self.delete()),
            7 if depth > 0 => Request::RequestTxn(self.txn(revision, depth - 1)),
            _ => Request::RequestRange(self.range(revision, 1)),
        };
        RequestOp { request: Some(request) }
    }

    fn compare(&mut self, revision: i64) -> Compare {
        let mut about = self.number(revision.unsigned_abs() + 1);
        let (target, operand) = match self.random.below(5) {
            0 => {
                about = self.number(3);
                (CompareTarget::Version, TargetUnion::Version(about))
            }
            1 => (CompareTarget::Create, TargetUnion::CreateRevision(about)),
            2 => (CompareTarget::Mod, TargetUnion::ModRevision(about)),
            3 => (CompareTarget::Lease, TargetUnion::Lease(self.lease())),
            _ => (CompareTarget::Value, TargetUnion::Value(self.value())),
        };
        let results = [
            CompareResult::Equal,
            CompareResult::Greater,
            CompareResult::Less,
            CompareResult::NotEqual,
        ];
        Compare {
            result: results[self.random.index(4)] as i32,
            target: target as i32,
            key: self.key(),
            range_end: self.end(),
            target_union: Some(operand),
        }
    }

    fn alarm(&mut self, member_id: u64, action: AlarmAction) -> AlarmRequest {
        let kinds = [AlarmType::Nospace, AlarmType::Corrupt];
        let alarm = match (action, self.random.below(3)) {
            (AlarmAction::Get, _) => 0,
            // One that a later etcd may know stops nothing.
            (_, 2) => 9,
            (_, kind) => kinds[usize::from(kind == 1)] as i32,
        };
        AlarmRequest { action: action as i32, member_id, alarm }
    }

    fn publish(&mut self, around: Around) -> ClusterMemberAttrSetRequest {
        let attributes = Attributes {
            name: "simulated".to_owned(),
            client_urls: vec![format!("http://127.0.0.1:{}", self.made)],
        };
        ClusterMemberAttrSetRequest {
            member_id: around.member_id,
            member_attributes: Some(attributes),
        }
    }
}
