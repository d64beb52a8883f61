//! What a published event costs, and what handing it out costs:
//! `cargo run --release -p mvcc --example watch_cost`.

#![expect(clippy::print_stdout, reason = "it prints its figures")]

use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use env::SimDisk;
use mvcc::{
    Backend, Event, EventKind, History, HistoryError, Hub, Options, Previous, Revision, Store,
    WatchContent, WatchCreate, WatchNext, WatchOptions, WatchStream,
};

/// An empty past: everything comes from the ring here.
struct NoPast;

impl History for NoPast {
    fn current_revision(&self) -> i64 {
        1
    }

    fn compact_revision(&self) -> i64 {
        0
    }

    fn history(&self, _: i64, _: usize) -> Result<Vec<Event>, HistoryError> {
        Ok(Vec::new())
    }

    fn previous(&self, _: &[u8], _: i64) -> Option<Bytes> {
        None
    }
}

/// A waker that costs about what a runtime's does, at the least: one shared count.
struct Count(std::sync::atomic::AtomicU64);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Seconds that this thread ran: on a busy machine the clock says little.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok());
    nanos.expect("a number") * 1e-9
}

struct Bench {
    hub: Hub,
    revision: i64,
    waker: Waker,
    streams: Vec<WatchStream>,
}

impl Bench {
    fn new() -> Self {
        let hub = Hub::new(Arc::new(NoPast), WatchOptions::default());
        let waker = Waker::from(Arc::new(Count(0.into())));
        Self { hub, revision: 1, waker, streams: Vec::new() }
    }

    fn watch(&mut self, per_stream: usize, asked: Vec<WatchCreate>) {
        for chunk in asked.chunks(per_stream) {
            let mut stream = self.hub.open_stream();
            for create in chunk {
                stream.create(create.clone()).expect("a watcher");
            }
            self.streams.push(stream);
        }
        self.drain();
    }

    fn event(&mut self, key: &str) -> (i64, Arc<[Event]>) {
        self.revision += 1;
        let event = Event {
            kind: EventKind::Put,
            revision: Revision::new(self.revision, 0),
            key: Bytes::from(key.to_owned()),
            kv: Bytes::from(vec![7; 256]),
            previous: Previous::None,
        };
        (self.revision, Arc::from([event]))
    }

    /// Hands out all that waits; returns how many responses that were.
    fn drain(&mut self) -> usize {
        let mut responses = 0;
        let mut cx = Context::from_waker(&self.waker);
        for stream in &mut self.streams {
            while let Poll::Ready(WatchNext::Batch(batch)) = stream.poll_next(&mut cx) {
                std::hint::black_box(batch);
                responses += 1;
            }
        }
        responses
    }

    /// `rounds` times `burst` events, drained after each burst.
    fn run(&mut self, name: &str, rounds: usize, burst: usize, key: impl Fn(usize) -> String) {
        let (mut publishing, mut draining, mut responses) = (0.0, 0.0, 0);
        for round in 0..rounds {
            let events: Vec<_> =
                (0..burst).map(|at| self.event(&key(round * burst + at))).collect();
            let start = cpu();
            for (revision, events) in events {
                self.hub.publish(revision, events);
            }
            let published = cpu();
            responses += self.drain();
            publishing += published - start;
            draining += cpu() - published;
        }
        let events = (rounds * burst) as f64;
        print!("{name:<50} publish {:>6.0} ns an event", publishing / events * 1e9);
        if responses > 0 {
            let each = 1e9 / responses as f64;
            let (publish, poll) = (publishing * each, draining * each);
            print!(", {publish:>5.1} ns a response; poll {poll:>5.1} ns a response");
        }
        println!();
    }
}

fn key(key: String) -> WatchCreate {
    WatchCreate { key: Bytes::from(key), ..WatchCreate::default() }
}

fn span(from: String, to: String) -> WatchCreate {
    WatchCreate { key: from.into(), range_end: to.into(), ..WatchCreate::default() }
}

