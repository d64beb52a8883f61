//! `--auto-compaction-mode` and `--auto-compaction-retention`.

use std::time::Duration;

use crate::options::number::GoDuration;

/// What automatic compaction keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AutoCompaction {
    /// There is none.
    Off,
    /// History of this time.
    Periodic(Duration),
    /// So many revisions.
    Revisions(i64),
}

impl AutoCompaction {
    /// Reads a count (of hours or revisions) or a duration. In the mode for revisions a duration
    /// is taken as its number of nanoseconds, as etcd takes it.
    pub(crate) fn parse(mode: &str, retention: &str) -> Result<AutoCompaction, String> {
        let retention = if retention.is_empty() { "0" } else { retention };
        let revisions = mode == "revision";
        let count = retention.parse::<i64>().ok().filter(|count| *count >= 0);
        let value = match count {
            Some(count) if revisions => count,
            // A multiplication in 64 bits, as in Go: a million years come out short there too.
            Some(hours) => hours.wrapping_mul(3_600_000_000_000),
            None => {
                GoDuration::parse(retention)
                    .map_err(|error| format!("error parsing CompactionRetention: {error}"))?
                    .0
            }
        };
        Ok(match u64::try_from(value) {
            Err(_) | Ok(0) => AutoCompaction::Off,
            Ok(_) if revisions => AutoCompaction::Revisions(value),
            Ok(nanoseconds) => AutoCompaction::Periodic(Duration::from_nanos(nanoseconds)),
        })
    }

    /// The value as etcd logs it, always as a duration.
    pub(crate) fn logged(self) -> GoDuration {
        match self {
            AutoCompaction::Off => GoDuration(0),
            AutoCompaction::Periodic(time) => GoDuration::from_std(time),
            AutoCompaction::Revisions(count) => GoDuration(count),
        }
    }

    /// The mode's name.
    pub(crate) fn mode(self) -> &'static str {
        match self {
            AutoCompaction::Revisions(_) => "revision",
            _ => "periodic",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::AutoCompaction;

    #[test]
    fn counts_are_hours_or_revisions_and_durations_are_durations() {
        let hour = Duration::from_secs(3600);
        let cases = [
            ("periodic", "0", AutoCompaction::Off),
            ("periodic", "", AutoCompaction::Off),
            ("periodic", "2", AutoCompaction::Periodic(2 * hour)),
            ("periodic", "30m", AutoCompaction::Periodic(hour / 2)),
            ("revision", "1000", AutoCompaction::Revisions(1000)),
            ("revision", "0", AutoCompaction::Off),
            ("revision", "1us", AutoCompaction::Revisions(1000)),
        ];
        for (mode, retention, expected) in cases {
            assert_eq!(AutoCompaction::parse(mode, retention), Ok(expected), "{mode} {retention}");
        }
        let error = AutoCompaction::parse("periodic", "x").expect_err("no duration");
        assert_eq!(error, "error parsing CompactionRetention: time: invalid duration \"x\"");
    }
}
