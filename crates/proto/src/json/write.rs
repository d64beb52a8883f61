//! From the wire form to JSON.

use super::base64;
use super::schema::{Field, Kind, Schema};

/// How deep messages may be nested; nothing that is sent goes as deep.
const DEPTH: usize = 200;

/// The wire form is not one of the message. Ours always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl std::fmt::Display for Malformed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("not the wire form of the message")
    }
}

impl std::error::Error for Malformed {}

/// What is escaped in strings beyond what must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Nothing, as `protojson` writes.
    Plain,
    /// What means something to HTML, as `encoding/json` writes.
    Html,
}

/// Appends a message as JSON.
pub fn write(
    schema: &'static Schema,
    wire: &[u8],
    style: Style,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    Writer { style, out }.message(schema, wire, DEPTH)
}

/// Appends a string as JSON.
pub fn write_text(text: &str, style: Style, out: &mut Vec<u8>) {
    Writer { style, out }.text(text);
}

/// A value as the wire has it.
#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// A field with its place in the table and what it holds.
type Next<'a> = (usize, &'static Field, Value<'a>);

struct Writer<'o> {
    style: Style,
    out: &'o mut Vec<u8>,
}

impl Writer<'_> {
    fn message(
        &mut self,
        schema: &'static Schema,
        wire: &[u8],
        depth: usize,
    ) -> Result<(), Malformed> {
        let depth = depth.checked_sub(1).ok_or(Malformed)?;
        let start = self.out.len();
        let mut fields = Fields { schema, rest: wire, place: 0 };
        if self.in_turn(std::iter::from_fn(|| fields.next().transpose()), depth)? {
            return Ok(());
        }
        // Declared in another order than they are numbered.
        self.out.truncate(start);
        let mut fields = Fields { schema, rest: wire, place: 0 };
        let mut sorted: Vec<Next<'_>> = Vec::new();
        while let Some(next) = fields.next()? {
            let (place, field, _) = next;
            if !field.repeated {
                // The last one counts.
                sorted.retain(|(before, ..)| *before != place);
            }
            sorted.push(next);
        }
        sorted.sort_by_key(|(place, ..)| *place);
        self.in_turn(sorted.into_iter().map(Ok), depth)?;
        Ok(())
    }

    /// Writes the fields if they come in the order in which they are declared. Says whether they
    /// did.
    fn in_turn<'a>(
        &mut self,
        fields: impl Iterator<Item = Result<Next<'a>, Malformed>>,
        depth: usize,
    ) -> Result<bool, Malformed> {
        self.out.push(b'{');
        let mut last: Option<(usize, &Field)> = None;
        for next in fields {
            let (place, field, value) = next?;
            let same = match last {
                Some((before, _)) if before > place => return Ok(false),
                Some((before, _)) if before == place && !field.repeated => return Ok(false),
                Some((before, _)) => before == place,
                None => false,
            };
            if is_default(field, value) {
                continue;
            }
            if same {
                self.out.push(b',');
            } else {
                if let Some((_, before)) = last {
                    self.out.extend_from_slice(if before.repeated { b"]," } else { b"," });
                }
                self.out.push(b'"');
                self.out.extend_from_slice(field.name.as_bytes());
                self.out.extend_from_slice(if field.repeated { b"\":[" } else { b"\":" });
            }
            last = Some((place, field));
            self.values(field, value, depth)?;
        }
        self.out.extend_from_slice(if last.is_some_and(|(_, last)| last.repeated) {
            b"]}"
        } else {
            b"}"
        });
        Ok(true)
    }

    /// A value, or all those that are packed in one.
    fn values(&mut self, field: &Field, value: Value<'_>, depth: usize) -> Result<(), Malformed> {
        match (field.kind, value) {
            (Kind::Message(schema), Value::Bytes(wire)) => self.message(schema, wire, depth)?,
            (Kind::Bytes, Value::Bytes(bytes)) => {
                self.out.push(b'"');
                base64::encode(bytes, self.out);
                self.out.push(b'"');
            }
            (Kind::String, Value::Bytes(bytes)) => {
                self.text(std::str::from_utf8(bytes).map_err(|_| Malformed)?);
            }
            (kind, Value::Number(number)) if !kind.is_delimited() => self.number(kind, number),
            (kind, Value::Bytes(mut packed)) if field.repeated && !kind.is_delimited() => {
                let mut first = true;
                while !packed.is_empty() {
                    if !std::mem::take(&mut first) {
                        self.out.push(b',');
                    }
                    self.number(kind, varint(&mut packed)?);
                }
            }
            _ => return Err(Malformed),
        }
        Ok(())
    }

    fn number(&mut self, kind: Kind, number: u64) {
        match kind {
            Kind::Bool if number != 0 => self.out.extend_from_slice(b"true"),
            Kind::Bool => self.out.extend_from_slice(b"false"),
            Kind::Int64 => {
                self.out.push(b'"');
                self.signed(number as i64);
                self.out.push(b'"');
            }
            Kind::Uint64 => {
                self.out.push(b'"');
                self.digits(number);
                self.out.push(b'"');
            }
            Kind::Uint32 => self.digits(u64::from(number as u32)),
            Kind::Enum(of) => match of.name_of(number as i32) {
                Some(name) => {
                    self.out.push(b'"');
                    self.out.extend_from_slice(name.as_bytes());
                    self.out.push(b'"');
                }
                None => self.signed(i64::from(number as i32)),
            },
            _ => self.signed(i64::from(number as i32)),
        }
    }

    fn signed(&mut self, number: i64) {
        if number < 0 {
            self.out.push(b'-');
        }
        self.digits(number.unsigned_abs());
    }

    fn digits(&mut self, mut number: u64) {
        let start = self.out.len();
        loop {
            self.out.push(b'0' + (number % 10) as u8);
            number /= 10;
            if number == 0 {
                break;
            }
        }
        if let Some(digits) = self.out.get_mut(start..) {
            digits.reverse();
        }
    }

    fn text(&mut self, text: &str) {
        self.out.push(b'"');
        let mut rest = text;
        while let Some(at) = rest.find(|c| self.is_escaped(c)) {
            let (plain, special) = rest.split_at_checked(at).unwrap_or((rest, ""));
            self.out.extend_from_slice(plain.as_bytes());
            let mut special = special.chars();
            self.escape(special.next().unwrap_or_default());
            rest = special.as_str();
        }
        self.out.extend_from_slice(rest.as_bytes());
        self.out.push(b'"');
    }

    fn is_escaped(&self, c: char) -> bool {
        match c {
            '"' | '\\' | '\0'..' ' => true,
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => self.style == Style::Html,
            _ => false,
        }
    }

    fn escape(&mut self, c: char) {
        let short = match c {
            '"' | '\\' => c as u8,
            '\x08' => b'b',
            '\x0c' => b'f',
            '\n' => b'n',
            '\r' => b'r',
            '\t' => b't',
            _ => {
                self.out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
                return;
            }
        };
        self.out.extend_from_slice(&[b'\\', short]);
    }
}

