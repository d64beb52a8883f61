//! What real members (3.6.14 and 3.7.1) said to each other, where it is at hand.

use std::path::PathBuf;
use std::process::Command;

use bytes::BytesMut;
use proto::Message as _;
use proto::raftpb::{Message, MessageType};

use crate::codec::{Decoder, Encoder, Kind};
use crate::headers;
use crate::receive::take_message;

struct Captures(PathBuf);

impl Drop for Captures {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Captures {
    /// `None` (and a line that says so) where there are none.
    fn unpack(test: &str) -> Option<Self> {
        let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures");
        let dir = std::env::var_os("PINTLE_FIXTURES").map_or_else(|| beside.into(), PathBuf::from);
        let archive = dir.join("etcd-data.tar.gz");
        if !archive.exists() {
            eprintln!("skipped: no fixtures in {} (set PINTLE_FIXTURES)", dir.display());
            return None;
        }
        let name = format!("pintle-peer-captures-{}-{test}", std::process::id());
        let captures = Self(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&captures.0).unwrap();
        let mut tar = Command::new("tar");
        tar.arg("-xzf").arg(&archive).arg("-C").arg(&captures.0).arg("./cap");
        assert!(tar.status().unwrap().success());
        Some(captures)
    }

    /// Request and answer of each conversation whose first line begins so.
    fn conversations(&self, begin: &str) -> Vec<(Said, Said)> {
        let names = std::fs::read_dir(self.0.join("cap")).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().path()).collect();
        names.retain(|name| name.extension().is_some_and(|extension| extension == "req"));
        names.sort();
        let read = |path: PathBuf| Said::parse(&std::fs::read(path).unwrap());
        let all = names.into_iter().filter_map(|name| {
            Some((read(name.clone())?, read(name.with_extension("rsp")).unwrap_or_default()))
        });
        all.filter(|(request, _)| request.first.starts_with(begin)).collect()
    }
}

/// One side of a conversation: the first request or answer of it.
#[derive(Debug, Default)]
struct Said {
    first: String,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

impl Said {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let (first, lines) = head.split_once("\r\n").unwrap();
        let headers = lines.lines().map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (http::HeaderName::try_from(name).unwrap(), value.parse().unwrap())
        });
        let headers: http::HeaderMap = headers.collect();
        let rest = &bytes[end + 4..];
        let body = match headers.get("content-length") {
            Some(length) => rest[..length.to_str().unwrap().parse().unwrap()].to_vec(),
            None if headers.contains_key("transfer-encoding") => dechunk(rest),
            None => Vec::new(),
        };
        Some(Self { first: first.to_owned(), headers, body })
    }
}

/// What is in the chunks; the capture may end in the middle of one.
fn dechunk(mut rest: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let len = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        let from = &rest[end + 2..];
        all.extend_from_slice(&from[..len.min(from.len())]);
        if len == 0 || from.len() < len + 2 {
            break;
        }
        rest = &from[len + 2..];
    }
    all
}

fn id(text: &str) -> u64 {
    u64::from_str_radix(text, 16).unwrap()
}

#[test]
fn streams_of_etcd_are_read_and_what_is_read_is_written_as_etcd_did() {
    let Some(captures) = Captures::unpack("streams") else { return };
    let (mut appends, mut dense, mut others) = (0, 0, 0);
    for (request, answer) in captures.conversations("GET /raft/stream/") {
        if !answer.first.starts_with("HTTP/1.1 200 ") {
            continue;
        }
        let path = request.first.split(' ').nth(1).unwrap();
        let kind = if path.contains("/msgapp/") { Kind::MsgApp } else { Kind::Message };
        let to = id(path.rsplit('/').next().unwrap());
        let from = headers::id(&request.headers, &headers::TO).unwrap();
        let (mut encoder, mut decoder) = (Encoder::new(kind), Decoder::new(kind, from, to));
        let (mut begin, mut messages, mut again) = (0, Vec::new(), BytesMut::new());
        for (at, byte) in answer.body.iter().enumerate() {
            decoder.feed(&[*byte], &mut messages).unwrap();
            if !decoder.is_between_messages() {
                continue;
            }
            if let Some(message) = messages.pop() {
                assert_eq!((message.from(), message.to()), (from, to));
                encoder.encode(&message, &mut again);
                let original = &answer.body[begin..=at];
                assert_eq!(again.split(), original, "{message:?}");
                match kind {
                    Kind::MsgApp => appends += 1,
                    Kind::Message => others += 1,
                }
                dense += usize::from(kind == Kind::MsgApp && original.first() == Some(&1));
            }
            begin = at + 1;
        }
        assert!(messages.is_empty());
    }
    assert!(appends >= 10 && dense >= 5 && others >= 100, "{appends} {dense} {others}");
}

#[test]
fn requests_of_etcd_are_taken() {
    let Some(captures) = Captures::unpack("requests") else { return };
    let all = captures.conversations("");
    let raft = all.iter().filter(|(request, _)| request.first.contains(" /raft"));
    let signed = raft.filter(|(request, _)| !request.first.contains("/raft/probing"));
    let mut checked = 0;
    for (request, _) in signed {
        let cluster = headers::id(&request.headers, &headers::CLUSTER_ID).unwrap();
        assert_eq!(headers::check(&request.headers, cluster), Ok(()), "{}", request.first);
        assert_eq!(headers::peer_urls(&request.headers).len(), 1);
        assert!(headers::id(&request.headers, &headers::FROM).is_some());
        checked += 1;
    }
    assert!(checked >= 10, "{checked}");
    for (request, answer) in captures.conversations("POST /raft HTTP") {
        let message = Message::decode(&request.body[..]).unwrap();
        assert_eq!(Some(message.from()), headers::id(&request.headers, &headers::FROM));
        assert_eq!(message.encode_to_vec(), request.body);
        assert!(answer.first.starts_with("HTTP/1.1 204"));
    }
    let snapshots = captures.conversations("POST /raft/snapshot ");
    let [(snapshot, _)] = &snapshots[..] else { panic!("{} snapshots", snapshots.len()) };
    let mut body = BytesMut::from(&snapshot.body[..]);
    let message = take_message(&mut body).unwrap().unwrap();
    assert_eq!(message.r#type, Some(MessageType::MsgSnap as i32));
    assert!(message.snapshot.unwrap().metadata.unwrap().index() > 0);
    // What is left is a db file.
    assert_eq!(body[16..20], 0xED0C_DAED_u32.to_le_bytes());
}
