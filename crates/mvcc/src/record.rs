//! Keys of the `key` bucket: where a change stands in time, and whether it is a deletion.

use std::fmt;

use crate::{Error, Revision};

/// Bytes of a put's key: main, `_`, sub.
pub(crate) const PUT_LEN: usize = 17;
/// A deletion's key has one byte more, this one.
const TOMBSTONE_MARK: u8 = b't';
const SEPARATOR: u8 = b'_';

/// The key of a record. The order is the order of the bytes, which is the order of time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RecordKey {
    pub(crate) revision: Revision,
    pub(crate) tombstone: bool,
}

impl RecordKey {
    pub(crate) const fn put(revision: Revision) -> Self {
        Self { revision, tombstone: false }
    }

    pub(crate) const fn tombstone(revision: Revision) -> Self {
        Self { revision, tombstone: true }
    }

    /// The next key that there can be.
    pub(crate) const fn next(self) -> Self {
        let Revision { main, sub } = self.revision;
        match self.tombstone {
            true => Self::put(Revision::new(main, sub + 1)),
            false => Self::tombstone(self.revision),
        }
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let damaged = || Error::Damaged(format!("not a revision key: {bytes:02x?}"));
        let tombstone = match bytes.get(PUT_LEN..) {
            Some([]) => false,
            Some([TOMBSTONE_MARK]) => true,
            _ => return Err(damaged()),
        };
        let main = bytes.first_chunk::<8>().ok_or_else(damaged)?;
        let sub = bytes.get(9..PUT_LEN).and_then(|sub| sub.first_chunk::<8>());
        let sub = sub.ok_or_else(damaged)?;
        let revision = Revision::new(i64::from_be_bytes(*main), i64::from_be_bytes(*sub));
        // The index packs marks beside sub: nobody makes 2^60 changes in one transaction.
        if bytes.get(8) != Some(&SEPARATOR)
            || revision.main < 0
            || !(0..1 << 60).contains(&revision.sub)
        {
            return Err(damaged());
        }
        Ok(Self { revision, tombstone })
    }

    pub(crate) fn encode(self) -> EncodedRecordKey {
        let mut bytes = [TOMBSTONE_MARK; PUT_LEN + 1];
        bytes[..8].copy_from_slice(&self.revision.main.to_be_bytes());
        bytes[8] = SEPARATOR;
        bytes[9..PUT_LEN].copy_from_slice(&self.revision.sub.to_be_bytes());
        EncodedRecordKey { bytes, len: PUT_LEN + usize::from(self.tombstone) }
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}{}", self.revision, if self.tombstone { "t" } else { "" })
    }
}

/// The bytes of a [`RecordKey`], without an allocation.
pub(crate) struct EncodedRecordKey {
    bytes: [u8; PUT_LEN + 1],
    len: usize,
}

impl AsRef<[u8]> for EncodedRecordKey {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_etcd() {
        let put = RecordKey::put(Revision::new(2, 0));
        assert_eq!(put.encode().as_ref(), b"\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\0");
        let tombstone = RecordKey::tombstone(Revision::new(5, 3));
        assert_eq!(tombstone.encode().as_ref(), b"\0\0\0\0\0\0\0\x05_\0\0\0\0\0\0\0\x03t");
        for key in [put, tombstone] {
            assert_eq!(RecordKey::parse(key.encode().as_ref()).expect("own bytes"), key);
        }
    }

    #[test]
    fn nothing_lies_between_a_key_and_the_next() {
        let put = RecordKey::put(Revision::new(5, 3));
        assert_eq!(put.next(), RecordKey::tombstone(Revision::new(5, 3)));
        assert_eq!(put.next().next(), RecordKey::put(Revision::new(5, 4)));
        assert!(put < put.next() && put.next() < put.next().next());
    }

    #[test]
    fn foreign_keys_are_refused() {
        let good = RecordKey::tombstone(Revision::new(5, 3)).encode().as_ref().to_vec();
        for cut in 0..PUT_LEN {
            assert!(RecordKey::parse(&good[..cut]).is_err(), "{cut} bytes");
        }
        for (at, byte) in [(0, 0x80), (8, b'-'), (9, 0x80), (9, 0x10), (17, b'x')] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(RecordKey::parse(&bad).is_err(), "byte {at} = {byte:#x}");
        }
    }
}
