//! What peer URLs answer, path by path.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use node::Node;
use proto::Message as _;
use proto::etcdserverpb::{
    LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseTimeToLiveResponse, Member, ResponseHeader,
};
use proto::leasepb::{LeaseInternalRequest, LeaseInternalResponse};
use proto::raftpb::Message;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Notify;

use crate::codec::Kind;
use crate::gate::Gate;
use crate::headers::{self, CLUSTER_ID};
use crate::metrics;
use crate::outbound::Attached;
use crate::receive;
use crate::remote::MemberJson;
use crate::transport::Shared;

/// A posted message may be so large, and the one in front of a snapshot.
pub(crate) const MESSAGE_LIMIT: usize = 64 << 20;
/// A question may be so large.
const QUESTION_LIMIT: usize = 64 << 10;

pub(crate) type Body = BoxBody<Bytes, Infallible>;
pub(crate) type Reply = Response<Body>;
/// An answer to who is not listened to.
pub(crate) type Refusal = Box<Reply>;

pub(crate) fn reply(status: StatusCode, content: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut response = Response::new(Full::new(body.into()).boxed());
    *response.status_mut() = status;
    if !content.is_empty() {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content));
    }
    response
}

/// An error as Go's servers write it.
pub(crate) fn error(status: StatusCode, text: &str) -> Reply {
    let mut reply = reply(status, "text/plain; charset=utf-8", format!("{text}\n"));
    let nosniff = HeaderValue::from_static("nosniff");
    reply.headers_mut().insert("x-content-type-options", nosniff);
    reply
}

/// As [`error`], for what comes of a request that is about members.
fn json_error(status: StatusCode, text: &str) -> Reply {
    reply(status, "application/json", json!({ "message": text }).to_string())
}

/// Answers one request.
pub(crate) async fn handle(
    shared: &Arc<Shared>,
    gate: &dyn Gate,
    request: Request<Incoming>,
    hang_up: Arc<Notify>,
) -> Reply {
    let Some(node) = shared.node() else {
        return error(StatusCode::SERVICE_UNAVAILABLE, "server stopped");
    };
    let path = request.uri().path().to_owned();
    let allowed = match path.as_str() {
        "/raft" | "/raft/snapshot" | "/leases" | "/leases/internal" => Method::POST,
        _ if path.starts_with("/members/promote/") => Method::POST,
        "/raft/probing" | "/members" | "/members/hashkv" | "/version" | "/downgrade/enabled" => {
            Method::GET
        }
        _ if path.starts_with("/raft/stream/") => Method::GET,
        _ => return error(StatusCode::NOT_FOUND, "404 page not found"),
    };
    if request.method() != allowed {
        let mut refused = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
        let allow = HeaderValue::from_str(allowed.as_str()).expect("methods are text");
        refused.headers_mut().insert(ALLOW, allow);
        return refused;
    }
    let mut answer = match path.as_str() {
        "/raft" => raft(shared, &node, request).await,
        "/raft/snapshot" => receive::snapshot(shared, &node, request).await,
        "/raft/probing" => return probing(&node),
        "/members" => members(&node),
        "/members/hashkv" => hash_kv(shared, &node, request).await,
        "/version" => return version(&node),
        "/downgrade/enabled" => downgrade_enabled(&node).await,
        "/leases" => return lease_renew(shared, &node, request).await,
        "/leases/internal" => return lease_time_to_live(shared, &node, request).await,
        path if path.starts_with("/raft/stream/") => {
            let mut answer = stream(shared, &node, &request, hang_up);
            // Who dials looks at the version before it looks at the status.
            let version = HeaderValue::from_static(node::SERVER_VERSION);
            answer.headers_mut().insert(headers::SERVER_VERSION, version);
            answer
        }
        _ => promote(&node, gate, &request).await,
    };
    headers::put_id(answer.headers_mut(), CLUSTER_ID, shared.identity.cluster);
    answer
}