/// A store with `revisions` puts of 256 bytes to a thousand keys, all of them in the file.
fn written(revisions: usize) -> Store {
    let disk = Arc::new(SimDisk::new(1));
    let options = bolt::Options { cache_bytes: 64 << 20, ..bolt::Options::default() };
    let backend = Backend::open(disk, Path::new("/db"), options).expect("a new file");
    let mut store = Store::open(backend.clone(), Options::default()).expect("a new store");
    for at in 0..revisions {
        let mut txn = store.writer.txn();
        txn.put(format!("key/{:04}", at % 1000).as_bytes(), &[7; 256], 0);
        txn.finish();
        if at % 5000 == 4999 {
            backend.seal();
            backend.commit_sealed().expect("a working disk");
        }
    }
    backend.seal();
    backend.commit_sealed().expect("a working disk");
    store
}

/// `count` streams come back with all that was written still to read.
fn come_back(store: &Store, count: usize, all_keys: bool, options: WatchOptions) {
    let mut bench = Bench::new();
    bench.hub = Hub::new(Arc::new(store.reader.clone()), options);
    for at in 0..count {
        let mut stream = bench.hub.open_stream();
        let create = if all_keys {
            span("key/".to_owned(), "key0".to_owned())
        } else {
            key(format!("key/{:04}", at % 1000))
        };
        stream.create(WatchCreate { start_revision: 2, ..create }).expect("a watcher");
        bench.streams.push(stream);
    }
    let start = cpu();
    let mut events = 0;
    let mut cx = Context::from_waker(&bench.waker);
    let mut busy = true;
    while std::mem::take(&mut busy) {
        for stream in &mut bench.streams {
            if let Poll::Ready(next) = stream.poll_next(&mut cx) {
                busy = true;
                if let WatchNext::Batch(batch) = next
                    && let WatchContent::Events(found) = batch.content
                {
                    events += found.len();
                }
            }
        }
    }
    let took = cpu() - start;
    let passed = store.reader.current_revision() as f64 * count as f64;
    println!(
        "{count:>5} streams come back, {:<26} {took:>6.2} s, {:>6.1} ns per revision and stream, {events} events",
        if all_keys { "each to all keys:" } else { "each to its key:" },
        took / passed * 1e9,
    );
}

fn main() {
    let store = written(20_000);
    for (count, all_keys) in [(1, true), (1, false), (1000, false), (100, true)] {
        come_back(&store, count, all_keys, WatchOptions::default());
    }
    println!("and without sharing what is read:");
    come_back(&store, 100, false, WatchOptions { history_bytes: 0, ..WatchOptions::default() });
    for burst in [1, 10, 100] {
        let mut bench = Bench::new();
        bench.watch(1, (0..1000).map(|_| key("k".to_owned())).collect());
        let name = format!("1000 streams on one key, bursts of {burst}");
        bench.run(&name, 2000 / burst, burst, |_| "k".to_owned());
    }
    let mut bench = Bench::new();
    bench.watch(1, (0..1000).map(|_| key("k".to_owned())).collect());
    bench.run("1000 stuck streams on one key, bursts of 4000", 1, 4000, |_| "k".to_owned());

    let mut bench = Bench::new();
    bench.watch(100, (0..10_000).map(|at| key(format!("key/{at:06}"))).collect());
    bench.run("10k keys watched, event on one of them", 2000, 100, |at| {
        format!("key/{:06}", at * 7919 % 10_000)
    });
    bench.run("10k keys watched, event on another", 2000, 100, |at| format!("other/{at:06}"));

    let mut bench = Bench::new();
    let spans = |at: usize| span(format!("dir/{at:03}/"), format!("dir/{at:03}0"));
    bench.watch(1, (0..100).map(spans).collect());
    bench.run("100 ranges apart, event in one of them", 2000, 100, |at| {
        format!("dir/{:03}/{at}", at * 37 % 100)
    });
    bench.run("100 ranges apart, event outside", 2000, 100, |at| format!("other/{at}"));

    let mut bench = Bench::new();
    bench.watch(1, (0..100).map(|at| span(format!("{at:03}"), "\0".to_owned())).collect());
    bench.run("100 ranges, event in all of them", 200, 100, |at| format!("z/{at}"));

    let mut bench = Bench::new();
    bench.run("nobody watches", 2000, 100, |at| format!("z/{at}"));
}
