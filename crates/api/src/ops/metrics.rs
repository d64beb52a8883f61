//! `/metrics`: all that was counted, as Prometheus reads it.

use std::io::{self, Write as _};
use std::sync::LazyLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderValue, Response, StatusCode, request};
use prometheus::proto::MetricFamily;
use prometheus::{
    Encoder as _, IntCounter, IntCounterVec, IntGauge, Opts, TextEncoder, register_int_counter_vec,
    register_int_gauge,
};

use super::{error, go, process, typed};
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

pub(super) fn answer(services: &Services, request: &request::Parts) -> Response<Bytes> {
    services.node.refresh_metrics();
    page(request, services.limits.go_metrics)
}

/// All that was counted in this process, with stand-ins for what Go counts where they are wanted.
pub fn page(request: &request::Parts, go: bool) -> Response<Bytes> {
    SCRAPES.in_flight.inc();
    process::refresh();
    let encoded = encoded(go);
    let wants_gzip = request.headers.get_all(ACCEPT_ENCODING).iter().any(accepts_gzip);
    let answer = encoded.and_then(|body| if wants_gzip { compressed(&body) } else { Ok(body) });
    SCRAPES.in_flight.dec();
    match answer {
        Ok(body) => {
            SCRAPES.well.inc();
            let mut response = typed(StatusCode::OK, TEXT, body);
            if wants_gzip {
                let headers = response.headers_mut();
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            response
        }
        Err(failure) => {
            SCRAPES.failed.inc();
            error(StatusCode::INTERNAL_SERVER_ERROR, format!("{failure}\n"))
        }
    }
}

/// All families by name; those of Go where they are wanted.
fn encoded(go: bool) -> io::Result<Vec<u8>> {
    let families = prometheus::gather();
    let encode = |families: &[MetricFamily], body: &mut Vec<u8>| {
        TextEncoder::new().encode(families, body).map_err(io::Error::other)
    };
    let mut body = Vec::new();
    if !go {
        encode(&families, &mut body)?;
        return Ok(body);
    }
    let at = |name| families.partition_point(|family| family.name() < name);
    let (version, runtime) = (at("etcd_server_go_version"), at("go_"));
    encode(&families[..version], &mut body)?;
    body.extend_from_slice(go::server_version().as_bytes());
    encode(&families[version..runtime], &mut body)?;
    body.extend_from_slice(go::families(&process::memory()).as_bytes());
    encode(&families[runtime..], &mut body)?;
    Ok(body)
}

fn compressed(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(body)?;
    gzip.finish()
}

/// Whether a client reads gzip: it names it, and not with a weight of nothing.
fn accepts_gzip(header: &HeaderValue) -> bool {
    let codings = header.to_str().unwrap_or_default().split(',');
    codings.map(|coding| coding.split(';').map(str::trim)).any(|mut parts| {
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let refused = parts
            .filter_map(|part| part.strip_prefix("q="))
            .any(|weight| weight.parse::<f32>().is_ok_and(|weight| weight <= 0.0));
        named && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_those_who_name_it() {
        let accepts = |text| accepts_gzip(&HeaderValue::from_static(text));
        assert!(accepts("gzip") && accepts("deflate, GZIP;q=0.5") && accepts("br,gzip"));
        assert!(!accepts("gzip;q=0") && !accepts("gzip; q=0.0, br"));
        assert!(!accepts("") && !accepts("identity") && !accepts("xgzip"));
    }
}
