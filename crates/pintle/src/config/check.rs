//! Whether the options make sense, in the order and the words of etcd.
//!
//! etcd stops at the first thing that is wrong; here the first comes first and the others follow,
//! so that an operator sees them all at once.

use net::{check_advertised, check_bindable};

use super::{advertised_client_urls, initial_cluster};
use crate::options::{Settings, Source};

/// What is wrong and what is doubtful.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) warnings: Vec<Warning>,
    /// Most important first; empty when the member may start.
    pub(crate) problems: Vec<String>,
}

/// A doubtful thing: a line's text and its one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Warning {
    pub(crate) message: &'static str,
    pub(crate) field: Option<(&'static str, String)>,
}

/// The one problem that etcd says twice.
pub(crate) const ADVERTISE_MISSING: &str =
    "--advertise-client-urls is required when --listen-client-urls is set explicitly";

const ELECTION_TIMEOUT_MAX_MS: u64 = 50_000;

/// One look at the settings.
#[derive(Clone, Copy)]
enum Step {
    /// What it finds is wrong.
    Problem(fn(&Settings) -> Option<String>),
    /// What it finds is doubtful.
    Doubt(fn(&Settings) -> Option<Warning>),
}

const STEPS: &[Step] = &[
    Step::Problem(fallback),
    Step::Problem(|settings| bindable(settings, "listen-peer-urls")),
    Step::Problem(|settings| bindable(settings, "listen-client-urls")),
    Step::Problem(|settings| bindable(settings, "listen-client-http-urls")),
    Step::Doubt(single_port),
    Step::Problem(|settings| bindable(settings, "listen-metrics-urls")),
    Step::Problem(advertised_peer),
    Step::Problem(advertised_client),
    Step::Problem(cluster_state),
    Step::Problem(one_way_to_begin),
    Step::Problem(discovery),
    Step::Problem(heartbeat),
    Step::Problem(election),
    Step::Problem(advertise_missing),
    Step::Problem(compaction_mode),
    Step::Problem(tracing_rate),
    Step::Doubt(checkpoints_not_kept),
    Step::Problem(lease_gates),
    Step::Problem(compact_hash_check),
    Step::Doubt(default_name),
    Step::Problem(tls_versions),
];

/// Judges all options.
pub(crate) fn check(settings: &Settings) -> Verdict {
    let mut verdict = Verdict::default();
    for step in STEPS {
        match step {
            Step::Problem(find) => verdict.problems.extend(find(settings)),
            // As in etcd, which ends at a problem, no doubt is told after one.
            Step::Doubt(find) if verdict.problems.is_empty() => {
                verdict.warnings.extend(find(settings));
            }
            Step::Doubt(_) => {}
        }
    }
    if verdict.problems.is_empty() || settings.path.is_none() {
        verdict.warnings.extend(deprecated(settings));
    }
    verdict
}

fn doubt(message: &'static str) -> Warning {
    Warning { message, field: None }
}

fn single_port(settings: &Settings) -> Option<Warning> {
    settings.urls("listen-client-http-urls").is_empty().then(|| {
        doubt(
            "Running http and grpc server on single port. This is not recommended for production.",
        )
    })
}

fn checkpoints_not_kept(settings: &Settings) -> Option<Warning> {
    let gates = settings.gates("feature-gates");
    (gates.enabled("LeaseCheckpoint") && !gates.enabled("LeaseCheckpointPersist")).then(|| {
        doubt(
            "Detected that checkpointing is enabled without persistence. Consider enabling \
             feature gate LeaseCheckpointPersist",
        )
    })
}

fn default_name(settings: &Settings) -> Option<Warning> {
    let name = settings.text("name");
    (name == "default").then_some(Warning {
        message: "it isn't recommended to use default name, please set a value for --name. Note \
                  that etcd might run into issue when multiple members have the same default name",
        field: Some(("name", name)),
    })
}

fn deprecated(settings: &Settings) -> impl Iterator<Item = Warning> {
    let messages = [
        (
            "max-snapshots",
            "--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8.",
        ),
        (
            "v2-deprecation",
            "--v2-deprecation is deprecated and scheduled for removal in v3.8. The default value \
             is enforced, ignoring user input.",
        ),
    ];
    let given = messages.into_iter().filter(|(name, _)| settings.is_given(name));
    given.map(|(_, message)| doubt(message))
}

fn fallback(settings: &Settings) -> Option<String> {
    (settings.text("discovery-fallback") == "proxy").then(|| {
        "v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\""
            .to_owned()
    })
}

fn bindable(settings: &Settings, name: &str) -> Option<String> {
    check_bindable(&settings.urls(name)).err().map(|error| error.to_string())
}

fn advertised_peer(settings: &Settings) -> Option<String> {
    let urls = settings.urls("initial-advertise-peer-urls");
    let error = check_advertised(&urls).err()?;
    let urls = joined(&urls);
    Some(format!("--initial-advertise-peer-urls {urls:?} must be \"host:port\" ({error})"))
}

fn advertised_client(settings: &Settings) -> Option<String> {
    let urls = advertised_client_urls(settings);
    let error = check_advertised(&urls).err()?;
    let urls = joined(&urls);
    Some(format!(
        "--advertise-client-urls {urls:?} must be in the format \"host:port\", \
         \"unix:/path/to/socket\" or \"unixs:/path/to/socket\" ({error})"
    ))
}

