//! What waits for the drive: requests of callers, words of other members, reads, orders.

use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use proto::etcdserverpb::InternalRaftRequest;
use raft::{ConfChange, Message, NodeId};
use tokio::sync::oneshot;

use crate::Error;
use crate::drive::{Answered, Prepared};
use crate::wire::Payload;

/// Where the outcome of a request goes.
pub(crate) type Answer = oneshot::Sender<Result<Answered, Error>>;

/// A request that wants to be replicated. The decoded form goes along, so that the member that
/// proposes never decodes it again.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) request: Arc<InternalRaftRequest>,
    pub(crate) encoded: Bytes,
    pub(crate) answer: Option<Answer>,
}

/// What other members say, and what is known of their connections.
#[derive(Debug)]
pub(crate) enum Incoming {
    Message(Message<Payload>),
    /// A message to it was likely lost.
    Unreachable(NodeId),
    /// The snapshot that it was sent has arrived, or not.
    SnapshotSent(NodeId, bool),
    /// A connection on which it was heard has broken.
    Lost(NodeId),
    /// It is heard again.
    Heard(NodeId),
}

/// A read; told when the state has all that was acknowledged before it was asked.
pub(crate) type Read = oneshot::Sender<Result<(), Error>>;

/// What else the drive is asked to do.
pub(crate) enum Order {
    /// Change the members; answered when that is applied.
    Change { id: u64, change: ConfChange<Payload>, answer: Answer },
    /// Hand the lead over.
    Transfer(NodeId),
    /// Take a state that was received.
    Install(Box<Prepared>),
    /// A sync that a step has asked for is done.
    Synced { number: u64, outcome: Result<(), String> },
}

/// All that waits.
#[derive(Default)]
pub(crate) struct Input {
    pub(crate) proposals: Vec<Proposal>,
    pub(crate) incoming: Vec<Incoming>,
    pub(crate) reads: Vec<Read>,
    pub(crate) orders: Vec<Order>,
}

impl Input {
    fn len(&self) -> usize {
        self.proposals.len() + self.incoming.len() + self.reads.len() + self.orders.len()
    }

    pub(crate) fn clear(&mut self) {
        self.proposals.clear();
        self.incoming.clear();
        self.reads.clear();
        self.orders.clear();
    }
}

/// Many put in, one drive takes all.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Input>,
    len: AtomicUsize,
}

impl Queue {
    /// Adds a request, unless `limit` of them wait already.
    pub(crate) fn propose(&self, proposal: Proposal, limit: usize) -> bool {
        let mut waiting = self.waiting();
        let room = waiting.proposals.len() < limit;
        if room {
            waiting.proposals.push(proposal);
            self.added(waiting);
        }
        room
    }

    /// Adds what is known of other members, unless `limit` such things wait already.
    pub(crate) fn hear(&self, incoming: Incoming, limit: usize) -> bool {
        let mut waiting = self.waiting();
        let room = waiting.incoming.len() < limit;
        if room {
            waiting.incoming.push(incoming);
            self.added(waiting);
        }
        room
    }

    /// Adds a read, unless `limit` of them wait already.
    pub(crate) fn read(&self, read: Read, limit: usize) -> bool {
        let mut waiting = self.waiting();
        let room = waiting.reads.len() < limit;
        if room {
            waiting.reads.push(read);
            self.added(waiting);
        }
        room
    }

    /// Adds an order. There are few, and who gives one waits for it.
    pub(crate) fn order(&self, order: Order) {
        let mut waiting = self.waiting();
        waiting.orders.push(order);
        self.added(waiting);
    }

    fn waiting(&self) -> MutexGuard<'_, Input> {
        self.waiting.lock().expect("no holder of this lock panics")
    }

    fn added(&self, waiting: MutexGuard<'_, Input>) {
        self.len.store(waiting.len(), Ordering::Release);
        drop(waiting);
        // Who puts in and then finds the drive taken relies on its holder, who lets go of it and
        // then looks at the length. With a fence on either side, one of them sees the other.
        fence(Ordering::SeqCst);
    }

    /// Takes all that waits, in exchange for empty lists whose memory is used again.
    pub(crate) fn take(&self, into: &mut Input) {
        debug_assert_eq!(into.len(), 0);
        let mut waiting = self.waiting();
        std::mem::swap(&mut *waiting, into);
        self.len.store(0, Ordering::Release);
    }

    /// How many things wait. A look without the lock: the next moment it may be otherwise.
    pub(crate) fn len(&self) -> usize {
        fence(Ordering::SeqCst);
        self.len.load(Ordering::Acquire)
    }
}
