//! The synced group: who is told at once. All of it is behind one lock, which the publisher takes
//! for every transaction; so nobody else holds it for more than a few dozen small steps.

use std::sync::Arc;
use std::task::Waker;

use super::batch::EventList;
use super::hub::Counters;
use super::inbox::{Fallen, Inbox, Item, Room};
use super::index::Index;
use super::range::WatchRange;
use super::ring::{Ring, weight};
use super::{History, WatchFilters};
use crate::Event;

/// A synced watcher.
#[derive(Debug)]
pub(super) struct Synced {
    pub(super) watch_id: i64,
    pub(super) serial: u64,
    pub(super) range: WatchRange,
    pub(super) filters: WatchFilters,
    /// It does not see anything older.
    pub(super) min_revision: i64,
    pub(super) inbox: Arc<Inbox>,
}

#[derive(Debug)]
struct Member {
    watcher: Synced,
    /// Its place among those who watch the same.
    at: u32,
    /// The last revision that matched, and which of `matches` it became.
    matched_revision: i64,
    matched_at: u32,
}

#[derive(Debug, Clone, Copy)]
struct Match {
    slot: u32,
    events: u32,
}

pub(super) struct Registry {
    pub(super) published: i64,
    pub(super) history: Arc<dyn History>,
    pub(super) ring: Ring,
    index: Index,
    members: Vec<Option<Member>>,
    free: Vec<u32>,
    matches: Vec<Match>,
    last_serial: u64,
}

impl Registry {
    pub(super) fn new(history: Arc<dyn History>, ring: Ring) -> Self {
        Self {
            published: history.current_revision(),
            history,
            ring,
            index: Index::default(),
            members: Vec::new(),
            free: Vec::new(),
            matches: Vec::new(),
            last_serial: 0,
        }
    }

    pub(super) fn new_serial(&mut self) -> u64 {
        self.last_serial += 1;
        self.last_serial
    }

    /// From here on the ring has everything that is published.
    pub(super) fn ring_first(&self) -> i64 {
        self.ring.first().unwrap_or(self.published + 1)
    }

    /// Adds a watcher to the group; returns its slot.
    pub(super) fn join(&mut self, watcher: Synced) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.members.push(None);
            super::interval::place(self.members.len() - 1)
        });
        let at = self.index.insert(&watcher.range, slot);
        let member = Member { watcher, at, matched_revision: 0, matched_at: 0 };
        self.members[slot as usize] = Some(member);
        slot
    }

    /// Takes the watcher `serial` out of the group. False when it fell out before.
    pub(super) fn leave(&mut self, slot: u32, serial: u64) -> bool {
        match &self.members[slot as usize] {
            Some(member) if member.watcher.serial == serial => {}
            _ => return false,
        }
        self.remove(slot);
        true
    }

    fn remove(&mut self, slot: u32) -> Option<Synced> {
        let member = self.members[slot as usize].take()?;
        if let Some(moved) = self.index.remove(&member.watcher.range, member.at)
            && let Some(moved) = &mut self.members[moved as usize]
        {
            moved.at = member.at;
        }
        self.free.push(slot);
        Some(member.watcher)
    }

    /// Tells the group what happened at `revision`.
    pub(super) fn publish(
        &mut self,
        revision: i64,
        events: EventList,
        room: Room,
        counters: &Counters,
        wakers: &mut Vec<Waker>,
    ) {
        assert_eq!(revision, self.published + 1, "every changing revision is published once");
        self.published = revision;
        let bytes = weight(&events);
        self.find_matches(revision, &events);
        if !self.matches.is_empty() {
            self.deliver(revision, &events, bytes, room, counters, wakers);
        }
        self.ring.push(revision, events, bytes);
    }

    fn find_matches(&mut self, revision: i64, events: &[Event]) {
        let Self { index, members, matches, .. } = self;
        matches.clear();
        for event in events {
            index.visit(&event.key, |slot| {
                let Some(member) = &mut members[slot as usize] else { return };
                let watcher = &member.watcher;
                if revision < watcher.min_revision || !watcher.filters.pass(event.kind) {
                    return;
                }
                if member.matched_revision == revision {
                    matches[member.matched_at as usize].events += 1;
                    return;
                }
                member.matched_revision = revision;
                member.matched_at = super::interval::place(matches.len());
                matches.push(Match { slot, events: 1 });
            });
        }
    }

    fn deliver(
        &mut self,
        revision: i64,
        events: &EventList,
        bytes: usize,
        room: Room,
        counters: &Counters,
        wakers: &mut Vec<Waker>,
    ) {
        let matches = std::mem::take(&mut self.matches);
        wakers.reserve(matches.len());
        let mut pending = 0;
        for Match { slot, events: matched } in &matches {
            let Some(Member { watcher, .. }) = &self.members[*slot as usize] else { continue };
            let (watch_id, serial) = (watcher.watch_id, watcher.serial);
            let events = Some(Arc::clone(events));
            let item = Item { watch_id, serial, revision, matched: *matched, events };
            let mut shelf = watcher.inbox.lock();
            let taken = shelf.push(item, bytes, room);
            if !taken {
                shelf.drop_out(Fallen { watch_id, serial, next: revision });
            }
            wakers.extend(shelf.take_waker());
            drop(shelf);
            if taken {
                pending += u64::from(*matched);
            } else {
                self.remove(*slot);
                counters.victims.add(1);
            }
        }
        counters.pending_events.add(pending);
        self.matches = matches;
    }

    /// All fall out: the store jumped to a state that nobody was told about.
    pub(super) fn restored(
        &mut self,
        history: Arc<dyn History>,
        counters: &Counters,
        wakers: &mut Vec<Waker>,
    ) {
        let unseen = self.published + 1;
        for slot in 0..self.members.len() {
            let Some(watcher) = self.remove(super::interval::place(slot)) else { continue };
            let (watch_id, serial) = (watcher.watch_id, watcher.serial);
            let next = watcher.min_revision.max(unseen);
            let mut shelf = watcher.inbox.lock();
            shelf.drop_out(Fallen { watch_id, serial, next });
            wakers.extend(shelf.take_waker());
            drop(shelf);
            counters.victims.add(1);
        }
        self.ring.clear();
        self.published = history.current_revision();
        self.history = history;
    }
}
