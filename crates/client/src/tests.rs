//! Against servers that say what each test wants of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use proto::Message;
use proto::etcdserverpb::{
    AuthenticateResponse, PutResponse, RangeRequest, RangeResponse, ResponseHeader, WatchResponse,
};
use proto::mvccpb::{Event, KeyValue};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::{Channel, ChannelOptions, Client, Error, Metadata, Options, Repeat, User};

const NO_USERS: &str = Error::NO_USERS;

fn options(endpoints: &[String]) -> Options {
    Options {
        endpoints: endpoints.to_vec(),
        dial_timeout: Duration::from_secs(20),
        request_timeout: Duration::from_secs(20),
        keepalive_time: Duration::from_secs(2),
        keepalive_timeout: Duration::from_secs(6),
        user: None,
        tls: crate::Tls::default(),
    }
}

async fn bound() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("is bound").to_string();
    (listener, address)
}

/// What a server does with a call: its path and token come in, frames and the status go out.
struct Said {
    messages: Vec<Bytes>,
    /// `None` where the call goes on.
    status: Option<(&'static str, &'static str)>,
}

fn said(message: &impl Message) -> Said {
    Said { messages: vec![frame(message)], status: Some(("0", "")) }
}

fn refused(code: &'static str, message: &'static str) -> Said {
    Said { messages: Vec::new(), status: Some((code, message)) }
}

fn frame(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len()).expect("it is short"));
    message.encode(&mut frame).expect("there is room");
    frame.freeze()
}

/// Serves connections one after the other; `answer` is given path, token and first message.
fn serve(
    listener: TcpListener,
    answer: impl Fn(&str, &str, Bytes) -> Said + Send + Sync + 'static,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            serve_one(socket, &answer).await;
        }
    })
}

async fn serve_one(socket: TcpStream, answer: &(impl Fn(&str, &str, Bytes) -> Said + Sync)) {
    let Ok(mut connection) = h2::server::handshake(socket).await else { return };
    let mut open = Vec::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (head, mut body) = request.into_parts();
        let token = head.headers.get("token").and_then(|token| token.to_str().ok());
        let (path, token) = (head.uri.path().to_owned(), token.unwrap_or_default().to_owned());
        // The connection must be driven for the message to come.
        let first = tokio::select! {
            first = body.data() => first,
            _ = connection.accept() => None,
        };
        let first = first.and_then(Result::ok).unwrap_or_default();
        let said = answer(&path, &token, first.slice(5.min(first.len())..));
        open.extend(reply(respond, said));
    }
}

fn reply(mut respond: SendResponse<Bytes>, said: Said) -> Option<h2::SendStream<Bytes>> {
    let mut head = Response::new(());
    let mut trailers = HeaderMap::new();
    if let Some((code, message)) = said.status {
        trailers.insert("grpc-status", HeaderValue::from_static(code));
        trailers.insert("grpc-message", HeaderValue::from_static(message));
    }
    if said.messages.is_empty() && said.status.is_some() {
        *head.headers_mut() = trailers;
        respond.send_response(head, true).expect("the client listens");
        return None;
    }
    let mut stream = respond.send_response(head, false).expect("the client listens");
    for message in said.messages {
        stream.send_data(message, false).expect("the client listens");
    }
    if said.status.is_some() {
        stream.send_trailers(trailers).expect("the client listens");
        return None;
    }
    Some(stream)
}

fn range_of(value: &'static str) -> RangeResponse {
    let kv = KeyValue { value: Bytes::from_static(value.as_bytes()), ..KeyValue::default() };
    RangeResponse { kvs: vec![kv], count: 1, ..RangeResponse::default() }
}

