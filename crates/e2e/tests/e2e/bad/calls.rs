//! Calls that are wrong in their headers, their frames or their messages.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use proto::Message as _;
use proto::etcdserverpb::{PutRequest, RangeRequest};
use tokio::net::TcpStream;

use super::note_that_others_are_served;
use crate::both::{Talk, same, same_but};

/// What has not come by then does not come; a watch stream may wait for more.
const SILENCE: Duration = Duration::from_millis(500);

const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";
const TXN: &str = "/etcdserverpb.KV/Txn";
const WATCH: &str = "/etcdserverpb.Watch/Watch";
const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";

/// Where etcd does otherwise.
const HEADERS_DIFFERENT: [&str; 6] = [
    // etcd tells the kind of content back; ours is always plain gRPC.
    "content-type application/grpc+proto",
    "content-type application/grpc;x",
    "content-type application/grpc+json",
    // A call that is answered sooner than a timer can look is answered.
    "timeout 1n",
    // RFC 9113 wants this reset.
    "te: gzip",
    // Nothing reads binary metadata here.
    "some-bin: not base64!",
];

/// Here a message that is cut off is an internal error, wherever it is cut.
const FRAMES_DIFFERENT: [&str; 8] = [
    "KV/Range: nothing",
    "KV/Range: a prefix",
    "KV/Range: a piece of a message",
    "a piece of a prefix",
    "LeaseKeepAlive: more behind the message",
    // etcd waits for a message that cannot come.
    "the end with the headers",
    // etcd tells what is wrong in what should be gzip; here nothing is decompressed.
    "gzip",
    // And looks at the name of the compression even if nothing is compressed.
    "snappy",
];

const MESSAGES_DIFFERENT: [&str; 5] = [
    // Go takes a field of another wire type for one that it does not know.
    "the wrong wire type",
    // This service is not built.
    "no text",
    // As deep as our decoder goes; what lies in the log must be readable.
    "50 txns in each other",
    "99 txns in each other",
    "101 txns in each other",
];

