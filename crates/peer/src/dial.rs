//! Asking another member over HTTP/1.1: connections that are kept while they are of use.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use net::{ClientTls, Stream, Url};

use crate::deadline::Deadline;

/// What goes out as the body of a request.
pub(crate) type Body = BoxBody<Bytes, io::Error>;

/// Bodies of answers that are not streams may be so long.
const ANSWER_LIMIT: usize = 64 << 20;
/// Another member that takes nothing of a question for so long hangs.
const STUCK: Duration = Duration::from_secs(5);
/// Connections that wait to be of use again.
const IDLE: usize = 8;

/// Why another member could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It cannot be reached, or the connection broke.
    #[error("{0}")]
    Connection(String),
    /// It has not answered in time.
    #[error("request timed out")]
    Timeout,
    /// It has answered with a status that is no success.
    #[error("{text} (status {status})")]
    Status {
        /// The number of the status.
        status: u16,
        /// What the body says.
        text: String,
    },
    /// What it said makes no sense.
    #[error("malformed answer: {0}")]
    Malformed(String),
}

impl Failure {
    /// Whether it is an answer with this status.
    pub(crate) fn is_status(&self, expected: StatusCode) -> bool {
        matches!(self, Self::Status { status, .. } if *status == expected.as_u16())
    }
}

pub(crate) fn no_body() -> Body {
    body(Bytes::new())
}

pub(crate) fn body(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

fn parse(url: &str) -> Result<Url, Failure> {
    Url::parse(url).map_err(|error| Failure::Connection(format!("{url}: {error}")))
}

/// How other members are reached.
#[derive(Debug, Clone, Default)]
pub struct Dialer {
    /// For URLs that ask for TLS; nobody has such a one where there is none.
    pub tls: Option<Arc<ClientTls>>,
    /// The address to come from; where there is none, the system takes one.
    pub local_address: Option<IpAddr>,
}

/// Connects to a member. The one place where a connection is made.
async fn connect(dialer: &Dialer, url: &Url, stuck: Duration) -> Result<Deadline, Failure> {
    let connected = match &dialer.tls {
        _ if !url.scheme().is_secure() => Stream::connect_from(dialer.local_address, url).await,
        Some(tls) => tls.connect_from(dialer.local_address, url).await,
        None => Err(io::Error::other("TLS is not set up")),
    };
    let stream = connected.map_err(|error| Failure::Connection(format!("dial {url}: {error}")))?;
    Ok(Deadline::new(stream, stuck))
}

/// A connection on which requests can be made, one after the other. It must be there within
/// `patience`, and break where the other side takes nothing for as long as `stuck`.
pub(crate) async fn dial(
    dialer: &Dialer,
    url: &str,
    patience: Duration,
    stuck: Duration,
) -> Result<SendRequest<Body>, Failure> {
    let dialled = async {
        let stream = connect(dialer, &parse(url)?, stuck).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Failure::Connection(format!("dial {url}: {error}")))?;
        // It ends with the sender, or when the other side hangs up.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(sender)
    };
    tokio::time::timeout(patience, dialled).await.unwrap_or(Err(Failure::Timeout))
}

/// Puts on a request where it goes to.
pub(crate) fn place<B>(request: &mut Request<B>, url: &str) {
    let host = match Url::parse(url) {
        Ok(url) if !url.scheme().is_unix() => HeaderValue::from_str(&url.address()).ok(),
        _ => None,
    };
    let host = host.unwrap_or(HeaderValue::from_static("localhost"));
    request.headers_mut().insert(header::HOST, host);
}

/// Makes one request on a connection.
pub(crate) async fn send(
    sender: &mut SendRequest<Body>,
    request: Request<Body>,
) -> Result<Response<Incoming>, Failure> {
    let broken = |error: hyper::Error| Failure::Connection(error.to_string());
    sender.ready().await.map_err(broken)?;
    sender.send_request(request).await.map_err(broken)
}

/// The whole answer; what is no success is a failure with its text.
pub(crate) async fn whole(response: Response<Incoming>) -> Result<Response<Bytes>, Failure> {
    let (parts, body) = response.into_parts();
    let body = http_body_util::Limited::new(body, ANSWER_LIMIT).collect().await;
    let body = body.map_err(|error| Failure::Connection(error.to_string()))?.to_bytes();
    if parts.status.is_success() {
        return Ok(Response::from_parts(parts, body));
    }
    Err(failure(parts.status, &body))
}

pub(crate) fn failure(status: StatusCode, body: &[u8]) -> Failure {
    let text = String::from_utf8_lossy(body).trim_end().to_owned();
    Failure::Status { status: status.as_u16(), text }
}

/// Connections to one member that are free.
pub(crate) struct Pool {
    dialer: Dialer,
    idle: Mutex<Vec<(String, SendRequest<Body>)>>,
}

impl Pool {
    pub(crate) fn new(dialer: &Dialer) -> Self {
        Self { dialer: dialer.clone(), idle: Mutex::default() }
    }

    /// Makes one request and gives the whole answer, on a connection that is there or a new one. A
    /// request that finds its old connection closed is made once more on a new one.
    pub(crate) async fn ask(
        &self,
        url: &str,
        request: impl Fn() -> Request<Body>,
        dial_patience: Duration,
    ) -> Result<Response<Bytes>, Failure> {
        if let Some(mut sender) = self.take(url)
            && let Ok(response) = self.ask_on(&mut sender, url, request()).await
        {
            let answer = whole(response).await;
            self.put_back(url, sender);
            return answer;
        }
        let mut sender = dial(&self.dialer, url, dial_patience, STUCK).await?;
        let response = self.ask_on(&mut sender, url, request()).await?;
        let answer = whole(response).await;
        self.put_back(url, sender);
        answer
    }

    async fn ask_on(
        &self,
        sender: &mut SendRequest<Body>,
        url: &str,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, Failure> {
        place(&mut request, url);
        send(sender, request).await
    }

    fn take(&self, url: &str) -> Option<SendRequest<Body>> {
        let mut idle = self.idle.lock().expect("no holder of this lock panics");
        idle.retain(|(_, sender)| !sender.is_closed());
        let at = idle.iter().position(|(of, _)| of == url)?;
        Some(idle.swap_remove(at).1)
    }

    fn put_back(&self, url: &str, sender: SendRequest<Body>) {
        let mut idle = self.idle.lock().expect("no holder of this lock panics");
        if idle.len() < IDLE && !sender.is_closed() {
            idle.push((url.to_owned(), sender));
        }
    }
}
