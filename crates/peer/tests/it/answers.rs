//! What peer URLs answer, to the byte where others look at it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use node::Node;
use proto::Message as _;
use proto::raftpb;
use tokio::time::Instant;

use crate::member::{Member, PATIENCE, until};

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut of_name = lines.filter(|(header, _)| header.eq_ignore_ascii_case(name));
        of_name.next().map(|(_, value)| value)
    }
}

fn connect(member: &Member) -> TcpStream {
    let stream = TcpStream::connect(member.host()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout may be set");
    stream
}

/// Makes one request and reads until the other side closes.
pub(crate) fn ask(
    member: &Member,
    request: &str,
    headers: &[(&str, String)],
    body: &[u8],
) -> Answer {
    let mut stream = connect(member);
    let mut head = format!("{request} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes()).expect("it is taken");
    // Who refuses before it has all may close.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers and closes");
    parse(&answer)
}

fn parse(answer: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").expect("it has a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Answer { status: status.expect("a status"), head: head.to_owned(), body: body.to_owned() }
}

pub(crate) const SOMEBODY: u64 = 0xabc;

/// What a member of the same cluster puts on what it says.
pub(crate) fn signed(node: &Node) -> Vec<(&'static str, String)> {
    vec![
        ("X-Server-From", format!("{SOMEBODY:x}")),
        ("X-Server-Version", "3.7.1".to_owned()),
        ("X-Min-Cluster-Version", "3.0.0".to_owned()),
        ("X-Etcd-Cluster-ID", format!("{:x}", node.cluster_id())),
        ("X-Raft-To", format!("{:x}", node.member_id())),
    ]
}

fn but(
    headers: &[(&'static str, String)],
    name: &str,
    value: Option<&str>,
) -> Vec<(&'static str, String)> {
    let kept = headers.iter().filter_map(|(header, old)| match value {
        _ if *header != name => Some((*header, old.clone())),
        Some(value) => Some((*header, value.to_owned())),
        None => None,
    });
    kept.collect()
}

fn message(kind: raftpb::MessageType, to: u64) -> raftpb::Message {
    raftpb::Message {
        r#type: Some(kind as i32),
        to: Some(to),
        from: Some(SOMEBODY),
        term: Some(1),
        ..Default::default()
    }
}

#[test]
fn plain_questions_are_answered_as_etcd_does() {
    let member = Member::alone();
    let (id, cluster) = (member.node().member_id(), member.node().cluster_id());
    let cluster = format!("{cluster:x}");
    let url = &member.url;
    let members = format!(
        "[{{\"id\":{id},\"peerURLs\":[\"{url}\"],\"name\":\"m0\",\
         \"clientURLs\":[\"http://127.0.0.1:2379\"]}}]\n"
    );
    let json = "application/json";
    let versions = r#"{"etcdserver":"3.7.1","etcdcluster":"3.7.0","storage":"3.7.0"}"#;
    let plain = "text/plain; charset=utf-8";
    let table = [
        ("GET /members", "", 200, members.as_str(), Some(json), true),
        ("GET /version", "", 200, versions, Some(json), false),
        ("GET /downgrade/enabled", "", 200, "false", Some("text/plain"), true),
        ("POST /members", "", 405, "Method Not Allowed\n", Some(plain), false),
        ("GET /raft", "", 405, "Method Not Allowed\n", Some(plain), false),
        ("POST /raft/stream/message/1", "", 405, "Method Not Allowed\n", Some(plain), false),
        ("GET /", "", 404, "404 page not found\n", Some(plain), false),
        ("GET /raft/what", "", 404, "404 page not found\n", Some(plain), false),
        ("GET /members/hashkv", "no", 400, "error unmarshalling request\n", Some(plain), true),
        (
            "GET /members/hashkv",
            r#"{"revision":5}"#,
            400,
            "mvcc: required revision is a future revision\n",
            Some(plain),
            true,
        ),
        ("POST /members/promote/x", "", 404, "member x not found in cluster\n", Some(plain), true),
        ("POST /members/promote/5", "", 404, "membership: ID not found\n", Some(plain), true),
        ("POST /leases", "\u{8}\u{5}", 404, "lease not found\n", Some(plain), false),
        ("POST /leases", "\u{8}", 400, "error unmarshalling request\n", Some(plain), false),
        ("POST /leases/internal", "\n\u{2}\u{8}\u{5}", 404, "lease not found\n", None, false),
        ("POST /leases/internal", "", 400, "error unmarshalling request\n", None, false),
    ];
    for (request, body, status, text, content, marked) in table {
        let answer = ask(&member, request, &[], body.as_bytes());
        assert_eq!((answer.status, answer.body.as_str()), (status, text), "{request}");
        if let Some(content) = content {
            assert_eq!(answer.header("content-type"), Some(content), "{request}");
        }
        let mark = answer.header("x-etcd-cluster-id");
        assert_eq!(mark, marked.then_some(cluster.as_str()), "{request}");
    }
    let allow = ask(&member, "PUT /raft/snapshot", &[], b"");
    assert_eq!((allow.status, allow.header("allow")), (405, Some("POST")));
    let large = ask(&member, "POST /leases", &[], &vec![0; 70_000]);
    assert_eq!((large.status, large.body.as_str()), (413, "request body too large\n"));
    let other = [("X-Etcd-Cluster-ID", "1".to_owned())];
    let refused = ask(&member, "GET /members/hashkv", &other, b"{}");
    assert_eq!((refused.status, refused.body.as_str()), (412, "cluster ID mismatch\n"));
    let hash = ask(&member, "GET /members/hashkv", &[], b"{}").body;
    assert!(hash.starts_with(r#"{"header":{"revision":1},"hash":"#), "{hash}");
    assert!(hash.ends_with(r#","compact_revision":-1,"hash_revision":1}"#), "{hash}");
    let probed = ask(&member, "GET /raft/probing", &[], b"").body;
    assert!(probed.starts_with(r#"{"OK":true,"Now":"20"#), "{probed}");
    assert!(probed.ends_with("Z\"}\n"), "{probed}");
}

#[test]
fn who_is_not_one_of_us_is_refused_and_never_told_to_stop() {
    let member = Member::alone();
    let node = member.node();
    let (good, me) = (signed(node), node.member_id());
    let heartbeat = message(raftpb::MessageType::MsgHeartbeat, me).encode_to_vec();
    let lost = message(raftpb::MessageType::MsgHeartbeat, 5).encode_to_vec();
    let stream = "GET /raft/stream/message/abc";
    let version = "incompatible version\n";
    let cluster = "cluster ID mismatch\n";
    let old = but(&good, "X-Server-Version", Some("2.3.8"));
    let silent = but(&good, "X-Server-Version", None);
    let odd = but(&good, "X-Server-Version", Some("new"));
    let demanding = but(&good, "X-Min-Cluster-Version", Some("3.8.0"));
    let foreign = but(&good, "X-Etcd-Cluster-ID", Some("1"));
    let unmarked = but(&good, "X-Etcd-Cluster-ID", None);
    for (headers, text) in [
        (&old, version),
        (&silent, version),
        (&odd, version),
        (&demanding, version),
        (&foreign, cluster),
        (&unmarked, cluster),
    ] {
        for request in [stream, "POST /raft", "POST /raft/snapshot"] {
            let answer = ask(&member, request, headers, b"");
            assert_eq!((answer.status, answer.body.as_str()), (412, text), "{request}");
        }
    }
    let astray = but(&good, "X-Raft-To", Some("5"));
    let table = [
        (stream, &good, &b""[..], 404, "error sender not found\n"),
        ("GET /raft/stream/message/xyz", &good, b"", 404, "invalid from\n"),
        ("GET /raft/stream/other/abc", &good, b"", 404, "invalid path\n"),
        (stream, &astray, b"", 404, "error sender not found\n"),
        ("POST /raft", &good, b"\xff\xff", 400, "error unmarshalling raft message\n"),
        ("POST /raft", &good, &lost, 412, "to field mismatch\n"),
        ("POST /raft", &good, &heartbeat, 204, ""),
    ];
    for (request, headers, body, status, text) in table {
        let answer = ask(&member, request, headers, body);
        assert_eq!((answer.status, answer.body.as_str()), (status, text), "{request}");
        let known = answer.header("x-server-version") == Some("3.7.1");
        assert_eq!(known, request.contains("stream"), "{request}");
    }
    assert!(node.is_leader(), "nothing of it has moved the member");
}

/// The head of a snapshot for a member, and what stands for a db file.
fn snapshot(to: u64, body: &[u8]) -> Vec<u8> {
    let metadata =
        raftpb::SnapshotMetadata { index: Some(1000), term: Some(9), ..Default::default() };
    let snapshot = raftpb::Snapshot { metadata: Some(metadata), ..Default::default() };
    let mut message = message(raftpb::MessageType::MsgSnap, to);
    message.snapshot = Some(snapshot);
    let message = message.encode_to_vec();
    [&(message.len() as u64).to_be_bytes()[..], &message, body].concat()
}

fn received_files(member: &Member) -> Vec<String> {
    let names = std::fs::read_dir(member.directory.0.join("member/snap")).expect("it is there");
    let names = names.map(|entry| entry.expect("it is read").file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".snap.db")).collect()
}

#[test]
fn a_state_that_is_cut_off_or_none_at_all_leaves_nothing() {
    let member = Member::alone();
    member.put("k", "v").expect("it leads");
    let node = member.node();
    let good = signed(node);
    let whole = snapshot(node.member_id(), &[7; 100_000]);
    let snap = "POST /raft/snapshot";
    let head = |headers: &[(&str, String)], length: &str| {
        let headers: Vec<_> = headers.iter().map(|(k, v)| format!("{k}: {v}\r\n")).collect();
        format!("{snap} HTTP/1.1\r\nHost: m\r\n{}{length}\r\n\r\n", headers.concat())
    };
    // Cut by its length, and in the middle of a chunk.
    for length in ["Content-Length: 200000", "Transfer-Encoding: chunked"] {
        let mut stream = connect(&member);
        stream.write_all(head(&good, length).as_bytes()).expect("it is taken");
        if length.starts_with('T') {
            stream.write_all(b"30000\r\n").expect("it is taken");
        }
        stream.write_all(&whole).expect("it is taken");
        until("the file", || !received_files(&member).is_empty());
        drop(stream);
        until("its end", || received_files(&member).is_empty());
    }
    let not_a_db = ask(&member, snap, &good, &whole);
    assert_eq!(not_a_db.status, 500, "{not_a_db:?}");
    let table = [
        (snapshot(5, b""), 412),
        (whole[..20].to_vec(), 400),
        ([&[0xff; 8][..], &whole[8..]].concat(), 400),
        ([&2_u64.to_be_bytes()[..], &[0xff, 0xff]].concat(), 400),
        (
            {
                let message = message(raftpb::MessageType::MsgApp, node.member_id());
                let message = message.encode_to_vec();
                [&(message.len() as u64).to_be_bytes()[..], &message].concat()
            },
            400,
        ),
    ];
    for (body, status) in table {
        let answer = ask(&member, snap, &good, &body);
        assert_eq!(answer.status, status, "{answer:?}");
    }
    assert!(received_files(&member).is_empty());
    assert!(member.holds("k") && node.is_leader());
}

#[test]
fn who_says_nothing_for_five_seconds_is_not_waited_for() {
    let member = Member::alone();
    let good = signed(member.node());
    let mut idle = connect(&member);
    let mut half = connect(&member);
    let headers: Vec<_> = good.iter().map(|(k, v)| format!("{k}: {v}\r\n")).collect();
    let request = format!(
        "POST /raft HTTP/1.1\r\nHost: m\r\n{}Content-Length: 100\r\n\r\nhalf",
        headers.concat()
    );
    let begun = Instant::now();
    half.write_all(request.as_bytes()).expect("it is taken");
    let mut answer = Vec::new();
    half.read_to_end(&mut answer).expect("it is closed");
    assert_eq!(parse(&answer).body, "error reading raft message\n");
    assert_eq!(idle.read(&mut [0]).expect("it is closed"), 0);
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(4) && took < Duration::from_secs(10), "{took:?}");
}
