//! Keepalive: clients that ask too often whether anybody is there, and clients that are not.

use std::time::Duration;

use super::wire::{DATA, PING, Wire, watch};
use crate::both::{Talk, same};

/// A connection on which a watch stream is open.
async fn watching(talk: &Talk) -> Wire {
    let [begun, create] = watch();
    let mut wire = Wire::greet(talk).await;
    wire.send(&begun).await;
    wire.send(&create).await;
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
