//! The streams that are open, by number and by slot.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

/// Names a stream. Slots are used again, so that a caller may hold what belongs to a stream in a
/// list; the number tells whether it still is the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamKey {
    pub(crate) id: u32,
    pub(crate) slot: u32,
}

impl StreamKey {
    /// Its number in the protocol.
    pub fn id(self) -> u32 {
        self.id
    }

    /// A small number that no other open stream of the connection has.
    pub fn slot(self) -> usize {
        self.slot as usize
    }
}

/// What comes after the data that is queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Nothing yet.
    Open,
    /// The end, said by the last data frame.
    Data,
    /// A header block.
    Trailers(Bytes),
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: u32,
    /// What the peer may still send.
    pub(crate) receive_window: i64,
    /// What was taken in and not yet given back to the peer's window.
    pub(crate) unreturned: i64,
    /// The peer has said all.
    pub(crate) received_all: bool,
    /// What is left of the body that its head has announced.
    pub(crate) announced: Option<u64>,
    /// What may still be sent. Negative after the peer has made it smaller.
    pub(crate) send_window: i64,
    pub(crate) head_sent: bool,
    pub(crate) ending: Ending,
    /// Our half is done.
    pub(crate) sent_all: bool,
    /// Data that waits for a window.
    pub(crate) queue: VecDeque<Bytes>,
    pub(crate) queued: usize,
    /// Somebody wants to hear when the queue is short again.
    pub(crate) wants_room: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Streams {
    slots: Vec<Option<Stream>>,
    /// Whose slot stands in the line of those that may send. A slot stays there when its stream
    /// goes, so that the line is no longer than the slots.
    in_line: Vec<bool>,
    free: Vec<u32>,
    by_id: BTreeMap<u32, u32>,
}

impl Streams {
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn insert(&mut self, stream: Stream) -> StreamKey {
        let id = stream.id;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.in_line.push(false);
            // Ids have 31 bits and only half of them are a client's.
            (self.slots.len() - 1) as u32
        });
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = Some(stream);
        }
        self.by_id.insert(id, slot);
        StreamKey { id, slot }
    }

    pub(crate) fn find(&self, id: u32) -> Option<StreamKey> {
        self.by_id.get(&id).map(|slot| StreamKey { id, slot: *slot })
    }

    pub(crate) fn get(&self, key: StreamKey) -> Option<&Stream> {
        let stream = self.slots.get(key.slot())?.as_ref();
        stream.filter(|stream| stream.id == key.id)
    }

    pub(crate) fn get_mut(&mut self, key: StreamKey) -> Option<&mut Stream> {
        let stream = self.slots.get_mut(key.slot())?.as_mut();
        stream.filter(|stream| stream.id == key.id)
    }

    pub(crate) fn remove(&mut self, key: StreamKey) {
        if self.get(key).is_some() {
            self.by_id.remove(&key.id);
            self.free.push(key.slot);
            if let Some(place) = self.slots.get_mut(key.slot()) {
                *place = None;
            }
        }
    }

    /// Notes that a stream is in line; false if its slot is there already.
    pub(crate) fn mark_in_line(&mut self, key: StreamKey) -> bool {
        let place = self.in_line.get_mut(key.slot());
        place.is_some_and(|place| !std::mem::replace(place, true))
    }

    /// The slot has its turn: whoever is in it now.
    pub(crate) fn leave_line(&mut self, slot: u32) -> Option<StreamKey> {
        *self.in_line.get_mut(slot as usize)? = false;
        let stream = self.slots.get(slot as usize)?.as_ref()?;
        Some(StreamKey { id: stream.id, slot })
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = StreamKey> {
        self.by_id.iter().map(|(id, slot)| StreamKey { id: *id, slot: *slot })
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.slots.iter_mut().flatten()
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
