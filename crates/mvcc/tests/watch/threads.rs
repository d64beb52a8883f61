//! A publisher and pollers that really run at once: nothing lost, nothing twice, nobody asleep.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use env::{Clock, RealClock};
use mvcc::{
    Event, History, HistoryError, Hub, Revision, WatchBatch, WatchContent, WatchCreate, WatchNext,
    WatchOptions, WatchStream,
};

use crate::store::{Keep, Op, Store, range};

const KEYS: usize = 8;
const TRANSACTIONS: usize = 4000;
const POLLERS: usize = 3;
/// A wake that takes this long is lost.
const PATIENCE: Duration = Duration::from_secs(60);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn small() -> WatchOptions {
    WatchOptions {
        inbox_responses: 8,
        ring_revisions: 32,
        batch_revisions: 20,
        ..WatchOptions::default()
    }
}

/// Deterministic chance.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

fn key_name(at: usize) -> String {
    format!("k{at}")
}

/// Publishes; the last transaction touches every key. `behind`: how far compaction trails.
fn publish(store: &Store, hub: &Hub, end: &AtomicI64, behind: Option<i64>) {
    let mut dice = Dice(77);
    for count in 0..=TRANSACTIONS {
        let last = count == TRANSACTIONS;
        let ops: Vec<Op> = (0..KEYS)
            .filter(|_| last || dice.below(4) == 0)
            .map(|at| Op::Put(key_name(at), count.to_string()))
            .collect();
        if ops.is_empty() {
            continue;
        }
        let keep = if dice.below(2) == 0 { Keep::AtHand } else { Keep::InHistory };
        let (revision, events) = store.apply(&ops, keep);
        if last {
            end.store(revision, Ordering::SeqCst);
        }
        hub.publish(revision, events);
        if let Some(behind) = behind
            && revision - behind > store.compact_revision()
        {
            store.compact(revision - behind);
        }
    }
}

/// What one watcher heard.
struct Heard {
    asked: WatchCreate,
    from: i64,
    revisions: Vec<Revision>,
    cancelled: Option<i64>,
}

struct Poller {
    stream: WatchStream,
    watching: Vec<(i64, Heard)>,
    done: Vec<Heard>,
    dice: Dice,
}

impl Poller {
    fn create(&mut self, compacted: i64) {
        let from = self.dice.below(KEYS);
        let to = (from + 1 + self.dice.below(KEYS)).min(KEYS);
        let revision = self.stream.revision();
        let start_revision = match self.dice.below(3) {
            0 => 0,
            1 => (revision - self.dice.below(200) as i64).max(compacted).max(1),
            _ => (revision + 1 - self.dice.below(20) as i64).max(compacted).max(1),
        };
        self.watch(WatchCreate { start_revision, ..range(&key_name(from), &key_name(to)) });
    }

    fn watch(&mut self, asked: WatchCreate) {
        let start_revision = asked.start_revision;
        let created = self.stream.create(asked.clone()).unwrap();
        let from = if start_revision == 0 { created.revision + 1 } else { start_revision };
        let heard = Heard { asked, from, revisions: Vec::new(), cancelled: None };
        self.watching.push((created.watch_id, heard));
    }

    fn take(&mut self, batch: &WatchBatch) {
        let place = self.watching.iter().position(|(id, _)| *id == batch.watch_id).unwrap();
        let heard = &mut self.watching[place].1;
        match &batch.content {
            WatchContent::Events(events) => {
                heard.revisions.extend(events.iter().map(|one| one.event.revision));
            }
            WatchContent::Compacted { compact_revision } => {
                heard.cancelled = Some(*compact_revision);
                self.stream.cancel(batch.watch_id).unwrap();
                self.done.push(self.watching.swap_remove(place).1);
            }
            WatchContent::Progress => panic!("nobody asked"),
        }
    }

    /// Whether every watcher heard the last transaction that concerns it.
    fn finished(&self, end: i64) -> bool {
        let last = |heard: &Heard| heard.revisions.last().map(|revision| revision.main);
        let all = |heard: &Heard| heard.from > end || last(heard) == Some(end);
        end != 0 && self.watching.iter().all(|(_, heard)| all(heard))
    }

