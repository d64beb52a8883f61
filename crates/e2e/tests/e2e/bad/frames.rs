//! Frames that are wrong in themselves, or at the wrong moment.

use bytes::Bytes;

use super::note_that_others_are_served;
use super::wire::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, GOOD, HEADERS, PADDED, PING, PREFACE,
    PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, Wire, block, frame,
};
use crate::both::same_but;

/// Where etcd does otherwise.
const DIFFERENT: [&str; 15] = [
    // RFC 9113 wants these connections ended; etcd goes on.
    "data on an idle stream",
    "a reset of an idle stream",
    "a frame size too small",
    "a push that is neither",
    "a push",
    "a window that overflows",
    "a window of an idle stream",
    // And these streams reset; etcd goes on, refuses in words, or ends the connection.
    "data behind the end",
    "headers twice",
    "headers of nothing",
    "a stream's window that overflows",
    "no method",
    "no path",
    "no scheme",
    "transfer-encoding",
];

/// A range over one key, on stream 1.
fn call(fields: &[(&str, &str)]) -> Vec<Bytes> {
    let message = [0, 0, 0, 0, 3, 0x0a, 1, b'a'];
    vec![frame(HEADERS, END_HEADERS, 1, &block(fields)), frame(DATA, END_STREAM, 1, &message)]
}

fn open(stream: u32) -> Bytes {
    frame(HEADERS, END_HEADERS, stream, &block(&GOOD))
}

fn of_calls() -> Vec<(&'static str, Vec<Bytes>)> {
    let good = block(&GOOD);
    let data = |flags, content: &[u8]| frame(DATA, flags, 1, content);
    let headers = |flags, content: &[u8]| frame(HEADERS, flags, 1, content);
    let in_pieces = vec![
        headers(0, &good[..9]),
        frame(CONTINUATION, 0, 1, &good[9..20]),
        frame(CONTINUATION, END_HEADERS, 1, &good[20..]),
        call(&GOOD).remove(1),
    ];
    vec![
        ("nothing wrong", call(&GOOD)),
        ("an unknown kind", [frame(0x77, 0xff, 0, b"?"), frame(0x77, 0, 1, b"")].into()),
        ("a frame too large", vec![data(0, &[0; 20_000])]),
        ("data on stream 0", vec![frame(DATA, 0, 0, b"x")]),
        ("data on an idle stream", vec![data(0, b"x")]),
        ("data behind the end", vec![open(1), data(END_STREAM, b""), data(0, b"x")]),
        ("more padding than data", vec![open(1), data(PADDED, &[9, 1])]),
        ("padding of nothing", vec![open(1), data(PADDED, &[])]),
        ("headers on stream 0", vec![open(0)]),
        ("headers on an even stream", vec![open(2)]),
        ("headers on an old stream", vec![open(5), open(3)]),
        ("headers twice", vec![open(1), open(1)]),
        ("headers of garbage", vec![headers(END_HEADERS, &[0xff; 50])]),
        ("headers of an unknown index", vec![headers(END_HEADERS, &[0xfe])]),
        ("headers with half a literal", vec![headers(END_HEADERS, &[0, 5, b'a'])]),
        ("headers of nothing", vec![headers(END_HEADERS | END_STREAM, &[])]),
        ("headers without an end", vec![headers(0, &good), frame(PING, 0, 0, &[0; 8])]),
        ("a continuation of nothing", vec![frame(CONTINUATION, END_HEADERS, 1, &good)]),
        (
            "a continuation of another",
            vec![headers(0, &good), frame(CONTINUATION, END_HEADERS, 3, &[])],
        ),
        ("headers in pieces", in_pieces),
        ("a reset of an idle stream", vec![frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])]),
        ("a reset of stream 0", vec![frame(RST_STREAM, 0, 0, &[0, 0, 0, 8])]),
        ("a short reset", vec![open(1), frame(RST_STREAM, 0, 1, &[0; 3])]),
        ("a reset", vec![open(1), frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])]),
    ]
}

