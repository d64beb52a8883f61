//! Log entries, and what they count for in the size limits.

use crate::conf_change::ConfChange;
use crate::types::EntryId;
use alloc::boxed::Box;

/// What the application puts into the log. The core never looks inside.
///
/// `Clone` must be cheap (a reference count, as in `bytes::Bytes`): an entry is cloned when it is
/// handed out for storage, when it is sent, and when it is applied.
///
/// Everything that is a byte string is a payload already.
pub trait Payload: Clone {
    /// The length in bytes.
    fn size(&self) -> usize;
}

impl<T: AsRef<[u8]> + Clone> Payload for T {
    fn size(&self) -> usize {
        self.as_ref().len()
    }
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry<P> {
    pub id: EntryId,
    pub body: EntryBody<P>,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EntryBody<P> {
    /// The entry with which a leader opens its term. Nothing to apply.
    Empty,
    /// Stands where a conf change was proposed and refused. Nothing to apply. Apart from `Empty`
    /// only because etcd encodes the two differently (the type field is present here), and the
    /// size limits count encoded bytes.
    Refused,
    /// The application's own.
    Normal(P),
    /// Takes effect when it is applied, see [`crate::RawNode::apply_conf_change`].
    ConfChange(Box<ConfChange<P>>),
}

impl<P: Payload> Entry<P> {
    /// The size of etcd's encoding of this entry, which is what message and apply limits count:
    /// equal limits must then cut at equal entries in a mixed cluster, and in golden traces.
    pub fn size(&self) -> u64 {
        let (kind, data) = match &self.body {
            EntryBody::Empty => (0, None),
            EntryBody::Refused => (2, None),
            EntryBody::Normal(payload) => (0, Some(payload.size() as u64)),
            EntryBody::ConfChange(change) => (2, change.encoded_size()),
        };
        let data = data.map_or(0, |len| 1 + varint_size(len) + len);
        kind + 2 + varint_size(self.id.term.0) + varint_size(self.id.index.0) + data
    }
}

impl<P: Payload> EntryBody<P> {
    /// The size of the content alone, which is what the limit of uncommitted bytes counts. Zero
    /// for an empty entry, so that a new leader's first entry and the leaving of a joint
    /// configuration can never be refused.
    pub fn payload_size(&self) -> u64 {
        match self {
            Self::Empty | Self::Refused => 0,
            Self::Normal(payload) => payload.size() as u64,
            Self::ConfChange(change) => change.encoded_size().unwrap_or(0),
        }
    }

    pub fn is_conf_change(&self) -> bool {
        matches!(self, Self::ConfChange(_))
    }
}

/// The bytes of a protobuf varint.
pub(crate) const fn varint_size(value: u64) -> u64 {
    // Seven bits a byte; zero takes one byte too.
    ((64 - (value | 1).leading_zeros()) as u64).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf_change::{ConfChangeKind, ConfChangeSingle, ConfChangeTransition};
    use crate::types::NodeId;
    use alloc::vec;
    use alloc::vec::Vec;

    fn size(body: EntryBody<Vec<u8>>) -> u64 {
        Entry { id: EntryId::new(1, 11), body }.size()
    }

    #[test]
    fn varint_sizes_at_the_borders() {
        for (value, bytes) in
            [(0, 1), (1, 1), (127, 1), (128, 2), (16383, 2), (16384, 3), (u64::MAX, 10)]
        {
            assert_eq!(varint_size(value), bytes, "{value}");
        }
    }

    /// The numbers are what Go's `proto.Size` gives for the same entries.
    #[test]
    fn entry_size_is_that_of_the_proto2_encoding() {
        assert_eq!(size(EntryBody::Empty), 4);
        assert_eq!(size(EntryBody::Refused), 6);
        assert_eq!(size(EntryBody::Normal(Vec::new())), 6);
        assert_eq!(size(EntryBody::Normal(b"abc".to_vec())), 9);
        assert_eq!(size(EntryBody::Normal(vec![0; 200])), 207);
        let v1 = ConfChange::v1(ConfChangeKind::AddNode, NodeId::new(3));
        assert_eq!(size(EntryBody::ConfChange(Box::new(v1))), 4 + 2 + 2 + 4);
        let v2 = ConfChange::v2(
            ConfChangeTransition::Auto,
            vec![ConfChangeSingle::new(ConfChangeKind::AddNode, NodeId::new(3))],
        );
        assert_eq!(size(EntryBody::ConfChange(Box::new(v2))), 4 + 2 + 2 + 2 + 6);
        assert_eq!(size(EntryBody::ConfChange(Box::new(ConfChange::AutoLeave))), 6);
    }
}