#[tokio::test]
async fn keys_are_set_and_read() {
    let (listener, address) = bound().await;
    let server = serve(listener, |path, token, request| {
        assert_eq!(token, "");
        match path {
            "/etcdserverpb.KV/Range" => {
                let request = RangeRequest::decode(request).expect("a request");
                let alone = request.range_end.is_empty();
                said(&range_of(if alone { "one" } else { "all" }))
            }
            "/etcdserverpb.KV/Put" => said(&PutResponse {
                header: Some(ResponseHeader { revision: 7, ..ResponseHeader::default() }),
                ..PutResponse::default()
            }),
            other => panic!("{other}"),
        }
    });
    let mut client = Client::new(options(&[format!("http://{address}")])).expect("an endpoint");
    assert_eq!(client.get("k").await.expect("an answer").kvs[0].value, "one");
    assert_eq!(client.get_prefix("k").await.expect("an answer").kvs[0].value, "all");
    let put = client.put("k", "v").await.expect("an answer");
    assert_eq!(put.header.map(|header| header.revision), Some(7));
    drop(client);
    server.abort();
}

#[tokio::test]
async fn a_refusal_comes_in_the_servers_words_and_the_connection_stays() {
    let (listener, address) = bound().await;
    let server = serve(listener, |path, _, _| match path {
        "/etcdserverpb.KV/Put" => refused("3", "etcdserver: key is not provided %C3%A4"),
        // Behind a message, too.
        _ => Said { status: Some(("8", "no space")), ..said(&range_of("x")) },
    });
    let mut client = Client::new(options(&[address])).expect("an endpoint");
    let status = |code, message: &str| Error::Status { code, message: message.to_owned() };
    let refused = client.put("", "").await.expect_err("it is refused");
    assert_eq!(refused, status(3, "etcdserver: key is not provided ä"));
    assert_eq!(client.get("k").await.expect_err("it is refused"), status(8, "no space"));
    drop(client);
    server.abort();
}

#[tokio::test]
async fn the_next_endpoint_is_tried_where_one_is_not_there_or_fails() {
    let (gone, nowhere) = bound().await;
    drop(gone);
    let (failing, first) = bound().await;
    let (good, second) = bound().await;
    let servers = [
        serve(failing, |_, _, _| refused("14", "etcdserver: no leader")),
        serve(good, |_, _, _| said(&range_of("second"))),
    ];
    let mut client = Client::new(options(&[nowhere.clone(), first, second])).expect("endpoints");
    let failed = client.get("k").await.expect_err("the first that is there fails");
    assert!(matches!(failed, Error::Status { code: 14, .. }), "{failed}");
    assert_eq!(client.get("k").await.expect("an answer").kvs[0].value, "second");
    drop(client);
    let mut nobody = Client::new(options(&[nowhere])).expect("an endpoint");
    let failed = nobody.get("k").await.expect_err("nobody is there");
    assert!(matches!(failed, Error::Unreachable { .. }), "{failed}");
    servers.iter().for_each(JoinHandle::abort);
    assert!(matches!(Client::new(options(&[])), Err(Error::Endpoint { .. })));
}

#[tokio::test]
async fn somebody_who_is_known_shows_a_token() {
    let (listener, address) = bound().await;
    let server = serve(listener, |path, token, _| match (path, token) {
        ("/etcdserverpb.Auth/Authenticate", "") => said(&AuthenticateResponse {
            token: "simple.1".to_owned(),
            ..AuthenticateResponse::default()
        }),
        (_, "simple.1") => said(&range_of("for you")),
        _ => refused("16", "etcdserver: invalid auth token"),
    });
    let user = User { name: "root".to_owned(), password: "secret".to_owned() };
    assert!(!format!("{user:?}").contains("secret"));
    let options = Options { user: Some(user), ..options(&[address]) };
    let mut client = Client::new(options).expect("an endpoint");
    assert_eq!(client.get("k").await.expect("an answer").kvs[0].value, "for you");
    drop(client);
    server.abort();
}

