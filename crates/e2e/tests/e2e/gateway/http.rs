//! HTTP/1.1 by hand: one connection, kept alive, that hides nothing of an answer.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long an answer may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A request.
#[derive(Clone)]
pub(crate) struct Post {
    method: String,
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl std::fmt::Debug for Post {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { method, path, headers, body } = self;
        write!(out, "{method} {path} {headers:?} {}", String::from_utf8_lossy(body))
    }
}

impl Post {
    pub(crate) fn new(path: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        let (method, headers) = ("POST".to_owned(), Vec::new());
        Self { method, path: path.into(), headers, body: body.into() }
    }

    pub(crate) fn method(mut self, method: &str) -> Self {
        self.method = method.to_owned();
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// All but the body.
    pub(crate) fn head(&self) -> String {
        let Self { method, path, headers, body } = self;
        let headers: String =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let len = body.len();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len}\r\n{headers}\r\n"
        )
    }
}

/// An answer, as far as two servers must have it in common.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settled {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<Value>,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as one value; `Null` if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(crate) fn settled(&self) -> Settled {
        let told = |name: &str| {
            matches!(name, "content-type" | "location" | "www-authenticate" | "allow")
                || name.starts_with("grpc-metadata")
                || name.starts_with("access-control")
        };
        let mut headers: Vec<_> =
            self.headers.iter().filter(|(name, _)| told(name)).cloned().collect();
        headers.sort();
        let text = self.text();
        let mut lines: Vec<Value> = text
            .split_inclusive('\n')
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| line.into()))
            .collect();
        lines.iter_mut().for_each(settle);
        Settled { status: self.status, headers, body: lines }
    }
}

/// Takes out of a reply what two servers cannot have in common.
pub(crate) fn settle(value: &mut Value) {
    match value {
        // Each build of Go's protobuf has its own taste in spaces.
        Value::String(text) => *text = text.replace('\u{a0}', " ").replace("  ", " "),
        Value::Array(values) => values.iter_mut().for_each(settle),
        Value::Object(fields) => {
            for name in ["dbSize", "dbSizeInUse", "storageVersion"] {
                fields.remove(name);
            }
            let seconds = |name: &str| fields.get(name)?.as_str()?.parse::<i64>().ok();
            if let (Some(granted), Some(left)) = (seconds("grantedTTL"), seconds("TTL"))
                && (0..5).contains(&(granted - left))
            {
                fields["TTL"] = granted.into();
            }
            fields.values_mut().for_each(settle);
            for name in ["leases", "keys", "alarms", "errors"] {
                if let Some(Value::Array(values)) = fields.get_mut(name) {
                    values.sort_by_key(Value::to_string);
                }
            }
        }
        _ => {}
    }
}

/// A connection, opened anew when the server has closed it.
pub(crate) struct Connection {
    to: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Connection {
    pub(crate) fn new(to: SocketAddr) -> Self {
        Self { to, stream: None }
    }

    pub(crate) fn ask(&mut self, post: &Post) -> Reply {
        let mut stream = self.stream.take().unwrap_or_else(|| open(self.to));
        let bytes = [post.head().as_bytes(), &post.body].concat();
        // Who refuses a body may close before all of it is there.
        let _ = stream.get_mut().write_all(&bytes);
        let (mut reply, is_last) = begin(&mut stream).unwrap_or_else(|| panic!("{post:?}"));
        let is_bodyless = post.method == "HEAD" || reply.status < 200 || reply.status == 204;
        if !is_bodyless {
            reply.body = rest(&mut stream, &reply, is_last).unwrap_or_else(|| panic!("{post:?}"));
        }
        if !is_last {
            self.stream = Some(stream);
        }
        reply
    }
}

pub(crate) fn open(to: SocketAddr) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(stream)
}

/// Reads the head of an answer. Says whether the connection ends with it.
pub(crate) fn begin(stream: &mut BufReader<TcpStream>) -> Option<(Reply, bool)> {
    loop {
        let first = line(stream)?;
        let status = first.split(' ').nth(1)?.parse().ok()?;
        let mut headers = Vec::new();
        loop {
            let line = line(stream)?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if status == 100 {
            continue;
        }
        let reply = Reply { status, headers, body: Vec::new() };
        let is_last = reply.header("connection").is_some_and(|value| value == "close");
        return Some((reply, is_last));
    }
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn rest(stream: &mut BufReader<TcpStream>, reply: &Reply, is_last: bool) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    if reply.header("transfer-encoding") == Some("chunked") {
        while let Some(part) = chunk(stream) {
            body.extend(part);
        }
    } else if let Some(len) = reply.header("content-length") {
        body.resize(len.parse().ok()?, 0);
        stream.read_exact(&mut body).ok()?;
    } else if is_last {
        stream.read_to_end(&mut body).ok()?;
    }
    Some(body)
}

/// The next part of a body; `None` when it is over.
pub(crate) fn chunk(stream: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let len = usize::from_str_radix(line(stream)?.trim(), 16).ok()?;
    let mut part = vec![0; len];
    stream.read_exact(&mut part).ok()?;
    line(stream)?;
    (len > 0).then_some(part)
}

fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|len| *len > 0)?;
    Some(line.trim_end().to_owned())
}
