//! The calls, one file per gRPC service: from a request to reply bytes, naming no transport.

mod auth;
mod checks;
mod claim;
mod cluster;
mod election;
mod health;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod watch;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use node::Node;
use proto::Message;

use crate::answer::{Answer, Request};
use crate::audit::Audit;
use crate::auth::Auth;
use crate::door::Offer;
use crate::host::Host;
use crate::ops::Access;
use crate::rpc::{BoxFuture, Caller, Kind, Rpc, Table};
use crate::stats::Watched;
use crate::status::{Code, Status};
use crate::trace::Tracer;
use crate::{error, metrics, ops, rpc, stats};

/// What clients may ask for at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// `--max-request-bytes`: one request as it goes into the log.
    pub request_bytes: usize,
    /// `--max-txn-ops`: operations in one list of a transaction.
    pub txn_ops: usize,
    /// `--max-concurrent-streams`: calls at a time on one connection.
    pub concurrent_streams: u32,
    /// `--watch-progress-notify-interval`.
    pub watch_progress_interval: Duration,
    /// `--warning-unary-request-duration`: what takes longer is logged.
    pub warning_unary_duration: Duration,
    /// `--metrics=extensive`: how long calls take is counted.
    pub extensive_metrics: bool,
    /// `--experimental-go-metrics`: stand-ins for what Go's runtime counts.
    pub go_metrics: bool,
    /// `--enable-pprof`.
    pub pprof: bool,
    /// The feature gate `StopGRPCServiceOnDefrag`.
    pub stop_serving_on_defrag: bool,
    /// How connections are kept alive, and how often clients may ask whether they are.
    pub keepalive: Keepalive,
}

/// gRPC's keepalive, from the server's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// `--grpc-keepalive-min-time`: a client that pings more often is sent away. Zero is gRPC's
    /// own default of five minutes, as in etcd.
    pub min_time: Duration,
    /// `--grpc-keepalive-interval`: a client that was silent for so long is pinged. Zero: never.
    pub interval: Duration,
    /// `--grpc-keepalive-timeout`: how long a pinged client may stay silent. Zero: no pings.
    pub timeout: Duration,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            min_time: Duration::from_secs(5),
            interval: Duration::from_secs(2 * 3600),
            timeout: Duration::from_secs(20),
        }
    }
}

/// What a message may be larger than the largest request: gRPC's own envelope.
const OVERHEAD_BYTES: usize = 512 * 1024;

impl Limits {
    /// The largest message that is read, and the size at which a watch response is split.
    pub(crate) fn message_bytes(&self) -> usize {
        self.request_bytes + OVERHEAD_BYTES
    }
}

/// What all calls share: the member, the table, the limits.
pub struct Services {
    pub(crate) node: Node,
    pub(crate) table: Table,
    pub(crate) limits: Limits,
    pub(crate) access: Access,
    pub(crate) auth: Auth,
    /// The audit log, where there is one.
    pub(crate) audit: OnceLock<Audit>,
    /// Where calls leave their spans, if they are traced.
    pub(crate) tracer: OnceLock<Arc<Tracer>>,
    /// Whether the health service says that calls are answered.
    pub(crate) serving: tokio::sync::watch::Sender<bool>,
    /// Raised when the member goes down.
    pub(crate) stop: tokio::sync::watch::Sender<bool>,
}

impl Services {
    /// The services of this member.
    pub fn new(node: Node, limits: Limits, access: Access, auth: Auth) -> Arc<Self> {
        ops::register();
        metrics::register();
        let rows = rows();
        if limits.extensive_metrics {
            rows.iter()
                .filter(|(service, ..)| rpc::is_shown_before_calls(service))
                .for_each(|(service, method, kind)| stats::show(kind.label(), service, method));
        }
        let stop = tokio::sync::watch::Sender::new(false);
        let serving = tokio::sync::watch::Sender::new(true);
        let (audit, tracer) = (OnceLock::new(), OnceLock::new());
        let table = Table::new(rows);
        Arc::new(Self { node, table, limits, access, auth, audit, tracer, serving, stop })
    }

