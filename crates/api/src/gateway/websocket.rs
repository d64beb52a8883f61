//! The same over a WebSocket: what the client sends is the body of a request, every line of the
//! answer a message.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt as _, Stream as _};
use http::header::{
    AUTHORIZATION, CONNECTION, COOKIE, HeaderName, ORIGIN, REFERER, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, request};
use hyper::body::Body as _;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use proto::json::encode_base64;
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::answer::{Answer, Request, Upload};
use crate::ops;
use crate::rpc::BoxFuture;
use crate::service::Services;

/// What a key is hashed with to show that it was read (RFC 6455).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// A client that takes nothing for so long is sent away.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);
/// How long a client may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(1);

/// What becomes of a connection that has stopped to be one of HTTP.
#[derive(Clone, Default)]
pub(crate) struct Upgraded {
    session: Arc<Mutex<Option<BoxFuture<()>>>>,
}

impl Upgraded {
    fn set(&self, session: BoxFuture<()>) {
        *self.session.lock().expect("no holder of this lock panics") = Some(session);
    }

    /// Takes what goes on.
    pub(crate) fn take(&self) -> Option<BoxFuture<()>> {
        self.session.lock().expect("no holder of this lock panics").take()
    }
}

/// Whether a request wants to become a WebSocket.
pub(super) fn is_asked_for(parts: &request::Parts) -> bool {
    has_token(&parts.headers, &CONNECTION, "upgrade")
        && has_token(&parts.headers, &UPGRADE, "websocket")
}

/// Whether a header is a list with this word in it.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(token))
}

/// Becomes a WebSocket. Whatever the path is, its answer comes as messages.
pub(super) fn answer(services: &Arc<Services>, mut request: Request) -> Response<Answer> {
    let parts = &mut request.parts;
    if parts.method != Method::GET {
        return bad_handshake(StatusCode::METHOD_NOT_ALLOWED);
    }
    let key = parts.headers.get(SEC_WEBSOCKET_KEY).filter(|key| is_key(key.as_bytes()));
    let is_known = has_token(&parts.headers, &SEC_WEBSOCKET_VERSION, "13");
    let (Some(key), true) = (key.cloned(), is_known) else {
        return bad_handshake(StatusCode::BAD_REQUEST);
    };
    let on_upgrade = parts.extensions.remove::<OnUpgrade>();
    let (Some(on_upgrade), Some(upgraded)) = (on_upgrade, request.upgraded.take()) else {
        return bad_handshake(StatusCode::BAD_REQUEST);
    };
    let mut response = Response::new(Answer::Whole(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept(&key));
    let protocol = parts.headers.get(SEC_WEBSOCKET_PROTOCOL).map(HeaderValue::as_bytes);
    if protocol.is_some_and(|protocol| protocol.starts_with(b"Bearer")) {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("Bearer"));
    }
    parts.headers = forwarded(&parts.headers);
    parts.method = Method::POST;
    (request.endless, request.gone) = (true, None);
    upgraded.set(Box::pin(session(Arc::clone(services), request, on_upgrade)));
    response
}

/// Whether a key is sixteen bytes in base64.
fn is_key(key: &[u8]) -> bool {
    use proto::json::{Alphabet, decode_base64};
    let mut bytes = Vec::new();
    decode_base64(key, Alphabet::Standard, true, &mut bytes).is_ok() && bytes.len() == 16
}

fn accept(key: &HeaderValue) -> HeaderValue {
    let hash = Sha1::new().chain_update(key.as_bytes()).chain_update(GUID).finalize();
    let mut text = Vec::new();
    encode_base64(&hash, &mut text);
    HeaderValue::from_bytes(&text).expect("base64 may stand in a header")
}

fn bad_handshake(code: StatusCode) -> Response<Answer> {
    let text = code.canonical_reason().unwrap_or_default();
    let mut response = ops::error(code, format!("{text}\n"));
    response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    Answer::whole(response)
}

