//! Puts the parts of a member together, and takes them apart in order.

use std::sync::Arc;
use std::time::Duration;

use api::{Access, Server, Services};
use env::{RealClock, RealDisk};
use net::{LocalAddress, Url};
use node::{Bootstrap, Running, World};

use crate::audit;
use crate::config::{self, Config};
use crate::doors::{Doors, texts};
use crate::logging::{Line, Logger};
use crate::notify;
use crate::run::Ended;
use crate::signals::Signals;
use crate::spans;

/// How long calls under way may take to end when the member stops, beside two elections.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Runs a member until it ends.
pub(crate) fn run_member(
    config: &Config,
    logger: &Logger,
    mut doors: Doors,
    dialer: peer::Dialer,
    bootstrap: Option<Bootstrap>,
) -> Result<Ended, anyhow::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let world = World { disk: Arc::new(RealDisk), clock: Arc::new(RealClock::new()) };
    let auth = api::Auth::new(
        config.auth.tokens()?,
        config.auth.bcrypt_cost,
        config.auth.client_cert_auth,
    )?;
    let running = Running::start(world, options(config, bootstrap))?;
    now_serving(config, logger, running.node().header().member_id);
    let services = Services::new(running.node().clone(), limits(config), access(config), auth);
    running.node().explain_slow_requests(config.own.slow_request_log_duration);
    let audit = audit::open(config, &services)?;
    let spans = spans::open(config, logger, &services)?;
    let election = Duration::from_millis(config.raft.election_timeout_ms);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let server = Server::start(&services, cores, STOP_GRACE + election * 2)?;
    let transport =
        peer::Transport::start(running.node().clone(), identity(config, &running, dialer))?;
    running.connect(transport.clone());
    let peers = peer::Server::new(&transport, Arc::new(Gate(Arc::clone(&services))));
    let megabytes = config.storage.bootstrap_defrag_threshold_megabytes;
    let (peer_addresses, ended) = match doors.open_early(config, logger, &server, &peers) {
        Ok(addresses) => (
            addresses,
            runtime.block_on(serve(logger, &running, &services, &server, &mut doors, megabytes)),
        ),
        Err(error) => (Vec::new(), Err(error)),
    };
    tell_of(config, logger.info("closing etcd server")).send();
    if matches!(ended, Ok(Ended::Signal(_))) {
        runtime.block_on(running.hand_over());
    }
    tell_peers(logger, "stopping serving peer traffic", &peer_addresses);
    server.stop();
    transport.stop();
    tell_peers(logger, "stopped serving peer traffic", &peer_addresses);
    drop(services);
    drop((audit, spans));
    let stopped = running.stop();
    tell_of(config, logger.info("closed etcd server")).send();
    let ended = ended?;
    // What has failed already cannot stop in order.
    if !matches!(ended, Ended::MemberFailed(_) | Ended::Removed) {
        stopped?;
    }
    Ok(ended)
}

/// The clients' gate, for what members pass on in a user's name.
struct Gate(Arc<Services>);

impl peer::Gate for Gate {
    fn admin(&self, token: Option<bytes::Bytes>) -> peer::Judged {
        let services = Arc::clone(&self.0);
        Box::pin(async move { services.admin_by_token(token).await })
    }
}

/// Who this member is for the others.
fn identity(config: &Config, running: &Running, dialer: peer::Dialer) -> peer::Identity {
    let node = running.node();
    let election = Duration::from_millis(config.raft.election_timeout_ms);
    peer::Identity {
        member: node.member_id(),
        cluster: node.cluster_id(),
        urls: texts(&config.advertise.peer).into_iter().map(str::to_owned).collect(),
        dial_timeout: Duration::from_secs(1) + election,
        request_timeout: STOP_GRACE + election * 2,
        dialer,
        read_timeout: config.raft.read_timeout,
        write_timeout: config.raft.write_timeout,
    }
}

fn now_serving(config: &Config, logger: &Logger, member_id: u64) {
    logger
        .info("now serving peer/client/metrics")
        .text("local-member-id", format!("{member_id:x}"))
        .list("initial-advertise-peer-urls", texts(&config.advertise.peer))
        .list("listen-peer-urls", texts(&config.listen.peer))
        .list("advertise-client-urls", texts(&config.advertise.client))
        .list("listen-client-urls", texts(&config.listen.client))
        .list("listen-metrics-urls", texts(&config.listen.metrics))
        .send();
}

/// Who it is that closes.
fn tell_of<'a>(config: &Config, line: Line<'a>) -> Line<'a> {
    line.text("name", &config.name)
        .text("data-dir", config.data_dir.display().to_string())
        .list("advertise-peer-urls", texts(&config.advertise.peer))
        .list("advertise-client-urls", texts(&config.advertise.client))
}

fn tell_peers(logger: &Logger, message: &str, addresses: &[LocalAddress]) {
    for address in addresses {
        logger.info(message).text("address", address.to_string()).send();
    }
}

