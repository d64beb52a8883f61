//! Frames as they lie on the wire (RFC 9113, sections 4 and 6).

use crate::error::{ErrorCode, Fault};

/// What every client says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The header of a frame.
pub(crate) const HEADER_BYTES: usize = 9;
/// The largest payload that is taken, and sent: the default of the protocol, as grpc-go has it.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 16_384;
/// No window may be larger.
pub(crate) const MAX_WINDOW: i64 = i32::MAX as i64;
/// The windows and the table that both sides begin with.
pub(crate) const DEFAULT_WINDOW: i64 = 65_535;
pub(crate) const DEFAULT_TABLE_BYTES: u32 = 4096;

pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0x0;
    pub(crate) const HEADERS: u8 = 0x1;
    pub(crate) const PRIORITY: u8 = 0x2;
    pub(crate) const RST_STREAM: u8 = 0x3;
    pub(crate) const SETTINGS: u8 = 0x4;
    pub(crate) const PUSH_PROMISE: u8 = 0x5;
    pub(crate) const PING: u8 = 0x6;
    pub(crate) const GOAWAY: u8 = 0x7;
    pub(crate) const WINDOW_UPDATE: u8 = 0x8;
    pub(crate) const CONTINUATION: u8 = 0x9;
}

pub(crate) mod flag {
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
    pub(crate) const PADDED: u8 = 0x8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

pub(crate) mod setting {
    pub(crate) const HEADER_TABLE_SIZE: u16 = 0x1;
    pub(crate) const ENABLE_PUSH: u16 = 0x2;
    pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    pub(crate) const INITIAL_WINDOW_SIZE: u16 = 0x4;
    pub(crate) const MAX_FRAME_SIZE: u16 = 0x5;
    pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 0x6;
}

/// A frame without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl Frame {
    pub(crate) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Takes one frame off the front of `input`; `None` while it is not whole.
pub(crate) fn take<'a>(input: &mut &'a [u8]) -> Result<Option<(Frame, &'a [u8])>, Fault> {
    let Some((header, rest)) = input.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *header;
    let len = u32::from_be_bytes([0, l0, l1, l2]) as usize;
    if len > MAX_PAYLOAD_BYTES {
        return Err(Fault::size("frame too large"));
    }
    let Some((payload, rest)) = rest.split_at_checked(len) else { return Ok(None) };
    *input = rest;
    let stream = u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff;
    Ok(Some((Frame { kind, flags, stream }, payload)))
}

/// Takes the padding off a payload.
pub(crate) fn unpadded(frame: Frame, payload: &[u8]) -> Result<&[u8], Fault> {
    if !frame.has(flag::PADDED) {
        return Ok(payload);
    }
    let Some((padding, rest)) = payload.split_first() else {
        return Err(Fault::size("no room for the length of padding"));
    };
    let kept = rest.len().checked_sub(usize::from(*padding));
    kept.and_then(|kept| rest.get(..kept)).ok_or(Fault::protocol("more padding than payload"))
}

/// The header of a frame that is sent.
pub(crate) fn header(kind: u8, flags: u8, stream: u32, len: usize) -> [u8; HEADER_BYTES] {
    // Lengths are those of frames that are made here, never above the largest payload.
    let [_, l0, l1, l2] = u32::try_from(len).unwrap_or(0).to_be_bytes();
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    [l0, l1, l2, kind, flags, s0, s1, s2, s3]
}

/// A payload that is one number.
pub(crate) fn number(payload: &[u8], reason: &'static str) -> Result<u32, Fault> {
    let bytes = payload.try_into().map_err(|_| Fault::size(reason))?;
    Ok(u32::from_be_bytes(bytes))
}

/// The pairs in a SETTINGS payload.
pub(crate) fn settings(payload: &[u8]) -> Result<impl Iterator<Item = (u16, u32)>, Fault> {
    let (pairs, rest) = payload.as_chunks::<6>();
    if !rest.is_empty() {
        return Err(Fault::size("SETTINGS of a length that is no multiple of six"));
    }
    Ok(pairs.iter().map(|[i0, i1, v0, v1, v2, v3]| {
        (u16::from_be_bytes([*i0, *i1]), u32::from_be_bytes([*v0, *v1, *v2, *v3]))
    }))
}

/// The code of a RST_STREAM.
pub(crate) fn reset_code(payload: &[u8]) -> Result<ErrorCode, Fault> {
    Ok(ErrorCode(number(payload, "RST_STREAM of a wrong length")?))
}
