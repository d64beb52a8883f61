//! The loop of one connection: read what is there, poll whoever has something, write it all.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http2::{Config, Connection, ErrorCode, Event, StreamKey};
use hyper::body::Body as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::answer::{Answer, Upload};
use crate::door::Via;
use crate::error;
use crate::grpc::call::{self, Asked, Call, Held, Refusal, Work};
use crate::grpc::calls::{Calls, Turn, Woken};
use crate::grpc::keepalive::{Due, Watchman};
use crate::grpc::message::{Body, prefix};
use crate::grpc::metadata::Metadata;
use crate::grpc::plain;
use crate::grpc::sending::Sending;
use crate::grpc::stream::{Mailbox, StreamReplies, StreamRequests};
use crate::host::Host;
use crate::rpc::{BoxFuture, Caller, Kind, Rpc, Streaming, while_led};
use crate::status::{Code, Status};

/// What one read may bring.
const READ_BYTES: usize = 64 << 10;
/// Parts that go into one write.
const SLICES: usize = 64;
/// What a plain answer may send in one turn.
const TURN_BYTES: usize = 64 << 10;
/// Rounds of reading and writing before the other connections of the thread have their turn.
const ROUNDS: usize = 4;
/// How long a peer that is sent away may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);
/// The limit on useless frames is one per so long.
const CALM: Duration = Duration::from_secs(1);
/// The numbers of those that are woken and are no calls.
const TIMER: usize = usize::MAX;
const STOP: usize = usize::MAX - 1;
/// What our pings carry.
const PING: [u8; 8] = *b"are you?";

thread_local! {
    /// Where reads go. One for all connections of a thread: most of them have nothing to keep.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A connection as the door hands it over.
pub(crate) struct Opening {
    /// What was read already.
    pub(crate) said: Bytes,
    /// Who is there, and what the listener offers.
    pub(crate) via: Via,
}

/// Serves one HTTP/2 connection until the peer closes it, or `stop` is raised and its calls are
/// done.
pub(crate) async fn serve<IO, H: Host>(
    host: Arc<H>,
    io: IO,
    opening: Opening,
    stop: watch::Receiver<bool>,
) where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut serving = Loop::new(host, io, opening, stop);
    // The loop shares itself out; a budget per task would only make it poll in vain.
    let end = tokio::task::unconstrained(poll_fn(|cx| serving.poll(cx))).await;
    serving.abandon();
    if let End::Farewell = end {
        // Closed with bytes of the peer unread, the socket would take our last words with it.
        let _ = timeout(FAREWELL, farewell(&mut serving.io)).await;
    }
}

async fn farewell(io: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    io.shutdown().await?;
    let mut unheard = [0; 1024];
    while io.read(&mut unheard).await? > 0 {}
    Ok(())
}

/// How a connection ends.
enum End {
    /// All is said; the peer shall have it.
    Farewell,
    /// The peer is gone.
    Gone,
}

struct Loop<IO, H> {
    io: IO,
    host: Arc<H>,
    via: Via,
    http2: Connection,
    /// Bytes of a frame that is not whole, or more while the output is too long to go on.
    unread: Vec<u8>,
    calls: Calls<Call<H>>,
    woken: Arc<Woken>,
    watchman: Watchman,
    /// Where slow requests are told of.
    sending: Option<Sending>,
    /// When calls run out of time, with their slots.
    deadlines: BTreeSet<(Instant, usize)>,
    timer: Timer,
    stop: Option<(BoxFuture<()>, Turn)>,
    stopping: bool,
    /// When it is over even if the peer does not read.
    give_up: Option<Instant>,
    calmed: Instant,
    /// Empty lists whose memory is used again.
    numbers: Vec<usize>,
    replies: Vec<Bytes>,
}

