//! Says in plain words where the time of a slow request went.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::drive::Way;
use crate::tally::Kind;

/// From when on a request is slow; nothing is told until that is set.
#[derive(Debug, Default)]
pub(crate) struct Slow {
    longer_than_micros: AtomicU64,
}

/// A part of a request's way, and how long it took.
type Part = (&'static str, Duration);

impl Slow {
    pub(crate) fn set(&self, longer_than: Duration) {
        let micros = u64::try_from(longer_than.as_micros()).unwrap_or(u64::MAX);
        self.longer_than_micros.store(micros, Ordering::Relaxed);
    }

    pub(crate) fn limit(&self) -> Option<Duration> {
        let micros = self.longer_than_micros.load(Ordering::Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros))
    }

    fn is_slow(&self, took: Duration) -> bool {
        self.limit().is_some_and(|limit| took > limit)
    }

    /// A request has come through the log.
    pub(crate) fn wrote(&self, kind: Kind, begun: Duration, took: Duration, way: &Way) {
        if self.is_slow(took) {
            tell(kind, took, &parts(begun, took, way));
        }
    }

    /// Something was read, after the leader was confirmed, where that was asked for.
    pub(crate) fn read(&self, kind: Kind, took: Duration, confirmed: Duration) {
        if self.is_slow(took) {
            let read = took.saturating_sub(confirmed);
            tell(kind, took, &[("confirming the leader", confirmed), ("reading", read)]);
        }
    }
}

fn parts(begun: Duration, took: Duration, way: &Way) -> [Part; 5] {
    let until = Duration::saturating_sub;
    let committed = way.committed.max(way.proposed);
    // What is committed before it is durable here was waited for from the others alone.
    let durable = way.durable.unwrap_or(way.proposed).clamp(way.proposed, committed);
    [
        ("waiting in the queue", until(way.proposed, begun)),
        ("syncing the log (fsync)", until(durable, way.proposed)),
        ("replication to the other members and their answers", until(committed, durable)),
        ("applying", until(way.applied, committed)),
        ("handing the answer over", until(begun + took, way.applied)),
    ]
}

/// All parts, and the one that took longest.
fn tell(kind: Kind, took: Duration, parts: &[Part]) {
    let longest = parts.iter().max_by_key(|(_, took)| *took).map_or("", |(what, _)| what);
    let all: Vec<_> = parts.iter().map(|(what, took)| format!("{what}: {took:?}")).collect();
    tracing::warn!(
        kind = ?kind,
        took = ?took,
        mostly = longest,
        "where-the-time-went" = all.join(", "),
        "a request took long"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn the_parts_of_a_way_are_the_whole() {
        let way =
            Way { proposed: ms(12), durable: Some(ms(50)), committed: ms(70), applied: ms(71) };
        let times = parts(ms(10), ms(64), &way).map(|(_, took)| took);
        assert_eq!(times, [ms(2), ms(38), ms(20), ms(1), ms(3)]);
        // Durable only after the others had committed it.
        let late = Way { durable: None, ..way };
        let times = parts(ms(10), ms(64), &late).map(|(_, took)| took);
        assert_eq!(times, [ms(2), ms(0), ms(58), ms(1), ms(3)]);
    }

    #[test]
    fn nothing_is_slow_until_somebody_says_what_is() {
        let slow = Slow::default();
        assert!(!slow.is_slow(ms(10_000)));
        slow.set(ms(5));
        assert!(slow.is_slow(ms(6)) && !slow.is_slow(ms(5)));
    }
}
