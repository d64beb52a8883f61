//! Windows, both ways.

use super::*;

fn head() -> Vec<u8> {
    block_of(&[(":status", "200")])
}

fn some(bytes: usize, seed: usize) -> Bytes {
    (0..bytes).map(|at| ((at * 31 + seed) % 251) as u8).collect()
}

#[test]
fn a_body_waits_for_the_windows() {
    let mut peer = Peer::new(Config::default());
    let stream = peer.open(1);
    let whole = some(200_000, 0);
    peer.connection.headers(stream, &head(), false);
    peer.connection.data(stream, &[], whole.clone());
    peer.connection.trailers(stream, Bytes::from_static(b"\x88"));
    let (mut got, ended) = body(&peer.sent(), 1);
    assert_eq!((got.len(), ended), (65_535, false));
    // The stream's window alone, and the connection's alone, are not enough.
    peer.say(&window(1, 100_000));
    assert!(peer.sent().is_empty());
    peer.say(&window(0, 50_000));
    got.extend(body(&peer.sent(), 1).0);
    assert_eq!(got.len(), 115_535);
    assert_eq!(peer.connection.queued(stream), 200_000 - got.len());
    peer.say(&window(0, 1 << 20));
    got.extend(body(&peer.sent(), 1).0);
    assert_eq!(got.len(), 165_535);
    peer.say(&window(1, 1 << 20));
    let sent = peer.sent();
    let (rest, ended) = body(&sent, 1);
    got.extend(rest);
    assert!(got == whole && ended);
    // The request has not ended, so the peer is told that nobody listens.
    assert_eq!(sent.last().map(|(frame, _)| frame.kind), Some(kind::RST_STREAM));
}

#[test]
fn the_initial_window_moves_those_of_open_streams() {
    let mut peer = Peer::new(Config::default());
    peer.say(&window(0, 1 << 20));
    let stream = peer.open(1);
    peer.connection.headers(stream, &head(), false);
    peer.connection.data(stream, &[], some(60_000, 0));
    assert_eq!(body(&peer.sent(), 1).0.len(), 60_000);
    // 5535 are left; the window is then 1000 - 60000, which has to be made good first.
    peer.say(&settings(&[(setting::INITIAL_WINDOW_SIZE, 1000)]));
    peer.sent();
    peer.connection.data(stream, &[], some(10_000, 1));
    assert!(peer.sent().is_empty());
    peer.say(&window(1, 59_000));
    assert!(peer.sent().is_empty());
    peer.say(&window(1, 10));
    assert_eq!(body(&peer.sent(), 1).0, some(10_000, 1)[..10]);
    peer.say(&settings(&[(setting::INITIAL_WINDOW_SIZE, 2000)]));
    assert_eq!(body(&peer.sent(), 1).0, some(10_000, 1)[10..1010]);
    let next = peer.open(3);
    peer.connection.headers(next, &head(), false);
    peer.connection.data(next, &[], some(10_000, 2));
    assert_eq!(body(&peer.sent(), 3).0.len(), 2000);
}

#[test]
fn a_stream_that_is_stuck_is_stuck_alone() {
    let mut peer = Peer::new(Config::default());
    peer.say(&window(0, 1 << 20));
    let (stuck, other) = (peer.open(1), peer.open(3));
    peer.connection.headers(stuck, &head(), false);
    peer.connection.headers(other, &head(), false);
    peer.connection.data(stuck, &[], some(500_000, 0));
    assert_eq!(body(&peer.sent(), 1).0.len(), 65_535);
    for _ in 0..10 {
        peer.connection.data(other, b"prefix", some(5000, 1));
        assert_eq!(body(&peer.sent(), 3).0.len(), 5006);
    }
}

#[test]
fn streams_take_turns() {
    let mut peer = Peer::new(Config::default());
    let streams = [peer.open(1), peer.open(3), peer.open(5)];
    peer.say(&[window(1, 1 << 20), window(3, 1 << 20), window(5, 1 << 20)].concat());
    for stream in streams {
        peer.connection.headers(stream, &head(), false);
        peer.connection.data(stream, &[], some(100_000, 0));
    }
    peer.sent();
    peer.say(&window(0, 90_000));
    let sent = peer.sent();
    for id in [1, 3, 5] {
        assert!(body(&sent, id).0.len() >= 16_384, "{id}");
    }
}

#[test]
fn room_is_told_when_a_queue_is_short_again() {
    let mut peer = Peer::new(Config::default());
    let stream = peer.open(1);
    peer.connection.headers(stream, &head(), false);
    assert!(peer.connection.has_room(stream));
    peer.connection.data(stream, &[], some(200_000, 0));
    peer.sent();
    assert!(!peer.connection.has_room(stream));
    peer.say(&[window(0, 50_000), window(1, 50_000)].concat());
    peer.sent();
    assert_eq!(peer.connection.next_roomy(), None);
    peer.say(&[window(0, 60_000), window(1, 60_000)].concat());
    peer.sent();
    assert_eq!(peer.connection.next_roomy(), Some(stream));
    assert_eq!(peer.connection.next_roomy(), None);
    assert!(peer.connection.has_room(stream));
}

#[test]
fn windows_open_again_for_what_was_taken() {
    let config = Config {
        stream_window_bytes: 70_000,
        connection_window_bytes: 100_000,
        ..Config::default()
    };
    let mut peer = Peer::new(config);
    let stream = peer.open(1);
    let part = data(1, &some(16_000, 0), false);
    peer.say(&[&part[..], &part, &part].concat());
    assert!(peer.sent().is_empty());
    peer.say(&part);
    // The connection's window opens whoever reads; the stream's for whom has read.
    let sent = peer.sent();
    assert_eq!(kinds(&sent), [(kind::WINDOW_UPDATE, 0)]);
    assert_eq!(sent[0].1, 64_000_u32.to_be_bytes());
    peer.connection.release(stream, 20_000);
    assert!(peer.sent().is_empty());
    peer.connection.release(stream, 20_000);
    let sent = peer.sent();
    assert_eq!(kinds(&sent), [(kind::WINDOW_UPDATE, 1)]);
    assert_eq!(sent[0].1, 40_000_u32.to_be_bytes());
    // A caller cannot give more than was taken.
    peer.connection.release(stream, usize::MAX / 4);
    assert!(peer.sent().is_empty());
}

#[test]
fn more_than_a_window_is_a_fault() {
    let config = Config {
        stream_window_bytes: 20_000,
        connection_window_bytes: 100_000,
        ..Config::default()
    };
    let mut peer = Peer::new(config);
    let stream = peer.open(1);
    let part = data(1, &some(15_000, 0), false);
    peer.say(&part);
    let told = peer.say(&part);
    assert_eq!(told, [Told::Reset(stream, ErrorCode::FLOW_CONTROL_ERROR)]);
    assert_eq!(peer.connection.open_streams(), 0);
    // The connection's window never shuts, since it opens again at half of it; that it can is
    // only seen when it is smaller than a frame.
    let tiny = Config { connection_window_bytes: 0, ..Config::default() };
    let mut peer = Peer::new(tiny);
    peer.open(1);
    let parts: Vec<u8> = (0..5).flat_map(|_| data(1, &some(16_000, 0), false)).collect();
    peer.say(&parts);
    assert!(!peer.connection.is_closed());
}
