//! What the options amount to: plain values that the wiring hands to the crates.
//!
//! [`check`](check::check) judges the settings in etcd's order; [`Config::new`] then takes them
//! apart, puts in what "0 means" means, and names the member's files.

pub(crate) mod auth;
pub(crate) mod check;
mod doors;
mod retention;
pub(crate) mod start_line;
mod tls;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use net::{InitialCluster, SocketOptions, Url};

use crate::logging::Rotation;
use crate::options::gates::FeatureGates;
use crate::options::{Settings, Source};

pub(crate) use retention::AutoCompaction;
pub(crate) use tls::{DiscoveryTls, Tls};

/// Bytes at which a member accepts no more writes unless told otherwise.
pub(crate) const DEFAULT_QUOTA_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// The shortest time limit of connections between members.
pub(crate) const RAFT_TIMEOUT_MIN: Duration = Duration::from_secs(5);

/// The gate by which a member dials the others from the address that it advertises.
pub(crate) const SET_MEMBER_LOCAL_ADDRESS: &str = "SetMemberLocalAddr";

/// Everything that a member is told at its start.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) data_dir: PathBuf,
    /// The log's own directory; inside the data directory when there is none.
    pub(crate) wal_dir: Option<PathBuf>,
    pub(crate) listen: Listen,
    pub(crate) tls: Tls,
    pub(crate) advertise: Advertise,
    pub(crate) bootstrap: Bootstrap,
    pub(crate) raft: Raft,
    pub(crate) storage: Storage,
    pub(crate) limits: Limits,
    pub(crate) keepalive: api::Keepalive,
    pub(crate) compaction: Compaction,
    pub(crate) checks: Checks,
    pub(crate) http: Http,
    pub(crate) auth: auth::Auth,
    /// Between progress notices of a watch that asked for them.
    pub(crate) watch_progress_notify_interval: Duration,
    /// An apply that takes longer is logged.
    pub(crate) warning_apply_duration: Duration,
    /// A request that takes longer is logged.
    pub(crate) warning_unary_request_duration: Duration,
    /// Where spans of calls are sent, if they are.
    pub(crate) tracing: Option<Tracing>,
    pub(crate) feature_gates: FeatureGates,
    pub(crate) own: Own,
}

/// Distributed tracing.
#[derive(Debug, Clone)]
pub(crate) struct Tracing {
    /// Of the collector.
    pub(crate) address: String,
    pub(crate) service_name: String,
    /// May be empty.
    pub(crate) instance_id: String,
    /// Of a million calls that clients do not decide about.
    pub(crate) sampling_rate: u32,
}

/// A file with a line for each call.
#[derive(Debug, Clone)]
pub(crate) struct AuditLog {
    pub(crate) path: PathBuf,
    pub(crate) methods: Vec<String>,
    pub(crate) prefixes: Vec<String>,
    pub(crate) rotation: Rotation,
}

/// What etcd has no options for.
#[derive(Debug, Clone)]
pub(crate) struct Own {
    pub(crate) audit_log: Option<AuditLog>,
    /// A NOSPACE alarm of this member goes by itself.
    pub(crate) alarm_auto_disarm: bool,
    /// Stand-ins for the metrics of Go's runtime.
    pub(crate) go_metrics: bool,
    /// Zero for none.
    pub(crate) slow_request_log_duration: Duration,
    pub(crate) value_memory_bytes: u64,
    pub(crate) page_cache_bytes: u64,
    pub(crate) recent_events_bytes: u64,
}

/// Where to listen.
#[derive(Debug, Clone)]
pub(crate) struct Listen {
    pub(crate) peer: Vec<Url>,
    pub(crate) client: Vec<Url>,
    /// When there are any, `client` serves gRPC alone.
    pub(crate) client_http: Vec<Url>,
    pub(crate) metrics: Vec<Url>,
    pub(crate) socket: SocketOptions,
}

/// What others are told about where this member is.
#[derive(Debug, Clone)]
pub(crate) struct Advertise {
    pub(crate) peer: Vec<Url>,
    pub(crate) client: Vec<Url>,
    /// Whether the machine's own host was put in.
    pub(crate) host_used: bool,
}