struct Timer {
    sleep: Pin<Box<Sleep>>,
    turn: Turn,
    /// `None` when it has fired.
    at: Option<Instant>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin, H: Host> Loop<IO, H> {
    fn new(host: Arc<H>, io: IO, opening: Opening, mut stop: watch::Receiver<bool>) -> Self {
        let now = Instant::now();
        let woken = Arc::new(Woken::default());
        let http2 = Connection::new(Config {
            concurrent_streams: host.concurrent_streams(),
            ..Config::default()
        });
        let turn = Turn::new(&woken, TIMER);
        let stop: BoxFuture<()> = Box::pin(async move {
            // A sender that is gone has stopped, too.
            let _ = stop.wait_for(|stop| *stop).await;
        });
        let mut serving = Self {
            io,
            watchman: Watchman::new(host.keepalive(), now),
            sending: host.slow_requests().map(|limit| Sending::new(limit, opening.via.peer)),
            host,
            via: opening.via,
            http2,
            unread: opening.said.to_vec(),
            calls: Calls::new(&woken),
            deadlines: BTreeSet::new(),
            timer: Timer { sleep: Box::pin(sleep_until(now)), turn, at: None },
            stop: Some((stop, Turn::new(&woken, STOP))),
            woken,
            stopping: false,
            give_up: None,
            calmed: now,
            numbers: Vec::new(),
            replies: Vec::new(),
        };
        serving.look_at_stop();
        serving
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.woken.register(cx.waker());
        if self.run_woken().is_break() {
            return Poll::Ready(End::Gone);
        }
        for _ in 0..ROUNDS {
            let choked = self.http2.is_choked();
            let read = self.read(cx);
            // Who is gone may still want to read why.
            let written = self.write(cx);
            if written.is_err() || matches!(read, Poll::Ready(Err(_))) {
                return Poll::Ready(End::Gone);
            }
            if self.http2.is_closed() {
                if self.http2.output().is_empty() {
                    return Poll::Ready(End::Farewell);
                }
                self.give_up.get_or_insert_with(|| Instant::now() + FAREWELL);
            }
            let can_go_on = choked && !self.http2.is_choked();
            if read.is_pending() && !can_go_on {
                self.set_timer();
                return Poll::Pending;
            }
        }
        self.set_timer();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Everybody who was woken has one turn. Who is woken again by that has to wait for the next
    /// one, behind the other tasks of the thread.
    fn run_woken(&mut self) -> ControlFlow<()> {
        let mut numbers = std::mem::take(&mut self.numbers);
        self.woken.take(&mut numbers);
        let mut flow = ControlFlow::Continue(());
        for number in numbers.drain(..) {
            match number {
                TIMER => flow = self.look_at_time(),
                STOP => self.look_at_stop(),
                slot => {
                    if let Some(key) = self.calls.key_at(slot) {
                        self.poll_call(key);
                    }
                }
            }
            if flow.is_break() {
                break;
            }
        }
        numbers.clear();
        self.numbers = numbers;
        flow
    }

    /// Reads once and looks at what has come. Pending when there is nothing, an error when nothing
    /// will come any more.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.http2.is_choked() {
            return Poll::Pending;
        }
        let mut scratch = SCRATCH.take();
        let kept = self.unread.len();
        if scratch.len() < kept + READ_BYTES {
            scratch.resize(kept + READ_BYTES, 0);
        }
        scratch[..kept].copy_from_slice(&self.unread);
        let mut buf = ReadBuf::new(&mut scratch[kept..]);
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut buf);
        let count = buf.filled().len();
        let polled = match polled {
            Poll::Ready(Ok(())) if count == 0 => {
                Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
            }
            other => other,
        };
        if count > 0 {
            self.heard(Instant::now());
        }
        // What was kept is looked at again even if nothing came: there may be room for its answers.
        let mut input = &scratch[..kept + count];
        self.take_in(&mut input);
        self.unread.clear();
        self.unread.extend_from_slice(input);
        SCRATCH.set(scratch);
        polled
    }

    fn take_in(&mut self, input: &mut &[u8]) {
        while let Some(event) = self.http2.next(input) {
            match event {
                Event::Head { stream, end } => self.begin(stream, end),
                Event::Data { stream, data, end } => self.feed(stream, data, end),
                Event::Reset { stream, .. } => self.reset(stream),
                Event::Ping => self.pinged(),
                Event::Pong(_) => {}
            }
        }
    }

    /// Writes until nothing is left or the socket takes no more.
    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        for _ in 0..ROUNDS {
            let output = self.http2.output();
            if output.is_empty() {
                // Whatever lies between here and the socket shall not keep it.
                return match Pin::new(&mut self.io).poll_flush(cx) {
                    Poll::Ready(flushed) => flushed,
                    Poll::Pending => Ok(()),
                };
            }
            let Poll::Ready(written) = write_once(&mut self.io, cx, output) else { return Ok(()) };
            let written = written?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            output.advance(written);
            if let Some(sending) = &mut self.sending {
                sending.written(written, &mut self.http2);
            }
            while let Some(key) = self.http2.next_roomy() {
                self.poll_call(key);
            }
        }
        // More is there than is fair.
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn look_at_stop(&mut self) {
        let Some((stop, turn)) = &mut self.stop else { return };
        if turn.poll(stop).is_pending() {
            return;
        }
        self.stop = None;
        self.stopping = true;
        self.http2.drain();
        // A stream has no end of its own: clients go on at another member, or here after a restart.
        for key in self.calls.keys() {
            if let Some((Call { work: Work::Stream { .. }, .. }, _)) = self.calls.get(key) {
                self.finish_stream(key, Err(error::STOPPED));
            }
        }
    }

    fn look_at_time(&mut self) -> ControlFlow<()> {
        if self.timer.turn.poll(&mut self.timer.sleep).is_pending() {
            return ControlFlow::Continue(());
        }
        self.timer.at = None;
        let now = Instant::now();
        if self.give_up.is_some_and(|at| at <= now) {
            return ControlFlow::Break(());
        }
        while let Some((at, slot)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, slot));
            if let Some(key) = self.calls.key_at(slot) {
                self.end_call(key, call::too_late());
            }
        }
        match self.watchman.due(now) {
            Due::Gone => ControlFlow::Break(()),
            Due::Ping => {
                self.http2.ping(PING);
                ControlFlow::Continue(())
            }
            Due::Nothing => ControlFlow::Continue(()),
        }
    }

    /// Sees to it that the timer fires for whatever is first. It may fire for nothing: what was
    /// first may be over by then.
    fn set_timer(&mut self) {
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        let mut first = deadline.into_iter().chain(self.give_up).min();
        // The watchman's time only moves away while the timer runs.
        if self.timer.at.is_none() {
            first = first.into_iter().chain(self.watchman.next()).min();
        }
        let Some(first) = first else { return };
        if self.timer.at.is_none_or(|at| first < at) {
            self.timer.at = Some(first);
            self.timer.sleep.as_mut().reset(first);
            if self.timer.turn.poll(&mut self.timer.sleep).is_ready() {
                self.timer.turn.wake();
            }
        }
    }

    fn heard(&mut self, now: Instant) {
        self.watchman.heard(now);
        if now.duration_since(self.calmed) >= CALM {
            self.calmed = now;
            self.http2.calm_down();
        }
    }

    fn pinged(&mut self) {
        let (progress, calls) = (self.http2.progress(), self.http2.open_streams());
        if !self.watchman.bears_ping(Instant::now(), progress, calls) {
            self.http2.fail(ErrorCode::ENHANCE_YOUR_CALM, b"too_many_pings");
        }
    }

    /// The peer is gone, or sent away.
    fn abandon(&mut self) {
        for key in self.calls.keys() {
            self.drop_call(key, Code::Canceled);
        }
        if let Some(sending) = &mut self.sending {
            sending.abandon();
        }
    }
}

