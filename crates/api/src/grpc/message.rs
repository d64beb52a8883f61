//! gRPC's length-prefixed messages in HTTP/2 data.

use bytes::{Bytes, BytesMut};

use crate::status::{Code, Status};

/// Flag and length before each message.
pub(crate) const PREFIX_BYTES: usize = 5;
/// A large message gets its memory as it comes: what is announced costs the client nothing.
const FIRST_BYTES: usize = 64 << 10;

/// What stands before a message.
pub(crate) fn prefix(message: &[u8]) -> [u8; PREFIX_BYTES] {
    let [l0, l1, l2, l3] = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [0, l0, l1, l2, l3]
}

/// Takes the messages out of a request body. They are copied, so that a small key that is kept does
/// not keep the buffer that it came in.
#[derive(Debug)]
pub(crate) struct Body {
    limit_bytes: usize,
    /// The compression that the head has named; none is understood.
    encoding: Option<String>,
    prefix: [u8; PREFIX_BYTES],
    prefix_len: usize,
    message: BytesMut,
}

impl Body {
    /// A body whose messages may have `limit_bytes`.
    pub(crate) fn new(limit_bytes: usize, encoding: Option<String>) -> Self {
        let message = BytesMut::new();
        Self { limit_bytes, encoding, prefix: [0; PREFIX_BYTES], prefix_len: 0, message }
    }

    /// Takes bytes off the front of `data` until a message is whole, or all.
    pub(crate) fn next(&mut self, data: &mut &[u8]) -> Result<Option<Bytes>, Status> {
        let missing = (PREFIX_BYTES - self.prefix_len).min(data.len());
        let (now, rest) = data.split_at(missing);
        self.prefix[self.prefix_len..][..missing].copy_from_slice(now);
        self.prefix_len += missing;
        *data = rest;
        if self.prefix_len < PREFIX_BYTES {
            return Ok(None);
        }
        let len = self.announced()?;
        if self.message.is_empty()
            && let Some((message, rest)) = data.split_at_checked(len)
        {
            *data = rest;
            self.prefix_len = 0;
            return Ok(Some(Bytes::copy_from_slice(message)));
        }
        if self.message.is_empty() {
            self.message.reserve(len.min(FIRST_BYTES));
        }
        let (part, rest) = data.split_at(data.len().min(len - self.message.len()));
        self.message.extend_from_slice(part);
        *data = rest;
        if self.message.len() < len {
            return Ok(None);
        }
        self.prefix_len = 0;
        Ok(Some(std::mem::take(&mut self.message).freeze()))
    }

    /// Whether the body may end here.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.prefix_len == 0
    }

    /// The length that the prefix announces.
    fn announced(&self) -> Result<usize, Status> {
        let [compressed, len @ ..] = self.prefix;
        match (compressed, &self.encoding) {
            (0, _) => {}
            (1, None) => {
                let text = "grpc: compressed flag set with identity or empty encoding";
                return Err(Status::new(Code::Internal, text));
            }
            (1, Some(encoding)) => return Err(no_decompressor(encoding)),
            (other, _) => {
                let text = format!("grpc: received unexpected payload format {other}");
                return Err(Status::new(Code::Internal, text));
            }
        }
        let len = u32::from_be_bytes(len) as usize;
        let limit = self.limit_bytes;
        if len > limit {
            let text = format!("grpc: received message larger than max ({len} vs. {limit})");
            return Err(Status::new(Code::ResourceExhausted, text));
        }
        Ok(len)
    }
}

/// What a client hears whose messages are compressed.
pub(crate) fn no_decompressor(encoding: &str) -> Status {
    let text = format!("grpc: Decompressor is not installed for grpc-encoding {encoding:?}");
    Status::new(Code::Unimplemented, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(body: &mut Body, mut data: &[u8]) -> Vec<Bytes> {
        let mut messages = Vec::new();
        loop {
            match body.next(&mut data).unwrap() {
                Some(message) => messages.push(message),
                None => return messages,
            }
        }
    }

    #[test]
    fn messages_are_the_same_whatever_the_parts() {
        let mut wire = Vec::new();
        let sent: Vec<Vec<u8>> = [3, 0, 1, 300, 0].iter().map(|len| vec![7; *len]).collect();
        for message in &sent {
            wire.extend_from_slice(&prefix(message));
            wire.extend_from_slice(message);
        }
        for step in 1..wire.len() {
            let mut body = Body::new(1000, None);
            let got: Vec<Bytes> = wire.chunks(step).flat_map(|part| all(&mut body, part)).collect();
            assert_eq!(got, sent, "{step}");
            assert!(body.is_between_messages());
        }
        let mut body = Body::new(1000, None);
        assert!(all(&mut body, &wire[..wire.len() - 1]).len() == 4);
        assert!(!body.is_between_messages());
    }

    #[test]
    fn what_is_too_large_or_compressed_is_refused() {
        let refusal = |encoding: Option<&str>, mut data: &[u8]| {
            let mut body = Body::new(100, encoding.map(str::to_owned));
            body.next(&mut data).unwrap_err()
        };
        let oversized = refusal(None, b"\0\0\0\x10\0rest");
        assert_eq!(oversized.message, "grpc: received message larger than max (4096 vs. 100)");
        assert_eq!(oversized.code, Code::ResourceExhausted);
        assert_eq!(refusal(None, b"\x01\0\0\0\0").code, Code::Internal);
        assert_eq!(refusal(None, b"\x02\0\0\0\0").code, Code::Internal);
        let gzip = refusal(Some("gzip"), b"\x01\0\0\0\0");
        assert_eq!(gzip.code, Code::Unimplemented);
        assert_eq!(gzip.message, "grpc: Decompressor is not installed for grpc-encoding \"gzip\"");
    }
}
