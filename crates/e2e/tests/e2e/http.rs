//! The plain HTTP of client and peer URLs: the same requests get the same answers, headers
//! included.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use e2e::{Member, Scratch, Server, member_flags};

const FLAGS: [&str; 4] = [
    "--unsafe-no-fsync",
    "--advertise-client-urls=http://127.0.0.1:2379",
    "--host-whitelist=localhost,example.org",
    "--cors=http://a.example:80,http://b.example:80",
];

/// Host, method, path and origin.
const TO_CLIENT_URL: &[(&str, &str, &str, &str)] = &[
    ("localhost", "GET", "/version", ""),
    ("localhost", "GET", "/version", "http://b.example:80"),
    ("localhost:99", "POST", "/version", "http://c.example:80"),
    ("example.org", "OPTIONS", "/nothing", "http://a.example:80"),
    ("example.com", "OPTIONS", "/version", ""),
    ("evil.example:2379", "GET", "/health", ""),
    ("localhost", "GET", "/health", ""),
    ("localhost", "POST", "/health", ""),
    ("localhost", "GET", "/livez", ""),
    ("localhost", "GET", "/readyz/linearizable_read?verbose", ""),
    ("localhost", "GET", "/readyz/nothing", ""),
    ("localhost", "POST", "/debug/vars", ""),
    ("localhost", "GET", "/debug/pprof/", ""),
    ("localhost", "GET", "/members", ""),
    ("localhost", "GET", "/v2/keys", ""),
];
const TO_PEER_URL: &[(&str, &str, &str, &str)] = &[
    ("anywhere", "GET", "/version", "http://a.example:80"),
    ("anywhere", "GET", "/members", ""),
    ("anywhere", "POST", "/members", ""),
    ("anywhere", "GET", "/downgrade/enabled", ""),
    ("anywhere", "PUT", "/downgrade/enabled", ""),
    ("anywhere", "GET", "/health", ""),
    ("anywhere", "GET", "/metrics", ""),
    ("anywhere", "OPTIONS", "/", ""),
];

#[test]
fn answers_are_the_same() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let answers = |server: &Server| {
        let scratch = Scratch::new("http");
        let member = Member::start(server, scratch.path(), &FLAGS).unwrap();
        member.wait_for_storage_version().unwrap();
        let ask = |to: SocketAddr, all: &[(&str, &str, &str, &str)]| {
            all.iter().map(|request| answer(to, *request)).collect::<Vec<_>>()
        };
        let (to_client, to_peer) =
            (ask(member.address(), TO_CLIENT_URL), ask(member.peer_address(), TO_PEER_URL));
        [to_client, to_peer].concat()
    };
    let (ours, theirs) = (answers(&pintle), answers(&etcd));
    let requests = TO_CLIENT_URL.iter().chain(TO_PEER_URL);
    for ((request, ours), theirs) in requests.zip(ours).zip(theirs) {
        assert_eq!(ours, theirs, "{request:?}");
    }
}

#[test]
fn an_address_that_is_taken_ends_the_start() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let scratch = Scratch::new("http");
    let holder = Member::start(&pintle, scratch.path(), &["--unsafe-no-fsync"]).unwrap();
    for (peer, client) in [
        (holder.peer_address().to_string(), "127.0.0.1:0".to_owned()),
        ("127.0.0.1:0".to_owned(), holder.endpoint()),
    ] {
        let told = [&pintle, &etcd].map(|server| {
            let data = scratch.path().join(format!("other-{}", server.name));
            let outcome = Command::new(&server.path)
                .arg("--data-dir")
                .arg(&data)
                .args(member_flags())
                .arg(format!("--listen-peer-urls=http://{peer}"))
                .arg(format!("--listen-client-urls=http://{client}"))
                .arg("--advertise-client-urls=http://127.0.0.1:2379")
                .output()
                .unwrap();
            assert!(!data.join("member/wal").exists(), "{} has begun", server.name);
            let log = String::from_utf8_lossy(&outcome.stderr).into_owned();
            let fatal = log.lines().find(|line| line.contains("\"fatal\"")).unwrap_or(&log);
            let (_, error) = fatal.split_once("\"error\":\"").expect(fatal);
            let (error, _) = error.split_once('"').expect(fatal);
            (outcome.status.code(), error.to_owned())
        });
        assert_eq!(told[0], told[1]);
        assert!(told[0].1.ends_with("bind: address already in use"), "{told:?}");
    }
}

/// The answer's first line, its headers in order of their names, and its body.
fn answer(to: SocketAddr, request: (&str, &str, &str, &str)) -> String {
    let (host, method, path, origin) = request;
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let origin = if origin.is_empty() { String::new() } else { format!("Origin: {origin}\r\n") };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{origin}Content-Length: 0\r\n\
         Connection: close\r\n\r\n"
    )
    .unwrap();
    let (head, body) = read_answer(&mut stream);
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    // Dates differ, and so does what is said of the connection that ends.
    let mut headers: Vec<_> = lines
        .map(str::to_ascii_lowercase)
        .filter(|line| !line.starts_with("date:") && !line.starts_with("connection:"))
        .collect();
    headers.sort();
    format!("{status}\n{}\n\n{body}", headers.join("\n"))
}

/// Reads as long as the head says: etcd keeps connections at peer URLs for seconds.
fn read_answer(stream: &mut TcpStream) -> (String, String) {
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let len = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
                })
                .unwrap_or(0);
            if body.len() >= len {
                return (head.to_owned(), body.to_owned());
            }
        }
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "an answer that is cut short: {text}");
        answer.extend_from_slice(&piece[..count]);
    }
}
