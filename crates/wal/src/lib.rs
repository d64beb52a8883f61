//! The log and snapshot files on disk, in etcd's format.
//!
//! ```text
//!   append(entries, hard state)          save_snapshot          snap::save
//!        | frames in one buffer,              |                     |
//!        v one write                          v                     v
//!   0..0-0..0.wal  0..1-0..5.wal  0..2-0..9.wal (tail)       TERM-INDEX.snap
//!   |crc|meta|...| |crc|meta|state|...| ....|records|zeros|         ^
//!        ^              ^                   ^     next: 0.tmp       |
//!        '- purge       '- release_to       '- sync, cut            '- load_newest_matching
//! ```
//!
//! What holds:
//!
//! * What was appended before a sync that succeeded is read back by every later open, in order,
//!   whatever was lost of what came after it.
//! * A record that was not written whole is told from one that went bad: the first is cut off,
//!   the second is an error.
//! * After a failed write or sync the log accepts nothing more.
//! * No content of a file leads to a panic.
//!
//! It never knows what a term means, who is leader, what an entry says, or what time it is.
//!
//! Files in reading order: `record` (what is written), `decoder` (how it is read), `replay` (what
//! it adds up to), `segment`, `repair`, `wal` (create, open, append, cut), `next_segment`, `snap`.

mod decoder;
mod error;
mod next_segment;
mod record;
mod repair;
mod replay;
mod segment;
pub mod snap;
mod wal;

pub use decoder::{Decoder, Record};
pub use error::Error;
pub use next_segment::NextSegmentJob;
pub use record::{EntryRef, Kind};
pub use repair::Repaired;
pub use replay::{Recovered, SnapshotMark, read, read_from};
pub use segment::purge;
pub use wal::{MustSync, Options, SyncJob, Wal};
