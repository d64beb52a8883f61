use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use crate::compact::CompactJob;
use crate::index::{Change, Index, Slot, Span};
use crate::kv::{KvFields, canonical_key_bytes};
use crate::read::{Range, Ranged};
use crate::record::RecordKey;
use crate::store::Shared;
use crate::{Error, Event, EventKind, KeyRange, Previous, Revision};

/// Keys that are deleted in one hold of the index.
const DELETE_CHUNK: usize = 64;

/// Changes the store. There is one, and it belongs to the thread that applies entries.
#[derive(Debug)]
pub struct Writer {
    pub(crate) shared: Arc<Shared>,
    /// What the transaction under way changed. Kept between transactions for its memory.
    events: Vec<Event>,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, events: Vec::new() }
    }

    /// The revision of the last transaction that changed something.
    pub fn revision(&self) -> i64 {
        self.shared.current()
    }

    /// Begins a transaction. Others see nothing of it before [`WriteTxn::finish`].
    ///
    /// # Panics
    ///
    /// Where a transaction before was dropped half done: its changes are in the index and in the
    /// backend, no other may be built on them.
    pub fn txn(&mut self) -> WriteTxn<'_> {
        self.assert_whole();
        let begin = self.shared.current();
        WriteTxn { writer: self, begin }
    }

    /// Compacts the history up to a revision: reads below it fail from now on. What they would
    /// have needed is dropped by stepping the job, which has time.
    pub fn compact(&mut self, revision: i64) -> Result<CompactJob, Error> {
        self.assert_whole();
        CompactJob::schedule(&self.shared, revision)
    }

    fn assert_whole(&self) {
        assert!(self.events.is_empty(), "the last write txn was dropped half done");
    }
}

/// A transaction: all its changes get one main revision, and subs in the order they are made.
#[derive(Debug)]
pub struct WriteTxn<'a> {
    writer: &'a mut Writer,
    begin: i64,
}

/// The state of a key before a change of this transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prior {
    /// Encoded `mvccpb.KeyValue`; without the value where that is not at hand.
    encoded: Bytes,
    revision: Revision,
    is_whole: bool,
}

/// A key that a transaction deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// The key. It shares memory with its event: who keeps it for long copies it.
    pub key: Bytes,
    /// What it was.
    pub prior: Prior,
}

/// What a transaction came to.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Its revision, or the current one where it changed nothing.
    pub revision: i64,
    /// Whether it changed anything.
    pub changed: bool,
    /// Its changes, for watchers.
    pub events: Arc<[Event]>,
}