    /// The first watcher, of all keys, is there before anything is published and never cancelled
    /// from here; others come and go.
    fn run(mut self, store: &Store, end: &AtomicI64, begin: &Barrier) -> Vec<Heard> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut cx = Context::from_waker(&waker);
        let clock = RealClock::new();
        let mut polls = 0;
        self.watch(range(&key_name(0), &key_name(KEYS)));
        begin.wait();
        while !self.finished(end.load(Ordering::SeqCst)) {
            polls += 1;
            let more = polls % 16 == 0 && self.watching.len() < 6;
            if self.watching.is_empty() || (more && end.load(Ordering::SeqCst) == 0) {
                self.create(store.compact_revision());
            }
            if polls % 100 == 0 && self.watching.len() > 1 {
                let place = 1 + self.dice.below(self.watching.len() - 1);
                let (id, heard) = self.watching.swap_remove(place);
                self.stream.cancel(id).unwrap();
                self.done.push(heard);
            }
            match self.stream.poll_next(&mut cx) {
                Poll::Ready(WatchNext::Batch(batch)) => self.take(&batch),
                Poll::Ready(WatchNext::Pause) => {}
                Poll::Ready(WatchNext::Over) => panic!("the stream goes on"),
                Poll::Pending if self.finished(end.load(Ordering::SeqCst)) => {}
                Poll::Pending => {
                    // Only another poll can tell a wake from a stale token; so a lost wake is
                    // what takes all of the patience.
                    let start = clock.now();
                    thread::park_timeout(PATIENCE);
                    assert!(clock.now() - start < PATIENCE, "nobody woke the stream");
                }
            }
        }
        self.done.extend(self.watching.drain(..).map(|(_, heard)| heard));
        self.done
    }
}

fn check(history: &[Event], heard: &Heard, end: i64) {
    let wanted: Vec<Revision> = history
        .iter()
        .filter(|event| event.revision.main >= heard.from)
        .filter(|event| event.key >= heard.asked.key && event.key < heard.asked.range_end)
        .map(|event| event.revision)
        .collect();
    assert!(heard.revisions.len() <= wanted.len());
    assert_eq!(heard.revisions, wanted[..heard.revisions.len()], "in order, no gap, once");
    if let Some(next) = wanted.get(heard.revisions.len()) {
        assert_ne!(
            Some(next.main),
            heard.revisions.last().map(|last| last.main),
            "whole revisions"
        );
        assert!(next.main <= end);
    }
}

/// All that was published, and what was heard of it.
fn run(behind: Option<i64>) -> (Vec<Event>, Vec<Heard>) {
    let store = Arc::new(Store::new());
    let hub = Hub::new(Arc::clone(&store) as Arc<dyn History>, small());
    let end = AtomicI64::new(0);
    let begin = Barrier::new(POLLERS + 1);
    let heard: Vec<Heard> = thread::scope(|scope| {
        let pollers: Vec<_> = (0..POLLERS)
            .map(|at| {
                let poller = Poller {
                    stream: hub.open_stream(),
                    watching: Vec::new(),
                    done: Vec::new(),
                    dice: Dice(at as u64 + 5),
                };
                let (store, end, begin) = (&store, &end, &begin);
                scope.spawn(move || poller.run(store, end, begin))
            })
            .collect();
        begin.wait();
        publish(&store, &hub, &end, behind);
        pollers.into_iter().flat_map(|poller| poller.join().unwrap()).collect()
    });
    let end = end.into_inner();
    store.compact(0);
    let history: Result<Vec<Event>, HistoryError> = store.history(1, usize::MAX);
    let history = history.unwrap();
    for heard in &heard {
        check(&history, heard, end);
    }
    assert_eq!(hub.stats(), mvcc::WatchStats::default());
    (history, heard)
}

#[test]
fn watchers_on_other_threads_miss_nothing() {
    let (history, heard) = run(None);
    assert!(heard.iter().all(|heard| heard.cancelled.is_none()));
    let all = heard.iter().filter(|heard| heard.revisions.len() == history.len()).count();
    assert!(all >= POLLERS, "{all} heard everything");
}

#[test]
fn watchers_on_other_threads_are_cancelled_rather_than_misled() {
    let (_, heard) = run(Some(60));
    for heard in heard.iter().filter(|heard| heard.cancelled.is_some()) {
        let next = heard.revisions.last().map_or(heard.from, |last| last.main + 1);
        assert!(Some(next) < heard.cancelled, "only who is behind");
    }
}