    /// Has calls leave their lines in an audit log from now on. A second one is not taken.
    pub fn audit(&self, audit: Audit) {
        let _ = self.audit.set(audit);
    }

    /// Has calls leave their spans from now on. A second tracer is not taken.
    pub fn trace(&self, tracer: Arc<Tracer>) {
        let _ = self.tracer.set(tracer);
    }

    /// Tells that the member is ready.
    pub fn announce(&self) {
        health::serve(self);
    }
}

impl Host for Services {
    fn table(&self) -> &Table {
        &self.table
    }

    fn message_bytes(&self) -> usize {
        self.limits.message_bytes()
    }

    fn concurrent_streams(&self) -> u32 {
        self.limits.concurrent_streams
    }

    fn keepalive(&self) -> Keepalive {
        self.limits.keepalive
    }

    fn stop(&self) -> &tokio::sync::watch::Sender<bool> {
        &self.stop
    }

    fn admit(&self, caller: &Caller, rpc: &Rpc, request: Option<&Bytes>) -> Result<(), Status> {
        if self.node.is_learner() && !rpc.is_for_learners(request) {
            return Err(error::NOT_FOR_LEARNERS);
        }
        let label = if matches!(rpc.kind, Kind::Unary(_)) { "unary" } else { "stream" };
        metrics::count_client(label, caller.api_version.as_deref());
        if caller.require_leader && !self.node.is_led() {
            return Err(error::NO_LEADER);
        }
        Ok(())
    }

    fn slow_requests(&self) -> Option<Duration> {
        self.node.slow_requests()
    }

    fn leaderless(&self) -> BoxFuture<Status> {
        let node = self.node.clone();
        Box::pin(async move {
            node.leaderless().await;
            error::NO_LEADER
        })
    }

    fn answer(self: Arc<Self>, offer: Offer, request: Request) -> BoxFuture<Response<Answer>> {
        Box::pin(async move { ops::answer(&self, offer, request).await })
    }
}

/// A row of the table whose call has one message each way.
macro_rules! unary {
    ($service:expr, $method:literal, $handler:path) => {
        ($service, $method, {
            static WATCHED: Watched = Watched::new($service, $method, "unary");
            Kind::Unary(|services, caller, request| {
                Box::pin(WATCHED.unary(services, caller, request, $handler))
            })
        })
    };
}
/// A row of the table whose call is a stream, of the given kind.
macro_rules! streaming {
    ($kind:ident, $label:literal, $service:expr, $method:literal, $handler:path) => {
        ($service, $method, {
            static WATCHED: Watched = Watched::new($service, $method, $label);
            Kind::$kind(|services, caller, requests, replies| {
                Box::pin(WATCHED.stream(services, caller, requests, replies, $handler))
            })
        })
    };
}

