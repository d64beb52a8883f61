//! The two ends of a streaming call, as its handler sees them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::metrics::RpcMetrics;
use crate::rpc::{Replies, Requests};
use crate::status::Status;

/// What a handler may send in one turn beyond the room of its stream.
const TURN_BYTES: usize = 64 << 10;

/// What lies between a handler and its connection. The task of the connection holds it and polls
/// the handler, and does so whenever it has put something in or made room: no waker is kept here,
/// and nobody ever waits for the lock.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
struct Content {
    requests: VecDeque<Result<Bytes, Status>>,
    requests_ended: bool,
    replies: Vec<Bytes>,
    replies_bytes: usize,
    room: bool,
}

impl Mailbox {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().expect("no holder of this lock panics")
    }

    /// A message has come.
    pub(super) fn put(&self, request: Result<Bytes, Status>) {
        self.content().requests.push_back(request);
    }

    /// No more will come.
    pub(super) fn end_requests(&self) {
        self.content().requests_ended = true;
    }

    /// Whether the handler has taken all that came.
    pub(super) fn is_read(&self) -> bool {
        self.content().requests.is_empty()
    }

    pub(super) fn set_room(&self, room: bool) {
        self.content().room = room;
    }

    /// Takes what the handler has sent, in exchange for an empty list. Says whether that is as much
    /// as one turn allows.
    pub(super) fn take_replies(&self, into: &mut Vec<Bytes>) -> bool {
        let mut content = self.content();
        std::mem::swap(&mut content.replies, into);
        std::mem::take(&mut content.replies_bytes) >= TURN_BYTES
    }
}

/// The requests of a stream.
pub(super) struct StreamRequests {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) metrics: RpcMetrics,
}

impl Requests for StreamRequests {
    fn poll_next(&mut self, _cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        let mut content = self.mailbox.content();
        match content.requests.pop_front() {
            Some(request) => {
                if let Ok(message) = &request {
                    self.metrics.received(message.len());
                }
                Poll::Ready(Some(request))
            }
            None if content.requests_ended => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

/// The replies of a stream.
pub(super) struct StreamReplies {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) metrics: RpcMetrics,
}

impl Replies for StreamReplies {
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        let content = self.mailbox.content();
        if content.room && content.replies_bytes < TURN_BYTES {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    fn send(&mut self, message: Bytes) -> Result<(), Status> {
        self.metrics.sent(message.len());
        let mut content = self.mailbox.content();
        content.replies_bytes += message.len() + super::message::PREFIX_BYTES;
        content.replies.push(message);
        Ok(())
    }
}
