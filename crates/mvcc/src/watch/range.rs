//! What a watcher watches: one key, or a half-open span of keys.

use bytes::Bytes;

/// Where a span stops. The order of the variants is the order of the ends: open is furthest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// Just before this key.
    Before(Bytes),
    /// Never: every key from the start on.
    Open,
}

impl End {
    /// Whether `key` lies before this end.
    pub(super) fn is_after(&self, key: &[u8]) -> bool {
        match self {
            Self::Before(end) => key < end.as_ref(),
            Self::Open => true,
        }
    }
}

/// Keys from `start` up to `end`, ordered by start, then by end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) start: Bytes,
    pub(super) end: End,
}

/// The keys of one watcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WatchRange {
    Key(Bytes),
    Span(Span),
}

impl WatchRange {
    /// Reads etcd's convention: an empty `end` is one key, a single zero byte is "and all that
    /// follow". `None` when no key can lie in between.
    pub(super) fn parse(key: Bytes, end: Bytes) -> Option<Self> {
        let key = if key.is_empty() { Bytes::from_static(&[0]) } else { key };
        if end.is_empty() {
            return Some(Self::Key(key));
        }
        if end.as_ref() == [0] {
            return Some(Self::Span(Span { start: key, end: End::Open }));
        }
        (key < end).then_some(Self::Span(Span { start: key, end: End::Before(end) }))
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        match self {
            Self::Key(own) => own.as_ref() == key,
            Self::Span(span) => span.start.as_ref() <= key && span.end.is_after(key),
        }
    }
}