/// The headers of the request that is made of a WebSocket: where it comes from, and a token, which
/// browsers can only put where they may.
fn forwarded(headers: &HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::new();
    for name in [ORIGIN, REFERER] {
        out.extend(headers.get(&name).map(|value| (name, value.clone())));
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let mut token = text(SEC_WEBSOCKET_PROTOCOL).map(|protocol| {
        let behind = protocol.split_once("Bearer,").map(|(_, token)| token.trim_matches(' '));
        behind.map(|token| format!("Bearer {token}")).unwrap_or_default()
    });
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut cookies = cookies.flat_map(|value| value.split(';'));
    if let Some(value) = cookies.find_map(|cookie| cookie.trim().strip_prefix("token=")) {
        token = Some(format!("Bearer {}", value.trim_matches('"')));
    }
    let token = token.and_then(|token| HeaderValue::try_from(token).ok());
    out.extend(token.map(|token| (AUTHORIZATION, token)));
    out
}

async fn session(services: Arc<Services>, mut request: Request, on_upgrade: OnUpgrade) {
    let Ok(io) = on_upgrade.await else { return };
    let limit = services.limits.message_bytes() * 4;
    // What is written goes out at once: the buffer never holds more than one message.
    let config = WebSocketConfig::default()
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit))
        .write_buffer_size(0);
    let io = Patient::new(TokioIo::new(io));
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    let upload = Arc::new(Upload::default());
    request.body = upload.reader();
    let mut stop = services.stop.subscribe();
    let mut answering =
        Answering::Waiting(Box::pin(async move { super::post(&services, request).await }));
    loop {
        let next = tokio::select! {
            biased;
            next = poll_fn(|cx| poll(&mut socket, &upload, &mut answering, cx)) => next,
            // A stream that speaks tells of it by itself.
            _ = stop.wait_for(|stop| *stop), if answering.is_silent() => Next::Over,
        };
        let sent = match next {
            Next::Line(line) => socket.send(Message::Text(line)).await,
            Next::Over => break,
            Next::Gone => return,
        };
        if sent.is_err() {
            return;
        }
    }
    drop(answering);
    let _ = timeout(FAREWELL, socket.close(None)).await;
}

/// How far the answer is.
enum Answering {
    Waiting(BoxFuture<Response<Answer>>),
    Saying(Answer),
}

/// What a session does next.
enum Next {
    /// Says something.
    Line(Utf8Bytes),
    /// All is said.
    Over,
    /// The client is gone.
    Gone,
}

/// Lets the client and the answer have their turns. What the client says is read once what it said
/// before is used up.
fn poll<IO: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<IO>,
    upload: &Arc<Upload>,
    answering: &mut Answering,
    cx: &mut Context<'_>,
) -> Poll<Next> {
    loop {
        while upload.is_done_with() {
            let data = match Pin::new(&mut *socket).poll_next(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(Message::Text(text)))) => Bytes::from(text),
                Poll::Ready(Some(Ok(Message::Binary(bytes)))) => bytes,
                Poll::Ready(Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)))) => {
                    continue;
                }
                Poll::Ready(Some(Ok(Message::Close(_)) | Err(_)) | None) => {
                    // What is queued for it, our own goodbye, goes out with the next read.
                    let _ = Pin::new(&mut *socket).poll_next(cx);
                    return Poll::Ready(Next::Gone);
                }
            };
            if upload.is_wanted() {
                upload.put(data);
                upload.put(Bytes::from_static(b"\n"));
            }
        }
        let was_read = upload.is_done_with();
        if let Poll::Ready(next) = answering.poll(cx) {
            return Poll::Ready(next);
        }
        if was_read || !upload.is_done_with() {
            return Poll::Pending;
        }
    }
}

impl Answering {
    fn is_silent(&self) -> bool {
        matches!(self, Self::Waiting(_))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            match self {
                Self::Waiting(response) => match response.as_mut().poll(cx) {
                    Poll::Ready(response) => *self = Self::Saying(response.into_body()),
                    Poll::Pending => return Poll::Pending,
                },
                Self::Saying(answer) => {
                    let Poll::Ready(frame) = Pin::new(answer).poll_frame(cx) else {
                        return Poll::Pending;
                    };
                    let Some(Ok(frame)) = frame else { return Poll::Ready(Next::Over) };
                    let mut line = BytesMut::from(frame.into_data().unwrap_or_default());
                    if line.ends_with(b"\n") {
                        line.truncate(line.len() - 1);
                    }
                    // JSON is text.
                    return match Utf8Bytes::try_from(line.freeze()) {
                        Ok(line) => Poll::Ready(Next::Line(line)),
                        Err(_) => Poll::Ready(Next::Over),
                    };
                }
            }
        }
    }
}

/// A socket that fails when its peer takes nothing for too long.
struct Patient<IO> {
    io: IO,
    /// Runs while the peer takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<IO> Patient<IO> {
    fn new(io: IO) -> Self {
        Self { io, stalled: None }
    }

    /// Looks at what a write came to.
    fn weigh<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(WRITE_PATIENCE)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Patient<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Patient<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.weigh(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.weigh(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