fn write_once(
    io: &mut (impl AsyncWrite + Unpin),
    cx: &mut Context<'_>,
    output: &http2::Output,
) -> Poll<io::Result<usize>> {
    let mut slices = [IoSlice::new(&[]); SLICES];
    match output.chunks_vectored(&mut slices) {
        0 | 1 => Pin::new(io).poll_write(cx, output.chunk()),
        _ if !io.is_write_vectored() => Pin::new(io).poll_write(cx, output.chunk()),
        filled => Pin::new(io).poll_write_vectored(cx, &slices[..filled]),
    }
}

// Calls: from their head to their trailers.
impl<IO, H: Host> Loop<IO, H> {
    fn begin(&mut self, key: StreamKey, end: bool) {
        match call::asked(&*self.host, self.via.offer, self.http2.head()) {
            Asked::Plain => {
                let head_only = self.http2.head().method == "HEAD";
                let host = Arc::clone(&self.host);
                let upload = Arc::new(Upload::default());
                if end {
                    upload.end();
                }
                let head = self.http2.head();
                let answer = plain::answer(host, &self.via, head, upload.reader());
                self.calls.insert(key, Call::plain(answer, upload, head_only));
                self.poll_call(key);
            }
            Asked::Refused(refusal) => self.refuse(key, refusal),
            Asked::Call(rpc, metadata) => {
                self.begin_call(key, rpc, metadata);
                if end {
                    self.feed(key, &[], true);
                }
            }
        }
    }

