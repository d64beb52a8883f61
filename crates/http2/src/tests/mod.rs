//! The connection from outside: bytes in, events and bytes out.

mod abuse;
mod faults;
mod flow;
mod random;

use bytes::{Buf as _, Bytes};

use crate::frame::{self, Frame, flag, kind, setting};
use crate::{Config, Connection, ErrorCode, Event, PREFACE, StreamKey, encode};

/// A frame from the peer.
fn frame_of(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = frame::header(kind, flags, stream, payload.len()).to_vec();
    out.extend_from_slice(payload);
    out
}

fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in pairs {
        payload.extend_from_slice(&id.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    frame_of(kind::SETTINGS, 0, 0, &payload)
}

fn block_of(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        encode(&mut block, name.as_bytes(), value.as_bytes());
    }
    block
}

const CALL: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/a.B/C"), (":authority", "x")];

/// A request whose body is still to come.
fn request(stream: u32) -> Vec<u8> {
    frame_of(kind::HEADERS, flag::END_HEADERS, stream, &block_of(&CALL))
}

fn data(stream: u32, payload: &[u8], end: bool) -> Vec<u8> {
    let flags = if end { flag::END_STREAM } else { 0 };
    frame_of(kind::DATA, flags, stream, payload)
}

fn window(stream: u32, bytes: u32) -> Vec<u8> {
    frame_of(kind::WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

/// An event that owns what it tells.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Head(StreamKey, bool),
    Data(StreamKey, Vec<u8>, bool),
    Reset(StreamKey, ErrorCode),
    Ping,
    Pong([u8; 8]),
}

/// A frame that was sent to the peer.
type Sent = (Frame, Vec<u8>);

/// A connection with a peer that says what it is told to.
struct Peer {
    connection: Connection,
    unread: Vec<u8>,
}

impl Peer {
    /// A peer that has not said anything.
    fn mute(config: Config) -> Self {
        Self { connection: Connection::new(config), unread: Vec::new() }
    }

    /// A peer that has introduced itself; what was sent to it by then is taken.
    fn new(config: Config) -> Self {
        let mut peer = Self::mute(config);
        let greeting = [PREFACE, &settings(&[])].concat();
        assert!(peer.say(&greeting).is_empty());
        peer.sent();
        peer
    }

    fn say(&mut self, bytes: &[u8]) -> Vec<Told> {
        self.unread.extend_from_slice(bytes);
        let mut input = &self.unread[..];
        let mut told = Vec::new();
        while let Some(event) = self.connection.next(&mut input) {
            told.push(match event {
                Event::Head { stream, end } => Told::Head(stream, end),
                Event::Data { stream, data, end } => Told::Data(stream, data.to_vec(), end),
                Event::Reset { stream, code } => Told::Reset(stream, code),
                Event::Ping => Told::Ping,
                Event::Pong(data) => Told::Pong(data),
            });
        }
        let read = self.unread.len() - input.len();
        self.unread.drain(..read);
        told
    }

    /// Opens a stream.
    fn open(&mut self, id: u32) -> StreamKey {
        match &self.say(&request(id))[..] {
            [Told::Head(stream, false)] => *stream,
            other => panic!("{other:?}"),
        }
    }

    fn sent(&mut self) -> Vec<Sent> {
        let mut bytes = Vec::new();
        // Taking some makes room for more.
        loop {
            let output = self.connection.output();
            if output.is_empty() {
                break;
            }
            bytes.extend_from_slice(output.chunk());
            let len = output.chunk().len();
            output.advance(len);
        }
        frames(&bytes)
    }

    /// The peer has done wrong, and everything is over.
    fn is_sent_away(&mut self) -> ErrorCode {
        let sent = self.sent();
        let (frame, payload) = sent.last().expect("a reason is given");
        assert_eq!((frame.kind, frame.stream), (kind::GOAWAY, 0));
        assert!(self.connection.is_closed());
        assert_eq!(self.connection.open_streams(), 0);
        assert!(self.say(&request(99)).is_empty() && self.unread.is_empty());
        ErrorCode(u32::from_be_bytes(payload[4..8].try_into().unwrap()))
    }
}

fn frames(mut bytes: &[u8]) -> Vec<Sent> {
    let mut frames = Vec::new();
    while let Some((frame, payload)) = frame::take(&mut bytes).expect("we send good frames") {
        frames.push((frame, payload.to_vec()));
    }
    assert!(bytes.is_empty(), "we send whole frames");
    frames
}

/// The data of a stream among what was sent, and whether it has ended.
fn body(sent: &[Sent], stream: u32) -> (Vec<u8>, bool) {
    let of = sent.iter().filter(|(frame, _)| frame.stream == stream);
    let mut all = Vec::new();
    let mut ended = false;
    for (frame, payload) in of {
        if frame.kind == kind::DATA {
            all.extend_from_slice(payload);
        }
        let may_end = matches!(frame.kind, kind::DATA | kind::HEADERS);
        ended |= may_end && frame.has(flag::END_STREAM);
    }
    (all, ended)
}

fn kinds(sent: &[Sent]) -> Vec<(u8, u32)> {
    sent.iter().map(|(frame, _)| (frame.kind, frame.stream)).collect()
}

#[test]
fn both_sides_introduce_themselves() {
    let mut peer = Peer::mute(Config { concurrent_streams: 7, ..Config::default() });
    let sent = peer.sent();
    assert_eq!(kinds(&sent), [(kind::SETTINGS, 0), (kind::WINDOW_UPDATE, 0)]);
    let offered: Vec<_> = frame::settings(&sent[0].1).unwrap().collect();
    assert!(offered.contains(&(setting::MAX_CONCURRENT_STREAMS, 7)));
    assert!(offered.contains(&(setting::INITIAL_WINDOW_SIZE, 1 << 20)));
    for byte in [PREFACE, &settings(&[(0xfff, 1)])].concat() {
        assert!(peer.say(&[byte]).is_empty());
    }
    let sent = peer.sent();
    assert_eq!(kinds(&sent), [(kind::SETTINGS, 0)]);
    assert!(sent[0].0.has(flag::ACK));
}

#[test]
fn a_call_goes_from_head_to_trailers() {
    let mut peer = Peer::new(Config::default());
    let stream = peer.open(1);
    let head = peer.connection.head();
    assert_eq!((&head.method[..], &head.path[..]), (&b"POST"[..], &b"/a.B/C"[..]));
    assert_eq!(
        peer.say(&[data(1, b"ask", false), data(1, b"ed", true)].concat()),
        [Told::Data(stream, b"ask".to_vec(), false), Told::Data(stream, b"ed".to_vec(), true)]
    );
    let (head, trailers) = (block_of(&[(":status", "200")]), block_of(&[("grpc-status", "0")]));
    peer.connection.headers(stream, &head, false);
    peer.connection.data(stream, b"an", Bytes::from_static(b"swer"));
    peer.connection.trailers(stream, trailers.clone().into());
    let sent = peer.sent();
    assert_eq!(kinds(&sent), [(kind::HEADERS, 1), (kind::DATA, 1), (kind::HEADERS, 1)]);
    assert_eq!(sent[0].1, head);
    assert_eq!(body(&sent, 1), (b"answer".to_vec(), true));
    assert_eq!(sent[2].1, trailers);
    assert_eq!(peer.connection.open_streams(), 0);
    assert_eq!(peer.connection.progress(), 3);
}

#[test]
fn padding_and_priority_are_taken_off() {
    let mut peer = Peer::new(Config::default());
    let mut padded = vec![3];
    padded.extend_from_slice(&[0, 0, 0, 0, 16]);
    padded.extend_from_slice(&block_of(&CALL));
    padded.extend_from_slice(&[0; 3]);
    let flags = flag::END_HEADERS | flag::PADDED | flag::PRIORITY;
    let told = peer.say(&frame_of(kind::HEADERS, flags, 1, &padded));
    let [Told::Head(stream, false)] = told[..] else { panic!("{told:?}") };
    let told = peer.say(&frame_of(kind::DATA, flag::PADDED, 1, b"\x02ab\0\0"));
    assert_eq!(told, [Told::Data(stream, b"ab".to_vec(), false)]);
    let told = peer.say(&frame_of(kind::DATA, flag::PADDED | flag::END_STREAM, 1, b"\0"));
    assert_eq!(told, [Told::Data(stream, vec![], true)]);
}

#[test]
fn a_header_block_may_come_in_parts_and_trailers_end_a_body() {
    let mut peer = Peer::new(Config::default());
    let block = block_of(&CALL);
    let (first, rest) = block.split_at(3);
    let (second, third) = rest.split_at(4);
    assert!(peer.say(&frame_of(kind::HEADERS, 0, 1, first)).is_empty());
    assert!(peer.say(&frame_of(kind::CONTINUATION, 0, 1, second)).is_empty());
    let told = peer.say(&frame_of(kind::CONTINUATION, flag::END_HEADERS, 1, third));
    let [Told::Head(stream, false)] = told[..] else { panic!("{told:?}") };
    let flags = flag::END_HEADERS | flag::END_STREAM;
    let told = peer.say(&frame_of(kind::HEADERS, flags, 1, &block_of(&[("x", "y")])));
    assert_eq!(told, [Told::Data(stream, vec![], true)]);
}

#[test]
fn frames_that_mean_nothing_are_passed_over() {
    let mut peer = Peer::new(Config::default());
    let unknown = frame_of(0xfa, 0xff, 12, b"whatever");
    let priority = frame_of(kind::PRIORITY, 0, 5, &[0, 0, 0, 3, 1]);
    let goaway = frame_of(kind::GOAWAY, 0, 0, &[0; 8]);
    assert!(peer.say(&[unknown, priority, goaway].concat()).is_empty());
    assert!(peer.sent().is_empty());
    peer.open(1);
}

#[test]
fn pings_are_answered_and_ours_come_back() {
    let mut peer = Peer::new(Config::default());
    assert_eq!(peer.say(&frame_of(kind::PING, 0, 0, b"12345678")), [Told::Ping]);
    let sent = peer.sent();
    assert!(sent[0].0.has(flag::ACK) && sent[0].1 == b"12345678");
    peer.connection.ping(*b"are you?");
    assert_eq!(peer.sent()[0].1, b"are you?");
    let told = peer.say(&frame_of(kind::PING, flag::ACK, 0, b"are you?"));
    assert_eq!(told, [Told::Pong(*b"are you?")]);
}

#[test]
fn an_answer_before_the_end_of_a_request_hangs_up() {
    let mut peer = Peer::new(Config::default());
    let stream = peer.open(1);
    peer.connection.headers(stream, &block_of(&[(":status", "200")]), true);
    let sent = peer.sent();
    assert_eq!(kinds(&sent), [(kind::HEADERS, 1), (kind::RST_STREAM, 1)]);
    assert_eq!(sent[1].1, [0; 4]);
    // What was on its way meanwhile is nobody's fault.
    let more = [data(1, b"more", false), window(1, 5), data(1, b"", true)].concat();
    assert!(peer.say(&more).is_empty() && peer.sent().is_empty());
    // The end may lie right behind what was answered.
    let stream = peer.open(3);
    peer.connection.headers(stream, &block_of(&[(":status", "200")]), true);
    peer.say(&data(3, b"", true));
    assert_eq!(kinds(&peer.sent()), [(kind::HEADERS, 3)]);
    assert_eq!(peer.connection.open_streams(), 0);
}

#[test]
fn a_reset_ends_a_stream_on_either_side() {
    let mut peer = Peer::new(Config::default());
    let (first, second) = (peer.open(1), peer.open(3));
    let told = peer.say(&frame_of(kind::RST_STREAM, 0, 1, &8_u32.to_be_bytes()));
    assert_eq!(told, [Told::Reset(first, ErrorCode::CANCEL)]);
    peer.connection.headers(first, &block_of(&[(":status", "200")]), false);
    peer.connection.data(first, b"", Bytes::from_static(b"late"));
    assert!(peer.sent().is_empty());
    peer.connection.reset(second, ErrorCode::INTERNAL_ERROR);
    assert_eq!(kinds(&peer.sent()), [(kind::RST_STREAM, 3)]);
    assert!(peer.say(&data(3, b"late", true)).is_empty());
    // A slot that is used again is another stream.
    let third = peer.open(5);
    assert!([first.slot(), second.slot()].contains(&third.slot()));
    assert_eq!(peer.connection.queued(first), 0);
}

#[test]
fn leaving_takes_two_steps() {
    let mut peer = Peer::new(Config::default());
    let first = peer.open(1);
    peer.connection.drain();
    let sent = peer.sent();
    assert_eq!(kinds(&sent), [(kind::GOAWAY, 0), (kind::PING, 0)]);
    assert_eq!(sent[0].1[..4], 0x7fff_ffff_u32.to_be_bytes());
    // The peer has not read it yet.
    let second = peer.open(3);
    peer.say(&frame_of(kind::PING, flag::ACK, 0, &sent[1].1));
    let sent = peer.sent();
    assert_eq!(sent[0].1[..4], 3_u32.to_be_bytes());
    assert!(peer.say(&request(5)).is_empty() && peer.say(&data(5, b"x", true)).is_empty());
    for stream in [first, second] {
        assert!(!peer.connection.is_closed());
        peer.connection.headers(stream, &block_of(&[(":status", "200")]), true);
        peer.sent();
    }
    assert!(peer.connection.is_closed());
}

#[test]
fn a_peer_that_gives_up_its_table_is_told_that_none_is_used() {
    let mut peer = Peer::new(Config::default());
    peer.say(&settings(&[(setting::HEADER_TABLE_SIZE, 0)]));
    peer.sent();
    let head = block_of(&[(":status", "200")]);
    for (id, expected) in [(1, [&[0x20], &head[..]].concat()), (3, head.clone())] {
        let stream = peer.open(id);
        peer.connection.headers(stream, &head, false);
        assert_eq!(peer.sent()[0].1, expected);
    }
}

#[test]
fn a_long_header_block_is_sent_in_parts() {
    let mut peer = Peer::new(Config::default());
    let stream = peer.open(1);
    let block = vec![7; 40_000];
    peer.connection.headers(stream, &block, true);
    let sent = peer.sent();
    assert_eq!(
        kinds(&sent)[..3],
        [(kind::HEADERS, 1), (kind::CONTINUATION, 1), (kind::CONTINUATION, 1)]
    );
    let ends: Vec<bool> = sent[..3].iter().map(|(frame, _)| frame.flags & 0x4 != 0).collect();
    assert_eq!(ends, [false, false, true]);
    assert!(sent[0].0.has(flag::END_STREAM) && !sent[2].0.has(flag::END_STREAM));
    let joined: Vec<u8> = sent[..3].iter().flat_map(|(_, payload)| payload.clone()).collect();
    assert!(joined == block);
}