/// All of a body; `Err` is the answer to who sends too much or nothing for too long.
async fn read(shared: &Shared, mut body: Incoming, limit: usize) -> Result<Bytes, Refusal> {
    let mut bytes = BytesMut::new();
    loop {
        let frame = match tokio::time::timeout(shared.identity.read_timeout, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) | Err(_) => {
                let text = "error reading raft message";
                return Err(error(StatusCode::BAD_REQUEST, text).into());
            }
            Ok(None) => return Ok(bytes.freeze()),
        };
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            return Err(error(status, "request body too large").into());
        }
        bytes.extend_from_slice(&data);
    }
}

/// Whether to listen; else the answer.
pub(crate) fn admit(shared: &Arc<Shared>, headers: &HeaderMap) -> Result<(), Refusal> {
    headers::check(headers, shared.identity.cluster)
        .map_err(|mismatch| error(StatusCode::PRECONDITION_FAILED, mismatch.0).into())
}

/// Whom a posted message is from and for; else the answer.
pub(crate) fn admit_message(
    shared: &Shared,
    node: &Node,
    sender: Option<u64>,
    message: &Message,
) -> Result<(), Refusal> {
    // Who forwards what another one has asked for leaves that one's name in it, and is not to
    // stop in its place. Such a message is dropped by the drive.
    if node.is_removed(sender.unwrap_or(message.from())) {
        let text = "cannot process message from removed member";
        return Err(json_error(StatusCode::FORBIDDEN, text).into());
    }
    if message.to() != shared.identity.member {
        // etcd answers 403, at which a member of its kind would stop for good.
        return Err(error(StatusCode::PRECONDITION_FAILED, "to field mismatch").into());
    }
    Ok(())
}

/// Remembers a sender that is not known yet.
pub(crate) fn greet(shared: &Arc<Shared>, node: &Node, headers: &HeaderMap) {
    let from = headers::id(headers, &headers::FROM);
    if let Some(from) = from.filter(|from| !node.knows(*from) && !node.is_removed(*from)) {
        shared.remember_remote(from, headers::peer_urls(headers));
    }
}

async fn raft(shared: &Arc<Shared>, node: &Node, request: Request<Incoming>) -> Reply {
    let (parts, body) = request.into_parts();
    if let Err(refused) = admit(shared, &parts.headers) {
        return *refused;
    }
    greet(shared, node, &parts.headers);
    let bytes = match read(shared, body, MESSAGE_LIMIT).await {
        Ok(bytes) => bytes,
        Err(refused) => return *refused,
    };
    let len = bytes.len();
    let Ok(message) = Message::decode(bytes) else {
        return error(StatusCode::BAD_REQUEST, "error unmarshalling raft message");
    };
    let from = format!("{:x}", message.from());
    metrics::RECEIVED_BYTES.with_label_values(&[from.as_str()]).inc_by(len as u64);
    let sender = headers::id(&parts.headers, &headers::FROM);
    if let Err(refused) = admit_message(shared, node, sender, &message) {
        return *refused;
    }
    match node.deliver([message]) {
        Ok(()) => reply(StatusCode::NO_CONTENT, "", Bytes::new()),
        Err(failure) => error(StatusCode::BAD_REQUEST, &failure.to_string()),
    }
}

/// Attaches the stream that a member dials, for what we say to it.
fn stream(
    shared: &Arc<Shared>,
    node: &Node,
    request: &Request<Incoming>,
    hang_up: Arc<Notify>,
) -> Reply {
    let headers = request.headers();
    if let Err(refused) = admit(shared, headers) {
        return *refused;
    }
    let path = request.uri().path().strip_prefix("/raft/stream/").unwrap_or_default();
    let (kind, from) = match path.split_once('/') {
        Some(("msgapp", from)) => (Kind::MsgApp, from),
        Some(("message", from)) => (Kind::Message, from),
        _ => return error(StatusCode::NOT_FOUND, "invalid path"),
    };
    let Ok(from) = u64::from_str_radix(from, 16) else {
        return error(StatusCode::NOT_FOUND, "invalid from");
    };
    if node.is_removed(from) {
        return error(StatusCode::GONE, "removed member");
    }
    let Some(link) = shared.link(from) else {
        greet(shared, node, headers);
        return error(StatusCode::NOT_FOUND, "error sender not found");
    };
    if headers::id(headers, &headers::TO) != Some(shared.identity.member) {
        return error(StatusCode::PRECONDITION_FAILED, "to field mismatch");
    }
    tracing::info!(
        from = link.me,
        to = link.name,
        "stream-type" = kind.name(),
        "set message encoder"
    );
    let lost = {
        let (shared, link) = (Arc::clone(shared), Arc::clone(&link));
        move || {
            link.tell_of_writer(kind, "lost TCP streaming connection with remote peer");
            shared.report_unreachable(from);
        }
    };
    let Attached { body, replaced, dropped } = link.outbound(kind).attach(hang_up, lost);
    if replaced {
        link.tell_of_writer(kind, "closed TCP streaming connection with remote peer");
    }
    if dropped {
        shared.report_unreachable(from);
    }
    tracing::info!(
        "stream-writer-type" = kind.name(),
        "local-member-id" = link.me,
        "remote-peer-id" = link.name,
        "established TCP streaming connection with remote peer"
    );
    Response::new(body.boxed())
}

