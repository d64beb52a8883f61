//! Requests on their way to the drive.

use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use proto::etcdserverpb::InternalRaftRequest;
use tokio::sync::oneshot;

use crate::Error;
use crate::drive::Answered;

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

/// Many callers put in, one drive takes all.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<Vec<Proposal>>,
    len: AtomicUsize,
}

impl Queue {
    /// Adds a request, unless `limit` of them wait already.
    pub(crate) fn push(&self, proposal: Proposal, limit: usize) -> bool {
        let mut waiting = self.waiting.lock().expect("no holder of this lock panics");
        if waiting.len() >= limit {
            return false;
        }
        waiting.push(proposal);
        self.len.store(waiting.len(), Ordering::Release);
        drop(waiting);
        // Who puts in and then finds the drive taken relies on its holder, who lets go of it and
        // then looks at the length. With a fence on either side, one of them sees the other.
        fence(Ordering::SeqCst);
        true
    }

    /// Takes all that waits, in exchange for an empty list whose memory is used again.
    pub(crate) fn take(&self, into: &mut Vec<Proposal>) {
        debug_assert!(into.is_empty());
        let mut waiting = self.waiting.lock().expect("no holder of this lock panics");
        std::mem::swap(&mut *waiting, into);
        self.len.store(0, Ordering::Release);
    }

    /// How many wait. A look without the lock: the next moment it may be otherwise.
    pub(crate) fn len(&self) -> usize {
        fence(Ordering::SeqCst);
        self.len.load(Ordering::Acquire)
    }
}
