//! gRPC's length-prefixed messages over HTTP/2 data.

use bytes::{Buf, Bytes, BytesMut};
use h2::RecvStream;
use std::task::{Context, Poll, ready};

use crate::status::{Code, Status};

/// Flag and length before each message.
const PREFIX_BYTES: usize = 5;

/// One message on its way out: the prefix and the encoded bytes, never joined in memory.
#[derive(Debug)]
pub(crate) struct Frame {
    prefix: [u8; PREFIX_BYTES],
    sent: usize,
    body: Bytes,
}

impl Frame {
    /// The gRPC frame of a message.
    pub(crate) fn new(body: Bytes) -> Self {
        let mut prefix = [0; PREFIX_BYTES];
        let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        prefix[1..].copy_from_slice(&len.to_be_bytes());
        Self { prefix, sent: 0, body }
    }

    /// Bytes as they are: the body of a plain HTTP reply.
    pub(crate) fn plain(body: Bytes) -> Self {
        Self { prefix: [0; PREFIX_BYTES], sent: PREFIX_BYTES, body }
    }
}

impl Buf for Frame {
    fn remaining(&self) -> usize {
        PREFIX_BYTES - self.sent + self.body.len()
    }

    fn chunk(&self) -> &[u8] {
        if self.sent < PREFIX_BYTES { &self.prefix[self.sent..] } else { &self.body }
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [std::io::IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for part in [&self.prefix[self.sent..], &self.body[..]] {
            if filled < dst.len() && !part.is_empty() {
                dst[filled] = std::io::IoSlice::new(part);
                filled += 1;
            }
        }
        filled
    }

    fn advance(&mut self, count: usize) {
        let of_prefix = count.min(PREFIX_BYTES - self.sent);
        self.sent += of_prefix;
        self.body.advance(count - of_prefix);
    }
}

/// Takes the messages out of a request body.
#[derive(Debug)]
pub(crate) struct Reader {
    body: RecvStream,
    buffered: BytesMut,
    limit_bytes: usize,
    ended: bool,
}

impl Reader {
    /// Reads `body`, refusing messages over `limit_bytes`.
    pub(crate) fn new(body: RecvStream, limit_bytes: usize) -> Self {
        Self { body, buffered: BytesMut::new(), limit_bytes, ended: false }
    }

    /// The next message; `None` at the end of the body.
    pub(crate) fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Status>>> {
        loop {
            match self.take_buffered() {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(message))),
                Ok(None) => {}
                Err(status) => return Poll::Ready(Some(Err(status))),
            }
            if self.ended {
                return Poll::Ready(self.end_of_body());
            }
            match ready!(self.body.poll_data(cx)) {
                Some(Ok(chunk)) => {
                    // The window opens again at once: what is buffered is bounded by the limit.
                    if self.body.flow_control().release_capacity(chunk.len()).is_err() {
                        self.ended = true;
                    }
                    if self.buffered.is_empty()
                        && let Some(message) = whole_message(&chunk, self.limit_bytes)
                    {
                        return Poll::Ready(Some(Ok(message)));
                    }
                    self.buffered.extend_from_slice(&chunk);
                }
                Some(Err(_)) => {
                    let gone = Status::new(Code::Canceled, "context canceled");
                    self.ended = true;
                    return Poll::Ready(Some(Err(gone)));
                }
                None => self.ended = true,
            }
        }
    }

    fn end_of_body(&mut self) -> Option<Result<Bytes, Status>> {
        if self.buffered.is_empty() {
            return None;
        }
        self.buffered.clear();
        Some(Err(Status::new(Code::Internal, "unexpected EOF")))
    }

    fn take_buffered(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(len) = message_len(&self.buffered, self.limit_bytes)? else { return Ok(None) };
        if self.buffered.len() < PREFIX_BYTES + len {
            return Ok(None);
        }
        self.buffered.advance(PREFIX_BYTES);
        Ok(Some(self.buffered.split_to(len).freeze()))
    }
}

/// The common case, without a copy: the chunk is exactly one message.
fn whole_message(chunk: &Bytes, limit_bytes: usize) -> Option<Bytes> {
    match message_len(chunk, limit_bytes) {
        Ok(Some(len)) if chunk.len() == PREFIX_BYTES + len => Some(chunk.slice(PREFIX_BYTES..)),
        _ => None,
    }
}

/// The length that the prefix announces, once the whole prefix is there.
fn message_len(buffered: &[u8], limit_bytes: usize) -> Result<Option<usize>, Status> {
    let Some((prefix, _)) = buffered.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    let [compressed, len @ ..] = *prefix;
    if compressed != 0 {
        return Err(Status::new(
            Code::Unimplemented,
            "grpc: Decompressor is not installed for grpc-encoding",
        ));
    }
    let len = u32::from_be_bytes(len) as usize;
    if len > limit_bytes {
        let text = format!("grpc: received message larger than max ({len} vs. {limit_bytes})");
        return Err(Status::new(Code::ResourceExhausted, text));
    }
    Ok(Some(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_prefix_then_body_whatever_the_step() {
        for step in 1..9 {
            let mut frame = Frame::new(Bytes::from_static(b"abc"));
            let mut out = Vec::new();
            while frame.has_remaining() {
                let take = step.min(frame.chunk().len());
                out.extend_from_slice(&frame.chunk()[..take]);
                frame.advance(take);
            }
            assert_eq!(out, b"\0\0\0\0\x03abc");
        }
    }

    #[test]
    fn oversized_and_compressed_messages_are_refused() {
        let oversized = message_len(b"\0\0\0\x10\0rest", 100).unwrap_err();
        assert_eq!(oversized.message, "grpc: received message larger than max (4096 vs. 100)");
        assert_eq!(oversized.code, Code::ResourceExhausted);
        assert_eq!(message_len(b"\x01\0\0\0\0", 100).unwrap_err().code, Code::Unimplemented);
        assert_eq!(message_len(b"\0\0\0", 100), Ok(None));
    }
}
