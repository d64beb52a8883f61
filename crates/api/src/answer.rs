//! What plain HTTP carries: the body of a request as it comes in, and that of an answer, whole or
//! line by line.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Response, request};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body, Frame, SizeHint};

use crate::door::Via;
use crate::gateway::{Lines, Upgraded};
use crate::rpc::BoxFuture;

/// The body of a request, from whatever transport.
pub(crate) type Incoming = UnsyncBoxBody<Bytes, Broken>;

/// A body that ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

/// The body of a request that has none.
pub(crate) fn nothing() -> Incoming {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A request of plain HTTP.
pub struct Request {
    /// All but the body.
    pub parts: request::Parts,
    /// What comes behind.
    pub(crate) body: Incoming,
    /// Where from; a unix client has no address.
    pub(crate) peer: Option<SocketAddr>,
    /// Done when the client is gone, where the transport does not drop the answer by itself.
    pub(crate) gone: Option<BoxFuture<()>>,
    /// Whether the body has no end of its own: a WebSocket.
    pub(crate) endless: bool,
    /// Where what goes on is put when the connection stops to be one of HTTP.
    pub(crate) upgraded: Option<Upgraded>,
}

impl Request {
    /// Whether TLS guards it.
    pub fn is_tls(&self) -> bool {
        self.parts.extensions.get::<Via>().is_some_and(|via| via.is_tls)
    }

    /// A request whose client is looked after by the transport.
    pub(crate) fn new(parts: request::Parts, body: Incoming, peer: Option<SocketAddr>) -> Self {
        Self { parts, body, peer, gone: None, endless: false, upgraded: None }
    }
}

/// The body of an answer.
pub enum Answer {
    /// All of it.
    Whole(Bytes),
    /// A stream of the gateway.
    Lines(Box<Lines>),
}

impl Answer {
    /// An answer whose body is there.
    pub fn whole(response: Response<Bytes>) -> Response<Self> {
        response.map(Self::Whole)
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => None,
            Self::Whole(bytes) => Some(std::mem::take(bytes)),
            Self::Lines(lines) => ready!(lines.poll_line(cx)),
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Lines(_) => SizeHint::default(),
        }
    }
}

/// A body between a transport that puts in what has come and a handler that is polled by the same
/// task whenever it did: no waker is kept here.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
struct Content {
    parts: VecDeque<Bytes>,
    ended: bool,
}

impl Upload {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().expect("no holder of this lock panics")
    }

    /// The end from which the handler reads.
    pub(crate) fn reader(self: &Arc<Self>) -> Incoming {
        UploadReader(Arc::clone(self)).boxed_unsync()
    }

    /// Something has come.
    pub(crate) fn put(&self, part: Bytes) {
        self.content().parts.push_back(part);
    }

    /// No more will come.
    pub(crate) fn end(&self) {
        self.content().ended = true;
    }

    /// Whether all that came was taken.
    fn is_read(&self) -> bool {
        self.content().parts.is_empty()
    }

    /// Whether nobody will take what came, as all is taken or nobody reads.
    pub(crate) fn is_done_with(self: &Arc<Self>) -> bool {
        self.is_read() || !self.is_wanted()
    }

    /// Whether anybody still reads.
    pub(crate) fn is_wanted(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1
    }
}

struct UploadReader(Arc<Upload>);

impl Body for UploadReader {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let mut content = self.0.content();
        match content.parts.pop_front() {
            Some(part) => Poll::Ready(Some(Ok(Frame::data(part)))),
            None if content.ended => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}
