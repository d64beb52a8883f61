use bytes::Bytes;

use crate::Revision;

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It was written.
    Put,
    /// It was deleted.
    Delete,
}

/// The state of a key just before an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Previous {
    /// The key did not live: the event is its creation (or the deletion of nothing).
    None,
    /// Encoded `mvccpb.KeyValue`, at hand when the change was made.
    Encoded(Bytes),
    /// To be read from history where somebody asks for it.
    InHistory,
}

/// One change as watchers see it. The bytes are encoded once, when the change is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Put or delete.
    pub kind: EventKind,
    /// When.
    pub revision: Revision,
    /// Which key.
    pub key: Bytes,
    /// Encoded `mvccpb.KeyValue`: all of it for a put, `key` and `mod_revision` for a delete.
    pub kv: Bytes,
    /// What `prev_kv` asks for.
    pub previous: Previous,
}
