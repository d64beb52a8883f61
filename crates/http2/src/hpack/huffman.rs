//! The Huffman code of strings (RFC 7541, appendix B).
//!
//! The code is canonical: sorted by length and then by symbol, each code is the one before plus
//! one. So the symbols of each length are all that needs writing down.

use super::HpackError;

/// The symbols whose code has this many bits, in order. After the last comes the end of string,
/// which no string may contain.
const SYMBOLS: [(u32, &[u8]); 21] = [
    (5, b"012aceiost"),
    (6, b" %-./3456789=A_bdfghlmnpru"),
    (7, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, b"&*,;XZ"),
    (10, b"!\"()?"),
    (11, b"'+|"),
    (12, b"#>"),
    (13, b"\x00$@[]~"),
    (14, b"^}"),
    (15, b"<`{"),
    (19, b"\\\xc3\xd0"),
    (20, b"\x80\x82\x83\xa2\xb8\xc2\xe0\xe2"),
    (21, b"\x99\xa1\xa7\xac\xb0\xb1\xb3\xd1\xd8\xd9\xe3\xe5\xe6"),
    (
        22,
        b"\x81\x84\x85\x86\x88\x92\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb\xbd\xbe\xc4\
          \xc6\xe4\xe8\xe9",
    ),
    (
        23,
        b"\x01\x87\x89\x8a\x8b\x8c\x8d\x8f\x93\x95\x96\x97\x98\x9b\x9d\x9e\xa5\xa6\xa8\xae\xaf\xb4\
          \xb6\xb7\xbc\xbf\xc5\xe7\xef",
    ),
    (24, b"\x09\x8e\x90\x91\x94\x9f\xab\xce\xd7\xe1\xec\xed"),
    (25, b"\xc7\xcf\xea\xeb"),
    (26, b"\xc0\xc1\xc8\xc9\xca\xcd\xd2\xd5\xda\xdb\xee\xf0\xf2\xf3\xff"),
    (27, b"\xcb\xcc\xd3\xd4\xd6\xdd\xde\xdf\xf1\xf4\xf5\xf6\xf7\xf8\xfa\xfb\xfc\xfd\xfe"),
    (
        28,
        b"\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11\x12\x13\x14\x15\x17\x18\x19\x1a\x1b\
          \x1c\x1d\x1e\x1f\x7f\xdc\xf9",
    ),
    (30, b"\x0a\x0d\x16"),
];

/// The longest code. Codes are compared as if all were as long, filled up on the right.
const LONGEST: u32 = 30;

/// All codes of one length.
struct Row {
    bits: u32,
    symbols: &'static [u8],
    /// The first code, filled up with zeros.
    first: u32,
    /// What follows the last code, filled up with zeros.
    end: u32,
}

const ROWS: [Row; SYMBOLS.len()] = rows();

const fn rows() -> [Row; SYMBOLS.len()] {
    let mut rows = [const { Row { bits: 0, symbols: &[], first: 0, end: 0 } }; SYMBOLS.len()];
    let mut code = 0;
    let mut number = 0;
    while number < SYMBOLS.len() {
        let (bits, symbols) = SYMBOLS[number];
        let end = code + ((symbols.len() as u32) << (LONGEST - bits));
        rows[number] = Row { bits, symbols, first: code, end };
        code = end;
        number += 1;
    }
    rows
}

/// Appends what `coded` stands for.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), HpackError> {
    let mut rest = coded.iter();
    let (mut bits, mut held) = (0_u64, 0_u32);
    loop {
        while held < LONGEST
            && let Some(&byte) = rest.next()
        {
            bits = bits << 8 | u64::from(byte);
            held += 8;
        }
        let code = next_code(bits, held);
        match ROWS.iter().find(|row| code < row.end) {
            Some(row) if row.bits <= held => {
                let place = (code - row.first) >> (LONGEST - row.bits);
                out.push(*row.symbols.get(place as usize).ok_or(HpackError)?);
                held -= row.bits;
            }
            // What is left begins no symbol's code but the end's: less than a byte of ones.
            _ if held < 8 && code == next_code(0, 0) => return Ok(()),
            _ => return Err(HpackError),
        }
    }
}

/// The next bits as a code of the longest length, with ones where there are no more.
fn next_code(bits: u64, held: u32) -> u32 {
    let code = if held >= LONGEST {
        bits >> (held - LONGEST)
    } else {
        let missing = LONGEST - held;
        bits << missing | ((1 << missing) - 1)
    };
    code as u32 & ((1 << LONGEST) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The code of one symbol, right-aligned, and its length.
    fn code_of(symbol: u8) -> (u64, u32) {
        let row = ROWS.iter().find(|row| row.symbols.contains(&symbol)).unwrap();
        let place = row.symbols.iter().position(|&other| other == symbol).unwrap();
        (u64::from(row.first >> (LONGEST - row.bits)) + place as u64, row.bits)
    }

    fn encode(text: &[u8]) -> Vec<u8> {
        let (mut out, mut bits, mut held) = (Vec::new(), 0_u64, 0);
        for &symbol in text {
            let (code, len) = code_of(symbol);
            bits = bits << len | code;
            held += len;
            while held >= 8 {
                held -= 8;
                out.push((bits >> held) as u8);
            }
        }
        if held > 0 {
            out.push((bits << (8 - held)) as u8 | (0xff >> held));
        }
        out
    }

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, HpackError> {
        let mut out = Vec::new();
        decode(coded, &mut out).map(|()| out)
    }

    #[test]
    fn every_byte_has_one_code_and_the_last_is_the_end() {
        let mut all: Vec<u8> = SYMBOLS.iter().flat_map(|(_, symbols)| symbols.to_vec()).collect();
        all.sort_unstable();
        assert!(all.iter().copied().eq(0..=255));
        assert_eq!(ROWS.last().unwrap().end, (1 << LONGEST) - 1);
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let host = b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        assert_eq!(decoded(host).unwrap(), b"www.example.com");
        assert_eq!(decoded(b"\xa8\xeb\x10\x64\x9c\xbf").unwrap(), b"no-cache");
        assert_eq!(decoded(b"\x64\x02").unwrap(), b"302");
    }

    #[test]
    fn all_bytes_come_back_at_every_offset() {
        for start in 0..=255_u8 {
            let text: Vec<u8> = (0..=255).map(|byte: u8| byte.wrapping_mul(7) ^ start).collect();
            assert_eq!(decoded(&encode(&text)).unwrap(), text);
        }
        assert_eq!(decoded(b"").unwrap(), b"");
    }

    #[test]
    fn padding_is_less_than_a_byte_of_ones() {
        // '0' is five zeros.
        assert_eq!(decoded(b"\x07").unwrap(), b"0");
        for bad in [&b"\x00"[..], b"\x06", b"\x07\xff", b"\xff", b"\xff\xff\xff\xff\xff"] {
            assert_eq!(decoded(bad), Err(HpackError), "{bad:x?}");
        }
    }
}
