//! What every process says of itself: CPU, memory, descriptors.

use std::sync::LazyLock;

use prometheus::{Gauge, Opts, Registry};

/// Read from `/proc/self` when metrics are asked for.
struct Process {
    cpu_seconds: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
    resident_bytes: Gauge,
    virtual_bytes: Gauge,
    fd_used: Gauge,
    fd_limit: Gauge,
}

static PROCESS: LazyLock<Process> = LazyLock::new(|| {
    let gauge = |name: &str, help: &str| {
        let gauge = Gauge::with_opts(Opts::new(name, help)).expect("the name is well formed");
        let registry: &Registry = prometheus::default_registry();
        registry.register(Box::new(gauge.clone())).expect("the name is registered once");
        gauge
    };
    Process {
        cpu_seconds: gauge(
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
        ),
        open_fds: gauge("process_open_fds", "Number of open file descriptors."),
        max_fds: gauge("process_max_fds", "Maximum number of open file descriptors."),
        resident_bytes: gauge("process_resident_memory_bytes", "Resident memory size in bytes."),
        virtual_bytes: gauge("process_virtual_memory_bytes", "Virtual memory size in bytes."),
        fd_used: gauge("os_fd_used", "The number of used file descriptors."),
        fd_limit: gauge("os_fd_limit", "The file descriptor limit."),
    }
});

/// Linux counts CPU time in hundredths of a second for user space, whatever the kernel's tick.
const TICKS_PER_SECOND: f64 = 100.0;
const PAGE_BYTES: f64 = 4096.0;

/// Reads the values anew; what cannot be read keeps its last value.
pub(super) fn refresh() {
    let process = &*PROCESS;
    if let Ok(stat) = std::fs::read_to_string("/proc/self/stat") {
        // The second field is a name in parentheses that may hold spaces.
        let fields: Vec<f64> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .map(|field| field.parse().unwrap_or(0.0))
            .collect();
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0.0);
        process.cpu_seconds.set((field(14) + field(15)) / TICKS_PER_SECOND);
        process.virtual_bytes.set(field(23));
        process.resident_bytes.set(field(24) * PAGE_BYTES);
    }
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        let count = entries.count() as f64;
        process.open_fds.set(count);
        process.fd_used.set(count);
    }
    if let Ok(limits) = std::fs::read_to_string("/proc/self/limits") {
        let limit = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"))
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        if let Some(limit) = limit {
            process.max_fds.set(limit);
            process.fd_limit.set(limit);
        }
    }
}
