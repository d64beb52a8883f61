//! A watcher of all keys, and what it was told.

use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use mvcc::{EventKind, Hub, WatchContent, WatchCreate, WatchNext, WatchStream};

use crate::check::{Change, SeenEvent, decoded};
use crate::model::Model;
use crate::verdict::{Checked, Checker, ensure};

pub(crate) struct Watch {
    stream: WatchStream,
    start: i64,
    seen: Vec<SeenEvent>,
    /// Compaction took what it had not seen yet.
    cancelled: bool,
}

impl Watch {
    /// Watches from a revision on.
    pub(crate) fn open(hub: &Hub, start: i64) -> Checked<Self> {
        let mut stream = hub.open_stream();
        let create = WatchCreate {
            key: Bytes::from_static(b"\0"),
            range_end: Bytes::from_static(b"\0"),
            start_revision: start,
            ..WatchCreate::default()
        };
        let created = stream.create(create);
        ensure(created.is_ok(), Checker::Seen, || format!("no watcher from {start}: {created:?}"))?;
        Ok(Self { stream, start, seen: Vec::new(), cancelled: false })
    }

    /// Takes what there is; how many events.
    pub(crate) fn poll(&mut self) -> u64 {
        let mut taken = 0;
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(next) = self.stream.poll_next(&mut context) {
            let batch = match next {
                WatchNext::Batch(batch) => batch,
                WatchNext::Pause => continue,
                WatchNext::Over => break,
            };
            match batch.content {
                WatchContent::Events(events) => {
                    taken += events.len() as u64;
                    self.seen.extend(events.iter().map(|event| SeenEvent {
                        at: 0,
                        deleted: event.event.kind == EventKind::Delete,
                        kv: decoded(&event.event.kv),
                    }));
                }
                WatchContent::Progress => {}
                WatchContent::Compacted { .. } => {
                    self.cancelled = true;
                    break;
                }
            }
        }
        taken
    }

    /// What was seen must have happened. `all`: and the other way round.
    pub(crate) fn check(&self, model: &Model, all: bool) -> Checked {
        let changes = model.changes().iter().enumerate();
        let mut happened = changes.filter(|(_, change)| change.kv.mod_revision >= self.start);
        for seen in &self.seen {
            let change =
                happened.find(|(at, change)| same(change, seen) || !model.is_compacted_away(*at));
            let change = change.map(|(_, change)| change);
            ensure(change.is_some_and(|change| same(change, seen)), Checker::Seen, || {
                format!("watched {seen:?}, but there was {change:?}")
            })?;
        }
        let missed =
            happened.find(|(at, _)| all && !self.cancelled && !model.is_compacted_away(*at));
        ensure(missed.is_none(), Checker::Seen, || format!("not watched: {missed:?}"))
    }
}

fn same(change: &Change, seen: &SeenEvent) -> bool {
    change.deleted == seen.deleted && change.kv == seen.kv
}
