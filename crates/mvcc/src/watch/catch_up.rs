//! How those who are behind come back: the stream's task reads for them, from the ring or from
//! history, and joins them to the synced group in the very moment in which nothing is left.

use std::sync::Arc;

use super::batch::{EventList, Segment, WatchContent, WatchEvents};
use super::index::Index;
use super::past::Piece;
use super::registry::Synced;
use super::stream::{Group, Ready};
use super::{HistoryError, WatchStream};
use crate::Event;

/// How many revisions are copied from the ring in one hold of the registry.
const RING_READ: usize = 256;
/// How many watchers join in one hold of the registry.
const JOINS: usize = 64;
/// Up to so many events are compared with each watcher; above, an index is worth its making.
const FEW_EVENTS: usize = 8;

/// What a step of catching up came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Forward,
    /// History does not show yet what is published.
    Stalled,
}

/// A watcher that catches up.
struct Behind {
    watch_id: i64,
    next: i64,
    /// What is read for it goes up to here.
    until: i64,
}

/// A read of the ring for several watchers, in short holds of the registry.
struct RingRead {
    lists: Vec<EventList>,
    /// How far it has come.
    covered: i64,
    /// What was published at the last hold.
    published: i64,
    /// How many of the watchers are synced again.
    joined: usize,
}

impl WatchStream {
    /// One step for those who are behind: for all that the ring can serve, and for one of those
    /// who need history, with everybody else whom the same piece of it helps. What they are to
    /// see is put in `ready`.
    pub(super) fn catch_up(&mut self) -> Result<Step, HistoryError> {
        self.refresh_history();
        let mut behind = self.all_behind();
        self.cancel_overtaken(&mut behind);
        let ring_first = self.hub.registry().ring_first();
        let (mut near, mut far): (Vec<_>, Vec<_>) =
            behind.into_iter().partition(|watcher| watcher.next >= ring_first);
        if !near.is_empty() {
            let (lists, published) = self.read_ring(&mut near);
            self.hand_out(&near, &lists, published);
        }
        let Some(from) = self.choose_far(&far) else { return Ok(Step::Forward) };
        let (piece, published) = match self.read_history(from) {
            Err(HistoryError::Compacted) if self.history.compact_revision() > from => {
                return Ok(Step::Forward);
            }
            read => read?,
        };
        if piece.covered < from {
            return Ok(Step::Stalled);
        }
        // Compaction that began during the read may have taken some of it.
        self.cancel_overtaken(&mut far);
        far.retain(|watcher| watcher.next >= piece.first);
        far.iter_mut().for_each(|watcher| watcher.until = piece.covered);
        self.hand_out(&far, &[piece.events], published);
        Ok(Step::Forward)
    }

    /// From where to read history: those who need it take turns, so that one who begins long ago
    /// does not hold up the others.
    fn choose_far(&mut self, far: &[Behind]) -> Option<i64> {
        let turn = far.iter().find(|watcher| watcher.watch_id > self.last_far).or(far.first())?;
        self.last_far = turn.watch_id;
        Some(turn.next)
    }

    fn all_behind(&self) -> Vec<Behind> {
        let behind = |watch_id: &i64| match self.watchers.get(watch_id)?.group {
            Group::Unsynced { next } => Some(Behind { watch_id: *watch_id, next, until: next - 1 }),
            _ => None,
        };
        self.unsynced.iter().filter_map(behind).collect()
    }

    fn cancel_overtaken(&mut self, behind: &mut Vec<Behind>) {
        let compact_revision = self.history.compact_revision();
        behind.retain(|Behind { watch_id, next, .. }| {
            let Some(watcher) = self.watchers.get_mut(watch_id) else { return false };
            if *next >= compact_revision {
                return true;
            }
            watcher.group = Group::Compacted;
            let content = WatchContent::Compacted { compact_revision };
            let (watch_id, serial) = (*watch_id, watcher.serial);
            self.ready.push_back(Ready { watch_id, serial, revision: 0, content });
            self.unsynced.remove(&watch_id);
            self.hub.counters.unsynced.sub(1);
            false
        });
    }

    /// Reads from the ring for those whom it can serve. Returns what was read, and what was
    /// published then.
    fn read_ring(&mut self, near: &mut [Behind]) -> (Vec<EventList>, i64) {
        let covered = near.iter().map(|watcher| watcher.next - 1).min().unwrap_or(0);
        let mut read = RingRead { lists: Vec::new(), covered, published: 0, joined: 0 };
        while read.joined < near.len() && self.hold_ring(near, &mut read) {}
        near.iter_mut().skip(read.joined).for_each(|watcher| watcher.until = read.covered);
        (read.lists, read.published)
    }

