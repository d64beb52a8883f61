//! The keys that live, and what a request does to them: the plain thing, done with a plain map.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::Bytes;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request as Op;
use proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};
use proto::mvccpb::KeyValue;

use super::{Answer, Request};

/// The rows at one moment.
pub(crate) type Rows = BTreeMap<Bytes, KeyValue>;

/// A change of a key, as a watcher sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// A deletion.
    pub deleted: bool,
    /// Of a deletion: only key and revision.
    pub kv: KeyValue,
    /// The pair before.
    pub prev_kv: Option<KeyValue>,
}

/// Where a range of an older revision finds its rows.
pub(crate) type Past<'a> = &'a dyn Fn(i64) -> Option<&'a Rows>;

/// A store of keys that can be taken back.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    pub(crate) rows: Rows,
    pub(crate) revision: i64,
    /// All changes since it was made.
    pub(crate) changes: Vec<Change>,
    /// Depends on the rows alone, not on how they came to be.
    sum: u64,
}

impl Keys {
    pub(crate) fn new(revision: i64, rows: impl IntoIterator<Item = KeyValue>) -> Self {
        let mut keys = Self { rows: Rows::new(), revision, changes: Vec::new(), sum: 0 };
        for row in rows {
            keys.set(row.key.clone(), Some(row));
        }
        keys
    }

    /// A number for the rows: equal rows have equal ones.
    pub(crate) fn sum(&self) -> u64 {
        self.sum
    }

    fn set(&mut self, key: Bytes, row: Option<KeyValue>) -> Option<KeyValue> {
        let number = |row: &KeyValue| {
            let mut hasher = DefaultHasher::new();
            row.hash(&mut hasher);
            hasher.finish()
        };
        self.sum = self.sum.wrapping_add(row.as_ref().map_or(0, number));
        let before = match row {
            Some(row) => self.rows.insert(key, row),
            None => self.rows.remove(&key),
        };
        self.sum = self.sum.wrapping_sub(before.as_ref().map_or(0, number));
        before
    }

    /// Takes back all changes but the first so many.
    pub(crate) fn take_back(&mut self, kept: usize, revision: i64) {
        while self.changes.len() > kept
            && let Some(change) = self.changes.pop()
        {
            self.set(change.kv.key, change.prev_kv);
        }
        self.revision = revision;
    }

    /// Does what a request asks for; `None` where it cannot be done, and then nothing is. Whether
    /// leases exist is not looked at.
    pub(crate) fn apply(&mut self, request: &Request, past: Past<'_>) -> Option<Answer> {
        let before = self.changes.len();
        let answer = match request {
            Request::Range(range) => self.range(range, self.revision, past),
            Request::Put(put) => self.may_put(put).then(|| self.put(put, self.revision + 1))?,
            Request::DeleteRange(delete) => self.delete(delete, self.revision + 1),
            Request::Txn(txn) => {
                let branch = Branch::of(&self.rows, txn);
                if !self.may(&branch) {
                    return None;
                }
                let ops = self.branch(&branch, before, past);
                Answer::Txn { revision: self.revision_after(before), succeeded: branch.holds, ops }
            }
            Request::LeaseRevoke(lease) => {
                for key in keys_of(&self.rows, *lease) {
                    self.delete_key(&key, self.revision + 1);
                }
                Answer::Revoke { revision: self.revision_after(before) }
            }
        };
        self.revision = self.revision_after(before);
        Some(answer)
    }

    /// The revision once what was begun with so many changes is done.
    fn revision_after(&self, before: usize) -> i64 {
        self.revision + i64::from(self.changes.len() > before)
    }

    fn may_put(&self, put: &PutRequest) -> bool {
        !(put.ignore_value || put.ignore_lease) || self.rows.contains_key(&put.key)
    }

    fn may(&self, branch: &Branch<'_>) -> bool {
        branch.ops.iter().all(|(op, nested)| match (op, nested) {
            (Some(Op::RequestPut(put)), _) => self.may_put(put),
            (_, Some(nested)) => self.may(nested),
            _ => true,
        })
    }

    fn branch(&mut self, branch: &Branch<'_>, before: usize, past: Past<'_>) -> Vec<Answer> {
        let main = self.revision + 1;
        let answers = branch.ops.iter().map(|(op, nested)| match op {
            Some(Op::RequestRange(range)) => self.range(range, self.revision_after(before), past),
            Some(Op::RequestPut(put)) => self.put(put, main),
            Some(Op::RequestDeleteRange(delete)) => {
                let Answer::Delete { deleted, prev_kvs, .. } = self.delete(delete, main) else {
                    return Answer::Empty;
                };
                Answer::Delete { revision: self.revision_after(before), deleted, prev_kvs }
            }
            Some(Op::RequestTxn(_)) => match nested {
                // As in etcd, the header of a nested txn is empty.
                Some(nested) => Answer::Txn {
                    revision: 0,
                    succeeded: nested.holds,
                    ops: self.branch(nested, before, past),
                },
                None => Answer::Empty,
            },
            None => Answer::Empty,
        });
        answers.collect()
    }

