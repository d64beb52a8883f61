//! The loop against the client of the `h2` crate, and against bytes.

use std::future::{pending, poll_fn};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use env::{RealClock, SimDisk};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::Notify;

use super::{Opening, message, serve};
use crate::door::{Offer, Via};
use crate::rpc::{self, Caller, Kind, Replies, Requests, Table};
use crate::service::{Keepalive, Limits, Services};
use crate::status::{Code, Status};
use crate::{Access, Auth, TokenOptions};

const MESSAGE_LIMIT: usize = 8 << 20;

async fn echo(_: Arc<Services>, _: Caller, request: Bytes) -> Result<Bytes, Status> {
    Ok(request)
}

async fn fail(_: Arc<Services>, _: Caller, _: Bytes) -> Result<Bytes, Status> {
    Err(Status::new(Code::NotFound, "100% gone"))
}

/// How many handlers of [`wait`] are there.
static WAITING: AtomicUsize = AtomicUsize::new(0);
/// Lets them go on. One test at a time may use them.
static GO_ON: Notify = Notify::const_new();
static WAITERS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct Waiter;

impl Drop for Waiter {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn wait(_: Arc<Services>, _: Caller, request: Bytes) -> Result<Bytes, Status> {
    WAITING.fetch_add(1, Ordering::SeqCst);
    let _waiter = Waiter;
    GO_ON.notified().await;
    Ok(request)
}

async fn chat(
    _: Arc<Services>,
    _: Caller,
    mut requests: Box<dyn Requests>,
    mut replies: Box<dyn Replies>,
) -> Result<(), Status> {
    while let Some(request) = rpc::next(&mut *requests).await {
        rpc::send(&mut *replies, request?).await?;
    }
    Ok(())
}

/// What [`flood`] has sent so far. One test uses it.
static FLOODED: AtomicUsize = AtomicUsize::new(0);

async fn flood(
    _: Arc<Services>,
    _: Caller,
    mut requests: Box<dyn Requests>,
    mut replies: Box<dyn Replies>,
) -> Result<(), Status> {
    let _ = rpc::next(&mut *requests).await;
    for number in 0..4000_u32 {
        let message = number.to_be_bytes().repeat(256);
        rpc::send(&mut *replies, message.into()).await?;
        FLOODED.fetch_add(1024, Ordering::SeqCst);
    }
    Ok(())
}

fn table() -> Table {
    const T: &str = "t.T";
    Table::new(vec![
        (T, "Echo", Kind::Unary(|s, c, r| Box::pin(echo(s, c, r)))),
        (T, "Fail", Kind::Unary(|s, c, r| Box::pin(fail(s, c, r)))),
        (T, "Wait", Kind::Unary(|s, c, r| Box::pin(wait(s, c, r)))),
        (T, "Never", Kind::Unary(|_, _, _| Box::pin(pending()))),
        (T, "Chat", Kind::Bidi(|s, c, q, r| Box::pin(chat(s, c, q, r)))),
        (T, "Flood", Kind::ServerStream(|s, c, q, r| Box::pin(flood(s, c, q, r)))),
    ])
}

/// A member for those handlers to stand before; none of them asks it anything.
fn node() -> node::Node {
    static RUNNING: std::sync::LazyLock<Mutex<node::Running>> = std::sync::LazyLock::new(|| {
        let world =
            node::World { disk: Arc::new(SimDisk::new(1)), clock: Arc::new(RealClock::new()) };
        let started = node::Running::start(world, options());
        Mutex::new(started.expect("an empty disk is fit to start on"))
    });
    RUNNING.lock().expect("no holder of this lock panics").node().clone()
}

pub(crate) fn options() -> node::Options {
    let url = "http://127.0.0.1:2380";
    node::Options {
        name: "n1".to_owned(),
        data_dir: "/data".into(),
        wal_dir: None,
        client_urls: vec![],
        bootstrap: Some(node::Bootstrap::with_new([("n1", [url])], "")),
        force_new_cluster: false,
        tick: Duration::from_millis(100),
        election_ticks: 10,
        pre_vote: true,
        catchup_entries: 5000,
        strict_reconfig_check: true,
        snapshot_count: 10_000,
        max_snapshots: 5,
        max_wals: 5,
        quota_bytes: 0,
        batch_interval: Duration::from_millis(100),
        batch_limit: 10_000,
        request_bytes: 1_572_864,
        max_learners: 1,
        auto_compaction: node::AutoCompaction::Off,
        compaction_batch: 1000,
        compaction_pause: Duration::from_millis(1),
        corrupt_check_interval: None,
        compact_hash_check_interval: None,
        downgrade_check_interval: Duration::from_secs(5),
        initial_corrupt_check: false,
        initial_election_tick_advance: false,
        warning_apply_duration: Duration::from_secs(1),
        features: Vec::new(),
        no_fsync: true,
        value_budget_bytes: 1 << 20,
        page_cache_bytes: 1 << 20,
        simple_token_ttl: Some(Duration::from_secs(300)),
        recent_events_bytes: 2 << 20,
        disarm_when_space: false,
    }
}

fn services(keepalive: Keepalive) -> Arc<Services> {
    let limits = Limits {
        request_bytes: MESSAGE_LIMIT - 512 * 1024,
        txn_ops: 128,
        concurrent_streams: u32::MAX,
        watch_progress_interval: Duration::from_secs(600),
        warning_unary_duration: Duration::from_secs(600),
        extensive_metrics: false,
        go_metrics: false,
        pprof: false,
        stop_serving_on_defrag: false,
        keepalive,
    };
    let stop = tokio::sync::watch::Sender::new(false);
    let serving = tokio::sync::watch::Sender::new(true);
    let (node, table, access) = (node(), table(), Access::default());
    let audit = std::sync::OnceLock::new();
    let auth = Auth::new(TokenOptions::Simple, 4, false).expect("there is nothing to read");
    let tracer = OnceLock::new();
    Arc::new(Services { node, table, limits, access, auth, audit, tracer, serving, stop })
}

struct Client {
    services: Arc<Services>,
    requests: SendRequest<Bytes>,
    server: tokio::task::JoinHandle<()>,
    connection: tokio::task::JoinHandle<()>,
    windows: tokio::sync::mpsc::UnboundedSender<u32>,
}

fn start(services: &Arc<Services>) -> (DuplexStream, tokio::task::JoinHandle<()>) {
    let (ours, theirs) = duplex(100_000);
    let stop = services.stop.subscribe();
    let (peer, local, offer) = (None, None, Offer::Everything);
    let via = Via { peer, local, is_tls: false, common_name: None, offer };
    let opening = Opening { said: Bytes::new(), via };
    let serving = serve(Arc::clone(services), ours, opening, stop);
    (theirs, tokio::spawn(serving))
}

impl Client {
    async fn new() -> Self {
        Self::of(services(Keepalive::default())).await
    }

