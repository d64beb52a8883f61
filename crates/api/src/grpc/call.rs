//! One call: what it is made of, how it begins, and the blocks that its answers begin and end with.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http2::Head;
use tokio::time::Instant;

use crate::answer::{Answer, Upload};
use crate::door::Offer;
use crate::grpc::message::Body;
use crate::grpc::metadata::{self, Metadata};
use crate::grpc::stream::Mailbox;
use crate::host::Host;
use crate::rpc::{BoxFuture, Caller, Rpc};
use crate::status::{Code, Status};

/// A call under way.
pub(super) struct Call<H> {
    /// Its row; plain HTTP has none.
    pub(super) rpc: Option<Arc<Rpc<H>>>,
    pub(super) deadline: Option<Instant>,
    pub(super) body: Body,
    pub(super) work: Work,
}

/// How far a call is.
pub(super) enum Work {
    /// The one message of a unary call is not whole yet.
    Reading(Caller),
    /// The handler of a unary call is at it.
    Unary(BoxFuture<Result<Bytes, Status>>),
    /// The handler of a stream is at it. Bytes that it has not read are held back from the window.
    Stream { handler: BoxFuture<Result<(), Status>>, mailbox: Arc<Mailbox>, held: usize },
    /// An answer of plain HTTP is made.
    Plain { answer: BoxFuture<Response<Answer>>, upload: Held, head_only: bool },
    /// It is sent.
    Download { body: Answer, upload: Held },
}

/// The body of a plain request, and how much of it is held back from the window.
pub(super) struct Held {
    pub(super) upload: Arc<Upload>,
    pub(super) bytes: usize,
}

impl Held {
    /// What the window may have back.
    pub(super) fn read_bytes(&mut self) -> usize {
        if self.upload.is_done_with() { std::mem::take(&mut self.bytes) } else { 0 }
    }
}

impl<H> Call<H> {
    pub(super) fn plain(
        answer: BoxFuture<Response<Answer>>,
        upload: Arc<Upload>,
        head_only: bool,
    ) -> Self {
        let (body, upload) = (Body::new(0, None), Held { upload, bytes: 0 });
        Self { rpc: None, deadline: None, body, work: Work::Plain { answer, upload, head_only } }
    }
}

/// What a request asks for.
pub(super) enum Asked<H> {
    /// Something of the operator's.
    Plain,
    /// A call of the table.
    Call(Arc<Rpc<H>>, Metadata),
    /// Nothing that is there.
    Refused(Refusal),
}

/// An answer that is headers alone, as gRPC's "trailers only" form.
pub(super) struct Refusal {
    pub(super) http_status: &'static str,
    pub(super) status: Status,
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self { http_status: "200", status }
    }
}

/// Tells calls from other requests, as grpc-go does and with its texts; what is no call and names
/// no row is left to the operator's HTTP.
pub(super) fn asked<H: Host>(host: &H, offer: Offer, head: &Head) -> Asked<H> {
    if !matches!(offer, Offer::Everything | Offer::Grpc) {
        return Asked::Plain;
    }
    let path = String::from_utf8_lossy(&head.path);
    let found = host.table().find(&path);
    let kind = head.field("content-type").map_or(&[][..], |kind| &kind[..]);
    if !metadata::is_grpc(kind) {
        if found.is_none() && offer == Offer::Everything {
            return Asked::Plain;
        }
        let text = format!("invalid gRPC request content-type {:?}", String::from_utf8_lossy(kind));
        return refused("415", Status::new(Code::InvalidArgument, text));
    }
    let metadata = match Metadata::of(head) {
        Ok(metadata) => metadata,
        Err(status) if status.code == Code::Internal => return refused("400", status),
        Err(status) => return refused("200", status),
    };
    if head.method != "POST" {
        let method = String::from_utf8_lossy(&head.method);
        let text = format!("Received a HEADERS frame with :method {method:?} which should be POST");
        return refused("405", Status::new(Code::Internal, text));
    }
    if metadata.timeout == Some(Duration::ZERO) {
        return refused("200", too_late());
    }
    match found {
        Some(rpc) => Asked::Call(Arc::clone(rpc), metadata),
        None => refused("200", host.table().unknown(&path)),
    }
}

fn refused<H>(http_status: &'static str, status: Status) -> Asked<H> {
    Asked::Refused(Refusal { http_status, status })
}

/// What a call hears whose deadline has passed.
pub(super) fn too_late() -> Status {
    Status::new(Code::DeadlineExceeded, "context deadline exceeded")
}

const CONTENT_TYPE: (&[u8], &[u8]) = (b"content-type", b"application/grpc");

fn head_block(http_status: &str) -> Vec<u8> {
    let mut block = Vec::with_capacity(64);
    http2::encode(&mut block, b":status", http_status.as_bytes());
    http2::encode(&mut block, CONTENT_TYPE.0, CONTENT_TYPE.1);
    block
}

/// The head of every answer that has a body.
pub(super) static HEAD: LazyLock<Vec<u8>> = LazyLock::new(|| head_block("200"));

/// The end of every answer that is good: the same bytes for all, made once.
static GOOD_TRAILERS: LazyLock<&'static [u8]> = LazyLock::new(|| {
    let mut block = Vec::new();
    metadata::put_status(&mut block, &Ok(()));
    block.leak()
});

/// What ends an answer.
pub(super) fn trailers(outcome: &Result<(), Status>) -> Bytes {
    if outcome.is_ok() {
        return Bytes::from_static(*GOOD_TRAILERS);
    }
    let mut block = Vec::new();
    metadata::put_status(&mut block, outcome);
    block.into()
}

/// A whole answer that is a refusal.
pub(super) fn refusal(refusal: Refusal) -> Vec<u8> {
    let mut block = head_block(refusal.http_status);
    metadata::put_status(&mut block, &Err(refusal.status));
    block
}
