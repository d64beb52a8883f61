//! `/metrics`: all that was counted, as Prometheus reads it.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{Response, StatusCode};
use prometheus::{
    Encoder as _, IntCounter, IntCounterVec, IntGauge, Opts, TextEncoder, register_int_counter_vec,
    register_int_gauge,
};

use super::{error, process, typed};
use crate::service::Services;

/// The type that etcd answers with, whatever the client would like to have.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// How the door to metrics itself does.
struct Scrapes {
    in_flight: IntGauge,
    well: IntCounter,
    failed: IntCounter,
}

static SCRAPES: LazyLock<Scrapes> = LazyLock::new(|| {
    let total: IntCounterVec = register_int_counter_vec!(
        Opts::new(
            "promhttp_metric_handler_requests_total",
            "Total number of scrapes by HTTP status code."
        ),
        &["code"]
    )
    .expect("the name is registered once");
    // All three are shown from the start; the last one never comes to be.
    total.with_label_values(&["503"]);
    Scrapes {
        in_flight: register_int_gauge!(
            "promhttp_metric_handler_requests_in_flight",
            "Current number of scrapes being served."
        )
        .expect("the name is registered once"),
        well: total.with_label_values(&["200"]),
        failed: total.with_label_values(&["500"]),
    }
});

pub(super) fn register() {
    LazyLock::force(&SCRAPES);
}

pub(super) fn answer(services: &Services) -> Response<Bytes> {
    SCRAPES.in_flight.inc();
    services.node.refresh_metrics();
    process::refresh();
    let mut body = Vec::new();
    let encoded = TextEncoder::new().encode(&prometheus::gather(), &mut body);
    SCRAPES.in_flight.dec();
    match encoded {
        Ok(()) => {
            SCRAPES.well.inc();
            typed(StatusCode::OK, TEXT, body)
        }
        Err(failure) => {
            SCRAPES.failed.inc();
            error(StatusCode::INTERNAL_SERVER_ERROR, format!("{failure}\n"))
        }
    }
}
