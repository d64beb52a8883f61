//! From a URL to accepted connections.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::OwnedSemaphorePermit;

use crate::limit::ConnectionLimit;
use crate::stream::Stream;
use crate::url::Url;

/// Connections that the kernel keeps ready until they are accepted; it caps this itself.
const BACKLOG: i32 = 4096;
/// A silent client's machine is noticed by probes of this period.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Options of a listening socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Let other sockets bind the same port.
    pub reuse_port: bool,
    /// Bind although old connections linger. It is always so; the field keeps what was asked for.
    pub reuse_address: bool,
}

/// A URL that could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("listen {network} {address}: bind: {}", plain(reason))]
pub struct BindError {
    network: &'static str,
    address: String,
    /// Told in the text, not once more as a cause behind it.
    reason: io::Error,
}

/// What the system said, as Go spells it: lower case and without a number behind it.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split_once(" (os error").map_or(text.as_str(), |(text, _)| text);
    let mut marks = text.chars();
    marks.next().map_or_else(String::new, |first| first.to_lowercase().chain(marks).collect())
}

/// Where a listener listens, with the port that was really bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalAddress {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A unix socket's file.
    Unix(PathBuf),
}

impl fmt::Display for LocalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LocalAddress::Tcp(address) => address.fmt(f),
            LocalAddress::Unix(path) => path.display().fmt(f),
        }
    }
}

/// One accepted connection. Its permit goes back when this (or the stream and permit that it was
/// taken apart into) is dropped.
#[derive(Debug)]
pub struct Connection {
    /// The bytes.
    pub stream: Stream,
    /// Who connected; a unix client has no address.
    pub peer: Option<SocketAddr>,
    /// Holds one place of the limit.
    pub permit: OwnedSemaphorePermit,
}

/// A socket that listens and is not served yet: who connects waits. It needs no runtime.
#[derive(Debug)]
pub struct BoundSocket(Opened);

#[derive(Debug)]
enum Opened {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener, SocketFile),
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: Bound,
    limit: ConnectionLimit,
}

#[derive(Debug)]
enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// Removes a unix socket's file when the listener goes.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A file that is gone already is what we want; no other failure can be helped here.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl BoundSocket {
    /// Opens the URL's address. TLS comes after: an https URL is opened like an http one.
    pub fn bind(url: &Url, options: SocketOptions) -> Result<BoundSocket, BindError> {
        let address = url.address();
        let (network, socket) = if url.scheme().is_unix() {
            ("unix", bind_unix(&address))
        } else {
            ("tcp", bind_tcp(&address, options))
        };
        match socket {
            Ok(socket) => Ok(BoundSocket(socket)),
            Err(reason) => Err(BindError { network, address, reason }),
        }
    }

    /// Begins to serve it, on the runtime that runs here.
    pub fn listen(self, limit: ConnectionLimit) -> io::Result<Listener> {
        let socket = match self.0 {
            Opened::Tcp(socket) => Bound::Tcp(TcpListener::from_std(socket)?),
            Opened::Unix(socket, file) => Bound::Unix(UnixListener::from_std(socket)?, file),
        };
        Ok(Listener { socket, limit })
    }
}

impl Listener {
    /// Where it listens.
    pub fn local_address(&self) -> io::Result<LocalAddress> {
        match &self.socket {
            Bound::Tcp(listener) => Ok(LocalAddress::Tcp(listener.local_addr()?)),
            Bound::Unix(_, file) => Ok(LocalAddress::Unix(file.0.clone())),
        }
    }

