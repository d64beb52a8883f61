//! The same bytes in whatever parts, and random peers against a model of the windows.

use std::collections::HashMap;

use super::*;

/// Numbers from a seed (xorshift).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// A frame that may be good or bad.
fn any_frame(random: &mut Random) -> Vec<u8> {
    let stream = [0, 1, 1, 3, 5, 7, 9, 2][random.below(8) as usize];
    match random.below(12) {
        0..3 => request(stream),
        3..6 => data(stream, &vec![7; random.below(300) as usize], random.below(4) == 0),
        6 => window(stream, random.below(1 << 16) as u32),
        7 => frame_of(kind::PING, (random.below(2)) as u8, 0, &[9; 8]),
        8 => settings(&[(random.below(7) as u16, random.below(1 << 20) as u32)]),
        9 => frame_of(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]),
        10 => frame_of(kind::CONTINUATION, 4, stream, b"\x82"),
        _ => {
            let len = random.below(20) as usize;
            let payload: Vec<u8> = (0..len).map(|_| random.below(256) as u8).collect();
            let kind = random.below(12) as u8;
            frame_of(kind, random.below(256) as u8, stream, &payload)
        }
    }
}

#[test]
fn the_parts_in_which_bytes_come_make_no_difference() {
    for seed in 0..2000 {
        let mut random = Random::new(seed);
        let mut bytes = [PREFACE, &settings(&[])].concat();
        for _ in 0..random.below(30) {
            bytes.extend_from_slice(&any_frame(&mut random));
        }
        let mut whole = Peer::mute(Config::default());
        let expected = whole.say(&bytes);
        let mut parts = Peer::mute(Config::default());
        let (mut told, mut rest) = (Vec::new(), &bytes[..]);
        while !rest.is_empty() {
            let (part, later) = rest.split_at(rest.len().min(1 + random.below(40) as usize));
            told.extend(parts.say(part));
            rest = later;
        }
        assert_eq!(told, expected, "seed {seed}");
        assert_eq!(parts.sent(), whole.sent(), "seed {seed}");
        assert_eq!(parts.connection.is_closed(), whole.connection.is_closed(), "seed {seed}");
    }
}

/// What a stream should have received, and what it has.
#[derive(Default)]
struct Model {
    given: Vec<u8>,
    got: Vec<u8>,
    window: i64,
    key: Option<StreamKey>,
    ended: bool,
    got_end: bool,
}

/// A peer that opens windows at random, and counts.
struct Counting {
    peer: Peer,
    streams: HashMap<u32, Model>,
    window: i64,
    initial: i64,
}

impl Counting {
    fn act(&mut self, random: &mut Random, next_id: &mut u32) {
        let ids: Vec<u32> = self.streams.keys().copied().collect();
        let id = ids.get(random.below(ids.len().max(1) as u64) as usize).copied().unwrap_or(0);
        let more = random.below(40_000) as i64 + 1;
        match (random.below(6), self.streams.get_mut(&id)) {
            (0, _) if ids.len() < 20 => {
                let key = self.peer.open(*next_id);
                self.peer.connection.headers(key, &[0x88], false);
                let model = Model { window: self.initial, key: Some(key), ..Model::default() };
                self.streams.insert(*next_id, model);
                *next_id += 2;
            }
            (1, Some(model)) if !model.ended => {
                let part: Vec<u8> = (0..more).map(|at| (at + more) as u8).collect();
                model.given.extend_from_slice(&part);
                let key = model.key.expect("it was opened");
                let (prefix, rest) = part.split_at(part.len().min(5));
                self.peer.connection.data(key, prefix, Bytes::copy_from_slice(rest));
            }
            (2, Some(model)) if !model.got_end => {
                model.window += more;
                self.peer.say(&window(id, more as u32));
            }
            (3, _) => {
                self.window += more;
                self.peer.say(&window(0, more as u32));
            }
            (4, _) if random.below(4) == 0 => {
                let change = more - self.initial;
                self.initial = more;
                self.streams.values_mut().for_each(|model| model.window += change);
                self.peer.say(&settings(&[(setting::INITIAL_WINDOW_SIZE, more as u32)]));
            }
            (5, Some(model)) if !model.ended && random.below(4) == 0 => {
                model.ended = true;
                let key = model.key.expect("it was opened");
                self.peer.connection.trailers(key, Bytes::from_static(b"\x88"));
            }
            _ => {}
        }
        self.look();
    }

    /// Nothing beyond a window, and everything within.
    fn look(&mut self) {
        for (frame, payload) in self.peer.sent() {
            let Some(model) = self.streams.get_mut(&frame.stream) else { continue };
            if frame.kind == kind::DATA {
                assert!(payload.len() <= frame::MAX_PAYLOAD_BYTES);
                model.window -= payload.len() as i64;
                self.window -= payload.len() as i64;
                assert!(model.window >= 0 && self.window >= 0, "beyond the window");
                model.got.extend_from_slice(&payload);
            }
            model.got_end |= frame.kind == kind::HEADERS && frame.has(flag::END_STREAM);
        }
        for (id, model) in &self.streams {
            assert!(model.given.starts_with(&model.got), "stream {id}");
            let waits = model.got.len() < model.given.len();
            assert!(!waits || self.window == 0 || model.window <= 0, "stream {id} waits in vain");
            assert!(!model.got_end || (model.ended && !waits));
            assert!(model.got_end || waits || !model.ended, "stream {id} has no end");
        }
    }
}

#[test]
fn what_is_sent_obeys_the_windows_and_uses_them() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut counting = Counting {
            peer: Peer::new(Config::default()),
            streams: HashMap::new(),
            window: frame::DEFAULT_WINDOW,
            initial: frame::DEFAULT_WINDOW,
        };
        let mut next_id = 1;
        for _ in 0..150 {
            counting.act(&mut random, &mut next_id);
        }
    }
}
