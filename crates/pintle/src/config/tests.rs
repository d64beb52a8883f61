use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::check::{ADVERTISE_MISSING, check};
use super::{AutoCompaction, ClusterState, Config, Srv};
use crate::options::arguments::{Parsed, parse};
use crate::options::{Settings, file};

fn settings(line: &[&str]) -> Settings {
    let line: Vec<_> = line.iter().map(|&word| word.to_owned()).collect();
    match parse(&line) {
        Parsed::Settings(settings, _) => *settings,
        other => panic!("{line:?} gave {other:?}"),
    }
}

fn problems(line: &[&str]) -> Vec<String> {
    check(&settings(line)).problems
}

fn config(line: &[&str]) -> Config {
    Config::new(&settings(line), None).expect("is right")
}

#[test]
fn each_problem_has_etcds_text() {
    let cases: &[(&[&str], &str)] = &[
        (
            &["--discovery-fallback=proxy"],
            "v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\"",
        ),
        (
            &["--listen-peer-urls=http://example.com:1"],
            "expected IP in URL for binding (http://example.com:1)",
        ),
        (&["--listen-metrics-urls=http://:1"], "expected IP in URL for binding (http://:1)"),
        (
            &["--initial-advertise-peer-urls=http://:1,http://a:2"],
            "--initial-advertise-peer-urls \"http://:1,http://a:2\" must be \"host:port\" \
             (unexpected empty host (http://:1))",
        ),
        (
            &["--advertise-client-urls=http://:1"],
            "--advertise-client-urls \"http://:1\" must be in the format \"host:port\", \
             \"unix:/path/to/socket\" or \"unixs:/path/to/socket\" (unexpected empty host \
             (http://:1))",
        ),
        (
            &["--initial-cluster=a=http://a:1", "--discovery-srv=x"],
            "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \
             \"discovery-endpoints\" or \"discovery-srv\"",
        ),
        (&["--discovery-token=t"], "both --discovery-token and --discovery-endpoints must be set"),
        (
            &["--discovery-token=t", "--discovery-endpoints=a,,b"],
            "--discovery-endpoints must not contain empty endpoints",
        ),
        (&["--heartbeat-interval=0"], "--heartbeat-interval must be >0 (set to 0ms)"),
        (&["--election-timeout=0"], "--election-timeout must be >0 (set to 0ms)"),
        (
            &["--election-timeout=499"],
            "--election-timeout[499ms] should be at least as 5 times as \
             --heartbeat-interval[100ms]",
        ),
        (
            &["--election-timeout=50001"],
            "--election-timeout[50001ms] is too long, and should be set less than 50000ms",
        ),
        (&["--listen-client-urls=http://127.0.0.1:1"], ADVERTISE_MISSING),
        (&["--auto-compaction-mode="], "undefined auto-compaction-mode"),
        (&["--auto-compaction-mode=x"], "unknown auto-compaction-mode \"x\""),
        (
            &["--enable-distributed-tracing", "--distributed-tracing-sampling-rate=1000001"],
            "distributed tracing configurition is not valid: (tracing sampling rate must be less \
             than 1000000)",
        ),
        (
            &["--feature-gates=LeaseCheckpointPersist=true"],
            "enabling feature gate LeaseCheckpointPersist requires enabling feature gate \
             LeaseCheckpoint",
        ),
        (&["--compact-hash-check-time=-1m"], "--compact-hash-check-time must be >0 (set to -1m0s)"),
        (
            &["--tls-min-version=TLS1.1"],
            "unexpected TLS version \"TLS1.1\" (must be one of: TLS1.2, TLS1.3)",
        ),
        (
            &["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"],
            "min version (TLS1.3) is greater than max version (TLS1.2)",
        ),
        (
            &["--tls-min-version=TLS1.3", "--cipher-suites=a"],
            "cipher suites cannot be configured when only TLS1.3 is enabled",
        ),
    ];
    for (line, text) in cases {
        assert_eq!(problems(line).first().map(String::as_str), Some(*text), "{line:?}");
    }
}