fn rows() -> Vec<(&'static str, &'static str, Kind)> {
    const KV: &str = "etcdserverpb.KV";
    const WATCH: &str = "etcdserverpb.Watch";
    const LEASE: &str = "etcdserverpb.Lease";
    const CLUSTER: &str = "etcdserverpb.Cluster";
    const MAINTENANCE: &str = "etcdserverpb.Maintenance";
    const AUTH: &str = "etcdserverpb.Auth";
    const HEALTH: &str = "grpc.health.v1.Health";
    const LOCK: &str = "v3lockpb.Lock";
    const ELECTION: &str = "v3electionpb.Election";
    vec![
        unary!(KV, "Range", kv::range),
        streaming!(ServerStream, "server_stream", KV, "RangeStream", kv::range_stream),
        unary!(KV, "Put", kv::put),
        unary!(KV, "DeleteRange", kv::delete_range),
        unary!(KV, "Txn", kv::txn),
        unary!(KV, "Compact", kv::compact),
        streaming!(Bidi, "bidi_stream", WATCH, "Watch", watch::watch),
        unary!(LEASE, "LeaseGrant", lease::grant),
        unary!(LEASE, "LeaseRevoke", lease::revoke),
        streaming!(Bidi, "bidi_stream", LEASE, "LeaseKeepAlive", lease::keep_alive),
        unary!(LEASE, "LeaseTimeToLive", lease::time_to_live),
        unary!(LEASE, "LeaseLeases", lease::leases),
        unary!(CLUSTER, "MemberAdd", cluster::member_add),
        unary!(CLUSTER, "MemberRemove", cluster::member_remove),
        unary!(CLUSTER, "MemberUpdate", cluster::member_update),
        unary!(CLUSTER, "MemberList", cluster::member_list),
        unary!(CLUSTER, "MemberPromote", cluster::member_promote),
        unary!(MAINTENANCE, "Alarm", maintenance::alarm),
        unary!(MAINTENANCE, "Status", maintenance::status),
        unary!(MAINTENANCE, "Defragment", maintenance::defragment),
        unary!(MAINTENANCE, "Hash", maintenance::hash),
        unary!(MAINTENANCE, "HashKV", maintenance::hash_kv),
        streaming!(ServerStream, "server_stream", MAINTENANCE, "Snapshot", maintenance::snapshot),
        unary!(MAINTENANCE, "MoveLeader", maintenance::move_leader),
        unary!(MAINTENANCE, "Downgrade", maintenance::downgrade),
        unary!(AUTH, "AuthEnable", auth::enable),
        unary!(AUTH, "AuthDisable", auth::disable),
        unary!(AUTH, "AuthStatus", auth::status),
        unary!(AUTH, "Authenticate", auth::authenticate),
        unary!(AUTH, "UserAdd", auth::user_add),
        unary!(AUTH, "UserGet", auth::user_get),
        unary!(AUTH, "UserList", auth::user_list),
        unary!(AUTH, "UserDelete", auth::user_delete),
        unary!(AUTH, "UserChangePassword", auth::user_change_password),
        unary!(AUTH, "UserGrantRole", auth::user_grant_role),
        unary!(AUTH, "UserRevokeRole", auth::user_revoke_role),
        unary!(AUTH, "RoleAdd", auth::role_add),
        unary!(AUTH, "RoleGet", auth::role_get),
        unary!(AUTH, "RoleList", auth::role_list),
        unary!(AUTH, "RoleDelete", auth::role_delete),
        unary!(AUTH, "RoleGrantPermission", auth::role_grant_permission),
        unary!(AUTH, "RoleRevokePermission", auth::role_revoke_permission),
        unary!(HEALTH, "Check", health::check),
        unary!(HEALTH, "List", health::list),
        streaming!(ServerStream, "server_stream", HEALTH, "Watch", health::watch),
        unary!(LOCK, "Lock", lock::lock),
        unary!(LOCK, "Unlock", lock::unlock),
        unary!(ELECTION, "Campaign", election::campaign),
        unary!(ELECTION, "Proclaim", election::proclaim),
        unary!(ELECTION, "Leader", election::leader),
        streaming!(ServerStream, "server_stream", ELECTION, "Observe", election::observe),
        unary!(ELECTION, "Resign", election::resign),
    ]
}

/// Reads the request of a unary call; what is no message of the kind is refused as gRPC does.
fn decode<M: Message + Default>(bytes: Bytes) -> Result<M, Status> {
    decode_or("error unmarshalling request", bytes)
}

/// As [`decode`], for a request of a stream, about which gRPC has other words.
fn decode_received<M: Message + Default>(bytes: Bytes) -> Result<M, Status> {
    decode_or("failed to unmarshal the received message", bytes)
}

fn decode_or<M: Message + Default>(text: &str, bytes: Bytes) -> Result<M, Status> {
    M::decode(bytes)
        .map_err(|failure| Status::new(Code::Internal, format!("grpc: {text}: {failure}")))
}

fn encode(reply: &impl Message) -> Bytes {
    Bytes::from(reply.encode_to_vec())
}
