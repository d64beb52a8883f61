//! Bodies that are too much: too long, too deep, too many fields, cut short.

use std::io::Write as _;
use std::net::Shutdown;

use e2e::Server;

use super::Side;
use super::http::{self, Post};

#[test]
fn what_is_too_much_is_refused_alike() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let (mut ours, mut theirs) = (Side::start(&pintle), Side::start(&etcd));
    let nested = |depth: usize| {
        format!(r#"{{"key":"YQ==","x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth))
    };
    let value = |bytes: usize| format!(r#"{{"key":"YQ==","value":"{}"}}"#, "A".repeat(bytes));
    let fields: String = (0..50_000).map(|number| format!(r#""x{number}":{number},"#)).collect();
    let ops = r#"{"request_put":{"key":"YQ=="}},"#.repeat(20_000);
    for (path, body) in [
        ("/v3/kv/range", nested(9_999)),
        ("/v3/kv/range", nested(10_000)),
        ("/v3/kv/range", "[".repeat(100_000)),
        ("/v3/kv/range", format!(r#"{{{fields}"key":"YQ=="}}"#)),
        ("/v3/kv/range", format!("{{{}", r#""key":"YQ==","#.repeat(50_000))),
        ("/v3/kv/range", format!(r#"{{"key":"YQ==","limit":{}}}"#, "9".repeat(100_000))),
        ("/v3/kv/range", format!(r#"{{"key":"YQ==","limit":1e{}}}"#, "9".repeat(1000))),
        ("/v3/kv/range", format!(r#"{{"key":"YQ==","limit":0.{}1}}"#, "0".repeat(100_000))),
        ("/v3/kv/put", value(1 << 20)),
        ("/v3/kv/put", value(2_200_000)),
        ("/v3/kv/put", value(4 << 20)),
        ("/v3/kv/txn", format!(r#"{{"success":[{}{{}}]}}"#, ops)),
        ("/v3/kv/range", " ".repeat(20 << 20) + r#"{"key":"YQ=="}"#),
        ("/v3/kv/range", r#"{"key":"YQ=="}"#.to_owned() + &" ".repeat(20 << 20)),
    ] {
        let post = Post::new(path, body);
        let (got, expected) = (ours.ask(&post), theirs.ask(&post));
        let begin: String = String::from_utf8_lossy(&post.body).chars().take(60).collect();
        assert_eq!(got.settled(), expected.settled(), "{path} {begin}");
    }
}

#[test]
fn a_body_without_end_is_not_kept() {
    let Some(pintle) = Server::pintle() else { return };
    let mut side = Side::start(&pintle);
    let reply = side.post("/v3/kv/put", &format!(r#"{{"x":"{}"}}"#, "A".repeat(20 << 20)));
    assert_eq!(reply.status, 429, "{}", reply.text());
    assert!(reply.text().contains("larger than max"), "{}", reply.text());
    let deep = format!("{}{{}}{}", r#"{"success":[{"request_txn":"#.repeat(300), "}]}".repeat(300));
    let reply = side.post("/v3/kv/txn", &deep);
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json()["message"], "proto: exceeded max recursion depth");
    assert_eq!(side.post("/v3/kv/range", r#"{"key":"YQ=="}"#).status, 200);
}

#[test]
fn bodies_that_are_cut_short_are_no_requests() {
    let Some(pintle) = Server::pintle() else { return };
    let mut side = Side::start(&pintle);
    for body in [r#"{"key":"YQ==","value":"#, r#"{"key":"YQ==","value":"YQ=="}"#] {
        let mut stream = http::open(side.member.address());
        let head = Post::new("/v3/kv/put", "x".repeat(body.len() + 1)).head();
        stream.get_mut().write_all(format!("{head}{body}").as_bytes()).unwrap();
        stream.get_mut().shutdown(Shutdown::Write).unwrap();
        let (reply, _) = http::begin(&mut stream).expect("it says so");
        assert_eq!(reply.status, 400);
    }
    let count = side.post("/v3/kv/range", r#"{"key":"YQ=="}"#).json();
    assert_eq!(count.get("count"), None, "{count}");
}
