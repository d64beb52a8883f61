//! What clients of a cluster ask, from a seed.

use std::collections::BTreeMap;

use bytes::Bytes;
use env::Random;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request as Op;
use proto::etcdserverpb::{
    AlarmRequest, AlarmType, CompactionRequest, Compare, DeleteRangeRequest, InternalRaftRequest,
    LeaseGrantRequest, LeaseRevokeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};

use crate::check::{Answer, Request};

const KEYS: u64 = 7;

/// What a client asks.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ask {
    /// Of the keys; what does not only read goes through the log.
    Keys(Request),
    /// A lease.
    Grant { id: i64, ttl: i64 },
    /// That a lease lives on.
    Renew { id: i64 },
    /// What no history of keys has.
    Other(Box<InternalRaftRequest>),
}

impl Ask {
    /// As it stands in the log; a range never does.
    pub(super) fn to_request(&self) -> Option<InternalRaftRequest> {
        let mut request = InternalRaftRequest::default();
        match self {
            Self::Keys(Request::Put(put)) => request.put = Some(put.clone()),
            Self::Keys(Request::DeleteRange(delete)) => request.delete_range = Some(delete.clone()),
            Self::Keys(Request::Txn(txn)) => request.txn = Some(txn.clone()),
            Self::Keys(Request::LeaseRevoke(id)) => {
                request.lease_revoke = Some(LeaseRevokeRequest { id: *id });
            }
            Self::Grant { id, ttl } => {
                request.lease_grant = Some(LeaseGrantRequest { id: *id, ttl: *ttl });
            }
            Self::Other(other) => request = (**other).clone(),
            Self::Keys(Request::Range(_)) | Self::Renew { .. } => return None,
        }
        Some(request)
    }
}

/// Makes up what one client asks.
#[derive(Debug)]
pub(super) struct Asks {
    random: Random,
    client: usize,
    made: u64,
    largest_value: usize,
    /// The newest revision of each key that it knows of.
    known: BTreeMap<Bytes, i64>,
    revision: i64,
    pub(super) leases: Vec<i64>,
}

impl Asks {
    pub(super) fn new(mut random: Random, client: usize) -> Self {
        let largest_value = [20, 20, 300, 2000][random.index(4)];
        let (known, leases) = Default::default();
        Self { random, client, made: 0, largest_value, known, revision: 1, leases }
    }

    /// Learns from an answer.
    pub(super) fn learn(&mut self, answer: &Answer) {
        self.revision = self.revision.max(answer.revision());
        for kv in answer.kvs() {
            self.known.insert(kv.key.clone(), kv.mod_revision);
        }
    }

    pub(super) fn next(&mut self) -> Ask {
        self.made += 1;
        match self.random.below(100) {
            0..30 => Ask::Keys(Request::Put(self.put())),
            30..40 => Ask::Keys(Request::DeleteRange(self.delete())),
            40..58 => Ask::Keys(Request::Txn(self.txn())),
            58..83 => Ask::Keys(Request::Range(self.range())),
            83..87 => self.grant(),
            87..94 => match self.lease() {
                Some(id) => Ask::Renew { id },
                None => self.grant(),
            },
            94..96 => match self.lease() {
                Some(id) => Ask::Keys(Request::LeaseRevoke(id)),
                None => self.grant(),
            },
            96..99 => self.compaction(),
            _ => self.alarm(),
        }
    }

    /// A read of a key, and nothing else.
    pub(super) fn read(&mut self) -> Ask {
        let range = RangeRequest { key: self.key(), ..RangeRequest::default() };
        Ask::Keys(Request::Range(range))
    }

    /// A write, and nothing else.
    pub(super) fn write(&mut self) -> Ask {
        self.made += 1;
        Ask::Keys(Request::Put(PutRequest { lease: 0, ..self.put() }))
    }

    fn number(&mut self, below: i64) -> i64 {
        self.random.below(below.unsigned_abs()) as i64
    }

    fn key(&mut self) -> Bytes {
        format!("k{}", self.random.below(KEYS)).into()
    }

