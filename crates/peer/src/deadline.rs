//! Connections whose other end must take what is written to it within some time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use net::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A connection that breaks when the other end takes nothing for too long. Without it, what is on
/// its way to a member that hangs would wait for the system's patience, which is minutes.
pub(crate) struct Deadline {
    stream: Stream,
    patience: Duration,
    stuck: Pin<Box<Sleep>>,
    waits: bool,
}

impl Deadline {
    pub(crate) fn new(stream: Stream, patience: Duration) -> Self {
        Self { stream, patience, stuck: Box::pin(tokio::time::sleep(patience)), waits: false }
    }

    fn held_to<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waits = false;
            return written;
        }
        if !self.waits {
            self.waits = true;
            self.stuck.as_mut().reset(Instant::now() + self.patience);
        }
        ready!(self.stuck.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "i/o timeout")))
    }
}

impl AsyncRead for Deadline {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Deadline {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.held_to(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.held_to(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up() {
        let (near, _far) = UnixStream::pair().expect("a pair is to be had");
        let mut near = Deadline::new(Stream::Unix(near), PATIENCE);
        let begun = Instant::now();
        let written = near.write_all(&vec![0; 4 << 20]).await.expect_err("nobody reads");
        assert_eq!(written.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_slow_is_waited_for() {
        let (near, mut far) = UnixStream::pair().expect("a pair is to be had");
        let mut near = Deadline::new(Stream::Unix(near), PATIENCE);
        let reading = tokio::spawn(async move {
            let mut part = vec![0; 1 << 20];
            while far.read(&mut part).await.expect("it is there") > 0 {
                tokio::time::sleep(PATIENCE / 2).await;
            }
        });
        let begun = Instant::now();
        near.write_all(&vec![0; 4 << 20]).await.expect("somebody reads");
        assert!(begun.elapsed() > PATIENCE * 2);
        drop(near);
        reading.await.expect("it has not panicked");
    }
}
