//! Loads on streams that stay open: watches and lease keepalives.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    PutRequest, PutResponse, WatchCreateRequest, WatchRequest, WatchResponse,
};
use tokio::sync::Notify;

use crate::grpc::{Body, Connection, frame};
use crate::load::Tally;
use crate::options::Plan;
use crate::requests::{LEASE_GRANT, LEASE_KEEPALIVE, PUT, WATCH, value};

/// The key that is watched.
const KEY: &[u8] = b"/bench/watched";
/// No lease of a load runs out while it is measured.
const TTL_SECONDS: i64 = 3600;

/// How many streams have yet to see the newest put.
#[derive(Debug, Default)]
struct Round {
    waiting: Cell<usize>,
    seen_by_all: Notify,
}

/// Opens watch streams on one key, and puts it again whenever all of them have seen the last put.
/// A put carries the time at which it was sent, in front of its value.
pub(crate) async fn watch(
    plan: &Plan,
    connections: &[Connection],
    tally: &Rc<Tally>,
) -> anyhow::Result<()> {
    let round = Rc::new(Round::default());
    let create = WatchCreateRequest { key: Bytes::from_static(KEY), ..Default::default() };
    let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    for (_, connection) in (0..plan.in_flight).zip(connections.iter().cycle()) {
        let (mut sender, response) = connection.method(WATCH)?.open().await?;
        sender.send_data(frame(&create), false)?;
        let mut body = Body::of(response).await?;
        let created: WatchResponse = body.message().await?.context("the stream ended")?;
        if !created.created || created.canceled {
            bail!("a watch was refused: {}", created.cancel_reason);
        }
        let round = Rc::clone(&round);
        tally.spawn(async move |tally| {
            // Dropping it would end the stream.
            let _sender = sender;
            while let Some(answer) = body.message::<WatchResponse>().await? {
                for event in &answer.events {
                    let value = event.kv.as_ref().map(|kv| &kv.value[..]).unwrap_or_default();
                    tally.count(sent_at(value)?);
                    round.waiting.set(round.waiting.get().saturating_sub(1));
                }
                if round.waiting.get() == 0 {
                    round.seen_by_all.notify_one();
                }
            }
            Ok(())
        });
    }
    let mut put = connections[0].method(PUT)?;
    let (streams, padding) = (plan.in_flight, value(0, plan.value_size.saturating_sub(8)));
    tally.spawn(async move |tally| {
        loop {
            round.waiting.set(streams);
            let mut value = BytesMut::new();
            value.extend_from_slice(&nanoseconds(tally.now()).to_be_bytes());
            value.extend_from_slice(&padding);
            let key = Bytes::from_static(KEY);
            let request = PutRequest { key, value: value.freeze(), ..PutRequest::default() };
            put.ask::<PutResponse>(&request).await?;
            while round.waiting.get() > 0 {
                round.seen_by_all.notified().await;
            }
        }
    });
    Ok(())
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn sent_at(value: &[u8]) -> anyhow::Result<Duration> {
    let (time, _) = value.split_first_chunk().context("an event has not the value that was put")?;
    Ok(Duration::from_nanos(u64::from_be_bytes(*time)))
}

/// Keeps a lease alive on each of many streams.
pub(crate) async fn keep_alive(
    plan: &Plan,
    connections: &[Connection],
    tally: &Rc<Tally>,
) -> anyhow::Result<()> {
    for (_, connection) in (0..plan.in_flight).zip(connections.iter().cycle()) {
        let grant = LeaseGrantRequest { ttl: TTL_SECONDS, id: 0 };
        let lease: LeaseGrantResponse = connection.method(LEASE_GRANT)?.ask(&grant).await?;
        let request = frame(&LeaseKeepAliveRequest { id: lease.id });
        let (mut sender, response) = connection.method(LEASE_KEEPALIVE)?.open().await?;
        tally.spawn(async move |tally| {
            let mut sent = tally.now();
            sender.send_data(request.clone(), false)?;
            let mut body = Body::of(response).await?;
            while let Some(answer) = body.message::<LeaseKeepAliveResponse>().await? {
                if answer.ttl == 0 {
                    bail!("lease {:x} is gone", answer.id);
                }
                tally.count(sent);
                sent = tally.now();
                sender.send_data(request.clone(), false)?;
            }
            Ok(())
        });
    }
    Ok(())
}
