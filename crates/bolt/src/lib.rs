//! The db file, in bbolt's format.
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
