//! Watchers that go from member to member and note what they are told.

use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use env::Random;
use mvcc::{EventKind, WatchContent, WatchCreate, WatchNext, WatchStream};
use proto::mvccpb::Event;
use proto::mvccpb::event::EventType;
use state::Views;

use super::plan::ClusterBug;
use super::timeline::HostAt;
use crate::check::{Moment, SeenEvent, WatchRecord, Watcher, decoded};
use crate::verdict::{Checked, Checker};

pub(super) struct ClusterWatch {
    pub(super) watcher: Watcher,
    /// On which host it is, and in which life of it.
    pub(super) at: Option<(HostAt, u64)>,
    stream: Option<WatchStream>,
    /// Where to go on.
    next: i64,
    pub(super) events: u64,
    pub(super) resumed: u64,
}

impl ClusterWatch {
    pub(super) fn new(random: &mut Random) -> Self {
        let all = random.chance(1, 2);
        let (key, range_end): (&[u8], &[u8]) = if all { (b"k", b"l") } else { (b"k2", b"k5") };
        let watcher = Watcher {
            key: key.to_vec(),
            range_end: range_end.to_vec(),
            prev_kv: random.chance(1, 3),
            no_put: false,
            no_delete: random.chance(1, 8),
            records: Vec::new(),
        };
        Self { watcher, at: None, stream: None, next: 1, events: 0, resumed: 0 }
    }

    /// Begins, or goes on, at a member.
    pub(super) fn connect(&mut self, host: HostAt, life: u64, views: &Views) -> Checked {
        let mut stream = views.hub.open_stream();
        // What was compacted away by now is lost; a client would read everything anew.
        let start = self.next.max(views.reader.compact_revision());
        let create = WatchCreate {
            key: Bytes::from(self.watcher.key.clone()),
            range_end: Bytes::from(self.watcher.range_end.clone()),
            start_revision: start,
            prev_kv: self.watcher.prev_kv,
            filters: mvcc::WatchFilters {
                no_put: self.watcher.no_put,
                no_delete: self.watcher.no_delete,
            },
            ..WatchCreate::default()
        };
        let created = stream.create(create);
        let Ok(created) = created else {
            let what = format!("no watcher from {start}: {created:?}");
            return Err((Checker::Watch, what));
        };
        self.watcher
            .records
            .push(WatchRecord::Created { start_revision: start, revision: created.revision });
        self.next = start;
        self.resumed += u64::from(self.at.is_some());
        (self.at, self.stream) = (Some((host, life)), Some(stream));
        Ok(())
    }

    /// The connection is gone.
    pub(super) fn disconnect(&mut self) {
        self.stream = None;
    }

    pub(super) fn is_connected(&self) -> bool {
        self.stream.is_some()
    }

    /// Takes what there is.
    pub(super) fn poll(&mut self, at: Moment, bug: Option<ClusterBug>) -> Checked {
        let mut context = Context::from_waker(Waker::noop());
        while let Some(stream) = &mut self.stream
            && let Poll::Ready(next) = stream.poll_next(&mut context)
        {
            let batch = match next {
                WatchNext::Batch(batch) => batch,
                WatchNext::Pause => continue,
                WatchNext::Over => {
                    self.stream = None;
                    break;
                }
            };
            let revision = batch.revision;
            match batch.content {
                WatchContent::Events(events) => {
                    let mut events: Vec<Event> = events.iter().map(event).collect();
                    let newest = events.last().and_then(|event| event.kv.as_ref());
                    self.next = newest.map_or(self.next, |newest| newest.mod_revision + 1);
                    self.events += events.len() as u64;
                    if bug == Some(ClusterBug::DroppedEvent) && self.events > 20 {
                        events.pop();
                    }
                    if bug == Some(ClusterBug::DoubledEvent) {
                        events.extend(events.last().cloned());
                    }
                    let fragment = false;
                    self.watcher.records.push(WatchRecord::Events {
                        at,
                        revision,
                        events,
                        fragment,
                    });
                }
                WatchContent::Progress => {
                    self.watcher.records.push(WatchRecord::Progress { at, revision });
                }
                WatchContent::Compacted { compact_revision } => {
                    self.watcher.records.push(WatchRecord::Compacted { compact_revision });
                    self.next = self.next.max(compact_revision);
                    self.stream = None;
                }
            }
        }
        Ok(())
    }

    /// All that it has seen, for who wants to know which of the unanswered were done.
    pub(super) fn seen(&self) -> impl Iterator<Item = SeenEvent> {
        let events = self.watcher.records.iter().flat_map(|record| match record {
            WatchRecord::Events { at, events, .. } => {
                events.iter().map(|event| (*at, event)).collect()
            }
            _ => Vec::new(),
        });
        events.map(|(at, event)| SeenEvent {
            at,
            deleted: event.r#type == EventType::Delete as i32,
            kv: event.kv.clone().unwrap_or_default(),
        })
    }
}

fn event(event: mvcc::WatchEvent<'_>) -> Event {
    let kind = match event.event.kind {
        EventKind::Put => EventType::Put,
        EventKind::Delete => EventType::Delete,
    };
    Event {
        r#type: kind as i32,
        kv: Some(decoded(&event.event.kv)),
        prev_kv: event.prev_kv.map(decoded),
    }
}
