//! What the kernel says of a server's process.

use std::fs;
use std::time::Duration;

use anyhow::Context;

/// A look at processes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Time on a processor since it began.
    pub(crate) cpu: Duration,
    /// Memory now.
    pub(crate) resident_bytes: u64,
    /// Memory at its peak.
    pub(crate) peak_bytes: u64,
}

impl Usage {
    /// Of some processes together; none of none.
    pub(crate) fn of_all(pids: &[i32]) -> anyhow::Result<Option<Usage>> {
        let mut total = None::<Usage>;
        for pid in pids {
            let one = Usage::of(*pid)?;
            let total = total.get_or_insert_default();
            total.cpu += one.cpu;
            total.resident_bytes += one.resident_bytes;
            total.peak_bytes += one.peak_bytes;
        }
        Ok(total)
    }

    /// Of a process and all those that it started.
    pub(crate) fn of(pid: i32) -> anyhow::Result<Usage> {
        let mut total = Usage::default();
        let mut pids = vec![pid];
        while let Some(pid) = pids.pop() {
            let one = Usage::of_one(pid)?;
            total.cpu += one.cpu;
            total.resident_bytes += one.resident_bytes;
            total.peak_bytes += one.peak_bytes;
            pids.extend(children(pid));
        }
        Ok(total)
    }

    /// Of a process by itself.
    pub(crate) fn of_one(pid: i32) -> anyhow::Result<Usage> {
        let stat = read(pid, "stat")?;
        let status = read(pid, "status")?;
        Ok(Usage {
            cpu: cpu(&stat).with_context(|| format!("/proc/{pid}/stat is strange"))?,
            resident_bytes: kilobytes(&status, "VmRSS:") * 1024,
            peak_bytes: kilobytes(&status, "VmHWM:") * 1024,
        })
    }
}

fn read(pid: i32, file: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).with_context(|| format!("read {path}"))
}

/// Time in user code and in the kernel, without children: those that have ended are nobody's
/// load any more.
fn cpu(stat: &str) -> Option<Duration> {
    // The program's name, in parentheses, may contain anything.
    let fields = stat.rsplit_once(')')?.1;
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).map(|field| field.parse().unwrap_or(0)).sum();
    let per_second = rustix::param::clock_ticks_per_second();
    Some(Duration::from_micros(ticks * 1_000_000 / per_second))
}

fn kilobytes(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Processes started by any thread of this one. None on a kernel that does not tell.
fn children(pid: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = threads.flatten().map(|thread| fs::read_to_string(thread.path().join("children")));
    lists
        .flatten()
        .flat_map(|list| {
            list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Usage, cpu, kilobytes};

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_confuse() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 3 1 20 0 9 0 5 1 2";
        let ticks = rustix::param::clock_ticks_per_second();
        assert_eq!(cpu(stat), Some(Duration::from_micros(200 * 1_000_000 / ticks)));
        assert_eq!(cpu("nothing"), None);
    }

    #[test]
    fn memory_is_found_by_its_key() {
        let status = "Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t1024 kB\n";
        assert_eq!((kilobytes(status, "VmHWM:"), kilobytes(status, "VmRSS:")), (2048, 1024));
        assert_eq!(kilobytes(status, "VmSwap:"), 0);
    }

    #[test]
    fn this_process_is_seen() {
        let pid = i32::try_from(std::process::id()).expect("fits");
        let usage = Usage::of(pid).expect("reads");
        assert!(usage.resident_bytes > 0 && usage.peak_bytes >= usage.resident_bytes);
        assert!(Usage::of(-1).is_err());
    }
}
