use std::cmp::Reverse;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use crate::index::{Index, Slot, Span, StateAt, WALK_CHUNK};
use crate::kv::KvFields;
use crate::store::Shared;
use crate::{Backend, Error, KeyRange, Revision};

/// Reads the store, from any thread. Clones are cheap.
#[derive(Debug, Clone)]
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
}

/// The order of the rows of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SortOrder {
    /// As they come, which is by key; ascending where another target is given.
    #[default]
    None,
    /// Smallest first.
    Ascend,
    /// Greatest first.
    Descend,
}

/// What the rows of a range are sorted by. Rows that are equal in it stay in the order of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// Puts in this life of the key.
    Version,
    /// The revision of its creation.
    Create,
    /// The revision of its last change.
    Mod,
    /// The value, bytewise.
    Value,
}

/// A question for the keys of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// Which keys.
    pub keys: KeyRange,
    /// As of which revision; 0 or less is the current one.
    pub revision: i64,
    /// Rows at most; 0 or less is all.
    pub limit: i64,
    /// Only how many there are. Limit and filters do not matter then.
    pub count_only: bool,
    /// Rows without values. Rows that are not sorted by value come without leases too.
    pub keys_only: bool,
    /// The order of rows.
    pub order: SortOrder,
    /// What the order means.
    pub target: SortTarget,
    /// Rows changed at this revision or later; 0 is all.
    pub min_mod_revision: i64,
    /// Rows changed at this revision or before; 0 is all.
    pub max_mod_revision: i64,
    /// Rows created at this revision or later; 0 is all.
    pub min_create_revision: i64,
    /// Rows created at this revision or before; 0 is all.
    pub max_create_revision: i64,
}

impl Range {
    /// All rows of a range as they are now.
    pub fn of(keys: KeyRange) -> Self {
        Self {
            keys,
            revision: 0,
            limit: 0,
            count_only: false,
            keys_only: false,
            order: SortOrder::None,
            target: SortTarget::Key,
            min_mod_revision: 0,
            max_mod_revision: 0,
            min_create_revision: 0,
            max_create_revision: 0,
        }
    }

    fn is_filtered(&self) -> bool {
        let bounds = [
            self.min_mod_revision,
            self.max_mod_revision,
            self.min_create_revision,
            self.max_create_revision,
        ];
        bounds.iter().any(|bound| *bound != 0)
    }

    fn passes(&self, fields: &KvFields<'_>) -> bool {
        let not_above = |value, max| max == 0 || value <= max;
        let not_below = |value, min| min == 0 || value >= min;
        not_above(fields.mod_revision, self.max_mod_revision)
            && not_below(fields.mod_revision, self.min_mod_revision)
            && not_above(fields.create_revision, self.max_create_revision)
            && not_below(fields.create_revision, self.min_create_revision)
    }

    /// The order and target to sort by where rows cannot stay as they come.
    fn sorting(&self) -> Option<(SortTarget, bool)> {
        match (self.target, self.order) {
            (SortTarget::Key, SortOrder::None | SortOrder::Ascend) => None,
            (target, order) => Some((target, order == SortOrder::Descend)),
        }
    }

    /// Rows to keep.
    fn limit(&self) -> usize {
        match self.limit {
            ..=0 => usize::MAX,
            limit => usize::try_from(limit).unwrap_or(usize::MAX),
        }
    }

    /// Rows to look for: one more than the limit, to know whether there are more. All of them
    /// where a sort or a filter comes after; but not for a sort without an order: etcd sorts what
    /// the limit has left then.
    fn rows_to_fetch(&self) -> usize {
        let sorts = self.sorting().is_some() && self.order != SortOrder::None;
        if sorts || self.is_filtered() { usize::MAX } else { self.limit().saturating_add(1) }
    }

    /// Whether rows are built of what the index has, without values and leases.
    fn is_from_index(&self) -> bool {
        self.keys_only && self.target != SortTarget::Value
    }
}

