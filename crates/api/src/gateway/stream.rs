//! Streams: every message a line, and the handler polled by whoever wants the next one.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use proto::json::Schema;
use tokio::time::{Instant, Sleep, sleep_until};

use super::call::{Count, too_late};
use super::paths::Route;
use super::reply;
use super::values::Values;
use crate::answer::Answer;
use crate::error;
use crate::host::Host as _;
use crate::metrics::RpcMetrics;
use crate::rpc::{BoxFuture, Caller, Replies, Requests, Rpc, Streaming, while_led};
use crate::service::Services;
use crate::status::{Code, Status};

/// What a handler may send in one turn.
const TURN_BYTES: usize = 64 << 10;

/// A stream that is about to begin.
pub(super) struct Opening {
    pub(super) route: Route,
    pub(super) rpc: Arc<Rpc>,
    pub(super) handler: Streaming,
    pub(super) caller: Caller,
    pub(super) source: Source,
    pub(super) deadline: Option<Instant>,
    pub(super) gone: Option<BoxFuture<()>>,
}

/// Where the requests of a stream come from.
pub(super) enum Source {
    /// There is one, until it is taken.
    One(Option<Bytes>),
    /// As many as the body has.
    Many(Values),
}

/// Begins a stream. Its answer begins with its first message: until then it may still become a
/// refusal.
pub(super) async fn open(
    services: &Arc<Services>,
    opening: Opening,
) -> Result<Response<Answer>, Status> {
    let Opening { route, rpc, handler, caller, source, deadline, gone } = opening;
    let count = Count::begin(&rpc);
    if let Err(status) = services.admit(&caller, &rpc, None) {
        count.end(status.code);
        return Err(status);
    }
    let sent = Arc::new(Mutex::new(Sent::default()));
    let requests = StreamRequests { source, metrics: rpc.metrics.clone() };
    let replies = StreamReplies { sent: Arc::clone(&sent), metrics: rpc.metrics.clone() };
    let led = caller.require_leader;
    let mut handler = handler(Arc::clone(services), caller, Box::new(requests), Box::new(replies));
    if led {
        handler = Box::pin(while_led(services.leaderless(), handler));
    }
    let mut stop = services.stop.subscribe();
    let mut lines = Lines {
        running: Some(Running {
            handler,
            deadline: deadline.map(|deadline| Box::pin(sleep_until(deadline))),
            gone,
            stop: Box::pin(async move {
                // A sender that is gone has stopped, too.
                let _ = stop.wait_for(|stop| *stop).await;
            }),
            count,
        }),
        sent,
        fresh: VecDeque::new(),
        failure: None,
        schema: route.response,
    };
    match poll_fn(|cx| lines.poll_message(cx)).await {
        Some(Ok(message)) => {
            lines.fresh.push_front(message);
            Ok(reply::good(Answer::Lines(Box::new(lines))))
        }
        Some(Err(status)) => Err(status),
        None => Ok(reply::silent()),
    }
}

/// A stream as the lines of its answer. It goes on when it is polled, and ends when it is dropped.
pub struct Lines {
    running: Option<Running>,
    sent: Arc<Mutex<Sent>>,
    /// Messages that were sent, in front of the lines.
    fresh: VecDeque<Bytes>,
    /// What is to be said at the end.
    failure: Option<Status>,
    schema: &'static Schema,
}

struct Running {
    handler: BoxFuture<Result<(), Status>>,
    deadline: Option<Pin<Box<Sleep>>>,
    gone: Option<BoxFuture<()>>,
    stop: BoxFuture<()>,
    count: Count,
}

impl Lines {
    /// The next line, with its end.
    pub(crate) fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(message) = ready!(self.poll_message(cx)) else { return Poll::Ready(None) };
        let line = message.and_then(|message| reply::line(self.schema, &message));
        Poll::Ready(Some(line.unwrap_or_else(|status| reply::last_line(&status))))
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        loop {
            if let Some(message) = self.fresh.pop_front() {
                return Poll::Ready(Some(Ok(message)));
            }
            let Some(running) = &mut self.running else {
                return Poll::Ready(self.failure.take().map(Err));
            };
            let ended = running.poll(cx);
            let mut sent = held(&self.sent);
            self.fresh.extend(sent.messages.drain(..));
            sent.bytes = 0;
            drop(sent);
            match ended {
                Poll::Ready(outcome) => self.end(outcome),
                Poll::Pending if self.fresh.is_empty() => return Poll::Pending,
                Poll::Pending => {}
            }
        }
    }

    fn end(&mut self, outcome: Result<(), Status>) {
        if let Some(running) = self.running.take() {
            let code = outcome.as_ref().map_or_else(|status| status.code, |()| Code::Ok);
            running.count.end(code);
        }
        self.failure = outcome.err();
    }
}

impl Running {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        if let Poll::Ready(outcome) = self.handler.as_mut().poll(cx) {
            return Poll::Ready(outcome);
        }
        if let Some(gone) = &mut self.gone
            && gone.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(Status::new(Code::Canceled, "context canceled")));
        }
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(too_late()));
        }
        self.stop.as_mut().poll(cx).map(|()| Err(error::STOPPED))
    }
}

/// What a handler has sent since it was polled last. The handler is polled by whoever empties this:
/// no waker is kept, and nobody ever waits for the lock.
#[derive(Debug, Default)]
struct Sent {
    messages: Vec<Bytes>,
    bytes: usize,
}

fn held(sent: &Mutex<Sent>) -> MutexGuard<'_, Sent> {
    sent.lock().expect("no holder of this lock panics")
}

struct StreamReplies {
    sent: Arc<Mutex<Sent>>,
    metrics: RpcMetrics,
}

impl Replies for StreamReplies {
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        if held(&self.sent).bytes < TURN_BYTES { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn send(&mut self, message: Bytes) -> Result<(), Status> {
        self.metrics.sent(message.len());
        let mut sent = held(&self.sent);
        // Also an empty message takes room.
        sent.bytes += message.len() + size_of::<Bytes>();
        sent.messages.push(message);
        Ok(())
    }
}

struct StreamRequests {
    source: Source,
    metrics: RpcMetrics,
}

impl Requests for StreamRequests {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        let next = match &mut self.source {
            Source::One(message) => message.take().map(Ok),
            Source::Many(values) => match ready!(values.poll_next(cx)) {
                // What is no JSON only ends what is asked: what was asked before goes on.
                Some(Err(status)) if status.code == Code::InvalidArgument => {
                    self.source = Source::One(None);
                    None
                }
                next => next,
            },
        };
        if let Some(Ok(message)) = &next {
            self.metrics.received(message.len());
        }
        Poll::Ready(next)
    }
}
