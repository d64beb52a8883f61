//! What a client asks of a new watcher.

use bytes::Bytes;
use thiserror::Error;

use crate::EventKind;

/// Asks for a watcher.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WatchCreate {
    /// The key, or the first of a range. Empty: the first possible one.
    pub key: Bytes,
    /// Empty: just the key. A single zero byte: all from the key on. Else the key to stop before.
    pub range_end: Bytes,
    /// The first revision to see; 0: what happens from now on.
    pub start_revision: i64,
    /// What to leave out.
    pub filters: WatchFilters,
    /// Events bring the key's state from just before.
    pub prev_kv: bool,
    /// Progress is told at every tick without events.
    pub progress_notify: bool,
    /// The id to use; 0: the stream chooses.
    pub watch_id: i64,
    /// Large responses may be split.
    pub fragment: bool,
}

/// What a watcher does not want to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WatchFilters {
    /// No puts.
    pub no_put: bool,
    /// No deletions.
    pub no_delete: bool,
}

impl WatchFilters {
    pub(super) fn pass(self, kind: EventKind) -> bool {
        match kind {
            EventKind::Put => !self.no_put,
            EventKind::Delete => !self.no_delete,
        }
    }
}

/// A watcher is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchCreated {
    /// Its id.
    pub watch_id: i64,
    /// The header's revision.
    pub revision: i64,
}

/// A watcher is gone because its client said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchCancelled {
    /// The header's revision.
    pub revision: i64,
}

/// Why there is no watcher. The texts are etcd's cancel reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WatchCreateError {
    /// The start revision is negative. (One that is merely too old becomes a watcher, which is
    /// then cancelled.)
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    /// No key lies in the range.
    #[error("mvcc: watcher range is empty")]
    EmptyRange,
    /// The stream has a watcher with this id.
    #[error("mvcc: duplicate watch ID provided on the WatchStream")]
    DuplicateId,
}
