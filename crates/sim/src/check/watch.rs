//! What watchers saw, against what happened.

use proto::mvccpb::Event;
use proto::mvccpb::event::EventType;

use super::keys::Change;
use super::{Broken, Moment, Replay, Rule, ensure};

/// What came to a watcher, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum WatchRecord {
    /// It begins, or begins again.
    Created {
        /// Where, 0 for behind `revision`.
        start_revision: i64,
        /// The store's revision as it was told.
        revision: i64,
    },
    /// Events.
    Events {
        /// When they were there.
        at: Moment,
        /// The store's revision as it was told.
        revision: i64,
        /// The events.
        events: Vec<Event>,
        /// More of the same follows.
        fragment: bool,
    },
    /// It has heard of everything up to here.
    Progress {
        /// When that was there.
        at: Moment,
        /// Up to where.
        revision: i64,
    },
    /// What it needs is compacted away.
    Compacted {
        /// The oldest revision that still is there.
        compact_revision: i64,
    },
}

/// One watcher, over all connections that it needed.
#[derive(Debug, Clone, Default)]
pub struct Watcher {
    /// What it watches, as in a range.
    pub key: Vec<u8>,
    /// What it watches, as in a range.
    pub range_end: Vec<u8>,
    /// It wants the pairs before.
    pub prev_kv: bool,
    /// It does not want to hear of puts.
    pub no_put: bool,
    /// It does not want to hear of deletions.
    pub no_delete: bool,
    /// What came.
    pub records: Vec<WatchRecord>,
}

/// Checks a watcher. With `until` it must have heard of everything up to that revision.
pub fn check_watch(watcher: &Watcher, replay: &Replay, until: Option<i64>) -> Result<(), Broken> {
    let wanted = replay.changes.iter().filter(|change| watcher.wants(change)).collect();
    let mut reading =
        Reading { watcher, replay, wanted, next: None, needs: 0, fragment: false, over: false };
    for record in &watcher.records {
        reading.take(record)?;
    }
    let missed = reading.upcoming().map(|change| &change.kv);
    let late = until.is_some_and(|until| {
        !reading.over && missed.is_some_and(|missed| missed.mod_revision <= until)
    });
    ensure(!late, Rule::WatchComplete, || format!("not watched until {until:?}: {missed:?}"))
}

impl Watcher {
    fn wants(&self, change: &Change) -> bool {
        let key = change.kv.key.as_ref();
        let inside = match &self.range_end[..] {
            [] => key == self.key,
            [0] => key >= &self.key[..],
            end => key >= &self.key[..] && key < end,
        };
        inside && !(if change.deleted { self.no_delete } else { self.no_put })
    }
}

struct Reading<'a> {
    watcher: &'a Watcher,
    replay: &'a Replay,
    wanted: Vec<&'a Change>,
    /// Which of them is to come next; `None` before the beginning.
    next: Option<usize>,
    /// The revision from which on it has not heard of anything.
    needs: i64,
    fragment: bool,
    over: bool,
}

impl<'a> Reading<'a> {
    fn upcoming(&self) -> Option<&'a Change> {
        self.wanted.get(self.next?).copied()
    }

    fn take(&mut self, record: &WatchRecord) -> Result<(), Broken> {
        match record {
            WatchRecord::Created { start_revision, revision } => {
                let start = match start_revision {
                    0 => revision + 1,
                    start => *start,
                };
                let start = start.max(self.replay.first_revision + 1);
                let before = |change: &&Change| change.kv.mod_revision < start;
                self.next = Some(self.wanted.partition_point(before));
                (self.needs, self.fragment, self.over) = (start, false, false);
                Ok(())
            }
            WatchRecord::Events { at, revision, events, fragment } => {
                for event in events {
                    self.take_event(*at, *revision, event)?;
                }
                self.fragment = *fragment;
                self.check_whole()
            }
            WatchRecord::Progress { at, revision } => {
                self.not_ahead(*at, *revision)?;
                let missed = self.upcoming().map(|change| &change.kv);
                let missed = missed.filter(|missed| missed.mod_revision <= *revision);
                ensure(missed.is_none(), Rule::WatchProgress, || {
                    format!("progress to {revision}, but {missed:?} has not come")
                })?;
                self.needs = self.needs.max(revision + 1);
                Ok(())
            }
            WatchRecord::Compacted { compact_revision } => {
                self.over = true;
                let real = *compact_revision <= self.replay.compacted;
                ensure(real && self.needs < *compact_revision, Rule::WatchCompacted, || {
                    let newest = self.replay.compacted;
                    let needs = self.needs;
                    format!("compacted to {compact_revision} (newest: {newest}), needs {needs}")
                })
            }
        }
    }

    fn take_event(&mut self, at: Moment, revision: i64, event: &Event) -> Result<(), Broken> {
        let expected = self.upcoming();
        let kv = event.kv.clone().unwrap_or_default();
        let deleted = event.r#type == EventType::Delete as i32;
        let same = |change: &Change| change.deleted == deleted && change.kv == kv;
        ensure(!self.over && expected.is_some_and(same), Rule::WatchEvents, || {
            format!("watched {event:?}, but next is {expected:?}")
        })?;
        self.not_ahead(at, kv.mod_revision)?;
        ensure(revision >= kv.mod_revision, Rule::WatchAhead, || {
            format!("{event:?} came when the revision was {revision}")
        })?;
        // The pair before is looked up when the event is sent, and may have been compacted away.
        let before = expected.and_then(|change| change.prev_kv.as_ref());
        let gone = event.prev_kv.is_none()
            && (!self.watcher.prev_kv || kv.mod_revision <= self.replay.compacted);
        ensure(gone || event.prev_kv.as_ref() == before, Rule::WatchEvents, || {
            format!("watched {event:?}, but before it there was {before:?}")
        })?;
        self.next = self.next.map(|next| next + 1);
        self.needs = kv.mod_revision + 1;
        Ok(())
    }

    fn not_ahead(&self, at: Moment, revision: i64) -> Result<(), Broken> {
        let called = self.replay.called.get(&revision);
        let known = revision <= self.replay.revision;
        ensure(known && called.is_none_or(|called| *called <= at), Rule::WatchAhead, || {
            format!("revision {revision} came at {at}, asked for at {called:?}")
        })
    }

    /// A revision comes as a whole.
    fn check_whole(&self) -> Result<(), Broken> {
        let torn = self.upcoming().filter(|change| change.kv.mod_revision < self.needs);
        ensure(self.fragment || torn.is_none(), Rule::WatchAtomic, || {
            format!("{torn:?} did not come with the rest of its revision")
        })
    }
}

#[cfg(test)]
mod tests;
