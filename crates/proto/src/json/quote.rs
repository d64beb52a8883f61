//! Text in quotes as Go prints it with `%q`.

use std::fmt::Write as _;

/// Quotes bytes; what is not UTF-8 or not to be printed is escaped.
pub fn quote(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push(&mut out, c, '"'));
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}

/// One byte as the character of its number, as the errors of `encoding/json` have it.
pub(super) fn quote_byte(byte: u8) -> String {
    let mut out = String::from("'");
    match byte {
        b'"' => out.push('"'),
        _ => push(&mut out, char::from(byte), '\''),
    }
    out.push('\'');
    out
}

fn push(out: &mut String, c: char, quote: char) {
    let short = match c {
        '\x07' => 'a',
        '\x08' => 'b',
        '\x0c' => 'f',
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        '\x0b' => 'v',
        '\\' => '\\',
        _ if c == quote => quote,
        _ => {
            // Writing to a String cannot fail.
            let _ = match u32::from(c) {
                number @ (0..0x20 | 0x7f) => write!(out, "\\x{number:02x}"),
                number @ (0x80..0xa1 | 0xad | 0xfeff | 0x200b..0x2010 | 0x2028..0x202f) => {
                    write!(out, "\\u{number:04x}")
                }
                _ => write!(out, "{c}"),
            };
            return;
        }
    };
    out.push('\\');
    out.push(short);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_those_of_go() {
        assert_eq!(quote(b"a\"\\\n\x01\xff"), r#""a\"\\\n\x01\xff""#);
        assert_eq!(quote("\u{fc}\u{a0}".as_bytes()), "\"\u{fc}\\u00a0\"");
        assert_eq!(quote_byte(b'\''), r"'\''");
        assert_eq!(quote_byte(b'"'), "'\"'");
        assert_eq!(quote_byte(0xff), "'\u{ff}'");
        assert_eq!(quote_byte(0), r"'\x00'");
        assert_eq!(quote_byte(0x80), r"'\u0080'");
    }
}