#[tokio::test]
async fn who_is_not_believed_is_told_so_and_where_nobody_is_known_anybody_may_ask() {
    for (code, message) in
        [("3", "etcdserver: authentication failed, invalid user ID or password"), ("9", NO_USERS)]
    {
        let (listener, address) = bound().await;
        let server = serve(listener, move |path, token, _| {
            assert_eq!(token, "");
            let login = path == "/etcdserverpb.Auth/Authenticate";
            if login { refused(code, message) } else { said(&range_of("for all")) }
        });
        let user = Some(User { name: "root".to_owned(), password: "wrong".to_owned() });
        let mut client = Client::new(Options { user, ..options(&[address]) }).expect("an endpoint");
        match client.get("k").await {
            Ok(answer) => assert_eq!((&*answer.kvs[0].value, code), (&b"for all"[..], "9")),
            Err(Error::Login(refused)) => assert!(refused.to_string().ends_with(message)),
            Err(other) => panic!("{other}"),
        }
        drop(client);
        server.abort();
    }
}

fn watch_answer(events: &[&'static str]) -> WatchResponse {
    let events = events.iter().map(|value| Event {
        kv: Some(KeyValue { value: Bytes::from_static(value.as_bytes()), ..KeyValue::default() }),
        ..Event::default()
    });
    WatchResponse { events: events.collect(), ..WatchResponse::default() }
}

#[tokio::test]
async fn a_watch_tells_of_events_until_it_is_ended() {
    let (listener, address) = bound().await;
    let server = serve(listener, |_, _, _| {
        let created = WatchResponse { created: true, ..WatchResponse::default() };
        let ended = WatchResponse {
            canceled: true,
            cancel_reason: "enough".to_owned(),
            ..WatchResponse::default()
        };
        let all = [created, watch_answer(&["a", "b"]), watch_answer(&[]), watch_answer(&["c"])];
        let messages = all.iter().chain([&ended]).map(frame).collect();
        Said { messages, status: None }
    });
    let mut client = Client::new(options(&[address])).expect("an endpoint");
    let mut watch = client.watch_prefix("k", 5).await.expect("a watch");
    assert_eq!(watch.next().await.expect("events").len(), 2);
    assert_eq!(watch.next().await.expect("events").len(), 1);
    assert_eq!(watch.next().await, Err(Error::Canceled("enough".to_owned())));
    drop(watch);
    server.abort();
}

#[tokio::test]
async fn a_watch_whose_server_falls_silent_is_given_up() {
    let (listener, address) = bound().await;
    let (fell_silent, silent) = tokio::sync::oneshot::channel();
    let server = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.expect("a client");
        let mut connection = h2::server::handshake(socket).await.expect("a client");
        let (_, respond): (Request<_>, _) =
            connection.accept().await.expect("a call").expect("a call");
        let created = WatchResponse { created: true, ..WatchResponse::default() };
        let said = Said { messages: vec![frame(&created)], status: None };
        let stream = reply(respond, said);
        // It is driven until the client has what it was told, and no more.
        tokio::select! {
            _ = connection.accept() => {}
            _ = silent => {}
        }
        std::future::pending::<()>().await;
        drop((connection, stream));
    });
    let mut client = Client::new(options(&[address])).expect("an endpoint");
    let mut watch = client.watch_prefix("k", 5).await.expect("a watch");
    fell_silent.send(()).expect("the server waits");
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let lost = watch.next().await.expect_err("nobody answers");
    assert!(matches!(lost, Error::Lost(_)), "{lost}");
    // Pings come every ten seconds at most.
    let took = begun.elapsed();
    assert!((Duration::from_secs(15)..Duration::from_secs(18)).contains(&took), "{took:?}");
    server.abort();
}

#[tokio::test]
async fn what_is_no_grpc_is_no_answer() {
    for bytes in [&b"\x01\0\0\0\x01x"[..], b"\0\xff\xff\xff\xff", b"\0\0\0\0\x02\xff\xff", b""] {
        let (listener, address) = bound().await;
        let server = serve(listener, move |_, _, _| Said {
            messages: vec![Bytes::from_static(bytes)],
            status: Some(("0", "")),
        });
        let mut client = Client::new(options(&[address])).expect("an endpoint");
        let lost = client.get("k").await.expect_err("it makes no sense");
        assert!(matches!(lost, Error::Lost(_)), "{lost}");
        drop(client);
        server.abort();
    }
}

