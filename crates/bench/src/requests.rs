//! The requests that loads are made of.

use bytes::Bytes;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op;
use proto::etcdserverpb::{Compare, PutRequest, RangeRequest, RequestOp, TxnRequest};

use crate::grpc::frame;
use crate::options::Workload;

/// Keys of the small and of the large set.
pub(crate) const KEYS: u64 = 10_000;
pub(crate) const MANY_KEYS: u64 = 300_000;
/// Keys that a range answers with.
pub(crate) const PAGE: u64 = 1_000;

pub(crate) const PUT: &str = "/etcdserverpb.KV/Put";
pub(crate) const RANGE: &str = "/etcdserverpb.KV/Range";
pub(crate) const TXN: &str = "/etcdserverpb.KV/Txn";
pub(crate) const STATUS: &str = "/etcdserverpb.Maintenance/Status";
pub(crate) const COMPACT: &str = "/etcdserverpb.KV/Compact";
pub(crate) const HASH_KV: &str = "/etcdserverpb.Maintenance/HashKV";
pub(crate) const WATCH: &str = "/etcdserverpb.Watch/Watch";
pub(crate) const LEASE_GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
pub(crate) const LEASE_KEEPALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";

/// The name of a key; names sort like their numbers.
pub(crate) fn key(number: u64) -> Bytes {
    Bytes::from(format!("/bench/keys/{number:09}"))
}

/// A value whose bytes no compression would shorten.
pub(crate) fn value(seed: u64, length: usize) -> Bytes {
    let mut chance = Chance::new(seed);
    (0..length).map(|_| chance.next() as u8).collect()
}

/// SplitMix64: the same load each time.
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Makes the requests of one slot.
#[derive(Debug)]
pub(crate) struct Maker {
    workload: Workload,
    chance: Chance,
    value: Bytes,
    page: u64,
}

impl Maker {
    pub(crate) fn new(workload: Workload, slot: usize, value_size: usize) -> Maker {
        let mut chance = Chance::new(slot as u64);
        let page = chance.below(MANY_KEYS / PAGE);
        Maker { workload, chance, value: value(slot as u64, value_size), page }
    }

    /// The method that takes the requests.
    pub(crate) fn path(&self) -> &'static str {
        match self.workload {
            Workload::Put | Workload::PutOne | Workload::Watch => PUT,
            Workload::Txn => TXN,
            Workload::LeaseKeepalive => LEASE_KEEPALIVE,
            Workload::Get
            | Workload::GetSerializable
            | Workload::Range
            | Workload::RangeLimited => RANGE,
        }
    }

    /// The next request, framed.
    pub(crate) fn next(&mut self) -> Bytes {
        match self.workload {
            Workload::Txn => {
                let key = key(self.chance.below(KEYS));
                frame(&self.compare_and_put(key))
            }
            Workload::Get => frame(&self.get(false)),
            Workload::GetSerializable => frame(&self.get(true)),
            Workload::Range => {
                let first = self.chance.below(KEYS - PAGE);
                let (first, end) = (key(first), key(first + PAGE));
                frame(&RangeRequest { key: first, range_end: end, ..RangeRequest::default() })
            }
            Workload::RangeLimited => frame(&self.page()),
            Workload::Put | Workload::PutOne | Workload::Watch | Workload::LeaseKeepalive => {
                let key = key(self.chance.below(KEYS));
                frame(&self.put(key))
            }
        }
    }

    /// Bytes of keys and values that the answer has at least; less means a wrong answer.
    pub(crate) fn least_answer(&self) -> usize {
        match self.workload {
            Workload::Get | Workload::GetSerializable => self.value.len(),
            Workload::Range | Workload::RangeLimited => PAGE as usize * self.value.len(),
            _ => 0,
        }
    }

    fn put(&self, key: Bytes) -> PutRequest {
        PutRequest { key, value: self.value.clone(), ..PutRequest::default() }
    }

    fn get(&mut self, serializable: bool) -> RangeRequest {
        let key = key(self.chance.below(KEYS));
        RangeRequest { key, serializable, ..RangeRequest::default() }
    }

    /// Pages come one after the other, as when a large list is read.
    fn page(&mut self) -> RangeRequest {
        self.page = (self.page + 1) % (MANY_KEYS / PAGE);
        RangeRequest {
            key: key(self.page * PAGE),
            range_end: key(MANY_KEYS),
            limit: PAGE as i64,
            ..RangeRequest::default()
        }
    }

    fn compare_and_put(&self, key: Bytes) -> TxnRequest {
        let compare = Compare {
            result: CompareResult::Greater.into(),
            target: CompareTarget::Version.into(),
            key: key.clone(),
            range_end: Bytes::new(),
            target_union: Some(TargetUnion::Version(-1)),
        };
        let put = RequestOp { request: Some(request_op::Request::RequestPut(self.put(key))) };
        TxnRequest { compare: vec![compare], success: vec![put], failure: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{KEYS, Maker, PAGE, key, value};
    use crate::options::Workload;

    #[test]
    fn names_sort_like_their_numbers() {
        let numbers = [0, 9, 10, 99_999, 100_000, 299_999];
        let names: Vec<_> = numbers.iter().map(|number| key(*number)).collect();
        assert!(names.is_sorted());
    }

    #[test]
    fn a_slot_asks_the_same_each_time_and_others_ask_something_else() {
        for workload in Workload::ALL {
            let first = |slot| Maker::new(workload, slot, 16).next();
            assert_eq!(first(1), first(1), "{}", workload.name());
            let different: BTreeSet<_> = (0..20).map(first).collect();
            assert!(different.len() > 10, "{}", workload.name());
        }
        assert_ne!(value(1, 16), value(2, 16));
        assert_eq!(value(1, 16).len(), 16);
    }

    #[test]
    fn ranges_stay_inside_the_keys() {
        let mut maker = Maker::new(Workload::Range, 0, 1);
        for _ in 0..1000 {
            let request = maker.next();
            let last = key(KEYS);
            // Nothing in the request sorts behind the last key.
            let end = request.windows(last.len()).filter(|text| text.starts_with(b"/bench"));
            assert!(end.into_iter().all(|name| name <= &last[..]));
        }
        assert_eq!(maker.least_answer() as u64, PAGE);
    }
}