#[test]
fn all_problems_come_and_in_etcds_order() {
    let found = problems(&[
        "--tls-max-version=x",
        "--heartbeat-interval=0",
        "--listen-client-urls=http://example.com:1",
        "--auto-compaction-mode=x",
        "--discovery-fallback=proxy",
    ]);
    let beginnings = [
        "v2 proxy is deprecated",
        "expected IP in URL",
        "--heartbeat-interval must",
        "--advertise-client-urls is required",
        "unknown auto-compaction-mode",
        "unexpected TLS version",
    ];
    assert_eq!(found.len(), beginnings.len(), "{found:?}");
    for (problem, beginning) in found.iter().zip(beginnings) {
        assert!(problem.starts_with(beginning), "{problem}");
    }
}

#[test]
fn members_dial_from_the_first_address_that_they_advertise_if_that_is_wished() {
    let cases = [
        ("http://10.0.0.1:2380", Some("10.0.0.1")),
        ("http://10.0.0.1:2380,http://10.0.0.2:2380", Some("10.0.0.1")),
        ("http://name:2380,http://[2001:db8::1]:2380", Some("2001:db8::1")),
        ("http://127.0.0.1:2380,http://[::1]:2380,http://0.0.0.0:2380,http://10.0.0.1:2380", {
            Some("10.0.0.1")
        }),
        ("http://[::ffff:127.0.0.1]:2380", None),
        ("http://[::]:2380,unix://10.0.0.1:2380", Some("10.0.0.1")),
        ("http://name:2380", None),
        ("http://localhost:2380", None),
    ];
    for (urls, expected) in cases {
        let urls = format!("--initial-advertise-peer-urls={urls}");
        let expected = expected.map(|address| address.parse().expect("is an address"));
        for (gate, expected) in
            [("SetMemberLocalAddr=true", expected), ("AllAlpha=true", expected), ("", None)]
        {
            let gates = format!("--feature-gates={gate}");
            let config = config(&[&urls, &gates]);
            assert_eq!(config.member_local_address(), expected, "{urls} {gate}");
        }
    }
}

#[test]
fn a_plain_start_has_no_problem() {
    let full = [
        "--name=a",
        "--listen-client-urls=http://127.0.0.1:0",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--auto-compaction-retention=5m",
        "--unsafe-no-fsync",
        "--max-txn-ops=7",
        "--discovery-srv=",
    ];
    for line in [&[] as &[&str], &full] {
        assert_eq!(problems(line), [""; 0]);
    }
    // Unix sockets need neither an IP nor a port.
    assert_eq!(problems(&["--listen-peer-urls=unix://any:1"]), [""; 0]);
}

#[test]
fn discovery_takes_the_place_of_the_default_cluster() {
    let line = ["--name=a", "--discovery-srv=example.com", "--discovery-srv-name=x"];
    assert_eq!(problems(&line), [""; 0]);
    let bootstrap = config(&line).bootstrap;
    assert_eq!(bootstrap.initial_cluster, "");
    let srv = Srv { domain: "example.com".to_owned(), name: "x".to_owned() };
    assert_eq!(bootstrap.srv, Some(srv));
}

#[test]
fn a_file_is_let_off_telling_where_it_is() {
    let settings = file::parse("listen-client-urls: http://127.0.0.1:1\n").expect("reads");
    assert_eq!(check(&settings).problems, [""; 0]);
    let config = Config::new(&settings, None).expect("is right");
    assert_eq!(config.advertise.client[0].as_str(), "http://localhost:2379");
    let settings = file::parse("initial-cluster-state: x\nmax-snapshots: 3\n").expect("reads");
    let verdict = check(&settings);
    assert_eq!(verdict.problems, ["unexpected clusterState \"x\""]);
    let messages: Vec<_> = verdict.warnings.iter().map(|warning| warning.message).collect();
    assert!(
        messages
            .contains(&"--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8.")
    );
}

#[test]
fn doubtful_things_are_warned_of() {
    let count = |line: &[&str]| check(&settings(line)).warnings.len();
    assert_eq!(count(&["--name=a", "--listen-client-http-urls=http://127.0.0.1:1"]), 0);
    assert_eq!(count(&[]), 2);
    assert_eq!(count(&["--name=a", "--v2-deprecation=gone", "--max-snapshots=5"]), 3);
    assert_eq!(count(&["--name=a", "--feature-gates=LeaseCheckpoint=true"]), 2);
    // Who is told of a problem is spared the doubts that come after it.
    assert_eq!(count(&["--election-timeout=1", "--max-snapshots=5"]), 2);
    assert_eq!(count(&["--listen-peer-urls=http://a:1"]), 0);
}