async fn connect(talk: &Talk) -> SendRequest<Bytes> {
    let socket = TcpStream::connect(talk.member.address()).await.unwrap();
    let (sender, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(async { connection.await.unwrap_or_default() });
    sender
}

fn post(path: &str) -> http::request::Builder {
    Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
}

/// A message as it goes over the wire.
fn frame(flag: u8, content: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(flag);
    frame.put_u32(u32::try_from(content.len()).unwrap());
    frame.put_slice(content);
    frame.freeze()
}

fn get_a() -> Vec<u8> {
    RangeRequest { key: "a".into(), ..RangeRequest::default() }.encode_to_vec()
}

/// Sends it, with these bytes as the body, or with none at all, and notes what comes back.
async fn note(talk: &mut Talk, what: &str, request: http::request::Builder, body: Option<Bytes>) {
    let mut sender = connect(talk).await.ready().await.unwrap();
    let (reply, mut sending) =
        sender.send_request(request.body(()).unwrap(), body.is_none()).unwrap();
    if let Some(body) = body {
        // It may have refused it by now.
        let _ = sending.send_data(body, true);
    }
    let told = tokio::time::timeout(SILENCE, answer(reply)).await;
    talk.note(what, told.unwrap_or_else(|_| "no answer".to_owned()));
}

/// Whether the status comes with the headers or behind the body is all the same.
async fn answer(reply: h2::client::ResponseFuture) -> String {
    let reply = match reply.await {
        Ok(reply) => reply,
        Err(error) => return ended(&error),
    };
    let mut told = format!("HTTP {}", reply.status().as_u16());
    let mut headers = reply.headers().clone();
    let mut body = reply.into_body();
    let mut bytes = 0;
    while let Some(data) = body.data().await {
        match data {
            Ok(data) => {
                body.flow_control().release_capacity(data.len()).unwrap();
                bytes += data.len();
            }
            Err(error) => return format!("{told}, {}", ended(&error)),
        }
    }
    told.push_str(&format!(", {bytes} bytes"));
    match body.trailers().await {
        Ok(trailers) => headers.extend(trailers.unwrap_or_default()),
        Err(error) => return format!("{told}, {}", ended(&error)),
    }
    told + &shown(&headers)
}

fn shown(headers: &HeaderMap) -> String {
    let mut told = String::new();
    for name in ["content-type", "grpc-status", "grpc-message"] {
        let value = headers.get(name).map_or("", |value| value.to_str().unwrap_or("no text"));
        // What a decoder says in detail is its own business.
        let (value, _) = value.split_once("message:").unwrap_or((value, ""));
        let (value, _) = value.split_once("request:").unwrap_or((value, ""));
        if !value.is_empty() {
            told.push_str(&format!(", {name}: {value}"));
        }
    }
    told
}

fn ended(error: &h2::Error) -> String {
    match error.reason() {
        Some(reason) if error.is_reset() => format!("reset, {reason:?}"),
        Some(reason) => format!("connection ended, {reason:?}"),
        None => "connection ended".to_owned(),
    }
}

#[test]
fn with_wrong_headers() {
    same_but(&HEADERS_DIFFERENT, &[], async |talk| {
        let whole = || Some(frame(0, &get_a()));
        for kind in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;x",
            "application/grpc+json",
            "application/GRPC",
            "APPLICATION/GRPC",
            "application/grpcx",
            "application/json",
            "text/plain",
            "",
        ] {
            let request = Request::post(format!("http://localhost{RANGE}"))
                .header("content-type", kind)
                .header("te", "trailers");
            note(talk, &format!("content-type {kind}"), request, whole()).await;
        }
        let bare = Request::post(format!("http://localhost{RANGE}"));
        note(talk, "no content-type", bare, whole()).await;
        for method in ["GET", "PUT", "HEAD", "DELETE", "OPTIONS", "BREW"] {
            let request = post(RANGE).method(method);
            note(talk, &format!("method {method}"), request, whole()).await;
        }
        for path in [
            "/",
            "/etcdserverpb.KV/",
            "/etcdserverpb.KV/range",
            "/etcdserverpb.KV/Range/",
            "/etcdserverpb.KV/Range?x=1",
            "/etcdserverpb.KV/Nothing",
            "/etcdserverpb.Nothing/Range",
            "/nothing",
            "//",
            "/a/b/c",
            "/version",
            "/health",
            "/%2e%2e/Range",
        ] {
            note(talk, &format!("path {path}"), post(path), whole()).await;
        }
        for timeout in ["1n", "1S", "99999999H", "1", "S", "-1S", "1x", "123456789S", "1.5S", ""] {
            let request = post(RANGE).header("grpc-timeout", timeout);
            note(talk, &format!("timeout {timeout}"), request, whole()).await;
        }
        for (name, value) in [
            ("te", "gzip"),
            ("grpc-encoding", "identity"),
            ("grpc-accept-encoding", "gzip,deflate"),
            ("user-agent", ""),
            ("some-bin", "not base64!"),
            ("token", "nobody"),
            ("hasleader", "true"),
            ("hasleader", "maybe"),
            ("client-api-version", "9.9"),
            ("host", "elsewhere"),
            ("grpc-status", "7"),
        ] {
            let request = post(RANGE).header(name, value);
            note(talk, &format!("{name}: {value}"), request, whole()).await;
        }
        note_that_others_are_served(talk).await;
    });
}

#[test]
fn with_wrong_frames() {
    same_but(&FRAMES_DIFFERENT, &[], async |talk| {
        for (path, message) in [(RANGE, get_a()), (WATCH, get_a()), (KEEP_ALIVE, vec![0x08, 7])] {
            for (what, body) in cut_wrong(&message) {
                note(talk, &format!("{path}: {what}"), post(path), Some(body)).await;
            }
        }
        note(talk, "the end with the headers", post(RANGE), None).await;
        let gzip = post(RANGE).header("grpc-encoding", "gzip");
        note(talk, "gzip", gzip, Some(frame(1, &get_a()))).await;
        let unknown = post(RANGE).header("grpc-encoding", "snappy");
        note(talk, "snappy", unknown, Some(frame(0, &get_a()))).await;
        note_that_others_are_served(talk).await;
    });
}

