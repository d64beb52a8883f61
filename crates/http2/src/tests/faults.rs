//! Every way in which a peer may break the protocol, and what it hears.

use super::*;

const HEADERS: u8 = kind::HEADERS;
const END: u8 = flag::END_HEADERS | flag::END_STREAM;

#[test]
fn faults_of_the_connection_end_it() {
    let p = ErrorCode::PROTOCOL_ERROR;
    let size = ErrorCode::FRAME_SIZE_ERROR;
    let flow = ErrorCode::FLOW_CONTROL_ERROR;
    let raw = |bytes: &[u8]| bytes.to_vec();
    let cases: Vec<(&str, Vec<u8>, ErrorCode)> = vec![
        ("DATA on the connection", data(0, b"x", false), p),
        ("DATA on an idle stream", data(1, b"x", false), p),
        ("DATA on a server's stream", data(2, b"x", false), p),
        ("HEADERS on the connection", frame_of(HEADERS, END, 0, &block_of(&CALL)), p),
        ("HEADERS on a server's stream", request(2), p),
        ("a stream opens again", [request(5), request(3)].concat(), p),
        ("padding without end", frame_of(HEADERS, END | flag::PADDED, 1, b"\x05abc"), p),
        ("no padding at all", frame_of(HEADERS, END | flag::PADDED, 1, b""), size),
        ("no priority at all", frame_of(HEADERS, END | flag::PRIORITY, 1, b"abcd"), size),
        (
            "a frame inside of a block",
            [frame_of(HEADERS, 0, 1, b""), frame_of(kind::PING, 0, 0, &[0; 8])].concat(),
            p,
        ),
        (
            "another stream's CONTINUATION",
            [frame_of(HEADERS, 0, 1, b""), frame_of(kind::CONTINUATION, 4, 3, b"")].concat(),
            p,
        ),
        ("CONTINUATION of nothing", frame_of(kind::CONTINUATION, 4, 1, b""), p),
        ("a broken block", frame_of(HEADERS, END, 1, b"\xff\xff"), ErrorCode::COMPRESSION_ERROR),
        ("PRIORITY on the connection", frame_of(kind::PRIORITY, 0, 0, &[0; 5]), p),
        ("PRIORITY of a wrong length", frame_of(kind::PRIORITY, 0, 1, &[0; 4]), size),
        ("RST_STREAM of a wrong length", frame_of(kind::RST_STREAM, 0, 1, &[0; 5]), size),
        ("RST_STREAM on the connection", frame_of(kind::RST_STREAM, 0, 0, &[0; 4]), p),
        ("RST_STREAM of an idle stream", frame_of(kind::RST_STREAM, 0, 1, &[0; 4]), p),
        ("SETTINGS on a stream", frame_of(kind::SETTINGS, 0, 1, b""), p),
        ("SETTINGS of a wrong length", frame_of(kind::SETTINGS, 0, 0, &[0; 7]), size),
        ("SETTINGS that set and ack", frame_of(kind::SETTINGS, 1, 0, &[0; 6]), size),
        ("ENABLE_PUSH of 2", settings(&[(setting::ENABLE_PUSH, 2)]), p),
        ("a huge window", settings(&[(setting::INITIAL_WINDOW_SIZE, 1 << 31)]), flow),
        ("small frames", settings(&[(setting::MAX_FRAME_SIZE, 16_383)]), p),
        ("large frames", settings(&[(setting::MAX_FRAME_SIZE, 1 << 24)]), p),
        ("PUSH_PROMISE", frame_of(kind::PUSH_PROMISE, 4, 1, &[0; 4]), p),
        ("PING on a stream", frame_of(kind::PING, 0, 1, &[0; 8]), p),
        ("PING of a wrong length", frame_of(kind::PING, 0, 0, &[0; 7]), size),
        ("GOAWAY on a stream", frame_of(kind::GOAWAY, 0, 1, &[0; 8]), p),
        ("GOAWAY of a wrong length", frame_of(kind::GOAWAY, 0, 0, &[0; 7]), size),
        ("WINDOW_UPDATE of a wrong length", frame_of(kind::WINDOW_UPDATE, 0, 0, &[0; 3]), size),
        ("WINDOW_UPDATE of nothing", window(0, 0), p),
        ("WINDOW_UPDATE of an idle stream", window(1, 1), p),
        ("a window that overflows", window(0, 0x7fff_ffff), flow),
        (
            "a window that SETTINGS make overflow",
            [
                request(1),
                window(1, 0x7fff_0000 - 65_535),
                settings(&[(setting::INITIAL_WINDOW_SIZE, 0x1_0000 + 1)]),
                settings(&[(setting::INITIAL_WINDOW_SIZE, 0x2_0000)]),
            ]
            .concat(),
            flow,
        ),
        ("a frame that is too large", raw(&[0, 0x40, 1, 0, 0, 0, 0, 0, 1]), size),
    ];
    for (name, bytes, code) in cases {
        let mut peer = Peer::new(Config::default());
        peer.say(&bytes);
        assert_eq!(peer.is_sent_away(), code, "{name}");
    }
}

#[test]
fn a_peer_has_to_begin_as_it_must() {
    for greeting in [
        b"GET / HTTP/1.1\r\n".to_vec(),
        b"PRI * HTTP/2.1".to_vec(),
        [PREFACE, &request(1)].concat(),
    ] {
        let mut peer = Peer::mute(Config::default());
        peer.say(&greeting);
        assert_eq!(peer.is_sent_away(), ErrorCode::PROTOCOL_ERROR);
    }
}

