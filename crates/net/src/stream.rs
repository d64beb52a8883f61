//! One connection's bytes, whichever kind of socket carries them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixStream, lookup_host};
use tokio_rustls::TlsStream;

use crate::listener::tune;
use crate::tls::in_words;
use crate::url::Url;

/// A TCP or a unix stream, or TLS over either.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a unix socket.
    Unix(UnixStream),
    /// Guarded.
    Tls(Box<TlsStream<Stream>>),
}

impl Stream {
    /// Connects to who listens on a URL. TLS is [`ClientTls`](crate::ClientTls)'s: an https URL is
    /// dialled like an http one.
    pub async fn connect(url: &Url) -> io::Result<Stream> {
        Stream::connect_from(None, url).await
    }

    /// As [`Stream::connect`], from an address of this machine, if one is given. Unix sockets
    /// have none.
    pub async fn connect_from(from: Option<IpAddr>, url: &Url) -> io::Result<Stream> {
        let address = url.address();
        if url.scheme().is_unix() {
            return UnixStream::connect(address).await.map(Stream::Unix);
        }
        let stream = match from {
            None => TcpStream::connect(address).await?,
            Some(from) => connect_from(from, &address).await?,
        };
        tune(&stream);
        Ok(Stream::Tcp(stream))
    }

    /// Our end of a connection over TCP.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Stream::Tcp(stream) => stream.local_addr().ok(),
            Stream::Unix(_) => None,
            Stream::Tls(stream) => stream.get_ref().0.local_address(),
        }
    }

    /// Moves the connection to the runtime that runs this, away from the one that accepted it.
    pub fn onto_current_runtime(self) -> io::Result<Stream> {
        Ok(match self {
            Stream::Tcp(stream) => Stream::Tcp(TcpStream::from_std(stream.into_std()?)?),
            Stream::Unix(stream) => Stream::Unix(UnixStream::from_std(stream.into_std()?)?),
            // Hands are shaken where the connection stays.
            Stream::Tls(_) => return Err(io::ErrorKind::Unsupported.into()),
        })
    }

    /// Waits for what the other side says first, and leaves it there.
    pub(crate) async fn first_byte(&self) -> io::Result<u8> {
        match self {
            Stream::Tcp(stream) => stream.async_io(Interest::READABLE, || peek(stream)).await,
            Stream::Unix(stream) => stream.async_io(Interest::READABLE, || peek(stream)).await,
            Stream::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// Tries the addresses of a host that can be reached from the given one, until one answers.
async fn connect_from(from: IpAddr, address: &str) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(
        io::ErrorKind::AddrNotAvailable,
        format!("no address of {address} can be reached from {from}"),
    );
    for to in lookup_host(address).await?.filter(|to| to.is_ipv4() == from.is_ipv4()) {
        let socket = if from.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind((from, 0).into())?;
        match socket.connect(to).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn peek(socket: impl AsFd) -> io::Result<u8> {
    let mut byte = [0];
    match recv(socket, &mut byte, RecvFlags::PEEK)? {
        (0, _) => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(byte[0]),
    }
}

macro_rules! each {
    ($self:expr, $stream:ident => $body:expr) => {
        match $self.get_mut() {
            Stream::Tcp(stream) => {
                let $stream = Pin::new(stream);
                $body
            }
            Stream::Unix(stream) => {
                let $stream = Pin::new(stream);
                $body
            }
            Stream::Tls(stream) => {
                let $stream = Pin::new(&mut **stream);
                $body
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_read(cx, buf)).map_err(in_words)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Tcp(stream) => stream.is_write_vectored(),
            Stream::Unix(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::net::TcpListener;

    use super::{Stream, Url};

    #[tokio::test]
    async fn a_connection_comes_from_the_address_that_was_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("is bound").port();
        let url = Url::parse(&format!("http://localhost:{port}")).expect("is a URL");
        for asked in ["127.0.0.7", "127.0.0.1"] {
            let from = Some(asked.parse().expect("is an address"));
            let _stream = Stream::connect_from(from, &url).await.expect("connects");
            let (_accepted, heard) = listener.accept().await.expect("accepts");
            assert_eq!(heard.ip().to_string(), asked);
        }
    }

    #[tokio::test]
    async fn an_address_of_another_machine_or_family_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("is bound").port();
        let url = Url::parse(&format!("http://127.0.0.1:{port}")).expect("is a URL");
        for asked in ["192.0.2.1", "::1"] {
            let from = Some(asked.parse().expect("is an address"));
            let error = Stream::connect_from(from, &url).await.expect_err("not from there");
            assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable, "{error}");
        }
    }
}
