//! What a load found out.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::options::Plan;
use crate::process::Usage;

/// The figures of one load.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// Which server, in a comparison.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<String>,
    pub(crate) workload: &'static str,
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
    pub(crate) value_size: usize,
    pub(crate) seconds: f64,
    /// Answers, or events of a watch.
    pub(crate) requests: u64,
    /// Requests per second.
    pub(crate) throughput: f64,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) max_us: f64,
    /// Microseconds of the server's processor time per request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_cpu_us: Option<f64>,
    /// The same of this program.
    pub(crate) generator_cpu_us: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_rss_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_peak_rss_bytes: Option<u64>,
}

/// Usage of the server and of the generator at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) now: Duration,
    pub(crate) server: Option<Usage>,
    pub(crate) generator: Usage,
}

impl Report {
    /// Latencies are in nanoseconds.
    pub(crate) fn new(
        plan: &Plan,
        latencies: &Histogram<u64>,
        begin: Moment,
        end: Moment,
    ) -> Report {
        let requests = latencies.len();
        let seconds = end.now.saturating_sub(begin.now).as_secs_f64();
        let per_request = |before: Usage, after: Usage| {
            let spent = after.cpu.saturating_sub(before.cpu).as_secs_f64();
            rounded(spent * 1e6 / requests.max(1) as f64)
        };
        let quantile = |q| rounded(latencies.value_at_quantile(q) as f64 / 1e3);
        Report {
            server: None,
            workload: plan.workload.name(),
            connections: plan.connections,
            in_flight: plan.in_flight,
            value_size: plan.value_size,
            seconds: rounded(seconds),
            requests,
            throughput: rounded(requests as f64 / seconds.max(1e-9)),
            p50_us: quantile(0.5),
            p90_us: quantile(0.9),
            p99_us: quantile(0.99),
            max_us: rounded(latencies.max() as f64 / 1e3),
            server_cpu_us: begin.server.zip(end.server).map(|(a, b)| per_request(a, b)),
            generator_cpu_us: per_request(begin.generator, end.generator),
            server_rss_bytes: end.server.map(|usage| usage.resident_bytes),
            server_peak_rss_bytes: end.server.map(|usage| usage.peak_bytes),
        }
    }

    /// One line.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts always have a JSON form")
    }
}

/// Three decimals are more than is ever known.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn figures_have_three_decimals() {
        assert_eq!(rounded(1.234_56), 1.235);
        assert_eq!(rounded(12_000.0), 12_000.0);
    }
}
