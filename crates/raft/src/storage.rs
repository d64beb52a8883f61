//! Where stable entries are read from.

pub(crate) mod mem;

use crate::conf_change::ConfState;
use crate::entry::Entry;
use crate::error::StorageError;
use crate::types::{EntryId, HardState, LogIndex, Term};
use alloc::vec::Vec;
use core::ops::Range;

/// Where a snapshot stands in the log, and the membership there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SnapshotMeta {
    pub id: EntryId,
    pub conf_state: ConfState,
}

/// The state machine at one index.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot<P> {
    pub meta: SnapshotMeta,
    /// Whatever the application needs to find or rebuild the state.
    pub data: P,
}

/// What the core reads of what the application has stored.
///
/// The node owns its storage ([`crate::RawNode::storage_mut`]); the application puts in what a
/// [`crate::StorageAppend`] says *before* it reports the append done. In between, the core reads
/// such entries from its own memory.
pub trait Storage<P> {
    /// What was stored before the node was started. The two must be of one durable point, see
    /// [`crate::Config::applied`].
    fn initial_state(&self) -> Result<(HardState, ConfState), StorageError>;

    /// Appends to `into` the entries of `range`, from its start, as long as their sizes
    /// ([`Entry::size`]) do not exceed `max_bytes` together; but at least one.
    fn entries(
        &self,
        range: Range<LogIndex>,
        max_bytes: u64,
        into: &mut Vec<Entry<P>>,
    ) -> Result<(), StorageError>;

    /// The term of an entry in `first_index() - 1 ..= last_index()`. The entry before the first
    /// one is gone, but its term is still needed to match logs.
    fn term(&self, index: LogIndex) -> Result<Term, StorageError>;

    /// The oldest entry; one after the last if the log is empty.
    fn first_index(&self) -> LogIndex;

    fn last_index(&self) -> LogIndex;

    /// The newest snapshot there is to send.
    fn snapshot(&self) -> Result<Snapshot<P>, StorageError>;
}
