//! Random requests, held against a model that does the plain thing with plain maps.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{
    Compare, DeleteRangeRequest, InternalRaftRequest, PutRequest, RangeRequest, RequestOp,
    TxnRequest,
};
use state::{LeaseId, Options};

use crate::kit::{Machine, bytes, on_grant, on_revoke, on_txn, op};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    value: String,
    create: i64,
    modified: i64,
    version: i64,
    lease: i64,
}

/// The keys as a plain map, changed by plain words.
#[derive(Debug, Clone)]
struct Model {
    rows: BTreeMap<String, Row>,
    revision: i64,
    leases: BTreeSet<i64>,
}

impl Model {
    fn new() -> Self {
        Self { rows: BTreeMap::new(), revision: 1, leases: BTreeSet::new() }
    }

    fn keys(&self, key: &[u8], end: &[u8]) -> Vec<String> {
        let inside = |candidate: &[u8]| match end {
            [] => candidate == key,
            [0] => candidate >= key,
            end => candidate >= key && candidate < end,
        };
        self.rows.keys().filter(|candidate| inside(candidate.as_bytes())).cloned().collect()
    }

    fn holds(&self, compare: &Compare) -> bool {
        let keys = self.keys(&compare.key, &compare.range_end);
        let Some(TargetUnion::Version(wanted)) = compare.target_union else {
            let Some(TargetUnion::Value(wanted)) = &compare.target_union else { return false };
            let right = |key: &String| self.rows[key].value.as_bytes() == wanted.as_ref();
            return !keys.is_empty() && keys.iter().all(right);
        };
        let right = |version: i64| match compare.result {
            0 => version == wanted,
            1 => version > wanted,
            2 => version < wanted,
            _ => version != wanted,
        };
        if keys.is_empty() {
            return right(0);
        }
        keys.iter().all(|key| right(self.rows[key].version))
    }

