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
/// How often a stream without messages shows that it is alive: a third of the least time after
/// which a reader takes it for dead. However long this member waits for others, they may not.
const HEARTBEAT: Duration = Duration::from_millis(1667);
/// Bytes that are encoded at a time; the rest goes into the next chunk.
const CHUNK: usize = 1 << 20;
/// A buffer that has grown beyond this is not kept.
const KEPT: usize = 256 << 10;

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
    hang_up: Option<Arc<Notify>>,
}

/// What became of a message.
#[derive(Debug, PartialEq)]
pub(crate) enum Sent {
    Queued,
    /// There is no stream: here it is back.
    Unattached(Box<Message>),
    /// The stream does not keep up.
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
        if state.waiting.len() >= WAITING {
            return Sent::Dropped;
        }
        state.waiting.push_back(message);
        Sent::Queued
    }

    /// Lets the stream take what waits.
    pub(crate) fn wake(&self) {
        let mut state = self.state();
        if state.waiting.is_empty() {
            return;
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Attaches the stream that a member has dialled, in the place of the one before. `hang_up`
    /// ends its connection; `lost` is called when the stream has ended, except for another one's
    /// sake, and with it what it had taken.
    pub(crate) fn attach(
        self: &Arc<Self>,
        hang_up: Arc<Notify>,
        lost: impl FnOnce() + Send + Sync + 'static,
    ) -> Attached {
        let mut state = self.state();
        let replaced = state.attached != 0;
        let dropped = detach(&mut state);
        state.last_stream += 1;
        state.attached = state.last_stream;
        state.hang_up = Some(hang_up);
        let body = StreamBody {
            outbound: Arc::clone(self),
            stream: state.last_stream,
            encoder: Encoder::new(self.kind),
            buffer: BytesMut::new(),
            heartbeat: Box::pin(tokio::time::sleep(HEARTBEAT)),
            lost: Some(Box::new(lost)),
        };
        Attached { body, replaced, dropped }
    }

    /// Ends the stream that is attached.
    pub(crate) fn close(&self) {
        detach(&mut self.state());
    }
}

/// A stream that was just attached.
pub(crate) struct Attached {
    pub(crate) body: StreamBody,
    /// There was another one before it.
    pub(crate) replaced: bool,
    /// Messages that waited for that one are gone.
    pub(crate) dropped: bool,
}

/// Whether messages were dropped by it.
fn detach(state: &mut State) -> bool {
    state.attached = 0;
    let dropped = !state.waiting.is_empty();
    state.waiting.clear();
    if let Some(hang_up) = state.hang_up.take() {
        hang_up.notify_one();
    }
    if let Some(waker) = state.waker.take() {
        waker.wake();
    }
    dropped
}

/// The body of the answer to who has dialled: messages as long as it is the newest stream.
pub(crate) struct StreamBody {
    outbound: Arc<Outbound>,
    stream: u64,
    encoder: Encoder,
    /// What was encoded before is written out of it meanwhile; then its room is used again.
    buffer: BytesMut,
    heartbeat: Pin<Box<Sleep>>,
    lost: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl hyper::body::Body for StreamBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        loop {
            // The lock is for the queue; encoding would keep the drive waiting.
            let message = {
                let mut state = this.outbound.state();
                if state.attached != this.stream {
                    return Poll::Ready(None);
                }
                let message = state.waiting.pop_front();
                if message.is_none() && this.buffer.is_empty() {
                    state.waker = Some(cx.waker().clone());
                }
                message
            };
            let Some(message) = message else { break };
            this.encoder.encode(&message, &mut this.buffer);
            if this.buffer.len() >= CHUNK {
                break;
            }
        }
        if this.buffer.is_empty() {
            match this.heartbeat.as_mut().poll(cx) {
                Poll::Ready(()) => this.encoder.heartbeat(&mut this.buffer),
                Poll::Pending => return Poll::Pending,
            }
        }
        this.heartbeat.as_mut().reset(Instant::now() + HEARTBEAT);
        let bytes = this.buffer.split().freeze();
        if bytes.len() > KEPT {
            this.buffer = BytesMut::new();
        }
        this.outbound.sent_bytes.inc_by(bytes.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
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
        if let Some(lost) = self.lost.take() {
            lost();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use hyper::body::Body as _;
    use proto::raftpb::MessageType;

    use super::*;

    fn outbound() -> Arc<Outbound> {
        let counter = IntCounter::new("sent", "of a test").expect("a valid name");
        Arc::new(Outbound::new(Kind::Message, counter))
    }

    fn message(index: u64) -> Box<Message> {
        let kind = MessageType::MsgAppResp as i32;
        Box::new(Message { r#type: Some(kind), index: Some(index), ..Message::default() })
    }

    fn attach(outbound: &Arc<Outbound>) -> (Attached, Arc<AtomicBool>) {
        let lost = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&lost);
        let tell = move || told.store(true, Ordering::SeqCst);
        (outbound.attach(Arc::new(Notify::new()), tell), lost)
    }

    fn poll(body: &mut StreamBody) -> Poll<Option<Bytes>> {
        let mut cx = Context::from_waker(Waker::noop());
        let frame = Pin::new(body).poll_frame(&mut cx);
        frame.map(|frame| frame.map(|frame| frame.unwrap().into_data().unwrap()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_one_chunk_and_silence_is_broken_by_signs_of_life() {
        let outbound = outbound();
        assert_eq!(outbound.push(message(1)), Sent::Unattached(message(1)));
        let (mut attached, _) = attach(&outbound);
        for index in 0..100 {
            assert_eq!(outbound.push(message(index)), Sent::Queued);
        }
        let mut decoder = crate::codec::Decoder::new(Kind::Message, 1, 2);
        let mut messages = Vec::new();
        let Poll::Ready(Some(chunk)) = poll(&mut attached.body) else { panic!("nothing came") };
        decoder.feed(&chunk, &mut messages).unwrap();
        assert_eq!(messages.len(), 100);
        assert!(poll(&mut attached.body).is_pending());
        tokio::time::advance(HEARTBEAT).await;
        let Poll::Ready(Some(sign)) = poll(&mut attached.body) else { panic!("no sign of life") };
        decoder.feed(&sign, &mut messages).unwrap();
        assert_eq!(messages.len(), 100, "raft is not told of it");
        assert!(poll(&mut attached.body).is_pending());
        let sent = outbound.sent_bytes.get();
        assert_eq!(sent as usize, chunk.len() + sign.len());
    }

    #[tokio::test]
    async fn the_newest_stream_is_the_one_and_a_lost_one_is_told_of() {
        let outbound = outbound();
        let (mut first, first_lost) = attach(&outbound);
        assert!(!first.replaced);
        assert_eq!(outbound.push(message(1)), Sent::Queued);
        let (second, second_lost) = attach(&outbound);
        assert!(second.replaced && second.dropped);
        assert!(matches!(poll(&mut first.body), Poll::Ready(None)));
        drop(first);
        assert!(!first_lost.load(Ordering::SeqCst));
        assert_eq!(outbound.push(message(2)), Sent::Queued);
        drop(second);
        assert!(second_lost.load(Ordering::SeqCst));
        assert_eq!(outbound.push(message(3)), Sent::Unattached(message(3)));
    }

    #[tokio::test]
    async fn a_stream_that_takes_nothing_costs_no_more_than_its_queue() {
        let outbound = outbound();
        let (attached, _) = attach(&outbound);
        for index in 0..WAITING as u64 {
            assert_eq!(outbound.push(message(index)), Sent::Queued);
        }
        assert_eq!(outbound.push(message(0)), Sent::Dropped);
        drop(attached);
    }
}
