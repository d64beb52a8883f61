//! Snapshot files: raw, and with the right checksum; then what is in them.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use proto::{Message as _, snappb};
use state::Roster;

fuzz_target!(|data: &[u8]| {
    // What comes of raw bytes does not matter, so long as it comes.
    let _ = wal::snap::decode(Bytes::copy_from_slice(data));
    let summed = snappb::Snapshot {
        crc: Some(crc32c::crc32c(data)),
        data: Some(Bytes::copy_from_slice(data)),
    };
    let Ok(snapshot) = wal::snap::decode(summed.encode_to_vec().into()) else { return };
    let again = wal::snap::decode(wal::snap::encode(&snapshot).into());
    // An encoding without a byte is no snapshot.
    if snapshot.encoded_len() > 0 {
        assert_eq!(again.expect("what was written is read"), snapshot);
    }
    let _ = Roster::from_v2_json(snapshot.data());
});
