use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::page::Page;

const SHARDS: usize = 16;
/// What a cached page costs beside its bytes: its entry, its `Arc`, its place in the map.
const OVERHEAD_BYTES: usize = 160;

/// Checked pages by id, up to a number of bytes, the second-chance way: a page that was used since
/// the hand last passed stays, so a long scan does not push the branches out.
///
/// An id can come to mean another page. That is safe because a page is written only where no
/// reader can reach the id's old meaning, and its writer replaces what is cached here before
/// anybody can reach the new one.
#[derive(Debug)]
pub(crate) struct PageCache {
    shards: Vec<Mutex<Shard>>,
    shard_capacity_bytes: usize,
}

impl PageCache {
    pub(crate) fn new(capacity_bytes: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, shard_capacity_bytes: capacity_bytes / SHARDS }
    }

    pub(crate) fn find(&self, id: u64) -> Option<Arc<Page>> {
        self.shard(id)?.find(id)
    }

    /// Takes a page in, in place of any of the same id.
    pub(crate) fn insert(&self, page: Arc<Page>) {
        if let Some(mut shard) = self.shard(page.id()) {
            shard.insert(page, self.shard_capacity_bytes);
        }
    }

    fn shard(&self, id: u64) -> Option<MutexGuard<'_, Shard>> {
        let shard = self.shards.get(id as usize % SHARDS)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Debug, Default)]
struct Shard {
    places: HashMap<u64, usize, BuildHasherDefault<IdHasher>>,
    /// The clock's face. A place stays where it is while its page is cached, so that the hand
    /// meets pages in the order in which they came.
    entries: Vec<Option<Entry>>,
    vacant: Vec<usize>,
    hand: usize,
    used_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    page: Arc<Page>,
    used: bool,
}

impl Shard {
    fn find(&mut self, id: u64) -> Option<Arc<Page>> {
        let entry = self.entries.get_mut(*self.places.get(&id)?)?.as_mut()?;
        entry.used = true;
        Some(Arc::clone(&entry.page))
    }

    fn insert(&mut self, page: Arc<Page>, capacity_bytes: usize) {
        if let Some(place) = self.places.get(&page.id()) {
            self.remove(*place);
        }
        let cost = cost_bytes(&page);
        if cost > capacity_bytes {
            return;
        }
        while self.used_bytes + cost > capacity_bytes && !self.places.is_empty() {
            self.turn_hand();
        }
        self.used_bytes += cost;
        let place = self.vacant.pop().unwrap_or(self.entries.len());
        self.places.insert(page.id(), place);
        let entry = Some(Entry { page, used: false });
        match self.entries.get_mut(place) {
            Some(vacant) => *vacant = entry,
            None => self.entries.push(entry),
        }
    }

    /// Looks at one place: its page leaves unless it was used since the last look.
    fn turn_hand(&mut self) {
        if self.hand >= self.entries.len() {
            self.hand = 0;
        }
        match self.entries.get_mut(self.hand) {
            Some(Some(entry)) if entry.used => entry.used = false,
            Some(Some(_)) => self.remove(self.hand),
            Some(None) | None => {}
        }
        self.hand += 1;
    }

    fn remove(&mut self, place: usize) {
        if let Some(gone) = self.entries.get_mut(place).and_then(Option::take) {
            self.places.remove(&gone.page.id());
            self.used_bytes -= cost_bytes(&gone.page);
            self.vacant.push(place);
        }
    }
}

fn cost_bytes(page: &Page) -> usize {
    page.bytes().len() + OVERHEAD_BYTES
}

/// Page ids are small, dense and nobody's to choose: one multiplication spreads them.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
}