async fn serve(
    logger: &Logger,
    running: &Running,
    services: &Services,
    server: &Server,
    doors: &mut Doors,
    defrag_megabytes: u64,
) -> Result<Ended, anyhow::Error> {
    let mut signals = Signals::listen()?;
    let mut failure = running.failure();
    let failed = async {
        let failure = failure.wait_for(Option::is_some).await;
        failure.ok().and_then(|failure| failure.clone()).unwrap_or_default()
    };
    let ready = async {
        running.node().defragment_at_start(defrag_megabytes).await?;
        running.check_initially().await?;
        running.publish().await?;
        services.announce();
        doors.open(logger, server)?;
        notify::ready(logger);
        running.watch().await;
        Ok(())
    };
    tokio::select! {
        signal = signals.wait(logger) => Ok(Ended::Signal(signal)),
        failure = failed => Ok(match failure.as_str() {
            node::REMOVED => Ended::Removed,
            failure => Ended::MemberFailed(anyhow::anyhow!(failure.to_owned())),
        }),
        Err(error) = ready => Err(error),
    }
}

fn limits(config: &Config) -> api::Limits {
    api::Limits {
        request_bytes: size(config.limits.max_request_bytes),
        txn_ops: size(config.limits.max_txn_ops),
        concurrent_streams: config.limits.max_concurrent_streams,
        watch_progress_interval: config.watch_progress_notify_interval,
        warning_unary_duration: config.warning_unary_request_duration,
        extensive_metrics: config.http.extensive_metrics,
        go_metrics: config.own.go_metrics,
        pprof: config.http.pprof,
        stop_serving_on_defrag: config.feature_gates.enabled("StopGRPCServiceOnDefrag"),
        keepalive: config.keepalive,
    }
}

fn access(config: &Config) -> Access {
    Access {
        hosts: config.http.host_whitelist.clone(),
        origins: config.http.cors.clone(),
        gateway: config.http.enable_grpc_gateway,
    }
}

fn options(config: &Config, bootstrap: Option<Bootstrap>) -> node::Options {
    let texts =
        |urls: &[Url]| -> Vec<String> { urls.iter().map(|url| url.as_str().to_owned()).collect() };
    node::Options {
        name: config.name.clone(),
        data_dir: config.data_dir.clone(),
        wal_dir: config.wal_dir.clone(),
        client_urls: texts(&config.advertise.client),
        bootstrap,
        force_new_cluster: config.bootstrap.force_new_cluster,
        tick: Duration::from_millis(config.raft.heartbeat_interval_ms),
        election_ticks: u32::try_from(config.raft.election_ticks()).unwrap_or(u32::MAX),
        pre_vote: config.raft.pre_vote,
        catchup_entries: config.raft.snapshot_catchup_entries,
        strict_reconfig_check: config.raft.strict_reconfig_check,
        snapshot_count: config.raft.snapshot_count,
        max_snapshots: size(config.raft.max_snapshots),
        max_wals: size(config.raft.max_wals),
        quota_bytes: quota(config),
        batch_interval: config.storage.batch_interval,
        batch_limit: size(config.storage.batch_limit),
        request_bytes: size(config.limits.max_request_bytes),
        max_learners: usize::try_from(config.limits.max_learners).unwrap_or(usize::MAX),
        auto_compaction: auto_compaction(config.compaction.auto),
        compaction_batch: size(config.compaction.batch_limit),
        compaction_pause: config.compaction.sleep_interval,
        corrupt_check_interval: config.checks.corrupt_check_time,
        compact_hash_check_interval: config
            .feature_gates
            .enabled("CompactHashCheck")
            .then_some(config.checks.compact_hash_check_time),
        downgrade_check_interval: config.checks.downgrade_check_time,
        initial_corrupt_check: config.feature_gates.enabled("InitialCorruptCheck"),
        initial_election_tick_advance: config.raft.initial_election_tick_advance,
        warning_apply_duration: config.warning_apply_duration,
        features: features(config),
        no_fsync: config.storage.unsafe_no_fsync,
        value_budget_bytes: size(config.own.value_memory_bytes),
        // Newest values are held beside it, so only history is read through it.
        page_cache_bytes: size(config.own.page_cache_bytes),
        recent_events_bytes: size(config.own.recent_events_bytes),
        disarm_when_space: config.own.alarm_auto_disarm,
        simple_token_ttl: config.auth.simple_token_ttl(),
    }
}

fn features(config: &Config) -> Vec<node::Feature> {
    let gates = config.feature_gates.all();
    gates.map(|(name, stage, enabled)| node::Feature { name, stage, enabled }).collect()
}

fn quota(config: &Config) -> i64 {
    match config.storage.quota_bytes {
        // Told as what nobody asked for.
        Some(config::DEFAULT_QUOTA_BYTES) => 0,
        Some(bytes) => i64::try_from(bytes).unwrap_or(i64::MAX),
        None => -1,
    }
}

fn auto_compaction(wish: config::AutoCompaction) -> node::AutoCompaction {
    match wish {
        config::AutoCompaction::Off => node::AutoCompaction::Off,
        config::AutoCompaction::Periodic(period) => node::AutoCompaction::Periodic(period),
        config::AutoCompaction::Revisions(count) => node::AutoCompaction::Revision(count),
    }
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