    fn range(&self, range: &RangeRequest, revision: i64, past: Past<'_>) -> Answer {
        let rows = match range.revision {
            0 => Some(&self.rows),
            asked if asked > self.revision => Some(&self.rows),
            asked => past(asked),
        };
        let none = Rows::new();
        read(rows.unwrap_or(&none), range, revision)
    }

    fn put(&mut self, put: &PutRequest, main: i64) -> Answer {
        let old = self.rows.get(&put.key);
        let row = KeyValue {
            key: put.key.clone(),
            value: match old {
                Some(old) if put.ignore_value => old.value.clone(),
                _ => put.value.clone(),
            },
            create_revision: old.map_or(main, |old| old.create_revision),
            mod_revision: main,
            version: old.map_or(1, |old| old.version + 1),
            lease: match old {
                Some(old) if put.ignore_lease => old.lease,
                _ => put.lease,
            },
        };
        let old = self.set(put.key.clone(), Some(row.clone()));
        self.changes.push(Change { deleted: false, kv: row, prev_kv: old.clone() });
        Answer::Put { revision: main, prev_kv: old.filter(|_| put.prev_kv) }
    }

    fn delete(&mut self, delete: &DeleteRangeRequest, main: i64) -> Answer {
        let found = select(&self.rows, &delete.key, &delete.range_end);
        let found: Vec<KeyValue> = found.cloned().collect();
        found.iter().for_each(|kv| self.delete_key(&kv.key, main));
        let revision = main - i64::from(found.is_empty());
        let deleted = found.len();
        Answer::Delete { revision, deleted, prev_kvs: if delete.prev_kv { found } else { vec![] } }
    }

    fn delete_key(&mut self, key: &Bytes, main: i64) {
        if let Some(old) = self.set(key.clone(), None) {
            let kv = KeyValue { key: key.clone(), mod_revision: main, ..KeyValue::default() };
            self.changes.push(Change { deleted: true, kv, prev_kv: Some(old) });
        }
    }
}

/// The side of a txn that is taken. All compares, also those of nested ones, look at the keys
/// before the txn.
struct Branch<'a> {
    holds: bool,
    ops: Vec<(Option<&'a Op>, Option<Branch<'a>>)>,
}

impl<'a> Branch<'a> {
    fn of(rows: &Rows, txn: &'a TxnRequest) -> Self {
        let holds = txn.compare.iter().all(|compare| holds(rows, compare));
        let ops: &[RequestOp] = if holds { &txn.success } else { &txn.failure };
        let ops = ops.iter().map(|op| match &op.request {
            Some(op @ Op::RequestTxn(nested)) => (Some(op), Some(Branch::of(rows, nested))),
            op => (op.as_ref(), None),
        });
        Self { holds, ops: ops.collect() }
    }
}

/// The keys that hang on a lease.
pub(crate) fn keys_of(rows: &Rows, lease: i64) -> Vec<Bytes> {
    rows.values().filter(|kv| kv.lease == lease).map(|kv| kv.key.clone()).collect()
}

fn select<'a>(rows: &'a Rows, key: &'a [u8], end: &'a [u8]) -> impl Iterator<Item = &'a KeyValue> {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    let one;
    let end = match end {
        [] => {
            one = [key, &[0]].concat();
            Excluded(Bytes::from(one))
        }
        [0] => Unbounded,
        end => Excluded(Bytes::copy_from_slice(end)),
    };
    // A range that ends before it begins is empty; the map would not have it.
    let turned = matches!(&end, Excluded(end) if end.as_ref() < key);
    let end = if turned { Excluded(Bytes::copy_from_slice(key)) } else { end };
    rows.range((Included(Bytes::copy_from_slice(key)), end)).map(|(_, kv)| kv)
}

/// The rows that a range shows, in the order of keys or against it.
pub(crate) fn read(rows: &Rows, range: &RangeRequest, revision: i64) -> Answer {
    let found = select(rows, &range.key, &range.range_end);
    if range.count_only {
        return Answer::Range { revision, count: found.count(), more: false, kvs: Vec::new() };
    }
    let mut found: Vec<KeyValue> = found.cloned().collect();
    let count = found.len();
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
    Answer::Range { revision, count, more, kvs: found }
}

/// Whether a compare holds.
pub(crate) fn holds(rows: &Rows, compare: &Compare) -> bool {
    let mut found = select(rows, &compare.key, &compare.range_end).peekable();
    if found.peek().is_none() {
        let is_value = compare.target == CompareTarget::Value as i32;
        return !is_value && holds_for(compare, &KeyValue::default());
    }
    found.all(|kv| holds_for(compare, kv))
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
