//! Writes replies whose parts are encoded already: stored `KeyValue`s are copied, never decoded.

use bytes::Bytes;
use prost::encoding::{encode_varint, encoded_len_varint};
use proto::Message;

const VARINT: u64 = 0;
const BYTES: u64 = 2;

/// The reply under construction. Zero values are left out, as proto3 does.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    out: Vec<u8>,
}

impl Encoder {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes) }
    }

    /// An `int64`, `uint64` or enum.
    pub(crate) fn number(&mut self, field: u64, value: u64) -> &mut Self {
        if value != 0 {
            encode_varint(field << 3 | VARINT, &mut self.out);
            encode_varint(value, &mut self.out);
        }
        self
    }

    /// An `int64` that may be negative.
    pub(crate) fn signed(&mut self, field: u64, value: i64) -> &mut Self {
        // Two's complement is the wire format of negative int64s.
        self.number(field, value as u64)
    }

    pub(crate) fn flag(&mut self, field: u64, value: bool) -> &mut Self {
        self.number(field, u64::from(value))
    }

    pub(crate) fn text(&mut self, field: u64, value: &str) -> &mut Self {
        if value.is_empty() { self } else { self.part(field, value.as_bytes()) }
    }

    /// A message (or one of repeated messages) that is encoded already; also an empty one.
    pub(crate) fn part(&mut self, field: u64, encoded: &[u8]) -> &mut Self {
        self.open(field, encoded.len());
        self.out.extend_from_slice(encoded);
        self
    }

    /// A message that is encoded here.
    pub(crate) fn message(&mut self, field: u64, message: &impl Message) -> &mut Self {
        self.open(field, message.encoded_len());
        message.encode(&mut self.out).expect("a Vec takes all bytes");
        self
    }

    /// Begins a message of exactly `len` bytes, which the caller writes next.
    pub(crate) fn open(&mut self, field: u64, len: usize) -> &mut Self {
        encode_varint(field << 3 | BYTES, &mut self.out);
        encode_varint(len as u64, &mut self.out);
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn finish(self) -> Bytes {
        Bytes::from(self.out)
    }
}

/// How many bytes [`Encoder::part`] writes for a field number below 16.
pub(crate) fn part_len(len: usize) -> usize {
    1 + encoded_len_varint(len as u64) + len
}

#[cfg(test)]
mod tests {
    use proto::etcdserverpb::{RangeResponse, ResponseHeader};
    use proto::mvccpb::KeyValue;

    use super::*;

    #[test]
    fn parts_make_the_bytes_that_the_whole_message_would() {
        let header = ResponseHeader { revision: -1, cluster_id: u64::MAX, ..Default::default() };
        let kvs: Vec<_> = ["a", "b"]
            .map(|key| KeyValue { key: Bytes::from(key), version: 7, ..Default::default() })
            .into();
        let mut encoder = Encoder::default();
        encoder.message(1, &header);
        for kv in &kvs {
            encoder.part(2, &kv.encode_to_vec());
        }
        encoder.flag(3, true).signed(4, 2);
        let whole = RangeResponse { header: Some(header), kvs, more: true, count: 2 };
        assert_eq!(encoder.finish(), whole.encode_to_vec());
        assert_eq!(part_len(200), Encoder::default().part(2, &[0; 200]).len());
    }
}
