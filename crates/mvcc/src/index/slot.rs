//! One key in the index.

use bytes::Bytes;

use crate::Revision;
use crate::kv::{KvFields, canonical_key, canonical_key_bytes};

/// An encoding shorter than this stays whole whatever the budget says: without its value it would
/// hardly be smaller.
const WORTH_COOLING: usize = 96;

/// When a key was changed, and how: a revision with two marks beside its sub.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Change {
    main: i64,
    sub_and_marks: u64,
}

const TOMBSTONE: u64 = 1;
const COLD: u64 = 2;
const MARK_BITS: u32 = 2;

impl Change {
    pub(crate) fn new(revision: Revision, tombstone: bool) -> Self {
        let sub = u64::try_from(revision.sub).expect("sub counts from 0") << MARK_BITS;
        Self { main: revision.main, sub_and_marks: sub | if tombstone { TOMBSTONE } else { 0 } }
    }

    pub(crate) const fn main(self) -> i64 {
        self.main
    }

    pub(crate) const fn revision(self) -> Revision {
        Revision::new(self.main, (self.sub_and_marks >> MARK_BITS) as i64)
    }

    pub(crate) const fn is_tombstone(self) -> bool {
        self.sub_and_marks & TOMBSTONE != 0
    }
}

/// A key, its newest state, and the changes before that are not compacted yet.
///
/// Most keys have one change that counts, so the slot holds that one inline and nothing else:
/// 56 bytes. The key itself is read out of the encoded newest state.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Canonical `mvccpb.KeyValue` of the newest change; without the value where the change is
    /// marked cold; the key alone for a tombstone.
    newest: Bytes,
    change: Change,
    older: Option<Box<Older>>,
}

/// Changes before the newest, ascending.
#[derive(Debug)]
struct Older {
    changes: Vec<Change>,
}

