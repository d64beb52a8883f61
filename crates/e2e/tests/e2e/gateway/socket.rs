//! WebSockets: the messages of both servers, and clients that behave badly.

use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;

use e2e::Server;
use serde_json::{Value, json};

use super::Side;
use super::http;

const HANDSHAKE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;

struct Socket {
    stream: BufReader<TcpStream>,
}

impl Socket {
    fn open(side: &Side, path: &str, headers: &str) -> Self {
        let mut stream = http::open(side.member.address());
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{HANDSHAKE}{headers}\r\n");
        stream.get_mut().write_all(head.as_bytes()).unwrap();
        let (reply, _) = http::begin(&mut stream).expect("an answer");
        assert_eq!(reply.status, 101, "{reply:?}");
        assert_eq!(reply.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        Self { stream }
    }

    fn say(&mut self, opcode: u8, payload: &[u8]) {
        self.say_part(0x80 | opcode, payload);
    }

    /// A frame whose first byte is this.
    fn say_part(&mut self, first: u8, payload: &[u8]) {
        const MASK: [u8; 4] = [1, 2, 3, 4];
        let mut frame = vec![first];
        match payload.len() {
            len @ 0..126 => frame.push(0x80 | len as u8),
            len @ 126..0x1_0000 => {
                frame.push(0x80 | 126);
                frame.extend((len as u16).to_be_bytes());
            }
            len => {
                frame.push(0x80 | 127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        frame.extend(MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        // Who is sent away may not take all of it.
        let _ = self.stream.get_mut().write_all(&frame);
    }

    /// The next frame: its opcode and what it carries; `None` when the server has closed.
    fn hear(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).ok()?;
        let len = match head[1] {
            126 => {
                let mut len = [0; 2];
                self.stream.read_exact(&mut len).ok()?;
                usize::from(u16::from_be_bytes(len))
            }
            127 => {
                let mut len = [0; 8];
                self.stream.read_exact(&mut len).ok()?;
                u64::from_be_bytes(len) as usize
            }
            len => usize::from(len),
        };
        let mut payload = vec![0; len];
        self.stream.read_exact(&mut payload).ok()?;
        Some((head[0] & 15, payload))
    }

    /// The next message; `Null` when there are no more.
    fn message(&mut self) -> Value {
        match self.hear() {
            Some((TEXT, text)) => {
                let mut value = serde_json::from_slice(&text).expect("a message is JSON");
                http::settle(&mut value);
                value
            }
            Some((CLOSE, _)) | None => Value::Null,
            Some((opcode, payload)) => json!([opcode, payload]),
        }
    }
}

#[test]
fn messages_are_the_same() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let answers = [&pintle, &etcd].map(|server| {
        let mut side = Side::start(server);
        side.post("/v3/kv/put", r#"{"key":"YQ==","value":"YQ=="}"#);
        side.post("/v3/lease/grant", r#"{"ID":"77","TTL":"5000"}"#);
        let mut all = Vec::new();
        let mut talk = |path: &str, headers: &str, said: &[(u8, &str)], count| {
            let mut socket = Socket::open(&side, path, headers);
            said.iter().for_each(|(opcode, text)| socket.say(*opcode, text.as_bytes()));
            all.push((0..count).map(|_| socket.message()).collect::<Vec<_>>());
            socket
        };
        let watch = r#"{"create_request":{"key":"YQ==","start_revision":"1"}}"#;
        talk("/v3/watch", "", &[(TEXT, watch)], 2);
        let halves = [(TEXT, "{\"create_request\":"), (BINARY, "{\"key\":\"YQ==\"}}")];
        talk("/v3/watch", "", &halves, 1);
        let mut idle = talk("/v3/watch", "", &[(PING, "hello")], 1);
        idle.say(CLOSE, &[3, 0xe8]);
        assert_eq!(idle.hear(), Some((CLOSE, vec![3, 0xe8])));
        assert_eq!(idle.hear(), None);
        let twice = [(TEXT, r#"{"ID":"77"}{"ID":"78"}"#), (TEXT, r#"{"ID":77}"#)];
        talk("/v3/lease/keepalive", "Cookie: a=b; token=abc\r\n", &twice, 3);
        talk("/v3/lease/keepalive", "", &[(TEXT, "nonsense")], 1);
        talk("/v3/nothing", "", &[], 2);
        talk("/v3/kv/range?method=GET", "", &[(TEXT, "nonsense")], 2);
        all
    });
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn bad_handshakes_are_refused_alike() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let (ours, theirs) = (Side::start(&pintle), Side::start(&etcd));
    let good = format!("GET /v3/watch HTTP/1.1\r\nHost: localhost\r\n{HANDSHAKE}\r\n");
    for head in [
        good.replace("GET", "POST").replace("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n"),
        good.replace("Version: 13", "Version: 12"),
        good.replace("dGhl", "!!!!"),
        good.replace("dGhl", ""),
        good.replace("Upgrade: websocket", "Upgrade: something"),
        good.replace("GET", "OPTIONS"),
        good.replace("/v3/watch", "/version"),
        good.replace("/v3/watch", "/v3//watch"),
        good.replace(
            "Host: localhost\r\n",
            "Host: localhost\r\nSec-WebSocket-Protocol: Bearer, x\r\n",
        ),
        good.replace("Host: localhost\r\n", "Host: localhost\r\nSec-WebSocket-Protocol: chat\r\n"),
    ] {
        let [ours, theirs] = [&ours, &theirs].map(|side| {
            let mut stream = http::open(side.member.address());
            stream.get_mut().write_all(head.as_bytes()).unwrap();
            let (reply, _) = http::begin(&mut stream).expect(&head);
            let told = |name| reply.header(name).map(str::to_owned);
            (reply.status, told("sec-websocket-version"), told("sec-websocket-protocol"))
        });
        assert_eq!(ours, theirs, "{head}");
    }
}

#[test]
fn a_call_of_one_reply_is_answered_at_once() {
    let Some(pintle) = Server::pintle() else { return };
    let side = Side::start(&pintle);
    let mut socket = Socket::open(&side, "/v3/kv/put", "");
    // In two frames, with a ping between.
    socket.say_part(TEXT, br#"{"key":"YQ==","#);
    socket.say(PING, b"?");
    socket.say_part(0x80, br#""value":"YQ=="}"#);
    assert_eq!(socket.message(), json!([10, b"?"]));
    assert_eq!(socket.message()["header"]["revision"], "2");
    assert_eq!(socket.message(), Value::Null);
}

#[test]
fn who_breaks_the_rules_is_sent_away() {
    let Some(pintle) = Server::pintle() else { return };
    let mut side = Side::start(&pintle);
    let large = vec![b' '; 12 << 20];
    let misdeeds: [&dyn Fn(&mut Socket); 5] = [
        &|socket| socket.stream.get_mut().write_all(&[0x81, 2, b'{', b'}']).unwrap(),
        &|socket| socket.say_part(0x83, b"{}"),
        &|socket| socket.say_part(0xf1, b"{}"),
        &|socket| socket.say(TEXT, &large),
        &|socket| socket.say_part(0x80, b"{}"),
    ];
    for misdeed in misdeeds {
        let mut socket = Socket::open(&side, "/v3/watch", "");
        misdeed(&mut socket);
        while socket.message() != Value::Null {}
    }
    assert_eq!(side.post("/v3/kv/range", r#"{"key":"YQ=="}"#).status, 200);
}

#[test]
fn who_does_not_read_costs_little() {
    let Some(pintle) = Server::pintle() else { return };
    let mut side = Side::start(&pintle);
    let mut sockets: Vec<_> = (0..20)
        .map(|_| {
            let mut socket = Socket::open(&side, "/v3/watch", "");
            socket.say(TEXT, br#"{"create_request":{"key":"YQ=="}}"#);
            assert_eq!(socket.message()["result"]["created"], true);
            socket
        })
        .collect();
    let before = resident_bytes(&side);
    let value = "AAAA".repeat(50_000);
    for _ in 0..150 {
        let body = format!(r#"{{"key":"YQ==","value":"{value}"}}"#);
        assert_eq!(side.post("/v3/kv/put", &body).status, 200);
    }
    // All that they are owed is 600 MB, as JSON. One message of each, on its way from events to
    // JSON and frame, may be there, and it is as large as a message may be.
    let grown = resident_bytes(&side).saturating_sub(before);
    assert!(grown < 350 << 20, "grown by {grown} bytes");
    // Nothing is lost: who reads again gets all of it.
    let mut seen = Vec::new();
    while seen.len() < 150 {
        let mut message = sockets[0].message();
        let events = message["result"]["events"].take();
        let events = events.as_array().expect("events and nothing else").clone();
        seen.extend(events.iter().map(|event| event["kv"]["mod_revision"].clone()));
    }
    assert_eq!(seen, (2..152).map(|revision| json!(revision.to_string())).collect::<Vec<_>>());
}

fn resident_bytes(side: &Side) -> u64 {
    let pid = side.member.pid().expect("it runs");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("is told");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn a_member_that_stops_waits_for_no_socket() {
    let Some(pintle) = Server::pintle() else { return };
    let mut side = Side::start(&pintle);
    let _silent = Socket::open(&side, "/v3/kv/range", "");
    let mut watch = Socket::open(&side, "/v3/watch", "");
    watch.say(TEXT, br#"{"create_request":{"key":"YQ=="}}"#);
    watch.message();
    side.member.stop().unwrap();
    assert_eq!(watch.message()["error"]["code"], 14);
}
