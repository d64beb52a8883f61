//! Logs that were cut off or changed: what can be repaired is, the rest is an error.

use std::collections::BTreeSet;

use bytes::Bytes;
use env::Random;

use super::*;
use ::wal::{Decoder, Error, read_from};

const NAME: &str = "0000000000000000-0000000000000000.wal";

fn path() -> std::path::PathBuf {
    dir().join(NAME)
}

/// Bytes without a zero among them.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Random::new(seed).fill(&mut bytes);
    bytes.iter().map(|byte| byte | 1).collect()
}

/// A log with entries of these lengths, and where the records behind the head end.
fn log(disk: &SimDisk, lens: &[usize]) -> Vec<u64> {
    let mut wal = create(disk, small(64 << 10));
    let mut ends = vec![end(disk)];
    for (at, len) in lens.iter().enumerate() {
        let data = noise(*len, at as u64);
        let _ = wal.append(&[entry(1, at as u64 + 1, &data)], None).unwrap();
        ends.push(end(disk));
    }
    ends
}

/// Where the last record of the log ends.
fn end(disk: &SimDisk) -> u64 {
    let mut decoder = Decoder::open(disk, dir()).unwrap();
    while decoder.next().unwrap().is_some() {}
    decoder.offset()
}

#[test]
fn a_torn_record_is_cut_off_whichever_sectors_are_missing() {
    let disk = disk(1);
    let ends = log(&disk, &[100, 5000]);
    let whole = read_file(&disk, &path());
    let (start, end) = (ends[1] as usize, ends[2] as usize);
    let sectors: Vec<usize> = (start / 512..=(end - 1) / 512).collect();
    let mut random = Random::new(5);
    for round in 0..200 {
        let mut torn = whole.clone();
        let missing: Vec<usize> = match round {
            one if one < sectors.len() => vec![sectors[one]],
            _ => sectors.iter().copied().filter(|_| random.chance(1, 2)).collect(),
        };
        for sector in &missing {
            let from = (sector * 512).max(start);
            torn[from..((sector + 1) * 512).min(end)].fill(0);
        }
        write_file(&disk, &path(), &torn);
        let (wal, recovered) = open(&disk, small(64 << 10)).unwrap();
        let expected = if missing.is_empty() { 2 } else { 1 };
        assert_eq!(recovered.entries.len(), expected, "{missing:?}");
        // Without its length field a record is not there at all, and nothing needs repair.
        let needs_repair = !missing.is_empty() && missing[0] != start / 512;
        assert_eq!(recovered.repaired.is_some(), needs_repair, "{missing:?}");
        if let Some(repaired) = recovered.repaired {
            assert_eq!((repaired.len_before, repaired.len), (65536, ends[1]));
            assert_eq!(repaired.segment, NAME);
            let kept = read_file(&disk, &dir().join(format!("{NAME}.broken")));
            assert_eq!(kept, torn);
        }
        drop(wal);
        let mended = read_file(&disk, &path());
        assert_eq!(mended[..start], whole[..start]);
        assert!(missing.is_empty() || mended[start..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_log_truncated_at_any_byte_loses_only_what_is_cut() {
    let disk = disk(1);
    let ends = log(&disk, &[3, 0, 700, 40]);
    let whole = read_file(&disk, &path());
    for len in ends[0]..=ends[4] {
        write_file(&disk, &path(), &whole[..len as usize]);
        let expected = ends.iter().filter(|end| **end <= len).count() - 1;
        let read = ::wal::read(&disk, dir(), SnapshotMark::default()).unwrap();
        assert_eq!(read.entries.len(), expected, "read only, cut at {len}");
        let (mut wal, recovered) = open(&disk, small(64 << 10)).unwrap();
        assert_eq!(recovered.entries.len(), expected, "cut at {len}");
        assert_eq!(recovered.repaired.is_some(), !ends.contains(&len));
        let next = expected as u64 + 1;
        let _ = wal.append(&[entry(2, next, b"on it goes")], None).unwrap();
        drop(wal);
        let (_, recovered) = open(&disk, small(64 << 10)).unwrap();
        assert_eq!(recovered.entries.last().unwrap().term, Some(2));
        assert_eq!(recovered.entries.len(), expected + 1);
    }
}

#[test]
fn a_head_cut_off_is_an_error() {
    let disk = disk(1);
    let ends = log(&disk, &[3]);
    let whole = read_file(&disk, &path());
    for len in 0..ends[0] {
        write_file(&disk, &path(), &whole[..len as usize]);
        let error = open(&disk, small(64 << 10)).unwrap_err();
        assert!(matches!(error, Error::SnapshotNotFound { .. }), "{len}: {error}");
    }
}

#[test]
fn changed_data_is_told_from_a_torn_record() {
    let disk = disk(1);
    let ends = log(&disk, &[100, 2000, 100]);
    let whole = read_file(&disk, &path());
    for (at, (start, end)) in ends.iter().zip(&ends[1..]).enumerate() {
        // The data of the entry, which ends with the padding.
        let data = (end - 50) as usize;
        let mut changed = whole.clone();
        changed[data] ^= 0x10;
        write_file(&disk, &path(), &changed);
        let error = open(&disk, small(64 << 10)).unwrap_err();
        let expected = format!("wal: crc mismatch: in file '{NAME}' at position: {start}");
        assert_eq!(error.to_string(), expected, "record {at}");
        assert!(::wal::read(&disk, dir(), SnapshotMark::default()).is_err());
        assert!(Wal::valid_snapshots(&disk, dir()).is_err());
        assert_eq!(read_file(&disk, &path()), changed, "a bad log is left as it is");
    }
}

#[test]
fn every_flipped_bit_is_an_error_or_harmless() {
    let disk = disk(1);
    let mut wal = create(&disk, small(64 << 10));
    let data = noise(60, 1);
    wal.save_snapshot(&snapshot_record(2, 1)).unwrap();
    let entries = [entry(1, 1, &data), entry(1, 2, b""), entry(3, 3, &data)];
    let _ = wal.append(&entries, Some(state(3, 7, 2))).unwrap();
    drop(wal);
    let len = end(&disk) as usize;
    let whole = read_file(&disk, &path())[..len + 64].to_vec();
    let segment = |bytes: Vec<u8>| [(NAME.to_owned(), Bytes::from(bytes))];
    let good = read_from(&mut Decoder::of_bytes(segment(whole.clone())), SnapshotMark::default());
    let good = good.unwrap();
    let mut free = uncovered(&whole[..len]);
    // The first record says that the chain begins with 0, which a reader assumes anyway.
    free.extend(0..16);
    let mut unnoticed = 0;
    let mut errors = BTreeSet::new();
    for bit in 0..len * 8 {
        let mut changed = whole.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let mut decoder = Decoder::of_bytes(segment(changed));
        match read_from(&mut decoder, SnapshotMark::default()) {
            Ok(read) if read == good => unnoticed += u32::from(!free.contains(&(bit / 8))),
            // A changed length field or type; the rest of the log may be cut off or misread.
            Ok(_) => {}
            Err(error) => {
                let name = format!("{error:?}");
                errors.insert(name.split([' ', '{', '(']).next().unwrap().to_owned());
            }
        }
    }
    // Three bits of a crc of five bytes lie above its 32 bits, once for each of the seven records.
    assert!(unnoticed <= 3 * 7, "{unnoticed}");
    for expected in ["Crc", "Decode", "SnapshotNotFound"] {
        assert!(errors.contains(expected), "{errors:?}");
    }
}

/// The bytes of a log that no crc covers and no reader needs: padding, and the part of the length
/// field that tells how long it is.
fn uncovered(log: &[u8]) -> BTreeSet<usize> {
    let mut bytes = BTreeSet::new();
    let mut at = 0;
    while at < log.len() {
        let field = u64::from_le_bytes(log[at..at + 8].try_into().unwrap());
        let end = at + 8 + (field & (u64::MAX >> 8)) as usize;
        bytes.insert(at + 7);
        at = end.next_multiple_of(8);
        bytes.extend(end..at);
    }
    bytes
}

/// Pieces of valid logs in any order, with bytes changed: nothing may panic or loop.
#[test]
fn nonsense_is_never_a_panic() {
    let source = disk(1);
    let ends = log(&source, &[1, 300, 0, 900, 20]);
    let whole = read_file(&source, &path());
    let mut random = Random::new(11);
    for _ in 0..4000 {
        let mut segments = Vec::new();
        for name in 0..=random.index(3) {
            let mut bytes = Vec::new();
            for _ in 0..random.index(6) {
                match random.below(4) {
                    0 => bytes.extend(noise(random.index(40), random.next_u64())),
                    1 => bytes.resize(bytes.len() + random.index(600), 0),
                    _ => {
                        let at = random.index(ends.len());
                        let from = if at == 0 { 0 } else { ends[at - 1] };
                        bytes.extend(&whole[from as usize..ends[at] as usize]);
                    }
                }
            }
            for _ in 0..random.index(4) {
                if !bytes.is_empty() {
                    let at = random.index(bytes.len());
                    bytes[at] = random.next_u64() as u8;
                }
            }
            segments.push((format!("{name:016x}-{name:016x}.wal"), bytes));
        }
        let decoder =
            segments.iter().map(|(name, bytes)| (name.clone(), Bytes::from(bytes.clone())));
        let from_memory = read_from(&mut Decoder::of_bytes(decoder), SnapshotMark::default());
        let disk = disk(1);
        disk.create_dir_all(dir()).unwrap();
        for (name, bytes) in &segments {
            write_file(&disk, &dir().join(name), bytes);
        }
        let read = ::wal::read(&disk, dir(), SnapshotMark::default());
        match (from_memory, read) {
            (Ok(memory), Ok(read)) => assert_eq!(memory, read),
            (memory, read) => assert_eq!(memory.is_ok(), read.is_ok()),
        }
        let _ = Wal::valid_snapshots(&disk, dir());
        let _ = open(&disk, small(4096));
    }
}

#[test]
fn a_length_beyond_all_bounds_is_an_unexpected_end() {
    let head = disk(1);
    let ends = log(&head, &[]);
    let mut bytes = read_file(&head, &path())[..ends[0] as usize].to_vec();
    for field in [u64::MAX, u64::MAX >> 8, 1 << 55, 1 << 40, 0x87ff_ffff_ffff_ffff] {
        bytes.truncate(ends[0] as usize);
        bytes.extend(field.to_le_bytes());
        bytes.extend([1; 100]);
        let mut decoder = Decoder::of_bytes([(NAME.to_owned(), Bytes::from(bytes.clone()))]);
        while decoder.offset() < ends[0] {
            decoder.next().unwrap();
        }
        assert!(decoder.next().unwrap_err().is_unexpected_eof());
    }
}

#[test]
fn a_cut_off_record_before_the_last_segment_is_not_repaired() {
    let disk = disk(1);
    let mut wal = create(&disk, small(2000));
    for index in 1..=3 {
        let data = noise(1500, index);
        let _ = wal.append(&[entry(1, index, &data)], None).unwrap();
    }
    drop(wal);
    let first = segments(&disk).remove(0);
    let path = dir().join(&first);
    let whole = read_file(&disk, &path);
    let cut = &whole[..whole.len() - 8];
    write_file(&disk, &path, cut);
    let error = open(&disk, small(2000)).unwrap_err();
    assert!(matches!(&error, Error::UnexpectedEof { segment, .. } if *segment == first), "{error}");
    assert_eq!(read_file(&disk, &path), cut);
    assert!(disk.list(dir()).unwrap().iter().all(|name| !name.ends_with(".broken")));
}

#[test]
fn leftovers_behind_the_end_never_meet_new_records() {
    let disk = disk(1);
    let ends = log(&disk, &[100]);
    let mut bytes = read_file(&disk, &path());
    // The second sector of a write arrived, the first did not.
    let second = (ends[1] as usize).next_multiple_of(512);
    bytes[second..second + 512].fill(0x55);
    write_file(&disk, &path(), &bytes);
    let (mut wal, recovered) = open(&disk, small(64 << 10)).unwrap();
    assert_eq!(recovered.entries.len(), 1);
    let data = noise(second - ends[1] as usize - 60, 1);
    let _ = wal.append(&[entry(1, 2, &data)], None).unwrap();
    drop(wal);
    assert_eq!(open(&disk, small(64 << 10)).unwrap().1.entries.len(), 2);
}
