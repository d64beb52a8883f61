use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::page::Page;

const SHARDS: usize = 16;
/// What a cached page costs beside its bytes: its entry, its `Arc`, its place in the map.
const OVERHEAD_BYTES: usize = 160;

/// Checked pages by id, up to a number of bytes, the second-chance way: the oldest page leaves
/// first unless it was used since it was last looked at, so a long scan does not push the branches
/// out.
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
    entries: HashMap<u64, Entry, BuildHasherDefault<IdHasher>>,
    /// The ids in the order in which they came; one whose page has left is passed over.
    queue: VecDeque<u64>,
    used_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    page: Arc<Page>,
    used: bool,
}

impl Shard {
    fn find(&mut self, id: u64) -> Option<Arc<Page>> {
        let entry = self.entries.get_mut(&id)?;
        entry.used = true;
        Some(Arc::clone(&entry.page))
    }

    fn insert(&mut self, page: Arc<Page>, capacity_bytes: usize) {
        let (id, cost) = (page.id(), cost_bytes(&page));
        let mut known = false;
        if let Some(old) = self.entries.remove(&id) {
            self.used_bytes -= cost_bytes(&old.page);
            known = true;
        }
        if cost > capacity_bytes {
            return;
        }
        while self.used_bytes + cost > capacity_bytes && self.look_at_oldest() {}
        self.used_bytes += cost;
        self.entries.insert(id, Entry { page, used: false });
        if !known {
            self.queue.push_back(id);
        }
    }

    /// The oldest page leaves, or goes to the back of the queue if it was used. Returns whether
    /// there was one.
    fn look_at_oldest(&mut self) -> bool {
        let Some(id) = self.queue.pop_front() else { return false };
        match self.entries.get_mut(&id) {
            Some(entry) if entry.used => {
                entry.used = false;
                self.queue.push_back(id);
            }
            Some(entry) => {
                self.used_bytes -= cost_bytes(&entry.page);
                self.entries.remove(&id);
            }
            None => {}
        }
        true
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::page::{Run, encode_leaf};

    fn page(id: u64, pages: u64) -> Arc<Page> {
        let run = Run { start: id, len: pages };
        let bytes: Bytes = encode_leaf(&[], Some(run), 1024).unwrap();
        Arc::new(Page::parse(id, bytes).unwrap())
    }

    #[test]
    fn pages_in_use_stay_and_others_leave() {
        let cache = PageCache::new(16 * 10 * (1024 + OVERHEAD_BYTES));
        // All of one shard.
        let id = |number: u64| number * 16;
        cache.insert(page(id(1), 1));
        for number in 2..200 {
            assert!(cache.find(id(1)).is_some(), "it is used all the time");
            cache.insert(page(id(number), 1));
        }
        let here = (1..200).filter(|number| cache.find(id(*number)).is_some()).count();
        assert_eq!(here, 10);
        assert!(cache.find(id(199)).is_some());
        assert!(cache.find(id(1)).is_some());
    }

    #[test]
    fn a_page_takes_the_place_of_its_namesake() {
        let cache = PageCache::new(16 * 3 * (1024 + OVERHEAD_BYTES));
        cache.insert(page(16, 1));
        cache.insert(page(16, 2));
        assert_eq!(cache.find(16).map(|page| page.run().len), Some(2));
        // Too large to be kept; the old one must not stay either.
        cache.insert(page(16, 9));
        assert!(cache.find(16).is_none());
        for _ in 0..100 {
            cache.insert(page(16, 1));
            cache.insert(page(32, 1));
        }
        assert!(cache.find(16).is_some() && cache.find(32).is_some());
    }

    #[test]
    fn no_bytes_mean_no_cache() {
        let cache = PageCache::new(0);
        cache.insert(page(16, 1));
        assert!(cache.find(16).is_none());
    }
}
