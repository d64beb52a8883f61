//! The recent past, shared by all who fell a little behind.

use std::collections::VecDeque;
use std::sync::Arc;

use super::batch::EventList;
use crate::{Event, Previous};

/// The events of the latest revisions, without a gap, bounded by number and by bytes.
#[derive(Debug)]
pub(super) struct Ring {
    entries: VecDeque<(EventList, usize)>,
    /// The revision of the first entry, when there is one.
    first: i64,
    bytes: usize,
    max_revisions: usize,
    max_bytes: usize,
}

impl Ring {
    pub(super) fn new(max_revisions: usize, max_bytes: usize) -> Self {
        Self { entries: VecDeque::new(), first: 0, bytes: 0, max_revisions, max_bytes }
    }

    /// Adds the next revision. The newest one always stays, however large it is.
    pub(super) fn push(&mut self, revision: i64, events: EventList, size: usize) {
        if self.entries.is_empty() {
            self.first = revision;
        }
        self.bytes += size;
        self.entries.push_back((events, size));
        while self.entries.len() > 1
            && (self.entries.len() > self.max_revisions || self.bytes > self.max_bytes)
        {
            if let Some((_, size)) = self.entries.pop_front() {
                self.bytes -= size;
                self.first += 1;
            }
        }
    }

    /// From here on everything is present.
    pub(super) fn first(&self) -> Option<i64> {
        (!self.entries.is_empty()).then_some(self.first)
    }

    /// Appends the events of up to `limit` revisions from `revision` on to `out`; returns the
    /// first revision that is not among them.
    pub(super) fn read(&self, revision: i64, limit: usize, out: &mut Vec<EventList>) -> i64 {
        let skip = usize::try_from(revision - self.first).unwrap_or(0).min(self.entries.len());
        let take = limit.min(self.entries.len() - skip);
        out.extend(self.entries.range(skip..skip + take).map(|(events, _)| Arc::clone(events)));
        self.first + i64::try_from(skip + take).unwrap_or(i64::MAX)
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }
}

/// What events hold in memory, roughly.
pub(super) fn weight(events: &[Event]) -> usize {
    events
        .iter()
        .map(|event| {
            let previous = match &event.previous {
                Previous::Encoded(kv) => kv.len(),
                Previous::None | Previous::InHistory => 0,
            };
            std::mem::size_of::<Event>() + event.key.len() + event.kv.len() + previous
        })
        .sum()
}
