//! Speak to a cluster as its clients do: gRPC, over HTTP/2 without TLS.
//!
//! ```text
//!   Client --one of the endpoints--> connection --> call --> reply
//!                                        |           '-----> watch: event, event, ...
//!                                        '- pings while somebody watches
//! ```
//!
//! Invariants: a call ends within the time that it was given; a watch whose server falls silent is
//! found out by pings; nothing that a server sends makes it panic, and no more of it is held than
//! one message of bounded size. A call that has failed is not made again: only the caller knows
//! whether it may be. The connection behind it is given up, and the next call goes to the next
//! endpoint.
//!
//! It never knows: what lies on a disk, who leads.
//!
//! Files in reading order: `client`, `watch`, `endpoint`, `connection`, `call`, `error`.

mod call;
mod client;
mod connection;
mod endpoint;
mod error;
#[cfg(test)]
mod tests;
mod watch;

pub use client::{Client, Options, Tls, User};
pub use error::Error;
pub use watch::Watch;
