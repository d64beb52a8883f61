//! A store that is nothing but its history, and a bench to put a hub on it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use mvcc::{
    Event, EventKind, History, HistoryError, Hub, Previous, Revision, WatchBatch, WatchContent,
    WatchCreate, WatchNext, WatchOptions, WatchStream,
};

/// One change of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    Put(String, String),
    Delete(String),
}

/// `a=1` puts, `-a` deletes.
pub(crate) fn op(text: &str) -> Op {
    match text.split_once('=') {
        Some((key, value)) => Op::Put(key.to_owned(), value.to_owned()),
        None => Op::Delete(text.strip_prefix('-').expect("a deletion").to_owned()),
    }
}

/// How previous values reach an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    AtHand,
    InHistory,
}

#[derive(Debug)]
struct Past {
    revisions: BTreeMap<i64, Vec<Event>>,
    current: i64,
    compacted: i64,
    broken: bool,
    reads: usize,
    /// What happened later is not shown.
    shown: i64,
    /// Compaction that starts as soon as somebody reads, and is quick.
    compact_at_read: Option<i64>,
}

/// All that ever happened, as [`History`].
#[derive(Debug)]
pub(crate) struct Store {
    past: Mutex<Past>,
}

impl Store {
    pub(crate) fn new() -> Self {
        let past = Past {
            revisions: BTreeMap::new(),
            current: 1,
            compacted: 0,
            broken: false,
            reads: 0,
            shown: i64::MAX,
            compact_at_read: None,
        };
        Self { past: Mutex::new(past) }
    }

    /// Applies a transaction; returns its revision and events.
    pub(crate) fn apply(&self, ops: &[Op], keep: Keep) -> (i64, Arc<[Event]>) {
        let mut past = self.past.lock().unwrap();
        let main = past.current + 1;
        let mut events = Vec::new();
        for (sub, op) in ops.iter().enumerate() {
            let (kind, key, kv) = match op {
                Op::Put(key, value) => (EventKind::Put, key, format!("{key}={value}@{main}")),
                Op::Delete(key) => (EventKind::Delete, key, format!("{key}@{main}")),
            };
            let previous = match past.state(key.as_bytes(), main - 1) {
                None => Previous::None,
                Some(kv) if keep == Keep::AtHand => Previous::Encoded(kv),
                Some(_) => Previous::InHistory,
            };
            events.push(Event {
                kind,
                revision: Revision::new(main, i64::try_from(sub).unwrap()),
                key: Bytes::from(key.clone()),
                kv: Bytes::from(kv),
                previous,
            });
        }
        past.current = main;
        past.revisions.insert(main, events.clone());
        (main, Arc::from(events))
    }

    pub(crate) fn compact(&self, revision: i64) {
        self.past.lock().unwrap().compacted = revision;
    }

    pub(crate) fn compact_at_next_read(&self, revision: i64) {
        self.past.lock().unwrap().compact_at_read = Some(revision);
    }

    pub(crate) fn show_only(&self, revision: i64) {
        self.past.lock().unwrap().shown = revision;
    }

    pub(crate) fn break_disk(&self) {
        self.past.lock().unwrap().broken = true;
    }

    /// How often the past was read.
    pub(crate) fn reads(&self) -> usize {
        self.past.lock().unwrap().reads
    }

    /// A second store with the same past.
    pub(crate) fn copy(&self) -> Self {
        let past = self.past.lock().unwrap();
        let copy = Self::new();
        {
            let mut new = copy.past.lock().unwrap();
            new.revisions.clone_from(&past.revisions);
            new.current = past.current;
            new.compacted = past.compacted;
        }
        copy
    }
}

impl Past {
    fn state(&self, key: &[u8], at: i64) -> Option<Bytes> {
        let changes = self.revisions.range(..=at).rev().flat_map(|(_, events)| events.iter().rev());
        let last = changes.into_iter().find(|event| event.key.as_ref() == key)?;
        (last.kind == EventKind::Put).then(|| last.kv.clone())
    }
}

impl History for Store {
    fn current_revision(&self) -> i64 {
        let past = self.past.lock().unwrap();
        past.current.min(past.shown)
    }

    fn compact_revision(&self) -> i64 {
        self.past.lock().unwrap().compacted
    }