#[test]
fn zero_means_the_default_where_etcd_says_so() {
    for line in [
        &[] as &[&str],
        &[
            "--snapshot-count=0",
            "--snapshot-catchup-entries=0",
            "--backend-batch-interval=0",
            "--backend-batch-limit=0",
            "--compaction-batch-limit=0",
            "--compaction-sleep-interval=0",
            "--watch-progress-notify-interval=0",
            "--quota-backend-bytes=0",
            "--raft-read-timeout=1s",
            "--warning-unary-request-duration=0",
        ],
    ] {
        let config = config(line);
        assert_eq!(config.raft.snapshot_count, 10_000);
        assert_eq!(config.raft.snapshot_catchup_entries, 5_000);
        assert_eq!(config.storage.batch_interval, Duration::from_millis(100));
        assert_eq!(config.storage.batch_limit, 10_000);
        assert_eq!(config.compaction.batch_limit, 1_000);
        assert_eq!(config.compaction.sleep_interval, Duration::from_millis(10));
        assert_eq!(config.watch_progress_notify_interval, Duration::from_secs(600));
        assert_eq!(config.storage.quota_bytes, Some(2_147_483_648));
        assert_eq!(config.raft.read_timeout, Duration::from_secs(5));
        assert_eq!(config.warning_unary_request_duration, Duration::from_millis(300));
    }
}

#[test]
fn what_is_off_is_none() {
    let config = config(&[
        "--quota-backend-bytes=-1",
        "--grpc-keepalive-min-time=0",
        "--grpc-keepalive-interval=0",
        "--auto-compaction-mode=revision",
        "--auto-compaction-retention=7",
    ]);
    assert_eq!(config.storage.quota_bytes, None);
    let keepalive = config.keepalive;
    assert!(keepalive.min_time.is_zero() && keepalive.interval.is_zero());
    assert_eq!(config.checks.corrupt_check_time, None);
    assert_eq!(config.compaction.auto, AutoCompaction::Revisions(7));
    assert_eq!(config.bootstrap.state, ClusterState::New);
}

#[test]
fn a_retention_that_does_not_read_is_found_late() {
    let settings = settings(&["--auto-compaction-retention=x"]);
    assert_eq!(check(&settings).problems, [""; 0]);
    let error = Config::new(&settings, None).expect_err("does not read");
    assert_eq!(error, "error parsing CompactionRetention: time: invalid duration \"x\"");
}

#[test]
fn files_are_named_after_the_member() {
    let plain = config(&["--name=a"]);
    assert_eq!(plain.data_dir.to_str(), Some("a.etcd"));
    assert_eq!(plain.wal_path().to_str(), Some("a.etcd/member/wal"));
    let given = config(&["--data-dir=d", "--wal-dir=w"]);
    assert_eq!(given.member_dir().to_str(), Some("d/member"));
    assert_eq!(given.wal_path().to_str(), Some("w"));
}

#[test]
fn the_default_cluster_bears_the_members_name() {
    let cluster = |line: &[&str]| config(line).bootstrap.initial_cluster;
    assert_eq!(cluster(&[]), "default=http://localhost:2380");
    assert_eq!(cluster(&["--name=a"]), "a=http://localhost:2380");
    assert_eq!(
        cluster(&["--name=a", "--initial-advertise-peer-urls=http://b:1,http://c:1"]),
        "a=http://b:1,a=http://c:1"
    );
    assert_eq!(cluster(&["--name=a", "--initial-cluster=b=http://b:1"]), "b=http://b:1");
}

#[test]
fn a_member_that_listens_everywhere_advertises_the_machine() {
    let host = Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7)));
    let everywhere = ["--name=a", "--listen-peer-urls=http://0.0.0.0:1234"];
    let config = Config::new(&settings(&everywhere), host).expect("is right");
    assert!(config.advertise.host_used);
    assert_eq!(config.advertise.peer[0].as_str(), "http://10.0.0.7:1234");
    assert_eq!(config.advertise.client[0].as_str(), "http://localhost:2379");
    assert_eq!(config.bootstrap.initial_cluster, "a=http://10.0.0.7:1234");
    let config = Config::new(&settings(&["--name=a"]), host).expect("is right");
    assert!(!config.advertise.host_used);
}