/// What is said of stream 1, the code that it is reset with, and whether it was open.
fn faults_of_a_stream() -> Vec<(&'static str, Vec<u8>, ErrorCode, bool)> {
    let p = ErrorCode::PROTOCOL_ERROR;
    let with = |fields: &[(&str, &str)]| {
        frame_of(HEADERS, flag::END_HEADERS, 1, &block_of(&[&CALL[..], fields].concat()))
    };
    let ended = frame_of(HEADERS, END, 1, &block_of(&CALL));
    let trailer = |flags, fields: &[(&str, &str)]| frame_of(HEADERS, flags, 1, &block_of(fields));
    let closed = ErrorCode::STREAM_CLOSED;
    let long = "y".repeat(9000);
    vec![
        ("no path", frame_of(HEADERS, END, 1, &block_of(&CALL[..2])), p, false),
        ("an unknown pseudo header", with(&[(":protocol", "x")]), p, false),
        ("a header of the connection", with(&[("connection", "close")]), p, false),
        ("upper case", with(&[("X", "y")]), p, false),
        (
            "more of a body than was announced",
            [with(&[("content-length", "2")]), data(1, b"abc", true)].concat(),
            p,
            true,
        ),
        (
            "less of a body than was announced",
            [with(&[("content-length", "2")]), data(1, b"a", true)].concat(),
            p,
            true,
        ),
        ("data behind the end", [ended.clone(), data(1, b"x", true)].concat(), closed, true),
        ("trailers behind the end", [ended, trailer(END, &[])].concat(), closed, true),
        (
            "trailers that do not end",
            [request(1), trailer(flag::END_HEADERS, &[])].concat(),
            p,
            true,
        ),
        ("a second head", [request(1), trailer(END, &CALL)].concat(), p, true),
        ("a window of nothing more", [request(1), window(1, 0)].concat(), p, true),
        (
            "a window that overflows",
            [request(1), window(1, 0x7fff_ffff)].concat(),
            ErrorCode::FLOW_CONTROL_ERROR,
            true,
        ),
        (
            "a list of headers without end",
            with(&[("x", &long[..]); 8]),
            ErrorCode::FRAME_SIZE_ERROR,
            false,
        ),
    ]
}

/// Splits what does not fit into one frame of headers.
fn cut(bytes: Vec<u8>) -> Vec<u8> {
    let (header, payload) = bytes.split_at(frame::HEADER_BYTES);
    if bytes.len() < frame::MAX_PAYLOAD_BYTES || payload.len() < frame::MAX_PAYLOAD_BYTES {
        return bytes;
    }
    assert_eq!(header[3], HEADERS);
    let parts: Vec<&[u8]> = payload.chunks(frame::MAX_PAYLOAD_BYTES).collect();
    let mut out = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let kind = if at == 0 { HEADERS } else { kind::CONTINUATION };
        let flags = if at + 1 == parts.len() { flag::END_HEADERS } else { 0 };
        out.extend_from_slice(&frame_of(kind, flags, 1, part));
    }
    out
}

#[test]
fn faults_of_a_stream_end_it_alone() {
    for (name, bytes, code, opened) in faults_of_a_stream() {
        let mut peer = Peer::new(Config { header_list_bytes: 66_000, ..Config::default() });
        let told = peer.say(&cut(bytes));
        let is_told = matches!(told.last(), Some(Told::Reset(_, told)) if *told == code);
        assert_eq!(is_told, opened, "{name}: {told:?}");
        let sent = peer.sent();
        let reset = sent.iter().find(|(frame, _)| frame.kind == kind::RST_STREAM);
        let (frame, payload) = reset.unwrap_or_else(|| panic!("{name}: {sent:?}"));
        assert_eq!(frame.stream, 1, "{name}");
        assert_eq!(payload[..], code.0.to_be_bytes(), "{name}");
        // The others go on.
        assert_eq!(peer.connection.open_streams(), 0, "{name}");
        peer.open(7);
    }
}

#[test]
fn data_of_a_stream_that_was_answered_to_its_end_is_a_fault_of_the_stream() {
    let mut peer = Peer::new(Config::default());
    let told = peer.say(&frame_of(HEADERS, END, 1, &block_of(&CALL)));
    let [Told::Head(stream, true)] = told[..] else { panic!("{told:?}") };
    peer.connection.headers(stream, &block_of(&[(":status", "200")]), true);
    assert_eq!(kinds(&peer.sent()), [(HEADERS, 1)]);
    assert!(peer.say(&data(1, b"x", true)).is_empty());
    assert_eq!(kinds(&peer.sent()), [(kind::RST_STREAM, 1)]);
    peer.open(3);
}

#[test]
fn more_streams_than_allowed_are_refused() {
    let mut peer = Peer::new(Config { concurrent_streams: 2, ..Config::default() });
    let first = peer.open(1);
    peer.open(3);
    assert!(peer.say(&request(5)).is_empty());
    let sent = peer.sent();
    assert_eq!(kinds(&sent), [(kind::RST_STREAM, 5)]);
    assert_eq!(sent[0].1, ErrorCode::REFUSED_STREAM.0.to_be_bytes());
    peer.connection.reset(first, ErrorCode::CANCEL);
    peer.open(7);
}
