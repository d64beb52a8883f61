//! Bytes in base64, as Go's decoder takes them.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Which characters mean 62 and 63.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alphabet {
    /// `+` and `/`.
    Standard,
    /// `-` and `_`.
    Url,
}

/// Appends bytes in the standard alphabet, with padding.
pub fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    let digit = |bits: u32| DIGITS.get((bits & 63) as usize).copied().unwrap_or_default();
    out.reserve(bytes.len().div_ceil(3) * 4);
    let (whole, rest) = bytes.as_chunks::<3>();
    for [a, b, c] in whole {
        let bits = u32::from(*a) << 16 | u32::from(*b) << 8 | u32::from(*c);
        out.extend([digit(bits >> 18), digit(bits >> 12), digit(bits >> 6), digit(bits)]);
    }
    match rest {
        [a] => {
            let bits = u32::from(*a) << 4;
            out.extend([digit(bits >> 6), digit(bits), b'=', b'=']);
        }
        [a, b] => {
            let bits = u32::from(*a) << 10 | u32::from(*b) << 2;
            out.extend([digit(bits >> 12), digit(bits >> 6), digit(bits), b'=']);
        }
        _ => {}
    }
}

/// Appends the bytes that a text stands for. Line ends in it do not count. The error is the place
/// of what cannot be.
pub fn decode(
    text: &[u8],
    alphabet: Alphabet,
    padded: bool,
    out: &mut Vec<u8>,
) -> Result<(), usize> {
    out.reserve(text.len() / 4 * 3 + 3);
    let mut bits = 0;
    let mut digits = 0;
    let mut rest = text.iter().enumerate();
    while let Some((place, byte)) = rest.next() {
        if matches!(byte, b'\r' | b'\n') {
            continue;
        }
        if padded && *byte == b'=' {
            let mut behind = rest.filter(|(_, byte)| !matches!(byte, b'\r' | b'\n'));
            match digits {
                0 | 1 => return Err(place),
                2 => match behind.next() {
                    Some((_, b'=')) => {}
                    Some((place, _)) => return Err(place),
                    None => return Err(text.len()),
                },
                _ => {}
            }
            return match behind.next() {
                Some((place, _)) => Err(place),
                None => {
                    flush(bits, digits, out);
                    Ok(())
                }
            };
        }
        bits = bits << 6 | value(*byte, alphabet).ok_or(place)?;
        digits += 1;
        if digits == 4 {
            flush(bits, digits, out);
            (bits, digits) = (0, 0);
        }
    }
    match digits {
        0 => {}
        2 | 3 if !padded => flush(bits, digits, out),
        _ => return Err(text.len().saturating_sub(digits)),
    }
    Ok(())
}

/// Appends the bytes of two to four digits.
fn flush(bits: u32, digits: usize, out: &mut Vec<u8>) {
    let missing = 4_usize.saturating_sub(digits);
    let [_, a, b, c] = (bits << (6 * missing)).to_be_bytes();
    match digits {
        2 => out.push(a),
        3 => out.extend([a, b]),
        _ => out.extend([a, b, c]),
    }
}

fn value(byte: u8, alphabet: Alphabet) -> Option<u32> {
    let value = match (byte, alphabet) {
        (b'A'..=b'Z', _) => byte - b'A',
        (b'a'..=b'z', _) => byte - b'a' + 26,
        (b'0'..=b'9', _) => byte - b'0' + 52,
        (b'+', Alphabet::Standard) | (b'-', Alphabet::Url) => 62,
        (b'/', Alphabet::Standard) | (b'_', Alphabet::Url) => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str, padded: bool) -> Result<Vec<u8>, usize> {
        let mut out = Vec::new();
        decode(text.as_bytes(), Alphabet::Standard, padded, &mut out).map(|()| out)
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for len in 0..50 {
            let bytes: Vec<u8> = (0..len).map(|number: u8| number.wrapping_mul(101)).collect();
            let mut text = Vec::new();
            encode(&bytes, &mut text);
            let text = String::from_utf8(text).unwrap();
            assert_eq!(decoded(&text, true), Ok(bytes.clone()), "{text}");
            assert_eq!(decoded(text.trim_end_matches('='), false), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn bad_text_is_refused_where_go_refuses_it() {
        assert_eq!(decoded("Zm9v\r\nYm\n==\n", true), Ok(b"foob".to_vec()));
        assert_eq!(decoded("Zh==", true), Ok(b"f".to_vec()));
        for (text, padded, place) in [
            ("?", false, 0),
            ("Zm9v====", true, 4),
            ("Zg==Zg==", true, 4),
            ("Zg=g", true, 3),
            ("Zm9=Zm9v", true, 4),
            ("Zg=", false, 2),
            ("Zm9vZ", false, 4),
            ("Zm9v\nYmF", true, 5),
            ("Zm-v", true, 2),
            ("Zg=\n", true, 4),
        ] {
            assert_eq!(decoded(text, padded), Err(place), "{text}");
        }
    }
}
