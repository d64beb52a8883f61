//! Header compression (RFC 7541).

mod huffman;
mod table;

use bytes::Bytes;

use table::Table;

/// The size of the table before the two sides agree on another, which this side never offers.
const TABLE_BYTES: usize = 4096;

/// One header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// As it came: HTTP/2 wants it in lower case.
    pub name: Bytes,
    /// Any bytes.
    pub value: Bytes,
}

/// A header block that is none; the connection cannot go on, since the tables now differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed header block")]
pub struct HpackError;

/// The receiving side: the blocks of one connection, in order.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// Where coded strings are read into, kept for the next.
    text: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder with the table that every connection starts with.
    pub fn new() -> Self {
        Self { table: Table::new(TABLE_BYTES), text: Vec::new() }
    }

    /// Reads a whole block (HEADERS with its CONTINUATIONs) and hands out its fields in order.
    ///
    /// A block may stand for far more than its length, so `each` must count what it keeps. A block
    /// must be read to its end even so: later ones build on it.
    pub fn decode(
        &mut self,
        mut block: &[u8],
        mut each: impl FnMut(Field),
    ) -> Result<(), HpackError> {
        let mut may_resize = true;
        while let Some(&first) = block.first() {
            match first {
                0x80.. => {
                    let index = read_int(&mut block, 7)?;
                    each(self.table.find(index).ok_or(HpackError)?);
                }
                0x40.. => {
                    let field = self.literal(&mut block, 6)?;
                    self.table.insert(field.clone());
                    each(field);
                }
                0x20.. => {
                    let limit_bytes = read_int(&mut block, 5)?;
                    if !may_resize || limit_bytes > TABLE_BYTES {
                        return Err(HpackError);
                    }
                    self.table.set_limit(limit_bytes);
                    continue;
                }
                // Not to be remembered; "never", which proxies must respect, is the same here.
                _ => each(self.literal(&mut block, 4)?),
            }
            may_resize = false;
        }
        Ok(())
    }

    fn literal(&mut self, block: &mut &[u8], prefix_bits: u32) -> Result<Field, HpackError> {
        let name = match read_int(block, prefix_bits)? {
            0 => self.string(block)?,
            index => self.table.find(index).ok_or(HpackError)?.name,
        };
        Ok(Field { name, value: self.string(block)? })
    }

    fn string(&mut self, block: &mut &[u8]) -> Result<Bytes, HpackError> {
        let is_coded = block.first().is_some_and(|first| first & 0x80 != 0);
        let len = read_int(block, 7)?;
        let (string, rest) = block.split_at_checked(len).ok_or(HpackError)?;
        *block = rest;
        if !is_coded {
            return Ok(Bytes::copy_from_slice(string));
        }
        self.text.clear();
        huffman::decode(string, &mut self.text)?;
        Ok(Bytes::copy_from_slice(&self.text))
    }
}

