//! What a stream hands out: one response's worth for one watcher, with ready bytes inside.

use std::sync::Arc;

use bytes::Bytes;

use super::history::History;
use crate::{Event, Previous};

/// The events of one or more whole revisions, shared by all who pass them on.
pub(super) type EventList = Arc<[Event]>;

/// One response to one watcher.
#[derive(Debug, Clone)]
pub struct WatchBatch {
    /// Which watcher of the stream; -1 for progress of them all.
    pub watch_id: i64,
    /// The header's revision. 0 when the watcher is cancelled by compaction, as etcd has it.
    pub revision: i64,
    /// The watcher allows its responses to be split when they grow large.
    pub fragment: bool,
    /// What is said.
    pub content: WatchContent,
}

/// What a [`WatchBatch`] says.
#[derive(Debug, Clone)]
pub enum WatchContent {
    /// These happened. Never empty, never a part of a revision.
    Events(WatchEvents),
    /// Nothing up to the header's revision is missing.
    Progress,
    /// The watcher is cancelled, for what it needs is gone. Its id stays taken until the client
    /// cancels it too.
    Compacted {
        /// The oldest revision that can be watched.
        compact_revision: i64,
    },
}

/// Events of a batch, with the previous values that the watcher asked for.
#[derive(Debug, Clone)]
pub struct WatchEvents {
    first: Segment,
    rest: Vec<Segment>,
    previous: PreviousKvs,
}

/// One event, ready to be copied into a response.
#[derive(Debug, Clone, Copy)]
pub struct WatchEvent<'a> {
    /// What happened; `kv` in it is encoded.
    pub event: &'a Event,
    /// The encoded `mvccpb.KeyValue` of the key just before, if asked for, if any, if still known.
    pub prev_kv: Option<&'a Bytes>,
}

/// Events picked from a shared list.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    events: EventList,
    pick: Pick,
}

#[derive(Debug, Clone)]
enum Pick {
    All,
    Some(Box<[u32]>),
}

#[derive(Debug, Clone)]
enum PreviousKvs {
    Unwanted,
    /// Each event carries its own.
    AtHand,
    /// One for each event of the batch.
    Found(Box<[Option<Bytes>]>),
}

impl Segment {
    pub(super) fn all(events: EventList) -> Self {
        Self { events, pick: Pick::All }
    }

    /// The events at the places `picks`, which ascend and are not empty.
    pub(super) fn some(events: EventList, picks: &[u32]) -> Self {
        let pick =
            if picks.len() == events.len() { Pick::All } else { Pick::Some(Box::from(picks)) };
        Self { events, pick }
    }

    fn len(&self) -> usize {
        match &self.pick {
            Pick::All => self.events.len(),
            Pick::Some(picks) => picks.len(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Event> {
        (0..self.len()).map(|at| match &self.pick {
            Pick::All => &self.events[at],
            Pick::Some(picks) => &self.events[picks[at] as usize],
        })
    }
}

impl WatchEvents {
    pub(super) fn new(first: Segment, rest: Vec<Segment>) -> Self {
        Self { first, rest, previous: PreviousKvs::Unwanted }
    }

    /// Finds the previous values. As in etcd, a value that compaction may have taken is left out,
    /// also when it happens to be at hand: all members then say the same.
    pub(super) fn find_previous(&mut self, history: &dyn History) {
        let compacted = history.compact_revision();
        let known = |event: &Event| event.revision.main > compacted;
        let at_hand = self.list().all(|event| match event.previous {
            Previous::None => true,
            Previous::Encoded(_) => known(event),
            Previous::InHistory => false,
        });
        if at_hand {
            self.previous = PreviousKvs::AtHand;
            return;
        }
        let find = |event: &Event| match &event.previous {
            Previous::None => None,
            _ if !known(event) => None,
            Previous::Encoded(kv) => Some(kv.clone()),
            Previous::InHistory => history.previous(&event.key, event.revision.main - 1),
        };
        self.previous = PreviousKvs::Found(self.list().map(find).collect());
    }

    /// How many.
    #[expect(clippy::len_without_is_empty, reason = "a batch has at least one event")]
    pub fn len(&self) -> usize {
        self.first.len() + self.rest.iter().map(Segment::len).sum::<usize>()
    }

    /// Each event in order.
    pub fn iter(&self) -> impl Iterator<Item = WatchEvent<'_>> {
        self.list().enumerate().map(|(at, event)| {
            let prev_kv = match (&self.previous, &event.previous) {
                (PreviousKvs::AtHand, Previous::Encoded(kv)) => Some(kv),
                (PreviousKvs::Found(found), _) => found[at].as_ref(),
                _ => None,
            };
            WatchEvent { event, prev_kv }
        })
    }

    fn list(&self) -> impl Iterator<Item = &Event> {
        self.first.iter().chain(self.rest.iter().flat_map(Segment::iter))
    }
}
