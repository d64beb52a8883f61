//! The bytes that wait for the socket.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// Bodies up to here are copied behind their frame's header; larger ones are only referred to.
const COPIED_BYTES: usize = 4096;
/// An empty buffer that is larger gives its memory back: most connections are quiet.
const KEPT_BYTES: usize = 16 << 10;

/// What is to be written, in order. Take it with [`Buf`].
#[derive(Debug, Default)]
pub struct Output {
    /// Bytes that come before `tail`.
    front: VecDeque<Bytes>,
    front_bytes: usize,
    tail: BytesMut,
}

impl Output {
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
    }

    pub(crate) fn put_bytes(&mut self, bytes: Bytes) {
        if bytes.len() <= COPIED_BYTES {
            return self.put(&bytes);
        }
        if !self.tail.is_empty() {
            let before = self.tail.split().freeze();
            self.front_bytes += before.len();
            self.front.push_back(before);
        }
        self.front_bytes += bytes.len();
        self.front.push_back(bytes);
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.front_bytes + self.tail.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn slim(&mut self) {
        if self.tail.is_empty() && self.tail.capacity() > KEPT_BYTES {
            self.tail = BytesMut::new();
        } else if self.tail.is_empty() {
            // The room that was written out is used again.
            self.tail.clear();
        }
    }
}

impl Buf for Output {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        self.front.front().map_or(&self.tail, |bytes| bytes)
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [IoSlice<'a>]) -> usize {
        let parts = self.front.iter().map(|bytes| &bytes[..]).chain([&self.tail[..]]);
        let mut filled = 0;
        for (slot, part) in dst.iter_mut().zip(parts.filter(|part| !part.is_empty())) {
            *slot = IoSlice::new(part);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let Some(first) = self.front.front_mut() else { break };
            let here = count.min(first.len());
            first.advance(here);
            self.front_bytes -= here;
            count -= here;
            if first.is_empty() {
                self.front.pop_front();
            }
        }
        self.tail.advance(count);
        self.slim();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_the_order_they_came() {
        let mut output = Output::default();
        let mut expected = Vec::new();
        for round in 0..20_usize {
            let part = vec![round as u8; [9, 5000, 100, 20_000][round % 4]];
            expected.extend_from_slice(&part);
            output.put_bytes(part.into());
        }
        let mut written = Vec::new();
        while output.has_remaining() {
            let mut slices = [IoSlice::new(&[]); 8];
            let filled = output.chunks_vectored(&mut slices);
            let joined: Vec<u8> = slices[..filled].iter().flat_map(|part| part.to_vec()).collect();
            assert!(joined.starts_with(output.chunk()));
            let step = joined.len().min(1777);
            written.extend_from_slice(&joined[..step]);
            output.advance(step);
        }
        assert!(written == expected && output.is_empty());
    }
}