/// How the cluster begins; of no interest once the member has a log.
#[derive(Debug, Clone)]
pub(crate) struct Bootstrap {
    /// `name=url,name=url`.
    pub(crate) initial_cluster: String,
    pub(crate) state: ClusterState,
    pub(crate) token: String,
    /// The member goes on alone with what it has; only for one that has a log.
    pub(crate) force_new_cluster: bool,
    /// Where the DNS names the members.
    pub(crate) srv: Option<Srv>,
    pub(crate) discovery: Discovery,
}

/// A service at which the members of a new cluster find each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Discovery {
    pub(crate) token: String,
    /// Nobody gathers anywhere where there is none.
    pub(crate) endpoints: Vec<String>,
    pub(crate) dial_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) keepalive_time: Duration,
    pub(crate) keepalive_timeout: Duration,
    /// Perhaps with a password behind a colon.
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) tls: DiscoveryTls,
}

impl Advertise {
    /// The first address among the peer URLs that others could come from.
    fn local_address(&self) -> Option<IpAddr> {
        let mut addresses = self.peer.iter().filter_map(|url| url.hostname().parse().ok());
        addresses.find(|address: &IpAddr| {
            let address = address.to_canonical();
            !address.is_loopback() && !address.is_unspecified()
        })
    }
}

impl Discovery {
    pub(crate) fn is_wanted(&self) -> bool {
        !self.endpoints.is_empty()
    }
}

/// Records of the DNS that name the members of a new cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Srv {
    pub(crate) domain: String,
    /// Tells several clusters of the domain apart; may be empty.
    pub(crate) name: String,
}

impl Bootstrap {
    /// The members of the cluster to be.
    pub(crate) fn members(&self) -> Result<InitialCluster, net::BadUrl> {
        InitialCluster::parse(&self.initial_cluster)
    }
}

/// Whether the cluster begins with this start or is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClusterState {
    New,
    Existing,
}

impl ClusterState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ClusterState::New => "new",
            ClusterState::Existing => "existing",
        }
    }
}

/// Consensus and its log.
#[derive(Debug, Clone)]
pub(crate) struct Raft {
    pub(crate) heartbeat_interval_ms: u64,
    pub(crate) election_timeout_ms: u64,
    pub(crate) initial_election_tick_advance: bool,
    pub(crate) pre_vote: bool,
    pub(crate) strict_reconfig_check: bool,
    pub(crate) snapshot_count: u64,
    pub(crate) snapshot_catchup_entries: u64,
    /// 0 keeps all.
    pub(crate) max_snapshots: u64,
    /// 0 keeps all.
    pub(crate) max_wals: u64,
    pub(crate) read_timeout: Duration,
    pub(crate) write_timeout: Duration,
}

impl Raft {
    /// Heartbeats that make an election timeout.
    pub(crate) fn election_ticks(&self) -> u64 {
        self.election_timeout_ms / self.heartbeat_interval_ms
    }
}

/// The db file.
#[derive(Debug, Clone)]
pub(crate) struct Storage {
    /// `None` for no limit.
    pub(crate) quota_bytes: Option<u64>,
    pub(crate) batch_interval: Duration,
    pub(crate) batch_limit: u64,
    pub(crate) bootstrap_defrag_threshold_megabytes: u64,
    pub(crate) unsafe_no_fsync: bool,
    /// Nothing in memory is to be swapped out.
    pub(crate) memory_mlock: bool,
}

/// What one client may ask for at most.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) max_txn_ops: u64,
    pub(crate) max_request_bytes: u64,
    pub(crate) max_concurrent_streams: u32,
    pub(crate) max_learners: i64,
}

/// How history goes.
#[derive(Debug, Clone)]
pub(crate) struct Compaction {
    pub(crate) auto: AutoCompaction,
    pub(crate) batch_limit: u64,
    pub(crate) sleep_interval: Duration,
}

/// What members compare from time to time.
#[derive(Debug, Clone)]
pub(crate) struct Checks {
    /// `None` for never.
    pub(crate) corrupt_check_time: Option<Duration>,
    pub(crate) compact_hash_check_time: Duration,
    pub(crate) downgrade_check_time: Duration,
}

