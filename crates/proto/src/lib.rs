//! Wire messages of etcd, by the official package names, field names and numbers.
//!
//! ```text
//!   proto/<package>/*.proto --(cargo xtask codegen)--> src/generated/<package>.rs
//!                                                             |
//!   clients: etcdserverpb v3lockpb v3electionpb health  <-----+
//!   log:     raftpb walpb snappb etcdserverpb membershippb <--+
//!   db:      mvccpb leasepb authpb etcdserverpb <-------------'
//! ```
//!
//! What holds for every message:
//!
//! * The encoding is canonical: ascending field numbers, and in proto3 no field that has its
//!   default value. Records of the db are hashed and compared byte for byte, so this is a promise.
//! * `bytes` are [`Bytes`](bytes::Bytes): decoding from a `Bytes` shares its memory.
//! * Enums are plain `i32` fields with typed accessors; a number nobody knows survives a round
//!   trip.
//! * Messages of the log (`raftpb`, `walpb`, `snappb`, [`Metadata`], [`Request`]) know absent from
//!   zero: set the fields that etcd's readers insist on, and read through the accessors, which take
//!   an absent field as zero.
//!
//! The rare kinds of [`InternalRaftRequest`] are boxed, which keeps the common ones cheap to move.
//!
//! [`json`] turns what clients send and get into JSON and back, by tables.
//!
//! It never knows behaviour: which request is valid, and what one does, is decided above.
//!
//! To read: the `.proto` files, which say what the fields mean.
//!
//! [`Metadata`]: etcdserverpb::Metadata
//! [`Request`]: etcdserverpb::Request
//! [`InternalRaftRequest`]: etcdserverpb::InternalRaftRequest

#[path = "generated/authpb.rs"]
pub mod authpb;
#[path = "generated/etcdserverpb.rs"]
pub mod etcdserverpb;
#[path = "generated/json.rs"]
mod generated_json;
/// The package `grpc.health.v1`.
#[path = "generated/grpc.health.v1.rs"]
pub mod health;
pub mod json;
#[path = "generated/leasepb.rs"]
pub mod leasepb;
#[path = "generated/membershippb.rs"]
pub mod membershippb;
#[path = "generated/mvccpb.rs"]
pub mod mvccpb;
/// Spans, and the call that takes them.
#[path = "generated/opentelemetry.rs"]
pub mod opentelemetry;
#[path = "generated/raftpb.rs"]
pub mod raftpb;
#[path = "generated/snappb.rs"]
pub mod snappb;
#[path = "generated/v3electionpb.rs"]
pub mod v3electionpb;
#[path = "generated/v3lockpb.rs"]
pub mod v3lockpb;
#[path = "generated/walpb.rs"]
pub mod walpb;

pub use prost::{DecodeError, Message};