    async fn of(services: Arc<Services>) -> Self {
        let (io, server) = start(&services);
        let (requests, mut connection) =
            h2::client::Builder::new().handshake(io).await.expect("the server speaks HTTP/2");
        let (windows, mut wanted) = tokio::sync::mpsc::unbounded_channel();
        let connection = tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(bytes) = wanted.recv() => {
                        connection.set_target_window_size(bytes);
                        connection.set_initial_window_size(bytes).expect("it fits");
                    }
                    ended = &mut connection => return ended.unwrap_or_default(),
                }
            }
        });
        Self { services, requests, server, connection, windows }
    }

    async fn call(&mut self, method: &str) -> (ResponseFuture, SendStream<Bytes>) {
        self.call_with(method, &[]).await
    }

    async fn call_with(
        &mut self,
        method: &str,
        headers: &[(&str, &str)],
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let mut request = Request::post(format!("http://localhost/t.T/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.requests = self.requests.clone().ready().await.expect("the connection lives");
        self.requests.send_request(request.body(()).expect("it is one"), false).expect("it is sent")
    }

    /// A whole unary call.
    async fn unary(&mut self, method: &str, message: &[u8]) -> (Bytes, HeaderMap) {
        let (response, mut body) = self.call(method).await;
        send_all(&mut body, framed(message), true).await;
        finish(response).await
    }
}

fn framed(message: &[u8]) -> Bytes {
    [&message::prefix(message)[..], message].concat().into()
}

async fn send_all(body: &mut SendStream<Bytes>, mut bytes: Bytes, end: bool) {
    while !bytes.is_empty() {
        body.reserve_capacity(bytes.len());
        // A refusal may come before all is sent.
        let Some(Ok(room)) = poll_fn(|cx| body.poll_capacity(cx)).await else { return };
        let part = bytes.split_to(room.min(bytes.len()));
        body.send_data(part, end && bytes.is_empty()).expect("the stream is open");
    }
}

/// The whole body, and the status: from trailers, or from the head where there is nothing else.
async fn finish(response: ResponseFuture) -> (Bytes, HeaderMap) {
    let response = response.await.expect("an answer comes");
    let head = response.headers().clone();
    let mut body = response.into_body();
    let mut all = BytesMut::new();
    while let Some(part) = body.data().await {
        let part = part.expect("the body is whole");
        body.flow_control().release_capacity(part.len()).expect("it was taken");
        all.extend_from_slice(&part);
    }
    let trailers = body.trailers().await.expect("the answer is whole");
    (all.freeze(), trailers.unwrap_or(head))
}

fn status(headers: &HeaderMap) -> (&str, &str) {
    let of = |name| headers.get(name).map_or("", |value| value.to_str().expect("it is text"));
    (of("grpc-status"), of("grpc-message"))
}

async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn many_calls_at_once_are_answered() {
    let mut client = Client::new().await;
    // With such windows the client bears no more than some hundred small answers at a time.
    for wave in 0..20_u32 {
        let mut calls = Vec::new();
        for number in 0..100 {
            let (response, mut body) = client.call("Echo").await;
            body.send_data(framed(&(wave * number).to_be_bytes()), true).expect("it is sent");
            calls.push(response);
        }
        for (number, response) in (0..).zip(calls) {
            let (message, trailers) = finish(response).await;
            assert_eq!(message, framed(&(wave * number).to_be_bytes()));
            assert_eq!(status(&trailers), ("0", ""));
        }
    }
}

#[tokio::test]
async fn large_messages_go_both_ways_through_small_windows() {
    let mut client = Client::new().await;
    let message: Vec<u8> = (0..4 << 20).map(|at| (at % 251) as u8).collect();
    let (echoed, trailers) = client.unary("Echo", &message).await;
    assert!(echoed == framed(&message));
    assert_eq!(status(&trailers), ("0", ""));
    let (none, head) = client.unary("Echo", &vec![0; MESSAGE_LIMIT + 1]).await;
    assert!(none.is_empty());
    let text = "grpc: received message larger than max (8388609 vs. 8388608)";
    assert_eq!(status(&head), ("8", text));
    assert_eq!(status(&client.unary("Fail", b"").await.1), ("5", "100%25 gone"));
    assert_eq!(status(&client.unary("Nothing", b"").await.1).0, "12");
    assert!(client.unary("Echo", b"").await.0 == framed(b""));
}

#[tokio::test]
async fn messages_of_a_stream_are_echoed_in_order() {
    let mut client = Client::new().await;
    let (response, mut body) = client.call("Chat").await;
    let mut answers = response.await.expect("the head comes at once").into_body();
    let mut expected = BytesMut::new();
    for len in [1, 0, 100_000, 5, 40_000] {
        let frame = framed(&vec![len as u8; len]);
        expected.extend_from_slice(&frame);
        send_all(&mut body, frame, false).await;
        read(&mut answers, &mut expected).await;
    }
    body.send_data(Bytes::new(), true).expect("it is sent");
    assert!(answers.data().await.is_none());
    let trailers = answers.trailers().await.expect("they come").expect("they are there");
    assert_eq!(status(&trailers), ("0", ""));
}

/// Reads exactly what is expected.
async fn read(body: &mut RecvStream, expected: &mut BytesMut) {
    while !expected.is_empty() {
        let part = body.data().await.expect("there is more").expect("the stream lives");
        body.flow_control().release_capacity(part.len()).expect("it was taken");
        assert!(expected.starts_with(&part));
        expected.advance(part.len());
    }
}

#[tokio::test]
async fn who_does_not_read_holds_up_nobody_but_its_own_handler() {
    let mut client = Client::new().await;
    let (response, mut body) = client.call("Flood").await;
    body.send_data(framed(b""), true).expect("it is sent");
    let mut slow = response.await.expect("the head comes at once").into_body();
    let first = slow.data().await.expect("there is a part").expect("it is good");
    let mut all = BytesMut::from(&first[..]);
    let mut seen = usize::MAX;
    for _ in 0..50 {
        // Headers need no window; the connection's is used up as well.
        let (_, trailers) = client.unary("Fail", b"").await;
        assert_eq!(status(&trailers).0, "5");
        seen = FLOODED.load(Ordering::SeqCst);
    }
    assert!(seen < 400_000, "{seen} bytes are held for a reader that does not read");
    slow.flow_control().release_capacity(first.len()).expect("it was taken");
    while let Some(part) = slow.data().await {
        let part = part.expect("the stream lives");
        slow.flow_control().release_capacity(part.len()).expect("it was taken");
        all.extend_from_slice(&part);
    }
    let trailers = slow.trailers().await.expect("they come").expect("they are there");
    assert_eq!(status(&trailers), ("0", ""));
    let expected: Vec<u8> =
        (0..4000_u32).flat_map(|number| framed(&number.to_be_bytes().repeat(256))).collect();
    assert!(all == expected);
}

#[tokio::test]
async fn a_window_that_grows_lets_an_answer_go_on() {
    let mut client = Client::new().await;
    let message = vec![7; 300_000];
    let (response, mut body) = client.call("Echo").await;
    send_all(&mut body, framed(&message), true).await;
    let mut answer = response.await.expect("an answer comes").into_body();
    let mut got = 0;
    // Nothing of this is given back to the windows.
    while got < 65_535 {
        got += answer.data().await.expect("there is more").expect("the stream lives").len();
    }
    client.windows.send(1 << 20).expect("the connection lives");
    while let Some(part) = answer.data().await {
        got += part.expect("the stream lives").len();
    }
    assert_eq!(got, framed(&message).len());
}

/// The lines that are logged on this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Lines {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = String::new();
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            line.push_str(&format!("{field}={value:?} "));
        });
        self.0.lock().expect("no holder of this lock panics").push(line);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

