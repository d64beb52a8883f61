//! Watching: every change, to everybody whom it concerns, in order, once.
//!
//! ```text
//!  apply: Hub::publish --> registry (one short lock)
//!                             |  ring of recent events
//!                             |  synced group: keys by hash, spans by tree
//!                             v
//!                          inbox of each stream that is concerned; wake
//!                             |  (bounded; when it is full, its watchers fall out)
//!                             v
//!  task: WatchStream::poll_next --> first the inbox; then, for those behind,
//!                                   ring or history, until they join again
//! ```
//!
//! A watcher is in one of three groups. *Synced*: the hub brings its events. *Victim*: its
//! stream's inbox was full, so the hub let go of it; the note with its next revision waits in the
//! inbox. *Unsynced*: the stream itself reads for it, on the stream's own task, in whole
//! revisions. A stream that never comes back costs others its inbox and nothing more.
//!
//! Held always: a watcher sees the revisions that concern it in order, each whole and once. The
//! switch from reading to being brought happens under the registry's lock, at a moment in which
//! all that is published is read; and what a stream took from its inbox is handed out before it
//! reads anything for those who fell out with it.
//!
//! What this never knows: clocks, threads, sockets, users, encodings of responses.
//!
//! Reading order: `create`, `batch`, `hub`, `registry`, `inbox`, `stream`, `catch_up`,
//! `progress`; then `history`, `past`, `range`, `index`, `interval`, `ring`.

mod batch;
mod catch_up;
mod create;
mod history;
mod hub;
mod inbox;
mod index;
mod interval;
mod past;
mod progress;
mod range;
mod registry;
mod ring;
mod stream;

pub use batch::{WatchBatch, WatchContent, WatchEvent, WatchEvents};
pub use create::{WatchCancelled, WatchCreate, WatchCreateError, WatchCreated, WatchFilters};
pub use history::{History, HistoryError};
pub use hub::{Hub, WatchOptions, WatchStats};
pub use stream::{WatchNext, WatchStream};
