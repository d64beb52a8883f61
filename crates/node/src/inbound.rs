//! What is known of other members, on its way to the drive.

use proto::raftpb;
use raft::NodeId;

use crate::queue::Incoming;
use crate::{Error, Node, wire};

/// Messages of other members that may wait for the drive; more are dropped, which raft makes good.
const INCOMING_LIMIT: usize = 16 * 1024;

impl Node {
    /// Who this member is.
    pub fn member_id(&self) -> u64 {
        self.shared.member_id
    }

    /// Which cluster it belongs to.
    pub fn cluster_id(&self) -> u64 {
        self.shared.cluster_id
    }

    /// Whether a member of this id belongs to the cluster.
    pub fn knows(&self, id: u64) -> bool {
        self.shared.views().members.member(state::MemberId(id)).is_some()
    }

    /// Whether there was a member of this id, and it may never come back.
    pub fn is_removed(&self, id: u64) -> bool {
        self.shared.views().members.is_removed(state::MemberId(id))
    }

    /// Takes in messages of other members, in order, and sees to them. What there is no room for
    /// is dropped. An error: one of them is none that a member can have sent; those before it
    /// were taken, it and those behind it were not.
    pub fn deliver(
        &self,
        messages: impl IntoIterator<Item = raftpb::Message>,
    ) -> Result<(), Error> {
        let mut taken = Ok(());
        for message in messages {
            match wire::message(message) {
                Ok(Some(message)) => {
                    self.shared.queue.hear(Incoming::Message(message), INCOMING_LIMIT);
                }
                Ok(None) => {}
                Err(error) => {
                    taken = Err(Error::Malformed(error));
                    break;
                }
            }
        }
        self.shared.step_or_wake();
        taken
    }

    /// Tells raft that a message to this member was likely lost.
    pub fn report_unreachable(&self, id: u64) {
        self.report(id, Incoming::Unreachable);
    }

    /// Tells what became of a snapshot that was sent.
    pub fn report_snapshot(&self, id: u64, arrived: bool) {
        self.report(id, |id| Incoming::SnapshotSent(id, arrived));
    }

    /// Tells that a connection on which this member was heard has broken: its process is likely
    /// gone. If it leads, there is no need to wait for the election timeout.
    pub fn report_lost(&self, id: u64) {
        self.report(id, Incoming::Lost);
    }

    /// Tells that this member is heard, for the first time or again.
    pub fn report_heard(&self, id: u64) {
        self.report(id, Incoming::Heard);
    }

    /// Others say that this member was removed from the cluster. It stops.
    pub fn report_removed(&self) {
        self.shared.fail(crate::REMOVED);
    }

    fn report(&self, id: u64, what: impl FnOnce(NodeId) -> Incoming) {
        if let Some(id) = NodeId::new(id) {
            self.shared.queue.hear(what(id), usize::MAX);
            self.shared.wake();
        }
    }
}
