//! `/health`, `/livez` and `/readyz`.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::{Response, StatusCode, request};
use prometheus::{
    IntCounter, IntCounterVec, IntGaugeVec, Opts, register_int_counter, register_int_counter_vec,
    register_int_gauge_vec,
};
use proto::etcdserverpb::AlarmType;

use super::{TEXT, error, typed};
use crate::service::Services;

static SUCCESSES: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "etcd_server_health_success",
        "The total number of successful health checks"
    )
    .expect("the name is registered once")
});
static FAILURES: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!("etcd_server_health_failures", "The total number of failed health checks")
        .expect("the name is registered once")
});
static CHECK: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let opts = Opts::new("etcd_server_healthcheck", "The result of each kind of healthcheck.");
    register_int_gauge_vec!(opts, &["type", "name"]).expect("the name is registered once")
});
static CHECKS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = Opts::new(
        "etcd_server_healthchecks_total",
        "The total number of each kind of healthcheck.",
    );
    register_int_counter_vec!(opts, &["type", "name", "status"])
        .expect("the name is registered once")
});

/// Makes the counters visible before the first check.
pub(crate) fn register() {
    LazyLock::force(&SUCCESSES);
    LazyLock::force(&FAILURES);
}

/// The values of a repeated query parameter.
fn parameters<'a>(request: &'a request::Parts, name: &'a str) -> impl Iterator<Item = &'a str> {
    request.uri.query().unwrap_or_default().split('&').filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

/// `/health`: alarms, a leader, and a read.
pub(super) async fn health(services: &Arc<Services>, request: &request::Parts) -> Response<Bytes> {
    let serializable = parameters(request, "serializable").any(|value| value == "true");
    let excluded: Vec<_> = parameters(request, "exclude").collect();
    let reason = match alarm(services, &excluded) {
        Some(reason) => Some(reason),
        None if !serializable && !services.node.has_leader() => Some("RAFT NO LEADER".to_owned()),
        None => read(services, serializable).await.err().map(|text| format!("RANGE ERROR:{text}")),
    };
    match reason {
        None => {
            SUCCESSES.inc();
            typed(StatusCode::OK, TEXT, r#"{"health":"true","reason":""}"#)
        }
        Some(reason) => {
            FAILURES.inc();
            let body = format!("{}\n", serde_json::json!({ "health": "false", "reason": reason }));
            tracing::warn!(output = body.trim_end(), "status-code" = 503, "/health error");
            error(StatusCode::SERVICE_UNAVAILABLE, body)
        }
    }
}

fn alarm(services: &Services, excluded: &[&str]) -> Option<String> {
    services.node.alarms().into_iter().find_map(|alarm| {
        let name = AlarmType::try_from(alarm.alarm).map_or("UNKNOWN", |kind| kind.as_str_name());
        (!excluded.contains(&name)).then(|| format!("ALARM {name}"))
    })
}

async fn read(services: &Services, serializable: bool) -> Result<(), String> {
    services.node.probe_read(serializable).await.map_err(|failure| failure.to_string())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Self::DataCorruption => "data_corruption",
            Self::SerializableRead => "serializable_read",
            Self::LinearizableRead => "linearizable_read",
            Self::NonLearner => "non_learner",
        }
    }

    async fn run(self, services: &Services) -> Result<(), String> {
        match self {
            Self::DataCorruption => {
                let corrupt = |alarm: &proto::etcdserverpb::AlarmMember| {
                    alarm.alarm == AlarmType::Corrupt as i32
                };
                if services.node.alarms().iter().any(corrupt) {
                    return Err("alarm activated: CORRUPT".to_owned());
                }
                Ok(())
            }
            Self::SerializableRead => read(services, true).await,
            Self::LinearizableRead => read(services, false).await,
            Self::NonLearner if services.node.is_learner() => {
                Err("not supported for learner".to_owned())
            }
            Self::NonLearner => Ok(()),
        }
    }
}

/// `/livez`, `/readyz`, or one check of theirs.
pub(super) struct Probe {
    kind: &'static str,
    checks: Vec<Check>,
    /// The whole probe: checks may be excluded.
    root: bool,
}

impl Probe {
    pub(super) fn of(path: &str) -> Option<Self> {
        const LIVE: &[Check] = &[Check::SerializableRead];
        const READY: &[Check] = &[
            Check::DataCorruption,
            Check::SerializableRead,
            Check::LinearizableRead,
            Check::NonLearner,
        ];
        [("livez", LIVE), ("readyz", READY)].into_iter().find_map(|(kind, checks)| {
            match path.strip_prefix('/')?.strip_prefix(kind)? {
                "" => Some(Self { kind, checks: checks.to_vec(), root: true }),
                one => {
                    let check =
                        checks.iter().find(|check| Some(check.name()) == one.strip_prefix('/'));
                    check.map(|check| Self { kind, checks: vec![*check], root: false })
                }
            }
        })
    }

    pub(super) async fn answer(
        self,
        services: &Arc<Services>,
        request: &request::Parts,
    ) -> Response<Bytes> {
        let mut excluded: Vec<_> = if self.root {
            parameters(request, "exclude").filter(|name| !name.is_empty()).collect()
        } else {
            Vec::new()
        };
        let verbose = parameters(request, "verbose").next().is_some();
        let mut lines = String::new();
        let mut failed = false;
        for check in self.checks {
            if let Some(at) = excluded.iter().position(|name| *name == check.name()) {
                excluded.remove(at);
                continue;
            }
            let outcome = check.run(services).await;
            self::count(self.kind, check.name(), outcome.is_ok());
            failed |= outcome.is_err();
            // Writing to a String cannot fail.
            let _ = match outcome {
                Ok(()) => writeln!(lines, "[+]{} ok", check.name()),
                Err(reason) => writeln!(lines, "[-]{} failed: {reason}", check.name()),
            };
        }
        if !excluded.is_empty() {
            tracing::warn!(excluded = excluded.join(","), "some health checks cannot be excluded");
        }
        if failed {
            tracing::error!(
                path = request.uri.path(),
                reason = lines.trim_end(),
                "status-code" = 503,
                "Health check error"
            );
            return error(StatusCode::SERVICE_UNAVAILABLE, lines);
        }
        error(StatusCode::OK, if verbose { lines + "ok\n" } else { "ok\n".to_owned() })
    }
}

fn count(kind: &str, name: &str, ok: bool) {
    CHECK.with_label_values(&[kind, name]).set(i64::from(ok));
    CHECKS.with_label_values(&[kind, name, if ok { "success" } else { "error" }]).inc();
}
