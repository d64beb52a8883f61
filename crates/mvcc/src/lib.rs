//! Keys in time: revisions, key index, read, write, compact, hash, watch.

mod event;
mod revision;

pub use event::{Event, EventKind, Previous};
pub use revision::Revision;
