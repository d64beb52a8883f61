//! The state of another member on its way to this one.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use node::{IncomingSnapshot, Node};
use proto::Message as _;
use proto::raftpb::{Message, MessageType};
use tokio::time::Instant;

use crate::handlers::{MESSAGE_LIMIT, Refusal, Reply, admit, admit_message, error, greet, reply};
use crate::headers;
use crate::metrics;
use crate::transport::Shared;

/// `/raft/snapshot`: a message, and the db file behind it.
pub(crate) async fn snapshot(
    shared: &Arc<Shared>,
    node: &Node,
    request: Request<Incoming>,
) -> Reply {
    let (parts, body) = request.into_parts();
    if let Err(refused) = admit(shared, &parts.headers) {
        return *refused;
    }
    greet(shared, node, &parts.headers);
    let sender = headers::id(&parts.headers, &headers::FROM);
    let from = format!("{:x}", sender.unwrap_or_default());
    let labels = [from.as_str()];
    let timer = metrics::SNAPSHOT_RECEIVE_TIME.with_label_values(&labels).start_timer();
    match receive(shared, node, body, (sender, &from)).await {
        Ok(()) => {
            timer.observe_duration();
            metrics::SNAPSHOT_RECEIVED.with_label_values(&labels).inc();
            reply(StatusCode::NO_CONTENT, "", Bytes::new())
        }
        Err(refused) => {
            timer.stop_and_discard();
            metrics::SNAPSHOT_RECEIVE_FAILURES.with_label_values(&labels).inc();
            refused
        }
    }
}

async fn receive(
    shared: &Arc<Shared>,
    node: &Node,
    mut body: Incoming,
    (sender, from): (Option<u64>, &str),
) -> Result<(), Reply> {
    let begun = Instant::now();
    let silence = shared.identity.read_timeout;
    let mut head = BytesMut::new();
    let message = loop {
        let Some(data) = next(&mut body, silence).await.map_err(|()| failed(from, 0, CUT))? else {
            return Err(failed(from, 0, CUT));
        };
        head.extend_from_slice(&data);
        if let Some(message) = take_message(&mut head).map_err(|refused| *refused)? {
            break message;
        }
    };
    admit_message(shared, node, sender, &message).map_err(|refused| *refused)?;
    let mut arriving = Arriving::begin(shared, node, message, from).await?;
    arriving.take(head.freeze()).await?;
    let index = arriving.index;
    while let Some(data) = next(&mut body, silence).await.map_err(|()| failed(from, index, CUT))? {
        arriving.take(data).await?;
    }
    arriving.finish(begun).await
}

const CUT: (StatusCode, &str) = (StatusCode::BAD_REQUEST, "failed to read snapshot");

/// The next bytes of a body, `None` behind its end; an error where it is cut off or nothing comes.
async fn next(body: &mut Incoming, silence: Duration) -> Result<Option<Bytes>, ()> {
    loop {
        let frame = match tokio::time::timeout(silence, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) | Err(_) => return Err(()),
        };
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
}

/// Tells that a state did not arrive; the answer to who sends it.
fn failed(from: &str, index: u64, (status, why): (StatusCode, &str)) -> Reply {
    tracing::warn!(
        "remote-snapshot-sender-id" = from,
        "incoming-snapshot-index" = index,
        error = why,
        "failed to save incoming database snapshot"
    );
    error(status, why)
}

/// A state that arrives.
struct Arriving<'a> {
    file: IncomingSnapshot,
    me: String,
    from: &'a str,
    index: u64,
    bytes: u64,
    _counted: Counted<'a>,
}

/// Counts as one that arrives.
struct Counted<'a>(&'a str);

impl<'a> Counted<'a> {
    fn new(from: &'a str) -> Self {
        metrics::SNAPSHOTS_IN.with_label_values(&[from]).inc();
        Self(from)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        metrics::SNAPSHOTS_IN.with_label_values(&[self.0]).dec();
    }
}

impl<'a> Arriving<'a> {
    async fn begin(
        shared: &Shared,
        node: &Node,
        message: Message,
        from: &'a str,
    ) -> Result<Self, Reply> {
        let me = format!("{:x}", shared.identity.member);
        let snapshot = message.snapshot.as_ref().and_then(|it| it.metadata.as_ref());
        let index = snapshot.map(|it| it.index()).unwrap_or_default();
        let size = message.encoded_len() as u64;
        tracing::info!(
            "local-member-id" = me,
            "remote-snapshot-sender-id" = from,
            "incoming-snapshot-index" = index,
            "incoming-snapshot-message-size-bytes" = size,
            "incoming-snapshot-message-size" = node::humane_bytes(size),
            "receiving database snapshot"
        );
        metrics::RECEIVED_BYTES.with_label_values(&[from]).inc_by(size);
        let begun = node.begin_snapshot(message).await;
        let file = begun.map_err(|error| refused(from, index, &error))?;
        Ok(Self { file, me, from, index, bytes: 0, _counted: Counted::new(from) })
    }

    async fn take(&mut self, data: Bytes) -> Result<(), Reply> {
        self.bytes += data.len() as u64;
        let written = self.file.write(data).await;
        written.map_err(|error| refused(self.from, self.index, &error))
    }

    /// The db file is whole.
    async fn finish(self, begun: Instant) -> Result<(), Reply> {
        let (from, index) = (self.from, self.index);
        tracing::info!(
            "local-member-id" = self.me,
            "remote-snapshot-sender-id" = from,
            "incoming-snapshot-index" = index,
            "incoming-snapshot-size-bytes" = self.bytes,
            "incoming-snapshot-size" = node::humane_bytes(self.bytes),
            "download-took" = ?begun.elapsed(),
            "received and saved database snapshot"
        );
        metrics::RECEIVED_BYTES.with_label_values(&[from]).inc_by(self.bytes);
        let Self { file, _counted, .. } = self;
        let finished = file.finish().await;
        finished.map_err(|error| refused(from, index, &error))
    }
}

fn refused(from: &str, index: u64, error: &node::Error) -> Reply {
    failed(from, index, (StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()))
}

/// The message in front of the db file, once it is there whole.
pub(crate) fn take_message(head: &mut BytesMut) -> Result<Option<Message>, Refusal> {
    let refused = |text: &str| Refusal::from(error(StatusCode::BAD_REQUEST, text));
    let Some(len) = head.first_chunk::<8>() else { return Ok(None) };
    let len = u64::from_be_bytes(*len);
    if len > MESSAGE_LIMIT as u64 {
        return Err(refused("failed to decode raft message (it is too large)"));
    }
    if head.len() < 8 + len as usize {
        return Ok(None);
    }
    head.advance(8);
    let message = Message::decode(head.split_to(len as usize).freeze())
        .map_err(|error| refused(&format!("failed to decode raft message ({error})")))?;
    if message.r#type != Some(MessageType::MsgSnap as i32) {
        return Err(refused("wrong raft message type"));
    }
    Ok(Some(message))
}
