//! The one thing that the publisher and a stream's task share for long: a short, bounded queue.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::task::Waker;

use super::batch::EventList;

/// A response in the making. The stream picks the watcher's events from the list on its own time.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) watch_id: i64,
    /// Tells a watcher from its successor with the same id. 0: none in particular.
    pub(super) serial: u64,
    pub(super) revision: i64,
    /// How many of the events are the watcher's.
    pub(super) matched: u32,
    /// `None`: progress.
    pub(super) events: Option<EventList>,
}

/// A watcher fell out of the synced group; from `next` on the stream reads for itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fallen {
    pub(super) watch_id: i64,
    pub(super) serial: u64,
    pub(super) next: i64,
}

#[derive(Debug, Default)]
pub(super) struct Inbox {
    shelf: Mutex<Shelf>,
}

#[derive(Debug, Default)]
pub(super) struct Shelf {
    items: VecDeque<Item>,
    bytes: usize,
    fallen: Vec<Fallen>,
    waker: Option<Waker>,
}

/// How much an inbox may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) items: usize,
    pub(super) bytes: usize,
}

impl Inbox {
    pub(super) fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().expect("nobody panics with an inbox in hand")
    }
}

impl Shelf {
    /// Puts `item`, whose events weigh `bytes`, if there is room. An empty inbox takes anything.
    pub(super) fn push(&mut self, item: Item, bytes: usize, room: Room) -> bool {
        let full = self.items.len() >= room.items || self.bytes.saturating_add(bytes) > room.bytes;
        if full && !self.items.is_empty() {
            return false;
        }
        self.bytes += bytes;
        self.items.push_back(item);
        true
    }

    pub(super) fn drop_out(&mut self, fallen: Fallen) {
        self.fallen.push(fallen);
    }

    /// Whether some watcher fell out and the stream has not seen it yet.
    pub(super) fn has_fallen(&self) -> bool {
        !self.fallen.is_empty()
    }

    /// Who must be told, once.
    pub(super) fn take_waker(&mut self) -> Option<Waker> {
        self.waker.take()
    }

    /// Swaps the items for `empty` and moves the fallen. When there is nothing, leaves `waker`
    /// and returns false.
    ///
    /// Items and fallen go together: all that a fallen watcher may still expect from the inbox
    /// is in this lot or was in an earlier one.
    pub(super) fn take(
        &mut self,
        empty: &mut VecDeque<Item>,
        fallen: &mut Vec<Fallen>,
        waker: &Waker,
    ) -> bool {
        if self.items.is_empty() && self.fallen.is_empty() {
            match &mut self.waker {
                Some(old) => old.clone_from(waker),
                None => self.waker = Some(waker.clone()),
            }
            return false;
        }
        // Room that a burst has left is given back once it is out of proportion.
        if self.items.len() < empty.capacity() / 4 {
            empty.shrink_to(2 * self.items.len());
        }
        std::mem::swap(&mut self.items, empty);
        fallen.append(&mut self.fallen);
        self.bytes = 0;
        true
    }

    pub(super) fn matched(&self) -> u64 {
        self.items.iter().map(|item| u64::from(item.matched)).sum()
    }
}
