//! The two encodings of messages in streams.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use proto::Message as _;
use proto::raftpb::{Entry, Message, MessageType};

/// A message that announces more is refused.
const MESSAGE_LIMIT: u64 = 512 << 20;
/// What stands in front of a message says how long it is.
const LENGTH: usize = 8;

/// Why the bytes of a stream make no sense. The stream ends then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("message of {0} bytes is too large")]
    TooLarge(u64),
    #[error("unknown kind {0} of message")]
    Kind(u8),
    #[error("malformed message: {0}")]
    Malformed(String),
}

/// Which of the two a stream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Appends, in a form that leaves out what the one before has said.
    MsgApp,
    /// Everything else.
    Message,
}

impl Kind {
    /// The last but one part of the path.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::MsgApp => "msgapp",
            Self::Message => "message",
        }
    }

    /// As logs name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::MsgApp => "stream MsgApp v2",
            Self::Message => "stream Message",
        }
    }
}

const HEARTBEAT: u8 = 0;
const ENTRIES: u8 = 1;
const WHOLE: u8 = 2;

/// What both ends of a stream of appends remember: the last entry that was sent.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    term: u64,
    index: u64,
}

impl Place {
    fn behind(message: &Message) -> Self {
        let last = message.entries.last().map_or(message.index(), Entry::index);
        Self { term: message.term(), index: last }
    }
}

/// Encodes the messages of one stream.
#[derive(Debug)]
pub(crate) struct Encoder {
    kind: Kind,
    place: Place,
}

impl Encoder {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, place: Place::default() }
    }

    /// Nothing to say, but still there.
    pub(crate) fn heartbeat(&self, out: &mut BytesMut) {
        match self.kind {
            Kind::MsgApp => out.put_u8(HEARTBEAT),
            Kind::Message => {
                let heartbeat = Message {
                    r#type: Some(MessageType::MsgHeartbeat as i32),
                    ..Message::default()
                };
                put(&heartbeat, out);
            }
        }
    }

    pub(crate) fn encode(&mut self, message: &Message, out: &mut BytesMut) {
        if self.kind == Kind::Message {
            return put(message, out);
        }
        let goes_on = self.place.index == message.index()
            && self.place.term == message.log_term()
            && message.log_term() == message.term();
        if goes_on {
            out.put_u8(ENTRIES);
            out.put_u64(message.entries.len() as u64);
            for entry in &message.entries {
                put(entry, out);
            }
            out.put_u64(message.commit());
        } else {
            out.put_u8(WHOLE);
            put(message, out);
        }
        self.place = Place::behind(message);
    }
}

fn put(message: &impl proto::Message, out: &mut BytesMut) {
    let at = out.len();
    out.put_u64(0);
    message.encode(out).expect("the buffer grows");
    let len = (out.len() - at - LENGTH) as u64;
    if let Some(place) = out.get_mut(at..at + LENGTH) {
        place.copy_from_slice(&len.to_be_bytes());
    }
}

/// Takes the messages out of the bytes of one stream.
#[derive(Debug)]
pub(crate) struct Decoder {
    kind: Kind,
    from: u64,
    to: u64,
    place: Place,
    buffer: BytesMut,
    entries: Option<Entries>,
}

/// Entries that go on where the last ones ended, as far as they have come.
#[derive(Debug)]
struct Entries {
    left: u64,
    taken: Vec<Entry>,
    bytes: u64,
}

impl Decoder {
    /// A decoder of what `from` says to `to`.
    pub(crate) fn new(kind: Kind, from: u64, to: u64) -> Self {
        let (place, buffer) = (Place::default(), BytesMut::new());
        Self { kind, from, to, place, buffer, entries: None }
    }

