//! What the fuzz targets share: inputs that are put into the envelope that their decoder wants.
//!
//! A checksum keeps a fuzzer out, so the targets compute it: what is looked for is what happens
//! behind it. Each target is one decoder, and each of them says what must hold of its result.
//!
//! ```text
//!   bytes --chunks--> records, entries --framed, summed--> decoder --> no panic, and a property
//! ```
//!
//! It never knows how a decoder does its work.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use env::{Access, Disk, SimDisk};
use proto::{Message, walpb};

/// Takes a byte off the front; 0 where there is none.
pub fn byte(rest: &mut &[u8]) -> u8 {
    let Some((first, behind)) = rest.split_first() else { return 0 };
    *rest = behind;
    *first
}

/// Takes a chunk off the front: two bytes of length, then so many bytes or what there is.
pub fn chunk<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let len = usize::from(byte(rest)) | usize::from(byte(rest)) << 8;
    let (chunk, behind) = rest.split_at(len.min(rest.len()));
    *rest = behind;
    chunk
}

/// Puts a chunk on the end, as [`chunk`] takes it off.
pub fn put_chunk(out: &mut Vec<u8>, chunk: &[u8]) {
    let len = u16::try_from(chunk.len()).expect("seeds are short");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(chunk);
}

/// A log segment of these records, framed and summed as the log does it.
pub fn segment<'a>(records: impl IntoIterator<Item = (u8, &'a [u8])>) -> Bytes {
    const CRC_RECORD: u8 = 4;
    let mut out = Vec::new();
    let mut crc = 0;
    for (kind, data) in records {
        if kind != CRC_RECORD {
            crc = crc32c::crc32c_append(crc, data);
        }
        let record = walpb::Record {
            r#type: Some(i64::from(kind)),
            crc: Some(crc),
            data: (!data.is_empty()).then(|| Bytes::copy_from_slice(data)),
        };
        let body = record.encode_to_vec();
        let padding = (8 - body.len() % 8) % 8;
        let mut header = body.len() as u64;
        if padding > 0 {
            header |= (0x80 | padding as u64) << 56;
        }
        out.extend_from_slice(&header.to_le_bytes());
        out.extend_from_slice(&body);
        out.extend_from_slice(&[0; 8][..padding]);
    }
    out.into()
}

/// Makes the checksums of both meta pages right, wherever the first one says that pages begin.
pub fn sum_metas(file: &mut [u8]) {
    const HEADER: usize = 16;
    const BODY: usize = 64;
    const SUMMED: usize = 56;
    let page_size = file
        .get(HEADER + 8..HEADER + 12)
        .map_or(0, |bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")) as usize);
    for start in [HEADER, page_size.saturating_add(HEADER)] {
        let Some(body) = file.get_mut(start..).and_then(|rest| rest.get_mut(..BODY)) else {
            continue;
        };
        let mut sum = 0xcbf2_9ce4_8422_2325_u64;
        for byte in &body[..SUMMED] {
            sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        body[SUMMED..].copy_from_slice(&sum.to_le_bytes());
    }
}

/// A disk in memory that holds this one file.
pub fn disk_with(path: &Path, content: &[u8]) -> Arc<dyn Disk> {
    let disk = SimDisk::new(1);
    let file = disk.open(path, Access::Create).expect("the disk is empty");
    file.write_all_at(content, 0).expect("the disk has room");
    Arc::new(disk)
}
