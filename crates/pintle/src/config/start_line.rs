//! The line in which a member says all that it was told.

use std::time::Duration;

use super::Config;
use crate::bootstrap::First;
use crate::logging::{Line, Logger};
use crate::version;

/// Logs `starting an etcd server` with every setting, under etcd's keys and in its order.
///
/// The first are those that a new cluster begins with; `None` for a member that has begun.
#[track_caller]
pub(crate) fn log(logger: &Logger, config: &Config, first: Option<&First>) {
    let line = logger.info("starting an etcd server");
    let line = who(line, config, first.is_none());
    let line = log_and_raft(line, config);
    let line = where_to(line, config, first);
    let line = limits(line, config);
    discovery(line, config)
        .duration("downgrade-check-interval", config.checks.downgrade_check_time)
        .value("max-learners", config.limits.max_learners)
        .text("v2-deprecation", "write-only")
        .send();
}

fn who<'a>(line: Line<'a>, config: &Config, initialized: bool) -> Line<'a> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let wal_dir = config.wal_dir.as_deref().unwrap_or("".as_ref()).display().to_string();
    line.text("etcd-version", version::ETCD)
        .text("git-sha", version::GIT_SHA)
        .text("go-version", version::TOOLCHAIN)
        .text("go-os", version::OS)
        .text("go-arch", version::ARCH)
        .value("max-cpu-set", cpus)
        .value("max-cpu-available", cpus)
        .value("member-initialized", initialized)
        .text("name", &config.name)
        .text("data-dir", config.data_dir.display().to_string())
        .text("wal-dir", &wal_dir)
        .text("wal-dir-dedicated", &wal_dir)
        .text("member-dir", config.member_dir().display().to_string())
        .value("force-new-cluster", config.bootstrap.force_new_cluster)
}

fn log_and_raft<'a>(line: Line<'a>, config: &Config) -> Line<'a> {
    let raft = &config.raft;
    let heartbeat = Duration::from_millis(raft.heartbeat_interval_ms);
    let ticks = u32::try_from(raft.election_ticks()).unwrap_or(u32::MAX);
    line.duration("heartbeat-interval", heartbeat)
        .duration("election-timeout", heartbeat.saturating_mul(ticks))
        .value("initial-election-tick-advance", raft.initial_election_tick_advance)
        .value("snapshot-count", raft.snapshot_count)
        .value("max-wals", raft.max_wals)
        .value("max-snapshots", raft.max_snapshots)
        .value("snapshot-catchup-entries", raft.snapshot_catchup_entries)
}

fn where_to<'a>(line: Line<'a>, config: &Config, first: Option<&First>) -> Line<'a> {
    let initial_cluster = first.map(|first| first.members.to_string()).unwrap_or_default();
    let local = config.member_local_address();
    // A member that has begun has no use for the token, and etcd forgets it.
    let token = first.map(|first| first.token.as_str()).unwrap_or_default();
    line.list("initial-advertise-peer-urls", texts(&config.advertise.peer))
        .list("listen-peer-urls", texts(&config.listen.peer))
        .list("advertise-client-urls", texts(&config.advertise.client))
        .list("listen-client-urls", texts(&config.listen.client))
        .list("listen-metrics-urls", texts(&config.listen.metrics))
        .text("local-address", local.map(|address| address.to_string()).unwrap_or_default())
        .list("cors", &config.http.cors)
        .list("host-whitelist", &config.http.host_whitelist)
        .text("initial-cluster", initial_cluster)
        .text("initial-cluster-state", config.bootstrap.state.as_str())
        .text("initial-cluster-token", token)
}