    fn history(&self, from: i64, limit: usize) -> Result<Vec<Event>, HistoryError> {
        let mut past = self.past.lock().unwrap();
        past.reads += 1;
        if past.broken {
            return Err(HistoryError::Unreadable("the disk is gone".to_owned()));
        }
        if from < past.compacted {
            return Err(HistoryError::Compacted);
        }
        if let Some(revision) = past.compact_at_read.take() {
            past.compacted = revision;
            past.revisions = past.revisions.split_off(&revision);
        }
        let revisions = past.revisions.range(from..=past.shown.max(from)).take(limit);
        Ok(revisions
            .flat_map(|(_, events)| events.iter().cloned())
            .map(|mut event| {
                if event.previous != Previous::None {
                    event.previous = Previous::InHistory;
                }
                event
            })
            .collect())
    }

    fn previous(&self, key: &[u8], main: i64) -> Option<Bytes> {
        let past = self.past.lock().unwrap();
        if main < past.compacted { None } else { past.state(key, main) }
    }
}

/// A store with a hub.
pub(crate) struct Bench {
    pub(crate) store: Arc<Store>,
    pub(crate) hub: Hub,
    pub(crate) keep: Keep,
}

impl Bench {
    pub(crate) fn new(options: WatchOptions) -> Self {
        let store = Arc::new(Store::new());
        let hub = Hub::new(Arc::clone(&store) as Arc<dyn History>, options);
        Self { store, hub, keep: Keep::AtHand }
    }

    /// One transaction, e.g. `"a=1 -b"`.
    pub(crate) fn txn(&self, ops: &str) -> i64 {
        let ops: Vec<Op> = ops.split_whitespace().map(op).collect();
        let (revision, events) = self.store.apply(&ops, self.keep);
        self.hub.publish(revision, events);
        revision
    }

    /// As many transactions of one put each.
    pub(crate) fn puts(&self, key: &str, count: usize) {
        for value in 0..count {
            self.txn(&format!("{key}={value}"));
        }
    }
}

/// Counts how often it is woken.
#[derive(Debug, Default)]
pub(crate) struct Bell(AtomicUsize);

impl Bell {
    pub(crate) fn rung(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The next response, if there is one now.
pub(crate) fn next(stream: &mut WatchStream) -> Option<WatchBatch> {
    poll_through(stream, Waker::noop())
}

/// How many pauses a stream may make before it is taken for stalled.
const PAUSES: usize = 1000;

/// Polls until there is a response, or until the stream goes to sleep.
pub(crate) fn poll_through(stream: &mut WatchStream, waker: &Waker) -> Option<WatchBatch> {
    for _ in 0..PAUSES {
        match stream.poll_next(&mut Context::from_waker(waker)) {
            Poll::Ready(WatchNext::Batch(batch)) => return Some(batch),
            Poll::Ready(WatchNext::Pause) => {}
            Poll::Ready(WatchNext::Over) => panic!("the stream goes on"),
            Poll::Pending => return None,
        }
    }
    None
}

/// All responses that there are now.
pub(crate) fn drain(stream: &mut WatchStream) -> Vec<WatchBatch> {
    std::iter::from_fn(|| next(stream)).collect()
}

/// All responses that there are now, a line each.
pub(crate) fn lines(stream: &mut WatchStream) -> Vec<String> {
    drain(stream).iter().map(line).collect()
}

/// `id @header: what`.
pub(crate) fn line(batch: &WatchBatch) -> String {
    let what = match &batch.content {
        WatchContent::Progress => "progress".to_owned(),
        WatchContent::Compacted { compact_revision } => format!("compacted {compact_revision}"),
        WatchContent::Events(events) => {
            let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
            let events: Vec<String> = events
                .iter()
                .map(|watched| {
                    let sign = if watched.event.kind == EventKind::Put { "" } else { "-" };
                    let before =
                        watched.prev_kv.map_or_else(String::new, |kv| format!("<{}", text(kv)));
                    format!("{sign}{}{before}", text(&watched.event.kv))
                })
                .collect();
            events.join(" ")
        }
    };
    format!("{} @{}: {what}", batch.watch_id, batch.revision)
}

/// Asks to watch one key.
pub(crate) fn key(key: &str) -> WatchCreate {
    WatchCreate { key: Bytes::from(key.to_owned()), ..WatchCreate::default() }
}

/// Asks to watch `key..end`.
pub(crate) fn range(key: &str, end: &str) -> WatchCreate {
    let [key, range_end] = [key, end].map(|text| Bytes::from(text.to_owned()));
    WatchCreate { key, range_end, ..WatchCreate::default() }
}
