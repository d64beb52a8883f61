//! As much of a gRPC client as a load needs, on `h2` itself.

use std::future::poll_fn;

use anyhow::{Context, bail};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::{ResponseFuture, SendRequest};
use http::{Method, Request, Uri};
use net::{ClientTls, Scheme, Stream, TlsInfo, parse_urls};
use proto::Message;

/// Bytes that a stream and a connection may have on the way: enough that they never wait.
const STREAM_WINDOW: u32 = 1 << 24;
const CONNECTION_WINDOW: u32 = 1 << 30;
/// The flag for compression and the message's length.
const PREFIX: usize = 5;

/// A connection; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    sender: SendRequest<Bytes>,
    endpoint: String,
    token: Option<String>,
}

impl Connection {
    /// Connects. Must run inside a `LocalSet`, which drives the connection from then on.
    pub(crate) async fn open(endpoint: &str) -> anyhow::Result<Connection> {
        let stream = connect(endpoint).await;
        let stream = stream.with_context(|| format!("connect to {endpoint}"))?;
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(1_000)
            .enable_push(false)
            .handshake(stream)
            .await?;
        // It ends with an error when the server stops; who waits for an answer sees that too.
        tokio::task::spawn_local(async move { connection.await.ok() });
        Ok(Connection { sender, endpoint: endpoint.to_owned(), token: None })
    }

    /// Shows this token with every call from now on.
    pub(crate) fn show(&mut self, token: &str) {
        self.token = Some(token.to_owned());
    }

    /// A method to call over and over.
    pub(crate) fn method(&self, path: &str) -> anyhow::Result<Rpc> {
        let uri: Uri = format!("{}{path}", self.endpoint).parse()?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", "bench");
        let request = match &self.token {
            Some(token) => request.header("token", token),
            None => request,
        };
        let request = request.body(())?;
        Ok(Rpc { sender: self.sender.clone(), request })
    }
}

/// Whoever answers is believed: what TLS costs is asked for, not whom it keeps out.
async fn connect(endpoint: &str) -> anyhow::Result<Stream> {
    let urls = parse_urls(endpoint)?;
    let [url] = urls.as_slice() else { bail!("an endpoint is one URL") };
    if url.scheme() != Scheme::Https {
        return Ok(Stream::connect(url).await?);
    }
    let info = TlsInfo { insecure_skip_verify: true, ..TlsInfo::default() };
    Ok(ClientTls::new(&info, &["h2"])?.connect(url).await?)
}

/// A method of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Rpc {
    sender: SendRequest<Bytes>,
    request: Request<()>,
}

impl Rpc {
    /// Sends a framed message and reads the answer to its end; gives back its length.
    pub(crate) async fn call(&mut self, message: Bytes) -> anyhow::Result<usize> {
        let mut body = self.send(message).await?;
        let mut length = 0;
        while let Some(chunk) = body.next().await? {
            length += chunk.len();
        }
        body.finish().await?;
        if length < PREFIX {
            bail!("the answer has no message");
        }
        Ok(length - PREFIX)
    }

    /// Sends a message and decodes the answer.
    pub(crate) async fn ask<M: Message + Default>(
        &mut self,
        message: &impl Message,
    ) -> anyhow::Result<M> {
        let mut body = self.send(frame(message)).await?;
        let answer = body.message().await?.context("the answer has no message")?;
        while body.next().await?.is_some() {}
        body.finish().await?;
        Ok(answer)
    }

    async fn send(&mut self, message: Bytes) -> anyhow::Result<Body> {
        let (response, mut stream) = self.begin(false).await?;
        stream.send_data(message, true)?;
        Body::of(response).await
    }

    /// Opens a stream on which messages go both ways.
    pub(crate) async fn open(&mut self) -> anyhow::Result<(h2::SendStream<Bytes>, ResponseFuture)> {
        let (response, stream) = self.begin(false).await?;
        Ok((stream, response))
    }

    async fn begin(
        &mut self,
        end: bool,
    ) -> anyhow::Result<(ResponseFuture, h2::SendStream<Bytes>)> {
        poll_fn(|cx| self.sender.poll_ready(cx)).await?;
        Ok(self.sender.send_request(self.request.clone(), end)?)
    }
}

/// What a server sends on a stream.
#[derive(Debug)]
pub(crate) struct Body {
    stream: RecvStream,
    buffer: BytesMut,
}

impl Body {
    /// Waits for the head of the answer.
    pub(crate) async fn of(response: ResponseFuture) -> anyhow::Result<Body> {
        let response = response.await?;
        check_status(response.headers())?;
        Ok(Body { stream: response.into_body(), buffer: BytesMut::new() })
    }

    async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        let Some(chunk) = self.stream.data().await.transpose()? else { return Ok(None) };
        self.stream.flow_control().release_capacity(chunk.len())?;
        Ok(Some(chunk))
    }

    async fn finish(&mut self) -> anyhow::Result<()> {
        match self.stream.trailers().await? {
            Some(trailers) => check_status(&trailers),
            None => Ok(()),
        }
    }

    /// The next message; `None` at the end of the stream.
    pub(crate) async fn message<M: Message + Default>(&mut self) -> anyhow::Result<Option<M>> {
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(Some(M::decode(message)?));
            }
            match self.next().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }

    /// A whole message, when there is one.
    fn buffered(&mut self) -> anyhow::Result<Option<Bytes>> {
        let Some((prefix, _)) = self.buffer.split_first_chunk::<PREFIX>() else { return Ok(None) };
        let [compressed, length @ ..] = *prefix;
        if compressed != 0 {
            bail!("the answer is compressed");
        }
        let length = usize::try_from(u32::from_be_bytes(length))?;
        if self.buffer.len() < PREFIX + length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

fn check_status(headers: &http::HeaderMap) -> anyhow::Result<()> {
    match headers.get("grpc-status") {
        Some(status) if status != "0" => {
            let text = headers.get("grpc-message").and_then(|text| text.to_str().ok());
            bail!("status {status:?}: {}", text.unwrap_or_default())
        }
        _ => Ok(()),
    }
}

/// A message as it goes on the wire.
pub(crate) fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(PREFIX + length);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(length).expect("a request is far below 4 GiB"));
    message.encode(&mut framed).expect("there is room for what was measured");
    framed.freeze()
}
