//! What every process says of itself: CPU, memory, descriptors, traffic.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use prometheus::{Counter, Gauge, Opts, Registry};

/// Read from `/proc` when metrics are asked for.
struct Process {
    cpu_seconds: Total,
    received_bytes: Total,
    sent_bytes: Total,
    start_time: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
    resident_bytes: Gauge,
    virtual_bytes: Gauge,
    virtual_max_bytes: Gauge,
    fd_used: Gauge,
    fd_limit: Gauge,
}

/// A counter that somebody else keeps, the system here.
struct Total {
    counter: Counter,
    seen: Mutex<f64>,
}

impl Total {
    fn set(&self, value: f64) {
        let mut seen: MutexGuard<'_, f64> =
            self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if value > *seen {
            self.counter.inc_by(value - *seen);
            *seen = value;
        }
    }
}

fn registry() -> &'static Registry {
    prometheus::default_registry()
}

fn gauge(name: &str, help: &str) -> Gauge {
    let gauge = Gauge::with_opts(Opts::new(name, help)).expect("the name is well formed");
    registry().register(Box::new(gauge.clone())).expect("the name is registered once");
    gauge
}

fn total(name: &str, help: &str) -> Total {
    let counter = Counter::with_opts(Opts::new(name, help)).expect("the name is well formed");
    registry().register(Box::new(counter.clone())).expect("the name is registered once");
    Total { counter, seen: Mutex::new(0.0) }
}

static PROCESS: LazyLock<Process> = LazyLock::new(|| Process {
    cpu_seconds: total(
        "process_cpu_seconds_total",
        "Total user and system CPU time spent in seconds.",
    ),
    received_bytes: total(
        "process_network_receive_bytes_total",
        "Number of bytes received by the process over the network.",
    ),
    sent_bytes: total(
        "process_network_transmit_bytes_total",
        "Number of bytes sent by the process over the network.",
    ),
    start_time: gauge(
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
    ),
    open_fds: gauge("process_open_fds", "Number of open file descriptors."),
    max_fds: gauge("process_max_fds", "Maximum number of open file descriptors."),
    resident_bytes: gauge("process_resident_memory_bytes", "Resident memory size in bytes."),
    virtual_bytes: gauge("process_virtual_memory_bytes", "Virtual memory size in bytes."),
    virtual_max_bytes: gauge(
        "process_virtual_memory_max_bytes",
        "Maximum amount of virtual memory available in bytes.",
    ),
    fd_used: gauge("os_fd_used", "The number of used file descriptors."),
    fd_limit: gauge("os_fd_limit", "The file descriptor limit."),
});

/// Linux counts CPU time in hundredths of a second for user space, whatever the kernel's tick.
const TICKS_PER_SECOND: f64 = 100.0;
const PAGE_BYTES: f64 = 4096.0;

/// Reads the values anew; what cannot be read keeps its last value.
pub(super) fn refresh() {
    let process = &*PROCESS;
    if let Ok(stat) = std::fs::read_to_string("/proc/self/stat") {
        read_stat(process, &stat);
    }
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        let count = entries.count() as f64;
        process.open_fds.set(count);
        process.fd_used.set(count);
    }
    if let Ok(limits) = std::fs::read_to_string("/proc/self/limits") {
        if let Some(limit) = limit(&limits, "Max open files") {
            process.max_fds.set(limit);
            process.fd_limit.set(limit);
        }
        if let Some(limit) = limit(&limits, "Max address space") {
            process.virtual_max_bytes.set(limit);
        }
    }
    if let Ok(counted) = std::fs::read_to_string("/proc/self/net/netstat") {
        if let Some(bytes) = octets(&counted, "InOctets") {
            process.received_bytes.set(bytes);
        }
        if let Some(bytes) = octets(&counted, "OutOctets") {
            process.sent_bytes.set(bytes);
        }
    }
}

/// What the process holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) resident_bytes: u64,
    /// Of these what lies in no file: heap and stacks.
    pub(super) anonymous_bytes: u64,
    pub(super) threads: u64,
}

pub(super) fn memory() -> Memory {
    memory_of(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
}

fn memory_of(status: &str) -> Memory {
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let kilobytes = |name| number(name).unwrap_or(0).saturating_mul(1024);
    Memory {
        resident_bytes: kilobytes("VmRSS:"),
        anonymous_bytes: kilobytes("RssAnon:"),
        threads: number("Threads:").unwrap_or(0),
    }
}

fn read_stat(process: &Process, stat: &str) {
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
    let booted = std::fs::read_to_string("/proc/stat").ok().and_then(|stat| {
        stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<f64>().ok()
    });
    if let Some(booted) = booted {
        process.start_time.set(booted + field(22) / TICKS_PER_SECOND);
    }
}

/// The soft limit of a line of `/proc/self/limits`; none at all is the largest number.
fn limit(limits: &str, name: &str) -> Option<f64> {
    let value =
        limits.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?;
    if value == "unlimited" { Some(u64::MAX as f64) } else { value.parse().ok() }
}

/// A number of `/proc/self/net/netstat`: a line of names, then a line of values.
fn octets(counted: &str, name: &str) -> Option<f64> {
    let mut lines = counted.lines().filter_map(|line| line.strip_prefix("IpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|found| found == name)?;
    values.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Memory, limit, memory_of, octets};

    #[test]
    fn the_files_of_the_system_are_read() {
        let limits = "Max address space         unlimited            unlimited            bytes\n\
                      Max open files            1024                 4096                 files\n";
        assert_eq!(limit(limits, "Max open files"), Some(1024.0));
        assert_eq!(limit(limits, "Max address space"), Some(u64::MAX as f64));
        assert_eq!(limit(limits, "Max nothing"), None);
        let counted =
            "TcpExt: A B\nTcpExt: 1 2\nIpExt: InNoRoutes InOctets OutOctets\nIpExt: 0 17 4\n";
        assert_eq!(octets(counted, "InOctets"), Some(17.0));
        assert_eq!(octets(counted, "OutOctets"), Some(4.0));
        let status = "VmRSS:\t    7 kB\nRssAnon:\t    5 kB\nThreads:\t3\n";
        let memory = Memory { resident_bytes: 7168, anonymous_bytes: 5120, threads: 3 };
        assert_eq!(memory_of(status), memory);
        assert_eq!(memory_of(""), Memory::default());
    }
}
