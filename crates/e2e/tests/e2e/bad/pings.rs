//! Keepalive: clients that ask too often whether anybody is there, and clients that are not.

use std::time::Duration;

use proto::Message as _;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{WatchCreateRequest, WatchRequest};

use super::wire::{DATA, END_HEADERS, GOOD, HEADERS, PING, Wire, block, frame};
use crate::both::{Talk, same};

/// A connection on which a watch stream is open.
async fn watching(talk: &Talk) -> Wire {
    let create = WatchCreateRequest { key: "a".into(), ..WatchCreateRequest::default() };
    let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let message = create.encode_to_vec();
    let mut content = vec![0, 0, 0, 0, message.len() as u8];
    content.extend(message);
    let fields = GOOD.map(|(name, value)| match name {
        ":path" => (name, "/etcdserverpb.Watch/Watch"),
        _ => (name, value),
    });
    let mut wire = Wire::greet(talk).await;
    wire.send(&frame(HEADERS, END_HEADERS, 1, &block(&fields))).await;
    wire.send(&frame(DATA, 0, 1, &content)).await;
    wire.until(DATA, 1).await.expect("it is told that the watcher is there");
    wire
}

#[test]
fn that_come_too_often() {
    same(&[], async |talk| {
        let told = Wire::greet(talk).await.ping(10, Duration::ZERO).await;
        talk.note("without a call", told);
        let told = watching(talk).await.ping(10, Duration::ZERO).await;
        talk.note("beside a call", told);
    });
}

#[test]
fn that_come_as_often_as_they_may() {
    const PAUSE: Duration = Duration::from_millis(60);
    same(&["--grpc-keepalive-min-time=30ms"], async |talk| {
        let told = watching(talk).await.ping(6, PAUSE).await;
        talk.note("beside a call", told);
        let told = Wire::greet(talk).await.ping(6, PAUSE).await;
        talk.note("without a call", told);
    });
}

#[test]
fn that_nobody_answers() {
    let flags = ["--grpc-keepalive-interval=1s", "--grpc-keepalive-timeout=1s"];
    same(&flags, async |talk| {
        let mut wire = watching(talk).await;
        talk.note("asks", wire.until(PING, 0).await.is_some());
        talk.note("goes on", wire.until(DATA, 1).await.is_some());
    });
}
