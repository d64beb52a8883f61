//! Streams over plain HTTP: the lines of both servers, and what becomes of those who leave.

use std::io::{BufReader, Write as _};
use std::net::TcpStream;

use e2e::Server;
use serde_json::{Value, json};

use super::Side;
use super::http::{self, Post};

const WATCH: &str = "/v3/watch";
const KEEP_ALIVE: &str = "/v3/lease/keepalive";

/// An answer that comes line by line.
struct Stream {
    stream: BufReader<TcpStream>,
    status: u16,
    unread: Vec<u8>,
}

impl Stream {
    fn begin(side: &Side, post: &Post) -> Self {
        let mut stream = http::open(side.member.address());
        stream.get_mut().write_all(&[post.head().as_bytes(), &post.body].concat()).unwrap();
        Self::answered(stream)
    }

    fn answered(mut stream: BufReader<TcpStream>) -> Self {
        let (reply, _) = http::begin(&mut stream).expect("an answer begins");
        Self { stream, status: reply.status, unread: Vec::new() }
    }

    /// The next line; `None` at the end.
    fn line(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                let mut line: Value = serde_json::from_slice(&line).expect("a line is JSON");
                http::settle(&mut line);
                return Some(line);
            }
            self.unread.extend(http::chunk(&mut self.stream)?);
        }
    }

    fn lines(&mut self, count: usize) -> Vec<Value> {
        (0..count).map(|_| self.line().expect("a line comes")).collect()
    }
}

