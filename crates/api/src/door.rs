//! From a socket to a call: HTTP/2 and HTTP/1 on one port, told apart by the first bytes.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::answer::{Broken, Request};
use crate::gateway::Upgraded;
use crate::grpc::{self, Opening};
use crate::host::Host;

/// How long a connection may take to say its first bytes, or a request its headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(300);

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
}

/// By which way a request has come.
#[derive(Debug, Clone)]
pub(crate) struct Via {
    /// From where; a unix client has no address.
    pub(crate) peer: Option<SocketAddr>,
    /// To where; likewise.
    pub(crate) local: Option<SocketAddr>,
    /// Whether TLS guards it.
    pub(crate) is_tls: bool,
    /// Of the client's certificate, if it had to show one.
    pub(crate) common_name: Option<Arc<str>>,
    /// What the listener offers.
    pub(crate) offer: Offer,
}

/// Serves one connection until the peer closes it or `stop` is raised and its calls are done.
pub(crate) async fn serve<IO, H: Host>(
    host: Arc<H>,
    mut io: IO,
    via: Via,
    stop: watch::Receiver<bool>,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Ok(Ok(said)) = timeout(HEADER_TIMEOUT, sniff(&mut io)).await else { return };
    if said.starts_with(http2::PREFACE) {
        grpc::serve(host, io, Opening { said, via }, stop).await;
    } else {
        // Errors of a connection are the peer's business; they must not fill the log.
        let _ = serve_h1(host, Rewound { said, io }, via, stop).await;
    }
}

/// Reads until the bytes are the HTTP/2 preface or cannot become it.
async fn sniff(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    let mut said = BytesMut::with_capacity(http2::PREFACE.len());
    while said.len() < http2::PREFACE.len() && http2::PREFACE.starts_with(&said) {
        if io.read_buf(&mut said).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(said.freeze())
}

async fn serve_h1<IO, H: Host>(
    host: Arc<H>,
    io: Rewound<IO>,
    via: Via,
    mut stop: watch::Receiver<bool>,
) -> Result<(), hyper::Error>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = Shared::new(io);
    let ours = io.clone();
    let upgraded = Upgraded::default();
    let place = upgraded.clone();
    let handler = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let (host, ours) = (Arc::clone(&host), ours.clone());
        let (place, via) = (place.clone(), via.clone());
        async move {
            let (mut parts, body) = request.into_parts();
            let (offer, peer) = (via.offer, via.peer);
            parts.extensions.insert(via);
            let mut request = Request::new(parts, body.map_err(|_| Broken).boxed_unsync(), peer);
            request.gone = Some(Box::pin(poll_fn(move |cx| ours.poll_gone(cx))));
            request.upgraded = Some(place);
            let response = host.answer(offer, request).await;
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    // Who says that no more comes behind a request still wants the answer.
    let connection = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(io), handler)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let done = tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => None,
        done = connection.as_mut() => Some(done),
    };
    match done {
        Some(done) => done?,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await?;
        }
    }
    if let Some(session) = upgraded.take() {
        session.await;
    }
    Ok(())
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

/// A connection that others than its owner may ask whether the client is still there. All of them
/// are polled by one task, so nobody ever waits for the lock.
struct Shared<IO> {
    inner: Arc<Mutex<Rewound<IO>>>,
}

impl<IO> Clone for Shared<IO> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<IO> Shared<IO> {
    fn new(io: Rewound<IO>) -> Self {
        Self { inner: Arc::new(Mutex::new(io)) }
    }

    fn inner(&self) -> MutexGuard<'_, Rewound<IO>> {
        self.inner.lock().expect("no holder of this lock panics")
    }
}

impl<IO: AsyncRead + Unpin> Shared<IO> {
    /// Ready when the client has closed its half. What it says instead is kept for the owner.
    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.inner();
        if !inner.said.is_empty() {
            return Poll::Pending;
        }
        let mut bytes = [0; 512];
        let mut buf = ReadBuf::new(&mut bytes);
        match Pin::new(&mut *inner).poll_read(cx, &mut buf) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                inner.said = Bytes::copy_from_slice(buf.filled());
                // The owner may have looked before.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(_) => Poll::Ready(()),
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Shared<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.inner()).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Shared<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.inner()).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.inner()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.inner()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.inner()).poll_shutdown(cx)
    }
}