impl WriteTxn<'_> {
    /// The revision before the transaction.
    pub fn begin_revision(&self) -> i64 {
        self.begin
    }

    /// What reads in the transaction see as current: one more than before once it changed
    /// something.
    pub fn revision(&self) -> i64 {
        self.begin + i64::from(!self.writer.events.is_empty())
    }

    /// Reads a range; changes of this transaction are visible.
    pub fn range(&self, request: &Range) -> Result<Ranged, Error> {
        self.shared().range(request, Some(self.revision()))
    }

    /// The encoded `mvccpb.KeyValue` of a key, if it lives.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        match self.peek(key) {
            Some(prior) => self.whole(&prior).map(Some),
            None => Ok(None),
        }
    }

    /// A key as far as it is in memory: all but, maybe, its value.
    pub fn peek(&self, key: &[u8]) -> Option<Prior> {
        self.shared().index().get(key).and_then(Prior::of)
    }

    /// The whole encoded `mvccpb.KeyValue`, read from the backend where it is not at hand.
    pub fn whole(&self, prior: &Prior) -> Result<Bytes, Error> {
        if prior.is_whole {
            return Ok(prior.encoded.clone());
        }
        let mut records = self.shared().backend.records(&[prior.revision])?;
        Ok(records.pop().expect("one answer to one question"))
    }

    /// Writes a key, with lease 0 for none. Returns what the key was if it lived.
    pub fn put(&mut self, key: &[u8], value: &[u8], lease: i64) -> Option<Prior> {
        let revision = self.next_revision();
        let mut prior = None;
        let mut kv = Bytes::new();
        self.shared().index_mut().change(key, |slot| {
            prior = slot.and_then(Prior::of);
            let (create_revision, version) = match prior.as_ref().map(Prior::fields) {
                Some(fields) => (fields.create_revision, fields.version.wrapping_add(1)),
                None => (revision.main, 1),
            };
            let mod_revision = revision.main;
            let fields = KvFields { key, create_revision, mod_revision, version, value, lease };
            kv = fields.encode();
            Some((kv.clone(), Change::new(revision, false)))
        });
        self.shared().backend.put_record(RecordKey::put(revision), kv.clone());
        let previous = prior.as_ref().map_or(Previous::None, |prior| self.previous(prior));
        let key = canonical_key_bytes(&kv);
        self.writer.events.push(Event { kind: EventKind::Put, revision, key, kv, previous });
        prior
    }

    /// Deletes all keys of a range that live now, in their order.
    pub fn delete_range(&mut self, range: &KeyRange) -> Vec<Deleted> {
        let mut deleted = Vec::new();
        let mut rest = (!range.is_empty()).then(|| Span::from(range));
        while let Some(span) = rest {
            rest = self.delete_chunk(&span, &mut deleted);
        }
        deleted
    }

    fn delete_chunk(&mut self, span: &Span, deleted: &mut Vec<Deleted>) -> Option<Span> {
        let first = self.next_revision();
        let mut tombstones = Vec::new();
        let chunk = {
            let mut index = self.shared().index_mut();
            let chunk = live_keys(&index, span);
            for (sub, doomed) in (first.sub..).zip(&chunk) {
                let change = Change::new(Revision::new(first.main, sub), true);
                let tombstone = KvFields { key: &doomed.key, ..KvFields::default() }.encode();
                index.change(&doomed.key, |_| Some((tombstone.clone(), change)));
                tombstones.push(tombstone);
            }
            chunk
        };
        let rest = (chunk.len() == DELETE_CHUNK)
            .then(|| chunk.last().map(|last| span.after(last.key.clone())))
            .flatten();
        for (mut doomed, tombstone) in chunk.into_iter().zip(tombstones) {
            let revision = self.next_revision();
            self.shared().backend.put_record(RecordKey::tombstone(revision), tombstone);
            let fields =
                KvFields { key: &doomed.key, mod_revision: revision.main, ..KvFields::default() };
            let kv = fields.encode();
            let key = canonical_key_bytes(&kv);
            let previous = self.previous(&doomed.prior);
            doomed.key = key.clone();
            self.writer.events.push(Event { kind: EventKind::Delete, revision, key, kv, previous });
            deleted.push(doomed);
        }
        rest
    }

    /// Ends the transaction: what it changed becomes visible.
    pub fn finish(self) -> Finished {
        let revision = self.revision();
        let changed = !self.writer.events.is_empty();
        if !changed {
            return Finished { revision, changed, events: Arc::default() };
        }
        self.shared().publish(revision);
        Finished { revision, changed, events: Arc::from_iter(self.writer.events.drain(..)) }
    }

    fn shared(&self) -> &Shared {
        &self.writer.shared
    }

    fn next_revision(&self) -> Revision {
        Revision::new(self.begin + 1, self.writer.events.len() as i64)
    }

    /// Watchers see whole transactions: to them the state before is the state before this one.
    fn previous(&self, prior: &Prior) -> Previous {
        match prior.is_whole && prior.revision.main <= self.begin {
            true => Previous::Encoded(prior.encoded.clone()),
            false => Previous::InHistory,
        }
    }
}

impl Prior {
    fn of(slot: &Slot) -> Option<Self> {
        slot.is_live().then(|| Self {
            encoded: slot.newest().clone(),
            revision: slot.change().revision(),
            is_whole: !slot.is_cold(),
        })
    }

    /// When it was written.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// All fields; the value is empty where it is not at hand.
    pub fn fields(&self) -> KvFields<'_> {
        KvFields::parse(&self.encoded).expect("the index holds KeyValues")
    }

    /// The attached lease, 0 for none.
    pub fn lease(&self) -> i64 {
        self.fields().lease
    }
}

fn live_keys(index: &Index, span: &Span) -> Vec<Deleted> {
    let mut keys = Vec::new();
    let _ = index.visit(span, i64::MAX, &mut |slot| {
        if let Some(prior) = Prior::of(slot) {
            keys.push(Deleted { key: slot.shared_key(), prior });
        }
        if keys.len() < DELETE_CHUNK { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    keys
}
