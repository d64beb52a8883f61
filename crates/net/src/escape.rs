//! Percent escapes, by the rules of Go's `net/url`.

/// A part of a URL; each has its own characters that stand for themselves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Piece {
    User,
    Host,
    Path,
    Fragment,
}

impl Piece {
    /// Whether this byte stands for itself.
    fn keeps(self, byte: u8) -> bool {
        let marks: &[u8] = match self {
            Piece::User => b"-_.~$&+,;=",
            Piece::Host => b"-_.~!$&'()*+,;=:[]<>\"",
            Piece::Path => b"-_.~$&+,/:;=@",
            Piece::Fragment => b"-_.~!$&()*+,/:;=?@",
        };
        byte.is_ascii_alphanumeric() || marks.contains(&byte)
    }
}

pub(crate) fn unescape(text: &str, piece: Piece) -> Result<String, String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte != b'%' {
            if piece == Piece::Host && byte.is_ascii() && !piece.keeps(byte) {
                let shown = char::from(byte).to_string();
                return Err(format!("invalid character {shown:?} in host name"));
            }
            out.push(byte);
            at += 1;
            continue;
        }
        let escape = &bytes[at..bytes.len().min(at + 3)];
        let value = hex_pair(escape)
            // In a host only bytes above ASCII may be escaped, and the mark before an IPv6 zone.
            .filter(|value| piece != Piece::Host || *value >= 0x80 || *value == b'%')
            .ok_or_else(|| {
                format!("invalid URL escape {:?}", String::from_utf8_lossy(escape).into_owned())
            })?;
        out.push(value);
        at += 3;
    }
    String::from_utf8(out).map_err(|_| format!("invalid URL escape {text:?}"))
}

pub(crate) fn escape(text: &str, piece: Piece) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if piece.keeps(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    out
}

/// The escaped form of a path or fragment that was read from `written`: as it was written where
/// that is a valid form, for there are several.
pub(crate) fn escape_as_written(written: &str, unescaped: &str, piece: Piece) -> String {
    let valid = |byte: u8| piece.keeps(byte) || b"!$&'()*+,;=:@[]%".contains(&byte);
    if written.bytes().all(valid) { written.to_owned() } else { escape(unescaped, piece) }
}

fn hex_pair(escape: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    match escape {
        [b'%', high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
        _ => None,
    }
}