/// The answer to a [`Range`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ranged {
    /// Encoded `mvccpb.KeyValue`s.
    pub kvs: Vec<Bytes>,
    /// Keys of the range that lived, whatever limit and filters say.
    pub count: i64,
    /// Whether the limit cut rows off.
    pub more: bool,
    /// The current revision when the answer was made.
    pub revision: i64,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Answers a range.
    pub fn range(&self, request: &Range) -> Result<Ranged, Error> {
        self.shared.range(request, None)
    }

    /// How many rows [`range`](Self::range) will look at, at most; counted up to `limit` only, and
    /// quickly. Tells those who have other work on this thread whether it will take long.
    pub fn rows_ahead(&self, request: &Range, limit: usize) -> usize {
        if matches!(request.keys, KeyRange::Single(_)) {
            return 1;
        }
        let to_fetch = request.rows_to_fetch();
        let counts_now = request.count_only && request.revision <= 0;
        if to_fetch <= limit || counts_now {
            return to_fetch.min(limit);
        }
        let index = self.shared.index();
        let counted = index.count(&Span::from(&request.keys), self.current_revision(), limit);
        if counted.rest.is_some() { limit.saturating_add(1) } else { counted.count }
    }

    /// The newest revision.
    pub fn current_revision(&self) -> i64 {
        self.shared.current()
    }

    /// The revision of the newest compaction, -1 where there was none. It can be read, what is
    /// below cannot.
    pub fn compact_revision(&self) -> i64 {
        self.shared.compacted()
    }

    /// The encoded `mvccpb.KeyValue` of a key as it was at a revision; `None` where it did not
    /// live then.
    pub fn previous(&self, key: &[u8], revision: i64) -> Result<Option<Bytes>, Error> {
        if revision <= 0 {
            return Ok(None);
        }
        let keys = KeyRange::Single(Bytes::copy_from_slice(key));
        let ranged = self.range(&Range { revision, ..Range::of(keys) })?;
        Ok(ranged.kvs.into_iter().next())
    }

    /// Keys that live now.
    pub fn live_keys(&self) -> usize {
        self.shared.index().live()
    }

    /// Bytes of newest values that are kept in memory.
    pub fn hot_bytes(&self) -> usize {
        self.shared.index().hot_bytes()
    }

    /// The backend that the store writes to.
    pub fn backend(&self) -> &Backend {
        &self.shared.backend
    }
}

impl Shared {
    /// Answers a range as of `current`, which is the published revision where it is `None`.
    ///
    /// The index is held for about a thousand keys at a time. In between the revision is pinned:
    /// no compaction takes away what the rest of the answer needs.
    pub(crate) fn range(&self, request: &Range, current: Option<i64>) -> Result<Ranged, Error> {
        let mut index = self.index();
        let current = current.unwrap_or_else(|| self.current());
        let revision = self.readable(request.revision, current)?;
        let mut walk = Walk::new(request, revision);
        if let KeyRange::Single(key) = &request.keys {
            walk.look_up(&index, key);
        }
        let mut pin = None;
        loop {
            let done = walk.step(&index);
            if !done || !walk.missing.is_empty() {
                pin.get_or_insert_with(|| self.pin(revision));
            }
            drop(index);
            walk.settle(&self.backend)?;
            if done {
                return Ok(walk.finish(current));
            }
            index = self.index();
        }
    }

    /// The revision that a request means. To be called with the index held.
    pub(crate) fn readable(&self, asked: i64, current: i64) -> Result<i64, Error> {
        let revision = if asked <= 0 { current } else { asked };
        if revision > current {
            Err(Error::FutureRevision)
        } else if revision < self.compacted() {
            Err(Error::Compacted)
        } else {
            Ok(revision)
        }
    }
}

/// A range on its way through the index.
struct Walk<'a> {
    request: &'a Range,
    revision: i64,
    /// Where rows go on.
    rest: Option<Span>,
    /// What is only counted.
    uncounted: Option<Span>,
    to_fetch: usize,
    count: usize,
    kvs: Vec<Bytes>,
    /// Rows of `kvs` that are settled: values read, filters passed.
    settled: usize,
    /// Rows of `kvs` whose values are to be read from the backend.
    missing: Vec<(usize, Revision)>,
    /// Rows were dropped as a sort put them behind the limit.
    has_more: bool,
}

impl<'a> Walk<'a> {
    fn new(request: &'a Range, revision: i64) -> Self {
        let is_walked = !matches!(request.keys, KeyRange::Single(_)) && !request.keys.is_empty();
        let span = is_walked.then(|| Span::from(&request.keys));
        let (rest, uncounted) = if request.count_only { (None, span) } else { (span, None) };
        let to_fetch = request.rows_to_fetch();
        Self {
            request,
            revision,
            rest,
            uncounted,
            to_fetch,
            count: 0,
            kvs: Vec::new(),
            settled: 0,
            missing: Vec::new(),
            has_more: false,
        }
    }

    /// The whole of a range that is one key.
    fn look_up(&mut self, index: &Index, key: &[u8]) {
        let Some(slot) = index.get(key) else { return };
        if self.request.count_only {
            self.count = usize::from(slot.lives_at(self.revision));
        } else {
            self.take(slot);
        }
    }

