//! A client that watches everything, goes to another member when one fails it, and writes down
//! what it was told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use e2e::{Call, Grpc, Status, streams};
use env::Random;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use proto::mvccpb::event::EventType;
use sim::{SeenEvent, WatchRecord, Watcher};

use super::load::{Shared, moment};

/// So long a watcher waits for news before it tries another member. One that is cut off has none.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) struct Watching {
    random: Random,
    shared: Arc<Shared>,
    /// Where it goes on.
    next: i64,
    records: Vec<WatchRecord>,
}

impl Watching {
    /// Watches everything behind a revision.
    pub(crate) fn new(random: Random, shared: Arc<Shared>, revision: i64) -> Self {
        Self { random, shared, next: revision + 1, records: Vec::new() }
    }

    /// Watches until it has heard of the last revision, once that is known.
    pub(crate) async fn watch(mut self) -> Watcher {
        while !self.has_heard_all() {
            let address = {
                let endpoints = self.shared.endpoints();
                endpoints[self.random.index(endpoints.len())]
            };
            // Why it has failed is of no interest; it goes on elsewhere.
            if self.watch_at(address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Watcher {
            range_end: vec![0],
            key: vec![0],
            prev_kv: true,
            records: self.records,
            ..Watcher::default()
        }
    }

    fn has_heard_all(&self) -> bool {
        let last = self.shared.last_revision.load(Ordering::Relaxed);
        last != 0 && self.next > last
    }

    async fn watch_at(&mut self, address: SocketAddr) -> Result<(), Status> {
        let connecting = tokio::time::timeout(PATIENCE, Grpc::connect(address)).await;
        let Some(grpc) = connecting.ok().and_then(Result::ok) else { return Ok(()) };
        let mut call = grpc.open(streams::WATCH).await?;
        let all = Bytes::from_static(&[0]);
        let start_revision = self.next;
        let create = WatchCreateRequest {
            key: all.clone(),
            range_end: all,
            start_revision,
            prev_kv: true,
            fragment: true,
            ..WatchCreateRequest::default()
        };
        let request = Some(RequestUnion::CreateRequest(create));
        call.send(&WatchRequest { request_union: request })?;
        while !self.has_heard_all() {
            let Some(reply) = next(&mut call).await? else { return Ok(()) };
            if !self.note(start_revision, reply) {
                return Ok(());
            }
        }
        call.cancel();
        Ok(())
    }

    /// False if the watch is over.
    fn note(&mut self, start_revision: i64, reply: WatchResponse) -> bool {
        let revision = reply.header.map_or(0, |header| header.revision);
        if reply.created {
            self.records.push(WatchRecord::Created { start_revision, revision });
        } else if reply.compact_revision != 0 {
            let compact_revision = reply.compact_revision;
            self.records.push(WatchRecord::Compacted { compact_revision });
            self.next = compact_revision;
        } else if let Some(last) = reply.events.last() {
            let newest = last.kv.as_ref().map_or(0, |kv| kv.mod_revision);
            // Of a revision that comes in parts, all is asked for again if the rest does not come.
            self.next = if reply.fragment { newest } else { newest + 1 };
            let (at, events, fragment) = (moment(), reply.events, reply.fragment);
            self.records.push(WatchRecord::Events { at, revision, events, fragment });
        }
        !reply.canceled
    }
}

async fn next(call: &mut Call) -> Result<Option<WatchResponse>, Status> {
    let silent = |_| Status { code: 4, message: "(no news)".to_owned() };
    tokio::time::timeout(PATIENCE, call.next()).await.map_err(silent)?
}

/// All that it was told has happened.
pub(crate) fn seen(watcher: &Watcher) -> Vec<SeenEvent> {
    let mut seen = Vec::new();
    for record in &watcher.records {
        let WatchRecord::Events { at, events, .. } = record else { continue };
        seen.extend(events.iter().map(|event| SeenEvent {
            at: *at,
            deleted: event.r#type == EventType::Delete as i32,
            kv: event.kv.clone().unwrap_or_default(),
        }));
    }
    seen
}