    /// The operations that a txn comes to, nested ones in their place.
    fn flatten<'a>(&self, txn: &'a TxnRequest, into: &mut Vec<&'a RequestOp>) {
        let all = txn.compare.iter().all(|compare| self.holds(compare));
        for op in if all { &txn.success } else { &txn.failure } {
            match &op.request {
                Some(Request::RequestTxn(nested)) => self.flatten(nested, into),
                _ => into.push(op),
            }
        }
    }

    /// Whether the txn was done.
    fn txn(&mut self, txn: &TxnRequest) -> bool {
        let mut ops = Vec::new();
        self.flatten(txn, &mut ops);
        let before = self.clone();
        let refused = |op: &&RequestOp| match &op.request {
            Some(Request::RequestPut(put)) => {
                let missing = !before.rows.contains_key(&text(&put.key));
                (put.lease != 0 && !before.leases.contains(&put.lease))
                    || ((put.ignore_value || put.ignore_lease) && missing)
            }
            Some(Request::RequestRange(range)) => range.revision > before.revision,
            _ => false,
        };
        if ops.iter().any(refused) {
            return false;
        }
        let mut changed = false;
        for op in ops {
            match &op.request {
                Some(Request::RequestPut(put)) => {
                    self.put(put);
                    changed = true;
                }
                Some(Request::RequestDeleteRange(delete)) => {
                    for key in self.keys(&delete.key, &delete.range_end) {
                        self.rows.remove(&key);
                        changed = true;
                    }
                }
                _ => {}
            }
        }
        self.revision += i64::from(changed);
        true
    }

    fn put(&mut self, put: &PutRequest) {
        let main = self.revision + 1;
        let old = self.rows.get(&text(&put.key)).cloned();
        let row = Row {
            value: match &old {
                Some(old) if put.ignore_value => old.value.clone(),
                _ => text(&put.value),
            },
            create: old.as_ref().map_or(main, |old| old.create),
            modified: main,
            version: old.as_ref().map_or(1, |old| old.version + 1),
            lease: match &old {
                Some(old) if put.ignore_lease => old.lease,
                _ => put.lease,
            },
        };
        self.rows.insert(text(&put.key), row);
    }

    fn revoke(&mut self, id: i64) {
        if self.leases.remove(&id) {
            let before = self.rows.len();
            self.rows.retain(|_, row| row.lease != id);
            self.revision += i64::from(self.rows.len() < before);
        }
    }

    fn lines(&self) -> Vec<String> {
        let line = |(key, row): (&String, &Row)| {
            let Row { value, create, modified, version, lease } = row;
            format!("{key}={value} {create}/{modified}/{version}/{lease}")
        };
        self.rows.iter().map(line).collect()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn key() -> impl Strategy<Value = String> {
    "[a-d]{1,2}"
}

fn end() -> impl Strategy<Value = String> {
    prop_oneof![2 => Just(String::new()), 1 => Just("\0".to_owned()), 2 => key()]
}

fn compare() -> impl Strategy<Value = Compare> {
    let operand = prop_oneof![
        (0..3_i64).prop_map(TargetUnion::Version),
        "[xy]?".prop_map(|value| TargetUnion::Value(bytes(&value))),
    ];
    (key(), end(), 0..4_i32, operand).prop_map(|(key, end, result, operand)| {
        let is_value = matches!(operand, TargetUnion::Value(_));
        let target = if is_value { CompareTarget::Value } else { CompareTarget::Version };
        // Values are asked for equality only.
        let result = if is_value { CompareResult::Equal as i32 } else { result };
        Compare {
            key: bytes(&key),
            range_end: bytes(&end),
            result,
            target: target as i32,
            target_union: Some(operand),
        }
    })
}

fn put() -> impl Strategy<Value = Request> {
    (key(), "[xy]?", 0..4_i64, prop::bool::weighted(0.2), prop::bool::weighted(0.2)).prop_map(
        |(key, value, lease, ignore_value, ignore_lease)| {
            // Key after key of one txn: deleted and kept at once would have no answer.
            Request::RequestPut(PutRequest {
                key: bytes(&key),
                value: bytes(if ignore_value { "" } else { &value }),
                lease: if ignore_lease { 0 } else { lease },
                ignore_value,
                ignore_lease,
                prev_kv: true,
            })
        },
    )
}

fn simple_op() -> impl Strategy<Value = RequestOp> {
    prop_oneof![
        4 => put(),
        2 => (key(), end()).prop_map(|(key, end)| Request::RequestDeleteRange(
            DeleteRangeRequest { key: bytes(&key), range_end: bytes(&end), prev_kv: true }
        )),
        1 => (key(), end(), 0..9_i64).prop_map(|(key, end, revision)| Request::RequestRange(
            RangeRequest {
                key: bytes(&key),
                range_end: bytes(&end),
                revision,
                ..RangeRequest::default()
            }
        )),
    ]
    .prop_map(op)
}

fn txn() -> impl Strategy<Value = TxnRequest> {
    let branches = |op: BoxedStrategy<RequestOp>| {
        let ops = prop::collection::vec(op, 0..4);
        (prop::collection::vec(compare(), 0..3), ops.clone(), ops)
            .prop_map(|(compare, success, failure)| TxnRequest { compare, success, failure })
    };
    let simple = branches(simple_op().boxed());
    simple.prop_recursive(2, 8, 3, move |inner| {
        let nested = inner.prop_map(|txn| op(Request::RequestTxn(txn)));
        branches(prop_oneof![3 => simple_op(), 1 => nested].boxed())
    })
}

#[derive(Debug, Clone)]
enum Step {
    Txn(TxnRequest),
    Grant(i64),
    Revoke(i64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => txn().prop_map(Step::Txn),
        2 => (1..4_i64).prop_map(Step::Grant),
        2 => (1..4_i64).prop_map(Step::Revoke),
        1 => Just(Step::Restart),
    ]
}

/// A delete and a put that keeps something of the same key, in one txn, have no answer in etcd;
/// its door lets no such txn in.
fn is_answerable(txn: &TxnRequest) -> bool {
    let mut kept = BTreeSet::new();
    let mut deletes = false;
    let mut todo = vec![txn];
    while let Some(txn) = todo.pop() {
        for op in txn.success.iter().chain(&txn.failure) {
            match &op.request {
                Some(Request::RequestPut(put)) if put.ignore_value || put.ignore_lease => {
                    kept.insert(put.key.clone());
                }
                Some(Request::RequestDeleteRange(_)) => deletes = true,
                Some(Request::RequestTxn(nested)) => todo.push(nested),
                _ => {}
            }
        }
    }
    kept.is_empty() || !deletes
}

fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut machine = Machine::new();
    let mut model = Model::new();
    for step in steps {
        match step {
            Step::Txn(txn) => {
                if !is_answerable(&txn) {
                    continue;
                }
                let done = model.txn(&txn);
                let request: InternalRaftRequest = on_txn(txn);
                prop_assert_eq!(machine.outcome(&request).is_ok(), done);
            }
            Step::Grant(id) => {
                let is_new = model.leases.insert(id);
                prop_assert_eq!(machine.outcome(&on_grant(id, 9)).is_ok(), is_new);
            }
            Step::Revoke(id) => {
                let known = model.leases.contains(&id);
                model.revoke(id);
                prop_assert_eq!(machine.outcome(&on_revoke(id)).is_ok(), known);
            }
            Step::Restart => machine = machine.restart(Options::default()),
        }
        prop_assert_eq!(machine.rows(), model.lines());
        prop_assert_eq!(machine.revision(), model.revision);
        for &id in &model.leases {
            let keys = machine.state.views().leases.keys(LeaseId(id)).expect("granted");
            let keys: Vec<String> = keys.iter().map(|key| text(key)).collect();
            let hanging = model.rows.iter().filter(|(_, row)| row.lease == id);
            let expected: Vec<String> = hanging.map(|(key, _)| key.clone()).collect();
            prop_assert_eq!(keys, expected);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn random_txns_and_leases_do_what_the_model_does(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        run(steps)?;
    }
}