    fn begin_call(&mut self, key: StreamKey, rpc: Arc<Rpc<H>>, metadata: Metadata) {
        let Metadata { mut caller, timeout, encoding } = metadata;
        caller.remote = self.via.peer;
        caller.local = self.via.local;
        caller.credentials.common_name = self.via.common_name.clone();
        rpc.metrics.started();
        let body = Body::new(self.host.message_bytes(), encoding);
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let work = match rpc.kind {
            Kind::Unary(_) => Work::Reading(caller),
            Kind::ServerStream(handler) | Kind::Bidi(handler) => {
                if let Err(status) = self.host.admit(&caller, &rpc, None) {
                    rpc.metrics.handled(status.code);
                    return self.refuse(key, status.into());
                }
                self.stream(&rpc, handler, caller)
            }
        };
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, key.slot()));
        }
        let is_stream = matches!(work, Work::Stream { .. });
        self.calls.insert(key, Call { rpc: Some(rpc), deadline, body, work });
        if is_stream {
            self.http2.headers(key, &call::HEAD, false);
            if self.stopping {
                self.finish_stream(key, Err(error::STOPPED));
            } else {
                self.poll_call(key);
            }
        }
    }

    fn stream(&self, rpc: &Rpc<H>, handler: Streaming<H>, caller: Caller) -> Work {
        let mailbox = Arc::new(Mailbox::default());
        let metrics = rpc.metrics.clone();
        let requests = Box::new(StreamRequests { mailbox: Arc::clone(&mailbox), metrics });
        let metrics = rpc.metrics.clone();
        let replies = Box::new(StreamReplies { mailbox: Arc::clone(&mailbox), metrics });
        let require_leader = caller.require_leader;
        let mut handler = handler(Arc::clone(&self.host), caller, requests, replies);
        if require_leader {
            handler = Box::pin(while_led(self.host.leaderless(), handler));
        }
        Work::Stream { handler, mailbox, held: 0 }
    }

    /// A part of a body has come.
    fn feed(&mut self, key: StreamKey, data: &[u8], end: bool) {
        let Some((call, _)) = self.calls.get(key) else {
            return self.http2.release(key, data.len());
        };
        match &mut call.work {
            Work::Reading(_) => {
                self.http2.release(key, data.len());
                self.feed_unary(key, data, end);
            }
            Work::Stream { mailbox, held, .. } => {
                // What the handler does not read must not pile up.
                if mailbox.is_read() {
                    self.http2.release(key, data.len());
                } else {
                    *held += data.len();
                }
                feed_stream(mailbox, &mut call.body, data, end);
                self.poll_call(key);
            }
            Work::Plain { upload, .. } | Work::Download { upload, .. } => {
                if upload.upload.is_wanted() && !data.is_empty() {
                    upload.upload.put(Bytes::copy_from_slice(data));
                }
                upload.bytes += data.len();
                if end {
                    upload.upload.end();
                }
                self.poll_call(key);
            }
            Work::Unary(_) => self.http2.release(key, data.len()),
        }
    }

    fn feed_unary(&mut self, key: StreamKey, mut data: &[u8], end: bool) {
        let Some((call, _)) = self.calls.get(key) else { return };
        let message = match call.body.next(&mut data) {
            Ok(Some(message)) => message,
            Ok(None) if !end => return,
            Ok(None) => {
                let between = call.body.is_between_messages();
                let text = if between { "EOF" } else { "unexpected EOF" };
                return self.end_call(key, Status::new(Code::Internal, text));
            }
            Err(status) => return self.end_call(key, status),
        };
        let Some(rpc) = &call.rpc else { return };
        rpc.metrics.received(message.len());
        let Work::Reading(caller) = &mut call.work else { return };
        let caller = std::mem::take(caller);
        if let Err(status) = self.host.admit(&caller, rpc, Some(&message)) {
            return self.end_call(key, status);
        }
        if let Kind::Unary(handler) = rpc.kind {
            call.work = Work::Unary(handler(Arc::clone(&self.host), caller, message));
            self.poll_call(key);
        }
    }

    /// Gives a handler its turn and takes what it has.
    fn poll_call(&mut self, key: StreamKey) {
        let Some((call, turn)) = self.calls.get(key) else { return };
        match &mut call.work {
            Work::Reading(_) => {}
            Work::Unary(handler) => {
                if let Poll::Ready(outcome) = turn.poll(handler) {
                    self.finish_unary(key, outcome);
                }
            }
            Work::Plain { answer, upload, head_only } => {
                let head_only = *head_only;
                let polled = turn.poll(answer);
                self.http2.release(key, upload.read_bytes());
                if let Poll::Ready(response) = polled {
                    self.begin_download(key, response, head_only);
                }
            }
            Work::Download { .. } => self.download(key),
            Work::Stream { handler, mailbox, held } => {
                mailbox.set_room(self.http2.has_room(key));
                let polled = turn.poll(handler);
                let is_full = mailbox.take_replies(&mut self.replies);
                for reply in self.replies.drain(..) {
                    self.http2.data(key, &prefix(&reply), reply);
                }
                if *held > 0 && mailbox.is_read() {
                    self.http2.release(key, std::mem::take(held));
                }
                if let Poll::Ready(outcome) = polled {
                    self.finish_stream(key, outcome);
                } else if is_full && self.http2.has_room(key) {
                    // It has sent what one turn allows, and may have more.
                    turn.wake();
                }
            }
        }
    }

    fn finish_unary(&mut self, key: StreamKey, outcome: Result<Bytes, Status>) {
        let message = match outcome {
            Ok(message) => message,
            Err(status) => return self.end_call(key, status),
        };
        if let Some(Call { rpc: Some(rpc), .. }) = self.forget(key) {
            rpc.metrics.sent(message.len());
            rpc.metrics.handled(Code::Ok);
            if let Some(sending) = &mut self.sending {
                sending.begin(key, rpc.method, message.len());
            }
        }
        self.http2.headers(key, &call::HEAD, false);
        self.http2.data(key, &prefix(&message), message);
        self.http2.trailers(key, call::trailers(&Ok(())));
    }

    fn finish_stream(&mut self, key: StreamKey, outcome: Result<(), Status>) {
        if let Some(Call { rpc: Some(rpc), .. }) = self.forget(key) {
            rpc.metrics.handled(outcome.as_ref().map_or_else(|status| status.code, |()| Code::Ok));
        }
        self.http2.trailers(key, call::trailers(&outcome));
    }

    fn begin_download(
        &mut self,
        key: StreamKey,
        response: http::Response<Answer>,
        head_only: bool,
    ) {
        let block = plain::block(&response);
        let answer = response.into_body();
        let end = head_only || answer.is_end_stream();
        self.http2.headers(key, &block, end);
        if end {
            self.forget(key);
            return;
        }
        let Some((call, _)) = self.calls.get(key) else { return };
        if let Work::Plain { upload, .. } = &mut call.work {
            let upload = Held { upload: Arc::clone(&upload.upload), bytes: upload.bytes };
            call.work = Work::Download { body: answer, upload };
        }
        self.download(key);
    }

    /// Sends what there is of a plain answer, as far as the stream has room.
    fn download(&mut self, key: StreamKey) {
        let mut sent = 0;
        while self.http2.has_room(key) {
            let Some((call, turn)) = self.calls.get(key) else { return };
            let Work::Download { body, upload } = &mut call.work else { return };
            if sent >= TURN_BYTES {
                return turn.wake();
            }
            let polled = turn.poll(&mut poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)));
            self.http2.release(key, upload.read_bytes());
            let frame = match polled {
                Poll::Pending => return,
                Poll::Ready(frame) => frame,
            };
            let Some(Ok(frame)) = frame else {
                self.forget(key);
                return self.http2.end(key);
            };
            let data = frame.into_data().unwrap_or_default();
            sent += data.len();
            self.http2.data(key, &[], data);
        }
    }

    /// Ends a call before its answer.
    fn end_call(&mut self, key: StreamKey, status: Status) {
        let Some((call, _)) = self.calls.get(key) else { return };
        if let Work::Stream { .. } = call.work {
            return self.finish_stream(key, Err(status));
        }
        self.drop_call(key, status.code);
        self.refuse(key, status.into());
    }

    fn refuse(&mut self, key: StreamKey, refusal: Refusal) {
        self.http2.headers(key, &call::refusal(refusal), true);
    }

    /// The stream is over before its time.
    fn reset(&mut self, key: StreamKey) {
        self.drop_call(key, Code::Canceled);
        if let Some(sending) = &mut self.sending {
            sending.reset(key);
        }
    }

    /// Nobody waits for the call any more: its handler is dropped where it stands.
    fn drop_call(&mut self, key: StreamKey, code: Code) {
        if let Some(Call { rpc: Some(rpc), .. }) = self.forget(key) {
            rpc.metrics.handled(code);
        }
    }

    fn forget(&mut self, key: StreamKey) -> Option<Call<H>> {
        let call = self.calls.remove(key)?;
        if let Some(deadline) = call.deadline {
            self.deadlines.remove(&(deadline, key.slot()));
        }
        Some(call)
    }
}

fn feed_stream(mailbox: &Mailbox, body: &mut Body, mut data: &[u8], end: bool) {
    loop {
        match body.next(&mut data) {
            Ok(Some(message)) => mailbox.put(Ok(message)),
            Ok(None) => break,
            Err(status) => {
                mailbox.put(Err(status));
                return mailbox.end_requests();
            }
        }
    }
    if end && !body.is_between_messages() {
        mailbox.put(Err(Status::new(Code::Internal, "unexpected EOF")));
    }
    if end {
        mailbox.end_requests();
    }
}
