//! Peers that cost more than they should.

use super::*;

/// Says the same over and over, and reads what comes back, until it is sent away.
fn until_sent_away(mut next: impl FnMut(u32) -> Vec<u8>) -> u32 {
    let mut peer = Peer::new(Config::default());
    for turn in 0..50_000 {
        peer.say(&next(turn));
        if peer.connection.is_closed() {
            assert_eq!(peer.is_sent_away(), ErrorCode::ENHANCE_YOUR_CALM);
            return turn;
        }
        peer.sent();
    }
    panic!("it was borne");
}

#[test]
fn floods_of_useless_frames_are_ended() {
    let id = |turn: u32| turn * 2 + 1;
    let reset = |id: u32| frame_of(kind::RST_STREAM, 0, id, &8_u32.to_be_bytes());
    // Rapid reset.
    until_sent_away(|turn| [request(id(turn)), reset(id(turn))].concat());
    // Streams that we have to reset.
    until_sent_away(|turn| [request(id(turn)), window(id(turn), 0)].concat());
    until_sent_away(|_| frame_of(kind::PING, 0, 0, &[0; 8]));
    until_sent_away(|_| settings(&[]));
    until_sent_away(|_| frame_of(kind::SETTINGS, flag::ACK, 0, b""));
    until_sent_away(|_| frame_of(kind::PRIORITY, 0, 1, &[0; 5]));
    until_sent_away(|_| frame_of(0xee, 0, 1, b"?"));
    let empty = |turn| if turn == 0 { request(1) } else { data(1, b"", false) };
    until_sent_away(empty);
    // Padding alone carries nothing either.
    let padding = |turn| {
        let padded = frame_of(kind::DATA, flag::PADDED, 1, b"\x02\0\0");
        if turn == 0 { request(1) } else { padded }
    };
    until_sent_away(padding);
}

#[test]
fn header_blocks_without_end_are_ended() {
    let empty = until_sent_away(|turn| {
        let kind = if turn == 0 { kind::HEADERS } else { kind::CONTINUATION };
        frame_of(kind, 0, 1, b"")
    });
    assert!(empty < 100, "{empty}");
    let full = until_sent_away(|turn| {
        let kind = if turn == 0 { kind::HEADERS } else { kind::CONTINUATION };
        frame_of(kind, 0, 1, &[0; 16_000])
    });
    assert!(full < 10, "{full}");
}

#[test]
fn a_few_bytes_that_stand_for_many_are_counted_as_such() {
    // A field of 4 KB goes into the table; then each byte stands for it.
    let mut block = block_of(&CALL);
    block.extend([0x40, 1, b'x', 127, 0xa1, 0x1e]);
    block.extend([b'v'; 4000]);
    block.extend([0xbe; 10_000]);
    let end = flag::END_HEADERS | flag::END_STREAM;
    let turns = until_sent_away(|turn| frame_of(kind::HEADERS, end, turn * 2 + 1, &block));
    assert!(turns < 150, "{turns}");
}

#[test]
fn who_is_calm_again_is_forgiven_and_who_works_is_not_counted() {
    let mut peer = Peer::new(Config::default());
    for _ in 0..20 {
        for _ in 0..4000 {
            peer.say(&frame_of(kind::PING, 0, 0, &[0; 8]));
        }
        peer.connection.calm_down();
        peer.sent();
    }
    assert!(!peer.connection.is_closed());
    // Cancelled calls among good ones, without end.
    let mut peer = Peer::new(Config::default());
    for turn in 0..40_000_u32 {
        let (good, bad) = (turn * 4 + 1, turn * 4 + 3);
        let stream = peer.open(good);
        peer.connection.headers(stream, &block_of(&[(":status", "200")]), true);
        peer.say(&data(good, b"", true));
        peer.open(bad);
        peer.say(&frame_of(kind::RST_STREAM, 0, bad, &8_u32.to_be_bytes()));
        peer.sent();
    }
    assert!(!peer.connection.is_closed());
}

#[test]
fn who_does_not_listen_is_not_read() {
    let mut peer = Peer::new(Config::default());
    let ping = frame_of(kind::PING, 0, 0, &[0; 8]);
    let flood: Vec<u8> = ping.iter().copied().cycle().take(ping.len() * 100_000).collect();
    let mut total = 0;
    for _ in 0..20 {
        // The limit of pings is not what is looked at here.
        (0..20).for_each(|_| peer.connection.calm_down());
        total += peer.say(&flood[..ping.len() * 9000]).len();
    }
    assert!(total < 70_000 && peer.connection.output().len() < (1 << 20) + 100, "{total}");
    assert!(!peer.connection.is_closed());
    let mut peer = Peer::new(Config::default());
    let stream = peer.open(1);
    peer.connection.headers(stream, &block_of(&[(":status", "200")]), false);
    peer.connection.headers(stream, &[0; 100], false);
    // So much that nothing more is taken in.
    peer.connection.trailers(stream, vec![0; 2 << 20].into());
    assert!(peer.connection.is_choked());
    assert!(peer.say(&request(3)).is_empty());
    assert_eq!(peer.unread, request(3));
    peer.sent();
    assert_eq!(peer.say(&[]).len(), 1);
}

#[test]
fn a_line_is_no_longer_than_the_slots() {
    let mut peer = Peer::new(Config::default());
    let first = peer.open(1);
    peer.connection.headers(first, &block_of(&[(":status", "200")]), false);
    peer.connection.data(first, &[], Bytes::from(vec![0; 65_535]));
    peer.sent();
    // The connection's window is shut: nobody leaves the line by having a turn.
    for turn in 1..2000 {
        let stream = peer.open(turn * 2 + 1);
        peer.connection.headers(stream, &block_of(&[(":status", "200")]), false);
        peer.connection.data(stream, &[], Bytes::from_static(b"waits"));
        peer.connection.reset(stream, ErrorCode::CANCEL);
        peer.sent();
    }
    assert!(peer.connection.line.len() <= 2);
}
