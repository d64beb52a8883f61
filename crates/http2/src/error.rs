//! Why a stream or a connection ends.

use std::fmt;

/// An error code of HTTP/2 (RFC 9113, section 7). Peers may send numbers that have no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// All is well.
    pub const NO_ERROR: Self = Self(0x0);
    /// The peer does what the protocol does not allow.
    pub const PROTOCOL_ERROR: Self = Self(0x1);
    /// Something broke here.
    pub const INTERNAL_ERROR: Self = Self(0x2);
    /// More was sent than the window allows, or a window grew too large.
    pub const FLOW_CONTROL_ERROR: Self = Self(0x3);
    /// A frame came for a stream that is closed.
    pub const STREAM_CLOSED: Self = Self(0x5);
    /// A frame has a length that it cannot have.
    pub const FRAME_SIZE_ERROR: Self = Self(0x6);
    /// Nothing was done for the stream; it may be tried again.
    pub const REFUSED_STREAM: Self = Self(0x7);
    /// Nobody waits for the stream any more.
    pub const CANCEL: Self = Self(0x8);
    /// The header tables of both sides differ now.
    pub const COMPRESSION_ERROR: Self = Self(0x9);
    /// The peer keeps us busy for nothing.
    pub const ENHANCE_YOUR_CALM: Self = Self(0xb);
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::NO_ERROR => "NO_ERROR",
            Self::PROTOCOL_ERROR => "PROTOCOL_ERROR",
            Self::INTERNAL_ERROR => "INTERNAL_ERROR",
            Self::FLOW_CONTROL_ERROR => "FLOW_CONTROL_ERROR",
            Self::STREAM_CLOSED => "STREAM_CLOSED",
            Self::FRAME_SIZE_ERROR => "FRAME_SIZE_ERROR",
            Self::REFUSED_STREAM => "REFUSED_STREAM",
            Self::CANCEL => "CANCEL",
            Self::COMPRESSION_ERROR => "COMPRESSION_ERROR",
            Self::ENHANCE_YOUR_CALM => "ENHANCE_YOUR_CALM",
            Self(number) => return write!(out, "error {number:#x}"),
        };
        out.write_str(name)
    }
}

/// What a frame from the peer may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// One stream; the others go on.
    Stream(u32, ErrorCode),
    /// Everything, for this reason.
    Connection(ErrorCode, &'static str),
}

impl Fault {
    pub(crate) fn protocol(reason: &'static str) -> Self {
        Self::Connection(ErrorCode::PROTOCOL_ERROR, reason)
    }

    pub(crate) fn size(reason: &'static str) -> Self {
        Self::Connection(ErrorCode::FRAME_SIZE_ERROR, reason)
    }
}
