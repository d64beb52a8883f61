//! From JSON to the wire form.

use super::base64::{self, Alphabet};
use super::error::Error;
use super::number;
use super::schema::{Field, Kind, Schema};
use super::token::{Part, Token, Tokens};

/// How deep messages may be nested; what decodes the wire form goes no deeper.
const DEPTH: usize = 100;

/// Appends the wire form of the message that a text is. The text is one value, as
/// [`Scanner`](super::Scanner) finds it; fields that the message does not have are passed over.
pub fn read(schema: &'static Schema, text: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let mut reader = Reader { tokens: Tokens::new(text), depth: 0 };
    reader.message(schema, out)?;
    let token = reader.tokens.next()?;
    match token.kind {
        Part::End => Ok(()),
        _ => Err(reader.tokens.unexpected(&token)),
    }
}

struct Reader<'a> {
    tokens: Tokens<'a>,
    depth: usize,
}

impl Reader<'_> {
    fn message(&mut self, schema: &'static Schema, out: &mut Vec<u8>) -> Result<(), Error> {
        if self.depth >= DEPTH {
            return Err(Error::new("proto: exceeded max recursion depth"));
        }
        self.depth += 1;
        let token = self.tokens.next()?;
        let Part::Open = token.kind else { return Err(self.tokens.unexpected(&token)) };
        let mut seen = 0_u64;
        let mut oneofs = Vec::new();
        loop {
            let token = self.tokens.next()?;
            let name = match &token.kind {
                Part::Close => break,
                Part::Text(name) => name,
                _ => return Err(self.tokens.unexpected(&token)),
            };
            let Some((place, field)) = schema.by_name(name) else {
                self.tokens.skip()?;
                continue;
            };
            let raw = String::from_utf8_lossy(token.raw);
            let mark = 1_u64.checked_shl(place as u32).unwrap_or_default();
            if seen & mark != 0 {
                return Err(self.tokens.wrong(token.at, &format!("duplicate field {raw}")));
            }
            seen |= mark;
            if let Part::Null = self.tokens.peek()?.kind {
                self.tokens.next()?;
                continue;
            }
            if let Some(oneof) = field.oneof {
                if oneofs.contains(&oneof) {
                    let text = format!("error parsing {raw}, oneof {oneof} is already set");
                    return Err(self.tokens.wrong(token.at, &text));
                }
                oneofs.push(oneof);
            }
            if field.repeated { self.list(field, out)? } else { self.single(field, out)? }
        }
        self.depth -= 1;
        Ok(())
    }

    fn single(&mut self, field: &Field, out: &mut Vec<u8>) -> Result<(), Error> {
        let start = out.len();
        varint(field.tag(), out);
        let value = out.len();
        let is_set = self.value(field, out)?;
        let is_default = out.get(value..).is_none_or(|bytes| matches!(bytes, [] | [0]));
        let has_presence = field.oneof.is_some() || matches!(field.kind, Kind::Message(_));
        if !is_set || (is_default && !has_presence) {
            out.truncate(start);
        }
        Ok(())
    }

    fn list(&mut self, field: &Field, out: &mut Vec<u8>) -> Result<(), Error> {
        let token = self.tokens.next()?;
        let Part::OpenList = token.kind else { return Err(self.tokens.unexpected(&token)) };
        let packed = !field.kind.is_delimited();
        if packed {
            varint(field.tag() | 2, out);
        }
        let start = out.len();
        loop {
            if let Part::CloseList = self.tokens.peek()?.kind {
                self.tokens.next()?;
                break;
            }
            let before = out.len();
            if !packed {
                varint(field.tag(), out);
            }
            if !self.value(field, out)? {
                out.truncate(before);
            }
        }
        if packed && out.len() == start {
            out.truncate(start - varint_len(field.tag() | 2));
        } else if packed {
            put_len(start, out);
        }
        Ok(())
    }

    /// One value without its number. An enum's name that nobody knows is none.
    fn value(&mut self, field: &Field, out: &mut Vec<u8>) -> Result<bool, Error> {
        if let Kind::Message(schema) = field.kind {
            let start = out.len();
            self.message(schema, out)?;
            put_len(start, out);
            return Ok(true);
        }
        let token = self.tokens.next()?;
        let number = match (field.kind, &token.kind) {
            (Kind::Bool, Part::Bool(value)) => Some(u64::from(*value)),
            (Kind::Int32, _) => integer::<i32>(&token).map(|value| value as i64 as u64),
            (Kind::Int64, _) => integer::<i64>(&token).map(|value| value as u64),
            (Kind::Uint32, _) => integer::<u32>(&token).map(u64::from),
            (Kind::Uint64, _) => integer::<u64>(&token),
            (Kind::Enum(of), Part::Text(name)) => match of.number_of(name) {
                Some(number) => Some(i64::from(number) as u64),
                None => return Ok(false),
            },
            (Kind::Enum(_), Part::Number) => {
                integer::<i32>(&token).map(|value| value as i64 as u64)
            }
            (Kind::String, Part::Text(text)) => {
                varint(text.len() as u64, out);
                out.extend_from_slice(text.as_bytes());
                return Ok(true);
            }
            (Kind::Bytes, Part::Text(text)) if bytes(text, out) => return Ok(true),
            _ => None,
        };
        varint(number.ok_or_else(|| self.invalid(field, &token))?, out);
        Ok(true)
    }

    fn invalid(&self, field: &Field, token: &Token<'_>) -> Error {
        let (kind, name) = (field.kind.name(), field.json_name);
        let raw = String::from_utf8_lossy(token.raw);
        self.tokens.wrong(token.at, &format!("invalid value for {kind} field {name}: {raw}"))
    }
}

/// A whole number, or one at the front of a string. What stands behind it there does not count
/// unless it could be part of a number, or is space: so reads the `protojson` that etcd has.
fn integer<N: std::str::FromStr>(token: &Token<'_>) -> Option<N> {
    let digits = match &token.kind {
        Part::Number => number::whole(token.raw)?,
        Part::Text(text) if text.trim() == text => number::whole(number::front(text))?,
        _ => return None,
    };
    digits.parse().ok()
}

/// Bytes in either alphabet, with or without padding. Says whether they are such.
fn bytes(text: &str, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let alphabet = if text.contains(['-', '_']) { Alphabet::Url } else { Alphabet::Standard };
    let padded = text.len().is_multiple_of(4);
    let good = base64::decode(text.as_bytes(), alphabet, padded, out).is_ok();
    put_len(start, out);
    good
}

/// Puts the length of what stands from `start` on before it.
fn put_len(start: usize, out: &mut Vec<u8>) {
    let len = (out.len() - start) as u64;
    varint(len, out);
    if let Some(part) = out.get_mut(start..) {
        part.rotate_right(varint_len(len));
    }
}

fn varint(value: u64, out: &mut Vec<u8>) {
    prost::encoding::encode_varint(value, out);
}

fn varint_len(value: u64) -> usize {
    prost::encoding::encoded_len_varint(value)
}
