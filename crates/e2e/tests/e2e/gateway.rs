//! The JSON gateway: the same requests, good and bad ones, get the same answers.
//!
//! The long form: `PINTLE_ROUNDS=100 cargo test --release -p e2e gateway -- --nocapture`.

mod bombs;
mod generator;
mod http;
mod http2;
mod socket;
mod streams;

use e2e::{Member, Request, Scratch, Server};
use serde_json::Value;

use generator::Requests;
use http::{Connection, Post, Reply};

/// Both tell clients the same address, so that even the hash of the whole db is the same.
const FLAGS: [&str; 4] = [
    "--heartbeat-interval=10",
    "--election-timeout=100",
    "--unsafe-no-fsync",
    "--advertise-client-urls=http://127.0.0.1:2379",
];

/// A member with a connection to it.
struct Side {
    connection: Connection,
    member: Member,
    // Behind the member, which lives in it.
    _scratch: Scratch,
}

impl Side {
    fn start(server: &Server) -> Self {
        let scratch = Scratch::new("gateway");
        let member = Member::start(server, scratch.path(), &FLAGS).unwrap();
        Self { connection: Connection::new(member.address()), member, _scratch: scratch }
    }

    fn ask(&mut self, post: &Post) -> Reply {
        self.connection.ask(post)
    }

    fn post(&mut self, path: &str, body: &str) -> Reply {
        self.ask(&Post::new(path, body))
    }
}

#[test]
fn replies_are_the_same() {
    let Some((pintle, etcd)) = Server::both() else { return };
    for seed in e2e::round_seeds("gateway", 2) {
        compare(&pintle, &etcd, seed);
    }
}

fn compare(pintle: &Server, etcd: &Server, seed: u64) {
    let (mut ours, mut theirs) = (Side::start(pintle), Side::start(etcd));
    let mut requests = Requests::new(seed);
    for number in 0..400 {
        let (request, post) = requests.next();
        let (expected, got) = (theirs.ask(&post), ours.ask(&post));
        assert_eq!(
            got.settled(),
            expected.settled(),
            "PINTLE_ROUND_SEED={seed}, request {number}: {post:?}\npintle: {}\netcd: {}\n{}",
            got.text(),
            expected.text(),
            ours.member.log_tail()
        );
        requests.learn(&request, &got);
    }
}

#[test]
fn what_is_no_call_is_answered_alike() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let (mut ours, mut theirs) = (Side::start(&pintle), Side::start(&etcd));
    let range = || Post::new("/v3/kv/range", r#"{"key":"Zm9v"}"#);
    let mut posts = vec![
        range().header("Grpc-Timeout", "5S"),
        range().header("Grpc-Timeout", "0S"),
        range().header("Grpc-Timeout", "-1S"),
        range().header("Grpc-Timeout", "1n"),
        range().header("Grpc-Timeout", "5"),
        range().header("Grpc-Timeout", "5x"),
        range().header("Grpc-Metadata-hasleader", "true"),
        range().header("Grpc-Metadata-X-Bin", "?"),
        range().header("Grpc-Metadata-X-Bin", "Zm9v"),
        range().header("Content-Type", "text/plain"),
        range().header("Content-Encoding", "gzip"),
        range().header("Accept-Encoding", "gzip"),
        range().header("Accept", "application/xml"),
        range().header("Expect", "100-continue"),
        Post::new("/v3/kv/range", "x=1")
            .header("Content-Type", "application/x-www-form-urlencoded")
            .header("X-HTTP-Method-Override", "post"),
        Post::new("/v3/kv/range", "x=1")
            .header("Content-Type", "application/x-www-form-urlencoded")
            .header("X-HTTP-Method-Override", "GET"),
    ];
    for path in [
        "/v3/kv/range/",
        "/v3/kv/range?key=Zm9v",
        "/v3/kv/%72ange",
        "/v3/kv//range",
        "/v3/./kv/range?x=%2f",
        "/v3/kv/nothing/../range",
        "/v3",
        "/v3/",
        "/v3/kv",
        "/v3beta/kv/range",
        "/v3beta/",
        "/v3alpha/kv/range",
        "/v3/nothing",
        "/v3/KV/range",
        "/v3/kv/lease/leases",
        "//version",
        "/nothing",
    ] {
        posts.push(Post::new(path, r#"{"key":"Zm9v"}"#));
        for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"] {
            posts.push(Post::new(path, "").method(method));
        }
    }
    for post in posts {
        let (got, expected) = (ours.ask(&post), theirs.ask(&post));
        assert_eq!(got.settled(), expected.settled(), "{post:?}\n{got:?}\n{expected:?}");
    }
}

#[test]
fn without_the_flag_there_is_no_gateway() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let answers = [&pintle, &etcd].map(|server| {
        let scratch = Scratch::new("gateway");
        let flags = ["--enable-grpc-gateway=false", "--unsafe-no-fsync"];
        let member = Member::start(server, scratch.path(), &flags).unwrap();
        let mut connection = Connection::new(member.address());
        ["/v3/kv/range", "/v3", "/version"]
            .map(|path| connection.ask(&Post::new(path, "{}")).settled())
    });
    assert_eq!(answers[0], answers[1]);
}

/// The revision in the header of a reply.
fn revision(reply: &Value) -> i64 {
    let revision = reply["header"]["revision"].as_str();
    revision.and_then(|revision| revision.parse().ok()).unwrap_or(0)
}

/// Whether a request goes by the gateway.
fn is_there(request: &Request) -> bool {
    !matches!(request, Request::RangeStream(_))
}