/// What belongs to HTTP alone.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    pub(crate) enable_grpc_gateway: bool,
    /// `--metrics=extensive`.
    pub(crate) extensive_metrics: bool,
    pub(crate) pprof: bool,
    /// `*` stands for all.
    pub(crate) cors: Vec<String>,
    /// `*` stands for all.
    pub(crate) host_whitelist: Vec<String>,
}

impl Config {
    /// Takes checked settings apart. What remains to fail is what etcd, too, finds out late.
    ///
    /// The host is the machine's own, for URLs that say "all addresses".
    pub(crate) fn new(settings: &Settings, host: Option<IpAddr>) -> Result<Config, String> {
        let name = settings.text("name");
        let wal_dir = settings.text("wal-dir");
        let (listen, advertise) = (listen(settings), advertise(settings, host));
        Ok(Config {
            data_dir: data_dir(settings),
            wal_dir: (!wal_dir.is_empty()).then(|| wal_dir.into()),
            listen,
            tls: tls::tls(settings),
            bootstrap: bootstrap(settings, &name, &advertise.peer),
            advertise,
            raft: raft(settings),
            storage: storage(settings),
            limits: limits(settings),
            keepalive: keepalive(settings),
            compaction: compaction(settings)?,
            checks: checks(settings),
            http: http(settings),
            auth: auth::Auth::new(settings),
            watch_progress_notify_interval: or(
                settings.duration("watch-progress-notify-interval").to_std(),
                Duration::from_secs(600),
            ),
            warning_apply_duration: settings.duration("warning-apply-duration").to_std(),
            warning_unary_request_duration: or(
                settings.duration("warning-unary-request-duration").to_std(),
                Duration::from_millis(300),
            ),
            tracing: tracing(settings),
            feature_gates: settings.gates("feature-gates"),
            own: own(settings)?,
            name,
        })
    }

    /// Where snapshots, the db and, unless it has its own place, the log are.
    pub(crate) fn member_dir(&self) -> PathBuf {
        self.data_dir.join("member")
    }

    /// Where this member dials the others from, when that is wished and can be told.
    pub(crate) fn member_local_address(&self) -> Option<IpAddr> {
        let wished = self.feature_gates.enabled(SET_MEMBER_LOCAL_ADDRESS);
        wished.then(|| self.advertise.local_address()).flatten()
    }

    /// Where the log is.
    pub(crate) fn wal_path(&self) -> PathBuf {
        self.wal_dir.clone().unwrap_or_else(|| self.member_dir().join("wal"))
    }
}

/// The data directory, named after the member when nobody named it.
pub(crate) fn data_dir(settings: &Settings) -> PathBuf {
    match settings.text("data-dir") {
        directory if directory.is_empty() => format!("{}.etcd", settings.text("name")).into(),
        directory => directory.into(),
    }
}

/// Zero means the default.
fn or<T: Default + PartialEq>(value: T, default: T) -> T {
    if value == T::default() { default } else { value }
}

fn listen(settings: &Settings) -> Listen {
    Listen {
        peer: settings.urls("listen-peer-urls"),
        client: settings.urls("listen-client-urls"),
        client_http: settings.urls("listen-client-http-urls"),
        metrics: settings.urls("listen-metrics-urls"),
        socket: SocketOptions {
            reuse_port: settings.flag("socket-reuse-port"),
            reuse_address: settings.flag("socket-reuse-address"),
        },
    }
}

fn advertise(settings: &Settings, host: Option<IpAddr>) -> Advertise {
    let mut peer = settings.urls("initial-advertise-peer-urls");
    let mut client = advertised_client_urls(settings);
    let mut host_used = false;
    if let Some(host) = host {
        let defaults = Settings::defaults();
        let told = |name| defaults.urls(name);
        if peer == told("initial-advertise-peer-urls") {
            host_used |= name_host(&mut peer, &settings.urls("listen-peer-urls"), host);
        }
        if client == told("advertise-client-urls") {
            host_used |= name_host(&mut client, &settings.urls("listen-client-urls"), host);
        }
    }
    Advertise { peer, client, host_used }
}

