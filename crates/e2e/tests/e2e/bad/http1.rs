//! HTTP/1 as it should not be.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::note_that_others_are_served;
use crate::both::{Talk, same_but};

/// Where etcd does otherwise.
const DIFFERENT: [&str; 16] = [
    // What is no HTTP/1 by its first line gets no answer from etcd, and a 400 here.
    "zeros",
    "HTTP/0.9",
    "HTTP/3.0",
    "HTTP/x",
    "no version",
    "a handshake of TLS",
    // etcd refuses them with 400; here the path or the missing host is taken as it is.
    "no host",
    "two hosts",
    "a path of its own",
    "a broken escape",
    "HTTP/1.2",
    // 501 there, 400 here.
    "an unknown coding",
    // etcd takes headers of up to 1 MiB, and hangs up on a first line that is as long.
    "a long path",
    "a longer path",
    "a long header",
    "many headers",
];

/// What has not come by then does not come.
const SILENCE: Duration = Duration::from_millis(150);

/// Sends these bytes and notes the codes of the answers.
async fn note(talk: &mut Talk, what: &str, bytes: &[u8]) {
    let mut socket = TcpStream::connect(talk.member.address()).await.unwrap();
    // It may have had enough before all is sent.
    let _ = socket.write_all(bytes).await;
    if what.starts_with("half") {
        let _ = socket.shutdown().await;
    }
    let mut answer = Vec::new();
    while let Ok(Ok(1..)) = timeout(SILENCE, socket.read_buf(&mut answer)).await {}
    let answer = String::from_utf8_lossy(&answer);
    let lines = answer.lines().filter(|line| line.starts_with("HTTP/1."));
    let codes: Vec<_> = lines.filter_map(|line| line.split(' ').nth(1)).collect();
    talk.note(what, codes);
}

fn get(rest: &str) -> String {
    format!("GET /health HTTP/1.1\r\nHost: a\r\n{rest}")
}

fn post(rest: &str) -> String {
    format!("POST /health HTTP/1.1\r\nHost: a\r\n{rest}")
}

#[test]
fn that_is_wrong() {
    same_but(&DIFFERENT, &[], async |talk| {
        let long = "x".repeat(900_000);
        let longer = "x".repeat(1_200_000);
        let many = "a: b\r\n".repeat(20_000);
        let requests = [
            ("nothing", String::new()),
            ("an empty line", "\r\n".into()),
            ("zeros", "\0".repeat(100)),
            ("half a method", "GE".into()),
            (
                "half of the connection closed behind a request",
                "GET /version HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            ),
            ("half a request", "GET /health HT".into()),
            ("no end of the headers", get("")),
            ("a request", get("\r\n")),
            ("two requests", get("\r\nGET /version HTTP/1.1\r\nHost: a\r\n\r\n")),
            ("HTTP/1.0", "GET /health HTTP/1.0\r\n\r\n".into()),
            ("no host", "GET /health HTTP/1.1\r\n\r\n".into()),
            ("two hosts", get("Host: b\r\n\r\n")),
            ("HTTP/0.9", "GET /health\r\n".into()),
            ("HTTP/3.0", "GET /health HTTP/3.0\r\nHost: a\r\n\r\n".into()),
            ("HTTP/1.2", "GET /health HTTP/1.2\r\nHost: a\r\n\r\n".into()),
            ("HTTP/x", "GET /health HTTP/x\r\nHost: a\r\n\r\n".into()),
            ("no version", "GET /health \r\nHost: a\r\n\r\n".into()),
            ("only line feeds", "GET /health HTTP/1.1\nHost: a\n\n".into()),
            ("an unknown path", "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n".into()),
            ("an unknown method", "BREW /health HTTP/1.1\r\nHost: a\r\n\r\n".into()),
            ("POST", post("Content-Length: 0\r\n\r\n")),
            ("HEAD", "HEAD /version HTTP/1.1\r\nHost: a\r\n\r\n".into()),
            ("DELETE", "DELETE /metrics HTTP/1.1\r\nHost: a\r\n\r\n".into()),
            ("OPTIONS", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n".into()),
            ("CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n".into()),
            ("an absolute path", "GET http://a/health HTTP/1.1\r\nHost: a\r\n\r\n".into()),
            ("a path of its own", "GET health HTTP/1.1\r\nHost: a\r\n\r\n".into()),
            ("dots", "GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n".into()),
            ("a broken escape", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n".into()),
            ("a header without a colon", get("abc\r\n\r\n")),
            ("a header without a name", get(": b\r\n\r\n")),
            ("a space before the colon", get("a : b\r\n\r\n")),
            ("a zero in a header", get("a: b\0c\r\n\r\n")),
            ("two lengths", post("Content-Length: 1\r\nContent-Length: 2\r\n\r\nab")),
            ("a length that is none", post("Content-Length: x\r\n\r\n")),
            ("a length below zero", post("Content-Length: -1\r\n\r\n")),
            (
                "length and chunks",
                post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            ),
            ("a chunk that is none", post("Transfer-Encoding: chunked\r\n\r\nzz\r\n")),
            ("an unknown coding", post("Transfer-Encoding: gzip\r\n\r\n")),
            ("a long path", format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")),
            ("a longer path", format!("GET /{longer} HTTP/1.1\r\nHost: a\r\n\r\n")),
            ("a long header", format!("GET /health HTTP/1.1\r\nHost: a\r\na: {long}\r\n\r\n")),
            ("a longer header", format!("GET /health HTTP/1.1\r\nHost: a\r\na: {longer}\r\n\r\n")),
            ("many headers", format!("GET /health HTTP/1.1\r\nHost: a\r\n{many}\r\n")),
            (
                "an upgrade to h2c",
                get(
                    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n",
                ),
            ),
            ("a handshake of TLS", "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03".into()),
        ];
        for (what, request) in requests {
            note(talk, what, request.as_bytes()).await;
        }
        note_that_others_are_served(talk).await;
    });
}
