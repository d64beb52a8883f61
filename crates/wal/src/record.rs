//! How records are written: frames, the crc chain, and the protobuf of the hot path by hand.

use proto::raftpb::{EntryType, HardState};

/// An entry to append, borrowed from whoever owns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryRef<'a> {
    pub kind: EntryType,
    pub term: u64,
    pub index: u64,
    pub data: &'a [u8],
}

/// What a record holds; the numbers are those of the file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Who the log belongs to, at the head of each segment.
    Metadata,
    /// A `raftpb.Entry`.
    Entry,
    /// A `raftpb.HardState`.
    State,
    /// The running crc at this point; no data.
    Crc,
    /// A `walpb.Snapshot`.
    Snapshot,
    /// A number that no version writes.
    Unknown(i64),
}

impl From<i64> for Kind {
    fn from(number: i64) -> Self {
        match number {
            1 => Kind::Metadata,
            2 => Kind::Entry,
            3 => Kind::State,
            4 => Kind::Crc,
            5 => Kind::Snapshot,
            other => Kind::Unknown(other),
        }
    }
}

const METADATA: u8 = 1;
const ENTRY: u8 = 2;
const STATE: u8 = 3;
const CRC: u8 = 4;
const SNAPSHOT: u8 = 5;

/// The length field in front of each record.
pub(crate) const FRAME_HEADER: usize = 8;

/// A buffer that outlives its batch keeps at most this.
const KEPT_CAPACITY: usize = 1 << 20;

/// Gathers frames in one buffer and runs the crc along.
#[derive(Debug)]
pub(crate) struct Encoder {
    buf: Vec<u8>,
    crc: u32,
}

impl Encoder {
    pub(crate) fn new(crc: u32) -> Self {
        Self { buf: Vec::new(), crc }
    }

    /// What was gathered since the last [`Encoder::clear`].
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buf
    }

    pub(crate) fn clear(&mut self) {
        self.buf.clear();
        self.buf.shrink_to(KEPT_CAPACITY);
    }

    pub(crate) fn metadata(&mut self, metadata: &[u8]) {
        self.record(METADATA, &[], metadata);
    }

    pub(crate) fn entry(&mut self, entry: &EntryRef<'_>) {
        let mut head = Head::new();
        if entry.kind != EntryType::EntryNormal {
            head.field(1, entry.kind as u64);
        }
        head.field(2, entry.term);
        head.field(3, entry.index);
        if !entry.data.is_empty() {
            head.varint(4 << 3 | 2);
            head.varint(entry.data.len() as u64);
        }
        self.record(ENTRY, head.bytes(), entry.data);
    }

    pub(crate) fn state(&mut self, state: &HardState) {
        let mut head = Head::new();
        let fields = [(1, state.term), (2, state.vote), (3, state.commit)];
        for (number, value) in fields {
            if let Some(value) = value {
                head.field(number, value);
            }
        }
        self.record(STATE, head.bytes(), &[]);
    }

    pub(crate) fn snapshot(&mut self, encoded: &[u8]) {
        self.record(SNAPSHOT, &[], encoded);
    }

    /// The record that lets a reader begin here.
    pub(crate) fn crc(&mut self) {
        self.frame(CRC, &[], &[]);
    }

    /// A record whose data is `head` and `tail` together; the crc runs over both.
    fn record(&mut self, kind: u8, head: &[u8], tail: &[u8]) {
        self.crc = crc32c::crc32c_append(crc32c::crc32c_append(self.crc, head), tail);
        self.frame(kind, head, tail);
    }

    fn frame(&mut self, kind: u8, head: &[u8], tail: &[u8]) {
        let data_len = head.len() + tail.len();
        let mut fields = Head::new();
        fields.field(1, u64::from(kind));
        fields.field(2, u64::from(self.crc));
        if data_len > 0 {
            fields.varint(3 << 3 | 2);
            fields.varint(data_len as u64);
        }
        let len = fields.bytes().len() + data_len;
        let padding = len.next_multiple_of(8) - len;
        let mut field = len as u64;
        if padding > 0 {
            field |= (0x80 | padding as u64) << 56;
        }
        self.buf.reserve(FRAME_HEADER + len + padding);
        self.buf.extend_from_slice(&field.to_le_bytes());
        self.buf.extend_from_slice(fields.bytes());
        self.buf.extend_from_slice(head);
        self.buf.extend_from_slice(tail);
        self.buf.resize(self.buf.len() + padding, 0);
    }
}

/// A few protobuf fields on the stack: at most four, each at most 11 bytes.
struct Head {
    bytes: [u8; 44],
    len: usize,
}

impl Head {
    fn new() -> Self {
        Self { bytes: [0; 44], len: 0 }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn field(&mut self, number: u64, value: u64) {
        self.varint(number << 3);
        self.varint(value);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }
}
