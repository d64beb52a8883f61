//! Streams of members' messages, in both encodings, cut where the network likes.
#![no_main]
#![allow(dead_code, reason = "of peer's file the encodings alone are of use here")]

use bytes::BytesMut;
use fuzz::byte;
use libfuzzer_sys::fuzz_target;
use proto::raftpb::Message;

#[path = "../../crates/peer/src/codec.rs"]
mod codec;

use codec::{Decoder, Encoder, Kind};

const FROM: u64 = 2;
const TO: u64 = 1;

fn are_in_a_row(message: &Message) -> bool {
    let mut next = message.index();
    message.entries.iter().all(|entry| {
        next = next.wrapping_add(1);
        entry.index() == next
    })
}

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    let kind = if byte(&mut rest) & 1 == 0 { Kind::MsgApp } else { Kind::Message };
    let piece = usize::from(byte(&mut rest)).max(1);
    let (mut whole, mut cut) = (Vec::new(), Vec::new());
    let at_once = Decoder::new(kind, FROM, TO).feed(rest, &mut whole);
    let mut decoder = Decoder::new(kind, FROM, TO);
    let in_pieces = rest.chunks(piece).try_for_each(|piece| decoder.feed(piece, &mut cut));
    assert_eq!(whole, cut, "how it was cut does not matter");
    assert_eq!(at_once, in_pieces);

    // What was understood can be said again, as far as somebody can have meant it: what goes on
    // where the last entries ended relies on their numbers.
    let honest = whole.iter().take_while(|message| are_in_a_row(message)).count();
    whole.truncate(honest);
    let mut encoder = Encoder::new(kind);
    let mut said = BytesMut::new();
    for message in &whole {
        encoder.encode(message, &mut said);
        encoder.heartbeat(&mut said);
    }
    let mut again = Vec::new();
    Decoder::new(kind, FROM, TO).feed(&said, &mut again).expect("ours is read");
    assert_eq!(again.len(), whole.len());
    for (again, message) in again.iter().zip(&whole) {
        assert_eq!(again.entries, message.entries);
        assert_eq!((again.index(), again.term()), (message.index(), message.term()));
        assert_eq!(again.commit(), message.commit());
    }
});
