//! A connection: frames, good or bad, in parts; answers, windows and an output that is taken in
//! between. What is sent must be whole frames, and events must come in an order that makes sense.
#![no_main]

use std::collections::BTreeMap;

use bytes::{Buf as _, Bytes};
use fuzz::{byte, chunk};
use http2::{Config, Connection, ErrorCode, Event, PREFACE, StreamKey};
use libfuzzer_sys::fuzz_target;

const FRAME_HEADER: usize = 9;

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    let limits = byte(&mut rest);
    let mut play = Play {
        connection: Connection::new(Config {
            stream_window_bytes: 1 << (limits & 0xf),
            connection_window_bytes: 1 << (limits >> 4),
            concurrent_streams: 8,
            header_list_bytes: 2000,
        }),
        unread: Vec::new(),
        open: BTreeMap::new(),
        written: Vec::new(),
    };
    if byte(&mut rest) & 1 == 0 {
        play.unread.extend_from_slice(PREFACE);
        play.unread.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    }
    while !rest.is_empty() {
        play.act(&mut rest);
    }
    play.take(usize::MAX);
});

struct Play {
    connection: Connection,
    unread: Vec<u8>,
    /// Streams that were told of, and whether their requests have ended.
    open: BTreeMap<StreamId, (StreamKey, bool)>,
    written: Vec<u8>,
}

type StreamId = u32;

impl Play {
    fn act(&mut self, rest: &mut &[u8]) {
        let act = byte(rest);
        match act % 12 {
            0 => self.say(chunk(rest)),
            1..=4 => self.say_frame(rest),
            5 => self.take(usize::from(byte(rest)) * 100),
            6 => self.take(usize::MAX),
            7 => match act / 12 {
                0 => self.connection.drain(),
                1 => self.connection.ping([7; 8]),
                _ => self.connection.calm_down(),
            },
            other => self.answer(other, rest),
        }
    }

    fn say_frame(&mut self, rest: &mut &[u8]) {
        let (kind, flags, stream) = (byte(rest) % 12, byte(rest), byte(rest));
        let payload = chunk(rest);
        let len = u32::try_from(payload.len()).expect("chunks are short").to_be_bytes();
        let header = [len[1], len[2], len[3], kind, flags, 0, 0, 0, stream];
        self.say(&[&header[..], payload].concat());
    }

    fn say(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        let mut input = &self.unread[..];
        while let Some(event) = self.connection.next(&mut input) {
            match event {
                Event::Head { stream, end } => {
                    let head = self.connection.head();
                    assert!(!head.method.is_empty() || !head.path.is_empty());
                    let before = self.open.insert(stream.id(), (stream, end));
                    assert!(before.is_none(), "a stream begins twice");
                }
                Event::Data { stream, end, .. } => {
                    if let Some((key, ended)) = self.open.get_mut(&stream.id()) {
                        assert!(*key == stream && !*ended, "data behind the end");
                        *ended = end;
                    }
                }
                Event::Reset { stream, .. } => {
                    self.open.remove(&stream.id());
                }
                Event::Ping | Event::Pong(_) => {}
            }
        }
        let left = input.len();
        self.unread.drain(..self.unread.len() - left);
        assert!(self.connection.open_streams() <= 8);
        assert!(!self.connection.is_closed() || self.unread.is_empty() || left > 0);
    }

    fn answer(&mut self, what: u8, rest: &mut &[u8]) {
        let nth = usize::from(byte(rest));
        let Some((key, _)) = self.open.values().nth(nth % self.open.len().max(1)).copied() else {
            return;
        };
        match what {
            8 => self.connection.headers(key, b"\x88", nth & 1 == 1),
            9 => {
                let body = vec![1; usize::from(byte(rest)) * 300];
                self.connection.data(key, &[0; 5][..nth % 6], body.into());
            }
            10 => self.connection.release(key, nth * 1000),
            _ if nth & 1 == 0 => self.connection.trailers(key, Bytes::from_static(b"\x88")),
            _ => {
                self.connection.reset(key, ErrorCode::CANCEL);
                self.open.remove(&key.id());
            }
        }
        let _ = self.connection.has_room(key);
        while let Some(roomy) = self.connection.next_roomy() {
            assert!(roomy.id() > 0);
        }
    }

    /// Takes some of the output; all that was taken so far must be whole frames but for its end.
    fn take(&mut self, mut bytes: usize) {
        loop {
            let output = self.connection.output();
            let count = output.chunk().len().min(bytes);
            if count == 0 {
                break;
            }
            self.written.extend_from_slice(&output.chunk()[..count]);
            output.advance(count);
            bytes -= count;
        }
        let mut frames = &self.written[..];
        while let Some((header, behind)) = frames.split_at_checked(FRAME_HEADER) {
            let len = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
            assert!(len <= 16_384 && header[3] <= 9, "no frame: {header:?}");
            let Some(next) = behind.get(len..) else { break };
            frames = next;
        }
        let left = frames.len();
        self.written.drain(..self.written.len() - left);
    }
}