fn probing(node: &Node) -> Reply {
    let now = jiff::Timestamp::try_from(std::time::SystemTime::UNIX_EPOCH + node.wall_clock())
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    reply(
        StatusCode::OK,
        "text/plain; charset=utf-8",
        format!("{{\"OK\":true,\"Now\":\"{now}\"}}\n"),
    )
}

fn list(members: &[Member]) -> String {
    let members: Vec<MemberJson> = members.iter().map(MemberJson::from).collect();
    let json = serde_json::to_string(&members).expect("members are plain data");
    format!("{json}\n")
}

fn members(node: &Node) -> Reply {
    reply(StatusCode::OK, "application/json", list(&node.members()))
}

fn version(node: &Node) -> Reply {
    let or = |text: String, other: &str| if text.is_empty() { other.to_owned() } else { text };
    let versions = format!(
        "{{\"etcdserver\":\"{}\",\"etcdcluster\":\"{}\",\"storage\":\"{}\"}}",
        node.server_version(),
        or(node.cluster_version(), "not_decided"),
        or(node.storage_version(), "unknown"),
    );
    reply(StatusCode::OK, "application/json", versions)
}

#[derive(Debug, Default, Deserialize)]
struct HashKvQuestion {
    #[serde(default)]
    revision: i64,
}

async fn hash_kv(shared: &Shared, node: &Node, request: Request<Incoming>) -> Reply {
    let (parts, body) = request.into_parts();
    let theirs = headers::id(&parts.headers, &CLUSTER_ID);
    if theirs.is_some_and(|theirs| theirs != shared.identity.cluster) {
        return error(StatusCode::PRECONDITION_FAILED, "cluster ID mismatch");
    }
    let bytes = match read(shared, body, QUESTION_LIMIT).await {
        Ok(bytes) => bytes,
        Err(refused) => return *refused,
    };
    let Ok(question) = serde_json::from_slice::<HashKvQuestion>(&bytes) else {
        return error(StatusCode::BAD_REQUEST, "error unmarshalling request");
    };
    match node.hash_kv(question.revision).await {
        Ok(hash) => {
            let revision = node.header().revision;
            let mut fields = vec![format!("\"header\":{{\"revision\":{revision}}}")];
            let numbers = [
                ("hash", i64::from(hash.hash)),
                ("compact_revision", hash.compact_revision),
                ("hash_revision", hash.revision),
            ];
            let set = numbers.iter().filter(|(_, number)| *number != 0);
            fields.extend(set.map(|(name, number)| format!("\"{name}\":{number}")));
            reply(StatusCode::OK, "application/json", format!("{{{}}}", fields.join(",")))
        }
        Err(failure) => error(StatusCode::BAD_REQUEST, &format!("mvcc: {failure}")),
    }
}

async fn downgrade_enabled(node: &Node) -> Reply {
    match node.read_barrier().await {
        Ok(()) => {
            let downgrade = node.status().downgrade_info.unwrap_or_default();
            reply(StatusCode::OK, "text/plain", downgrade.enabled.to_string())
        }
        Err(failure) => {
            let text = format!("failed linearized read: etcdserver: {failure}");
            error(StatusCode::INTERNAL_SERVER_ERROR, &text)
        }
    }
}

