//! The door to the other members: what a member needs of whoever carries its words to them.
//!
//! Crate `peer` is the one that speaks etcd's protocol; a simulation has its own.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use proto::etcdserverpb::Member;
use proto::raftpb;

use crate::{HashKv, Image, LeaseStanding};

/// An answer of another member that is on its way. Dropping it is safe.
pub type Asked<T> = Pin<Box<dyn Future<Output = Result<T, AskError>> + Send>>;

/// Another member, and where it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Who.
    pub id: u64,
    /// Its peer URLs, as they were given.
    pub urls: Vec<String>,
}

/// Why another member has not given the answer that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// It knows no such thing (a lease, a member).
    #[error("not found")]
    NotFound,
    /// It is not ready for that, in its own words.
    #[error("{0}")]
    Refused(String),
    /// It took too long.
    #[error("request timed out")]
    Timeout,
    /// It could not be reached, or what it said makes no sense.
    #[error("{0}")]
    Unreachable(String),
}

/// What a member says its keys hash to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashOfMember {
    /// Of the revision that was asked for.
    pub hash: HashKv,
    /// Its newest revision.
    pub current_revision: i64,
}

/// What a member says of its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerVersion {
    /// `3.7.1`
    pub server: String,
    /// `3.7.0`, or `not_decided`.
    pub cluster: String,
}

/// Speaks to the other members. Nothing here blocks. Messages may be lost, doubled and overtaken,
/// as raft allows; [`Node::report_unreachable`](crate::Node::report_unreachable) is told of losses.
pub trait Peers: Send + Sync + 'static {
    /// All other members as they are from now on: who is new is spoken to, who is missing is not
    /// any more.
    fn set(&self, others: Vec<Peer>);

    /// Sends messages, to each member in order; leaves the list empty. A message to somebody who
    /// is not known is dropped.
    fn send(&self, messages: &mut Vec<raftpb::Message>);

    /// Sends a `MsgSnap` and, behind it, the db file that it is about. What became of it is told
    /// by [`Node::report_snapshot`](crate::Node::report_snapshot), once and always.
    fn send_snapshot(&self, message: raftpb::Message, image: Image);

    /// For how long a member has been heard without a break; `None` where it is not heard.
    fn active_for(&self, id: u64) -> Option<Duration>;

    /// Asks a member to renew a lease: the TTL that it has again.
    fn renew_lease(&self, member: u64, lease: i64) -> Asked<i64>;

    /// Asks a member how long a lease has still to live.
    fn lease_time_to_live(&self, member: u64, lease: i64, keys: bool) -> Asked<LeaseStanding>;

    /// Asks a member to promote a learner, in the name of whose token it is: the members as they
    /// are then.
    fn promote(&self, member: u64, learner: u64, token: Option<Bytes>) -> Asked<Vec<Member>>;

    /// Asks a member for the hash of its keys at a revision (0: its newest). Compacted and future
    /// revisions are [`AskError::Refused`] with etcd's text.
    fn hash_kv(&self, member: u64, revision: i64) -> Asked<HashOfMember>;

    /// Asks a member for its version.
    fn version(&self, member: u64) -> Asked<PeerVersion>;
}

/// Whoever carries this member's words; nobody until the member is connected, and for ever where it
/// is alone.
#[derive(Default)]
pub(crate) struct Others {
    peers: OnceLock<Arc<dyn Peers>>,
}

impl Others {
    pub(crate) fn get(&self) -> Option<&Arc<dyn Peers>> {
        self.peers.get()
    }

    /// Only the first one counts.
    pub(crate) fn set(&self, peers: Arc<dyn Peers>) {
        let _ = self.peers.set(peers);
    }
}
