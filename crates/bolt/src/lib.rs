//! The db file, in bbolt's format: one writer, any number of readers that it never meets.
//!
//! ```text
//!   ReadTx ... ReadTx            WriteTx              one at a time
//!      |          |                 |   nodes in memory, made on the way to a change
//!      |          |                 |   commit: balance, spill into free pages
//!      v          v                 v
//!   [ cache of checked pages ]   [ freelist ]         pages wait there for older readers
//!      |                            |
//!      '------ pread --- file --- pwrite, sync, meta page, sync
//! ```
//!
//! The file is an array of pages. Two meta pages take turns: the valid one with the higher
//! transaction id says where the root bucket is, whose keys are the buckets' names. Everything
//! else is copy-on-write B+trees.
//!
//! What holds:
//! - A page that any transaction can reach is never written on. So a reader needs no lock, and a
//!   crash at any moment leaves the last commit as it was.
//! - A page is let go by commit `n` and written on again after `n` is durable and every reader of
//!   a state before it is gone (and only if that reader could see it).
//! - What comes from the file is checked before it is used: a corrupt page is an
//!   [`Error`], whatever is in it.
//! - What goes to the file has the shape that bbolt relies on, so that a Go etcd can go on with it
//!   at any time: see [`ReadTx::check_shape`]. The free pages are not stored, as etcd has it.
//!
//! It never knows what keys and values mean: no revisions, no protobuf, no raft index. It does not
//! map the file into memory and has no unsafe code.
//!
//! Files in reading order: `page` and `meta` (the format), `pager`, `cache`, `cursor`, `read`;
//! `node`, `write`, `balance`, `spill`, `runs`, `freelist`, `commit`; `db`, `open`, `walk`;
//! `check`, `image`, `vacuum`.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

mod balance;
mod bytes_at;
mod cache;
mod check;
mod commit;
mod cursor;
mod db;
mod error;
mod freelist;
mod image;
mod meta;
mod node;
mod open;
mod page;
mod pager;
mod read;
mod runs;
mod spill;
mod vacuum;
mod walk;
mod write;

pub use check::Problem;
pub use commit::CommitStats;
pub use db::{Db, Options};
pub use error::{Error, OpenError};
pub use read::{Bucket, Range, ReadTx};
pub use vacuum::VacuumStep;
pub use write::{WriteRange, WriteTx};