/// Asked by a member that does not lead, in the name of a user whose token it passes on.
async fn promote(node: &Node, gate: &dyn Gate, request: &Request<Incoming>) -> Reply {
    let id = request.uri().path().strip_prefix("/members/promote/").unwrap_or_default();
    let Ok(id) = id.parse::<u64>() else {
        return error(StatusCode::NOT_FOUND, &format!("member {id} not found in cluster"));
    };
    let token = request.headers().get(AUTHORIZATION).filter(|token| !token.is_empty());
    let token = token.map(|token| Bytes::copy_from_slice(token.as_bytes()));
    let promoted = match gate.admin(token.clone()).await {
        Ok(()) => node.promote_member(id, token).await,
        Err(refused) => Err(refused),
    };
    match promoted {
        Ok(members) => reply(StatusCode::OK, "application/json", list(&members)),
        // The one who forwards looks for these texts.
        Err(node::Error::Rejected(node::Rejected::MemberNotFound)) => {
            error(StatusCode::NOT_FOUND, "membership: ID not found")
        }
        Err(node::Error::Rejected(failure @ node::Rejected::MemberNotLearner)) => {
            error(StatusCode::PRECONDITION_FAILED, &format!("membership: {failure}"))
        }
        Err(failure @ node::Error::LearnerNotReady) => {
            error(StatusCode::PRECONDITION_FAILED, &format!("etcdserver: {failure}"))
        }
        Err(node::Error::Timeout) => {
            error(StatusCode::REQUEST_TIMEOUT, "etcdserver: request timed out")
        }
        Err(failure) => {
            json_error(StatusCode::INTERNAL_SERVER_ERROR, &format!("etcdserver: {failure}"))
        }
    }
}

/// The answer to a question about a lease that could not be answered.
fn lease_failure(failure: &node::Error) -> Reply {
    match failure {
        node::Error::Timeout => error(
            StatusCode::REQUEST_TIMEOUT,
            "waiting for node to catch up its applied index has timed out",
        ),
        other => error(StatusCode::BAD_REQUEST, &other.to_string()),
    }
}

fn no_lease() -> Reply {
    error(StatusCode::NOT_FOUND, "lease not found")
}

async fn lease_renew(shared: &Shared, node: &Node, request: Request<Incoming>) -> Reply {
    let bytes = match read(shared, request.into_body(), QUESTION_LIMIT).await {
        Ok(bytes) => bytes,
        Err(refused) => return *refused,
    };
    let Ok(question) = LeaseKeepAliveRequest::decode(bytes) else {
        return error(StatusCode::BAD_REQUEST, "error unmarshalling request");
    };
    match node.renew_lease_here(question.id).await {
        Ok(Some(ttl)) => {
            let answer = LeaseKeepAliveResponse { header: None, id: question.id, ttl };
            reply(StatusCode::OK, "application/protobuf", answer.encode_to_vec())
        }
        Ok(None) => no_lease(),
        Err(failure) => lease_failure(&failure),
    }
}

async fn lease_time_to_live(shared: &Shared, node: &Node, request: Request<Incoming>) -> Reply {
    let bytes = match read(shared, request.into_body(), QUESTION_LIMIT).await {
        Ok(bytes) => bytes,
        Err(refused) => return *refused,
    };
    let question = LeaseInternalRequest::decode(bytes);
    let Some(question) = question.ok().and_then(|it| it.lease_time_to_live_request) else {
        return error(StatusCode::BAD_REQUEST, "error unmarshalling request");
    };
    match node.lease_time_to_live_here(question.id, question.keys).await {
        Ok(Some(lease)) => {
            let answer = LeaseTimeToLiveResponse {
                header: Some(ResponseHeader::default()),
                id: question.id,
                ttl: lease.remaining_seconds,
                granted_ttl: lease.granted_seconds,
                keys: lease.keys,
            };
            let answer = LeaseInternalResponse { lease_time_to_live_response: Some(answer) };
            reply(StatusCode::OK, "application/protobuf", answer.encode_to_vec())
        }
        Ok(None) => no_lease(),
        Err(node::Error::NotPrimary) => {
            error(StatusCode::INTERNAL_SERVER_ERROR, "not a primary lessor")
        }
        Err(failure) => lease_failure(&failure),
    }
}
