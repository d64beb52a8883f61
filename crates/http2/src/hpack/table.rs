//! The table that both sides know (RFC 7541, appendix A), and the one that a peer fills.

use std::collections::VecDeque;

use bytes::Bytes;

use super::Field;

/// Entry 1 is the first.
pub(super) const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// What an entry counts beyond its two strings.
const ENTRY_BYTES: usize = 32;

/// The fields that the peer has had remembered, newest first.
#[derive(Debug)]
pub(super) struct Table {
    entries: VecDeque<Field>,
    size_bytes: usize,
    limit_bytes: usize,
}

impl Table {
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self { entries: VecDeque::new(), size_bytes: 0, limit_bytes }
    }

    /// The field at an index of both tables; the static one comes first.
    pub(super) fn find(&self, index: usize) -> Option<Field> {
        let place = index.checked_sub(1)?;
        match STATIC.get(place) {
            Some((name, value)) => Some(Field {
                name: Bytes::from_static(name.as_bytes()),
                value: Bytes::from_static(value.as_bytes()),
            }),
            None => self.entries.get(place - STATIC.len()).cloned(),
        }
    }

    /// Remembers a field; older ones make room. One that is too large for the table empties it.
    pub(super) fn insert(&mut self, field: Field) {
        let size_bytes = size_of_entry(&field);
        self.shrink_to(self.limit_bytes.saturating_sub(size_bytes));
        if size_bytes <= self.limit_bytes {
            self.size_bytes += size_bytes;
            self.entries.push_front(field);
        }
    }

    pub(super) fn set_limit(&mut self, limit_bytes: usize) {
        self.limit_bytes = limit_bytes;
        self.shrink_to(limit_bytes);
    }

    fn shrink_to(&mut self, target_bytes: usize) {
        while self.size_bytes > target_bytes
            && let Some(oldest) = self.entries.pop_back()
        {
            self.size_bytes -= size_of_entry(&oldest);
        }
    }
}

fn size_of_entry(field: &Field) -> usize {
    field.name.len() + field.value.len() + ENTRY_BYTES
}