    /// One hold of the registry. When it leaves nothing unread, some join the synced group before
    /// anything can be published in between; the others go on reading. False: that is for
    /// another step, as this one has read enough, or as the ring has moved on.
    fn hold_ring(&mut self, near: &mut [Behind], read: &mut RingRead) -> bool {
        let room = self.hub.options.batch_revisions.max(1) - read.lists.len();
        let mut registry = self.hub.registry();
        let published = registry.published;
        read.published = published;
        if read.covered < published {
            if room == 0 || registry.ring_first() > read.covered + 1 {
                return false;
            }
            let limit = RING_READ.min(room);
            read.covered = registry.ring.read(read.covered + 1, limit, &mut read.lists) - 1;
        }
        if read.covered < published {
            return true;
        }
        for Behind { watch_id, next, until } in near.iter_mut().skip(read.joined).take(JOINS) {
            read.joined += 1;
            let Some(watcher) = self.watchers.get_mut(watch_id) else { continue };
            let slot = registry.join(Synced {
                watch_id: *watch_id,
                serial: watcher.serial,
                range: watcher.range.clone(),
                filters: watcher.filters,
                min_revision: (*next).max(published + 1),
                inbox: Arc::clone(&self.inbox),
            });
            *until = read.covered;
            watcher.group = Group::Synced { slot };
            self.unsynced.remove(watch_id);
            self.hub.counters.unsynced.sub(1);
        }
        true
    }

    /// Reads history from `from` on, or finds that somebody else just did. Returns also what was
    /// published then.
    fn read_history(&mut self, from: i64) -> Result<(Piece, i64), HistoryError> {
        let published = self.hub.registry().published;
        if let Some(piece) = self.hub.recent_reads.find(self.restores, from) {
            return Ok((piece, published));
        }
        let end = self.history.current_revision().min(published);
        if end < from {
            return Ok((Piece { first: from, covered: end, events: Arc::default() }, published));
        }
        let limit = self.history_limit;
        let mut events = self.history.history(from, limit)?;
        events.truncate(events.partition_point(|event| event.revision.main <= end));
        let mut revisions = 0;
        let mut last = from - 1;
        for event in &events {
            if event.revision.main > last {
                revisions += 1;
                last = event.revision.main;
            }
        }
        self.adapt_limit(revisions, &events);
        let covered = if revisions < limit { end } else { last };
        let piece = Piece { first: from, covered, events: Arc::from(events) };
        self.hub.recent_reads.keep(self.restores, piece.clone());
        Ok((piece, published))
    }

    /// Large revisions are read few at a time, so that memory stays bounded.
    fn adapt_limit(&mut self, revisions: usize, events: &[Event]) {
        let options = &self.hub.options;
        let average = super::ring::weight(events) / revisions.max(1);
        let fitting = options.batch_bytes / average.max(1);
        let growth = self.history_limit.saturating_mul(4);
        self.history_limit = fitting.min(growth).clamp(1, options.batch_revisions.max(1));
    }

    /// Gives each of `behind` its part of `lists`, and moves it on.
    fn hand_out(&mut self, behind: &[Behind], lists: &[EventList], published: i64) {
        let segments = self.sort(behind, lists);
        for (Behind { watch_id, next, until }, segments) in behind.iter().zip(segments) {
            let Some(watcher) = self.watchers.get_mut(watch_id) else { continue };
            if matches!(watcher.group, Group::Unsynced { .. }) {
                watcher.group = Group::Unsynced { next: (*next).max(*until + 1) };
            }
            let mut segments = segments.into_iter();
            let Some(first) = segments.next() else { continue };
            let content = WatchContent::Events(WatchEvents::new(first, segments.collect()));
            let (watch_id, serial) = (*watch_id, watcher.serial);
            self.ready.push_back(Ready { watch_id, serial, revision: published, content });
        }
    }

    /// For each of `behind` the events that concern it.
    fn sort(&self, behind: &[Behind], lists: &[EventList]) -> Vec<Vec<Segment>> {
        let mut sorter = Sorter {
            picks: behind.iter().map(|_| Vec::new()).collect(),
            touched: Vec::new(),
            segments: behind.iter().map(|_| Vec::new()).collect(),
        };
        let watchers: Vec<_> =
            behind.iter().filter_map(|behind| self.watchers.get(&behind.watch_id)).collect();
        assert_eq!(watchers.len(), behind.len(), "those who are behind are watchers");
        let wants = |at: usize, event: &Event| {
            let Behind { next, until, .. } = behind[at];
            (next..=until).contains(&event.revision.main) && watchers[at].filters.pass(event.kind)
        };
        let events: usize = lists.iter().map(|list| list.len()).sum();
        let index = (events > FEW_EVENTS && behind.len() > 1).then(|| {
            let mut index = Index::default();
            for (at, watcher) in watchers.iter().enumerate() {
                index.insert(&watcher.range, super::interval::place(at));
            }
            index
        });
        for list in lists {
            for (place, event) in list.iter().enumerate() {
                let place = super::interval::place(place);
                if let Some(index) = &index {
                    index.visit(&event.key, |at| {
                        if wants(at as usize, event) {
                            sorter.pick(at as usize, place);
                        }
                    });
                    continue;
                }
                for (at, watcher) in watchers.iter().enumerate() {
                    if wants(at, event) && watcher.range.contains(&event.key) {
                        sorter.pick(at, place);
                    }
                }
            }
            sorter.end_list(list);
        }
        sorter.segments
    }
}

