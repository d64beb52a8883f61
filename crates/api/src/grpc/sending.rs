//! How long replies are on their way to the client, where slow requests are told of: a client that
//! does not open its window, or does not read, makes its own calls slow.

use std::net::SocketAddr;
use std::time::Duration;

use http2::{Connection, StreamKey};
use tokio::time::Instant;

/// Replies of a connection that are looked after at a time. Where more wait, these tell enough.
const REPLIES: usize = 128;

/// The replies that were handed over and are not gone.
pub(super) struct Sending {
    longer_than: Duration,
    remote: Option<SocketAddr>,
    /// What the socket has taken so far.
    written_bytes: u64,
    replies: Vec<Reply>,
}

struct Reply {
    key: StreamKey,
    method: &'static str,
    bytes: usize,
    begun: Instant,
    /// What the socket has taken when it has all of the reply; known when no window holds it back.
    gone_at: Option<u64>,
}

impl Sending {
    /// Tells of replies that take longer.
    pub(super) fn new(longer_than: Duration, remote: Option<SocketAddr>) -> Self {
        Self { longer_than, remote, written_bytes: 0, replies: Vec::new() }
    }

    /// A reply was handed over.
    pub(super) fn begin(&mut self, key: StreamKey, method: &'static str, bytes: usize) {
        if self.replies.len() < REPLIES {
            let begun = Instant::now();
            self.replies.push(Reply { key, method, bytes, begun, gone_at: None });
        }
    }

    /// The socket has taken so many bytes.
    pub(super) fn written(&mut self, bytes: usize, http2: &mut Connection) {
        self.written_bytes += bytes as u64;
        if self.replies.is_empty() {
            return;
        }
        let ahead = http2.output().len() as u64;
        let (written, end) = (self.written_bytes, self.written_bytes + ahead);
        self.end_those(|reply| {
            if reply.gone_at.is_none() && http2.queued(reply.key) == 0 {
                reply.gone_at = Some(end);
            }
            reply.gone_at.is_some_and(|at| at <= written)
        });
    }

    /// The client does not want the rest.
    pub(super) fn reset(&mut self, key: StreamKey) {
        self.end_those(|reply| reply.key == key);
    }

    /// The client is gone.
    pub(super) fn abandon(&mut self) {
        self.end_those(|_| true);
    }

    fn end_those(&mut self, mut is_over: impl FnMut(&mut Reply) -> bool) {
        let (longer_than, remote) = (self.longer_than, self.remote);
        self.replies.retain_mut(|reply| {
            let over = is_over(reply);
            if over {
                let took = reply.begun.elapsed();
                if took > longer_than {
                    tell(reply, took, remote);
                }
            }
            !over
        });
    }
}

/// In the form of the node's lines about what comes before.
fn tell(reply: &Reply, took: Duration, remote: Option<SocketAddr>) {
    const SENDING: &str = "sending the reply";
    tracing::warn!(
        kind = reply.method,
        took = ?took,
        mostly = SENDING,
        "where-the-time-went" = format!("{SENDING}: {took:?}"),
        // A field that is absent is left out.
        remote = remote.map(|remote| remote.to_string()),
        bytes = reply.bytes,
        "a request took long"
    );
}
