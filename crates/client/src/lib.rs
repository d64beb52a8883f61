//! Speak to a cluster as its clients do: gRPC, over HTTP/2 with and without TLS.
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
//! [`Client`] makes one call at a time and knows what it asks for; [`Channel`] carries any number
//! of calls as bytes, over a connection to each endpoint, for who passes on what others ask.
//!
//! Files in reading order: `client`, `watch`, `channel`, `endpoint`, `connection`, `call`, `error`.

mod call;
mod channel;
mod client;
mod connection;
mod endpoint;
mod error;
#[cfg(test)]
mod tests;
mod watch;

pub use call::Call;
pub use channel::{Channel, ChannelOptions, Repeat};
pub use client::{Client, Options, Tls, User};
pub use connection::Metadata;
pub use error::Error;
pub use watch::Watch;