/// Gathers picks, list by list.
struct Sorter {
    /// For each watcher its places in the present list.
    picks: Vec<Vec<u32>>,
    /// Those that have some.
    touched: Vec<usize>,
    segments: Vec<Vec<Segment>>,
}

impl Sorter {
    fn pick(&mut self, at: usize, place: u32) {
        if self.picks[at].is_empty() {
            self.touched.push(at);
        }
        self.picks[at].push(place);
    }

    fn end_list(&mut self, list: &EventList) {
        for at in self.touched.drain(..) {
            self.segments[at].push(Segment::some(Arc::clone(list), &self.picks[at]));
            self.picks[at].clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use bytes::Bytes;

    use super::*;
    use crate::watch::{History, Hub, WatchCreate, WatchNext, WatchOptions};
    use crate::{EventKind, Previous, Revision};

    /// All is in the ring, or lost.
    struct NoHistory;

    impl History for NoHistory {
        fn current_revision(&self) -> i64 {
            1
        }

        fn compact_revision(&self) -> i64 {
            -1
        }

        fn history(&self, _: i64, _: usize) -> Result<Vec<Event>, HistoryError> {
            Err(HistoryError::Unreadable("there is none".to_owned()))
        }

        fn previous(&self, _: &[u8], _: i64) -> Option<Bytes> {
            None
        }
    }

    const CROWD: usize = 3 * JOINS + 1;

    fn publish(hub: &Hub) -> i64 {
        let main = hub.revision() + 1;
        let event = Event {
            kind: EventKind::Put,
            revision: Revision::new(main, 0),
            key: Bytes::from_static(b"a"),
            kv: Bytes::new(),
            previous: Previous::None,
        };
        hub.publish(main, Arc::from([event]));
        main
    }

    /// A stream with more watchers than join in one hold, all of which start at revision 2.
    fn crowd(hub: &Hub) -> WatchStream {
        publish(hub);
        let mut stream = hub.open_stream();
        for _ in 0..CROWD {
            let key = Bytes::from_static(b"a");
            stream
                .create(WatchCreate { key, start_revision: 2, ..WatchCreate::default() })
                .expect("a watcher");
        }
        stream
    }

    fn revisions(stream: &mut WatchStream) -> Vec<Vec<i64>> {
        let mut heard = vec![Vec::new(); CROWD];
        while let Poll::Ready(WatchNext::Batch(batch)) =
            stream.poll_next(&mut Context::from_waker(Waker::noop()))
        {
            let WatchContent::Events(events) = batch.content else { continue };
            let of_one = &mut heard[usize::try_from(batch.watch_id).expect("not negative")];
            of_one.extend(events.iter().map(|one| one.event.revision.main));
        }
        heard
    }

    #[test]
    fn what_is_published_between_two_holds_reaches_everybody_once() {
        let hub = Hub::new(Arc::new(NoHistory), WatchOptions::default());
        let mut stream = crowd(&hub);
        let mut near = stream.all_behind();
        let mut read = RingRead { lists: Vec::new(), covered: 1, published: 0, joined: 0 };
        while read.joined < near.len() {
            assert!(stream.hold_ring(&mut near, &mut read));
            publish(&hub);
        }
        assert_eq!(read.joined, CROWD);
        stream.hand_out(&near, &read.lists, read.published);
        let all: Vec<i64> = (2..=hub.revision()).collect();
        assert_eq!(all.len(), 5);
        assert_eq!(revisions(&mut stream), vec![all; CROWD]);
    }

    #[test]
    fn those_whom_the_ring_outruns_between_two_holds_stay_behind() {
        let options = WatchOptions { ring_revisions: 2, ..WatchOptions::default() };
        let hub = Hub::new(Arc::new(NoHistory), options);
        let mut stream = crowd(&hub);
        let mut near = stream.all_behind();
        let mut read = RingRead { lists: Vec::new(), covered: 1, published: 0, joined: 0 };
        assert!(stream.hold_ring(&mut near, &mut read));
        for _ in 0..5 {
            publish(&hub);
        }
        assert!(!stream.hold_ring(&mut near, &mut read), "revisions are missing in the ring");
        assert_eq!((read.joined, read.covered), (JOINS, 2));
        near.iter_mut().skip(JOINS).for_each(|watcher| watcher.until = read.covered);
        stream.hand_out(&near, &read.lists, read.published);
        let behind = stream.all_behind();
        assert_eq!(behind.len(), CROWD - JOINS);
        assert!(behind.iter().all(|watcher| watcher.next == 3));
        assert_eq!(stream.ready.len(), CROWD, "each got revision 2");
    }
}