/// Reads a number that starts in the low bits of the first byte.
fn read_int(block: &mut &[u8], prefix_bits: u32) -> Result<usize, HpackError> {
    let mut next = || {
        let (&byte, rest) = block.split_first().ok_or(HpackError)?;
        *block = rest;
        Ok(usize::from(byte))
    };
    let mask = (1 << prefix_bits) - 1;
    let mut number = next()? & mask;
    if number < mask {
        return Ok(number);
    }
    // Four bytes more are 256 MiB: beyond every limit, and far from an overflow.
    for shift in [0, 7, 14, 21] {
        let byte = next()?;
        number += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(HpackError)
}

/// Appends one field, by the static table or literally. It leaves the peer's table alone, so a
/// block that is always the same may be made once.
pub fn encode(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let mut by_name = 0;
    for (place, (known_name, known_value)) in table::STATIC.iter().enumerate() {
        if known_name.as_bytes() == name {
            if known_value.as_bytes() == value {
                write_int(out, 0x80, 7, place + 1);
                return;
            }
            if by_name == 0 {
                by_name = place + 1;
            }
        }
    }
    write_int(out, 0, 4, by_name);
    if by_name == 0 {
        write_int(out, 0, 7, name.len());
        out.extend_from_slice(name);
    }
    write_int(out, 0, 7, value.len());
    out.extend_from_slice(value);
}

fn write_int(out: &mut Vec<u8>, pattern: u8, prefix_bits: u32, number: usize) {
    let mask = (1 << prefix_bits) - 1;
    if number < mask {
        out.push(pattern | number as u8);
        return;
    }
    out.push(pattern | mask as u8);
    let mut rest = number - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, HpackError> {
        let mut fields = Vec::new();
        decoder.decode(block, |field| {
            let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
            fields.push((text(&field.name), text(&field.value)));
        })?;
        Ok(fields)
    }

    fn fields(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// The requests of RFC 7541, C.3 (plain) and C.4 (coded): three blocks on one table.
    #[test]
    fn the_requests_of_the_rfc_are_read() {
        let plain: [&[u8]; 3] = [
            b"\x82\x86\x84\x41\x0fwww.example.com",
            b"\x82\x86\x84\xbe\x58\x08no-cache",
            b"\x82\x87\x85\xbf\x40\x0acustom-key\x0ccustom-value",
        ];
        let coded: [&[u8]; 3] = [
            b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
            b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf",
            b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\
              \xe8\xb4\xbf",
        ];
        let host = (":authority", "www.example.com");
        let expected = [
            fields(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), host]),
            fields(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/"),
                host,
                ("cache-control", "no-cache"),
            ]),
            fields(&[
                (":method", "GET"),
                (":scheme", "https"),
                (":path", "/index.html"),
                host,
                ("custom-key", "custom-value"),
            ]),
        ];
        for blocks in [plain, coded] {
            let mut decoder = Decoder::new();
            for (block, expected) in blocks.iter().zip(&expected) {
                assert_eq!(decode(&mut decoder, block).as_ref(), Ok(expected));
            }
        }
    }

    #[test]
    fn the_oldest_entries_leave_a_full_table() {
        let mut decoder = Decoder::new();
        // Room for one entry of 5 + 5 + 32 bytes, then another comes.
        let block = b"\x3f\x0b\x40\x05first\x05value\x40\x05other\x05value\xbe";
        let expected = fields(&[("first", "value"), ("other", "value"), ("other", "value")]);
        assert_eq!(decode(&mut decoder, block), Ok(expected));
        assert_eq!(decode(&mut decoder, b"\xbf"), Err(HpackError));
        // One that is larger than the table empties it, and is handed out all the same.
        let long = fields(&[("first", "longer than the other")]);
        assert_eq!(decode(&mut decoder, b"\x40\x05first\x15longer than the other"), Ok(long));
        assert_eq!(decode(&mut decoder, b"\xbe"), Err(HpackError));
    }

    #[test]
    fn a_table_is_resized_only_before_the_fields_and_within_what_was_agreed() {
        assert_eq!(decode(&mut Decoder::new(), b"\x20\x3f\xe1\x1f\x82").map(|f| f.len()), Ok(1));
        assert_eq!(decode(&mut Decoder::new(), b"\x82\x20"), Err(HpackError));
        assert_eq!(decode(&mut Decoder::new(), b"\x3f\xe2\x1f"), Err(HpackError));
    }

    #[test]
    fn broken_blocks_are_refused() {
        let bad: [&[u8]; 8] = [
            b"\x80",                     // index 0
            b"\xbe",                     // nothing there yet
            b"\x40",                     // no name
            b"\x40\x05ab",               // a name that ends early
            b"\x41",                     // no value
            b"\xff",                     // an index that ends early
            b"\xff\x80\x80\x80\x80\x01", // an index that does not end
            b"\x41\x82\xff\xff",         // eleven ones and more are no padding
        ];
        for block in bad {
            assert_eq!(decode(&mut Decoder::new(), block), Err(HpackError), "{block:x?}");
        }
    }

    #[test]
    fn what_is_encoded_is_read_again() {
        let long = "x".repeat(300);
        let list = [
            (":status", "200"),
            (":status", "415"),
            ("content-type", "application/grpc"),
            ("grpc-status", "0"),
            ("grpc-message", long.as_str()),
        ];
        let mut block = Vec::new();
        for (name, value) in list {
            encode(&mut block, name.as_bytes(), value.as_bytes());
        }
        assert_eq!(block[0], 0x88, "a known field is one byte");
        assert_eq!(decode(&mut Decoder::new(), &block), Ok(fields(&list)));
    }
}
