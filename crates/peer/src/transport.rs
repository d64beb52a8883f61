//! All other members, and the thread on which everything about them runs.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, header};
use node::{
    AskError, Asked, HashKv, HashOfMember, Image, LeaseStanding, Node, Peer, PeerVersion, Peers,
};
use proto::Message as _;
use proto::etcdserverpb::{
    LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseTimeToLiveRequest, Member,
};
use proto::leasepb::{LeaseInternalRequest, LeaseInternalResponse};
use proto::raftpb;
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::codec::Kind;
use crate::dial::{self, Dialer, Failure};
use crate::link::Link;
use crate::pipeline::{self, Pipeline, raft_request};
use crate::remote::{MemberJson, VersionJson, get};
use crate::{headers, probe, reader, remote, snapshot};

/// Members that have spoken to us and whom we do not know yet; more are not answered.
const REMOTES: usize = 16;
/// Who is said to have been removed asks the others no more often.
const ASKED_AGAIN: Duration = Duration::from_secs(1);

/// Who this member is for the others.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its id.
    pub member: u64,
    /// Its cluster's id.
    pub cluster: u64,
    /// Where others reach it.
    pub urls: Vec<String>,
    /// How long it may take to connect to another one.
    pub dial_timeout: Duration,
    /// How long it may take another one to answer.
    pub request_timeout: Duration,
    /// How they are reached.
    pub dialer: Dialer,
    /// A connection on which nothing is heard for so long is given up.
    pub read_timeout: Duration,
    /// Likewise one that takes nothing of what is said.
    pub write_timeout: Duration,
}

/// Carries what this member says to the others, and what they say to it.
pub struct Transport {
    pub(crate) shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

pub(crate) struct Shared {
    pub(crate) identity: Identity,
    pub(crate) runtime: Handle,
    /// Taken away when the transport stops: the two hold each other.
    node: RwLock<Option<Node>>,
    links: RwLock<HashMap<u64, Arc<Link>>>,
    /// Who has spoken to us and is not known as a member: a member that is behind answers those
    /// that were added since.
    remotes: Mutex<HashMap<u64, Arc<Link>>>,
    asking_whether_removed: AtomicBool,
    pub(crate) stop: watch::Sender<bool>,
}

impl Transport {
    /// Starts the thread. Connect the node with what is given back, and open listeners on it.
    pub fn start(node: Node, identity: Identity) -> io::Result<Arc<Self>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = watch::Sender::new(false);
        let mut stopped = stop.subscribe();
        let shared = Arc::new(Shared {
            identity,
            runtime: runtime.handle().clone(),
            node: RwLock::new(Some(node)),
            links: RwLock::default(),
            remotes: Mutex::default(),
            asking_whether_removed: AtomicBool::new(false),
            stop,
        });
        let thread = std::thread::Builder::new().name("peer".to_owned()).spawn(move || {
            let _ = runtime.block_on(stopped.wait_for(|stop| *stop));
            // Tasks that are left end with the runtime; a name that is being looked up is not
            // waited for.
            runtime.shutdown_background();
        })?;
        Ok(Arc::new(Self { shared, thread: Mutex::new(Some(thread)) }))
    }