fn of_connections() -> Vec<(&'static str, Vec<Bytes>)> {
    let settings = |content: &[u8]| vec![frame(SETTINGS, 0, 0, content)];
    let window = |stream, content: &[u8]| frame(WINDOW_UPDATE, 0, stream, content);
    vec![
        ("a stream that depends on itself", vec![frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 9])]),
        ("a short priority", vec![frame(PRIORITY, 0, 1, &[0; 4])]),
        ("priority on stream 0", vec![frame(PRIORITY, 0, 0, &[0; 5])]),
        ("settings on a stream", vec![frame(SETTINGS, 0, 1, &[])]),
        ("settings of five bytes", settings(&[0; 5])),
        ("an ack with content", vec![frame(SETTINGS, ACK, 0, &[0; 6])]),
        ("a window too large", settings(&[0, 4, 255, 255, 255, 255])),
        ("a frame size too small", settings(&[0, 5, 0, 0, 0, 1])),
        ("a push that is neither", settings(&[0, 2, 0, 0, 0, 2])),
        ("an unknown setting", settings(&[0, 99, 0, 0, 0, 2])),
        ("a push", vec![frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])]),
        ("a ping", vec![frame(PING, 0, 0, &[7; 8])]),
        ("a short ping", vec![frame(PING, 0, 0, &[0; 7])]),
        ("a ping on a stream", vec![frame(PING, 0, 1, &[0; 8])]),
        ("a pong that nobody asked for", vec![frame(PING, ACK, 0, &[0; 8])]),
        ("a short goaway", vec![frame(GOAWAY, 0, 0, &[0; 7])]),
        ("a goaway on a stream", vec![frame(GOAWAY, 0, 1, &[0; 8])]),
        ("a window of 0", vec![window(0, &[0; 4])]),
        ("a window of 0 of a stream", vec![open(1), window(1, &[0; 4])]),
        ("a window that overflows", vec![window(0, &[127, 255, 255, 255])]),
        ("a stream's window that overflows", vec![open(1), window(1, &[127, 255, 255, 255])]),
        ("a window of an idle stream", vec![window(1, &[0, 0, 0, 9])]),
        ("a short window", vec![window(0, &[0; 3])]),
    ]
}

fn of_headers() -> Vec<(&'static str, Vec<Bytes>)> {
    let with = |name, value| call(&[&GOOD[..], &[(name, value)]].concat());
    let without = |name| {
        let fields: Vec<_> = GOOD.into_iter().filter(|(other, _)| *other != name).collect();
        call(&fields)
    };
    let authority = |value| {
        call(&GOOD.map(|(name, old)| (name, if name == ":authority" { value } else { old })))
    };
    vec![
        ("no method", without(":method")),
        ("no path", without(":path")),
        ("no scheme", without(":scheme")),
        ("no authority", without(":authority")),
        ("no te", without("te")),
        ("two methods", with(":method", "GET")),
        ("an unknown pseudo header", with(":what", "x")),
        ("a pseudo header behind others", with(":status", "200")),
        ("a name in capitals", with("Accept", "x")),
        ("an empty name", with("", "x")),
        ("connection", with("connection", "close")),
        ("transfer-encoding", with("transfer-encoding", "chunked")),
        ("a line feed in a value", with("a", "b\nc: d")),
        ("a zero in a value", with("a", "b\0c")),
        ("an authority with a scheme", authority("http://127.0.0.1:2379")),
        ("an authority of many", authority("#initially=[127.0.0.1:2379;[::1]:2379]")),
        ("an empty authority", authority("")),
    ]
}

#[test]
fn that_are_wrong() {
    same_but(&DIFFERENT, &[], async |talk| {
        for (what, frames) in [of_calls(), of_connections(), of_headers()].concat() {
            let mut wire = Wire::greet(talk).await;
            for frame in frames {
                wire.send(&frame).await;
            }
            let told = wire.outcome().await;
            // Whatever is made of it, a connection that lives is good for the next call.
            let lives = told.ends_with("Served") || told.ends_with("ended");
            assert!(lives, "{what}: {told}");
            talk.note(what, told);
        }
        note_that_others_are_served(talk).await;
    });
}

#[test]
fn that_do_not_begin_as_they_should() {
    same_but(&DIFFERENT, &[], async |talk| {
        let settings = frame(SETTINGS, 0, 0, &[]);
        let beginnings: [(&str, Vec<u8>); 6] = [
            ("half a preface", PREFACE[..12].into()),
            ("another preface", [&PREFACE[..20], b"XX\r\n", &settings].concat()),
            ("garbage behind the preface", [PREFACE, &[0xa5; 500]].concat()),
            ("no settings", [PREFACE, &frame(PING, 0, 0, &[0; 8])].concat()),
            ("a preface twice", [PREFACE, &settings, PREFACE].concat()),
            ("an ack first", [PREFACE, &frame(SETTINGS, ACK, 0, &[])].concat()),
        ];
        for (what, bytes) in beginnings {
            let mut wire = Wire::open(talk).await;
            wire.send(&bytes).await;
            if what == "half a preface" {
                wire.end().await;
            }
            let told = wire.outcome().await;
            talk.note(what, told);
        }
        note_that_others_are_served(talk).await;
    });
}