    /// Takes in the next bytes; adds the messages that are whole with them. Signs of life are left
    /// out.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        messages: &mut Vec<Message>,
    ) -> Result<(), CodecError> {
        self.buffer.extend_from_slice(bytes);
        loop {
            let taken = match self.kind {
                Kind::Message => self.next_message()?,
                Kind::MsgApp => self.next_append()?,
            };
            match taken {
                Taken::Message(message) => messages.push(*message),
                Taken::Heartbeat => {}
                Taken::Nothing => return Ok(()),
            }
        }
    }

    /// Whether all that was fed has been taken.
    #[cfg(test)]
    pub(crate) fn is_between_messages(&self) -> bool {
        self.buffer.is_empty() && self.entries.is_none()
    }

    fn next_message(&mut self) -> Result<Taken, CodecError> {
        let Some(bytes) = self.sized(0)? else { return Ok(Taken::Nothing) };
        let message = Message::decode(bytes).map_err(malformed)?;
        let is_sign_of_life = message.r#type == Some(MessageType::MsgHeartbeat as i32)
            && message.from() == 0
            && message.to() == 0;
        Ok(if is_sign_of_life { Taken::Heartbeat } else { Taken::Message(Box::new(message)) })
    }

    fn next_append(&mut self) -> Result<Taken, CodecError> {
        if self.entries.is_some() {
            return self.next_entries();
        }
        match self.buffer.first().copied() {
            None => Ok(Taken::Nothing),
            Some(HEARTBEAT) => {
                self.buffer.advance(1);
                Ok(Taken::Heartbeat)
            }
            Some(ENTRIES) => {
                let Some(count) = number(&self.buffer, 1) else { return Ok(Taken::Nothing) };
                // Each has at least its length.
                if count > MESSAGE_LIMIT / LENGTH as u64 {
                    return Err(CodecError::TooLarge(count.saturating_mul(LENGTH as u64)));
                }
                self.buffer.advance(1 + LENGTH);
                self.entries = Some(Entries { left: count, taken: Vec::new(), bytes: 0 });
                self.next_entries()
            }
            Some(WHOLE) => {
                let Some(bytes) = self.sized(1)? else { return Ok(Taken::Nothing) };
                let message = Message::decode(bytes).map_err(malformed)?;
                self.place = Place::behind(&message);
                Ok(Taken::Message(Box::new(message)))
            }
            Some(other) => Err(CodecError::Kind(other)),
        }
    }

    /// Each entry is taken when it is there, so that many of them are looked at once.
    fn next_entries(&mut self) -> Result<Taken, CodecError> {
        let Some(mut entries) = self.entries.take() else { return Ok(Taken::Nothing) };
        while entries.left > 0 {
            let Some(bytes) = self.sized(0)? else {
                self.entries = Some(entries);
                return Ok(Taken::Nothing);
            };
            entries.bytes += bytes.len() as u64;
            if entries.bytes > MESSAGE_LIMIT {
                return Err(CodecError::TooLarge(entries.bytes));
            }
            entries.taken.push(Entry::decode(bytes).map_err(malformed)?);
            entries.left -= 1;
        }
        let Some(commit) = number(&self.buffer, 0) else {
            self.entries = Some(entries);
            return Ok(Taken::Nothing);
        };
        self.buffer.advance(LENGTH);
        let message = Message {
            r#type: Some(MessageType::MsgApp as i32),
            from: Some(self.from),
            to: Some(self.to),
            term: Some(self.place.term),
            log_term: Some(self.place.term),
            index: Some(self.place.index),
            commit: Some(commit),
            entries: entries.taken,
            ..Message::default()
        };
        self.place.index = self.place.index.saturating_add(message.entries.len() as u64);
        Ok(Taken::Message(Box::new(message)))
    }

    /// Takes the next thing that has its length in front, and what stands before that; nothing
    /// while it is not there whole.
    fn sized(&mut self, before: usize) -> Result<Option<Bytes>, CodecError> {
        let Some(len) = number(&self.buffer, before) else { return Ok(None) };
        if len > MESSAGE_LIMIT {
            return Err(CodecError::TooLarge(len));
        }
        let (head, len) = (before + LENGTH, len as usize);
        if self.buffer.len() < head + len {
            return Ok(None);
        }
        self.buffer.advance(head);
        Ok(Some(self.buffer.split_to(len).freeze()))
    }
}

enum Taken {
    Message(Box<Message>),
    Heartbeat,
    /// More bytes are needed.
    Nothing,
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_be_bytes(*bytes))
}

