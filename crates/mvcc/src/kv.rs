//! `mvccpb.KeyValue` on the wire: encoded once when a change is made, read in place afterwards.
//!
//! Members compare hashes over these bytes, so the encoding is canonical proto3 to the bit:
//! ascending fields, zero values left out.

use bytes::Bytes;

use crate::Error;

const KEY: u32 = 1;
const CREATE_REVISION: u32 = 2;
const MOD_REVISION: u32 = 3;
const VERSION: u32 = 4;
const VALUE: u32 = 5;
const LEASE: u32 = 6;

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH_DELIMITED: u32 = 2;
const START_GROUP: u32 = 3;
const END_GROUP: u32 = 4;
const FIXED32: u32 = 5;

/// The fields of a `mvccpb.KeyValue`, borrowed from its encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KvFields<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Main revision of the first put of this life of the key.
    pub create_revision: i64,
    /// Main revision of this change.
    pub mod_revision: i64,
    /// Puts in this life of the key, this one included.
    pub version: i64,
    /// The value.
    pub value: &'a [u8],
    /// The attached lease, 0 for none.
    pub lease: i64,
}

impl<'a> KvFields<'a> {
    /// Reads an encoded `mvccpb.KeyValue`. Unknown fields are passed over, as protobuf asks.
    pub fn parse(encoded: &'a [u8]) -> Result<Self, Error> {
        Self::read(encoded).ok_or_else(|| Error::Damaged("a record is no KeyValue".into()))
    }

    fn read(encoded: &'a [u8]) -> Option<Self> {
        let mut fields = Self::default();
        let mut rest = encoded;
        while !rest.is_empty() {
            let tag = varint(&mut rest)?;
            let number = u32::try_from(tag >> 3).ok().filter(|number| *number != 0)?;
            match (number, (tag & 7) as u32) {
                (KEY, LENGTH_DELIMITED) => fields.key = chunk(&mut rest)?,
                (VALUE, LENGTH_DELIMITED) => fields.value = chunk(&mut rest)?,
                (CREATE_REVISION, VARINT) => fields.create_revision = int64(&mut rest)?,
                (MOD_REVISION, VARINT) => fields.mod_revision = int64(&mut rest)?,
                (VERSION, VARINT) => fields.version = int64(&mut rest)?,
                (LEASE, VARINT) => fields.lease = int64(&mut rest)?,
                (_, wire_type) => skip(&mut rest, wire_type)?,
            }
        }
        Some(fields)
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.encoded_len());
        put_chunk(&mut out, KEY, self.key);
        put_int64(&mut out, CREATE_REVISION, self.create_revision);
        put_int64(&mut out, MOD_REVISION, self.mod_revision);
        put_int64(&mut out, VERSION, self.version);
        put_chunk(&mut out, VALUE, self.value);
        put_int64(&mut out, LEASE, self.lease);
        debug_assert_eq!(out.len(), self.encoded_len());
        out.into()
    }

    fn encoded_len(&self) -> usize {
        let chunk = |bytes: &[u8]| match bytes.len() {
            0 => 0,
            len => 1 + varint_len(len as u64) + len,
        };
        let int64 = |value: i64| if value == 0 { 0 } else { 1 + varint_len(value as u64) };
        chunk(self.key)
            + int64(self.create_revision)
            + int64(self.mod_revision)
            + int64(self.version)
            + chunk(self.value)
            + int64(self.lease)
    }
}

/// The key of an encoded `KeyValue` that is known to be canonical: field 1 comes first.
pub(crate) fn canonical_key(encoded: &[u8]) -> &[u8] {
    match encoded {
        [0x0a, len, rest @ ..] if *len < 0x80 => &rest[..usize::from(*len)],
        [0x0a, rest @ ..] => {
            let mut rest = rest;
            chunk(&mut rest).expect("the index holds canonical encodings only")
        }
        // The empty key: its field is left out.
        _ => &[],
    }
}

/// The key as a slice that shares the encoding's memory.
pub(crate) fn canonical_key_bytes(encoded: &Bytes) -> Bytes {
    match canonical_key(encoded) {
        [] => Bytes::new(),
        key => encoded.slice_ref(key),
    }
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            // The tenth byte has room for one bit.
            return (shift < 63 || *byte <= 1).then_some(value);
        }
    }
    None
}

