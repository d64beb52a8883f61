//! One client's watchers, owned by one task, which polls.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use super::batch::{Segment, WatchBatch, WatchContent, WatchEvents};
use super::catch_up::Step;
use super::create::{WatchCancelled, WatchCreate, WatchCreateError, WatchCreated, WatchFilters};
use super::hub::Shared;
use super::inbox::{Fallen, Inbox, Item};
use super::progress::Ticker;
use super::range::WatchRange;
use super::registry::Synced;
use super::{History, HistoryError};

/// What the stream knows of a watcher.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) serial: u64,
    pub(super) range: WatchRange,
    pub(super) filters: WatchFilters,
    pub(super) start_revision: i64,
    prev_kv: bool,
    fragment: bool,
    /// Whether the next tick is to tell progress; `None`: ticks are not for it.
    pub(super) tick: Option<bool>,
    pub(super) group: Group,
}

/// Who brings its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// The hub, at this slot; or it fell out and the note is still in the inbox.
    Synced { slot: u32 },
    /// The stream, which reads from this revision on.
    Unsynced { next: i64 },
    /// Nobody any more.
    Compacted,
}

/// What a poll of a stream came to.
#[derive(Debug)]
pub enum WatchNext {
    /// The next response.
    Batch(WatchBatch),
    /// There is more of the past to be read, and nothing to send so far: poll again, once others
    /// on this thread had their turn.
    Pause,
    /// History cannot be read ([`WatchStream::failure`]), and the stream is over.
    Over,
}

/// A response that was made by catching up and waits for its turn.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) watch_id: i64,
    pub(super) serial: u64,
    pub(super) revision: i64,
    pub(super) content: WatchContent,
}

/// Many watchers, one queue of responses. Dropping it removes them.
///
/// All calls are made by the one task that owns it; after any of them it polls again.
pub struct WatchStream {
    pub(super) hub: Arc<Shared>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) watchers: BTreeMap<i64, Watcher>,
    /// The ids of those that catch up.
    pub(super) unsynced: BTreeSet<i64>,
    next_id: i64,
    /// What was taken from the inbox; comes after `ready`.
    local: VecDeque<Item>,
    fallen: Vec<Fallen>,
    pub(super) ready: VecDeque<Ready>,
    /// Live events and catching up take turns.
    live_turn: bool,
    pub(super) history: Arc<dyn History>,
    pub(super) restores: u64,
    /// How many revisions to read from history at a time.
    pub(super) history_limit: usize,
    /// Who was last to choose what is read from history.
    pub(super) last_far: i64,
    pub(super) ticker: Option<Ticker>,
    failure: Option<HistoryError>,
}

impl WatchStream {
    pub(super) fn new(hub: Arc<Shared>) -> Self {
        hub.counters.streams.add(1);
        let history = Arc::clone(&hub.registry().history);
        let restores = hub.restores.load(Ordering::Acquire);
        let history_limit = hub.options.batch_revisions.clamp(1, 64);
        Self {
            hub,
            inbox: Arc::default(),
            watchers: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            next_id: 0,
            local: VecDeque::new(),
            fallen: Vec::new(),
            ready: VecDeque::new(),
            live_turn: false,
            history,
            restores,
            history_limit,
            last_far: i64::MIN,
            ticker: None,
            failure: None,
        }
    }