fn cut_wrong(message: &[u8]) -> [(&'static str, Bytes); 10] {
    let whole = frame(0, message);
    [
        ("nothing", Bytes::new()),
        ("a piece of a prefix", whole.slice(..3)),
        ("a prefix", whole.slice(..5)),
        ("a piece of a message", whole.slice(..whole.len() - 1)),
        ("two messages", [&whole[..], &whole[..]].concat().into()),
        ("more behind the message", [&whole[..], b"xyz"].concat().into()),
        ("compressed", frame(1, message)),
        ("an unknown flag", frame(2, message)),
        ("an empty message", frame(0, &[])),
        ("a length of 4 GiB", Bytes::from_static(&[0, 255, 255, 255, 255, 1])),
    ]
}

#[test]
fn with_malformed_messages() {
    same_but(&MESSAGES_DIFFERENT, &[], async |talk| {
        let bad: [(&str, &[u8]); 14] = [
            ("a tag without a value", &[0x0a]),
            ("a length beyond the end", &[0x0a, 0x05, b'a']),
            ("a length of 2^63", &[0x0a, 255, 255, 255, 255, 255, 255, 255, 255, 127]),
            ("a varint without an end", &[0x18, 255]),
            (
                "a varint of eleven bytes",
                &[0x18, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
            ),
            ("field number 0", &[0x02, 0x00]),
            ("wire type 6", &[0x0e, 0x00]),
            ("wire type 7", &[0x0f, 0x00]),
            ("a group that ends", &[0x0c]),
            ("a group without an end", &[0x0b, 0x08, 0x01]),
            ("the wrong wire type", &[0x08, 0x01, 0x0a, 0x01, b'a']),
            ("an unknown field", &[0x0a, 0x01, b'a', 0xfa, 0x3f, 0x01, 0x00]),
            ("an unknown group", &[0x0a, 0x01, b'a', 0xfb, 0x3f, 0x08, 0x01, 0xfc, 0x3f]),
            ("a field twice", &[0x0a, 0x01, b'b', 0x0a, 0x01, b'a']),
        ];
        for path in [RANGE, PUT, WATCH, TXN] {
            for (what, message) in bad {
                let body = Some(frame(0, message));
                note(talk, &format!("{path}: {what}"), post(path), body).await;
            }
        }
        // Text must be text.
        let name = [0x0a, 0x02, 0xff, 0xfe];
        note(talk, "no text", post("/etcdserverpb.Auth/UserAdd"), Some(frame(0, &name))).await;
        // A txn in a txn in a txn ..
        for depth in [1, 50, 99, 101, 5000] {
            let body = frame(0, &nested(depth));
            note(talk, &format!("{depth} txns in each other"), post(TXN), Some(body)).await;
        }
        note_that_others_are_served(talk).await;
    });
}

/// A `TxnRequest` whose `success` has a `RequestOp` with a `request_txn`, and so on.
fn nested(depth: usize) -> Vec<u8> {
    let mut inner = Vec::new();
    for _ in 0..depth {
        for tag in [0x22, 0x12] {
            let mut outer = vec![tag];
            let mut length = inner.len();
            while length > 127 {
                outer.push((length % 128) as u8 | 128);
                length /= 128;
            }
            outer.push(length as u8);
            outer.extend(inner);
            inner = outer;
        }
    }
    inner
}

#[test]
fn with_messages_that_are_too_large() {
    same(&["--max-request-bytes=100000"], async |talk| {
        // The limit of requests, and the one of messages, which is 512 KiB above.
        for size in [99_000, 99_990, 100_010, 101_000, 600_000, 624_200, 624_300, 3_000_000] {
            let request = PutRequest {
                key: "a".into(),
                value: vec![b'v'; size].into(),
                ..PutRequest::default()
            };
            let body = frame(0, &request.encode_to_vec());
            note(talk, &format!("{size} bytes"), post(PUT), Some(body)).await;
        }
        note_that_others_are_served(talk).await;
    });
}