    /// Looks at some more of the index. Returns whether that was all.
    fn step(&mut self, index: &Index) -> bool {
        if let Some(span) = self.rest.take() {
            self.collect(index, span);
        }
        if self.rest.is_none()
            && let Some(span) = self.uncounted.take()
        {
            let counted = index.count(&span, self.revision, WALK_CHUNK);
            self.count += counted.count;
            self.uncounted = counted.rest;
        }
        self.rest.is_none() && self.uncounted.is_none()
    }

    fn collect(&mut self, index: &Index, span: Span) {
        let mut left = WALK_CHUNK;
        let revision = self.revision;
        let flow = index.visit(&span, revision, &mut |slot| {
            self.take(slot);
            left -= 1;
            let goes_on = left > 0 && self.to_fetch > 0;
            if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(slot.shared_key()) }
        });
        if let ControlFlow::Break(last) = flow {
            let rest = Some(span.after(last));
            if self.to_fetch > 0 { self.rest = rest } else { self.uncounted = rest }
        }
    }

    fn take(&mut self, slot: &Slot) {
        let kv = match slot.at(self.revision) {
            StateAt::Absent => return,
            StateAt::Ready(kv) => kv.clone(),
            StateAt::Cold(stub, _) if self.request.is_from_index() => stub.clone(),
            StateAt::Cold(_, revision) | StateAt::Older(revision) => {
                self.missing.push((self.kvs.len(), revision));
                Bytes::new()
            }
        };
        self.kvs.push(kv);
        self.count += 1;
        self.to_fetch -= 1;
    }

    /// Reads what is missing, and drops what the filters say. Done without the index.
    fn settle(&mut self, backend: &Backend) -> Result<(), Error> {
        if !self.missing.is_empty() {
            let revisions: Vec<Revision> = self.missing.iter().map(|(_, at)| *at).collect();
            let records = backend.records(&revisions)?;
            for ((row, _), record) in self.missing.drain(..).zip(records) {
                KvFields::parse(&record)?;
                self.kvs[row] = record;
            }
        }
        if self.request.is_filtered() {
            let mut row = 0;
            self.kvs.retain(|kv| {
                row += 1;
                row <= self.settled || self.request.passes(&fields(kv))
            });
        }
        if self.request.is_from_index() {
            self.kvs[self.settled..].iter_mut().for_each(strip_all);
        }
        self.settled = self.kvs.len();
        self.drop_hopeless_rows();
        Ok(())
    }

    /// Bounds the memory of a sort with a limit: what lies far behind the limit cannot come back.
    fn drop_hopeless_rows(&mut self) {
        let limit = self.request.limit();
        if self.request.sorting().is_some() && self.kvs.len() / 4 > limit.max(WALK_CHUNK) {
            self.sort();
            self.kvs.truncate(limit);
            self.has_more = true;
            self.settled = self.kvs.len();
        }
    }

    fn sort(&mut self) {
        let Some((target, descend)) = self.request.sorting() else { return };
        let kvs = &mut self.kvs;
        match target {
            SortTarget::Key => sort_by(kvs, descend, |kv| kv.slice_ref(fields(kv).key)),
            SortTarget::Version => sort_by(kvs, descend, |kv| fields(kv).version),
            SortTarget::Create => sort_by(kvs, descend, |kv| fields(kv).create_revision),
            SortTarget::Mod => sort_by(kvs, descend, |kv| fields(kv).mod_revision),
            SortTarget::Value => sort_by(kvs, descend, |kv| kv.slice_ref(fields(kv).value)),
        }
    }

    fn finish(mut self, current: i64) -> Ranged {
        self.sort();
        let limit = self.request.limit();
        let more = self.has_more || self.kvs.len() > limit;
        self.kvs.truncate(limit);
        if self.request.keys_only && !self.request.is_from_index() {
            self.kvs.iter_mut().for_each(strip_value);
        }
        Ranged { kvs: self.kvs, count: self.count as i64, more, revision: current }
    }
}

/// Sorts stably; keys of equal rank keep the order of the index, whichever way the rest goes.
fn sort_by<K: Ord>(kvs: &mut [Bytes], descend: bool, rank: impl Fn(&Bytes) -> K) {
    match descend {
        true => kvs.sort_by_cached_key(|kv| Reverse(rank(kv))),
        false => kvs.sort_by_cached_key(rank),
    }
}

/// Rows were parsed when they came in.
fn fields(kv: &Bytes) -> KvFields<'_> {
    KvFields::parse(kv).unwrap_or_default()
}

fn strip_value(kv: &mut Bytes) {
    let whole = fields(kv);
    if !whole.value.is_empty() {
        *kv = KvFields { value: &[], ..whole }.encode();
    }
}

fn strip_all(kv: &mut Bytes) {
    let whole = fields(kv);
    if !whole.value.is_empty() || whole.lease != 0 {
        *kv = KvFields { value: &[], lease: 0, ..whole }.encode();
    }
}
