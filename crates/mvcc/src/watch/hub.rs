//! The door: publish here, open streams here.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;

use super::History;
use super::inbox::Room;
use super::past::RecentReads;
use super::registry::Registry;
use super::ring::Ring;
use super::stream::WatchStream;
use crate::Event;

/// Bounds. A small one costs speed, never events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchOptions {
    /// How many responses may wait in the inbox of one stream.
    pub inbox_responses: usize,
    /// How many bytes of events they may hold.
    pub inbox_bytes: usize,
    /// How many of the latest revisions are kept for those who fell a little behind.
    pub ring_revisions: usize,
    /// How many bytes of events they may hold.
    pub ring_bytes: usize,
    /// How many revisions one response may cover when a watcher catches up.
    pub batch_revisions: usize,
    /// About how many bytes are read from history at a time.
    pub batch_bytes: usize,
    /// How many bytes of events that were read from history are kept for the next who asks.
    pub history_bytes: usize,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            inbox_responses: 1024,
            inbox_bytes: 1 << 20,
            ring_revisions: 4096,
            ring_bytes: 8 << 20,
            batch_revisions: 1000,
            batch_bytes: 1 << 20,
            history_bytes: 4 << 20,
        }
    }
}

/// Counts for metrics, taken at different moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WatchStats {
    /// Open streams.
    pub streams: u64,
    /// Watchers of all groups, and those that compaction cancelled but not their client.
    pub watchers: u64,
    /// Watchers that catch up.
    pub unsynced: u64,
    /// Watchers whose stream was full and did not come back yet.
    pub victims: u64,
    /// Events in inboxes.
    pub pending_events: u64,
}

impl WatchStats {
    /// What etcd calls slow watchers.
    pub fn slow_watchers(&self) -> u64 {
        self.unsynced + self.victims
    }
}

/// A number that several threads move. It may dip below zero for a moment, when one who takes
/// is faster than the one who has just given.
#[derive(Debug, Default)]
pub(super) struct Gauge(AtomicI64);

impl Gauge {
    pub(super) fn add(&self, by: u64) {
        self.0.fetch_add(by.cast_signed(), Ordering::Relaxed);
    }

    pub(super) fn sub(&self, by: u64) {
        self.0.fetch_sub(by.cast_signed(), Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        u64::try_from(self.0.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) streams: Gauge,
    pub(super) watchers: Gauge,
    pub(super) unsynced: Gauge,
    pub(super) victims: Gauge,
    pub(super) pending_events: Gauge,
}

pub(super) struct Shared {
    registry: Mutex<Registry>,
    pub(super) counters: Counters,
    pub(super) options: WatchOptions,
    pub(super) recent_reads: RecentReads,
    /// How often the store was replaced.
    pub(super) restores: AtomicU64,
}

impl Shared {
    pub(super) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().expect("nobody panics with the registry in hand")
    }

    pub(super) fn room(&self) -> Room {
        Room { items: self.options.inbox_responses, bytes: self.options.inbox_bytes }
    }
}

/// Brings changes to watchers. Clones are the same hub.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

impl Hub {
    /// A hub for the store behind `history`, which stands at its current revision.
    pub fn new(history: Arc<dyn History>, options: WatchOptions) -> Self {
        let ring = Ring::new(options.ring_revisions, options.ring_bytes);
        let registry = Mutex::new(Registry::new(history, ring));
        let counters = Counters::default();
        let restores = AtomicU64::new(0);
        let recent_reads = RecentReads::new(options.history_bytes);
        let shared = Shared { registry, counters, options, recent_reads, restores };
        Self { shared: Arc::new(shared) }
    }

    /// Tells what one changing transaction did. To be called for every one of them, in order,
    /// once history shows it and before its reply leaves: who then creates a watcher "from now
    /// on" must not see it.
    ///
    /// # Panics
    /// When `revision` is not the one after the last: a watcher would miss something.
    pub fn publish(&self, revision: i64, events: Arc<[Event]>) {
        self.publish_all([(revision, events)]);
    }

    /// [`Hub::publish`] for a batch of transactions; streams are woken once, at the end.
    pub fn publish_all(&self, transactions: impl IntoIterator<Item = (i64, Arc<[Event]>)>) {
        let mut wakers = Vec::new();
        for (revision, events) in transactions {
            let room = self.shared.room();
            let counters = &self.shared.counters;
            self.shared.registry().publish(revision, events, room, counters, &mut wakers);
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The store was replaced by a snapshot's: all watchers go on from where they were, reading
    /// from `history`.
    pub fn restored(&self, history: Arc<dyn History>) {
        let mut wakers = Vec::new();
        let mut registry = self.shared.registry();
        registry.restored(history, &self.shared.counters, &mut wakers);
        self.shared.restores.fetch_add(1, Ordering::Release);
        drop(registry);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// A stream without watchers.
    pub fn open_stream(&self) -> WatchStream {
        WatchStream::new(Arc::clone(&self.shared))
    }

    /// The last revision that was published.
    pub fn revision(&self) -> i64 {
        self.shared.registry().published
    }

    /// Counts for metrics.
    pub fn stats(&self) -> WatchStats {
        let counters = &self.shared.counters;
        WatchStats {
            streams: counters.streams.read(),
            watchers: counters.watchers.read(),
            unsynced: counters.unsynced.read(),
            victims: counters.victims.read(),
            pending_events: counters.pending_events.read(),
        }
    }
}