fn int64(rest: &mut &[u8]) -> Option<i64> {
    varint(rest).map(|value| value as i64)
}

fn chunk<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(varint(rest)?).ok()?;
    let (head, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(head)
}

fn skip(rest: &mut &[u8], wire_type: u32) -> Option<()> {
    match wire_type {
        VARINT => varint(rest).map(drop),
        FIXED64 => skip_bytes(rest, 8),
        LENGTH_DELIMITED => chunk(rest).map(drop),
        START_GROUP => skip_group(rest),
        FIXED32 => skip_bytes(rest, 4),
        _ => None,
    }
}

/// Passes over a group, in which others may lie: counted, not recursed, as the depth is not ours.
fn skip_group(rest: &mut &[u8]) -> Option<()> {
    let mut depth = 1u32;
    while depth > 0 {
        match (varint(rest)? & 7) as u32 {
            START_GROUP => depth += 1,
            END_GROUP => depth -= 1,
            wire_type => skip(rest, wire_type)?,
        }
    }
    Some(())
}

fn skip_bytes(rest: &mut &[u8], len: usize) -> Option<()> {
    *rest = rest.get(len..)?;
    Some(())
}

fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_int64(out: &mut Vec<u8>, number: u32, value: i64) {
    if value != 0 {
        put_varint(out, u64::from(number << 3 | VARINT));
        put_varint(out, value as u64);
    }
}

fn put_chunk(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_varint(out, u64::from(number << 3 | LENGTH_DELIMITED));
        put_varint(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_put_is_encoded_as_etcd_does() {
        let put = KvFields {
            key: b"a",
            create_revision: 2,
            mod_revision: 2,
            version: 1,
            value: b"1",
            lease: 0,
        };
        assert_eq!(put.encode().as_ref(), b"\x0a\x01a\x10\x02\x18\x02\x20\x01\x2a\x011");
    }

    #[test]
    fn a_tombstone_is_the_key_alone() {
        let tombstone = KvFields { key: b"a", ..KvFields::default() };
        assert_eq!(tombstone.encode().as_ref(), b"\x0a\x01a");
    }

    #[test]
    fn fields_come_back() {
        let long = vec![b'k'; 200];
        for key in [&b""[..], b"a", &long] {
            for (number, lease) in [(1, 0), (i64::MAX, -1), (300, i64::MIN)] {
                let kv = KvFields {
                    key,
                    create_revision: number,
                    mod_revision: number,
                    version: number,
                    value: &long,
                    lease,
                };
                let encoded = kv.encode();
                assert_eq!(KvFields::parse(&encoded).expect("own bytes"), kv);
                assert_eq!(canonical_key(&encoded), key);
                assert_eq!(canonical_key_bytes(&encoded), key);
            }
        }
    }

    #[test]
    fn unknown_fields_are_passed_over() {
        // Field 7 of each wire type, a group with a group inside among them, then the key.
        let encoded = b"\x38\x05\x39\x01\x02\x03\x04\x05\x06\x07\x08\x3a\x01x\
                        \x3b\x43\x08\x01\x44\x3c\x3d\x01\x02\x03\x04\x0a\x01k";
        assert_eq!(KvFields::parse(encoded).expect("valid").key, b"k");
    }

    #[test]
    fn what_is_cut_or_wild_is_refused() {
        let whole = b"\x0a\x01a\x10\x02\x2a\x03abc";
        for cut in [1, 2, 4, 6, 7, 8, 9] {
            assert!(KvFields::parse(&whole[..cut]).is_err(), "{cut} bytes");
        }
        for wild in [
            &b"\x00\x01"[..],
            b"\x0c",
            b"\x3b",
            b"\x0e",
            b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
        ] {
            assert!(KvFields::parse(wild).is_err(), "{wild:02x?}");
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        let mut random = env::Random::new(5);
        for _ in 0..50_000 {
            let mut bytes = vec![0; random.index(24)];
            random.fill(&mut bytes);
            // Few different bytes make valid tags and lengths likely.
            bytes.iter_mut().for_each(|byte| *byte &= 0b1011_1011);
            if let Ok(fields) = KvFields::parse(&bytes) {
                let encoded = fields.encode();
                assert_eq!(KvFields::parse(&encoded).expect("own bytes"), fields);
                assert_eq!(canonical_key(&encoded), fields.key);
            }
        }
    }
}
