//! Telling a client that it has missed nothing.

use std::time::Duration;

use super::WatchStream;
use super::inbox::Item;
use super::stream::Group;

/// The id under which progress of a whole stream is told.
const WHOLE_STREAM: i64 = -1;

/// When a stream tells progress by itself.
#[derive(Debug)]
pub(super) struct Ticker {
    every: Duration,
    due: Duration,
}

impl WatchStream {
    /// Answers a progress request: if there are watchers and all of them are synced and past
    /// their start, the answer is queued behind the events that it vouches for. Otherwise
    /// nothing happens, and the client asks again.
    pub fn request_progress(&mut self) {
        if !self.watchers.is_empty() {
            let ids = self.watchers.keys().copied().collect();
            self.queue_progress(WHOLE_STREAM, ids);
        }
    }

    /// Lets [`WatchStream::tick_progress`] tick every `every` from `now` on. The caller adds the
    /// jitter that keeps streams apart.
    pub fn start_progress(&mut self, now: Duration, every: Duration) {
        self.ticker = Some(Ticker { every, due: now.saturating_add(every) });
    }

    /// Tells progress to each watcher that wants it, is synced and had no events since the last
    /// tick, if one is due at `now`. Returns when the next one is.
    pub fn tick_progress(&mut self, now: Duration) -> Option<Duration> {
        let ticker = self.ticker.as_mut()?;
        if now < ticker.due {
            return Some(ticker.due);
        }
        ticker.due = now.saturating_add(ticker.every);
        let due = ticker.due;
        let mut quiet = Vec::new();
        for (watch_id, watcher) in &mut self.watchers {
            if let Some(tick) = &mut watcher.tick
                && std::mem::replace(tick, true)
            {
                quiet.push(*watch_id);
            }
        }
        for watch_id in quiet {
            self.queue_progress(watch_id, vec![watch_id]);
        }
        Some(due)
    }

    /// Queues progress for `watch_id` if all of `vouched` are synced and past their start. If the
    /// inbox is full, it is left out: there will be events enough.
    fn queue_progress(&mut self, watch_id: i64, vouched: Vec<i64>) {
        // With the registry in hand nothing is published, so all events up to the revision are
        // in the inbox, or the watcher's fall is.
        let registry = self.hub.registry();
        let revision = registry.published;
        let mut shelf = self.inbox.lock();
        let ahead = vouched.iter().all(|id| {
            self.watchers.get(id).is_some_and(|watcher| {
                matches!(watcher.group, Group::Synced { .. }) && watcher.start_revision <= revision
            })
        });
        let serial = match self.watchers.get(&watch_id) {
            Some(watcher) if watch_id != WHOLE_STREAM => watcher.serial,
            _ => 0,
        };
        if !ahead || shelf.has_fallen() {
            return;
        }
        let item = Item { watch_id, serial, revision, matched: 0, events: None };
        shelf.push(item, 0, self.hub.room());
        let waker = shelf.take_waker();
        drop(shelf);
        drop(registry);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
