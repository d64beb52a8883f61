//! What each watcher must see, written down plainly, against what it does see: under random
//! transactions, watchers that come and go, slow readers, compactions, restores and tight bounds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use mvcc::{
    Event, EventKind, History, Hub, Previous, WatchBatch, WatchContent, WatchCreate,
    WatchCreateError, WatchEvents, WatchFilters, WatchOptions, WatchStream,
};
use proptest::prelude::*;

use crate::real_store::RealStore;
use crate::store::{Bell, Keep, Op, Store, poll_through};

const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const NEVER: i64 = i64::MAX;

#[derive(Debug, Clone)]
enum Action {
    /// One change for each set bit: put, or delete where the second mask says so.
    Txn {
        keys: u8,
        deletions: u8,
        at_hand: bool,
    },
    Open,
    Create {
        stream: usize,
        range: (u8, u8),
        start: i64,
        filters: u8,
        prev_kv: bool,
        id: i64,
    },
    Cancel {
        stream: usize,
        id: i64,
    },
    Poll {
        stream: usize,
        responses: usize,
    },
    Drain {
        stream: usize,
    },
    Progress {
        stream: usize,
    },
    Tick {
        stream: usize,
    },
    Compact {
        keep: i64,
    },
    Restore {
        missed: usize,
    },
    Drop {
        stream: usize,
    },
}

fn action() -> impl Strategy<Value = Action> {
    let stream = 0..4_usize;
    let txn = (1..64_u8, any::<u8>(), any::<bool>());
    let create = (0..4_usize, (0..6_u8, 0..8_u8), -40..5_i64, 0..12_u8, any::<bool>(), 0..5_i64);
    prop_oneof![
        30 => txn.prop_map(|(keys, deletions, at_hand)| Action::Txn { keys, deletions, at_hand }),
        2 => Just(Action::Open),
        10 => create.prop_map(|(stream, range, start, filters, prev_kv, id)| {
            Action::Create { stream, range, start, filters, prev_kv, id }
        }),
        4 => (stream.clone(), 0..6_i64).prop_map(|(stream, id)| Action::Cancel { stream, id }),
        16 => (stream.clone(), 1..6_usize)
            .prop_map(|(stream, responses)| Action::Poll { stream, responses }),
        5 => stream.clone().prop_map(|stream| Action::Drain { stream }),
        4 => stream.clone().prop_map(|stream| Action::Progress { stream }),
        3 => stream.clone().prop_map(|stream| Action::Tick { stream }),
        3 => (0..12_i64).prop_map(|keep| Action::Compact { keep }),
        1 => (0..6_usize).prop_map(|missed| Action::Restore { missed }),
        1 => stream.prop_map(|stream| Action::Drop { stream }),
    ]
}

fn options() -> impl Strategy<Value = WatchOptions> {
    let few = || 1..5_usize;
    let bytes = || prop_oneof![Just(1_usize), Just(400), Just(1 << 20)];
    let numbers = (few(), 1..8_usize, few());
    let sizes = (bytes(), bytes(), bytes(), bytes());
    (numbers, sizes).prop_map(|(numbers, sizes)| WatchOptions {
        inbox_responses: numbers.0,
        inbox_bytes: sizes.0,
        ring_revisions: numbers.1,
        ring_bytes: sizes.1,
        batch_revisions: numbers.2,
        batch_bytes: sizes.2,
        history_bytes: sizes.3,
    })
}

/// What the model knows of a watcher.
#[derive(Debug)]
struct Watched {
    asked: WatchCreate,
    /// All before this was delivered, or is not for it.
    next: i64,
    /// It is read up to here at least; [`NEVER`]: it is synced, so compaction is no matter.
    floor: i64,
    must_cancel: bool,
    cancelled: bool,
    heard_since_tick: bool,
    /// How many ticks may have told progress, and did not yet.
    quiet_ticks: usize,
}

impl Watched {
    fn wants(&self, event: &Event) -> bool {
        let (key, end) = (&self.asked.key, &self.asked.range_end);
        let inside = match end.as_ref() {
            [] => event.key == *key,
            [0] => event.key >= *key,
            end => event.key >= *key && event.key.as_ref() < end,
        };
        let kept = match event.kind {
            EventKind::Put => !self.asked.filters.no_put,
            EventKind::Delete => !self.asked.filters.no_delete,
        };
        inside && kept && event.revision.main >= self.asked.start_revision
    }
}

struct Client {
    stream: WatchStream,
    watched: BTreeMap<i64, Watched>,
    next_id: i64,
    now: Duration,
    bell: Arc<Bell>,
    /// How often the bell had rung when the stream was last found empty; `None` since it was not.
    rung: Option<usize>,
    progress_asked: bool,
}

