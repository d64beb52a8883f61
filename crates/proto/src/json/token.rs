//! The parts of a JSON value whose grammar was looked at before.

use std::borrow::Cow;

use super::error::Error;
use super::quote::quote;

/// A part, and where it stands.
#[derive(Debug)]
pub(super) struct Token<'a> {
    pub(super) at: usize,
    /// As it was written.
    pub(super) raw: &'a [u8],
    pub(super) kind: Part<'a>,
}

#[derive(Debug)]
pub(super) enum Part<'a> {
    Null,
    Bool(bool),
    Number,
    Text(Cow<'a, str>),
    Open,
    Close,
    OpenList,
    CloseList,
    /// The text is over.
    End,
}

/// Goes through a value. What separates its parts is passed over: the scanner has seen that it is
/// right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn next(&mut self) -> Result<Token<'a>, Error> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let separators = rest
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b':'))
            .count();
        self.at += separators;
        let rest = rest.get(separators..).unwrap_or_default();
        let word = |len| Ok((len, rest));
        let (kind, (len, rest)) = match rest.first() {
            None => (Part::End, (0, rest)),
            Some(b'{') => (Part::Open, (1, rest)),
            Some(b'}') => (Part::Close, (1, rest)),
            Some(b'[') => (Part::OpenList, (1, rest)),
            Some(b']') => (Part::CloseList, (1, rest)),
            Some(b'n') => (Part::Null, word(4)?),
            Some(b't') => (Part::Bool(true), word(4)?),
            Some(b'f') => (Part::Bool(false), word(5)?),
            Some(b'"') => {
                let (text, len) = self.string(rest)?;
                (Part::Text(text), (len, rest))
            }
            Some(_) => {
                let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                // One byte at least: it must go on, whatever stands there.
                (Part::Number, (rest.iter().take_while(is_part).count().max(1), rest))
            }
        };
        let len = len.min(rest.len());
        let at = self.at;
        self.at += len;
        Ok(Token { at, raw: rest.get(..len).unwrap_or_default(), kind })
    }

    /// The next part, again.
    pub(super) fn peek(&self) -> Result<Token<'a>, Error> {
        let mut ahead = *self;
        ahead.next()
    }

    /// Passes over a value, whatever it is.
    pub(super) fn skip(&mut self) -> Result<(), Error> {
        let mut open = 0_usize;
        loop {
            match self.next()?.kind {
                Part::Open | Part::OpenList => open += 1,
                Part::Close | Part::CloseList => open = open.saturating_sub(1),
                Part::End => return Ok(()),
                _ => {}
            }
            if open == 0 {
                return Ok(());
            }
        }
    }

    /// A string, and how long it is with its quotes.
    fn string(&self, text: &'a [u8]) -> Result<(Cow<'a, str>, usize), Error> {
        let inside = text.get(1..).unwrap_or_default();
        let special = |byte: &u8| matches!(byte, b'"' | b'\\');
        let plain = inside.iter().position(special).ok_or_else(cut_short)?;
        let (head, mut rest) = inside.split_at_checked(plain).ok_or_else(cut_short)?;
        let head = self.utf8(head)?;
        if rest.first() == Some(&b'"') {
            return Ok((Cow::Borrowed(head), plain + 2));
        }
        let mut out = head.to_owned();
        loop {
            match rest {
                [b'"', behind @ ..] => {
                    return Ok((Cow::Owned(out), text.len() - behind.len()));
                }
                [b'\\', b'u', ..] => rest = self.unicode(rest, &mut out)?,
                [b'\\', escaped, behind @ ..] => {
                    out.push(match escaped {
                        b'b' => '\x08',
                        b'f' => '\x0c',
                        b'n' => '\n',
                        b'r' => '\r',
                        b't' => '\t',
                        b'"' | b'\\' | b'/' => char::from(*escaped),
                        _ => return Err(self.bad_escape(rest, 2)),
                    });
                    rest = behind;
                }
                [] | [b'\\'] => return Err(cut_short()),
                _ => {
                    let plain = rest.iter().position(special).ok_or_else(cut_short)?;
                    let (part, behind) = rest.split_at_checked(plain).ok_or_else(cut_short)?;
                    out.push_str(self.utf8(part)?);
                    rest = behind;
                }
            }
        }
    }

    /// `\u1234`, and the second half of what does not fit into one.
    fn unicode(&self, text: &'a [u8], out: &mut String) -> Result<&'a [u8], Error> {
        let (first, rest) = text.split_at_checked(6).ok_or_else(cut_short)?;
        let unit = unit(first).ok_or_else(|| self.bad_escape(text, 6))?;
        if let Some(c) = char::from_u32(u32::from(unit)) {
            out.push(c);
            return Ok(rest);
        }
        let (second, behind) = rest.split_at_checked(6).ok_or_else(cut_short)?;
        let units = [Some(unit), self::unit(second)].into_iter().flatten();
        match char::decode_utf16(units).collect::<Vec<_>>()[..] {
            [Ok(c)] => out.push(c),
            _ => return Err(self.bad_escape(rest, 6)),
        }
        Ok(behind)
    }

    fn utf8(&self, text: &'a [u8]) -> Result<&'a str, Error> {
        std::str::from_utf8(text).map_err(|_| self.syntax(self.at, "invalid UTF-8 in string"))
    }

    fn bad_escape(&self, text: &[u8], len: usize) -> Error {
        let escape = quote(text.get(..len).unwrap_or(text));
        self.syntax(self.at, &format!("invalid escape code {escape} in string"))
    }

    pub(super) fn unexpected(&self, token: &Token<'_>) -> Error {
        let raw = String::from_utf8_lossy(token.raw);
        self.syntax(token.at, &format!("unexpected token {raw}"))
    }

    fn syntax(&self, at: usize, text: &str) -> Error {
        Error::new(format!("proto: syntax error {}: {text}", self.place(at)))
    }

    /// What is wrong with a value that is good JSON.
    pub(super) fn wrong(&self, at: usize, text: &str) -> Error {
        Error::new(format!("proto: {}: {text}", self.place(at)))
    }

    fn place(&self, at: usize) -> String {
        let before = self.text.get(..at).unwrap_or(self.text);
        let lines = before.iter().filter(|byte| **byte == b'\n').count();
        let line = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let of_chunk =
            |chunk: std::str::Utf8Chunk<'_>| chunk.valid().chars().count() + chunk.invalid().len();
        let column: usize = line.utf8_chunks().map(of_chunk).sum();
        format!("(line {}:{})", lines + 1, column + 1)
    }
}

/// The number of a whole `\u1234`.
fn unit(escape: &[u8]) -> Option<u16> {
    let digits = escape.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok()?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(())?;
    u16::from_str_radix(digits, 16).ok()
}

fn cut_short() -> Error {
    Error::new("proto: unexpected EOF")
}
