use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use net::ClientTls;
use proto::Message;
use proto::etcdserverpb::{
    AuthenticateRequest, AuthenticateResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
};
use tokio::time::timeout;

use crate::connection::Connection;
use crate::endpoint::Endpoint;
use crate::{Error, Watch};

/// Whom to speak to, and with how much patience.
#[derive(Debug, Clone)]
pub struct Options {
    /// URLs, or `host:port` alone; there must be one.
    pub endpoints: Vec<String>,
    /// For connecting to one of them.
    pub dial_timeout: Duration,
    /// For a call, without connecting.
    pub request_timeout: Duration,
    /// Between pings while there is a watch: never more often than every ten seconds, and 0 for
    /// none.
    pub keepalive_time: Duration,
    /// For the answer to a ping.
    pub keepalive_timeout: Duration,
    /// As whom; nobody in particular where there is none.
    pub user: Option<User>,
    /// TLS, where it is spoken.
    pub tls: Tls,
}

/// How TLS is spoken, and when.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// For endpoints with which it is spoken; they cannot be reached where there is none.
    pub client: Option<Arc<ClientTls>>,
    /// Whether it is spoken with endpoints that do not say it in their URL.
    pub by_default: bool,
}

/// Somebody whom the cluster knows.
#[derive(Clone)]
pub struct User {
    /// The name.
    pub name: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A client of a cluster. It connects when it has something to ask.
#[derive(Debug)]
pub struct Client {
    options: Options,
    endpoints: Vec<Endpoint>,
    /// Which endpoint is tried first.
    first: usize,
    connected: Option<Connected>,
}

#[derive(Debug)]
struct Connected {
    connection: Connection,
    token: Option<String>,
}

impl Client {
    /// Reads the endpoints; nobody is asked yet.
    pub fn new(options: Options) -> Result<Client, Error> {
        let endpoints = options.endpoints.iter().map(|endpoint| Endpoint::parse(endpoint));
        let endpoints = endpoints.collect::<Result<Vec<_>, _>>()?;
        if endpoints.is_empty() {
            let reason = "at least one is needed".to_owned();
            return Err(Error::Endpoint { endpoint: String::new(), reason });
        }
        Ok(Client { options, endpoints, first: 0, connected: None })
    }

    /// The value of a key, linearizable; there may be none.
    pub async fn get(&mut self, key: impl Into<Bytes>) -> Result<RangeResponse, Error> {
        let request = RangeRequest { key: key.into(), ..RangeRequest::default() };
        self.ask("/etcdserverpb.KV/Range", &request).await
    }

    /// All keys that begin so, linearizable.
    pub async fn get_prefix(&mut self, prefix: impl Into<Bytes>) -> Result<RangeResponse, Error> {
        let key = prefix.into();
        let range_end = end_of(&key);
        let request = RangeRequest { key, range_end, ..RangeRequest::default() };
        self.ask("/etcdserverpb.KV/Range", &request).await
    }

    /// Sets a key.
    pub async fn put(
        &mut self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<PutResponse, Error> {
        let request = PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() };
        self.ask("/etcdserverpb.KV/Put", &request).await
    }

    /// Watches all keys that begin so, from this revision on, over a connection of its own.
    pub async fn watch_prefix(
        &mut self,
        prefix: impl Into<Bytes>,
        start_revision: i64,
    ) -> Result<Watch, Error> {
        let key = prefix.into();
        let range_end = end_of(&key);
        let Options { keepalive_time, keepalive_timeout, request_timeout, .. } = self.options;
        let Connected { mut connection, token } = self.connect().await?;
        let begun = async {
            let mut call = connection.call("/etcdserverpb.Watch/Watch", token.as_deref()).await?;
            Watch::begin(&mut call, key, range_end, start_revision).await?;
            Ok(call)
        };
        let begun = timeout(request_timeout, begun).await.unwrap_or(Err(Error::Timeout));
        let call = begun.inspect_err(|error| self.go_elsewhere(error))?;
        let alive = connection.keep_alive(keepalive_time, keepalive_timeout);
        Ok(Watch::new(call, alive, connection))
    }

    /// Makes any call of one request and one reply.
    pub async fn ask<Reply: Message + Default>(
        &mut self,
        path: &str,
        request: &impl Message,
    ) -> Result<Reply, Error> {
        let connected = match self.connected.take() {
            Some(connected) => connected,
            None => self.connect().await?,
        };
        let asked = ask(&connected.connection, path, request, connected.token.as_deref());
        let asked = timeout(self.options.request_timeout, asked).await;
        let answer = asked.unwrap_or(Err(Error::Timeout));
        match &answer {
            Err(error) if error.is_of_connection() => self.go_elsewhere(error),
            _ => self.connected = Some(connected),
        }
        answer
    }

    fn go_elsewhere(&mut self, error: &Error) {
        if error.is_of_connection() {
            self.first = (self.first + 1) % self.endpoints.len();
        }
    }

    /// The first that can be reached, from where we were last.
    async fn connect(&mut self) -> Result<Connected, Error> {
        let mut last = Error::Timeout;
        for step in 0..self.endpoints.len() {
            let at = (self.first + step) % self.endpoints.len();
            let Some(endpoint) = self.endpoints.get(at) else { continue };
            let dialled =
                timeout(self.options.dial_timeout, Connection::dial(endpoint, &self.options.tls))
                    .await;
            let slow = || Error::Unreachable {
                endpoint: endpoint.to_string(),
                reason: Error::Timeout.to_string(),
            };
            match dialled.unwrap_or_else(|_| Err(slow())) {
                Err(error) => last = error,
                Ok(connection) => {
                    self.first = at;
                    let token = self.authenticate(&connection).await;
                    let token = token.inspect_err(|error| self.go_elsewhere(error))?;
                    return Ok(Connected { connection, token });
                }
            }
        }
        Err(last)
    }

    async fn authenticate(&self, connection: &Connection) -> Result<Option<String>, Error> {
        let Some(User { name, password }) = self.options.user.clone() else { return Ok(None) };
        let request = AuthenticateRequest { name, password };
        let asked = ask(connection, "/etcdserverpb.Auth/Authenticate", &request, None);
        let asked = timeout(self.options.request_timeout, asked).await;
        match asked.unwrap_or(Err(Error::Timeout)) {
            Ok(AuthenticateResponse { token, .. }) => Ok(Some(token)),
            Err(Error::Status { message, .. }) if message == Error::NO_USERS => Ok(None),
            Err(error @ Error::Status { .. }) if !error.is_of_connection() => {
                Err(Error::Login(Box::new(error)))
            }
            Err(error) => Err(error),
        }
    }
}

async fn ask<Reply: Message + Default>(
    connection: &Connection,
    path: &str,
    request: &impl Message,
    token: Option<&str>,
) -> Result<Reply, Error> {
    let mut call = connection.call(path, token).await?;
    call.send(request, true)?;
    call.only().await
}

/// The first key that is behind all keys that begin so; 0 stands for the end of all keys.
fn end_of(prefix: &Bytes) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end.into();
        }
    }
    Bytes::from_static(&[0])
}
