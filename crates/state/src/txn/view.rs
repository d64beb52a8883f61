use bytes::Bytes;
use mvcc::{KeyRange, Range, Ranged, SortOrder, SortTarget, WriteTxn};
use proto::etcdserverpb::RangeRequest;
use proto::etcdserverpb::range_request as wire;

use crate::Error;

/// The keys before a txn: of the store that apply is about to write, or of a reader.
pub(crate) trait View {
    /// The newest revision.
    fn revision(&self) -> i64;
    /// The oldest revision that can be read; -1 before the first compaction.
    fn compact_revision(&self) -> i64;
    /// The numbers of a key that lives.
    fn numbers(&self, key: &Bytes) -> Result<Option<Numbers>, Error>;
    /// The encoded `KeyValue` of a key that lives.
    fn get(&self, key: &Bytes) -> Result<Option<Bytes>, Error>;
    /// The first keys of a range, in their order.
    fn page(&self, keys: &KeyRange, limit: i64) -> Result<Ranged, Error>;
}

/// What can be said of a key without reading its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) create_revision: i64,
    pub(crate) mod_revision: i64,
    pub(crate) version: i64,
    pub(crate) lease: i64,
}

impl From<mvcc::KvFields<'_>> for Numbers {
    fn from(fields: mvcc::KvFields<'_>) -> Self {
        Self {
            create_revision: fields.create_revision,
            mod_revision: fields.mod_revision,
            version: fields.version,
            lease: fields.lease,
        }
    }
}

/// A write txn that has not changed anything yet.
pub(crate) struct Before<'a, 'w> {
    pub(crate) txn: &'a WriteTxn<'w>,
    pub(crate) compact_revision: i64,
}

impl View for Before<'_, '_> {
    fn revision(&self) -> i64 {
        self.txn.begin_revision()
    }

    fn compact_revision(&self) -> i64 {
        self.compact_revision
    }

    fn numbers(&self, key: &Bytes) -> Result<Option<Numbers>, Error> {
        Ok(self.txn.peek(key).map(|prior| prior.fields().into()))
    }

    fn get(&self, key: &Bytes) -> Result<Option<Bytes>, Error> {
        Ok(self.txn.get(key)?)
    }

    fn page(&self, keys: &KeyRange, limit: i64) -> Result<Ranged, Error> {
        Ok(self.txn.range(&Range { limit, ..Range::of(keys.clone()) })?)
    }
}

/// A range request in the words of the store. Orders and targets that nobody knows are none:
/// the door refuses them.
pub fn range_of(request: &RangeRequest) -> Range {
    let order = match wire::SortOrder::try_from(request.sort_order) {
        Ok(wire::SortOrder::Ascend) => SortOrder::Ascend,
        Ok(wire::SortOrder::Descend) => SortOrder::Descend,
        Ok(wire::SortOrder::None) | Err(_) => SortOrder::None,
    };
    let target = match wire::SortTarget::try_from(request.sort_target) {
        Ok(wire::SortTarget::Version) => SortTarget::Version,
        Ok(wire::SortTarget::Create) => SortTarget::Create,
        Ok(wire::SortTarget::Mod) => SortTarget::Mod,
        Ok(wire::SortTarget::Value) => SortTarget::Value,
        Ok(wire::SortTarget::Key) | Err(_) => SortTarget::Key,
    };
    Range {
        keys: KeyRange::new(request.key.clone(), request.range_end.clone()),
        revision: request.revision,
        limit: request.limit,
        count_only: request.count_only,
        keys_only: request.keys_only,
        order,
        target,
        min_mod_revision: request.min_mod_revision,
        max_mod_revision: request.max_mod_revision,
        min_create_revision: request.min_create_revision,
        max_create_revision: request.max_create_revision,
    }
}
