//! Reads that wait until a quorum has confirmed that this leader still leads (thesis 6.4).

use crate::quorum::joint::JointConfig;
use crate::types::{LogIndex, NodeId};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// How a leader makes sure that a read is not stale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReadOnlyOption {
    /// One round of heartbeats, shared by all reads that wait.
    #[default]
    Safe,
    /// No round: as long as check-quorum keeps this leader in office, nobody else can have been
    /// elected. **Unsafe** unless the clocks of all members tick at about the same rate: a process
    /// that was stopped for a while answers from the past.
    LeaseBased,
}

/// A confirmed read: everything acknowledged before it was asked for is at or before `index`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReadState<P> {
    pub index: LogIndex,
    /// What it was asked for with.
    pub context: P,
}

/// A read, and who asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ReadRequest<P> {
    pub(crate) from: NodeId,
    pub(crate) context: P,
}

/// The reads of one leadership.
///
/// Reads are numbered as they come. A heartbeat carries the number of the newest, and so its echo
/// confirms all up to there. Numbers, not the asker's context: a context that is tried again could
/// be confirmed by echoes of the first try, from before a pause (etcd #20418).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ReadOnly<P> {
    /// Asked with this commit index; numbers `confirmed + 1 ..`.
    waiting: VecDeque<(LogIndex, ReadRequest<P>)>,
    confirmed: u64,
    acks: Vec<(NodeId, u64)>,
}

impl<P> ReadOnly<P> {
    pub(crate) const fn new() -> Self {
        Self { waiting: VecDeque::new(), confirmed: 0, acks: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn add(&mut self, commit: LogIndex, request: ReadRequest<P>) {
        self.waiting.push_back((commit, request));
    }

    /// What heartbeats carry to confirm everything that waits.
    pub(crate) fn heartbeat_context(&self) -> Option<u64> {
        (!self.waiting.is_empty()).then(|| self.confirmed + self.waiting.len() as u64)
    }

    pub(crate) fn ack(&mut self, from: NodeId, number: u64) {
        match self.acks.iter_mut().find(|(id, _)| *id == from) {
            Some((_, acked)) => *acked = number.max(*acked),
            None => self.acks.push((from, number)),
        }
    }

    /// Takes out the reads that a quorum has confirmed.
    pub(crate) fn advance(
        &mut self,
        voters: &JointConfig,
    ) -> impl Iterator<Item = (LogIndex, ReadRequest<P>)> {
        let acked = |id: NodeId| {
            self.acks.iter().find(|(from, _)| *from == id).map(|(_, number)| LogIndex(*number))
        };
        let confirmed = voters.committed_index(&acked).0.saturating_sub(self.confirmed);
        // An echo of a number that was never given is a broken peer's.
        let confirmed = confirmed.min(self.waiting.len() as u64);
        self.confirmed += confirmed;
        self.waiting.drain(..confirmed as usize)
    }
}
