use bytes::Bytes;

/// Which keys a request means: etcd's pair of `key` and `range_end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRange {
    /// One key (`range_end` empty).
    Single(Bytes),
    /// A key and all after it (`range_end` is the single byte 0x00).
    From(Bytes),
    /// Keys from the first up to, not including, the second. Empty where the second is not after
    /// the first.
    Between(Bytes, Bytes),
}

impl KeyRange {
    /// Reads the pair as it stands in a request.
    pub fn new(key: Bytes, range_end: Bytes) -> Self {
        match range_end.as_ref() {
            [] => Self::Single(key),
            [0] => Self::From(key),
            _ => Self::Between(key, range_end),
        }
    }

    /// Every key that a store can hold.
    pub fn all() -> Self {
        Self::From(Bytes::from_static(&[0]))
    }

    /// The first key that may be inside.
    pub fn start(&self) -> &Bytes {
        match self {
            Self::Single(key) | Self::From(key) | Self::Between(key, _) => key,
        }
    }

    /// The first key after the range; `None` where it has no end, or is one key.
    pub fn end(&self) -> Option<&Bytes> {
        match self {
            Self::Between(_, end) => Some(end),
            Self::Single(_) | Self::From(_) => None,
        }
    }

    /// Whether a key lies inside.
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            Self::Single(only) => only == key,
            Self::From(start) => key >= start.as_ref(),
            Self::Between(start, end) => key >= start.as_ref() && key < end.as_ref(),
        }
    }

    /// Whether no key can lie inside.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Between(start, end) if end <= start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(key: &'static [u8], end: &'static [u8]) -> KeyRange {
        KeyRange::new(Bytes::from_static(key), Bytes::from_static(end))
    }

    #[test]
    fn an_empty_end_is_one_key() {
        assert!(range(b"a", b"").contains(b"a"));
        assert!(!range(b"a", b"").contains(b"aa"));
    }

    #[test]
    fn a_zero_byte_as_end_is_all_keys_from_there() {
        assert!(range(b"b", b"\0").contains(b"\xff\xff"));
        assert!(!range(b"b", b"\0").contains(b"a"));
        assert!(!range(b"b", b"\0").is_empty());
    }

    #[test]
    fn an_end_before_the_start_is_nothing() {
        assert!(range(b"b", b"a").is_empty());
        assert!(range(b"b", b"b").is_empty());
        assert!(!range(b"b", b"a").contains(b"b"));
        assert!(!range(b"b", b"c").contains(b"c"));
    }
}