/// A store that changes and is watched.
pub(crate) trait Machine {
    /// The revision and events of a transaction; no events: it changed nothing.
    fn apply(&mut self, ops: &[Op], keep: Keep) -> (i64, Arc<[Event]>);
    fn compact(&mut self, revision: i64);
    fn compact_revision(&self) -> i64;
    fn history(&self) -> Arc<dyn History>;
    /// Lets another store take its place that has the same past.
    fn replace(&mut self) {}
}

impl Machine for Arc<Store> {
    fn apply(&mut self, ops: &[Op], keep: Keep) -> (i64, Arc<[Event]>) {
        Store::apply(self, ops, keep)
    }

    fn compact(&mut self, revision: i64) {
        Store::compact(self, revision);
    }

    fn compact_revision(&self) -> i64 {
        History::compact_revision(self.as_ref())
    }

    fn history(&self) -> Arc<dyn History> {
        Arc::clone(self) as Arc<dyn History>
    }

    fn replace(&mut self) {
        *self = Arc::new(self.copy());
    }
}

struct World<M> {
    options: WatchOptions,
    store: M,
    hub: Hub,
    history: Vec<Event>,
    published: i64,
    clients: Vec<Client>,
}

impl<M: Machine> World<M> {
    fn new(options: WatchOptions, store: M) -> Self {
        let hub = Hub::new(store.history(), options);
        Self { options, store, hub, history: Vec::new(), published: 1, clients: Vec::new() }
    }

    fn step(&mut self, action: &Action) {
        match *action {
            Action::Txn { keys, deletions, at_hand } => {
                let keep = if at_hand { Keep::AtHand } else { Keep::InHistory };
                self.txn(keys, deletions, keep, true);
            }
            Action::Open if self.clients.len() < 4 => self.open(),
            Action::Open => {}
            Action::Compact { keep } => {
                let revision = self.published - keep;
                if revision > 0 && revision > self.store.compact_revision() {
                    self.store.compact(revision);
                }
            }
            Action::Restore { missed } => self.restore(missed),
            Action::Create { stream, .. }
            | Action::Cancel { stream, .. }
            | Action::Poll { stream, .. }
            | Action::Drain { stream }
            | Action::Progress { stream }
            | Action::Tick { stream }
            | Action::Drop { stream } => {
                if stream < self.clients.len() {
                    self.step_client(stream, action);
                }
            }
        }
    }

    fn step_client(&mut self, at: usize, action: &Action) {
        match *action {
            Action::Create { range: (from, to), start, filters, prev_kv, id, .. } => {
                let range_end = match to {
                    6 => Bytes::new(),
                    7 => Bytes::from_static(&[0]),
                    to => Bytes::from_static(KEYS[usize::from(to)].as_bytes()),
                };
                let start = if start < -20 { 0 } else { (self.published + start).max(1) };
                self.create(
                    at,
                    WatchCreate {
                        key: Bytes::from_static(KEYS[usize::from(from)].as_bytes()),
                        range_end,
                        start_revision: start,
                        filters: WatchFilters { no_put: filters == 1, no_delete: filters == 2 },
                        prev_kv,
                        progress_notify: filters % 2 == 0,
                        watch_id: id,
                        fragment: false,
                    },
                );
            }
            Action::Cancel { id, .. } => {
                let client = &mut self.clients[at];
                let known = client.watched.remove(&id).is_some();
                assert_eq!(client.stream.cancel(id).is_some(), known);
            }
            Action::Poll { responses, .. } => {
                for _ in 0..responses {
                    self.poll(at);
                }
            }
            Action::Drain { .. } => self.drain(at),
            Action::Progress { .. } => {
                self.clients[at].stream.request_progress();
                self.clients[at].progress_asked = true;
            }
            Action::Tick { .. } => self.tick(at),
            Action::Drop { .. } => drop(self.clients.swap_remove(at)),
            _ => unreachable!("not about a stream"),
        }
    }

    fn txn(&mut self, keys: u8, deletions: u8, keep: Keep, publish: bool) {
        let ops: Vec<Op> = (0..6)
            .filter(|bit| keys & (1 << bit) != 0)
            .map(|bit| {
                let key = KEYS[bit].to_owned();
                if deletions & (1 << bit) == 0 {
                    Op::Put(key, self.published.to_string())
                } else {
                    Op::Delete(key)
                }
            })
            .collect();
        let (revision, events) = self.store.apply(&ops, keep);
        if events.is_empty() {
            return;
        }
        self.history.extend(events.iter().cloned());
        if !publish {
            return;
        }
        self.published = revision;
        self.hub.publish(revision, Arc::clone(&events));
        for client in &mut self.clients {
            let concerns = |watched: &Watched| {
                !watched.cancelled && events.iter().any(|event| watched.wants(event))
            };
            if client.watched.values().any(concerns)
                && let Some(rung) = client.rung.take()
            {
                assert!(client.bell.rung() > rung, "events came and nobody was woken");
            }
            // It may have fallen out over this one.
            for watched in client.watched.values_mut() {
                if watched.floor == NEVER && concerns(watched) {
                    watched.floor = revision;
                }
            }
        }
    }

