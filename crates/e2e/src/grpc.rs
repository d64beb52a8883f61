//! A gRPC client that hides nothing: any path, any bytes, and the status as it came.
//!
//! The clients that we test with check, retry and translate; here a request goes out as it is.

use std::net::SocketAddr;

use anyhow::Context as _;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use proto::Message;
use tokio::net::TcpStream;

/// How a call ended, if not with OK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The number of the code; 14 also stands for a connection that broke.
    pub code: u32,
    /// Its text.
    pub message: String,
}

impl Status {
    fn unavailable(what: impl std::fmt::Display) -> Self {
        Self { code: 14, message: format!("(no reply) {what}") }
    }

    /// Whether the connection broke, so that nobody knows what became of the call.
    pub fn is_lost(&self) -> bool {
        self.code == 14 && self.message.starts_with("(no reply)")
    }
}

/// A connection; clones share it.
#[derive(Debug, Clone)]
pub struct Grpc {
    sender: SendRequest<Bytes>,
    address: SocketAddr,
    token: Option<String>,
}

impl Grpc {
    /// Connects; needs to be in a runtime.
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        Self::connect_with_windows(address, 16 << 20, 64 << 20).await
    }

    /// As [`Grpc::connect`], with room for so many bytes that nobody has read: of each call, and of
    /// all together.
    pub async fn connect_with_windows(
        address: SocketAddr,
        of_call: u32,
        of_all: u32,
    ) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address).await.context("connecting for gRPC")?;
        socket.set_nodelay(true)?;
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(of_call)
            .initial_connection_window_size(of_all)
            .max_frame_size(1 << 20)
            .handshake(socket)
            .await
            .context("speaking HTTP/2")?;
        // It ends with the socket; the calls see what was wrong.
        tokio::spawn(async { connection.await.unwrap_or_default() });
        Ok(Self { sender, address, token: None })
    }

    /// Shows this token with every call.
    pub fn with_token(self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self }
    }

    /// One request, one reply.
    pub async fn unary<Reply: Message + Default>(
        &self,
        path: &str,
        request: &impl Message,
    ) -> Result<Reply, Status> {
        self.unary_bytes(path, &request.encode_to_vec()).await
    }

    /// As [`Grpc::unary`], with a request that may be anything.
    pub async fn unary_bytes<Reply: Message + Default>(
        &self,
        path: &str,
        request: &[u8],
    ) -> Result<Reply, Status> {
        let mut call = self.open(path).await?;
        // Message and end at once: a server may answer what it has, and then hears no more.
        call.body.send_data(frame(0, request)?, true).map_err(Status::unavailable)?;
        let reply = call.next().await?;
        call.finish().await?;
        reply.ok_or_else(|| Status { code: 13, message: "(an OK without a reply)".to_owned() })
    }

    /// Begins a call of any kind.
    pub async fn open(&self, path: &str) -> Result<Call, Status> {
        self.open_with(path, &[]).await
    }

    /// Begins a call with more headers.
    pub async fn open_with(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Call, Status> {
        let mut builder = Request::post(format!("http://{}{path}", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(token) = &self.token {
            builder = builder.header("token", token);
        }
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let request = builder.body(()).map_err(Status::unavailable)?;
        let mut sender = self.sender.clone().ready().await.map_err(Status::unavailable)?;
        let (reply, body) = sender.send_request(request, false).map_err(Status::unavailable)?;
        Ok(Call { body, reply: Reply::Awaited(reply), received: BytesMut::new() })
    }
}

/// What has come of the reply.
#[derive(Debug)]
enum Reply {
    Awaited(h2::client::ResponseFuture),
    Streaming(RecvStream),
    Ended,
}

/// A call that is under way.
#[derive(Debug)]
pub struct Call {
    body: SendStream<Bytes>,
    reply: Reply,
    received: BytesMut,
}

impl Call {
    /// Sends one message.
    pub fn send(&mut self, message: &impl Message) -> Result<(), Status> {
        self.send_frame(0, &message.encode_to_vec())
    }

    /// Sends one message with any flag and any content.
    pub fn send_frame(&mut self, flag: u8, content: &[u8]) -> Result<(), Status> {
        self.send_raw(frame(flag, content)?)
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: Bytes) -> Result<(), Status> {
        self.body.send_data(bytes, false).map_err(Status::unavailable)
    }

    /// Sends one message and says that no more come.
    pub fn send_last(&mut self, message: &impl Message) -> Result<(), Status> {
        let frame = frame(0, &message.encode_to_vec())?;
        self.body.send_data(frame, true).map_err(Status::unavailable)
    }

    /// Says that no more messages come.
    pub fn close(&mut self) -> Result<(), Status> {
        self.body.send_data(Bytes::new(), true).map_err(Status::unavailable)
    }

    /// The next message; `None` when the call has ended with OK.
    pub async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, Status> {
        match self.next_bytes().await? {
            None => Ok(None),
            Some(bytes) => M::decode(bytes)
                .map(Some)
                .map_err(|error| Status { code: 13, message: format!("(no message) {error}") }),
        }
    }

    /// The next message as it came.
    pub async fn next_bytes(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.take_message() {
                return Ok(Some(message));
            }
            match &mut self.reply {
                Reply::Ended => return Ok(None),
                Reply::Awaited(reply) => {
                    let reply = reply.await.map_err(Status::unavailable)?;
                    // A reply without a body has its status among the headers.
                    if let Some(status) = status_of(reply.headers()) {
                        self.reply = Reply::Ended;
                        return status.map(|()| None);
                    }
                    if reply.status() != 200 {
                        return Err(Status::unavailable(format!("HTTP {}", reply.status())));
                    }
                    self.reply = Reply::Streaming(reply.into_body());
                }
                Reply::Streaming(body) => match body.data().await {
                    Some(data) => {
                        let data = data.map_err(Status::unavailable)?;
                        body.flow_control()
                            .release_capacity(data.len())
                            .map_err(Status::unavailable)?;
                        self.received.put(data);
                    }
                    None => {
                        let trailers = body.trailers().await.map_err(Status::unavailable)?;
                        self.reply = Reply::Ended;
                        let status = trailers.as_ref().and_then(status_of);
                        return status
                            .unwrap_or_else(|| Err(Status::unavailable("no status in the end")))
                            .map(|()| None);
                    }
                },
            }
        }
    }

    /// Waits for the end, which must come without another message.
    pub async fn finish(&mut self) -> Result<(), Status> {
        match self.next_bytes().await? {
            None => Ok(()),
            Some(_) => Err(Status { code: 13, message: "(one message too many)".to_owned() }),
        }
    }

    /// Gives the call up.
    pub fn cancel(mut self) {
        self.body.send_reset(h2::Reason::CANCEL);
    }

    fn take_message(&mut self) -> Option<Bytes> {
        let (head, _) = self.received.split_first_chunk::<5>()?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if self.received.len() < 5 + length {
            return None;
        }
        self.received.advance(5);
        Some(self.received.split_to(length).freeze())
    }
}

/// A message as it goes over the wire.
fn frame(flag: u8, content: &[u8]) -> Result<Bytes, Status> {
    let mut frame = BytesMut::with_capacity(5 + content.len());
    frame.put_u8(flag);
    frame.put_u32(u32::try_from(content.len()).map_err(Status::unavailable)?);
    frame.put_slice(content);
    Ok(frame.freeze())
}

fn status_of(headers: &HeaderMap) -> Option<Result<(), Status>> {
    let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    let message = headers.get("grpc-message").map(|text| decode_percent(text.as_bytes()));
    let message = message.unwrap_or_default();
    Some(if code == 0 { Ok(()) } else { Err(Status { code, message }) })
}

fn decode_percent(text: &[u8]) -> String {
    let mut plain = Vec::new();
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let decoded = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match decoded.filter(|_| byte == b'%') {
            Some(decoded) => {
                plain.push(decoded);
                rest = &after[2..];
            }
            None => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::decode_percent;

    #[test]
    fn percent_signs_are_decoded_and_stray_ones_stay() {
        assert_eq!(decode_percent(b"a%20b%e2%82%ac %x %2"), "a b\u{20ac} %x %2");
    }
}