/// Puts the machine's own host in place of localhost when the member listens on all addresses.
fn name_host(advertised: &mut [Url], listened: &[Url], host: IpAddr) -> bool {
    let (Some(advertised), Some(listened)) = (advertised.first_mut(), listened.first()) else {
        return false;
    };
    if listened.hostname() != "0.0.0.0" {
        return false;
    }
    match advertised.with_host_port(&host.to_string(), listened.port()) {
        Ok(url) => *advertised = url,
        Err(_) => return false,
    }
    true
}

/// Who says where to listen must say where he is: the default would be a lie then. A config file
/// has always been let off.
pub(crate) fn advertised_client_urls(settings: &Settings) -> Vec<Url> {
    let by_hand =
        matches!(settings.source("listen-client-urls"), Source::Flag | Source::Environment);
    if by_hand && settings.source("advertise-client-urls") == Source::Default {
        return Vec::new();
    }
    settings.urls("advertise-client-urls")
}

/// The cluster to begin with; its default gives way to discovery and bears the member's name.
pub(crate) fn initial_cluster(settings: &Settings) -> String {
    let discovery = !settings.text("discovery-srv").is_empty()
        || !settings.text("discovery-srv-name").is_empty()
        || !settings.list("discovery-endpoints").is_empty();
    let given = settings.text("initial-cluster");
    if discovery && settings.source("initial-cluster") == Source::Default {
        return String::new();
    }
    given
}

fn bootstrap(settings: &Settings, name: &str, urls: &[Url]) -> Bootstrap {
    let mut initial_cluster = initial_cluster(settings);
    // As in etcd, spelling the default out is the same as leaving it.
    let default = Settings::defaults().text("initial-cluster");
    if name != "default" && initial_cluster == default {
        let name = if name.is_empty() { "default" } else { name };
        let pairs: Vec<_> = urls.iter().map(|url| format!("{name}={url}")).collect();
        initial_cluster = pairs.join(",");
    }
    let state = match settings.text("initial-cluster-state").as_str() {
        "existing" => ClusterState::Existing,
        _ => ClusterState::New,
    };
    Bootstrap {
        initial_cluster,
        state,
        token: settings.text("initial-cluster-token"),
        force_new_cluster: settings.flag("force-new-cluster"),
        srv: srv(settings),
        discovery: discovery(settings),
    }
}

fn discovery(settings: &Settings) -> Discovery {
    let time = |name| settings.duration(name).to_std();
    Discovery {
        token: settings.text("discovery-token"),
        endpoints: settings.list("discovery-endpoints"),
        dial_timeout: time("discovery-dial-timeout"),
        request_timeout: time("discovery-request-timeout"),
        keepalive_time: time("discovery-keepalive-time"),
        keepalive_timeout: time("discovery-keepalive-timeout"),
        user: settings.text("discovery-user"),
        password: settings.text("discovery-password"),
        tls: tls::discovery(settings),
    }
}

fn srv(settings: &Settings) -> Option<Srv> {
    let (domain, name) = (settings.text("discovery-srv"), settings.text("discovery-srv-name"));
    (!domain.is_empty()).then_some(Srv { domain, name })
}

fn raft(settings: &Settings) -> Raft {
    Raft {
        heartbeat_interval_ms: settings.uint("heartbeat-interval"),
        election_timeout_ms: settings.uint("election-timeout"),
        initial_election_tick_advance: settings.flag("initial-election-tick-advance"),
        pre_vote: settings.flag("pre-vote"),
        strict_reconfig_check: settings.flag("strict-reconfig-check"),
        snapshot_count: or(settings.uint("snapshot-count"), 10_000),
        snapshot_catchup_entries: or(settings.uint("snapshot-catchup-entries"), 5_000),
        max_snapshots: settings.uint("max-snapshots"),
        max_wals: settings.uint("max-wals"),
        read_timeout: settings.duration("raft-read-timeout").to_std().max(RAFT_TIMEOUT_MIN),
        write_timeout: settings.duration("raft-write-timeout").to_std().max(RAFT_TIMEOUT_MIN),
    }
}