/// What a key was at a revision.
#[derive(Debug)]
pub(crate) enum StateAt<'a> {
    /// Not there.
    Absent,
    /// As it is now, with the whole encoded `KeyValue` at hand.
    Ready(&'a Bytes),
    /// As it is now; the value is to be read from the db. The encoding lacks the value only.
    Cold(&'a Bytes, Revision),
    /// As an older put left it, to be read from the db.
    Older(Revision),
}

impl Slot {
    pub(super) fn new(newest: Bytes, change: Change) -> Self {
        Self { newest, change, older: None }
    }

    pub(crate) fn key(&self) -> &[u8] {
        canonical_key(&self.newest)
    }

    /// The key, sharing the memory of the newest state.
    pub(crate) fn shared_key(&self) -> Bytes {
        canonical_key_bytes(&self.newest)
    }

    pub(crate) fn change(&self) -> Change {
        self.change
    }

    /// Whether the key lives now.
    pub(crate) fn is_live(&self) -> bool {
        !self.change.is_tombstone()
    }

    /// Whether a compaction might find something to drop here.
    pub(super) fn is_loose(&self) -> bool {
        self.older.is_some() || self.change.is_tombstone()
    }

    /// The newest state: encoded, the value missing where cold.
    pub(crate) fn newest(&self) -> &Bytes {
        &self.newest
    }

    pub(crate) fn is_cold(&self) -> bool {
        self.change.sub_and_marks & COLD != 0
    }

    /// Bytes of the value budget that the slot takes.
    pub(super) fn hot_bytes(&self) -> usize {
        let hot = self.is_live() && !self.is_cold() && self.newest.len() >= WORTH_COOLING;
        if hot { self.newest.len() } else { 0 }
    }

    /// Puts the slot's key into a newer state; the old one joins history.
    pub(super) fn advance(&mut self, newest: Bytes, change: Change) {
        assert!(change.revision() > self.change.revision(), "changes of a key come in order");
        let mut old = self.change;
        old.sub_and_marks &= !COLD;
        self.older.get_or_insert_with(|| Box::new(Older { changes: Vec::new() })).changes.push(old);
        self.newest = newest;
        self.change = change;
    }

    /// Lets the value go; it can be read from the db.
    pub(super) fn cool(&mut self) {
        if self.hot_bytes() > 0 {
            let fields = KvFields::parse(&self.newest).expect("the index holds KeyValues");
            self.newest = KvFields { value: &[], ..fields }.encode();
            self.change.sub_and_marks |= COLD;
        }
    }

    /// The newest change with `main` not above the revision, deletions included.
    pub(crate) fn change_at(&self, revision: i64) -> Option<Change> {
        if self.change.main <= revision {
            return Some(self.change);
        }
        let older = &self.older.as_ref()?.changes;
        let after = older.partition_point(|change| change.main <= revision);
        after.checked_sub(1).map(|at| older[at])
    }

    /// Whether the key was deleted in exactly this transaction.
    pub(crate) fn was_deleted_in(&self, main: i64) -> bool {
        let older = self.older.as_ref().map_or(&[][..], |older| &older.changes);
        let first = older.partition_point(|change| change.main < main);
        let mut changes = older[first..].iter().chain([&self.change]);
        changes.any(|change| change.main == main && change.is_tombstone())
    }

    pub(crate) fn at(&self, revision: i64) -> StateAt<'_> {
        match self.change_at(revision) {
            None => StateAt::Absent,
            Some(change) if change.is_tombstone() => StateAt::Absent,
            Some(change) if change != self.change => StateAt::Older(change.revision()),
            Some(change) if self.is_cold() => StateAt::Cold(&self.newest, change.revision()),
            Some(_) => StateAt::Ready(&self.newest),
        }
    }

    pub(crate) fn lives_at(&self, revision: i64) -> bool {
        self.change_at(revision).is_some_and(|change| !change.is_tombstone())
    }

    /// Drops what no read at or after the revision can see. Returns whether anything is left.
    pub(super) fn compact(&mut self, revision: i64) -> bool {
        if let Some(older) = &mut self.older {
            let changes = &mut older.changes;
            let mut keep_from = changes.partition_point(|change| change.main <= revision);
            // The newest state at the revision stays visible, unless that is "not there".
            if self.change.main > revision && keep_from > 0 {
                keep_from -= usize::from(!changes[keep_from - 1].is_tombstone());
            }
            // What led to that state in the same transaction stays until the next compaction, so
            // that `was_deleted_in` says the same before and after.
            let visible = changes.get(keep_from).unwrap_or(&self.change);
            if visible.main == revision && !visible.is_tombstone() {
                keep_from = changes.partition_point(|change| change.main < revision);
            }
            changes.drain(..keep_from);
            match changes.len() {
                0 => self.older = None,
                len if len < changes.capacity() / 4 => changes.shrink_to(len * 2),
                _ => {}
            }
        }
        self.older.is_some() || self.is_live() || self.change.main > revision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(main: i64, sub: i64) -> (Bytes, Change) {
        let fields = KvFields {
            key: b"k",
            mod_revision: main,
            version: 1,
            value: &[b'v'; 100],
            ..KvFields::default()
        };
        (fields.encode(), Change::new(Revision::new(main, sub), false))
    }

    fn tombstone(main: i64, sub: i64) -> (Bytes, Change) {
        let fields = KvFields { key: b"k", ..KvFields::default() };
        (fields.encode(), Change::new(Revision::new(main, sub), true))
    }

    fn slot(changes: &[(Bytes, Change)]) -> Slot {
        let mut slot = Slot::new(changes[0].0.clone(), changes[0].1);
        for (newest, change) in &changes[1..] {
            slot.advance(newest.clone(), *change);
        }
        slot
    }

    fn mains(slot: &Slot) -> Vec<i64> {
        let older = slot.older.iter().flat_map(|older| older.changes.iter());
        older.chain([&slot.change]).map(|change| change.main).collect()
    }

    #[test]
    fn a_slot_is_small() {
        assert_eq!(size_of::<Slot>(), 56);
    }

    #[test]
    fn each_revision_sees_its_state() {
        let slot = slot(&[put(2, 0), put(4, 1), tombstone(6, 0), put(8, 0)]);
        assert!(matches!(slot.at(1), StateAt::Absent));
        assert!(matches!(slot.at(3), StateAt::Older(r) if r == Revision::new(2, 0)));
        assert!(matches!(slot.at(4), StateAt::Older(r) if r == Revision::new(4, 1)));
        assert!(matches!(slot.at(6), StateAt::Absent));
        assert!(matches!(slot.at(9), StateAt::Ready(_)));
    }

    #[test]
    fn the_last_change_of_a_transaction_counts() {
        let slot = slot(&[put(2, 0), tombstone(3, 0), put(3, 1)]);
        assert!(matches!(slot.at(3), StateAt::Ready(_)));
        assert!(slot.was_deleted_in(3));
        assert!(!slot.was_deleted_in(2));
    }

    #[test]
    fn a_cold_slot_keeps_all_but_the_value() {
        let mut slot = slot(&[put(2, 0)]);
        assert!(slot.hot_bytes() > 0);
        slot.cool();
        assert_eq!(slot.hot_bytes(), 0);
        let StateAt::Cold(stub, revision) = slot.at(2) else { panic!("not cold") };
        assert_eq!(revision, Revision::new(2, 0));
        let fields = KvFields::parse(stub).expect("a KeyValue");
        assert_eq!((fields.key, fields.version, fields.value), (&b"k"[..], 1, &b""[..]));
        let (newest, change) = put(3, 0);
        slot.advance(newest, change);
        assert!(!slot.is_cold());
        assert!(matches!(slot.at(2), StateAt::Older(_)));
    }

    #[test]
    fn compaction_keeps_what_can_be_read() {
        let changes = [put(2, 0), put(4, 0), tombstone(6, 0), put(8, 0), put(9, 0)];
        for (revision, left) in [
            (1, &[2, 4, 6, 8, 9][..]),
            (3, &[2, 4, 6, 8, 9]),
            (4, &[4, 6, 8, 9]),
            (6, &[8, 9]),
            (7, &[8, 9]),
            (8, &[8, 9]),
            (9, &[9]),
            (10, &[9]),
        ] {
            let mut slot = slot(&changes);
            assert!(slot.compact(revision));
            assert_eq!(mains(&slot), left, "compacted at {revision}");
        }
    }

    #[test]
    fn a_deletion_just_before_a_put_is_remembered_for_one_compaction() {
        let mut slot = slot(&[put(2, 0), tombstone(4, 0), put(4, 1)]);
        slot.compact(4);
        assert!(slot.was_deleted_in(4));
        slot.compact(5);
        assert_eq!(mains(&slot), [4]);
    }

    #[test]
    fn compaction_drops_a_dead_key() {
        let changes = [put(2, 0), tombstone(4, 0)];
        assert!(slot(&changes).compact(3));
        assert!(!slot(&changes).compact(4));
        assert!(!slot(&changes[1..]).compact(5));
    }
}
