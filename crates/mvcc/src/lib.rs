//! Keys in time: revisions, key index, read, write, compact, hash, watch.

mod event;
mod revision;
mod watch;

pub use event::{Event, EventKind, Previous};
pub use revision::Revision;
pub use watch::{
    History, HistoryError, Hub, WatchBatch, WatchCancelled, WatchContent, WatchCreate,
    WatchCreateError, WatchCreated, WatchEvent, WatchEvents, WatchFilters, WatchOptions,
    WatchStats, WatchStream,
};
