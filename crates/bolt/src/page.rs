use bytes::Bytes;

use crate::Error;
use crate::bytes_at::{u32_at, u64_at};
use crate::meta::header;

/// `id u64, flags u16, count u16, overflow u32`.
pub(crate) const HEADER_LEN: usize = 16;
/// One entry of a leaf's or a branch's element table.
pub(crate) const ELEMENT_LEN: usize = 16;
/// `root u64, sequence u64`, the value of a bucket's key.
pub(crate) const BUCKET_HEADER_LEN: usize = 16;
/// A page cannot count more: 0xFFFF means something else on a freelist page.
pub(crate) const MAX_ELEMENTS: usize = 0xFFFE;

pub(crate) const BRANCH_FLAG: u16 = 0x01;
pub(crate) const LEAF_FLAG: u16 = 0x02;
pub(crate) const META_FLAG: u16 = 0x04;
pub(crate) const FREELIST_FLAG: u16 = 0x10;
/// On a leaf element: the value is a bucket.
pub(crate) const BUCKET_ELEMENT: u32 = 0x01;

/// A contiguous run of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Run {
    pub(crate) start: u64,
    pub(crate) len: u64,
}

impl Run {
    pub(crate) fn end(self) -> u64 {
        self.start.saturating_add(self.len)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Leaf,
    Branch,
}

/// One entry of a leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeafItem {
    pub(crate) flags: u32,
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
}

impl LeafItem {
    pub(crate) fn is_bucket(&self) -> bool {
        self.flags & BUCKET_ELEMENT != 0
    }
}

/// A leaf or branch page whose every offset has been checked: what is read through the methods
/// lies within the page, keys are there, not empty and strictly ascending.
#[derive(Debug)]
pub(crate) struct Page {
    id: u64,
    kind: Kind,
    count: usize,
    has_buckets: bool,
    pages: u64,
    bytes: Bytes,
}

impl Page {
    /// Checks and takes the page `id` from `bytes`, which hold its overflow pages too.
    pub(crate) fn parse(id: u64, bytes: Bytes) -> Result<Self, Error> {
        let (own_id, flags, count, overflow) =
            header(&bytes).ok_or(Error::corrupt(id, "shorter than a page header"))?;
        if own_id != id {
            return Err(Error::corrupt(id, "it says that it is another page"));
        }
        let pages = u64::from(overflow).saturating_add(1);
        Self::check(id, flags, usize::from(count), pages, bytes)
    }

    /// Checks and takes the leaf that a small bucket keeps in its own value.
    pub(crate) fn parse_inline(bytes: Bytes) -> Result<Self, Error> {
        let (_, flags, count, _) =
            header(&bytes).ok_or(Error::corrupt(0, "inline bucket shorter than a page header"))?;
        if flags != LEAF_FLAG {
            return Err(Error::corrupt(0, "inline bucket is no leaf"));
        }
        Self::check(0, flags, usize::from(count), 0, bytes)
    }