fn limits<'a>(line: Line<'a>, config: &Config) -> Line<'a> {
    let quota = config.storage.quota_bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(-1));
    let corrupt = config.checks.corrupt_check_time.unwrap_or_default();
    let retention = config.compaction.auto.logged().to_string();
    line.value("quota-backend-bytes", quota)
        .value("max-request-bytes", config.limits.max_request_bytes)
        .value("max-concurrent-streams", config.limits.max_concurrent_streams)
        .value("pre-vote", config.raft.pre_vote)
        .text("feature-gates", config.feature_gates.to_string())
        // Dead in etcd since the gate took its place; it is always false there.
        .value("initial-corrupt-check", false)
        .duration("corrupt-check-time-interval", corrupt)
        .duration("compact-check-time-interval", config.checks.compact_hash_check_time)
        .text("auto-compaction-mode", config.compaction.auto.mode())
        .text("auto-compaction-retention", &retention)
        .text("auto-compaction-interval", &retention)
}

fn discovery<'a>(line: Line<'a>, config: &Config) -> Line<'a> {
    let discovery = &config.bootstrap.discovery;
    let line = line
        .text("discovery-token", &discovery.token)
        .text("discovery-endpoints", discovery.endpoints.join(","))
        .duration("discovery-dial-timeout", discovery.dial_timeout)
        .duration("discovery-request-timeout", discovery.request_timeout)
        .duration("discovery-keepalive-time", discovery.keepalive_time)
        .duration("discovery-keepalive-timeout", discovery.keepalive_timeout);
    let tls = &discovery.tls;
    let line = line
        .value("discovery-insecure-transport", tls.insecure_transport)
        .value("discovery-insecure-skip-tls-verify", tls.insecure_skip_verify)
        .text("discovery-cert", &tls.cert)
        .text("discovery-key", &tls.key)
        .text("discovery-cacert", &tls.cacert);
    // etcd writes the password down with it, where it has one.
    line.text("discovery-user", discovery.user.split(':').next().unwrap_or_default())
}

fn texts(urls: &[net::Url]) -> impl Iterator<Item = &str> {
    urls.iter().map(net::Url::as_str)
}

#[cfg(test)]
mod tests {
    use crate::bootstrap::First;
    use crate::config::Config;
    use crate::logging::Logger;
    use crate::options::arguments::{Parsed, parse};

    /// What etcd 3.7.1 logged for these options, from the message on.
    const ETCD: &str = include_str!("start_line.json");
    const OPTIONS: &[&str] = &[
        "--data-dir=r/d",
        "--name=m1",
        "--listen-client-urls=http://127.0.0.1:0",
        "--advertise-client-urls=http://127.0.0.1:42379",
        "--listen-peer-urls=http://127.0.0.1:0",
        "--initial-advertise-peer-urls=http://127.0.0.1:42380",
        "--initial-cluster=m1=http://127.0.0.1:42380",
    ];
    /// What speaks of the build and of the machine.
    const OTHER: &[&str] = &["git-sha", "go-version", "max-cpu-set", "max-cpu-available"];

    /// The object's members in order, as texts.
    fn members(json: &str) -> Vec<String> {
        let json = json.trim().trim_start_matches('{').trim_end_matches('}');
        let ours = json.find("\"msg\"").map_or(json, |at| &json[at..]);
        ours.split(",\"")
            .map(|member| member.trim_start_matches('"').to_owned())
            .map(|member| match OTHER.iter().find(|key| member.starts_with(**key)) {
                Some(key) => (*key).to_owned(),
                None => member,
            })
            .collect()
    }

    #[test]
    fn the_line_is_etcds_but_for_the_build_and_the_machine() {
        let arguments: Vec<_> = OPTIONS.iter().map(|&option| option.to_owned()).collect();
        let Parsed::Settings(settings, _) = parse(&arguments) else { panic!("does not read") };
        let config = Config::new(&settings, None).expect("is right");
        let first = First {
            members: config.bootstrap.members().expect("reads"),
            token: config.bootstrap.token.clone(),
        };
        let (logger, bytes) = Logger::memory();
        super::log(&logger, &config, Some(&first));
        let written = String::from_utf8(bytes.lock().expect("is free").clone()).expect("is text");
        assert_eq!(members(&written), members(ETCD));
        assert!(members(ETCD).len() > 50);
    }
}
