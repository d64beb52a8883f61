//! Streams that this member dials, to hear what another one says.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::codec::{Decoder, Kind};
use crate::dial::{self, Failure};
use crate::headers::{self, Version};
use crate::link::Link;
use crate::metrics;
use crate::remote::get;
use crate::transport::Shared;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// Reads one kind of stream of another member, again and again.
pub(crate) async fn read(shared: Arc<Shared>, link: Arc<Link>, kind: Kind) {
    let mut told = None;
    loop {
        let url = link.url();
        match dial_stream(&shared, &link, kind, &url).await {
            Ok(body) => {
                told = None;
                tracing::info!(
                    "stream-reader-type" = kind.name(),
                    "local-member-id" = link.me,
                    "remote-peer-id" = link.name,
                    "established TCP streaming connection with remote peer"
                );
                let begun = Instant::now();
                link.stream_begins();
                if let Some(node) = shared.node() {
                    node.report_heard(link.id);
                }
                let why = read_body(&shared, &link, kind, body).await;
                link.stream_ends(&why);
                if let Some(node) = shared.node() {
                    node.report_lost(link.id);
                }
                tracing::warn!(
                    "stream-reader-type" = kind.name(),
                    "local-member-id" = link.me,
                    "remote-peer-id" = link.name,
                    error = why,
                    "lost TCP streaming connection with remote peer"
                );
                // Tried again at once: if only the connection has broken, nobody need stand for
                // election. One that does not last is not worth the hurry.
                if begun.elapsed() > PAUSE {
                    continue;
                }
            }
            Err(failure) => {
                link.url_failed(&url);
                if failure.is_status(StatusCode::GONE) {
                    shared.said_to_be_removed();
                }
                // Once for each reason; it is tried ten times a second.
                if told.as_ref() != Some(&failure) {
                    tracing::info!(
                        "stream-reader-type" = kind.name(),
                        "remote-peer-id" = link.name,
                        error = %failure,
                        "failed to dial stream of remote peer"
                    );
                    told = Some(failure);
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn dial_stream(
    shared: &Shared,
    link: &Link,
    kind: Kind,
    url: &str,
) -> Result<Incoming, Failure> {
    let patience = shared.identity.dial_timeout;
    let dialled = async {
        let stuck = shared.identity.write_timeout;
        let mut sender = dial::dial(&shared.identity.dialer, url, patience, stuck).await?;
        let path = format!("/raft/stream/{}/{:x}", kind.path(), shared.identity.member);
        let mut request: Request<dial::Body> = get(&path);
        shared.sign(request.headers_mut());
        headers::put_id(request.headers_mut(), headers::TO, link.id);
        dial::place(&mut request, url);
        let response = dial::send(&mut sender, request).await?;
        if response.status() != StatusCode::OK {
            return match dial::whole(response).await {
                Ok(answer) => Err(dial::failure(answer.status(), answer.body())),
                Err(failure) => Err(failure),
            };
        }
        let version = headers::text(response.headers(), &headers::SERVER_VERSION);
        let speaks = version.and_then(Version::parse).is_some_and(|version| version.major >= 3);
        if !speaks {
            return Err(Failure::Malformed("a stream of an unknown version".to_owned()));
        }
        Ok(response.into_body())
    };
    tokio::time::timeout(patience * 2, dialled).await.unwrap_or(Err(Failure::Timeout))
}

/// Reads until the stream ends; why it did.
async fn read_body(shared: &Shared, link: &Link, kind: Kind, mut body: Incoming) -> String {
    let received = metrics::RECEIVED_BYTES.with_label_values(&[link.name.as_str()]);
    let mut decoder = Decoder::new(kind, link.id, shared.identity.member);
    let mut messages = Vec::new();
    let silence = shared.identity.read_timeout;
    loop {
        let frame = match tokio::time::timeout(silence, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => return error.to_string(),
            Ok(None) => return "EOF".to_owned(),
            Err(_) => return format!("nothing was heard for {silence:?}"),
        };
        let Ok(data) = frame.into_data() else { continue };
        received.inc_by(data.len() as u64);
        let decoded = decoder.feed(&data, &mut messages);
        let Some(node) = shared.node() else { return "server stopped".to_owned() };
        // Who dials says for whom it is; what comes for somebody else is not for us.
        messages.retain(|message| message.to() == shared.identity.member);
        let delivered = node.deliver(messages.drain(..));
        if let Err(error) = decoded {
            metrics::RECEIVED_FAILURES.with_label_values(&[link.name.as_str()]).inc();
            return error.to_string();
        }
        if let Err(error) = delivered {
            metrics::RECEIVED_FAILURES.with_label_values(&[link.name.as_str()]).inc();
            return error.to_string();
        }
    }
}
