//! Stand-ins for what Go's runtime says of itself, behind a switch: boards and tests that ask for
//! these names find them, with the truth where there is one and 0 elsewhere.

use std::fmt::Write as _;

use super::process::Memory;

/// Name, kind, and what it stands for.
type Family = (&'static str, &'static str, fn(&Memory) -> u64);

const NOTHING: fn(&Memory) -> u64 = |_| 0;
const HEAP: fn(&Memory) -> u64 = |memory| memory.anonymous_bytes;
const RESIDENT: fn(&Memory) -> u64 = |memory| memory.resident_bytes;
const THREADS: fn(&Memory) -> u64 = |memory| memory.threads;

/// By name, but for the first, which has quantiles, and `go_info`, which has a label.
const FAMILIES: &[Family] = &[
    ("go_gc_gogc_percent", "gauge", NOTHING),
    ("go_gc_gomemlimit_bytes", "gauge", NOTHING),
    ("go_goroutines", "gauge", THREADS),
    ("go_memstats_alloc_bytes", "gauge", HEAP),
    ("go_memstats_alloc_bytes_total", "counter", NOTHING),
    ("go_memstats_buck_hash_sys_bytes", "gauge", NOTHING),
    ("go_memstats_frees_total", "counter", NOTHING),
    ("go_memstats_gc_sys_bytes", "gauge", NOTHING),
    ("go_memstats_heap_alloc_bytes", "gauge", HEAP),
    ("go_memstats_heap_idle_bytes", "gauge", NOTHING),
    ("go_memstats_heap_inuse_bytes", "gauge", HEAP),
    ("go_memstats_heap_objects", "gauge", NOTHING),
    ("go_memstats_heap_released_bytes", "gauge", NOTHING),
    ("go_memstats_heap_sys_bytes", "gauge", HEAP),
    ("go_memstats_last_gc_time_seconds", "gauge", NOTHING),
    ("go_memstats_mallocs_total", "counter", NOTHING),
    ("go_memstats_mcache_inuse_bytes", "gauge", NOTHING),
    ("go_memstats_mcache_sys_bytes", "gauge", NOTHING),
    ("go_memstats_mspan_inuse_bytes", "gauge", NOTHING),
    ("go_memstats_mspan_sys_bytes", "gauge", NOTHING),
    ("go_memstats_next_gc_bytes", "gauge", NOTHING),
    ("go_memstats_other_sys_bytes", "gauge", NOTHING),
    ("go_memstats_stack_inuse_bytes", "gauge", NOTHING),
    ("go_memstats_stack_sys_bytes", "gauge", NOTHING),
    ("go_memstats_sys_bytes", "gauge", RESIDENT),
    ("go_sched_gomaxprocs_threads", "gauge", |_| {
        std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64)
    }),
    ("go_threads", "gauge", THREADS),
];

/// What all of them say.
const HELP: &str = "Stands in for Go's runtime, of which there is none.";
const GC: &str = "go_gc_duration_seconds";
const INFO: &str = "go_info";
const ETCD: &str = "etcd_server_go_version";

/// The family of etcd's that tells which Go it was built by.
pub(super) fn server_version() -> String {
    format!("# HELP {ETCD} {HELP}\n# TYPE {ETCD} gauge\n{ETCD}{{server_go_version=\"none\"}} 1\n")
}

/// All families, in the form in which they are scraped.
pub(super) fn families(memory: &Memory) -> String {
    let mut text = format!("# HELP {GC} {HELP}\n# TYPE {GC} summary\n");
    for quantile in ["0", "0.25", "0.5", "0.75", "1"] {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(text, "{GC}{{quantile=\"{quantile}\"}} 0");
    }
    let _ = writeln!(text, "{GC}_sum 0\n{GC}_count 0");
    let _ = write!(text, "# HELP {INFO} {HELP}\n# TYPE {INFO} gauge\n");
    let _ = writeln!(text, "{INFO}{{version=\"none\"}} 1");
    for (name, kind, value) in FAMILIES {
        let value = value(memory);
        let _ = write!(text, "# HELP {name} {HELP}\n# TYPE {name} {kind}\n{name} {value}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_is_declared_and_has_a_value() {
        let memory = Memory { resident_bytes: 7, anonymous_bytes: 5, threads: 3 };
        let text = families(&memory);
        assert!(text.contains("# TYPE go_threads gauge\ngo_threads 3\n"));
        assert!(text.contains("\ngo_memstats_sys_bytes 7\n"));
        assert_eq!(text.matches("# TYPE ").count(), FAMILIES.len() + 2);
        assert!(FAMILIES.is_sorted_by_key(|family| family.0));
    }
}
