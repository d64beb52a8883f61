//! HTTP/2 by hand: frames with any content.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use proto::Message as _;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{WatchCreateRequest, WatchRequest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::both::{Talk, soon};

/// What has not come by then does not come.
const SILENCE: Duration = Duration::from_millis(60);
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

/// Of DATA and HEADERS; the same bit acknowledges SETTINGS and PING.
pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;

/// A frame, whatever sense it makes.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_uint(content.len() as u64, 3);
    frame.put_u8(kind);
    frame.put_u8(flags);
    frame.put_u32(stream);
    frame.put_slice(content);
    frame.freeze()
}

/// What begins a watch stream, and what asks on it for a watcher of `a`.
pub(super) fn watch() -> [Bytes; 2] {
    let create = WatchCreateRequest { key: "a".into(), ..WatchCreateRequest::default() };
    let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let message = create.encode_to_vec();
    let mut content = vec![0, 0, 0, 0, message.len() as u8];
    content.extend(message);
    let fields = GOOD.map(|(name, value)| match name {
        ":path" => (name, "/etcdserverpb.Watch/Watch"),
        _ => (name, value),
    });
    [frame(HEADERS, END_HEADERS, 1, &block(&fields)), frame(DATA, 0, 1, &content)]
}

/// A block of headers, each a literal that leaves the tables as they are.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            if text.len() < 127 {
                block.push(text.len() as u8);
            } else {
                block.push(127);
                let mut rest = text.len() - 127;
                while rest > 127 {
                    block.push((rest % 128) as u8 | 128);
                    rest /= 128;
                }
                block.push(rest as u8);
            }
            block.extend(text.as_bytes());
        }
    }
    block
}

/// The headers of a good call.
pub(super) const GOOD: [(&str, &str); 6] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/etcdserverpb.KV/Range"),
    (":authority", "localhost"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
];

/// A connection on which nothing is done for us.
pub(super) struct Wire {
    socket: TcpStream,
    received: BytesMut,
}

/// A frame that came.
#[derive(Debug)]
pub(super) struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    content: Bytes,
}

impl Wire {
    pub(super) async fn open(talk: &Talk) -> Self {
        Self::open_at(talk.member.address()).await
    }

    pub(super) async fn open_at(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, received: BytesMut::new() }
    }

    /// Opens it and says what every client says first.
    pub(super) async fn greet(talk: &Talk) -> Self {
        Self::greet_at(talk.member.address()).await
    }

    pub(super) async fn greet_at(address: SocketAddr) -> Self {
        let mut wire = Self::open_at(address).await;
        wire.send(PREFACE).await;
        wire.send(&frame(SETTINGS, 0, 0, &[])).await;
        wire
    }

    /// Sends bytes; the server may have closed by now, which the next read tells.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> bool {
        soon("a server that reads", self.socket.write_all(bytes)).await.is_ok()
    }

    /// Says that nothing more comes.
    pub(super) async fn end(&mut self) {
        let _ = self.socket.shutdown().await;
    }

    /// A whole good call: a range over one key.
    pub(super) async fn call(&mut self, stream: u32) {
        self.send(&frame(HEADERS, END_HEADERS, stream, &block(&GOOD))).await;
        self.send(&frame(DATA, END_STREAM, stream, &[0, 0, 0, 0, 3, 0x0a, 1, b'a'])).await;
    }

    /// The next frame; `None` when the connection has ended.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.take() {
                return Some(frame);
            }
            let read = soon("a frame", self.socket.read_buf(&mut self.received)).await;
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    fn take(&mut self) -> Option<Frame> {
        let (head, _) = self.received.split_first_chunk::<9>()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        if self.received.len() < 9 + length {
            return None;
        }
        let content = self.received.split_to(9 + length).freeze().slice(9..);
        Some(Frame { kind, flags, stream, content })
    }

    /// Waits for a frame of this kind on this stream.
    pub(super) async fn until(&mut self, kind: u8, stream: u32) -> Option<Bytes> {
        while let Some(frame) = self.next().await {
            if (frame.kind, frame.stream) == (kind, stream) {
                return Some(frame.content);
            }
        }
        None
    }

    /// Pings, each time after the last answer and a pause, and tells how far it gets.
    pub(super) async fn ping(&mut self, count: u32, pause: Duration) -> String {
        for number in 1..=count {
            tokio::time::sleep(pause).await;
            self.send(&frame(PING, 0, 0, &[7; 8])).await;
            loop {
                match self.next().await {
                    Some(Frame { kind: PING, .. }) => break,
                    Some(Frame { kind: GOAWAY, content, .. }) => {
                        let ends = self.next().await.is_none();
                        return format!("{number}: sent away with {content:?}, ends: {ends}");
                    }
                    Some(_) => {}
                    None => return format!("{number}: ended"),
                }
            }
        }
        format!("{count}: borne")
    }

    /// What is made of stream 1 and of the connection, on which another good call follows.
    pub(super) async fn outcome(&mut self) -> String {
        const LAST: u32 = 101;
        self.call(LAST).await;
        let (mut fate, mut last) = (Fate::Open, Fate::Open);
        // Answers come in any order.
        while !(last.is_settled() && fate.is_settled()) {
            let limit = if last.is_settled() { SILENCE } else { PATIENCE };
            let frame = match timeout(limit, self.next()).await {
                Ok(Some(frame)) => frame,
                Ok(None) => return "the connection ended".to_owned(),
                Err(_) => break,
            };
            match frame.stream {
                1 => fate = fate.after(&frame),
                LAST => last = last.after(&frame),
                _ => {}
            }
        }
        format!("stream 1 {fate:?}, the next one {last:?}")
    }
}

/// What became of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    HasData,
    /// It got a message and an end.
    Served,
    /// It got an end without a message.
    Refused,
    Reset,
}

impl Fate {
    fn is_settled(self) -> bool {
        !matches!(self, Self::Open | Self::HasData)
    }

    fn after(self, frame: &Frame) -> Self {
        let ended = frame.flags & END_STREAM != 0;
        match (self, frame.kind) {
            // A server may ask by a reset that no more is sent behind its answer.
            (Self::Open, RST_STREAM) => Self::Reset,
            (Self::Open, HEADERS) if ended => Self::Refused,
            (Self::Open, DATA) if !frame.content.is_empty() => Self::HasData,
            (Self::HasData, HEADERS) if ended => Self::Served,
            (Self::HasData, RST_STREAM) => Self::Reset,
            _ => self,
        }
    }
}
