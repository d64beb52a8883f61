//! The proxy: its table of calls, and what it answers over plain HTTP.

use std::sync::Arc;
use std::time::Duration;

use api::{
    Answer, BoxFuture, Caller, Host, Keepalive, Kind, Offer, Request, Rpc, Status, Table,
    metrics_page, plain_error, pprof_page,
};
use bytes::Bytes;
use client::{Channel, ChannelOptions, Error, Repeat};
use http::{Response, StatusCode};
use net::ClientTls;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cache::Cache;
use crate::cluster::{self, Registration};
use crate::namespace::Namespace;
use crate::order::Order;
use crate::watch::Hub;
use crate::{forward, health, kv, leader, lease, metrics, scrape};

/// The largest message that gRPC takes of itself.
const MESSAGE_BYTES: usize = 4 << 20;

/// What a proxy is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whom to ask, and how.
    pub members: ChannelOptions,
    /// How often to ask who the members are; zero: never.
    pub sync_interval: Duration,
    /// What is put before every key.
    pub namespace: String,
    /// Whether reads that may be old never go back.
    pub ordering: bool,
    /// Where clients find the proxy; the members are told of where there is none.
    pub advertise_client_url: String,
    /// Whether the proxy tells others of itself.
    pub registration: Option<Registration>,
    /// How clients are kept alive.
    pub keepalive: Keepalive,
    /// `--enable-pprof`.
    pub pprof: bool,
    /// How members' metrics are fetched where they speak TLS.
    pub metrics_tls: Arc<ClientTls>,
}

/// Serves the API by asking members. It is a [`Host`]: a server stands before it.
pub struct Proxy {
    pub(crate) options: Options,
    pub(crate) channel: Channel,
    pub(crate) namespace: Namespace,
    pub(crate) cache: Cache,
    pub(crate) order: Option<Order>,
    pub(crate) hub: Arc<Hub>,
    table: Table<Proxy>,
    leader_lost: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    /// They end with the proxy.
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Begins on the runtime that this is called on, which has all that is said with members.
    pub fn start(options: Options) -> Result<Arc<Self>, Error> {
        metrics::register();
        let channel = Channel::new(options.members.clone())?;
        let namespace = Namespace::new(&options.namespace);
        let leader_lost = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(leader::look(channel.clone(), leader_lost.clone()));
        if let Some(registration) = options.registration.clone() {
            let address = options.advertise_client_url.clone();
            let (channel, namespace) = (channel.clone(), namespace.clone());
            tasks.spawn(cluster::register(channel, namespace, registration, address));
        }
        if !options.sync_interval.is_zero() {
            tasks.spawn(cluster::follow(channel.clone(), options.sync_interval));
        }
        let order = options.ordering.then(|| Order::new(options.members.endpoints.len()));
        Ok(Arc::new(Self {
            hub: Hub::new(channel.clone(), namespace.clone(), Handle::current()),
            options,
            channel,
            namespace,
            cache: Cache::default(),
            order,
            table: Table::new(rows()),
            leader_lost,
            stop: watch::Sender::new(false),
            _tasks: tasks,
        }))
    }

    /// Waits until it may serve.
    pub async fn ready(&self) {
        if let Some(order) = &self.order {
            order.recover(&self.channel, &self.namespace).await;
        }
    }

    async fn plain(
        &self,
        offer: Offer,
        parts: &http::request::Parts,
        is_tls: bool,
    ) -> Response<Bytes> {
        let uri = &parts.uri;
        let pprof = self.options.pprof && offer != Offer::Metrics;
        match uri.path() {
            "/metrics" => {
                let endpoints = &self.options.members.endpoints;
                let endpoint = endpoints.first().map_or("", String::as_str);
                let tls = &self.options.metrics_tls;
                scrape::answer(endpoint, tls, is_tls).await
            }
            "/proxy/metrics" => metrics_page(parts, false),
            "/health" => health::answer(self, false).await,
            "/proxy/health" => health::answer(self, true).await,
            path => {
                let profile = path.strip_prefix("/debug/pprof/").filter(|_| pprof);
                profile
                    .and_then(|path| pprof_page(path, uri.query().unwrap_or_default()))
                    .unwrap_or_else(|| plain_error(StatusCode::NOT_FOUND, "404 page not found\n"))
            }
        }
    }
}

impl Host for Proxy {
    fn table(&self) -> &Table<Self> {
        &self.table
    }

    fn message_bytes(&self) -> usize {
        MESSAGE_BYTES
    }

    fn concurrent_streams(&self) -> u32 {
        // What was said of it holds for plain HTTP alone in etcd.
        u32::MAX
    }

    fn keepalive(&self) -> Keepalive {
        self.options.keepalive
    }

    fn stop(&self) -> &watch::Sender<bool> {
        &self.stop
    }

    fn admit(&self, caller: &Caller, _: &Rpc<Self>, _: Option<&Bytes>) -> Result<(), Status> {
        if caller.require_leader && *self.leader_lost.borrow() {
            return Err(leader::no_leader());
        }
        Ok(())
    }

    fn leaderless(&self) -> BoxFuture<Status> {
        let mut lost = self.leader_lost.subscribe();
        Box::pin(async move {
            if lost.wait_for(|lost| *lost).await.is_err() {
                // Nobody looks any more: the proxy ends.
                std::future::pending::<()>().await;
            }
            leader::no_leader()
        })
    }

