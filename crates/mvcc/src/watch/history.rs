//! The narrow way by which watchers look into the past.

use bytes::Bytes;
use thiserror::Error;

use crate::Event;

/// Why the past could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HistoryError {
    /// Part of what was asked for is compacted away.
    #[error("mvcc: required revision has been compacted")]
    Compacted,
    /// The store could not be read.
    #[error("read history for watchers: {0}")]
    Unreadable(String),
}

/// The past of a store, as far as it is kept. Revisions that it has shown do not change any more;
/// only compaction takes them away, and it raises [`History::compact_revision`] before it does.
pub trait History: Send + Sync + 'static {
    /// The newest revision that can be read. It is never behind what was published to the hub.
    fn current_revision(&self) -> i64;

    /// Below this revision there are gaps.
    fn compact_revision(&self) -> i64;

    /// The events from revision `from` on, in order, whole revisions, of at most `limit`
    /// revisions (fewer only when there are no more).
    fn history(&self, from: i64, limit: usize) -> Result<Vec<Event>, HistoryError>;

    /// The encoded `mvccpb.KeyValue` of `key` as it was at revision `main`. `None` when it did
    /// not live then, or when nobody can know any more.
    fn previous(&self, key: &[u8], main: i64) -> Option<Bytes>;
}
