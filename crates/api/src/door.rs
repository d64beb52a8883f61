//! From a socket to a call: HTTP/2 and HTTP/1 on one port, told apart by the first bytes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::grpc::{self, Frame};
use crate::ops;
use crate::service::Services;

/// What every HTTP/2 client says first.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a connection may take to say its first bytes, or a request its headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(300);
/// Receive windows: large enough that a big request never waits for a window update.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// What a listener offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// gRPC and the operator's HTTP.
    Everything,
    /// gRPC alone.
    Grpc,
    /// The client HTTP alone.
    Http,
    /// `/metrics` and the health checks alone.
    Metrics,
    /// What members ask of each other.
    Peer,
}

/// Serves one connection until the peer closes it or `stop` is raised and its calls are done.
pub(crate) async fn serve<IO>(
    services: Arc<Services>,
    mut io: IO,
    offer: Offer,
    stop: watch::Receiver<bool>,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Ok(Ok(said)) = timeout(HEADER_TIMEOUT, sniff(&mut io)).await else { return };
    let is_h2 = said.starts_with(H2_PREFACE);
    let io = Rewound { said, io };
    // Errors of a connection are the peer's business; they must not fill the log.
    if is_h2 {
        let _ = serve_h2(services, io, offer, stop).await;
    } else {
        let _ = serve_h1(services, io, offer, stop).await;
    }
}

/// Reads until the bytes are the HTTP/2 preface or cannot become it.
async fn sniff(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    let mut said = BytesMut::with_capacity(H2_PREFACE.len());
    while said.len() < H2_PREFACE.len() && H2_PREFACE.starts_with(&said) {
        if io.read_buf(&mut said).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(said.freeze())
}

async fn serve_h2<IO>(
    services: Arc<Services>,
    io: IO,
    offer: Offer,
    mut stop: watch::Receiver<bool>,
) -> Result<(), h2::Error>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = h2::server::Builder::new()
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(services.limits.concurrent_streams)
        .handshake::<_, Frame>(io)
        .await?;
    let mut stopping = false;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop), if !stopping => {
                stopping = true;
                connection.graceful_shutdown();
                continue;
            }
            accepted = connection.accept() => accepted,
        };
        let Some(accepted) = accepted else { return Ok(()) };
        let (request, mut respond) = accepted?;
        let services = Arc::clone(&services);
        if is_grpc(&request) && matches!(offer, Offer::Everything | Offer::Grpc) {
            tokio::spawn(grpc::answer(services, request, respond));
        } else {
            tokio::spawn(async move {
                let (parts, _body) = request.into_parts();
                let (head, body) = ops::answer(&services, offer, &parts).await.into_parts();
                let end = body.is_empty();
                // A client that is gone misses its answer.
                if let Ok(mut stream) = respond.send_response(Response::from_parts(head, ()), end)
                    && !end
                {
                    let _ = stream.send_data(Frame::plain(body), true);
                }
            });
        }
    }
}

fn is_grpc<T>(request: &Request<T>) -> bool {
    request
        .headers()
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

async fn serve_h1<IO>(
    services: Arc<Services>,
    io: IO,
    offer: Offer,
    mut stop: watch::Receiver<bool>,
) -> Result<(), hyper::Error>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handler = service_fn(move |request: Request<hyper::body::Incoming>| {
        let services = Arc::clone(&services);
        async move {
            let (parts, _body) = request.into_parts();
            let response = ops::answer(&services, offer, &parts).await;
            Ok::<_, std::convert::Infallible>(response.map(Full::new))
        }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), handler);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
        done = connection.as_mut() => return done,
    }
    connection.await
}

/// A connection whose first bytes were read already.
struct Rewound<IO> {
    said: Bytes,
    io: IO,
}

impl<IO: AsyncRead + Unpin> AsyncRead for Rewound<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.said.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let count = self.said.len().min(buf.remaining());
        buf.put_slice(&self.said[..count]);
        self.said.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Rewound<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
