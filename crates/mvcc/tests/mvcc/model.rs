//! The store as one would write it in an afternoon: every change in one list, every question
//! answered by looking at all of it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use mvcc::{Error, HashKv, KeyRange, Range, Ranged, SortOrder, SortTarget};
use prost::Message;
use proto::mvccpb::KeyValue;

#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) main: i64,
    pub(crate) sub: i64,
    pub(crate) key: Vec<u8>,
    /// `None` is a deletion.
    pub(crate) kv: Option<KeyValue>,
}

impl Change {
    pub(crate) fn record(&self) -> (Vec<u8>, Vec<u8>) {
        let mut key = self.main.to_be_bytes().to_vec();
        key.push(b'_');
        key.extend(self.sub.to_be_bytes());
        match &self.kv {
            Some(kv) => (key, kv.encode_to_vec()),
            None => {
                key.push(b't');
                let key_only = KeyValue { key: self.key.clone().into(), ..KeyValue::default() };
                (key, key_only.encode_to_vec())
            }
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) changes: Vec<Change>,
    pub(crate) current: i64,
    pub(crate) compacted: i64,
    pub(crate) stored: Vec<HashKv>,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self { changes: Vec::new(), current: 1, compacted: -1, stored: Vec::new() }
    }

    fn next_sub(&self, main: i64) -> i64 {
        self.changes.iter().filter(|change| change.main == main).count() as i64
    }

    pub(crate) fn put(&mut self, main: i64, key: &[u8], value: &[u8], lease: i64) {
        let before = self.state(main).remove(key);
        let kv = KeyValue {
            key: Bytes::copy_from_slice(key),
            create_revision: before.as_ref().map_or(main, |kv| kv.create_revision),
            mod_revision: main,
            version: before.map_or(1, |kv| kv.version + 1),
            value: Bytes::copy_from_slice(value),
            lease,
        };
        let sub = self.next_sub(main);
        self.changes.push(Change { main, sub, key: key.to_vec(), kv: Some(kv) });
    }

    pub(crate) fn delete_range(&mut self, main: i64, range: &KeyRange) -> Vec<Vec<u8>> {
        let doomed = self.state(main).into_keys().filter(|key| range.contains(key));
        let doomed: Vec<_> = doomed.collect();
        for key in &doomed {
            let sub = self.next_sub(main);
            self.changes.push(Change { main, sub, key: key.clone(), kv: None });
        }
        doomed
    }

    /// All keys that live at a revision.
    pub(crate) fn state(&self, revision: i64) -> BTreeMap<Vec<u8>, KeyValue> {
        let mut state = BTreeMap::new();
        for change in self.changes.iter().filter(|change| change.main <= revision) {
            match &change.kv {
                Some(kv) => state.insert(change.key.clone(), kv.clone()),
                None => state.remove(&change.key),
            };
        }
        state
    }

    pub(crate) fn range(&self, request: &Range, current: i64) -> Result<Ranged, Error> {
        let revision = if request.revision <= 0 { current } else { request.revision };
        if revision > current {
            return Err(Error::FutureRevision);
        }
        if revision < self.compacted {
            return Err(Error::Compacted);
        }
        let mut rows: Vec<KeyValue> = self.state(revision).into_values().collect();
        rows.retain(|kv| request.keys.contains(&kv.key));
        let count = rows.len() as i64;
        let answer = |kvs, more| Ok(Ranged { kvs, count, more, revision: current });
        if request.count_only {
            return answer(Vec::new(), false);
        }
        let filters = [
            request.max_mod_revision,
            request.min_mod_revision,
            request.max_create_revision,
            request.min_create_revision,
        ];
        let default_order = request.order == SortOrder::None
            || (request.order == SortOrder::Ascend && request.target == SortTarget::Key);
        let limit = usize::try_from(request.limit).unwrap_or(0);
        if default_order && filters == [0; 4] && limit > 0 {
            rows.truncate(limit + 1);
        }
        let [max_mod, min_mod, max_create, min_create] = filters;
        rows.retain(|kv| max_mod == 0 || kv.mod_revision <= max_mod);
        rows.retain(|kv| min_mod == 0 || kv.mod_revision >= min_mod);
        rows.retain(|kv| max_create == 0 || kv.create_revision <= max_create);
        rows.retain(|kv| min_create == 0 || kv.create_revision >= min_create);
        let ascending = |a: &KeyValue, b: &KeyValue| -> Ordering {
            match request.target {
                SortTarget::Key => a.key.cmp(&b.key),
                SortTarget::Version => a.version.cmp(&b.version),
                SortTarget::Create => a.create_revision.cmp(&b.create_revision),
                SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
                SortTarget::Value => a.value.cmp(&b.value),
            }
        };
        match request.order {
            SortOrder::Descend => rows.sort_by(|a, b| ascending(b, a)),
            SortOrder::None | SortOrder::Ascend => rows.sort_by(ascending),
        }
        let more = limit > 0 && rows.len() > limit;
        if limit > 0 {
            rows.truncate(limit);
        }
        if request.keys_only {
            for kv in &mut rows {
                kv.value = Bytes::new();
                if request.target != SortTarget::Value {
                    kv.lease = 0;
                }
            }
        }
        answer(rows.iter().map(|kv| kv.encode_to_vec().into()).collect(), more)
    }