    /// The next connection, once the limit has a place for it. Errors of one connection that
    /// never came to be are passed over; one that is returned will come again (out of
    /// descriptors, say), so wait a little before the next call. Safe to drop.
    pub async fn accept(&self) -> io::Result<Connection> {
        let permit = self.limit.permit().await;
        loop {
            let accepted = match &self.socket {
                Bound::Tcp(listener) => listener.accept().await.map(|(stream, peer)| {
                    tune(&stream);
                    (Stream::Tcp(stream), Some(peer))
                }),
                Bound::Unix(listener, _) => {
                    listener.accept().await.map(|(stream, _)| (Stream::Unix(stream), None))
                }
            };
            match accepted {
                Ok((stream, peer)) => return Ok(Connection { stream, peer, permit }),
                Err(error) if only_that_connection(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The client went before it was accepted.
fn only_that_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

/// Answers leave at once, and a machine that vanished is noticed. Neither is worth losing the
/// connection for.
pub(crate) fn tune(stream: &tokio::net::TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
}

fn bind_unix(path: &str) -> io::Result<Opened> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(Opened::Unix(listener, SocketFile(PathBuf::from(path))))
}

fn bind_tcp(address: &str, options: SocketOptions) -> io::Result<Opened> {
    let mut last = None;
    for candidate in candidates(address)? {
        match bind_one(candidate, options) {
            Ok(listener) => return Ok(Opened::Tcp(listener)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::other("no such host")))
}

/// The addresses to try in turn. "All of IPv4" means all of the machine, as it does in etcd;
/// `localhost` means 127.0.0.1 before ::1.
fn candidates(address: &str) -> io::Result<Vec<SocketAddr>> {
    // A missing port means any, as in Go.
    let address = if address.ends_with(':') { format!("{address}0") } else { address.to_owned() };
    let mut found: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    if let Some(first) = found.first().copied()
        && first.ip().is_unspecified()
        && first.is_ipv4()
    {
        found.insert(0, SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), first.port()));
    }
    Ok(found)
}

fn bind_one(address: SocketAddr, options: SocketOptions) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::{BoundSocket, Listener, LocalAddress, SocketOptions, Stream};
    use crate::limit::ConnectionLimit;
    use crate::url::Url;

    fn listen(url: &str, connections: u64) -> Listener {
        let url = Url::parse(url).expect("parses");
        let limit = ConnectionLimit::new(connections);
        let socket = BoundSocket::bind(&url, SocketOptions::default()).expect("binds");
        socket.listen(limit).expect("listens")
    }

    fn tcp(stream: &Stream) -> &TcpStream {
        match stream {
            Stream::Tcp(stream) => stream,
            other => panic!("no TCP socket: {other:?}"),
        }
    }

    fn tcp_address(listener: &Listener) -> SocketAddr {
        match listener.local_address().expect("is bound") {
            LocalAddress::Tcp(address) => address,
            LocalAddress::Unix(path) => panic!("a unix socket: {}", path.display()),
        }
    }

    #[tokio::test]
    async fn a_connection_past_the_limit_waits_for_one_to_end() {
        let listener = listen("http://127.0.0.1:0", 1);
        let address = tcp_address(&listener);
        let _one = TcpStream::connect(address).await.expect("connects");
        let _two = TcpStream::connect(address).await.expect("the kernel accepts");
        let first = listener.accept().await.expect("accepts");
        let mut second = Box::pin(listener.accept());
        tokio::select! {
            biased;
            _ = &mut second => panic!("accepted past the limit"),
            () = tokio::task::yield_now() => {}
        }
        drop(first);
        assert!(second.await.is_ok());
    }

    #[tokio::test]
    async fn no_delay_is_set_and_bytes_pass() {
        let listener = listen("http://localhost:0", 10);
        let address = tcp_address(&listener);
        assert!(address.ip().is_loopback());
        let url = Url::parse(&format!("http://{address}")).expect("parses");
        let mut client = Stream::connect(&url).await.expect("connects");
        let mut server = listener.accept().await.expect("accepts");
        assert_eq!(server.peer, tcp(&client).local_addr().ok());
        for stream in [&server.stream, &client] {
            assert!(tcp(stream).nodelay().expect("can be read"));
        }
        client.write_all(b"ping").await.expect("writes");
        let mut got = [0; 4];
        server.stream.read_exact(&mut got).await.expect("reads");
        assert_eq!(&got, b"ping");
    }

    #[tokio::test]
    async fn a_taken_port_is_refused_unless_it_may_be_shared() {
        let listener = listen("http://127.0.0.1:0", 1);
        let url = format!("http://{}", tcp_address(&listener));
        let url = Url::parse(&url).expect("parses");
        let alone = SocketOptions::default();
        let error = BoundSocket::bind(&url, alone).expect_err("is taken").to_string();
        assert!(error.starts_with("listen tcp 127.0.0.1:"), "{error}");
        assert!(error.ends_with(": bind: address already in use"), "{error}");

        let shared = SocketOptions { reuse_port: true, ..alone };
        let any = Url::parse("http://127.0.0.1:0").expect("parses");
        let one = BoundSocket::bind(&any, shared).expect("binds");
        let one = one.listen(ConnectionLimit::new(1)).expect("listens");
        let url = Url::parse(&format!("http://{}", tcp_address(&one))).expect("parses");
        assert!(BoundSocket::bind(&url, shared).is_ok());
    }

    #[tokio::test]
    async fn all_of_ipv4_means_all_of_the_machine() {
        let listener = listen("http://0.0.0.0:0", 1);
        let port = tcp_address(&listener).port();
        assert!(TcpStream::connect(("127.0.0.1", port)).await.is_ok());
    }

    #[tokio::test]
    async fn a_unix_socket_replaces_a_stale_file_and_leaves_none() {
        let path = std::env::temp_dir().join(format!("pintle-net-{}.sock", std::process::id()));
        std::fs::write(&path, b"stale").expect("writes");
        let listener = listen(&format!("unix://{}", path.display()), 1);
        assert_eq!(listener.local_address().expect("is bound").to_string(), path.to_string_lossy());
        let url = Url::parse(&format!("unix://{}", path.display())).expect("parses");
        let mut client = Stream::connect(&url).await.expect("connects");
        let mut server = listener.accept().await.expect("accepts");
        server.stream.write_all(b"hello").await.expect("writes");
        let mut got = [0; 5];
        client.read_exact(&mut got).await.expect("reads");
        assert_eq!(&got, b"hello");
        drop(listener);
        assert!(!path.exists());
    }
}
