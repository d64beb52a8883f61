//! Talk to other members: etcd's peer protocol, over HTTP/1.1.
//!
//! ```text
//!   node --send--> [ Transport ] --> outbound queues --> bodies of the streams that others have
//!                       |                                dialled, else POST /raft (pipeline)
//!                       '--> POST /raft/snapshot
//!
//!   others' streams, dialled by us --> decode --> node.deliver
//!   [ Server ] --> /raft, /raft/stream/.., /raft/snapshot, /members, /leases, ... --> node
//! ```
//!
//! Who wants to hear dials: each member asks each other one for two streams, one for appends in a
//! dense form and one for everything else, and reads messages from the bodies of the answers.
//! Until a stream is there, messages are posted one by one.
//!
//! All of it runs on one thread of its own, so that no heartbeat waits for a client.
//!
//! Invariants:
//! - Nothing here blocks the caller of [`node::Peers`]; every queue has a bound, and what does not
//!   fit is dropped and reported.
//! - 403 and 410 are answered only to those who really were removed: etcd's members stop for good
//!   when they read one. And one such answer alone is not believed.
//! - A connection on which a member was heard and that breaks is reported at once: who loses the
//!   leader need not wait for an election timeout.
//!
//! It never knows keys, users or clients.
//!
//! Files in reading order: `codec`, `headers`, `deadline`, `dial`, `remote`, `outbound`, `link`,
//! `reader`, `pipeline`, `snapshot`, `probe`, `transport`, `gate`, `server`, `handlers`, `receive`.

#[cfg(test)]
mod captures;
mod codec;
mod deadline;
mod dial;
mod gate;
mod handlers;
mod headers;
mod link;
mod metrics;
mod outbound;
mod pipeline;
mod probe;
mod reader;
mod receive;
pub mod remote;
mod server;
mod snapshot;
mod transport;

pub use dial::{Dialer, Failure};
pub use gate::{Gate, Judged};
pub use server::Server;
pub use transport::{Identity, Transport};
