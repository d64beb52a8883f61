//! A client that resumes behind the last revision it was told loses nothing when the server is
//! killed, and hears nothing twice.
//!
//! The long form: `PINTLE_ROUNDS=100 cargo test --release -p e2e watch::restart -- --nocapture`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use e2e::{Grpc, Member, Scratch, Server};
use env::Random;
use proto::etcdserverpb::{PutRequest, WatchCreateRequest};
use proto::mvccpb::Event;

use super::{Watching, on_range, revision};
use crate::both::{soon, wait_ms};

const WRITERS: usize = 4;

#[test]
fn loses_nothing_and_hears_nothing_twice() {
    let Some(pintle) = Server::pintle() else { return };
    let seed = e2e::seed("watch restart");
    let mut random = Random::new(seed);
    let scratch = Scratch::new("watch-restart");
    let flags = ["--heartbeat-interval=10", "--election-timeout=100", "--snapshot-count=300"];
    let mut member = Member::start(&pintle, scratch.path(), &flags).unwrap();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime starts");
    let mut told: Vec<Event> = Vec::new();
    let mut acknowledged: Vec<(i64, String)> = Vec::new();
    for _ in 0..e2e::rounds(5) {
        let while_ms = 20 + random.below(150);
        acknowledged.extend(runtime.block_on(async {
            let over = Arc::new(AtomicBool::new(false));
            let watching =
                tokio::spawn(begin(&member, next_revision(&told)).await.until_it_breaks());
            let writers: Vec<_> = (0..WRITERS)
                .map(|_| tokio::spawn(write(member.address(), random.next_u64(), over.clone())))
                .collect();
            wait_ms(while_ms).await;
            member.kill().unwrap();
            over.store(true, Ordering::Relaxed);
            told.extend(soon("the end of a watch", watching).await.unwrap());
            let mut acknowledged = Vec::new();
            for writer in writers {
                acknowledged.extend(soon("the end of a writer", writer).await.unwrap());
            }
            acknowledged
        }));
        member.restart(&pintle).unwrap();
    }
    runtime.block_on(async {
        let grpc = Grpc::connect(member.address()).await.unwrap();
        let request = PutRequest { key: "k/end".into(), ..PutRequest::default() };
        let last = grpc.call(&request).await.unwrap().header.unwrap().revision;
        let mut watching = begin(&member, next_revision(&told)).await;
        told.extend(watching.events_until(0, last).await);
        // All that the server has is what was told, one event for each revision from the first on.
        for (event, expected) in told.iter().zip(2..) {
            assert_eq!(revision(event), expected, "a gap or a duplicate");
        }
        assert_eq!(told.last().map(revision), Some(last));
    });
    for (revision, key) in &acknowledged {
        let at = usize::try_from(revision - 2).expect("writes begin at revision 2");
        let kv = told[at].kv.as_ref().expect("an event has a key");
        assert_eq!(kv.key, key.as_bytes(), "at revision {revision}");
    }
    eprintln!(
        "watch restart: {} writes were told, {} acknowledged",
        told.len(),
        acknowledged.len()
    );
}

fn next_revision(told: &[Event]) -> i64 {
    told.last().map_or(2, |event| revision(event) + 1)
}

async fn begin(member: &Member, start_revision: i64) -> Watching {
    let grpc = Grpc::connect(member.address()).await.unwrap();
    let mut watching = Watching::open(&grpc).await;
    watching.create(WatchCreateRequest { start_revision, ..on_range("k", "l") }).await;
    watching
}

impl Watching {
    /// What is told until the server dies.
    async fn until_it_breaks(mut self) -> Vec<Event> {
        let mut events: Vec<_> =
            self.early.drain(..).flat_map(|response| response.events).collect();
        while let Ok(Some(response)) = self.try_receive().await {
            events.extend(response.events);
        }
        events
    }
}

/// Revisions and keys of the puts that were acknowledged.
async fn write(
    address: std::net::SocketAddr,
    seed: u64,
    over: Arc<AtomicBool>,
) -> Vec<(i64, String)> {
    let mut random = Random::new(seed);
    let mut acknowledged = Vec::new();
    let Ok(grpc) = Grpc::connect(address).await else { return acknowledged };
    while !over.load(Ordering::Relaxed) {
        let key = format!("k/{}", random.below(10));
        let value = vec![b'v'; random.index(300)].into();
        let request = PutRequest { key: key.clone().into(), value, ..PutRequest::default() };
        let Ok(reply) = grpc.call(&request).await else { break };
        acknowledged.push((reply.header.expect("a reply has a header").revision, key));
    }
    acknowledged
}
