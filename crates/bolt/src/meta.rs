use crate::Error;
use crate::bytes_at::{u16_at, u32_at, u64_at};
use crate::page::{HEADER_LEN, META_FLAG};

/// `freelist` of a file that does not store its free pages: they are found by a walk.
pub(crate) const NO_FREELIST: u64 = u64::MAX;

/// The last transaction that a file can have: the numbers must not begin again, for the newest
/// state is the one with the highest.
const LAST_TXID: u64 = u64::MAX - 1;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// Page header and meta together.
pub(crate) const META_PAGE_LEN: usize = HEADER_LEN + 64;

/// One committed state of the file: everything else is reached from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) page_size: u32,
    /// Page of the root bucket, whose keys are the buckets' names.
    pub(crate) root: u64,
    pub(crate) sequence: u64,
    /// Page of the stored freelist, or [`NO_FREELIST`].
    pub(crate) freelist: u64,
    /// The first page never used.
    pub(crate) high_water: u64,
    pub(crate) txid: u64,
}

/// Why the bytes are no meta page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotMeta {
    Invalid,
    Version(u32),
}

impl Meta {
    /// Reads a meta page from (at least) its first [`META_PAGE_LEN`] bytes. As in bbolt the page's
    /// header does not matter, only the body with its checksum.
    pub(crate) fn decode(page: &[u8]) -> Result<Self, NotMeta> {
        let body = page.get(HEADER_LEN..META_PAGE_LEN).ok_or(NotMeta::Invalid)?;
        if u32_at(body, 0) != Some(MAGIC) {
            return Err(NotMeta::Invalid);
        }
        let version = u32_at(body, 4).ok_or(NotMeta::Invalid)?;
        if version != VERSION {
            return Err(NotMeta::Version(version));
        }
        let sum = body.get(..56).map(fnv1a64);
        let meta = || {
            Some(Self {
                page_size: u32_at(body, 8)?,
                root: u64_at(body, 16)?,
                sequence: u64_at(body, 24)?,
                freelist: u64_at(body, 32)?,
                high_water: u64_at(body, 40)?,
                txid: u64_at(body, 48)?,
            })
        };
        match meta() {
            Some(meta) if sum.is_some() && sum == u64_at(body, 56) => Ok(meta),
            _ => Err(NotMeta::Invalid),
        }
    }

    /// The whole meta page with this id.
    pub(crate) fn encode(&self, id: u64) -> Vec<u8> {
        let page_size = self.page_size as usize;
        let mut page = Vec::with_capacity(page_size);
        page.extend_from_slice(&id.to_le_bytes());
        page.extend_from_slice(&META_FLAG.to_le_bytes());
        page.extend_from_slice(&[0; 6]);
        let mut body = Vec::with_capacity(64);
        body.extend_from_slice(&MAGIC.to_le_bytes());
        body.extend_from_slice(&VERSION.to_le_bytes());
        body.extend_from_slice(&self.page_size.to_le_bytes());
        body.extend_from_slice(&[0; 4]);
        for number in [self.root, self.sequence, self.freelist, self.high_water, self.txid] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        let sum = fnv1a64(&body);
        body.extend_from_slice(&sum.to_le_bytes());
        page.extend_from_slice(&body);
        page.resize(page_size.max(META_PAGE_LEN), 0);
        page
    }

    /// The page where this commit's meta lives.
    pub(crate) fn slot(&self) -> u64 {
        self.txid % 2
    }

    /// The number of the transaction that follows this one.
    pub(crate) fn next_txid(&self) -> Result<u64, Error> {
        let next = self.txid.checked_add(1).filter(|next| *next <= LAST_TXID);
        next.ok_or(Error::corrupt(self.slot(), "transaction ids are used up"))
    }

    /// The length of the file up to the high water mark.
    pub(crate) fn len_bytes(&self) -> u64 {
        self.high_water.saturating_mul(u64::from(self.page_size))
    }

    /// What a valid checksum does not promise: that the numbers make sense together.
    pub(crate) fn plausible(&self) -> Result<(), Error> {
        let pages = 2..self.high_water;
        if self.txid > LAST_TXID {
            return Err(Error::corrupt(self.slot(), "transaction id out of range"));
        }
        if !pages.contains(&self.root) {
            return Err(Error::corrupt(self.slot(), "root page out of range"));
        }
        if self.freelist != NO_FREELIST && !pages.contains(&self.freelist) {
            return Err(Error::corrupt(self.slot(), "freelist page out of range"));
        }
        if self.high_water.checked_mul(u64::from(self.page_size)).is_none() {
            return Err(Error::corrupt(self.slot(), "high water mark out of range"));
        }
        Ok(())
    }
}

/// Whether a db file may have pages of this size.
pub(crate) fn is_page_size(size: u32) -> bool {
    size.is_power_of_two() && (1024..=16 << 20).contains(&size)
}

/// The commit to go on from: the valid meta with the higher transaction id.
pub(crate) fn newest(first: Option<Meta>, second: Option<Meta>) -> Option<Meta> {
    match (first, second) {
        (Some(a), Some(b)) => Some(if b.txid > a.txid { b } else { a }),
        (one, other) => one.or(other),
    }
}

fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
}

/// The page id that a page says it has.
pub(crate) fn header(bytes: &[u8]) -> Option<(u64, u16, u16, u32)> {
    Some((u64_at(bytes, 0)?, u16_at(bytes, 8)?, u16_at(bytes, 10)?, u32_at(bytes, 12)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(txid: u64) -> Meta {
        Meta { page_size: 4096, root: 4, sequence: 0, freelist: NO_FREELIST, high_water: 6, txid }
    }

    #[test]
    fn checksum_matches_a_page_written_by_bbolt() {
        let page = meta(15).encode(1);
        assert_eq!(u64_at(&page, 72), Some(0xab2a_2d91_02a1_b52e));
    }

    #[test]
    fn decodes_what_it_encodes_and_refuses_any_flipped_bit() {
        let page = meta(15).encode(1);
        assert_eq!(Meta::decode(&page), Ok(meta(15)));
        for bit in 0..64 * 8 {
            let mut broken = page.clone();
            broken[HEADER_LEN + bit / 8] ^= 1 << (bit % 8);
            assert!(Meta::decode(&broken).is_err(), "bit {bit}");
        }
        for len in 0..META_PAGE_LEN {
            assert_eq!(Meta::decode(&page[..len]), Err(NotMeta::Invalid));
        }
    }

    #[test]
    fn another_version_is_named() {
        let mut page = meta(15).encode(1);
        page[20] = 3;
        assert_eq!(Meta::decode(&page), Err(NotMeta::Version(3)));
    }

    #[test]
    fn the_newer_valid_meta_wins() {
        assert_eq!(newest(Some(meta(2)), Some(meta(3))), Some(meta(3)));
        assert_eq!(newest(Some(meta(4)), Some(meta(3))), Some(meta(4)));
        assert_eq!(newest(None, Some(meta(3))), Some(meta(3)));
        assert_eq!(newest(None, None), None);
    }
}
