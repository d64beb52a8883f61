//! What a published event costs, and what handing it out costs:
//! `cargo run --release -p mvcc --example watch_cost`.

#![expect(clippy::print_stdout, reason = "it prints its figures")]

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use env::{Clock, RealClock};
use mvcc::{
    Event, EventKind, History, HistoryError, Hub, Previous, Revision, WatchCreate, WatchOptions,
    WatchStream,
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

struct Bench {
    clock: RealClock,
    hub: Hub,
    revision: i64,
    waker: Waker,
    streams: Vec<WatchStream>,
}

impl Bench {
    fn new() -> Self {
        let hub = Hub::new(Arc::new(NoPast), WatchOptions::default());
        let waker = Waker::from(Arc::new(Count(0.into())));
        Self { clock: RealClock::new(), hub, revision: 1, waker, streams: Vec::new() }
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
            while let Poll::Ready(batch) = stream.poll_next(&mut cx) {
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
            let start = self.clock.now();
            for (revision, events) in events {
                self.hub.publish(revision, events);
            }
            let published = self.clock.now();
            responses += self.drain();
            publishing += (published - start).as_secs_f64();
            draining += (self.clock.now() - published).as_secs_f64();
        }
        let events = (rounds * burst) as f64;
        println!(
            "{name:<52} publish {:>9.0} ns/event {:>7.1} ns/response   poll {:>7.1} ns/response   {responses} responses",
            publishing / events * 1e9,
            publishing / (responses.max(1) as f64) * 1e9,
            draining / (responses.max(1) as f64) * 1e9,
        );
    }
}

fn key(key: String) -> WatchCreate {
    WatchCreate { key: Bytes::from(key), ..WatchCreate::default() }
}

fn span(from: String, to: String) -> WatchCreate {
    WatchCreate { key: from.into(), range_end: to.into(), ..WatchCreate::default() }
}

fn main() {
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
