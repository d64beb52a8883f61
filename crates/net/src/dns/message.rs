//! DNS messages (RFC 1035) with one question, for SRV records (RFC 2782) or an address's names.

use std::net::IpAddr;

use super::{SrvRecord, UDP_BYTES};

const TYPE_PTR: u16 = 12;
const TYPE_SRV: u16 = 33;
const TYPE_OPT: u16 = 41;
const CLASS_IN: u16 = 1;
const HEAD_BYTES: usize = 12;
/// Flags: it is an answer; it was cut off; please ask others on our behalf.
const ANSWER: u16 = 0x8000;
const TRUNCATED: u16 = 0x0200;
const RECURSION: u16 = 0x0100;
const CODE: u16 = 0x000f;
const NO_SUCH_NAME: u16 = 3;
const NAME_BYTES: usize = 255;
const LABEL_BYTES: usize = 63;
/// More jumps than a name has labels would go in circles.
const JUMPS: usize = 127;

/// What a server has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Records(Vec<SrvRecord>),
    /// What an address is called.
    Names(Vec<String>),
    /// There is no such name, or it has no such records.
    Nothing,
    /// It has more to say than fits.
    Truncated,
    /// It could not find out, or does not want to say.
    Failure,
}

/// A question for the records of a name.
#[derive(Debug)]
pub(super) struct Query {
    kind: u16,
    bytes: Vec<u8>,
    question_end: usize,
}

impl Query {
    /// `None` where the name is no name. It ends with a dot.
    pub(super) fn srv(id: u16, name: &str) -> Option<Query> {
        Query::new(id, name, TYPE_SRV)
    }

    /// What an address is called.
    pub(super) fn ptr(id: u16, address: IpAddr) -> Option<Query> {
        let name = match address {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
            }
            IpAddr::V6(address) => {
                let mut name = String::new();
                for byte in address.octets().iter().rev() {
                    name.push_str(&format!("{:x}.{:x}.", byte & 0xf, byte >> 4));
                }
                name + "ip6.arpa."
            }
        };
        Query::new(id, &name, TYPE_PTR)
    }

    fn new(id: u16, name: &str, kind: u16) -> Option<Query> {
        let mut bytes = Vec::with_capacity(64);
        // One question, no answers, no authorities, one more record: that of what we take.
        for number in [id, RECURSION, 1, 0, 0, 1] {
            bytes.extend(number.to_be_bytes());
        }
        for label in name.strip_suffix('.')?.split('.') {
            if label.is_empty() || label.len() > LABEL_BYTES {
                return None;
            }
            bytes.push(u8::try_from(label.len()).ok()?);
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
        if bytes.len() - HEAD_BYTES > NAME_BYTES {
            return None;
        }
        bytes.extend(kind.to_be_bytes());
        bytes.extend(CLASS_IN.to_be_bytes());
        let question_end = bytes.len();
        bytes.push(0);
        for number in [TYPE_OPT, UDP_BYTES, 0, 0, 0] {
            bytes.extend(number.to_be_bytes());
        }
        Some(Query { kind, bytes, question_end })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What a message says to this query; `None` where it is no answer to it.
    pub(super) fn answer(&self, message: &[u8]) -> Option<Answer> {
        let mut reader = Reader { message, at: 0 };
        let (id, flags) = (reader.number()?, reader.number()?);
        let (questions, answers) = (reader.number()?, reader.number()?);
        reader.skip(4)?;
        let ours = self.bytes.get(HEAD_BYTES..self.question_end)?;
        let question = message.get(HEAD_BYTES..self.question_end)?;
        let same = id.to_be_bytes() == *self.bytes.get(..2)?
            && flags & ANSWER != 0
            && questions == 1
            && question.eq_ignore_ascii_case(ours);
        if !same {
            return None;
        }
        reader.at = self.question_end;
        Some(match flags & CODE {
            NO_SUCH_NAME => Answer::Nothing,
            0 if flags & TRUNCATED != 0 => Answer::Truncated,
            0 if self.kind == TYPE_PTR => match reader.records(answers, TYPE_PTR, Reader::name)? {
                names if names.is_empty() => Answer::Nothing,
                names => Answer::Names(names),
            },
            0 => match reader.records(answers, TYPE_SRV, Reader::srv_record)? {
                records if records.is_empty() => Answer::Nothing,
                records => Answer::Records(records),
            },
            _ => Answer::Failure,
        })
    }
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.message.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn skip(&mut self, length: usize) -> Option<()> {
        self.take(length).map(|_| ())
    }

    fn number(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    /// What `read` makes of the records of one kind among so many; whatever leads to them (aliases)
    /// does not matter.
    fn records<T>(
        &mut self,
        count: u16,
        wanted: u16,
        read: impl Fn(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut records = Vec::new();
        for _ in 0..count {
            self.name()?;
            let (kind, class) = (self.number()?, self.number()?);
            self.skip(4)?;
            let length = usize::from(self.number()?);
            let end = self.at.checked_add(length)?;
            if kind == wanted && class == CLASS_IN {
                records.push(read(self)?);
                if self.at != end {
                    return None;
                }
            } else {
                self.skip(length)?;
            }
        }
        Some(records)
    }

    fn srv_record(&mut self) -> Option<SrvRecord> {
        let (priority, weight, port) = (self.number()?, self.number()?, self.number()?);
        Some(SrvRecord { priority, weight, port, target: self.name()? })
    }

    /// A name, which may go on elsewhere in the message.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        let mut after = None;
        let mut jumps = 0;
        loop {
            let [length] = self.take(1)? else { return None };
            match length >> 6 {
                0 if *length == 0 => break,
                0 => {
                    let label = str::from_utf8(self.take(usize::from(*length))?).ok()?;
                    if label.contains('.') || name.len() + label.len() > NAME_BYTES {
                        return None;
                    }
                    if !name.is_empty() {
                        name.push('.');
                    }
                    name.push_str(label);
                }
                3 => {
                    let [low] = self.take(1)? else { return None };
                    after.get_or_insert(self.at);
                    self.at = usize::from(u16::from_be_bytes([length & 0x3f, *low]));
                    jumps += 1;
                    if jumps > JUMPS {
                        return None;
                    }
                }
                _ => return None,
            }
        }
        self.at = after.unwrap_or(self.at);
        Some(name)
    }
}