    /// Adds a watcher. Its `created` response is to leave before the stream is polled again.
    ///
    /// Whether the client may read the range is for the caller to check before; etcd refuses a
    /// negative start revision even before that.
    pub fn create(&mut self, create: WatchCreate) -> Result<WatchCreated, WatchCreateError> {
        if create.start_revision < 0 {
            return Err(WatchCreateError::Compacted);
        }
        let range =
            WatchRange::parse(create.key, create.range_end).ok_or(WatchCreateError::EmptyRange)?;
        let watch_id = self.choose_id(create.watch_id)?;
        let (filters, start) = (create.filters, create.start_revision);
        let mut registry = self.hub.registry();
        let serial = registry.new_serial();
        let revision = registry.published;
        let group = if start == 0 || start > revision {
            let min_revision = start.max(revision + 1);
            let inbox = Arc::clone(&self.inbox);
            let range = range.clone();
            let watcher = Synced { watch_id, serial, range, filters, min_revision, inbox };
            Group::Synced { slot: registry.join(watcher) }
        } else {
            Group::Unsynced { next: start }
        };
        drop(registry);
        let watcher = Watcher {
            serial,
            range,
            filters,
            start_revision: start,
            prev_kv: create.prev_kv,
            fragment: create.fragment,
            tick: create.progress_notify.then_some(true),
            group,
        };
        if matches!(group, Group::Unsynced { .. }) {
            self.unsynced.insert(watch_id);
            self.hub.counters.unsynced.add(1);
        }
        self.watchers.insert(watch_id, watcher);
        self.hub.counters.watchers.add(1);
        self.wake();
        Ok(WatchCreated { watch_id, revision })
    }

    fn choose_id(&mut self, wanted: i64) -> Result<i64, WatchCreateError> {
        if wanted != 0 {
            let taken = self.watchers.contains_key(&wanted);
            return if taken { Err(WatchCreateError::DuplicateId) } else { Ok(wanted) };
        }
        while self.watchers.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        Ok(self.next_id - 1)
    }

    /// Removes a watcher; what is queued for it is not sent any more. `None`: there is no such
    /// watcher, and the client gets no answer.
    pub fn cancel(&mut self, watch_id: i64) -> Option<WatchCancelled> {
        let watcher = self.watchers.remove(&watch_id)?;
        let mut registry = self.hub.registry();
        let revision = registry.published;
        let counters = &self.hub.counters;
        match watcher.group {
            Group::Synced { slot } => {
                if !registry.leave(slot, watcher.serial) {
                    counters.victims.sub(1);
                }
            }
            Group::Unsynced { .. } => {
                self.unsynced.remove(&watch_id);
                counters.unsynced.sub(1);
            }
            Group::Compacted => {}
        }
        counters.watchers.sub(1);
        Some(WatchCancelled { revision })
    }

    /// The revision for headers of responses that the caller makes by itself.
    pub fn revision(&self) -> i64 {
        self.hub.registry().published
    }