fn malformed(error: proto::DecodeError) -> CodecError {
    CodecError::Malformed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(term: u64, log_term: u64, index: u64, entries: u64) -> Message {
        let entries = (1..=entries).map(|at| Entry {
            term: Some(term),
            index: Some(index + at),
            data: Some(Bytes::from(vec![at as u8; 5])),
            ..Entry::default()
        });
        Message {
            r#type: Some(MessageType::MsgApp as i32),
            from: Some(1),
            to: Some(2),
            term: Some(term),
            log_term: Some(log_term),
            index: Some(index),
            commit: Some(index),
            entries: entries.collect(),
            ..Message::default()
        }
    }

    fn through(kind: Kind, messages: &[Message], step: usize) -> (usize, Vec<Message>) {
        let (mut encoder, mut decoder) = (Encoder::new(kind), Decoder::new(kind, 1, 2));
        let (mut wire, mut out) = (BytesMut::new(), Vec::new());
        for message in messages {
            encoder.heartbeat(&mut wire);
            encoder.encode(message, &mut wire);
        }
        for part in wire.chunks(step) {
            decoder.feed(part, &mut out).expect("what was encoded is well formed");
        }
        (wire.len(), out)
    }

    #[test]
    fn appends_come_out_as_they_went_in_however_they_are_cut() {
        let messages = [
            append(3, 2, 10, 2),
            append(3, 3, 12, 1),
            append(3, 3, 13, 0),
            append(3, 3, 13, 3),
            append(4, 3, 9, 1),
            append(4, 4, 10, 2),
        ];
        for step in [1, 7, 10_000] {
            for kind in [Kind::MsgApp, Kind::Message] {
                assert_eq!(through(kind, &messages, step).1, messages, "{kind:?} {step}");
            }
        }
        let (dense, whole) =
            (through(Kind::MsgApp, &messages, 99).0, through(Kind::Message, &messages, 99).0);
        assert!(dense < whole);
    }

    #[test]
    fn the_dense_form_is_that_of_etcd() {
        let mut encoder = Encoder::new(Kind::MsgApp);
        let mut wire = BytesMut::new();
        encoder.encode(&append(2, 2, 0x1520, 0), &mut wire);
        wire.clear();
        encoder.encode(&append(2, 2, 0x1520, 0), &mut wire);
        assert_eq!(&wire[..], [&[1][..], &[0; 8], &0x1520_u64.to_be_bytes()].concat());
        wire.clear();
        encoder.heartbeat(&mut wire);
        assert_eq!(&wire[..], [0]);
    }

    #[test]
    fn what_nobody_can_have_sent_ends_the_stream_and_no_more() {
        let feed = |kind, bytes: &[u8]| Decoder::new(kind, 1, 2).feed(bytes, &mut Vec::new());
        assert_eq!(feed(Kind::MsgApp, &[3]), Err(CodecError::Kind(3)));
        let huge = u64::MAX.to_be_bytes();
        assert_eq!(feed(Kind::Message, &huge), Err(CodecError::TooLarge(u64::MAX)));
        let many = |count: u64| [&[1][..], &count.to_be_bytes()].concat();
        assert_eq!(feed(Kind::MsgApp, &many(u64::MAX)), Err(CodecError::TooLarge(u64::MAX)));
        assert_eq!(feed(Kind::MsgApp, &many(1000)), Ok(()), "it waits for them");
        let bad = [&2_u64.to_be_bytes()[..], &[0xff, 0xff]].concat();
        assert!(matches!(feed(Kind::Message, &bad), Err(CodecError::Malformed(_))));
        // Any bytes at all: an error or patience, no panic. That goes for damaged messages too.
        let mut good = (BytesMut::new(), BytesMut::new());
        for message in [append(3, 2, 10, 2), append(3, 3, 12, 1), append(3, 3, 13, 3)] {
            Encoder::new(Kind::Message).encode(&message, &mut good.0);
        }
        let mut encoder = Encoder::new(Kind::MsgApp);
        for message in [append(3, 2, 10, 2), append(3, 3, 12, 1), append(3, 3, 13, 3)] {
            encoder.encode(&message, &mut good.1);
        }
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let mut bytes = Vec::new();
            for _ in 0..state % 40 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                bytes.push(if state >> 63 == 0 { 0 } else { (state >> 33) as u8 });
            }
            state = state.wrapping_add(0x9e37_79b9);
            let _ = feed(Kind::MsgApp, &bytes);
            let _ = feed(Kind::Message, &bytes);
            for (kind, good) in [(Kind::Message, &good.0), (Kind::MsgApp, &good.1)] {
                let mut damaged = good.to_vec();
                let at = (state >> 20) as usize % damaged.len();
                damaged[at] = (state >> 50) as u8;
                let _ = feed(kind, &damaged);
            }
        }
    }
}
