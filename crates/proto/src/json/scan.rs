//! Finds where a JSON value ends, byte by byte, and refuses what is none.

use super::error::Error;
use super::quote::quote_byte;

/// How deep arrays and objects may be nested.
const DEPTH: usize = 10_000;

/// Follows a text until its first value is whole.
#[derive(Debug)]
pub struct Scanner {
    state: State,
    /// The arrays and objects around the place.
    around: Vec<Around>,
    seen_value: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Around {
    Key,
    Value,
    Array,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    EndOfValue,
    Text,
    Escape,
    /// So many hexadecimal digits are to come.
    Unicode(u8),
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
    /// A word, and what is still to come of it.
    Word(&'static str, &'static str),
    /// Nothing good comes any more.
    Failed,
}

/// What a byte was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A part of the value, or a space before it.
    Inside,
    /// The last byte of the value.
    Last,
    /// The first one behind it.
    Behind,
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    /// A scanner before the first byte.
    pub fn new() -> Self {
        Self { state: State::Value, around: Vec::new(), seen_value: false }
    }

    /// Goes on with these bytes. The answer is how many of them belong to the value, once it is
    /// whole.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<usize>, Error> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if let State::Text = self.state {
                let plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | 0..0x20);
                at += rest.iter().position(|byte| !plain(byte)).unwrap_or(rest.len());
            }
            let Some(byte) = bytes.get(at) else { break };
            match self.step(*byte)? {
                Step::Inside => at += 1,
                Step::Last => return Ok(Some(at + 1)),
                Step::Behind => return Ok(Some(at)),
            }
        }
        Ok(None)
    }

    /// Whether there were but spaces up to now.
    pub fn is_blank(&self) -> bool {
        !self.seen_value
    }

    /// No more bytes come. Says whether there was a value; without one there may have been spaces.
    pub fn end(&mut self) -> Result<bool, Error> {
        if !self.seen_value {
            return Ok(false);
        }
        match self.step(b' ') {
            Ok(Step::Behind | Step::Last) => Ok(true),
            Ok(Step::Inside) | Err(_) => Err(Error::new("unexpected EOF")),
        }
    }

    fn step(&mut self, byte: u8) -> Result<Step, Error> {
        let is_space = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        self.state = match self.state {
            State::Value | State::ValueOrEnd | State::Key | State::KeyOrEnd if is_space => {
                return Ok(Step::Inside);
            }
            State::ValueOrEnd if byte == b']' => return self.after_value(byte),
            State::Value | State::ValueOrEnd => return self.begin(byte),
            State::KeyOrEnd if byte == b'}' => {
                self.become_around(Around::Value);
                return self.after_value(byte);
            }
            State::Key | State::KeyOrEnd if byte == b'"' => State::Text,
            State::Key | State::KeyOrEnd => {
                return self.fail(byte, "looking for beginning of object key string");
            }
            State::EndOfValue => return self.after_value(byte),
            State::Text => match byte {
                b'"' => return Ok(self.close()),
                b'\\' => State::Escape,
                0..0x20 => return self.fail(byte, "in string literal"),
                _ => State::Text,
            },
            State::Escape => match byte {
                b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => State::Text,
                b'u' => State::Unicode(4),
                _ => return self.fail(byte, "in string escape code"),
            },
            State::Unicode(left) if byte.is_ascii_hexdigit() => match left {
                0 | 1 => State::Text,
                _ => State::Unicode(left - 1),
            },
            State::Unicode(_) => return self.fail(byte, "in \\u hexadecimal character escape"),
            State::Word(word, left) => return self.word(byte, word, left),
            State::Failed => return self.fail(byte, "after an error"),
            _ => return self.number(byte),
        };
        Ok(Step::Inside)
    }

    /// The first byte of a value.
    fn begin(&mut self, byte: u8) -> Result<Step, Error> {
        self.seen_value = true;
        self.state = match byte {
            b'{' => return self.open(byte, Around::Key, State::KeyOrEnd),
            b'[' => return self.open(byte, Around::Array, State::ValueOrEnd),
            b'"' => State::Text,
            b'-' => State::Minus,
            b'0' => State::Zero,
            b'1'..=b'9' => State::Digits,
            b't' => State::Word("true", "rue"),
            b'f' => State::Word("false", "alse"),
            b'n' => State::Word("null", "ull"),
            _ => return self.fail(byte, "looking for beginning of value"),
        };
        Ok(Step::Inside)
    }

    fn open(&mut self, byte: u8, around: Around, state: State) -> Result<Step, Error> {
        if self.around.len() >= DEPTH {
            return self.fail(byte, "exceeded max depth");
        }
        self.around.push(around);
        self.state = state;
        Ok(Step::Inside)
    }

    fn become_around(&mut self, around: Around) {
        if let Some(last) = self.around.last_mut() {
            *last = around;
        }
    }

    /// A string or a word is over. At the top that is the end; it is only told with the next byte,
    /// as numbers have no end of their own.
    fn close(&mut self) -> Step {
        self.state = State::EndOfValue;
        Step::Inside
    }

    fn after_value(&mut self, byte: u8) -> Result<Step, Error> {
        let Some(around) = self.around.last().copied() else { return Ok(Step::Behind) };
        self.state = State::EndOfValue;
        let (around, state) = match (around, byte) {
            (_, b' ' | b'\t' | b'\r' | b'\n') => return Ok(Step::Inside),
            (Around::Key, b':') => (Around::Value, State::Value),
            (Around::Value, b',') => (Around::Key, State::Key),
            (Around::Array, b',') => (Around::Array, State::Value),
            (Around::Value, b'}') | (Around::Array, b']') => {
                self.around.pop();
                return Ok(if self.around.is_empty() { Step::Last } else { Step::Inside });
            }
            (Around::Key, _) => return self.fail(byte, "after object key"),
            (Around::Value, _) => return self.fail(byte, "after object key:value pair"),
            (Around::Array, _) => return self.fail(byte, "after array element"),
        };
        self.become_around(around);
        self.state = state;
        Ok(Step::Inside)
    }

    fn word(&mut self, byte: u8, word: &'static str, left: &'static str) -> Result<Step, Error> {
        let expected = left.chars().next().unwrap_or_default();
        if char::from(byte) != expected {
            return self.fail(byte, &format!("in literal {word} (expecting '{expected}')"));
        }
        let left = left.get(1..).unwrap_or_default();
        if left.is_empty() {
            return Ok(self.close());
        }
        self.state = State::Word(word, left);
        Ok(Step::Inside)
    }

    fn number(&mut self, byte: u8) -> Result<Step, Error> {
        self.state = match (self.state, byte) {
            (State::Minus, b'0') => State::Zero,
            (State::Minus, b'1'..=b'9') | (State::Digits, b'0'..=b'9') => State::Digits,
            (State::Minus, _) => return self.fail(byte, "in numeric literal"),
            (State::Zero | State::Digits, b'.') => State::Point,
            (State::Point | State::Fraction, b'0'..=b'9') => State::Fraction,
            (State::Point, _) => {
                return self.fail(byte, "after decimal point in numeric literal");
            }
            (State::Zero | State::Digits | State::Fraction, b'e' | b'E') => State::Exponent,
            (State::Exponent, b'+' | b'-') => State::ExponentSign,
            (State::Exponent | State::ExponentSign | State::ExponentDigits, b'0'..=b'9') => {
                State::ExponentDigits
            }
            (State::Exponent | State::ExponentSign, _) => {
                return self.fail(byte, "in exponent of numeric literal");
            }
            _ => return self.after_value(byte),
        };
        Ok(Step::Inside)
    }

    fn fail(&mut self, byte: u8, what: &str) -> Result<Step, Error> {
        self.state = State::Failed;
        Err(Error::new(format!("invalid character {} {what}", quote_byte(byte))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &[u8]) -> Result<Option<usize>, String> {
        let whole = Scanner::new().feed(text);
        // However the text comes in, the answer is one.
        let mut scanner = Scanner::new();
        let mut at = 0;
        let by_bytes = loop {
            let Some(byte) = text.get(at) else { break Ok(None) };
            match scanner.feed(&[*byte]) {
                Ok(None) => at += 1,
                Ok(Some(part)) => break Ok(Some(at + part)),
                Err(error) => break Err(error),
            }
        };
        assert_eq!(whole, by_bytes);
        let ended = match whole {
            Ok(None) => scanner.end().map(|whole| whole.then_some(text.len())),
            other => other,
        };
        ended.map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_value_is_found() {
        for (text, end) in [
            (r#" {"a":[1,{"b":"}\""}]} rest"#, Some(22)),
            ("[]]", Some(2)),
            ("1 2", Some(1)),
            ("-0.5e+7", Some(7)),
            ("true", Some(4)),
            ("\"\\u00fc\"x", Some(8)),
            ("nullx", Some(4)),
            ("  \r\n", None),
            ("", None),
        ] {
            assert_eq!(first(text.as_bytes()), Ok(end), "{text}");
        }
    }

    #[test]
    fn errors_are_those_of_go() {
        for (text, error) in [
            ("x", "invalid character 'x' looking for beginning of value"),
            ("{x", "invalid character 'x' looking for beginning of object key string"),
            ("{\"a\",", "invalid character ',' after object key"),
            ("{\"a\":1]", "invalid character ']' after object key:value pair"),
            ("[1}", "invalid character '}' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("\"\n", "invalid character '\\n' in string literal"),
            ("\"\\x", "invalid character 'x' in string escape code"),
            ("\"\\u12x", "invalid character 'x' in \\u hexadecimal character escape"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1e+x", "invalid character 'x' in exponent of numeric literal"),
            ("trUe", "invalid character 'U' in literal true (expecting 'u')"),
            ("[01]", "invalid character '1' after array element"),
            ("{", "unexpected EOF"),
            ("\"", "unexpected EOF"),
            ("tru", "unexpected EOF"),
        ] {
            assert_eq!(first(text.as_bytes()), Err(error.to_owned()), "{text}");
        }
    }

    #[test]
    fn nesting_ends_somewhere() {
        let deep = |depth| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert_eq!(first(&deep(DEPTH)), Ok(Some(2 * DEPTH)));
        let error = "invalid character '[' exceeded max depth".to_owned();
        assert_eq!(first(&deep(DEPTH + 1)), Err(error));
    }
}