    fn restore(&mut self, missed: usize) {
        let unseen = self.published + 1;
        self.store.replace();
        for _ in 0..missed {
            self.txn(0b101, 0b100, Keep::InHistory, false);
        }
        let history = self.store.history();
        self.published = history.current_revision();
        self.hub.restored(history);
        for client in &mut self.clients {
            client.rung = None;
            for watched in client.watched.values_mut().filter(|watched| watched.floor == NEVER) {
                watched.floor = unseen.max(watched.asked.start_revision);
            }
        }
    }

    fn open(&mut self) {
        let mut stream = self.hub.open_stream();
        stream.start_progress(Duration::ZERO, Duration::from_secs(1));
        self.clients.push(Client {
            stream,
            watched: BTreeMap::new(),
            next_id: 0,
            now: Duration::ZERO,
            bell: Arc::default(),
            rung: None,
            progress_asked: false,
        });
    }

    fn create(&mut self, at: usize, asked: WatchCreate) {
        let client = &mut self.clients[at];
        let end = asked.range_end.as_ref();
        let result = client.stream.create(asked.clone());
        if !end.is_empty() && end != [0] && asked.key.as_ref() >= end {
            assert_eq!(result, Err(WatchCreateError::EmptyRange));
            return;
        }
        if asked.watch_id != 0 && client.watched.contains_key(&asked.watch_id) {
            assert_eq!(result, Err(WatchCreateError::DuplicateId));
            return;
        }
        let created = result.expect("a watcher");
        assert_eq!(created.revision, self.published);
        if asked.watch_id != 0 {
            assert_eq!(created.watch_id, asked.watch_id);
        } else {
            while client.watched.contains_key(&client.next_id) {
                client.next_id += 1;
            }
            assert_eq!(created.watch_id, client.next_id);
            client.next_id += 1;
        }
        let start = asked.start_revision;
        let live = start == 0 || start > self.published;
        let watched = Watched {
            next: if start == 0 { self.published + 1 } else { start },
            floor: if live { NEVER } else { start },
            must_cancel: !live && start < self.store.compact_revision(),
            cancelled: false,
            heard_since_tick: false,
            quiet_ticks: 0,
            asked,
        };
        client.watched.insert(created.watch_id, watched);
    }

    fn tick(&mut self, at: usize) {
        let client = &mut self.clients[at];
        client.now += Duration::from_secs(1);
        let due = client.stream.tick_progress(client.now);
        assert_eq!(due, Some(client.now + Duration::from_secs(1)));
        for watched in client.watched.values_mut() {
            watched.quiet_ticks += usize::from(!watched.heard_since_tick);
            watched.heard_since_tick = false;
        }
    }

    /// Polls once. False when there was nothing.
    fn poll(&mut self, at: usize) -> bool {
        let client = &mut self.clients[at];
        let waker = Waker::from(Arc::clone(&client.bell));
        let rung = client.bell.rung();
        let Some(batch) = poll_through(&mut client.stream, &waker) else {
            client.rung = Some(rung);
            self.check_settled(at);
            return false;
        };
        client.rung = None;
        self.check(at, &batch);
        true
    }

    fn drain(&mut self, at: usize) {
        while self.poll(at) {}
        let client = &mut self.clients[at];
        let ready = client
            .watched
            .values()
            .all(|watched| !watched.cancelled && watched.asked.start_revision <= self.published);
        client.stream.request_progress();
        client.progress_asked = true;
        let answered = self.poll(at);
        assert_eq!(
            answered,
            ready && !self.clients[at].watched.is_empty(),
            "progress when all are synced"
        );
        while self.poll(at) {}
    }

    /// A stream that has nothing more to say has said it all.
    fn check_settled(&mut self, at: usize) {
        let client = &mut self.clients[at];
        for (id, watched) in &mut client.watched {
            assert!(watched.cancelled || !watched.must_cancel, "{id} should be cancelled");
            if watched.cancelled {
                continue;
            }
            let missing = undelivered(&self.history, watched, self.published);
            assert_eq!(missing, None, "{id} misses {missing:?}: {watched:?}");
            watched.next = watched.next.max(self.published + 1);
            watched.floor = NEVER;
        }
    }

