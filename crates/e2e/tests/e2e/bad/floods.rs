//! Much of what is little work to send. The server may end such a connection or stop reading it;
//! others are served meanwhile, and its memory stays what it was.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use e2e::{Grpc, Member, Scratch, Server};
use proto::etcdserverpb::PutRequest;
use tokio::time::timeout;

use super::wire::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOOD, HEADERS, PING, PREFACE, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, Wire, block, frame, watch,
};
use crate::both::soon;

/// How much a member's memory may grow at most, and for how long it may be flooded. Two streams
/// whose windows (of 1 MiB) are full of the smallest messages cost 35 to 41 MiB, however long it
/// goes on.
const GROWTH_KIB: u64 = 64 * 1024;
const FLOOD: Duration = Duration::from_millis(700);

/// Floods pintle from two connections while a good client puts, and looks at its memory.
fn flood(
    what: &'static str,
    opening: &[Bytes],
    wave: impl Fn(u32) -> Bytes + Copy + Send + Sync + 'static,
) {
    let Some(pintle) = Server::pintle() else { return };
    let scratch = Scratch::new("flood");
    let flags = ["--heartbeat-interval=10", "--election-timeout=100", "--unsafe-no-fsync"];
    let mut member = Member::start(&pintle, scratch.path(), &flags).unwrap();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let grpc = Grpc::connect(member.address()).await.unwrap();
        for _ in 0..200 {
            put(&grpc).await;
        }
        let before = memory_kib(&member);
        let mut floods = Vec::new();
        for _ in 0..2 {
            let mut wire = Wire::greet_at(member.address()).await;
            for frame in opening {
                wire.send(frame).await;
            }
            floods.push(tokio::spawn(async move {
                let mut waves = 0;
                let all = async {
                    while wire.send(&wave(waves)).await {
                        waves += 1;
                    }
                };
                // It ends when the server hangs up, and is given up when the server reads no more.
                let ended = timeout(FLOOD, all).await.is_ok();
                (waves, ended, wire)
            }));
        }
        let mut puts = 0;
        while !floods.iter().all(tokio::task::JoinHandle::is_finished) {
            put(&grpc).await;
            puts += 1;
        }
        for flood in floods {
            let (waves, ended, _wire) = soon(what, flood).await.unwrap();
            eprintln!("{what}: {waves} waves, hung up: {ended}, {puts} puts beside it");
        }
        put(&grpc).await;
        let grown = memory_kib(&member).saturating_sub(before);
        eprintln!("{what}: {grown} KiB more at most");
        assert!(grown < GROWTH_KIB, "{what}: the member's memory grew by {grown} KiB");
    });
    assert!(member.is_alive(), "{}", member.log_tail());
    assert!(!member.log().contains("panicked at"), "{}", member.log_tail());
}

async fn put(grpc: &Grpc) {
    let request = PutRequest { key: "others".into(), ..PutRequest::default() };
    soon("a put beside a flood", grpc.call(&request)).await.unwrap();
}

/// The most that it has ever had.
fn memory_kib(member: &Member) -> u64 {
    let pid = member.pid().expect("it runs");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).expect("Linux tells")
}

/// The same frames many times, so that a wave is worth a write.
fn times(count: usize, frames: &[Bytes]) -> Bytes {
    let mut wave = BytesMut::new();
    for _ in 0..count {
        for frame in frames {
            wave.put_slice(frame);
        }
    }
    wave.freeze()
}

fn open(stream: u32) -> Bytes {
    frame(HEADERS, END_HEADERS, stream, &block(&GOOD))
}

#[test]
fn of_resets() {
    flood("resets", &[], |wave| {
        let mut frames = BytesMut::new();
        for stream in 0..50 {
            let stream = 1 + 2 * (50 * wave + stream);
            frames.put_slice(&open(stream));
            frames.put_slice(&frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        }
        frames.freeze()
    });
}

#[test]
fn of_calls_that_are_reset_before_their_answer() {
    flood("calls", &[], |wave| {
        let mut frames = BytesMut::new();
        for stream in 0..50 {
            let stream = 1 + 2 * (50 * wave + stream);
            let message = [0, 0, 0, 0, 3, 0x0a, 1, b'a'];
            frames.put_slice(&open(stream));
            frames.put_slice(&frame(DATA, END_STREAM, stream, &message));
            frames.put_slice(&frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        }
        frames.freeze()
    });
}

#[test]
fn of_streams_that_stay_open() {
    flood("streams", &[], |wave| {
        let mut frames = BytesMut::new();
        if wave < 20 {
            for stream in 0..50 {
                frames.put_slice(&open(1 + 2 * (50 * wave + stream)));
            }
        }
        frames.put_slice(&frame(0x77, 0, 0, &[]));
        frames.freeze()
    });
}

#[test]
fn of_pings() {
    flood("pings", &[], |_| times(500, &[frame(PING, 0, 0, &[7; 8])]));
}

#[test]
fn of_settings() {
    flood("settings", &[], |_| times(500, &[frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 16, 0])]));
}

#[test]
fn of_empty_frames() {
    flood("empty data", &[open(1)], |_| times(500, &[frame(DATA, 0, 1, b"")]));
    flood("unknown frames", &[], |_| times(500, &[frame(0x77, 0, 0, b"")]));
    flood("priorities", &[], |_| times(500, &[frame(PRIORITY, 0, 9, &[0, 0, 0, 1, 9])]));
    flood("windows", &[open(1)], |_| times(500, &[frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])]));
}

#[test]
fn of_headers() {
    let begun = frame(HEADERS, 0, 1, &block(&GOOD));
    flood("continuations", &[begun], |_| {
        frame(CONTINUATION, 0, 1, &[0, 1, b'a', 1, b'b'].repeat(3000))
    });
    let begun = frame(HEADERS, 0, 1, &block(&GOOD));
    flood("empty continuations", &[begun], |_| times(500, &[frame(CONTINUATION, 0, 1, &[])]));
    // A name and value of 4 KB go into the table once; then each byte stands for both.
    flood("references", &[], |wave| {
        let mut fields = block(&GOOD);
        fields.extend([0x40, 1, b'x', 127, 0xa1, 0x1e]);
        fields.extend([b'v'; 4000]);
        fields.extend([0xbe; 10_000]);
        frame(HEADERS, END_HEADERS | END_STREAM, 1 + 2 * wave, &fields)
    });
}

#[test]
fn of_watchers_whose_answers_nobody_reads() {
    let [begun, create] = watch();
    let create: &'static [Bytes] = vec![create].leak();
    flood("watchers", &[begun], |_| times(20, create));
}

#[test]
fn of_beginnings() {
    // Connections that say half of what they should, and stay.
    let Some(pintle) = Server::pintle() else { return };
    let scratch = Scratch::new("beginnings");
    let member = Member::start(&pintle, scratch.path(), &["--unsafe-no-fsync"]).unwrap();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let before = memory_kib(&member);
        let mut wires = Vec::new();
        for number in 0..300 {
            let mut wire = Wire::open_at(member.address()).await;
            wire.send(&PREFACE[..number % PREFACE.len()]).await;
            wires.push(wire);
        }
        let grpc = Grpc::connect(member.address()).await.unwrap();
        put(&grpc).await;
        let grown = memory_kib(&member).saturating_sub(before);
        assert!(grown < GROWTH_KIB, "the member's memory grew by {grown} KiB");
    });
}