const PUT: &str = "/etcdserverpb.KV/Put";

fn channel(endpoints: &[String]) -> Channel {
    let options = ChannelOptions {
        endpoints: endpoints.to_vec(),
        dial_timeout: Duration::from_secs(20),
        keepalive_time: Duration::ZERO,
        keepalive_timeout: Duration::from_secs(20),
        ping_idle: false,
        tls: crate::Tls::default(),
        send_bytes: 1000,
        receive_bytes: 1000,
    };
    Channel::new(options).expect("endpoints")
}

/// A server that counts calls and does not answer the first ones: it breaks the connection.
async fn breaks(first: usize) -> (String, std::sync::Arc<AtomicUsize>, JoinHandle<()>) {
    let (listener, address) = bound().await;
    let counted = std::sync::Arc::new(AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&counted);
    let server = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(mut connection) = h2::server::handshake(socket).await else { continue };
            while let Some(Ok((_, respond))) = connection.accept().await {
                if count.fetch_add(1, Ordering::SeqCst) < first {
                    break;
                }
                reply(respond, said(&range_of("v")));
            }
        }
    });
    (address, counted, server)
}

#[tokio::test]
async fn what_may_have_been_done_is_not_asked_for_again() {
    let (address, counted, server) = breaks(1).await;
    let channel = channel(&[address]);
    let nobody = Metadata::default();
    let lost = channel.unary(PUT, &nobody, b"", Repeat::Unsent).await;
    assert!(matches!(lost, Err(Error::Lost(_))), "{lost:?}");
    assert_eq!(counted.load(Ordering::SeqCst), 1);
    // But what comes behind it finds the way.
    channel.unary(PUT, &nobody, b"", Repeat::Unsent).await.expect("an answer");
    assert_eq!(counted.load(Ordering::SeqCst), 2);
    server.abort();
}

#[tokio::test]
async fn what_changes_nothing_is_asked_until_somebody_answers() {
    let (address, counted, server) = breaks(3).await;
    let channel = channel(&[address]);
    let nobody = Metadata::default();
    channel.unary(PUT, &nobody, b"", Repeat::Always).await.expect("an answer");
    assert_eq!(counted.load(Ordering::SeqCst), 4);
    server.abort();
}

#[tokio::test]
async fn endpoints_have_their_turn_and_those_that_are_not_there_are_passed_over() {
    let (gone, nowhere) = bound().await;
    drop(gone);
    let (one, other) = (breaks(0).await, breaks(0).await);
    let channel = channel(&[nowhere.clone(), one.0.clone(), other.0.clone()]);
    let nobody = Metadata::default();
    // The first ones wait for whoever is there first.
    for _ in 0..20 {
        channel.unary(PUT, &nobody, b"", Repeat::Unsent).await.expect("an answer");
    }
    let counts = [&one.1, &other.1].map(|count| count.load(Ordering::SeqCst));
    assert!(counts.iter().all(|count| *count >= 5), "{counts:?}");
    assert!(!channel.set_endpoints(&[nowhere, one.0.clone(), other.0]).expect("endpoints"));
    assert!(channel.set_endpoints(&[one.0]).expect("endpoints"));
    let before = other.1.load(Ordering::SeqCst);
    channel.unary(PUT, &nobody, b"", Repeat::Unsent).await.expect("an answer");
    assert_eq!(other.1.load(Ordering::SeqCst), before);
    assert!(channel.set_endpoints(&[]).is_err());
    one.2.abort();
    other.2.abort();
}

#[tokio::test]
async fn what_is_too_large_is_not_sent() {
    let (address, counted, server) = breaks(0).await;
    let channel = channel(&[address]);
    let large = vec![0; 1001];
    let refused = channel.unary(PUT, &Metadata::default(), &large, Repeat::Always).await;
    assert!(matches!(refused, Err(Error::Status { code: 8, .. })), "{refused:?}");
    assert_eq!(counted.load(Ordering::SeqCst), 0);
    server.abort();
}