fn storage(settings: &Settings) -> Storage {
    let quota_bytes = match settings.int("quota-backend-bytes") {
        0 => Some(DEFAULT_QUOTA_BYTES),
        bytes => u64::try_from(bytes).ok(),
    };
    let threshold = settings.uint("bootstrap-defrag-threshold-megabytes");
    Storage {
        quota_bytes,
        batch_interval: or(
            settings.duration("backend-batch-interval").to_std(),
            Duration::from_millis(100),
        ),
        batch_limit: or(u64::try_from(settings.int("backend-batch-limit")).unwrap_or(0), 10_000),
        bootstrap_defrag_threshold_megabytes: threshold,
        unsafe_no_fsync: settings.flag("unsafe-no-fsync"),
        memory_mlock: settings.flag("memory-mlock"),
    }
}

fn limits(settings: &Settings) -> Limits {
    let streams = settings.uint("max-concurrent-streams");
    Limits {
        max_txn_ops: settings.uint("max-txn-ops"),
        max_request_bytes: settings.uint("max-request-bytes"),
        max_concurrent_streams: u32::try_from(streams).unwrap_or(u32::MAX),
        max_learners: settings.int("max-learners"),
    }
}

fn keepalive(settings: &Settings) -> api::Keepalive {
    let time = |name| settings.duration(name).to_std();
    api::Keepalive {
        min_time: time("grpc-keepalive-min-time"),
        interval: time("grpc-keepalive-interval"),
        timeout: time("grpc-keepalive-timeout"),
    }
}

fn compaction(settings: &Settings) -> Result<Compaction, String> {
    let (mode, retention) =
        (settings.text("auto-compaction-mode"), settings.text("auto-compaction-retention"));
    let limit = u64::try_from(settings.int("compaction-batch-limit")).unwrap_or(0);
    Ok(Compaction {
        auto: AutoCompaction::parse(&mode, &retention)?,
        batch_limit: or(limit, 1_000),
        sleep_interval: or(
            settings.duration("compaction-sleep-interval").to_std(),
            Duration::from_millis(10),
        ),
    })
}

fn checks(settings: &Settings) -> Checks {
    let corrupt = settings.duration("corrupt-check-time").to_std();
    Checks {
        corrupt_check_time: (!corrupt.is_zero()).then_some(corrupt),
        compact_hash_check_time: settings.duration("compact-hash-check-time").to_std(),
        downgrade_check_time: settings.duration("downgrade-check-time").to_std(),
    }
}

fn audit_log(settings: &Settings) -> Result<Option<AuditLog>, String> {
    let path = settings.text("experimental-audit-log");
    if path.is_empty() {
        return Ok(None);
    }
    Ok(Some(AuditLog {
        path: path.into(),
        methods: settings.list("experimental-audit-log-methods"),
        prefixes: settings.list("experimental-audit-log-prefixes"),
        rotation: Rotation::read(&settings.text("experimental-audit-log-rotation-json"))?,
    }))
}

fn tracing(settings: &Settings) -> Option<Tracing> {
    settings.flag("enable-distributed-tracing").then(|| Tracing {
        address: settings.text("distributed-tracing-address"),
        service_name: settings.text("distributed-tracing-service-name"),
        instance_id: settings.text("distributed-tracing-instance-id"),
        sampling_rate: u32::try_from(settings.int("distributed-tracing-sampling-rate"))
            .unwrap_or(0),
    })
}

fn own(settings: &Settings) -> Result<Own, String> {
    Ok(Own {
        audit_log: audit_log(settings)?,
        alarm_auto_disarm: settings.flag("experimental-alarm-auto-disarm"),
        go_metrics: settings.flag("experimental-go-metrics"),
        slow_request_log_duration: settings
            .duration("experimental-slow-request-log-duration")
            .to_std(),
        value_memory_bytes: settings.uint("experimental-value-memory-bytes"),
        page_cache_bytes: settings.uint("experimental-page-cache-bytes"),
        recent_events_bytes: settings.uint("experimental-recent-events-bytes"),
    })
}

fn http(settings: &Settings) -> Http {
    Http {
        enable_grpc_gateway: settings.flag("enable-grpc-gateway"),
        extensive_metrics: settings.text("metrics") == "extensive",
        pprof: settings.flag("enable-pprof"),
        cors: settings.list("cors"),
        host_whitelist: settings.list("host-whitelist"),
    }
}

#[cfg(test)]
mod tests;
