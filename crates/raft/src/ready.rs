//! What a node wants done.

use crate::entry::Entry;
use crate::message::Message;
use crate::read_only::ReadState;
use crate::storage::Snapshot;
use crate::types::{EntryId, HardState, LogIndex, SoftState, Term};
use alloc::vec::Vec;

/// Everything a node wants done, filled by [`crate::RawNode::ready`]. The caller owns it and
/// hands in the same one each time: an idle node then allocates nothing.
#[derive(Debug)]
pub struct Ready<P> {
    /// Set if the leader or the role has changed. Reads that were asked for and not answered
    /// before a change of either never will be: ask again.
    pub soft_state: Option<SoftState>,
    /// Reads that are confirmed; serve each once its index is applied.
    pub read_states: Vec<ReadState<P>>,
    /// To be sent now, beside the append: a leader need not wait for its own disk (thesis
    /// 10.2.1). Whatever must wait comes out of [`crate::RawNode::on_append_done`].
    pub messages: Vec<Message<P>>,
    /// To be written, in order with all appends before.
    pub append: Option<StorageAppend<P>>,
    /// To be applied, in order with all applies before.
    ///
    /// If it contains a conf change, the append of the same `Ready` (there always is one, unless
    /// the commit index was synced already) must be durable before the change is applied: a
    /// configuration must not be undone by a crash (5.2).
    pub apply: Option<StorageApply<P>>,
}

impl<P> Default for Ready<P> {
    fn default() -> Self {
        Self {
            soft_state: None,
            read_states: Vec::new(),
            messages: Vec::new(),
            append: None,
            apply: None,
        }
    }
}

impl<P> Ready<P> {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.soft_state.is_none()
            && self.read_states.is_empty()
            && self.messages.is_empty()
            && self.append.is_none()
            && self.apply.is_none()
    }

    pub(crate) fn clear(&mut self) {
        self.soft_state = None;
        self.read_states.clear();
        self.messages.clear();
        self.append = None;
        self.apply = None;
    }
}

/// To be written to the log, then reported with [`crate::RawNode::on_append_done`].
///
/// Order: hard state and entries into one durable unit; if there is a snapshot, it is saved and
/// installed *before* the entries, which follow it (5.7).
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what is in here must be written and its ticket reported"]
pub struct StorageAppend<P> {
    /// Set if it has changed.
    pub hard_state: Option<HardState>,
    /// Replaces everything: the log, and the state machine.
    pub snapshot: Option<Snapshot<P>>,
    /// Whatever the log has from the first of these on is replaced.
    pub entries: Vec<Entry<P>>,
    /// Whether this and all appends before it must be on disk before the ticket is reported.
    /// Otherwise only the commit index is news, which a restart finds out again.
    pub must_sync: bool,
    pub ticket: AppendTicket,
}

/// To be applied to the state machine, then reported with [`crate::RawNode::on_apply_done`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what is in here must be applied and its ticket reported"]
pub struct StorageApply<P> {
    /// Committed, stored, never empty.
    pub entries: Vec<Entry<P>>,
    pub ticket: ApplyTicket,
}

/// The right to report one append done; there is one for each and it cannot be copied.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an append that is never reported done blocks the node"]
pub struct AppendTicket(pub(crate) u64);

/// The right to report one apply done; there is one for each and it cannot be copied.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an apply that is never reported done blocks the node"]
pub struct ApplyTicket(pub(crate) u64);

impl AppendTicket {
    /// Appends are numbered from 1, without gaps.
    pub fn number(&self) -> u64 {
        self.0
    }
}

impl ApplyTicket {
    /// Applies are numbered from 1, without gaps.
    pub fn number(&self) -> u64 {
        self.0
    }
}

/// An append on its way to disk, and what happens when it is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PendingAppend<P> {
    pub(crate) number: u64,
    /// The term when it was handed out; a completion from an earlier term proves nothing about
    /// entries, see `Unstable::stable_to`.
    pub(crate) term: Term,
    pub(crate) responses: Vec<Message<P>>,
    pub(crate) stable: Option<EntryId>,
    pub(crate) snapshot: Option<EntryId>,
}

impl<P> PendingAppend<P> {
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The term in which it was handed out.
    pub fn term(&self) -> Term {
        self.term
    }

    /// The messages that wait for it. Those to this node itself are its own vote and its own
    /// acknowledgement as a leader.
    pub fn responses(&self) -> &[Message<P>] {
        &self.responses
    }

    /// The last entry that is stable once it is done.
    pub fn stable(&self) -> Option<EntryId> {
        self.stable
    }

    /// The snapshot that is installed once it is done.
    pub fn snapshot(&self) -> Option<EntryId> {
        self.snapshot
    }
}

/// An apply on its way, and what comes free when it is done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PendingApply {
    pub(crate) number: u64,
    pub(crate) last: LogIndex,
    pub(crate) bytes: u64,
    pub(crate) payload_bytes: u64,
}
