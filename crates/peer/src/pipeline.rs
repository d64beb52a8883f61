//! Messages to a member that has dialled no stream yet: posted one by one.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use proto::Message as _;
use proto::raftpb::Message;
use tokio::sync::{Mutex, mpsc};

use crate::dial::{self, Failure, Pool};
use crate::headers;
use crate::link::Link;
use crate::transport::Shared;

/// Messages that wait; more are dropped.
const WAITING: usize = 64;
/// Connections that post at a time.
const CONNECTIONS: usize = 4;

/// The way in.
pub(crate) struct Pipeline {
    waiting: mpsc::Sender<Message>,
}

/// The way out.
pub(crate) type Waiting = Arc<Mutex<mpsc::Receiver<Message>>>;

impl Pipeline {
    pub(crate) fn new() -> (Self, Waiting) {
        let (waiting, receiver) = mpsc::channel(WAITING);
        (Self { waiting }, Arc::new(Mutex::new(receiver)))
    }

    /// Queues a message; false where there is no room.
    pub(crate) fn push(&self, message: Message) -> bool {
        self.waiting.try_send(message).is_ok()
    }
}

/// Posts what waits, on several connections.
pub(crate) fn start(shared: &Arc<Shared>, link: &Arc<Link>, waiting: &Waiting) {
    for _ in 0..CONNECTIONS {
        let (shared_here, link_here) = (Arc::clone(shared), Arc::clone(link));
        let waiting = Arc::clone(waiting);
        let dialer = shared.identity.dialer.clone();
        let task = shared.runtime.spawn(async move {
            let pool = Pool::new(&dialer);
            loop {
                let message = waiting.lock().await.recv().await;
                let Some(message) = message else { return };
                post(&shared_here, &link_here, &pool, &message).await;
            }
        });
        link.own(task.abort_handle());
    }
}

async fn post(shared: &Arc<Shared>, link: &Link, pool: &Pool, message: &Message) {
    let bytes = Bytes::from(message.encode_to_vec());
    let url = link.url();
    let request = || raft_request(shared, "/raft", "application/protobuf", bytes.clone());
    let posted = pool.ask(&url, request, shared.identity.dial_timeout);
    let posted = tokio::time::timeout(shared.identity.dial_timeout * 5, posted).await;
    match posted.unwrap_or(Err(Failure::Timeout)) {
        Ok(_) => {
            let sent = crate::metrics::SENT_BYTES.with_label_values(&[link.name.as_str()]);
            sent.inc_by(bytes.len() as u64);
        }
        Err(failure) => {
            link.url_failed(&url);
            let id = &link.name;
            tracing::debug!("remote-peer-id" = id, error = %failure, "message was not posted");
            crate::metrics::SENT_FAILURES.with_label_values(&[link.name.as_str()]).inc();
            shared.report_unreachable(link.id);
            if failure.is_status(StatusCode::FORBIDDEN) {
                shared.said_to_be_removed();
            }
        }
    }
}

/// A request of a member, with what is put on all of them.
pub(crate) fn raft_request(
    shared: &Shared,
    path: &'static str,
    content: &'static str,
    body: Bytes,
) -> Request<dial::Body> {
    let mut request = Request::new(dial::body(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static(path);
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
    shared.sign(request.headers_mut());
    headers::put_id(request.headers_mut(), headers::FROM, shared.identity.member);
    request
}