    fn lease(&mut self) -> Option<i64> {
        let count = self.leases.len();
        // The newest ones live the longest.
        (count > 0).then(|| self.leases[count - 1 - self.random.index(count.min(3))])
    }

    /// Every value is another one.
    fn value(&mut self) -> Bytes {
        let mut value = format!("{}.{}.", self.client, self.made).into_bytes();
        if self.random.chance(1, 8) {
            let len = value.len() + self.random.index(self.largest_value);
            value.resize(len, b'a' + (self.made % 26) as u8);
        }
        value.into()
    }

    fn put(&mut self) -> PutRequest {
        let hangs = self.random.chance(1, 4);
        PutRequest {
            key: self.key(),
            value: self.value(),
            lease: if hangs { self.lease().unwrap_or(0) } else { 0 },
            prev_kv: self.random.chance(1, 3),
            ..PutRequest::default()
        }
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        let range_end = if self.random.chance(1, 6) { self.key() } else { Bytes::new() };
        DeleteRangeRequest { key: self.key(), range_end, prev_kv: self.random.chance(1, 2) }
    }

    fn range(&mut self) -> RangeRequest {
        let range_end = match self.random.below(4) {
            0 => Bytes::from_static(b"\0"),
            1 => self.key(),
            _ => Bytes::new(),
        };
        let back = if self.random.chance(1, 6) { self.number(20) } else { self.revision };
        RangeRequest {
            key: self.key(),
            range_end,
            limit: if self.random.chance(1, 4) { self.number(4) } else { 0 },
            revision: (self.revision - back).max(0),
            serializable: self.random.chance(1, 6),
            count_only: self.random.chance(1, 10),
            ..RangeRequest::default()
        }
    }

    /// Compares a key with what is known of it, and writes it or reads it; at times more than that.
    fn txn(&mut self) -> TxnRequest {
        let key = self.key();
        let known = self.known.get(&key).copied().unwrap_or(0);
        let expected = if self.random.chance(1, 8) { known + 1 } else { known };
        let compare = Compare {
            result: CompareResult::Equal as i32,
            target: CompareTarget::Mod as i32,
            key: key.clone(),
            range_end: Bytes::new(),
            target_union: Some(TargetUnion::ModRevision(expected)),
        };
        let put = PutRequest { key: key.clone(), ..self.put() };
        let mut success = vec![Op::RequestPut(put)];
        if self.random.chance(1, 3) {
            // Another key, or the same one where the put is left out.
            let other = DeleteRangeRequest { range_end: Bytes::new(), ..self.delete() };
            if other.key != key {
                success.push(Op::RequestDeleteRange(other));
            }
        }
        let read = RangeRequest { key, ..RangeRequest::default() };
        let all = RangeRequest {
            key: Bytes::from_static(b"k"),
            range_end: Bytes::from_static(b"l"),
            ..RangeRequest::default()
        };
        success.extend(self.random.chance(1, 4).then_some(Op::RequestRange(all)));
        let op = |op| RequestOp { request: Some(op) };
        TxnRequest {
            compare: vec![compare],
            success: success.into_iter().map(op).collect(),
            failure: vec![op(Op::RequestRange(read))],
        }
    }

    fn grant(&mut self) -> Ask {
        let id = (self.client as i64 + 1) * 1_000_000 + self.made as i64;
        Ask::Grant { id, ttl: 1 + self.number(7) }
    }

    fn compaction(&mut self) -> Ask {
        let revision = (self.revision - self.number(30)).max(1);
        let compaction = Some(CompactionRequest { revision, physical: false });
        Ask::Other(Box::new(InternalRaftRequest { compaction, ..Default::default() }))
    }

    /// One that a later etcd may know stops nothing.
    fn alarm(&mut self) -> Ask {
        let actions = [AlarmAction::Activate, AlarmAction::Deactivate, AlarmAction::Get];
        let action = actions[self.random.index(3)];
        let kind = if action == AlarmAction::Get { AlarmType::None as i32 } else { 9 };
        let alarm = AlarmRequest { action: action as i32, member_id: 77, alarm: kind };
        Ask::Other(Box::new(InternalRaftRequest { alarm: Some(alarm), ..Default::default() }))
    }
}