    /// Ends all connections and joins the thread.
    pub fn stop(&self) {
        for (_, link) in self.shared.links_mut().drain() {
            link.stop();
        }
        for (_, link) in self.shared.remotes().drain() {
            link.stop();
        }
        self.shared.stop.send_replace(true);
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            thread.join().expect("a panicking thread has ended the process");
        }
        self.shared.node.write().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Shared {
    /// The member; nobody once the transport has stopped.
    pub(crate) fn node(&self) -> Option<Node> {
        self.node.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn links_mut(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<u64, Arc<Link>>> {
        self.links.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn link(&self, id: u64) -> Option<Arc<Link>> {
        self.links.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn all_links(&self) -> Vec<Arc<Link>> {
        self.links.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn remotes(&self) -> MutexGuard<'_, HashMap<u64, Arc<Link>>> {
        self.remotes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn sign(&self, headers: &mut HeaderMap) {
        let Identity { member, cluster, urls, .. } = &self.identity;
        headers::put(headers, *member, *cluster, urls);
    }

    pub(crate) fn report_unreachable(&self, id: u64) {
        if let Some(node) = self.node() {
            node.report_unreachable(id);
        }
    }

    fn make_link(self: &Arc<Self>, id: u64, urls: Vec<String>) -> Arc<Link> {
        let (pipeline, waiting) = Pipeline::new();
        let link =
            Arc::new(Link::new(self.identity.member, id, urls, pipeline, &self.identity.dialer));
        pipeline::start(self, &link, &waiting);
        link
    }

    /// Somebody speaks who is no member that we know. What we have to say is posted to him.
    pub(crate) fn remember_remote(self: &Arc<Self>, id: u64, urls: Vec<String>) {
        if urls.is_empty() || self.link(id).is_some() {
            return;
        }
        let mut remotes = self.remotes();
        if let Some(remote) = remotes.get(&id) {
            remote.set_urls(urls);
        } else if remotes.len() < REMOTES {
            let remote = self.make_link(id, urls);
            remotes.insert(id, remote);
        }
    }

    /// Another member says that this one was removed. Its word alone may be a mistake, and to stop
    /// by mistake is worse than to go on for a while: all are asked who the members are.
    pub(crate) fn said_to_be_removed(self: &Arc<Self>) {
        if self.asking_whether_removed.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared = Arc::clone(self);
        self.runtime.spawn(async move {
            let _done = Asking(&shared.asking_whether_removed);
            let (mut without_us, mut with_us) = (0, 0);
            for link in shared.all_links() {
                let patience = shared.identity.request_timeout;
                let Ok((cluster, members)) =
                    remote::members(&shared.identity.dialer, &link.urls(), patience).await
                else {
                    continue;
                };
                let known = members.iter().any(|it| it.id == shared.identity.member);
                if cluster != shared.identity.cluster || known {
                    with_us += 1;
                } else {
                    without_us += 1;
                }
            }
            if without_us > 0
                && with_us == 0
                && let Some(node) = shared.node()
            {
                node.report_removed();
            }
            // Whoever has said so will say it again.
            tokio::time::sleep(ASKED_AGAIN).await;
        });
    }

    /// Asks a member, at whichever of its URLs answers.
    async fn ask(
        self: &Arc<Self>,
        member: u64,
        request: impl Fn() -> Request<dial::Body>,
    ) -> Result<Bytes, Failure> {
        let unknown = || Failure::Connection(format!("member {member:x} is not known"));
        let link = self.link(member).ok_or_else(unknown)?;
        let asked = async {
            let mut last = unknown();
            for _ in 0..link.urls().len() {
                let url = link.url();
                match link.pool.ask(&url, &request, self.identity.dial_timeout).await {
                    Ok(answer) => return Ok(answer.into_body()),
                    Err(failure @ Failure::Status { .. }) => return Err(failure),
                    Err(failure) => last = failure,
                }
                link.url_failed(&url);
            }
            Err(last)
        };
        let patience = self.identity.request_timeout;
        tokio::time::timeout(patience, asked).await.unwrap_or(Err(Failure::Timeout))
    }

    /// Runs a question on the transport's own thread, whoever asks it.
    fn asked<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl Future<Output = Result<T, AskError>> + Send + 'static,
    ) -> Asked<T> {
        let task = self.runtime.spawn(question);
        Box::pin(async move {
            task.await.unwrap_or_else(|_| Err(AskError::Unreachable("server stopped".to_owned())))
        })
    }
}

/// Holds the flag that says that others are asked.
struct Asking<'a>(&'a AtomicBool);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn ask_error(failure: Failure) -> AskError {
    match failure {
        Failure::Timeout | Failure::Status { status: 408, .. } => AskError::Timeout,
        Failure::Status { status: 404, .. } => AskError::NotFound,
        Failure::Status { text, .. } => AskError::Refused(text),
        other => AskError::Unreachable(other.to_string()),
    }
}

fn malformed(error: &dyn std::fmt::Display) -> AskError {
    AskError::Unreachable(format!("malformed answer: {error}"))
}

/// What is read of the header of an answer.
#[derive(Debug, Default, Deserialize)]
struct HeaderJson {
    #[serde(default)]
    revision: i64,
}

/// What `/members/hashkv` answers.
#[derive(Debug, Deserialize)]
struct HashKvJson {
    #[serde(default)]
    header: HeaderJson,
    #[serde(default)]
    hash: u32,
    #[serde(default)]
    compact_revision: i64,
    #[serde(default)]
    hash_revision: i64,
}

impl Peers for Transport {
    fn set(&self, others: Vec<Peer>) {
        let shared = &self.shared;
        let mut links = shared.links_mut();
        links.retain(|id, link| {
            let stays = others.iter().any(|peer| peer.id == *id);
            if !stays {
                tracing::info!("remote-peer-id" = link.name, "stopped remote peer");
                link.stop();
            }
            stays
        });
        for Peer { id, urls } in others {
            if let Some(link) = links.get(&id) {
                link.set_urls(urls);
                continue;
            }
            if let Some(remote) = shared.remotes().remove(&id) {
                remote.stop();
            }
            let link = shared.make_link(id, urls);
            for kind in [Kind::MsgApp, Kind::Message] {
                let reading = reader::read(Arc::clone(shared), Arc::clone(&link), kind);
                link.own(shared.runtime.spawn(reading).abort_handle());
            }
            let probing = probe::probe(Arc::clone(shared), Arc::clone(&link));
            link.own(shared.runtime.spawn(probing).abort_handle());
            tracing::info!("remote-peer-id" = link.name, "started remote peer");
            links.insert(id, link);
        }
    }

    fn send(&self, messages: &mut Vec<raftpb::Message>) {
        let links = self.shared.links.read().unwrap_or_else(PoisonError::into_inner);
        let mut spoken_to: Vec<&Arc<Link>> = Vec::new();
        for message in messages.drain(..) {
            let to = message.to();
            let Some(link) = links.get(&to) else {
                // Somebody who knows us before we know him.
                if let Some(remote) = self.shared.remotes().get(&to) {
                    remote.pipeline.push(message);
                }
                continue;
            };
            if !link.send(Box::new(message)) {
                self.shared.report_unreachable(to);
            }
            if !spoken_to.iter().any(|known| known.id == to) {
                spoken_to.push(link);
            }
        }
        spoken_to.into_iter().for_each(|link| link.wake());
    }

    fn send_snapshot(&self, message: raftpb::Message, image: Image) {
        snapshot::send(&self.shared, message, image);
    }

    fn active_for(&self, id: u64) -> Option<Duration> {
        self.shared.link(id)?.active_for()
    }

    fn renew_lease(&self, member: u64, lease: i64) -> Asked<i64> {
        let shared = Arc::clone(&self.shared);
        self.shared.asked(async move {
            let bytes = Bytes::from(LeaseKeepAliveRequest { id: lease }.encode_to_vec());
            let request = || raft_request(&shared, "/leases", PROTOBUF, bytes.clone());
            let answer = shared.ask(member, request).await.map_err(ask_error)?;
            let answer = LeaseKeepAliveResponse::decode(answer);
            answer.map(|answer| answer.ttl).map_err(|error| malformed(&error))
        })
    }

    fn lease_time_to_live(&self, member: u64, lease: i64, keys: bool) -> Asked<LeaseStanding> {
        let shared = Arc::clone(&self.shared);
        self.shared.asked(async move {
            let request = LeaseTimeToLiveRequest { id: lease, keys };
            let request = LeaseInternalRequest { lease_time_to_live_request: Some(request) };
            let bytes = Bytes::from(request.encode_to_vec());
            let request = || raft_request(&shared, "/leases/internal", PROTOBUF, bytes.clone());
            let answer = shared.ask(member, request).await.map_err(ask_error)?;
            let answer =
                LeaseInternalResponse::decode(answer).map_err(|error| malformed(&error))?;
            let answer = answer.lease_time_to_live_response;
            let answer = answer.ok_or_else(|| malformed(&"no lease in it"))?;
            Ok(LeaseStanding {
                remaining_seconds: answer.ttl,
                granted_seconds: answer.granted_ttl,
                keys: answer.keys,
            })
        })
    }

    fn promote(&self, member: u64, learner: u64, token: Option<Bytes>) -> Asked<Vec<Member>> {
        let shared = Arc::clone(&self.shared);
        self.shared.asked(async move {
            let path = format!("/members/promote/{learner}");
            let request = || {
                let mut request = get(&path);
                *request.method_mut() = Method::POST;
                // What cannot stand in a header is no token.
                if let Some(Ok(mut token)) = token.as_deref().map(HeaderValue::from_bytes) {
                    token.set_sensitive(true);
                    request.headers_mut().insert(header::AUTHORIZATION, token);
                }
                request
            };
            let answer = shared.ask(member, request).await.map_err(ask_error)?;
            let members: Vec<MemberJson> =
                serde_json::from_slice(&answer).map_err(|error| malformed(&error))?;
            Ok(members.into_iter().map(Member::from).collect())
        })
    }

    fn hash_kv(&self, member: u64, revision: i64) -> Asked<HashOfMember> {
        let shared = Arc::clone(&self.shared);
        self.shared.asked(async move {
            let question = match revision {
                0 => "{}".to_owned(),
                revision => format!("{{\"revision\":{revision}}}"),
            };
            let request = || {
                let mut request = get("/members/hashkv");
                *request.body_mut() = dial::body(Bytes::from(question.clone()));
                let headers = request.headers_mut();
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                headers::put_id(headers, headers::CLUSTER_ID, shared.identity.cluster);
                request
            };
            let answer = shared.ask(member, request).await.map_err(ask_error)?;
            let answer: HashKvJson =
                serde_json::from_slice(&answer).map_err(|error| malformed(&error))?;
            let hash = HashKv {
                hash: answer.hash,
                compact_revision: answer.compact_revision,
                revision: answer.hash_revision,
            };
            Ok(HashOfMember { hash, current_revision: answer.header.revision })
        })
    }

    fn version(&self, member: u64) -> Asked<PeerVersion> {
        let shared = Arc::clone(&self.shared);
        self.shared.asked(async move {
            let answer = shared.ask(member, || get("/version")).await.map_err(ask_error)?;
            let answer: VersionJson =
                serde_json::from_slice(&answer).map_err(|error| malformed(&error))?;
            Ok(PeerVersion { server: answer.etcdserver, cluster: answer.etcdcluster })
        })
    }
}

const PROTOBUF: &str = "application/protobuf";