    fn answer(self: Arc<Self>, offer: Offer, request: Request) -> BoxFuture<Response<Answer>> {
        // What a client sends beside is not read.
        let (is_tls, parts) = (request.is_tls(), request.parts);
        Box::pin(async move { Answer::whole(self.plain(offer, &parts, is_tls).await) })
    }
}

/// A call that goes through as it is.
macro_rules! through {
    ($repeat:ident, $service:literal, $method:literal) => {
        ($service, $method, {
            Kind::Unary(|proxy, caller, request| {
                let path = concat!("/", $service, "/", $method);
                Box::pin(forward::unary(proxy, caller, path, request, Repeat::$repeat))
            })
        })
    };
}
/// As [`through`], for one that changes who may do what.
macro_rules! users {
    ($method:literal) => {
        ("etcdserverpb.Auth", $method, {
            Kind::Unary(|proxy, caller, request| {
                let path = concat!("/etcdserverpb.Auth/", $method);
                Box::pin(forward::users(proxy, caller, path, request))
            })
        })
    };
}
/// A call that the proxy has its own way with.
macro_rules! own {
    ($kind:ident, $service:literal, $method:literal, $handler:path) => {
        ($service, $method, own!($kind, $handler))
    };
    (Unary, $handler:path) => {
        Kind::Unary(|proxy, caller, request| Box::pin($handler(proxy, caller, request)))
    };
    ($kind:ident, $handler:path) => {
        Kind::$kind(|proxy, caller, requests, replies| {
            Box::pin($handler(proxy, caller, requests, replies))
        })
    };
}
/// A call with many answers that goes through as it is.
macro_rules! many {
    ($service:literal, $method:literal) => {
        ($service, $method, {
            Kind::ServerStream(|proxy, caller, requests, replies| {
                let path = concat!("/", $service, "/", $method);
                Box::pin(forward::many(proxy, caller, path, requests, replies))
            })
        })
    };
}

fn rows() -> Vec<(&'static str, &'static str, Kind<Proxy>)> {
    vec![
        own!(Unary, "etcdserverpb.KV", "Range", kv::range),
        own!(ServerStream, "etcdserverpb.KV", "RangeStream", kv::range_stream),
        own!(Unary, "etcdserverpb.KV", "Put", kv::put),
        own!(Unary, "etcdserverpb.KV", "DeleteRange", kv::delete_range),
        own!(Unary, "etcdserverpb.KV", "Txn", kv::txn),
        own!(Unary, "etcdserverpb.KV", "Compact", kv::compact),
        own!(Bidi, "etcdserverpb.Watch", "Watch", crate::watch::watch),
        through!(Unsent, "etcdserverpb.Lease", "LeaseGrant"),
        through!(Unsent, "etcdserverpb.Lease", "LeaseRevoke"),
        own!(Bidi, "etcdserverpb.Lease", "LeaseKeepAlive", lease::keep_alive),
        own!(Unary, "etcdserverpb.Lease", "LeaseTimeToLive", lease::time_to_live),
        through!(Always, "etcdserverpb.Lease", "LeaseLeases"),
        through!(Unsent, "etcdserverpb.Cluster", "MemberAdd"),
        through!(Unsent, "etcdserverpb.Cluster", "MemberRemove"),
        through!(Unsent, "etcdserverpb.Cluster", "MemberUpdate"),
        own!(Unary, "etcdserverpb.Cluster", "MemberList", cluster::member_list),
        through!(Unsent, "etcdserverpb.Cluster", "MemberPromote"),
        through!(Unsent, "etcdserverpb.Maintenance", "Alarm"),
        through!(Always, "etcdserverpb.Maintenance", "Status"),
        through!(Unsent, "etcdserverpb.Maintenance", "Defragment"),
        through!(Always, "etcdserverpb.Maintenance", "Hash"),
        through!(Always, "etcdserverpb.Maintenance", "HashKV"),
        many!("etcdserverpb.Maintenance", "Snapshot"),
        through!(Unsent, "etcdserverpb.Maintenance", "MoveLeader"),
        through!(Unsent, "etcdserverpb.Maintenance", "Downgrade"),
        users!("AuthEnable"),
        users!("AuthDisable"),
        through!(Always, "etcdserverpb.Auth", "AuthStatus"),
        through!(Always, "etcdserverpb.Auth", "Authenticate"),
        users!("UserAdd"),
        through!(Always, "etcdserverpb.Auth", "UserGet"),
        through!(Always, "etcdserverpb.Auth", "UserList"),
        users!("UserDelete"),
        users!("UserChangePassword"),
        users!("UserGrantRole"),
        users!("UserRevokeRole"),
        users!("RoleAdd"),
        through!(Always, "etcdserverpb.Auth", "RoleGet"),
        through!(Always, "etcdserverpb.Auth", "RoleList"),
        users!("RoleDelete"),
        users!("RoleGrantPermission"),
        users!("RoleRevokePermission"),
        through!(Unsent, "v3lockpb.Lock", "Lock"),
        through!(Unsent, "v3lockpb.Lock", "Unlock"),
        through!(Unsent, "v3electionpb.Election", "Campaign"),
        through!(Unsent, "v3electionpb.Election", "Proclaim"),
        through!(Always, "v3electionpb.Election", "Leader"),
        many!("v3electionpb.Election", "Observe"),
        through!(Unsent, "v3electionpb.Election", "Resign"),
    ]
}
