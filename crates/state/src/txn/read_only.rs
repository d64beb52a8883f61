use bytes::Bytes;
use mvcc::{KeyRange, KvFields, Range, Ranged, Reader};
use proto::etcdserverpb::{RangeRequest, TxnRequest};

use super::plan::Op;
use super::{Numbers, Plan, View, range_of};
use crate::lease::LeaseTable;
use crate::reply::{OpReply, RangeReply, TxnReply};
use crate::{Error, Rejected};

/// Answers a read-only txn from any thread, all of it as of one revision.
pub(crate) fn read_txn(
    reader: &Reader,
    txn: &TxnRequest,
) -> Result<Result<TxnReply, Rejected>, Error> {
    loop {
        let revision = reader.current_revision();
        match read_at(&Pinned { reader, revision }, txn) {
            // A compaction went past the revision meanwhile: begin again with a newer one. What
            // the txn itself asks for in vain, its checks find then.
            Err(Error::Storage(mvcc::Error::Compacted)) => {}
            answered => return answered,
        }
    }
}

/// A reader that stays at one revision.
struct Pinned<'a> {
    reader: &'a Reader,
    revision: i64,
}

fn read_at(view: &Pinned<'_>, txn: &TxnRequest) -> Result<Result<TxnReply, Rejected>, Error> {
    let plan = Plan::new(view, txn)?;
    if let Err(rejected) = plan.check(view, &LeaseTable::default())? {
        return Ok(Err(rejected));
    }
    let mut responses = Vec::with_capacity(plan.ops.len());
    for op in &plan.ops {
        responses.push(match op {
            Op::Range(range) => OpReply::Range(view.range(range)?),
            // Not in a read-only txn.
            Op::Put(_) | Op::DeleteRange(_) | Op::Txn(_) | Op::Empty => OpReply::Empty,
        });
    }
    Ok(Ok(TxnReply { revision: view.revision, succeeded: plan.succeeded, responses }))
}

impl Pinned<'_> {
    fn range(&self, request: &RangeRequest) -> Result<RangeReply, Error> {
        let mut range = range_of(request);
        if range.revision <= 0 {
            range.revision = self.revision;
        }
        let ranged = self.reader.range(&range)?;
        Ok(RangeReply { revision: self.revision, ..ranged.into() })
    }

    fn one(&self, key: &Bytes) -> Result<Option<Bytes>, Error> {
        Ok(self.page(&KeyRange::Single(key.clone()), 1)?.kvs.into_iter().next())
    }
}

impl View for Pinned<'_> {
    fn revision(&self) -> i64 {
        self.revision
    }

    fn compact_revision(&self) -> i64 {
        self.reader.compact_revision()
    }

    fn numbers(&self, key: &Bytes) -> Result<Option<Numbers>, Error> {
        match self.one(key)? {
            Some(kv) => Ok(Some(KvFields::parse(&kv)?.into())),
            None => Ok(None),
        }
    }

    fn get(&self, key: &Bytes) -> Result<Option<Bytes>, Error> {
        self.one(key)
    }

    fn page(&self, keys: &KeyRange, limit: i64) -> Result<Ranged, Error> {
        let range = Range { revision: self.revision, limit, ..Range::of(keys.clone()) };
        Ok(self.reader.range(&range)?)
    }
}