/// Whether a value says no more than that the field is not set.
fn is_default(field: &Field, value: Value<'_>) -> bool {
    if field.repeated || field.oneof.is_some() || matches!(field.kind, Kind::Message(_)) {
        // Only a packed list without anything in it says nothing.
        let is_packed = field.repeated && !field.kind.is_delimited();
        return is_packed && matches!(value, Value::Bytes([]));
    }
    matches!(value, Value::Number(0) | Value::Bytes([]))
}

/// The fields of a message on the wire that its table knows, with their places there.
struct Fields<'a> {
    schema: &'static Schema,
    rest: &'a [u8],
    place: usize,
}

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<Option<Next<'a>>, Malformed> {
        while !self.rest.is_empty() {
            let tag = varint(&mut self.rest)?;
            let value = match tag & 7 {
                0 => Value::Number(varint(&mut self.rest)?),
                1 => Value::Bytes(take(&mut self.rest, 8)?),
                2 => {
                    let len = usize::try_from(varint(&mut self.rest)?).map_err(|_| Malformed)?;
                    Value::Bytes(take(&mut self.rest, len)?)
                }
                5 => Value::Bytes(take(&mut self.rest, 4)?),
                _ => return Err(Malformed),
            };
            let number = u32::try_from(tag >> 3).map_err(|_| Malformed)?;
            if let Some((place, field)) = self.schema.by_number(number, self.place) {
                self.place = place;
                return Ok(Some((place, field, value)));
            }
        }
        Ok(None)
    }
}

fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    prost::encoding::decode_varint(rest).map_err(|_| Malformed)
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], Malformed> {
    let (taken, behind) = rest.split_at_checked(len).ok_or(Malformed)?;
    *rest = behind;
    Ok(taken)
}
