//! Messages on their way into a stream that another member has dialled.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::Frame;
use prometheus::IntCounter;
use proto::raftpb::Message;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

use crate::codec::{Encoder, Kind};

/// Messages that wait; more are dropped.
const WAITING: usize = 4096;
/// How often a stream without messages shows that it is alive: a third of the time after which the
/// reader takes it for dead.
const HEARTBEAT: Duration = Duration::from_millis(1667);
/// A stream that takes nothing for so long is given up.
const STUCK: Duration = Duration::from_secs(5);
/// Bytes that are encoded at a time; the rest goes into the next chunk.
const CHUNK: usize = 1 << 20;

/// The sending end of one stream to one member; the stream may come and go.
#[derive(Debug)]
pub(crate) struct Outbound {
    kind: Kind,
    sent_bytes: IntCounter,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Box<Message>>,
    /// Which stream is attached; 0 for none.
    attached: u64,
    last_stream: u64,
    waker: Option<Waker>,
    /// When the stream has last taken something, or had nothing to take.
    moved_at: Option<Instant>,
    hang_up: Option<Arc<Notify>>,
}

/// What became of a message.
#[derive(Debug, PartialEq)]
pub(crate) enum Sent {
    Queued,
    /// There is no stream: here it is back.
    Unattached(Box<Message>),
    /// The stream does not keep up, or has just been given up.
    Dropped,
}

impl Outbound {
    pub(crate) fn new(kind: Kind, sent_bytes: IntCounter) -> Self {
        Self { kind, sent_bytes, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Queues a message for the stream; gives it back where there is none. `wake` is to be called
    /// when all of a batch is queued.
    pub(crate) fn push(&self, message: Box<Message>) -> Sent {
        let mut state = self.state();
        if state.attached == 0 {
            return Sent::Unattached(message);
        }
        let stuck = state.moved_at.is_some_and(|moved| moved.elapsed() > STUCK);
        if stuck && !state.waiting.is_empty() {
            detach(&mut state);
            return Sent::Dropped;
        }
        if state.waiting.len() >= WAITING {
            return Sent::Dropped;
        }
        if state.waiting.is_empty() {
            state.moved_at = Some(Instant::now());
        }
        state.waiting.push_back(message);
        Sent::Queued
    }

    pub(crate) fn wake(&self) {
        let waker = self.state().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Attaches the stream that a member has dialled, in the place of the one before. `hang_up`
    /// ends its connection.
    pub(crate) fn attach(self: &Arc<Self>, hang_up: Arc<Notify>) -> StreamBody {
        let mut state = self.state();
        detach(&mut state);
        state.last_stream += 1;
        state.attached = state.last_stream;
        state.moved_at = Some(Instant::now());
        state.hang_up = Some(hang_up);
        StreamBody {
            outbound: Arc::clone(self),
            stream: state.last_stream,
            encoder: Encoder::new(self.kind),
            heartbeat: Box::pin(tokio::time::sleep(HEARTBEAT)),
            lost: None,
        }
    }

    /// Ends the stream that is attached.
    pub(crate) fn close(&self) {
        detach(&mut self.state());
    }
}

fn detach(state: &mut State) {
    state.attached = 0;
    state.waiting.clear();
    if let Some(hang_up) = state.hang_up.take() {
        hang_up.notify_one();
    }
    if let Some(waker) = state.waker.take() {
        waker.wake();
    }
}

/// The body of the answer to who has dialled: messages as long as it is the newest stream.
pub(crate) struct StreamBody {
    outbound: Arc<Outbound>,
    stream: u64,
    encoder: Encoder,
    heartbeat: Pin<Box<Sleep>>,
    /// Called when the stream ends by itself with messages in it that may be lost.
    lost: Option<Box<dyn Fn() + Send + Sync>>,
}

impl StreamBody {
    /// What to do when the connection of the stream breaks.
    pub(crate) fn when_lost(mut self, lost: impl Fn() + Send + Sync + 'static) -> Self {
        self.lost = Some(Box::new(lost));
        self
    }
}

impl hyper::body::Body for StreamBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let mut out = BytesMut::new();
        {
            let mut state = this.outbound.state();
            if state.attached != this.stream {
                return Poll::Ready(None);
            }
            state.moved_at = Some(Instant::now());
            while out.len() < CHUNK
                && let Some(message) = state.waiting.pop_front()
            {
                this.encoder.encode(&message, &mut out);
            }
            if out.is_empty() {
                state.waker = Some(cx.waker().clone());
            }
        }
        if out.is_empty() {
            match this.heartbeat.as_mut().poll(cx) {
                Poll::Ready(()) => this.encoder.heartbeat(&mut out),
                Poll::Pending => return Poll::Pending,
            }
        }
        this.heartbeat.as_mut().reset(Instant::now() + HEARTBEAT);
        this.outbound.sent_bytes.inc_by(out.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(out.freeze()))))
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        let mut state = self.outbound.state();
        if state.attached != self.stream {
            return;
        }
        state.hang_up = None;
        detach(&mut state);
        drop(state);
        if let Some(lost) = &self.lost {
            lost();
        }
    }
}