    fn check(&mut self, at: usize, batch: &WatchBatch) {
        let client = &mut self.clients[at];
        if batch.watch_id == -1 {
            assert!(matches!(batch.content, WatchContent::Progress));
            assert!(client.progress_asked, "nobody asked");
            for watched in client.watched.values().filter(|watched| !watched.cancelled) {
                assert_eq!(undelivered(&self.history, watched, batch.revision), None);
            }
            return;
        }
        let watched = client.watched.get_mut(&batch.watch_id).expect("a watcher that exists");
        assert!(!watched.cancelled, "nothing comes after the cancel");
        match &batch.content {
            WatchContent::Progress => {
                assert!(watched.asked.progress_notify);
                assert_eq!(undelivered(&self.history, watched, batch.revision), None);
                assert!(batch.revision >= watched.asked.start_revision);
                assert!(watched.quiet_ticks > 0, "an event since the last tick is progress enough");
                watched.quiet_ticks -= 1;
            }
            WatchContent::Compacted { compact_revision } => {
                assert_eq!(batch.revision, 0);
                assert_eq!(*compact_revision, self.store.compact_revision());
                assert!(watched.floor < *compact_revision, "{watched:?}");
                watched.cancelled = true;
            }
            WatchContent::Events(events) => {
                assert!(!watched.must_cancel);
                assert!((2..=self.published).contains(&batch.revision));
                let compacted = self.store.compact_revision();
                check_events(&self.history, watched, batch.revision, events, compacted);
                let mut mains: Vec<_> = events.iter().map(|one| one.event.revision.main).collect();
                mains.dedup();
                assert!(mains.len() <= self.options.batch_revisions);
            }
        }
    }
}

/// The first revision up to `end` that the watcher should have seen and did not.
fn undelivered(history: &[Event], watched: &Watched, end: i64) -> Option<i64> {
    let revision = |event: &Event| event.revision.main;
    history
        .iter()
        .find(|event| (watched.next..=end).contains(&revision(event)) && watched.wants(event))
        .map(revision)
}

/// The events are the next that the watcher wants, and all of each revision.
fn check_events(
    history: &[Event],
    watched: &mut Watched,
    header: i64,
    events: &WatchEvents,
    compacted: i64,
) {
    let last = events.iter().map(|one| one.event.revision.main).max().expect("not empty");
    assert!(header >= last);
    let expected = history
        .iter()
        .filter(|event| (watched.next..=last).contains(&event.revision.main))
        .filter(|event| watched.wants(event));
    assert_eq!(events.len(), expected.clone().count());
    for (one, event) in events.iter().zip(expected) {
        assert_eq!(
            (one.event.revision, one.event.kind, &one.event.key, &one.event.kv),
            (event.revision, event.kind, &event.key, &event.kv)
        );
        let before = history
            .iter()
            .rfind(|old| old.key == event.key && old.revision.main < event.revision.main);
        let lived = before.filter(|old| old.kind == EventKind::Put).map(|old| &old.kv);
        assert_eq!(event.previous == Previous::None, lived.is_none());
        let told = watched.asked.prev_kv && event.revision.main > compacted;
        assert_eq!(one.prev_kv, lived.filter(|_| told));
    }
    watched.next = last + 1;
    watched.floor = watched.floor.max(watched.next);
    watched.heard_since_tick = true;
}

fn run(options: WatchOptions, store: impl Machine, actions: &[Action]) {
    let mut world = World::new(options, store);
    world.open();
    for action in actions {
        world.step(action);
    }
    for at in 0..world.clients.len() {
        world.drain(at);
    }
    let stats = world.hub.stats();
    let watchers: usize = world.clients.iter().map(|client| client.watched.len()).sum();
    assert_eq!((stats.streams, stats.watchers), (world.clients.len() as u64, watchers as u64));
    assert_eq!((stats.slow_watchers(), stats.pending_events), (0, 0));
    world.clients.clear();
    assert_eq!(world.hub.stats(), mvcc::WatchStats::default());
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn every_watcher_sees_what_concerns_it_once_and_in_order(
        options in options(),
        actions in prop::collection::vec(action(), 1..250),
    ) {
        run(options, Arc::new(Store::new()), &actions);
    }
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn every_watcher_of_a_real_store_does_too(
        options in options(),
        value_budget_bytes in prop_oneof![Just(0_usize), Just(200), Just(1 << 20)],
        actions in prop::collection::vec(action(), 1..250),
    ) {
        run(options, RealStore::new(value_budget_bytes), &actions);
    }
}
