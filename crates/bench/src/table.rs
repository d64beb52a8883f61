//! The figures of a comparison as a table in Markdown.

use std::fmt::Write;

use crate::compare::Reports;
use crate::options::Workload;
use crate::report::Report;

const HEAD: &str = "\
| workload | server | requests/s | p50 us | p90 us | p99 us | max us \
| CPU us/request | CPU ratio | p50 ratio | p99 ratio | peak RSS MB | RSS ratio |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
";

/// The medians of each workload's rounds, and their ratios to the baseline's.
pub(crate) fn render(
    names: &[&str],
    baseline: usize,
    members: usize,
    workloads: &[Workload],
    reports: &Reports,
) -> String {
    let rounds = reports.values().map(Vec::len).max().unwrap_or(0);
    let of_all = match members {
        1 => String::new(),
        members => format!(" CPU and memory are those of all {members} members together."),
    };
    let mut out = format!(
        "Medians of {rounds} rounds in one run; ratios to {}.{of_all}\n\n{HEAD}",
        names.get(baseline).unwrap_or(&"nothing")
    );
    for (at, workload) in workloads.iter().enumerate() {
        let Some(base) = reports.get(&(at, baseline)) else { continue };
        for (which, name) in names.iter().enumerate() {
            let Some(own) = reports.get(&(at, which)) else { continue };
            row(&mut out, workload.name(), name, own, base);
        }
    }
    out
}

type Figure = fn(&Report) -> f64;

const CPU: Figure = |report| report.server_cpu_us.unwrap_or(f64::NAN);
const P50: Figure = |report| report.p50_us;
const P99: Figure = |report| report.p99_us;
const PEAK: Figure =
    |report| report.server_peak_rss_bytes.map_or(f64::NAN, |bytes| bytes as f64 / 1e6);

fn row(out: &mut String, workload: &str, name: &str, own: &[Report], base: &[Report]) {
    let value = |figure: Figure| number(median(own, figure));
    let ratio = |figure: Figure| format!("{:.2}", median(own, figure) / median(base, figure));
    let columns = [
        workload.to_owned(),
        name.to_owned(),
        value(|report| report.throughput),
        value(P50),
        value(|report| report.p90_us),
        value(P99),
        value(|report| report.max_us),
        value(CPU),
        ratio(CPU),
        ratio(P50),
        ratio(P99),
        value(PEAK),
        ratio(PEAK),
    ];
    writeln!(out, "| {} |", columns.join(" | ")).expect("a String takes everything");
}

/// The middle one, or the middle between two.
fn median(reports: &[Report], figure: Figure) -> f64 {
    let mut figures: Vec<f64> = reports.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match (figures.get(middle.wrapping_sub(1)), figures.get(middle)) {
        (Some(below), Some(above)) if figures.len().is_multiple_of(2) => {
            f64::midpoint(*below, *above)
        }
        (_, Some(middle)) => *middle,
        (_, None) => f64::NAN,
    }
}

/// Three digits say all, but whole numbers stay whole.
fn number(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

#[cfg(test)]
mod tests {
    use super::{median, number, render};
    use crate::compare::Reports;
    use crate::options::Workload;
    use crate::report::Report;

    fn report(p50_us: f64) -> Report {
        Report {
            server: None,
            workload: "put",
            connections: 1,
            in_flight: 1,
            value_size: 1,
            seconds: 1.0,
            requests: 1,
            throughput: 1234.5,
            p50_us,
            p90_us: 2.0,
            p99_us: 4.0,
            max_us: 8.0,
            server_cpu_us: Some(p50_us / 2.0),
            generator_cpu_us: 1.0,
            server_rss_bytes: Some(1_000_000),
            server_peak_rss_bytes: Some(2_000_000),
        }
    }

    #[test]
    fn the_median_is_the_middle() {
        let all = [3.0, 1.0, 2.0, 10.0].map(report);
        assert_eq!(median(&all[..3], |report| report.p50_us), 2.0);
        assert_eq!(median(&all, |report| report.p50_us), 2.5);
        assert!(median(&[], |report| report.p50_us).is_nan());
    }

    #[test]
    fn rows_have_ratios_to_the_baseline() {
        let mut reports = Reports::new();
        reports.insert((0, 0), vec![report(10.0)]);
        reports.insert((0, 1), vec![report(40.0)]);
        let text = render(&["pintle", "etcd 3.7.1"], 1, 1, &[Workload::Put], &reports);
        assert!(text.starts_with("Medians of 1 rounds in one run; ratios to etcd 3.7.1.\n"));
        let row = "| put | pintle | 1234 | 10.0 | 2.0 | 4.0 | 8.0 | 5.0 | 0.25 | 0.25 | 1.00 | \
                   2.0 | 1.00 |\n";
        assert!(text.contains(row), "{text}");
        let of_three = render(&["pintle"], 0, 3, &[Workload::Put], &reports);
        assert!(of_three.contains("of all 3 members together"), "{of_three}");
        let columns = |line: &str| line.matches('|').count();
        let lines: Vec<_> = text.lines().skip(2).collect();
        assert!(lines.iter().all(|line| columns(line) == columns(lines[0])), "{text}");
    }

    #[test]
    fn large_numbers_are_whole() {
        assert_eq!((number(99.94), number(1234.5)), ("99.9".to_owned(), "1234".to_owned()));
    }
}