impl Lines {
    /// Those about slow requests, since this was asked last.
    fn of_slow_requests(&self) -> Vec<String> {
        let lines = std::mem::take(&mut *self.0.lock().expect("no holder of this lock panics"));
        lines.into_iter().filter(|line| line.contains("a request took long")).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_whose_client_is_slow_to_take_it_is_told_of() {
    let lines = Lines::default();
    let _here = tracing::subscriber::set_default(lines.clone());
    let services = services(Keepalive::default());
    services.node.explain_slow_requests(Duration::from_secs(1));
    let mut client = Client::of(services).await;
    let message = vec![7; 300_000];
    let mut answers = Vec::new();
    for _ in 0..2 {
        let (response, mut body) = client.call("Echo").await;
        send_all(&mut body, framed(&message), true).await;
        answers.push(response.await.expect("an answer comes").into_body());
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(lines.of_slow_requests(), [""; 0], "they are still on their way");
    // The client does not want the second one any more, and takes the first one.
    drop(answers.pop());
    assert_eq!(status(&client.unary("Fail", b"").await.1).0, "5");
    let given_up = lines.of_slow_requests();
    client.windows.send(1 << 20).expect("the connection lives");
    let mut answer = answers.pop().expect("it is the first one");
    while let Some(part) = answer.data().await {
        part.expect("the stream lives");
    }
    let taken = lines.of_slow_requests();
    for told in [given_up, taken] {
        let [line] = &told[..] else { panic!("{told:?}") };
        assert!(line.contains("kind=\"Echo\" took=5"), "{line}");
        assert!(line.contains("where-the-time-went=\"sending the reply: 5"), "{line}");
        assert!(line.contains("bytes=300000"), "{line}");
    }
    // One that is taken at once is not told of.
    let _ = client.unary("Echo", b"quick").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    drop(client);
    assert_eq!(lines.of_slow_requests(), [""; 0]);
}

#[tokio::test]
async fn a_call_that_is_reset_is_dropped_and_so_are_all_when_the_client_goes() {
    let _waiters = WAITERS.lock().await;
    let mut client = Client::new().await;
    let (first, mut body) = client.call("Wait").await;
    body.send_data(framed(b"1"), true).expect("it is sent");
    let (second, mut other) = client.call("Wait").await;
    other.send_data(framed(b"2"), true).expect("it is sent");
    until(|| WAITING.load(Ordering::SeqCst) == 2).await;
    body.send_reset(h2::Reason::CANCEL);
    drop(first);
    until(|| WAITING.load(Ordering::SeqCst) == 1).await;
    assert_eq!(status(&client.unary("Fail", b"").await.1).0, "5");
    client.connection.abort();
    drop(second);
    until(|| WAITING.load(Ordering::SeqCst) == 0).await;
    client.server.await.expect("it ends");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_a_call() {
    let mut client = Client::new().await;
    let (response, mut body) = client.call_with("Never", &[("grpc-timeout", "50m")]).await;
    body.send_data(framed(b""), true).expect("it is sent");
    let begun = tokio::time::Instant::now();
    assert_eq!(status(&finish(response).await.1), ("4", "context deadline exceeded"));
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(49) && took < Duration::from_millis(60), "{took:?}");
    // A stream's, and one whose message never comes.
    for method in ["Chat", "Echo"] {
        let (response, _body) = client.call_with(method, &[("grpc-timeout", "1S")]).await;
        assert_eq!(status(&finish(response).await.1), ("4", "context deadline exceeded"));
    }
    let (response, _body) = client.call_with("Echo", &[("grpc-timeout", "0n")]).await;
    assert_eq!(status(&finish(response).await.1), ("4", "context deadline exceeded"));
    let (response, _body) = client.call_with("Echo", &[("grpc-timeout", "5x")]).await;
    let text = "malformed grpc-timeout: transport: timeout unit is not recognized: \"5x\"";
    assert_eq!(status(&finish(response).await.1), ("13", text));
}

#[tokio::test]
async fn stopping_ends_streams_and_waits_for_calls() {
    let _waiters = WAITERS.lock().await;
    let mut client = Client::new().await;
    let (chat, _body) = client.call("Chat").await;
    let mut chat = chat.await.expect("the head comes at once").into_body();
    let (unary, mut body) = client.call("Wait").await;
    body.send_data(framed(b"late"), true).expect("it is sent");
    until(|| WAITING.load(Ordering::SeqCst) == 1).await;
    client.services.stop.send_replace(true);
    assert!(chat.data().await.is_none());
    let trailers = chat.trailers().await.expect("they come").expect("they are there");
    assert_eq!(status(&trailers), ("14", "etcdserver: server stopped"));
    assert!(!client.server.is_finished());
    GO_ON.notify_one();
    let (message, trailers) = finish(unary).await;
    assert_eq!((message, status(&trailers)), (framed(b"late"), ("0", "")));
    client.server.await.expect("it ends");
}

#[tokio::test]
async fn what_is_no_call_is_answered_as_grpc_go_does() {
    let client = Client::new().await;
    for (method, path, kind, expected) in [
        ("POST", "/t.T/Echo", "", (415, "3", "invalid gRPC request content-type \"\"")),
        ("POST", "/t.T/Echo", "text/x", (415, "3", "invalid gRPC request content-type \"text/x\"")),
        (
            "GET",
            "/t.T/Echo",
            "application/grpc",
            (405, "13", "Received a HEADERS frame with :method \"GET\" which should be POST"),
        ),
        ("POST", "/x.X/Y", "application/grpc+proto", (200, "12", "unknown service x.X")),
        ("POST", "/t.T/X", "application/grpc", (200, "12", "unknown method X for service t.T")),
        ("POST", "/t", "application/grpc", (200, "12", "malformed method name: \"/t\"")),
        ("GET", "/nothing", "", (404, "", "")),
        ("POST", "/health", "", (405, "", "")),
        ("GET", "/version", "", (200, "", "")),
    ] {
        let mut request = Request::builder().method(method).uri(format!("http://localhost{path}"));
        if !kind.is_empty() {
            request = request.header("content-type", kind);
        }
        let mut requests = client.requests.clone().ready().await.expect("the connection lives");
        let request = request.body(()).expect("it is one");
        let (response, _) = requests.send_request(request, true).expect("it is sent");
        let response = response.await.expect("an answer comes");
        let (code, text) = status(response.headers());
        assert_eq!((response.status().as_u16(), code, text), expected, "{method} {path}");
    }
}

// From here on bytes, as no library would send them.

struct Raw {
    io: DuplexStream,
    server: tokio::task::JoinHandle<()>,
}

impl Raw {
    async fn new(keepalive: Keepalive) -> Self {
        let (io, server) = start(&services(keepalive));
        let mut raw = Self { io, server };
        raw.say(http2::PREFACE).await;
        raw.say(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
        raw
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.expect("the server lives");
    }

    /// The next frame of this kind.
    async fn hear(&mut self, kind: u8) -> Vec<u8> {
        loop {
            let mut header = [0; 9];
            self.io.read_exact(&mut header).await.expect("there is more");
            let len = u32::from_be_bytes([0, header[0], header[1], header[2]]);
            let mut payload = vec![0; len as usize];
            self.io.read_exact(&mut payload).await.expect("frames are whole");
            if header[3] == kind {
                return payload;
            }
        }
    }
}

const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
const GOAWAY: u8 = 7;

#[tokio::test(start_paused = true)]
async fn who_pings_too_often_is_sent_away() {
    let mut raw = Raw::new(Keepalive::default()).await;
    for _ in 0..4 {
        raw.say(&PING).await;
    }
    let payload = raw.hear(GOAWAY).await;
    assert_eq!(payload[4..8], 0xb_u32.to_be_bytes());
    assert_eq!(&payload[8..], b"too_many_pings");
    drop(raw.io);
    raw.server.await.expect("it ends");
}

#[tokio::test(start_paused = true)]
async fn who_is_silent_is_pinged_and_then_given_up() {
    let keepalive = Keepalive {
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(3),
        ..Keepalive::default()
    };
    let begun = tokio::time::Instant::now();
    let mut raw = Raw::new(keepalive).await;
    let data = raw.hear(6).await;
    assert_eq!(begun.elapsed().as_secs(), 10);
    let ack = [&[0, 0, 8, 6, 1, 0, 0, 0, 0], &data[..]].concat();
    raw.say(&ack).await;
    raw.hear(6).await;
    assert_eq!(begun.elapsed().as_secs(), 20);
    raw.server.await.expect("it ends");
    assert_eq!(begun.elapsed().as_secs(), 23);
}

#[tokio::test]
async fn any_authority_is_served() {
    let mut raw = Raw::new(Keepalive::default()).await;
    for (turn, authority) in ["http://127.0.0.1:2379", "#initially=[a;b]"].iter().enumerate() {
        let mut block = Vec::new();
        for (name, value) in [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/t.T/Fail"),
            (":authority", authority),
            ("content-type", "application/grpc"),
        ] {
            http2::encode(&mut block, name.as_bytes(), value.as_bytes());
        }
        let id = turn as u8 * 2 + 1;
        raw.say(&[0, 0, block.len() as u8, 1, 4, 0, 0, 0, id]).await;
        raw.say(&block).await;
        raw.say(&[0, 0, 5, 0, 1, 0, 0, 0, id, 0, 0, 0, 0, 0]).await;
        let answer = raw.hear(1).await;
        let text = b"100%25 gone";
        assert!(answer.windows(text.len()).any(|part| part == text));
    }
}

#[tokio::test]
async fn a_fault_is_told_before_the_connection_closes() {
    let mut raw = Raw::new(Keepalive::default()).await;
    raw.say(&[0, 0, 1, 0, 0, 0, 0, 0, 0, 0]).await;
    let payload = raw.hear(GOAWAY).await;
    assert_eq!(payload[4..8], 1_u32.to_be_bytes());
    let mut rest = Vec::new();
    raw.io.read_to_end(&mut rest).await.expect("it closes");
    drop(raw.io);
    raw.server.await.expect("it ends");
}