    /// Lives of a key, each a list of changes; a life that is over ends with its deletion.
    fn lives(&self) -> BTreeMap<&[u8], Vec<Vec<&Change>>> {
        let mut keys: BTreeMap<&[u8], Vec<Vec<&Change>>> = BTreeMap::new();
        for change in &self.changes {
            let lives = keys.entry(&change.key).or_insert_with(|| vec![Vec::new()]);
            lives.last_mut().unwrap().push(change);
            if change.kv.is_none() {
                lives.push(Vec::new());
            }
        }
        keys
    }

    /// Per key the change that a compaction leaves, and whether it is its life's end: in the
    /// first life that is not over before the revision, the newest not after it.
    fn leaves(&self, revision: i64) -> Vec<&Change> {
        let mut leaves = Vec::new();
        for lives in self.lives().values() {
            let open = lives.last().unwrap();
            let ended = lives.iter().filter(|life| !std::ptr::eq(*life, open));
            let life = ended
                .clone()
                .find(|life| life.last().is_some_and(|end| end.main >= revision))
                .unwrap_or(open);
            leaves.extend(life.iter().rfind(|change| change.main <= revision));
        }
        leaves
    }

    fn hash(&self, revision: i64, compacted: i64, keep: &BTreeSet<(i64, i64)>) -> HashKv {
        let mut bytes = b"key".to_vec();
        for change in self.changes.iter().filter(|change| change.main <= revision) {
            let is_edge = change.main == compacted && change.kv.is_none();
            let is_kept = keep.contains(&(change.main, change.sub));
            if !is_edge && (change.main > compacted || is_kept) {
                let (key, value) = change.record();
                bytes.extend(key);
                bytes.extend(value);
            }
        }
        HashKv { hash: crc32c::crc32c(&bytes), compact_revision: compacted, revision }
    }

    pub(crate) fn hash_kv(&self, revision: i64) -> Result<HashKv, Error> {
        if let Some(stored) = self.stored.iter().rev().find(|stored| stored.revision == revision) {
            return Ok(*stored);
        }
        let revision = if revision == 0 { self.current } else { revision };
        if revision > self.current {
            return Err(Error::FutureRevision);
        }
        if revision < self.compacted {
            return Err(Error::Compacted);
        }
        let leaves = self.leaves(revision);
        let puts = leaves.iter().filter(|change| change.kv.is_some());
        let mut keep: BTreeSet<_> = puts.map(|change| (change.main, change.sub)).collect();
        if keep.is_empty() {
            keep = self.kept(self.compacted);
        }
        Ok(self.hash(revision, self.compacted, &keep))
    }

    /// The hash of a compaction whose predecessor at `previous` is finished.
    pub(crate) fn compaction_hash(&self, revision: i64, previous: i64) -> HashKv {
        let leaves = self.leaves(revision);
        let mut keep: BTreeSet<_> = leaves.iter().map(|change| (change.main, change.sub)).collect();
        if keep.is_empty() {
            keep = self.kept(previous);
        }
        self.hash(revision, previous, &keep)
    }

    pub(crate) fn store_hash(&mut self, hash: HashKv) {
        self.stored.push(hash);
        self.stored.sort_by_key(|stored| stored.revision);
        let surplus = self.stored.len().saturating_sub(10);
        self.stored.drain(..surplus);
    }

    /// Records that a finished compaction at the revision leaves below it: what lives, and
    /// deletions at that very revision.
    pub(crate) fn kept(&self, compacted: i64) -> BTreeSet<(i64, i64)> {
        let mut newest: BTreeMap<&[u8], &Change> = BTreeMap::new();
        let mut kept = BTreeSet::new();
        for change in self.changes.iter().filter(|change| change.main <= compacted) {
            newest.insert(&change.key, change);
            if change.main == compacted && change.kv.is_none() {
                kept.insert((change.main, change.sub));
            }
        }
        let live = newest.values().filter(|change| change.kv.is_some());
        kept.extend(live.map(|change| (change.main, change.sub)));
        kept
    }

    /// The `key` bucket after all compactions are finished.
    pub(crate) fn records(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let kept = self.kept(self.compacted);
        let stays = |change: &&Change| {
            change.main > self.compacted || kept.contains(&(change.main, change.sub))
        };
        self.changes.iter().filter(stays).map(Change::record).collect()
    }
}
