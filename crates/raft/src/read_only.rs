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

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn id(id: u64) -> NodeId {
        NodeId::new(id).expect("not zero")
    }

    fn three() -> JointConfig {
        JointConfig { incoming: [1, 2, 3].map(id).into_iter().collect(), ..JointConfig::default() }
    }

    fn with_reads(contexts: &[&'static str]) -> ReadOnly<&'static str> {
        let mut reads = ReadOnly::new();
        for context in contexts.iter().copied() {
            reads.add(LogIndex(reads.len() as u64), ReadRequest { from: id(1), context });
            reads.ack(id(1), reads.heartbeat_context().expect("one waits"));
        }
        reads
    }

    fn confirmed(reads: &mut ReadOnly<&'static str>) -> Vec<(u64, &'static str)> {
        reads.advance(&three()).map(|(index, read)| (index.0, read.context)).collect()
    }

    #[test]
    fn a_quorum_confirms_everything_up_to_the_echoed_number() {
        let mut reads = with_reads(&["a", "b", "c"]);
        assert_eq!(reads.heartbeat_context(), Some(3));
        assert_eq!(confirmed(&mut reads), []);
        reads.ack(id(2), 2);
        assert_eq!(confirmed(&mut reads), [(0, "a"), (1, "b")]);
        assert_eq!((reads.len(), reads.heartbeat_context()), (1, Some(3)));
        reads.ack(id(3), 3);
        assert_eq!(confirmed(&mut reads), [(2, "c")]);
        assert_eq!(reads.heartbeat_context(), None);
    }

    /// etcd #20418, raft #397: a context that is asked for again is another read, and the echoes
    /// that are still on their way do not confirm it.
    #[test]
    fn echoes_from_before_a_read_do_not_confirm_it() {
        let mut reads = with_reads(&["same"]);
        reads.ack(id(2), 1);
        assert_eq!(confirmed(&mut reads), [(0, "same")]);
        reads.add(LogIndex(9), ReadRequest { from: id(1), context: "same" });
        reads.ack(id(1), 2);
        reads.ack(id(3), 1);
        reads.ack(id(2), 1);
        assert_eq!(confirmed(&mut reads), []);
        reads.ack(id(3), 2);
        assert_eq!(confirmed(&mut reads), [(9, "same")]);
    }

    #[test]
    fn echoes_of_numbers_that_were_never_given_confirm_no_more_than_there_is() {
        let mut reads = with_reads(&["a"]);
        for voter in [1, 2, 3] {
            reads.ack(id(voter), u64::MAX);
        }
        assert_eq!(confirmed(&mut reads), [(0, "a")]);
        assert_eq!(confirmed(&mut reads), vec![]);
    }
}
