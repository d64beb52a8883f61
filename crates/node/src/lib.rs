//! One member: boot, drive, propose, read, snapshot, compact.
//!
//! ```text
//!   callers --propose--> [ queue ] --> [ Drive: raft, wal, state ] --answers--> callers
//!                                         |          |        |
//!                              sealed buffers   compactions   log segments
//!                                         v          v        v
//!                                     [ db ]  [ compaction ]  [ segments ]      (threads)
//! ```
//!
//! The drive is pure: one struct that is stepped. When little is going on, the task that proposes
//! steps it itself, sync included, for a hand-off between threads costs a third of the time of a
//! write; otherwise the drive's own thread does. Nothing is acknowledged before it is synced in the
//! log and applied; the db file follows behind.
//!
//! It never knows gRPC, HTTP, TLS, JSON or flags.
//!
//! Files in reading order: `options`, `boot`, `drive`, `queue`, `node`, `running`, then what they
//! use; `stepped` is the way in for simulations.

mod boot;
mod compaction;
mod compactor;
mod corruption;
mod db;
mod defragment;
mod describe;
mod drive;
mod error;
mod force;
mod ids;
mod inbound;
mod leases;
mod life;
mod members;
mod metrics;
mod node;
mod opening;
mod options;
mod peers;
mod queue;
mod reads;
mod receive;
mod running;
mod sizes;
mod slow;
mod snapshot;
mod space;
mod standing;
mod stepped;
mod tally;
mod tokens;
mod vacuum;
mod versions;
mod watchful;
mod wire;

pub use boot::World;
pub use compactor::AutoCompaction;
pub use describe::{humane_bytes, text};
pub use error::{Error, Fatal};
pub use leases::LeaseStanding;
pub use mvcc::HashKv;
pub use node::{Image, Node};
pub use options::{Bootstrap, Feature, Options};
pub use peers::{AskError, Asked, HashOfMember, Peer, PeerVersion, Peers};
pub use receive::IncomingSnapshot;
pub use running::Running;
pub use state::{AuthInfo, Member, MemberId, Need, Rejected};
pub use stepped::Stepped;

/// The version of etcd that this member is.
pub const SERVER_VERSION: &str = "3.7.1";

/// Why a member ends that the others say is none of theirs.
pub const REMOVED: &str = "the member has been permanently removed from the cluster";
