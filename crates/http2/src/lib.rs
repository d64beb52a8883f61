//! The server side of HTTP/2 (RFC 9113), stepped: bytes in, events out; calls in, bytes out.
//!
//! ```text
//!   socket --bytes--> next() --Head, Data, Reset--> caller
//!   socket <--bytes-- output() <--line-- queues of streams <--headers(), data(), trailers()--'
//! ```
//!
//! Invariants: no clock, no socket, no thread. Nothing that a peer sends makes it panic. What it
//! holds of a peer's making is bounded: frames are handed on without being kept, header lists have
//! a limit, control frames are answered only while the output is short, and frames that are of no
//! use are counted. Data that is sent obeys the windows of stream and connection; a stream whose
//! window is shut waits alone.
//!
//! What it never knows: gRPC, etcd, who listens. It does not push, and takes no priorities.
//!
//! Files in reading order: `frame`, `error`, `hpack/`, `head`, `streams`, `output`, `connection`
//! (what comes in), `send` (what goes out).

mod connection;
mod error;
mod frame;
mod head;
mod hpack;
mod output;
mod send;
mod streams;
#[cfg(test)]
mod tests;

pub use connection::{Config, Connection, Event};
pub use error::ErrorCode;
pub use frame::PREFACE;
pub use head::Head;
pub use hpack::{Decoder, Field, HpackError, encode};
pub use output::Output;
pub use streams::StreamKey;
