//! Bytes that etcd itself wrote.

use super::*;

const FIRST: &str = "/data/wal/0000000000000000-0000000000000000.wal";

/// The head of every new log: crc, metadata, snapshot 0; then an entry and a hard state as etcd
/// 3.7.1 writes them.
#[test]
fn a_new_log_has_the_bytes_of_etcd() {
    let disk = disk(1);
    let mut wal = create(&disk, Options::default());
    let bytes = read_file(&disk, Path::new(FIRST));
    assert_eq!(bytes.len(), 64_000_000);
    let mut expected = vec![0x04, 0, 0, 0, 0, 0, 0, 0x84, 0x08, 0x04, 0x10, 0, 0, 0, 0, 0];
    // type 1, crc 0x72baf025, 21 bytes
    expected.extend([0x1f, 0, 0, 0, 0, 0, 0, 0x81, 0x08, 0x01, 0x10]);
    expected.extend([0xa5, 0xe0, 0xeb, 0x95, 0x07, 0x1a, 0x15]);
    expected.extend(METADATA);
    expected.push(0);
    // type 5, crc 0xbc7f18b2, index 0 and term 0
    expected.extend([0x0e, 0, 0, 0, 0, 0, 0, 0x82, 0x08, 0x05, 0x10]);
    expected.extend([0xb2, 0xb1, 0xfc, 0xe3, 0x0b, 0x1a, 0x04, 0x08, 0, 0x10, 0, 0, 0]);
    assert_eq!(bytes[..expected.len()], expected);
    assert!(bytes[expected.len()..].iter().all(|byte| *byte == 0));

    let entries = [EntryRef { kind: EntryType::EntryConfChange, ..entry(1, 300, b"ab") }];
    let _ = wal.append(&entries, Some(state(1, 0, 2))).unwrap();
    let bytes = read_file(&disk, Path::new(FIRST));
    let written = &bytes[expected.len()..];
    let body = [0x08, 1, 0x10, 1, 0x18, 0xac, 0x02, 0x22, 2, b'a', b'b'];
    assert_eq!(written[0], 8 + 2 + 1 + body.len() as u8 - 1);
    let at = written.windows(body.len()).position(|window| window == body);
    assert_eq!(at, Some(8 + 2 + 6 + 2));
}
