//! The server side of HTTP/2 (RFC 9113), stepped: bytes in, events out; calls in, bytes out.
//!
//! Invariants: no clock, no socket, no thread; nothing that a peer sends makes it panic or hold
//! more than its limits say.
//!
//! What it never knows: gRPC, etcd, who listens.

mod hpack;

pub use hpack::{Decoder, Field, HpackError, encode};
