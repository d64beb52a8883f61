//! The log: raw bytes, and records with the right checksums around them.
//!
//! The first byte chooses. Then, for records: the snapshot to start from, and kinds and chunks; a
//! kind with its high bit begins another segment.
#![no_main]

use bytes::Bytes;
use fuzz::{byte, chunk, segment};
use libfuzzer_sys::fuzz_target;
use wal::{Decoder, SnapshotMark, read_from};

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    let raw = byte(&mut rest) == 0;
    let from = SnapshotMark { index: byte(&mut rest).into(), term: byte(&mut rest).into() };
    let segments = if raw { vec![Bytes::copy_from_slice(rest)] } else { framed(rest) };
    let names = (0u64..).map(|number| format!("{number:016x}-{number:016x}.wal"));
    let mut decoder = Decoder::of_bytes(names.zip(segments));
    let Ok(recovered) = read_from(&mut decoder, from) else { return };
    let mut next = from.index + 1;
    for entry in &recovered.entries {
        assert_eq!(entry.index(), next, "entries follow the snapshot without a gap");
        next += 1;
    }
});

fn framed(mut rest: &[u8]) -> Vec<Bytes> {
    let mut segments = Vec::new();
    let mut records: Vec<(u8, &[u8])> = Vec::new();
    while !rest.is_empty() {
        let kind = byte(&mut rest);
        if kind & 0x80 != 0 {
            segments.push(segment(records.drain(..)));
        }
        records.push((kind & 0x7f, chunk(&mut rest)));
    }
    segments.push(segment(records));
    segments
}
