//! Keys in time: every change gets a revision, every revision can be read until it is compacted.
//!
//! ```text
//!                 apply thread                     any thread                a thread with time
//!                      |                               |                             |
//!                 Writer, WriteTxn                  Reader  <---- watch         CompactJob
//!                      |                               |                             |
//!          .-----------+---------------.---------------+-----------------------------'
//!          v                           v
//!   [ index, in memory ]        [ backend ]  active -> sealed -> db file
//!    key: newest state,          record by revision: the encoded KeyValue
//!         older revisions
//! ```
//!
//! A put is encoded once, as `mvccpb.KeyValue`. Those bytes are the record in the db file, the
//! newest state in the index while the memory budget allows, the row of a range reply and what a
//! watcher gets.
//!
//! Invariants:
//!
//! - One writer. What a transaction changes is in index and backend at once, but nobody else sees
//!   it before the revision is published, at its end.
//! - The index is held for moments: 64 operations of a write, a thousand keys of a read. A read
//!   that takes longer goes on at its revision, which is pinned against compaction meanwhile.
//! - Index and backend agree: each revision that the index names has its record.
//! - Answers and hashes depend on revisions only; not on how far a compaction has come, on what
//!   is in memory, or on what has reached the disk.
//! - The bytes are etcd's: keys and values of records, the marks of compactions, the hashes.
//!
//! It never knows of raft, users, sockets or the wall clock.
//!
//! Files in reading order: `revision`, `key_range`, `kv`, `record`, `event`; `index` (slot,
//! guide, tree, walk); `backend` (layer, scan); `store`, `restore`, `write`, `read`, `history`,
//! `compact`, `hash`; `watch`.

mod backend;
mod compact;
mod error;
mod event;
mod hash;
mod history;
mod index;
mod key_range;
mod kv;
mod read;
mod record;
mod restore;
mod revision;
mod store;
mod watch;
mod write;

pub use backend::{Backend, Bucket, Pending};
pub use compact::{CompactJob, Progress};
pub use error::Error;
pub use event::{Event, EventKind, Previous};
pub use hash::HashKv;
pub use key_range::KeyRange;
pub use kv::KvFields;
pub use read::{Range, Ranged, Reader, SortOrder, SortTarget};
pub use revision::Revision;
pub use store::{Options, Store};
pub use watch::{
    History, HistoryError, Hub, WatchBatch, WatchCancelled, WatchContent, WatchCreate,
    WatchCreateError, WatchCreated, WatchEvent, WatchEvents, WatchFilters, WatchNext, WatchOptions,
    WatchStats, WatchStream,
};
pub use write::{Deleted, Finished, Prior, WriteTxn, Writer};
