//! One connection, and the pings that find out whether somebody is still there.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, PingPong};
use http::{HeaderValue, Request};
use net::Stream;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{sleep, timeout};

use crate::Error;
use crate::call::Call;
use crate::client::Tls;
use crate::endpoint::Endpoint;

/// Servers close the door on who pings more often.
const PING_INTERVAL_MIN: Duration = Duration::from_secs(10);
/// What a server may send ahead of what was read.
const WINDOW: u32 = 1 << 20;
/// The same for all calls of a connection together: one that is not read must not stop the others.
const WINDOW_OF_ALL: u32 = 16 << 20;

/// It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Bytes>,
    scheme: &'static str,
    authority: String,
    driver: JoinHandle<()>,
    pings: Option<PingPong>,
    /// As many as there are calls, and one.
    calls: Arc<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    pub(crate) async fn dial(endpoint: &Endpoint, tls: &Tls) -> Result<Connection, Error> {
        let unreachable = |reason: String| {
            let endpoint = endpoint.to_string();
            Error::Unreachable { endpoint, reason }
        };
        let is_secure = endpoint.is_secure(tls.by_default);
        let stream = match &tls.client {
            _ if !is_secure => Stream::connect(endpoint.url()).await,
            Some(tls) => tls.connect(endpoint.url()).await,
            None => Err(std::io::Error::other("TLS is not set up")),
        };
        let stream = stream.map_err(|error| unreachable(error.to_string()))?;
        let dialled = shake_hands(stream).await;
        let (sender, driver, pings) = dialled.map_err(|error| unreachable(error.to_string()))?;
        let authority = endpoint.authority();
        let scheme = if is_secure { "https" } else { "http" };
        Ok(Connection { sender, scheme, authority, driver, pings, calls: Arc::new(()) })
    }

    /// Begins a call.
    pub(crate) async fn call(&self, path: &str, token: Option<&str>) -> Result<Call, Error> {
        let token = token.map(HeaderValue::from_str).transpose().map_err(Error::lost)?;
        self.call_as(path, &Metadata { token, ..Metadata::default() }).await
    }

    /// Whether nothing goes over it any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.driver.is_finished()
    }

    /// Begins a call with what is said of the caller.
    pub(crate) async fn call_as(&self, path: &str, metadata: &Metadata) -> Result<Call, Error> {
        let mut request = Request::post(format!("{}://{}{path}", self.scheme, self.authority))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", concat!("pintle/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &metadata.token {
            request = request.header("token", token);
        }
        if let Some(authorization) = &metadata.authorization {
            request = request.header("authorization", authorization);
        }
        if metadata.require_leader {
            request = request.header("hasleader", "true");
        }
        if let Some(version) = &metadata.api_version {
            request = request.header("client-api-version", version);
        }
        let request = request.body(()).map_err(Error::lost)?;
        let mut sender = self.sender.clone().ready().await.map_err(Error::lost)?;
        let (reply, body) = sender.send_request(request, false).map_err(Error::lost)?;
        Ok(Call::new(reply, body, Arc::clone(&self.calls)))
    }

    /// As [`Connection::keep_alive`] until the connection ends, and only while there are calls
    /// where `idle` does not ask for more.
    pub(crate) fn ping_for_ever(&mut self, interval: Duration, patience: Duration, idle: bool) {
        let Some(pings) = self.pings.take().filter(|_| !interval.is_zero()) else { return };
        let (interval, driver) = (interval.max(PING_INTERVAL_MIN), self.driver.abort_handle());
        let calls = if idle { Weak::new() } else { Arc::downgrade(&self.calls) };
        tokio::spawn(ping(pings, interval, patience, driver, calls));
    }

    /// Pings from now on, and breaks the connection when nobody answers. Once for a connection.
    pub(crate) fn keep_alive(&mut self, interval: Duration, patience: Duration) -> KeepAlive {
        let pings = self.pings.take().filter(|_| !interval.is_zero());
        let driver = self.driver.abort_handle();
        let task = pings.map(|pings| {
            let interval = interval.max(PING_INTERVAL_MIN);
            let idle = Weak::new();
            tokio::spawn(ping(pings, interval, patience, driver, idle)).abort_handle()
        });
        KeepAlive { task }
    }
}

/// Who calls, as far as servers want to know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Metadata {
    /// `token`.
    pub token: Option<HeaderValue>,
    /// `authorization`.
    pub authorization: Option<HeaderValue>,
    /// `hasleader`: the call is refused, or ended, where nobody leads.
    pub require_leader: bool,
    /// `client-api-version`.
    pub api_version: Option<HeaderValue>,
}

/// Pings until it is dropped.
#[derive(Debug)]
pub(crate) struct KeepAlive {
    task: Option<AbortHandle>,
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// With something to count calls by, it keeps quiet while there is none: servers send those away
/// who ping for nothing.
async fn ping(
    mut pings: PingPong,
    interval: Duration,
    patience: Duration,
    driver: AbortHandle,
    calls: Weak<()>,
) {
    loop {
        sleep(interval).await;
        if calls.strong_count() == 1 {
            continue;
        }
        match timeout(patience, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            // The calls see that nothing comes any more.
            Ok(Err(_)) | Err(_) => return driver.abort(),
        }
    }
}

type Shaken = (SendRequest<Bytes>, JoinHandle<()>, Option<PingPong>);

async fn shake_hands(socket: Stream) -> Result<Shaken, h2::Error> {
    let (sender, mut connection) = h2::client::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW_OF_ALL)
        .enable_push(false)
        .handshake(socket)
        .await?;
    let pings = connection.ping_pong();
    // The calls see what was wrong with it.
    let driver = tokio::spawn(async { connection.await.unwrap_or_default() });
    Ok((sender, driver, pings))
}