    fn check(id: u64, flags: u16, count: usize, pages: u64, bytes: Bytes) -> Result<Self, Error> {
        let kind = match flags {
            LEAF_FLAG => Kind::Leaf,
            BRANCH_FLAG => Kind::Branch,
            _ => return Err(Error::corrupt(id, "neither leaf nor branch")),
        };
        if kind == Kind::Branch && count == 0 {
            return Err(Error::corrupt(id, "branch without children"));
        }
        let table_end = HEADER_LEN + count * ELEMENT_LEN;
        if table_end > bytes.len() {
            return Err(Error::corrupt(id, "element table past the end of the page"));
        }
        let mut page = Self { id, kind, count, has_buckets: false, pages, bytes };
        let mut before: &[u8] = &[];
        let mut has_buckets = false;
        for index in 0..count {
            let spot = page.spot(index).ok_or(Error::corrupt(id, "element table cut short"))?;
            if spot.key_at < table_end || spot.end() > page.bytes.len() {
                return Err(Error::corrupt(id, "key or value outside of the page"));
            }
            let key = page.key(index);
            if key.is_empty() {
                return Err(Error::corrupt(id, "empty key"));
            }
            if key <= before {
                return Err(Error::corrupt(id, "keys out of order"));
            }
            before = key;
            has_buckets |= spot.flags & BUCKET_ELEMENT != 0;
        }
        page.has_buckets = has_buckets;
        Ok(page)
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Whether some value on this leaf is a bucket.
    pub(crate) fn has_buckets(&self) -> bool {
        self.has_buckets
    }

    /// The pages that it takes in the file; none for an inline page.
    pub(crate) fn run(&self) -> Run {
        Run { start: self.id, len: self.pages }
    }

    /// All of it, overflow pages included.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The key at `index`; empty where there is none.
    pub(crate) fn key(&self, index: usize) -> &[u8] {
        self.spot(index)
            .and_then(|spot| self.bytes.get(spot.key_at..spot.key_at + spot.key_len))
            .unwrap_or_default()
    }

    pub(crate) fn key_bytes(&self, index: usize) -> Bytes {
        self.spot(index).map(|spot| self.cut(spot.key_at, spot.key_len)).unwrap_or_default()
    }

    /// The child of a branch at `index`.
    pub(crate) fn child(&self, index: usize) -> Option<u64> {
        if self.kind != Kind::Branch || index >= self.count {
            return None;
        }
        u64_at(&self.bytes, HEADER_LEN + index * ELEMENT_LEN + 8)
    }

    /// The entry of a leaf at `index`, sharing the page's memory.
    pub(crate) fn item(&self, index: usize) -> Option<LeafItem> {
        if self.kind != Kind::Leaf || index >= self.count {
            return None;
        }
        let spot = self.spot(index)?;
        Some(LeafItem {
            flags: spot.flags,
            key: self.cut(spot.key_at, spot.key_len),
            value: self.cut(spot.key_at + spot.key_len, spot.value_len),
        })
    }

    /// The flags and the value of a leaf's entry, sharing the page's memory.
    pub(crate) fn value(&self, index: usize) -> Option<(u32, Bytes)> {
        if self.kind != Kind::Leaf || index >= self.count {
            return None;
        }
        let spot = self.spot(index)?;
        Some((spot.flags, self.cut(spot.key_at + spot.key_len, spot.value_len)))
    }

    /// The first index whose key is not below `key`, and whether it is `key` itself.
    pub(crate) fn search(&self, key: &[u8]) -> (usize, bool) {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.key(middle).cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return (middle, true),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        (low, false)
    }

    /// The child of a branch under which `key` belongs.
    pub(crate) fn child_index(&self, key: &[u8]) -> usize {
        match self.search(key) {
            (index, true) => index,
            (index, false) => index.saturating_sub(1),
        }
    }

    fn cut(&self, at: usize, len: usize) -> Bytes {
        match at.checked_add(len) {
            Some(end) if end <= self.bytes.len() => self.bytes.slice(at..end),
            _ => Bytes::new(),
        }
    }

    fn spot(&self, index: usize) -> Option<Spot> {
        let at = HEADER_LEN + index * ELEMENT_LEN;
        let element = self.bytes.get(at..at + ELEMENT_LEN)?;
        let number = |offset| u32_at(element, offset).map(|n| n as usize);
        Some(match self.kind {
            Kind::Leaf => Spot {
                flags: u32_at(element, 0)?,
                key_at: at.checked_add(number(4)?)?,
                key_len: number(8)?,
                value_len: number(12)?,
            },
            Kind::Branch => Spot {
                flags: 0,
                key_at: at.checked_add(number(0)?)?,
                key_len: number(4)?,
                value_len: 0,
            },
        })
    }
}

/// Where an element's key and value lie; the value follows the key.
struct Spot {
    flags: u32,
    key_at: usize,
    key_len: usize,
    value_len: usize,
}

impl Spot {
    fn end(&self) -> usize {
        self.key_at.saturating_add(self.key_len).saturating_add(self.value_len)
    }
}

/// A bucket's value: where its tree is.
#[derive(Debug, Clone)]
pub(crate) struct BucketHeader {
    /// 0: the tree is the inline leaf that follows the header.
    pub(crate) root: u64,
    pub(crate) sequence: u64,
    pub(crate) inline: Bytes,
}

impl BucketHeader {
    pub(crate) fn decode(value: &Bytes) -> Result<Self, Error> {
        let numbers = u64_at(value, 0).zip(u64_at(value, 8));
        let Some((root, sequence)) = numbers else {
            return Err(Error::corrupt(0, "bucket header cut short"));
        };
        Ok(Self { root, sequence, inline: value.slice(BUCKET_HEADER_LEN..) })
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut value = Vec::with_capacity(BUCKET_HEADER_LEN + self.inline.len());
        value.extend_from_slice(&self.root.to_le_bytes());
        value.extend_from_slice(&self.sequence.to_le_bytes());
        value.extend_from_slice(&self.inline);
        value.into()
    }
}

/// The bytes that an element takes on its page.
pub(crate) fn leaf_item_len(item: &LeafItem) -> usize {
    ELEMENT_LEN + item.key.len() + item.value.len()
}

/// Writes a leaf page: `run` is where it will stand, none makes an inline page.
pub(crate) fn encode_leaf(
    items: &[LeafItem],
    run: Option<Run>,
    page_size: usize,
) -> Result<Bytes, Error> {
    let body: usize = items.iter().map(leaf_item_len).sum();
    let mut page = start_page(LEAF_FLAG, items.len(), HEADER_LEN + body, run, page_size)?;
    let mut at = HEADER_LEN;
    let mut data_at = HEADER_LEN + items.len() * ELEMENT_LEN;
    for item in items {
        page.extend_from_slice(&item.flags.to_le_bytes());
        page.extend_from_slice(&short(data_at - at, run)?.to_le_bytes());
        page.extend_from_slice(&short(item.key.len(), run)?.to_le_bytes());
        page.extend_from_slice(&short(item.value.len(), run)?.to_le_bytes());
        at += ELEMENT_LEN;
        data_at += item.key.len() + item.value.len();
    }
    for item in items {
        page.extend_from_slice(&item.key);
        page.extend_from_slice(&item.value);
    }
    Ok(finish_page(page, run, page_size))
}

/// Writes a branch page of `(child's first key, child)`.
pub(crate) fn encode_branch(
    items: &[(Bytes, u64)],
    run: Run,
    page_size: usize,
) -> Result<Bytes, Error> {
    let body: usize = items.iter().map(|(key, _)| ELEMENT_LEN + key.len()).sum();
    let mut page = start_page(BRANCH_FLAG, items.len(), HEADER_LEN + body, Some(run), page_size)?;
    let mut at = HEADER_LEN;
    let mut data_at = HEADER_LEN + items.len() * ELEMENT_LEN;
    for (key, child) in items {
        page.extend_from_slice(&short(data_at - at, Some(run))?.to_le_bytes());
        page.extend_from_slice(&short(key.len(), Some(run))?.to_le_bytes());
        page.extend_from_slice(&child.to_le_bytes());
        at += ELEMENT_LEN;
        data_at += key.len();
    }
    for (key, _) in items {
        page.extend_from_slice(key);
    }
    Ok(finish_page(page, Some(run), page_size))
}

fn start_page(
    flags: u16,
    count: usize,
    len: usize,
    run: Option<Run>,
    page_size: usize,
) -> Result<Vec<u8>, Error> {
    let Run { start: id, len: pages } = run.unwrap_or(Run { start: 0, len: 1 });
    let room = if run.is_some() { pages as usize * page_size } else { len };
    let overflow = u32::try_from(pages - 1).ok();
    let (Some(overflow), true) = (overflow, count <= MAX_ELEMENTS && len <= room) else {
        return Err(Error::corrupt(id, "too much for one page"));
    };
    let mut page = Vec::with_capacity(room);
    page.extend_from_slice(&id.to_le_bytes());
    page.extend_from_slice(&flags.to_le_bytes());
    // Checked above to fit.
    page.extend_from_slice(&(count as u16).to_le_bytes());
    page.extend_from_slice(&overflow.to_le_bytes());
    Ok(page)
}

fn finish_page(mut page: Vec<u8>, run: Option<Run>, page_size: usize) -> Bytes {
    if let Some(run) = run {
        page.resize(run.len as usize * page_size, 0);
    }
    page.into()
}

fn short(number: usize, run: Option<Run>) -> Result<u32, Error> {
    let id = run.map_or(0, |run| run.start);
    u32::try_from(number).map_err(|_| Error::corrupt(id, "too much for one page"))
}
