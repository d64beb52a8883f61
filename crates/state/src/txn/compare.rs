use std::cmp::Ordering;

use bytes::Bytes;
use mvcc::{KeyRange, KvFields};
use proto::etcdserverpb::Compare;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};

use super::{Numbers, View};
use crate::Error;

/// How many keys of a range are looked at in one go.
const PAGE: i64 = 1000;

/// Whether all compares hold; none at all do.
pub(super) fn all_hold<V: View>(view: &V, compares: &[Compare]) -> Result<bool, Error> {
    for compare in compares {
        if !holds(view, compare)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether every key in the compare's range holds. Where no key lives, a value is never right
/// (there is no way to name the missing one) and every number is zero.
fn holds<V: View>(view: &V, compare: &Compare) -> Result<bool, Error> {
    let wants_value = compare.target == CompareTarget::Value as i32;
    let range = KeyRange::new(compare.key.clone(), compare.range_end.clone());
    let found = match &range {
        KeyRange::Single(key) if wants_value => match view.get(key)? {
            Some(kv) => Some(holds_for(compare, &KvFields::parse(&kv)?)),
            None => None,
        },
        KeyRange::Single(key) => {
            view.numbers(key)?.map(|numbers| holds_for(compare, &numbers.fields()))
        }
        _ => hold_all(view, compare, range)?,
    };
    Ok(found.unwrap_or_else(|| !wants_value && holds_for(compare, &KvFields::default())))
}

/// Whether all keys of a range hold; `None` where there is none.
fn hold_all<V: View>(view: &V, compare: &Compare, range: KeyRange) -> Result<Option<bool>, Error> {
    let mut rest = range;
    let mut found = None;
    loop {
        let page = view.page(&rest, PAGE)?;
        for kv in &page.kvs {
            if !holds_for(compare, &KvFields::parse(kv)?) {
                return Ok(Some(false));
            }
            found = Some(true);
        }
        match page.kvs.last() {
            Some(last) if page.more => rest = behind(&rest, KvFields::parse(last)?.key),
            _ => return Ok(found),
        }
    }
}

fn holds_for(compare: &Compare, kv: &KvFields<'_>) -> bool {
    let operand = compare.target_union.as_ref();
    let number = |held: i64, wanted: Option<&i64>| held.cmp(wanted.unwrap_or(&0));
    // Where the operand is of another kind than the target, it counts as zero.
    let ordering = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Value) => match operand {
            Some(TargetUnion::Value(value)) => kv.value.cmp(value),
            _ => kv.value.cmp(&[]),
        },
        Ok(CompareTarget::Version) => match operand {
            Some(TargetUnion::Version(version)) => number(kv.version, Some(version)),
            _ => number(kv.version, None),
        },
        Ok(CompareTarget::Create) => match operand {
            Some(TargetUnion::CreateRevision(main)) => number(kv.create_revision, Some(main)),
            _ => number(kv.create_revision, None),
        },
        Ok(CompareTarget::Mod) => match operand {
            Some(TargetUnion::ModRevision(main)) => number(kv.mod_revision, Some(main)),
            _ => number(kv.mod_revision, None),
        },
        Ok(CompareTarget::Lease) => match operand {
            Some(TargetUnion::Lease(lease)) => number(kv.lease, Some(lease)),
            _ => number(kv.lease, None),
        },
        // A quirk of etcd: what it does not know is equal.
        Err(_) => Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => ordering.is_eq(),
        Ok(CompareResult::NotEqual) => ordering.is_ne(),
        Ok(CompareResult::Greater) => ordering.is_gt(),
        Ok(CompareResult::Less) => ordering.is_lt(),
        // Another one: a question that it does not know is answered with yes.
        Err(_) => true,
    }
}

impl Numbers {
    fn fields(&self) -> KvFields<'static> {
        KvFields {
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            lease: self.lease,
            ..KvFields::default()
        }
    }
}

/// The part of a range behind a key that lies in it.
fn behind(range: &KeyRange, key: &[u8]) -> KeyRange {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    let next = Bytes::from(next);
    match range.end() {
        Some(end) => KeyRange::Between(next, end.clone()),
        None => KeyRange::From(next),
    }
}