/// The same on both; the first of the two is pintle.
fn on_both<T>(ask: impl Fn(&mut Side) -> T) -> Option<[T; 2]> {
    let (pintle, etcd) = Server::both()?;
    Some([&pintle, &etcd].map(|server| {
        let mut side = Side::start(server);
        for number in 0..3 {
            let body = format!(r#"{{"key":"YQ==","value":"{number}AA=","prev_kv":true}}"#);
            assert_eq!(side.post("/v3/kv/put", &body).status, 200);
        }
        ask(&mut side)
    }))
}

#[test]
fn lines_are_the_same() {
    let answers = on_both(|side| {
        let mut all = Vec::new();
        let mut take = |mut stream: Stream, count| {
            all.push(json!(stream.status));
            all.extend(stream.lines(count));
            stream
        };
        let old = r#"{"create_request":{"key":"YQ==","start_revision":"2","prev_kv":true}}"#;
        let mut watch = take(Stream::begin(side, &Post::new(WATCH, old)), 2);
        side.post("/v3/kv/put", r#"{"key":"YQ==","value":"bmV3"}"#);
        side.post("/v3/kv/deleterange", r#"{"key":"YQ=="}"#);
        take(watch_on(&mut watch), 2);
        let two = " {\"createRequest\":{\"key\":\"Yg==\",\"watchId\":7}}\n{\"create_request\":\
                   {\"key\":\"\",\"range_end\":\"AA==\",\"filters\":[\"NOPUT\",1]}} {nonsense";
        take(Stream::begin(side, &Post::new(WATCH, two)), 2);
        side.post("/v3/kv/compaction", r#"{"revision":"3","physical":true}"#);
        let compacted = r#"{"create_request":{"key":"YQ==","start_revision":1}}"#;
        take(Stream::begin(side, &Post::new(WATCH, compacted)), 2);
        let late = Post::new(WATCH, old.replace('2', "900")).header("Grpc-Timeout", "300m");
        take(Stream::begin(side, &late), 2);
        all
    });
    let Some([ours, theirs]) = answers else { return };
    assert_eq!(ours.len(), theirs.len());
    let last = ours.len() - 1;
    for (ours, theirs) in ours.iter().zip(&theirs).take(last) {
        assert_eq!(ours, theirs);
    }
    // Whether etcd's gateway or its gRPC server is first to see that time is up is left to chance,
    // and they have different words for it.
    assert_eq!(ours[last]["error"]["code"], theirs[last]["error"]["code"]);
    assert_eq!(ours[last]["error"]["message"], "context deadline exceeded");
}

/// The same stream, as if it had begun here.
fn watch_on(stream: &mut Stream) -> Stream {
    let other = stream.stream.get_ref().try_clone().unwrap();
    let mut on = Stream { stream: BufReader::new(other), status: 0, unread: Vec::new() };
    std::mem::swap(&mut on, stream);
    on.status = 0;
    on
}

#[test]
fn streams_that_end_are_the_same() {
    let answers = on_both(|side| {
        side.post("/v3/lease/grant", r#"{"ID":"77","TTL":"5000"}"#);
        let posts = [
            Post::new(KEEP_ALIVE, r#"{"ID":"77"}{"ID":78} {"ID":"77"}"#),
            Post::new(KEEP_ALIVE, ""),
            Post::new(KEEP_ALIVE, "{nonsense"),
            Post::new(KEEP_ALIVE, r#"{"ID":"nonsense"}"#),
            Post::new(KEEP_ALIVE, r#"{"ID":"77"} nonsense {"ID":"77"}"#),
            Post::new(KEEP_ALIVE, r#"{"ID":"77"}"#).header("Grpc-Metadata-hasleader", "true"),
            Post::new(KEEP_ALIVE, r#"{"ID":"77"}"#).header("Grpc-Timeout", "x"),
            Post::new("/v3/maintenance/snapshot", "{nonsense"),
            Post::new("/v3/maintenance/snapshot", "[]"),
        ];
        posts.map(|post| side.ask(&post).settled())
    });
    let Some([ours, theirs]) = answers else { return };
    assert_eq!(ours, theirs);
}

#[test]
fn a_snapshot_comes_whole() {
    let Some([ours, theirs]) = on_both(|side| {
        side.member.wait_for_storage_version().unwrap();
        let reply = side.post("/v3/maintenance/snapshot", "{}");
        let lines: Vec<Value> =
            reply.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let bytes = |line: &Value| {
            let mut bytes = Vec::new();
            let blob = line["result"]["blob"].as_str().expect("a blob");
            let standard = proto::json::Alphabet::Standard;
            proto::json::decode_base64(blob.as_bytes(), standard, true, &mut bytes).unwrap();
            bytes
        };
        let (hash, blobs) = lines.split_last().expect("there are lines");
        let whole: Vec<u8> = blobs.iter().flat_map(bytes).collect();
        assert!(whole.len().is_multiple_of(4096) && whole.len() >= 16384, "{}", whole.len());
        assert_eq!(bytes(hash).len(), 32);
        (whole[..40].to_vec(), hash["result"]["version"].clone())
    }) else {
        return;
    };
    // The magic number of a db file, and what it was made with.
    assert_eq!(ours.0[16..24], theirs.0[16..24]);
    assert_eq!(ours.1, theirs.1);
}

#[test]
fn a_body_may_go_on_while_it_is_answered() {
    let Some(pintle) = Server::pintle() else { return };
    let side = Side::start(&pintle);
    let mut stream = http::open(side.member.address());
    let head = "POST /v3/watch HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.get_mut().write_all(head.as_bytes()).unwrap();
    let say = |stream: &mut BufReader<TcpStream>, text: &str| {
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        stream.get_mut().write_all(chunk.as_bytes()).unwrap();
    };
    say(&mut stream, r#"{"create_request":{"key":"YQ=="}}"#);
    let mut stream = Stream::answered(stream);
    assert_eq!(stream.line().unwrap()["result"]["created"], true);
    for part in [r#"{"create_re"#, r#"quest":{"key":"Yg==","watch_id":"9"}}"#] {
        say(&mut stream.stream, part);
    }
    assert_eq!(stream.line().unwrap()["result"]["watch_id"], "9");
    say(&mut stream.stream, r#"{"cancel_request":{"watch_id":9}}"#);
    assert_eq!(stream.line().unwrap()["result"]["canceled"], true);
    stream.stream.get_mut().write_all(b"0\r\n\r\n").unwrap();
    // Nobody asks any more, but what was asked goes on.
    let mut other = http::Connection::new(side.member.address());
    other.ask(&Post::new("/v3/kv/put", r#"{"key":"YQ=="}"#));
    assert_eq!(stream.line().unwrap()["result"]["events"][0]["kv"]["key"], "YQ==");
}

#[test]
fn who_leaves_is_forgotten() {
    let Some(pintle) = Server::pintle() else { return };
    let mut side = Side::start(&pintle);
    let body = r#"{"create_request":{"key":"YQ=="}}"#;
    let post = Post::new(WATCH, body);
    let mut streams: Vec<_> = (0..20).map(|_| Stream::begin(&side, &post)).collect();
    streams.iter_mut().for_each(|stream| drop(stream.lines(1)));
    assert_eq!(watchers(&side), 20);
    // Half of them only say that they have no more to say.
    for stream in &streams[..10] {
        stream.stream.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    }
    streams.truncate(10);
    let forgotten = || (watchers(&side) == 0).then_some(());
    assert!(e2e::until(http::PATIENCE, forgotten).is_some(), "{} watch on", watchers(&side));
    assert_eq!(side.post("/v3/kv/put", r#"{"key":"YQ=="}"#).status, 200);
}

fn watchers(side: &Side) -> u64 {
    let (_, metrics) = side.member.get("/metrics").unwrap();
    let line = metrics.lines().find(|line| line.starts_with("etcd_debugging_mvcc_watcher_total"));
    let count = line.and_then(|line| line.rsplit_once(' ')).expect("it is counted").1;
    count.parse::<f64>().unwrap() as u64
}

#[test]
fn a_member_that_stops_says_so() {
    let Some(pintle) = Server::pintle() else { return };
    let mut side = Side::start(&pintle);
    let post = Post::new(WATCH, r#"{"create_request":{"key":"YQ=="}}"#);
    let mut stream = Stream::begin(&side, &post);
    stream.lines(1);
    side.member.stop().unwrap();
    let last = stream.line().expect("a last line");
    assert_eq!(last["error"]["message"], "etcdserver: server stopped");
    assert_eq!(stream.line(), None);
}
