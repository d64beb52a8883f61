//! The state of this member on its way to one that is far behind.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use node::Image;
use proto::Message as _;
use proto::raftpb::Message;
use tokio::sync::{mpsc, oneshot};

use crate::dial::{self, Failure};
use crate::link::Link;
use crate::metrics;
use crate::transport::Shared;

/// The db file is sent in pieces of this size.
const PIECE: usize = 256 << 10;
/// Pieces that are read ahead of the network.
const AHEAD: usize = 4;
/// A receiver that takes nothing for so long is given up. It writes to disk meanwhile, which may
/// make it wait.
const STUCK: Duration = Duration::from_secs(30);
/// When it has all, it syncs, checks and opens the file before it answers.
const ANSWER: Duration = Duration::from_secs(600);

/// Sends the state and reports what came of it.
pub(crate) fn send(shared: &Arc<Shared>, message: Message, image: Image) {
    let to = message.to();
    let told = Told { shared: Arc::clone(shared), to, arrived: false };
    let Some(link) = shared.link(to) else { return };
    let (shared, its_own) = (Arc::clone(shared), Arc::clone(&link));
    let sending = shared.runtime.clone().spawn(async move {
        // All of it moves here, so that it tells when this ends.
        let mut told = told;
        told.arrived = post(&shared, &its_own, message, image).await;
    });
    link.own(sending.abort_handle());
}

/// Reports what came of a snapshot, also when its task ends early: raft sends nothing to a member
/// while one is under way.
struct Told {
    shared: Arc<Shared>,
    to: u64,
    arrived: bool,
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(node) = self.shared.node() {
            node.report_snapshot(self.to, self.arrived);
        }
    }
}

async fn post(shared: &Arc<Shared>, link: &Link, message: Message, image: Image) -> bool {
    let size = image.len();
    let place = message.snapshot.as_ref().and_then(|it| it.metadata.as_ref());
    let index = place.map(|place| place.index()).unwrap_or_default();
    tracing::info!(
        "snapshot-index" = index,
        "remote-peer-id" = link.name,
        bytes = size,
        size = node::humane_bytes(size),
        "sending database snapshot"
    );
    let labels = [link.name.as_str()];
    metrics::SNAPSHOTS_OUT.with_label_values(&labels).inc();
    let timer = metrics::SNAPSHOT_SEND_TIME.with_label_values(&labels).start_timer();
    let url = link.url();
    let sent = try_post(shared, &url, &message, image).await;
    metrics::SNAPSHOTS_OUT.with_label_values(&labels).dec();
    match sent {
        Ok(()) => {
            timer.observe_duration();
            metrics::SNAPSHOT_SENT.with_label_values(&labels).inc();
            metrics::SENT_BYTES.with_label_values(&labels).inc_by(size);
            tracing::info!(
                "snapshot-index" = index,
                "remote-peer-id" = link.name,
                bytes = size,
                size = node::humane_bytes(size),
                "sent database snapshot"
            );
            true
        }
        Err(failure) => {
            timer.stop_and_discard();
            link.url_failed(&url);
            metrics::SNAPSHOT_SEND_FAILURES.with_label_values(&labels).inc();
            metrics::SENT_FAILURES.with_label_values(&labels).inc();
            shared.report_unreachable(link.id);
            if failure.is_status(StatusCode::FORBIDDEN) {
                shared.said_to_be_removed();
            }
            tracing::warn!(
                "snapshot-index" = index,
                "remote-peer-id" = link.name,
                error = %failure,
                "failed to send database snapshot"
            );
            false
        }
    }
}

async fn try_post(
    shared: &Arc<Shared>,
    url: &str,
    message: &Message,
    image: Image,
) -> Result<(), Failure> {
    let mut head = BytesMut::new();
    head.put_u64(message.encoded_len() as u64);
    message.encode(&mut head).expect("the buffer grows");
    let (pieces, body) = mpsc::channel(AHEAD);
    let left = head.len() as u64 + image.len();
    let (all_sent, all_is_sent) = oneshot::channel();
    let body = PieceBody { pieces: body, left, all_sent: Some(all_sent) };
    let mut request = Request::new(body.boxed());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("/raft/snapshot");
    let octets = HeaderValue::from_static("application/octet-stream");
    request.headers_mut().insert(header::CONTENT_TYPE, octets);
    shared.sign(request.headers_mut());
    dial::place(&mut request, url);
    let mut sender =
        dial::dial(&shared.identity.dialer, url, shared.identity.dial_timeout, STUCK).await?;
    let posted = async { dial::whole(dial::send(&mut sender, request).await?).await };
    let patience = async {
        if all_is_sent.await.is_err() {
            // The body has ended early, and the connection tells why.
            std::future::pending().await
        }
        tokio::time::sleep(ANSWER).await;
    };
    let answered = async {
        tokio::select! {
            posted = posted => posted.map(drop),
            () = patience => Err(Failure::Timeout),
        }
    };
    let reading = async {
        read_pieces(head.freeze(), image, pieces).await;
        std::future::pending().await
    };
    tokio::select! {
        answered = answered => answered,
        never = reading => never,
    }
}

async fn read_pieces(head: Bytes, image: Image, pieces: mpsc::Sender<io::Result<Bytes>>) {
    let mut next = Ok(head);
    let mut at = 0;
    loop {
        let failed = next.is_err();
        // The other end goes when the connection breaks.
        if pieces.send(next).await.is_err() || failed || at >= image.len() {
            return;
        }
        next = image.read(at, PIECE).await.map_err(|error| io::Error::other(error.to_string()));
        match &next {
            Ok(piece) if piece.is_empty() => next = Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(piece) => at += piece.len() as u64,
            Err(_) => {}
        }
    }
}

/// Pieces as the body of a request. If they end too early the connection breaks, and the receiver
/// does not take the file for a whole one.
struct PieceBody {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
    all_sent: Option<oneshot::Sender<()>>,
}

impl hyper::body::Body for PieceBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = ready!(self.pieces.poll_recv(cx));
        Poll::Ready(match piece {
            Some(Ok(piece)) => {
                self.left = self.left.saturating_sub(piece.len() as u64);
                Some(Ok(Frame::data(piece)))
            }
            Some(Err(error)) => Some(Err(error)),
            None if self.left > 0 => Some(Err(io::ErrorKind::UnexpectedEof.into())),
            None => {
                if let Some(all_sent) = self.all_sent.take() {
                    let _ = all_sent.send(());
                }
                None
            }
        })
    }
}