    /// The next response, or why there is none yet.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<WatchNext> {
        while self.failure.is_none() {
            if let Some(batch) = self.next_queued() {
                return Poll::Ready(WatchNext::Batch(batch));
            }
            if !self.live_turn && !self.unsynced.is_empty() {
                self.live_turn = true;
                match self.catch_up() {
                    // A long past may concern nobody here: others on this thread have a turn
                    // before more of it is read.
                    Ok(Step::Forward) if !self.is_between_steps() => {}
                    Ok(Step::Forward | Step::Stalled) => {
                        return Poll::Ready(WatchNext::Pause);
                    }
                    Err(error) => self.failure = Some(error),
                }
                continue;
            }
            self.live_turn = false;
            if !self.take_inbox(cx) && self.unsynced.is_empty() {
                return Poll::Pending;
            }
        }
        Poll::Ready(WatchNext::Over)
    }

    /// Whether a step of catching up came to nothing and there is another to do.
    fn is_between_steps(&self) -> bool {
        self.ready.is_empty() && !self.unsynced.is_empty()
    }

    /// Why the stream is over.
    pub fn failure(&self) -> Option<&HistoryError> {
        self.failure.as_ref()
    }

    fn next_queued(&mut self) -> Option<WatchBatch> {
        while let Some(ready) = self.ready.pop_front() {
            let batch = self.finish(ready.watch_id, ready.serial, ready.revision, ready.content);
            if batch.is_some() {
                return batch;
            }
        }
        while let Some(item) = self.local.pop_front() {
            self.hub.counters.pending_events.sub(u64::from(item.matched));
            let batch = self.finish_item(item);
            if batch.is_some() {
                return batch;
            }
        }
        None
    }

    /// Makes the response of an item, unless its watcher is gone.
    fn finish_item(&mut self, item: Item) -> Option<WatchBatch> {
        let Item { watch_id, serial, revision, matched, events } = item;
        let Some(events) = events else {
            return self.finish(watch_id, serial, revision, WatchContent::Progress);
        };
        let watcher = self.watchers.get(&watch_id)?;
        let segment = if matched as usize == events.len() {
            Segment::all(events)
        } else {
            let concerns = |at: &u32| {
                let event = &events[*at as usize];
                watcher.range.contains(&event.key) && watcher.filters.pass(event.kind)
            };
            let picks: Vec<u32> =
                (0..super::interval::place(events.len())).filter(concerns).collect();
            Segment::some(events, &picks)
        };
        let content = WatchContent::Events(WatchEvents::new(segment, Vec::new()));
        self.finish(watch_id, serial, revision, content)
    }

    fn finish(
        &mut self,
        watch_id: i64,
        serial: u64,
        revision: i64,
        mut content: WatchContent,
    ) -> Option<WatchBatch> {
        if serial == 0 {
            if self.must_still_read(revision) {
                return None;
            }
            return Some(WatchBatch { watch_id, revision, fragment: false, content });
        }
        self.refresh_history();
        let watcher = self.watchers.get_mut(&watch_id)?;
        if watcher.serial != serial {
            return None;
        }
        match &mut content {
            WatchContent::Events(events) => {
                if watcher.prev_kv {
                    events.find_previous(self.history.as_ref());
                }
                watcher.tick = watcher.tick.map(|_| false);
            }
            // It may have moved on while this waited; the client begins anew from there.
            WatchContent::Compacted { compact_revision } => {
                *compact_revision = self.history.compact_revision();
            }
            WatchContent::Progress => {}
        }
        Some(WatchBatch { watch_id, revision, fragment: watcher.fragment, content })
    }

    /// Whether a watcher, created after progress was asked for, has yet to read what that progress
    /// would vouch for.
    fn must_still_read(&self, revision: i64) -> bool {
        let mut behind = self.unsynced.iter().filter_map(|id| self.watchers.get(id));
        behind.any(|watcher| matches!(watcher.group, Group::Unsynced { next } if next <= revision))
    }

    /// Takes what the hub left. Who fell out catches up from now on; that happens after all of
    /// this lot is handed out, so nothing overtakes.
    fn take_inbox(&mut self, cx: &Context<'_>) -> bool {
        if !self.inbox.lock().take(&mut self.local, &mut self.fallen, cx.waker()) {
            return false;
        }
        for Fallen { watch_id, serial, next } in self.fallen.drain(..) {
            match self.watchers.get_mut(&watch_id) {
                Some(watcher) if watcher.serial == serial => {
                    watcher.group = Group::Unsynced { next };
                }
                _ => continue,
            }
            self.unsynced.insert(watch_id);
            self.hub.counters.victims.sub(1);
            self.hub.counters.unsynced.add(1);
        }
        true
    }

    pub(super) fn refresh_history(&mut self) {
        if self.hub.restores.load(Ordering::Acquire) != self.restores {
            let registry = self.hub.registry();
            self.restores = self.hub.restores.load(Ordering::Acquire);
            self.history = Arc::clone(&registry.history);
        }
    }

    pub(super) fn wake(&self) {
        let waker = self.inbox.lock().take_waker();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        while let Some((watch_id, _)) = self.watchers.first_key_value() {
            let watch_id = *watch_id;
            self.cancel(watch_id);
        }
        let here: u64 = self.local.iter().map(|item| u64::from(item.matched)).sum();
        let there = self.inbox.lock().matched();
        self.hub.counters.pending_events.sub(here + there);
        self.hub.counters.streams.sub(1);
    }
}
