//! One connection, and the pings that find out whether somebody is still there.

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, PingPong};
use http::Request;
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

/// It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Bytes>,
    scheme: &'static str,
    authority: String,
    driver: JoinHandle<()>,
    pings: Option<PingPong>,
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
        Ok(Connection { sender, scheme, authority, driver, pings })
    }

    /// Begins a call.
    pub(crate) async fn call(&self, path: &str, token: Option<&str>) -> Result<Call, Error> {
        let mut request = Request::post(format!("{}://{}{path}", self.scheme, self.authority))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", concat!("pintle/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = token {
            request = request.header("token", token);
        }
        let request = request.body(()).map_err(Error::lost)?;
        let mut sender = self.sender.clone().ready().await.map_err(Error::lost)?;
        let (reply, body) = sender.send_request(request, false).map_err(Error::lost)?;
        Ok(Call::new(reply, body))
    }

    /// Pings from now on, and breaks the connection when nobody answers. Once for a connection.
    pub(crate) fn keep_alive(&mut self, interval: Duration, patience: Duration) -> KeepAlive {
        let pings = self.pings.take().filter(|_| !interval.is_zero());
        let driver = self.driver.abort_handle();
        let task = pings.map(|pings| {
            let interval = interval.max(PING_INTERVAL_MIN);
            tokio::spawn(ping(pings, interval, patience, driver)).abort_handle()
        });
        KeepAlive { task }
    }
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

async fn ping(mut pings: PingPong, interval: Duration, patience: Duration, driver: AbortHandle) {
    loop {
        sleep(interval).await;
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
        .initial_connection_window_size(WINDOW)
        .enable_push(false)
        .handshake(socket)
        .await?;
    let pings = connection.ping_pong();
    // The calls see what was wrong with it.
    let driver = tokio::spawn(async { connection.await.unwrap_or_default() });
    Ok((sender, driver, pings))
}