fn joined(urls: &[net::Url]) -> String {
    urls.iter().map(net::Url::as_str).collect::<Vec<_>>().join(",")
}

fn cluster_state(settings: &Settings) -> Option<String> {
    let state = settings.text("initial-cluster-state");
    let known = matches!(state.as_str(), "new" | "existing");
    (!known).then(|| format!("unexpected clusterState {state:?}"))
}

fn one_way_to_begin(settings: &Settings) -> Option<String> {
    let ways = [
        !initial_cluster(settings).is_empty(),
        !settings.text("discovery-srv").is_empty(),
        !settings.list("discovery-endpoints").is_empty(),
    ];
    (ways.into_iter().filter(|way| *way).count() > 1).then(|| {
        "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \
         \"discovery-endpoints\" or \"discovery-srv\""
            .to_owned()
    })
}

fn discovery(settings: &Settings) -> Option<String> {
    let endpoints = settings.list("discovery-endpoints");
    if settings.text("discovery-token").is_empty() != endpoints.is_empty() {
        return Some("both --discovery-token and --discovery-endpoints must be set".to_owned());
    }
    let empty = endpoints.iter().any(|endpoint| endpoint.trim().is_empty());
    empty.then(|| "--discovery-endpoints must not contain empty endpoints".to_owned())
}

fn heartbeat(settings: &Settings) -> Option<String> {
    (settings.uint("heartbeat-interval") == 0)
        .then(|| "--heartbeat-interval must be >0 (set to 0ms)".to_owned())
}

fn election(settings: &Settings) -> Option<String> {
    let (heartbeat, election) =
        (settings.uint("heartbeat-interval"), settings.uint("election-timeout"));
    if election == 0 {
        return Some("--election-timeout must be >0 (set to 0ms)".to_owned());
    }
    if heartbeat.checked_mul(5).is_none_or(|least| least > election) {
        return Some(format!(
            "--election-timeout[{election}ms] should be at least as 5 times as \
             --heartbeat-interval[{heartbeat}ms]"
        ));
    }
    (election > ELECTION_TIMEOUT_MAX_MS).then(|| {
        format!(
            "--election-timeout[{election}ms] is too long, and should be set less than \
             {ELECTION_TIMEOUT_MAX_MS}ms"
        )
    })
}

fn advertise_missing(settings: &Settings) -> Option<String> {
    let listens = settings.source("listen-client-urls") != Source::Default;
    (listens && advertised_client_urls(settings).is_empty()).then(|| ADVERTISE_MISSING.to_owned())
}

fn compaction_mode(settings: &Settings) -> Option<String> {
    match settings.text("auto-compaction-mode").as_str() {
        "periodic" | "revision" => None,
        "" => Some("undefined auto-compaction-mode".to_owned()),
        other => Some(format!("unknown auto-compaction-mode {other:?}")),
    }
}

fn tracing_rate(settings: &Settings) -> Option<String> {
    let rate = settings.int("distributed-tracing-sampling-rate");
    let wrong = settings.flag("enable-distributed-tracing") && !(0..=1_000_000).contains(&rate);
    wrong.then(|| {
        let reason = if rate < 0 { "must be positive" } else { "must be less than 1000000" };
        format!("distributed tracing configurition is not valid: (tracing sampling rate {reason})")
    })
}

fn lease_gates(settings: &Settings) -> Option<String> {
    let gates = settings.gates("feature-gates");
    (gates.enabled("LeaseCheckpointPersist") && !gates.enabled("LeaseCheckpoint")).then(|| {
        "enabling feature gate LeaseCheckpointPersist requires enabling feature gate \
         LeaseCheckpoint"
            .to_owned()
    })
}

fn compact_hash_check(settings: &Settings) -> Option<String> {
    let time = settings.duration("compact-hash-check-time");
    (time.0 <= 0).then(|| format!("--compact-hash-check-time must be >0 (set to {time})"))
}

fn tls_versions(settings: &Settings) -> Option<String> {
    let (min, max) = (settings.text("tls-min-version"), settings.text("tls-max-version"));
    tls_range(&min, &max, !settings.list("cipher-suites").is_empty()).err()
}

/// The rank of a version among others; 0 is whichever is the best.
pub(crate) fn tls_version(version: &str) -> Result<u8, String> {
    match version {
        "" => Ok(0),
        "TLS1.2" => Ok(2),
        "TLS1.3" => Ok(3),
        _ => Err(format!("unexpected TLS version {version:?} (must be one of: TLS1.2, TLS1.3)")),
    }
}

/// Whether there is a version between the two, and whether suites can be chosen there.
pub(crate) fn tls_range(min: &str, max: &str, has_suites: bool) -> Result<(), String> {
    let (lowest, highest) = (tls_version(min)?, tls_version(max)?);
    if highest != 0 && lowest > highest {
        return Err(format!("min version ({min}) is greater than max version ({max})"));
    }
    match lowest == 3 && has_suites {
        true => Err("cipher suites cannot be configured when only TLS1.3 is enabled".to_owned()),
        false => Ok(()),
    }
}
