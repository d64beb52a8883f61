//! A request's header list, and what makes it malformed (RFC 9113, section 8).

use bytes::Bytes;

use crate::hpack::Field;

/// What RFC 9113 counts for each field beside its bytes.
const FIELD_OVERHEAD: usize = 32;

/// The head of a request.
#[derive(Debug, Default)]
pub struct Head {
    /// `:method`.
    pub method: Bytes,
    /// `:scheme`.
    pub scheme: Bytes,
    /// `:authority`, which may be any text: clients of etcd send URLs and worse.
    pub authority: Bytes,
    /// `:path`.
    pub path: Bytes,
    /// Everything else, in order.
    pub fields: Vec<Field>,
    /// Bytes by the protocol's count.
    size: usize,
    malformed: bool,
    seen: u8,
    content_length: Option<u64>,
}

const METHOD: u8 = 1;
const SCHEME: u8 = 2;
const AUTHORITY: u8 = 4;
const PATH: u8 = 8;

impl Head {
    /// The first field of this name.
    pub fn field(&self, name: &str) -> Option<&Bytes> {
        let field = self.fields.iter().find(|field| field.name == name.as_bytes());
        field.map(|field| &field.value)
    }

    pub(crate) fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Self { fields, ..Self::default() };
    }

    /// Takes a field in; beyond `limit` bytes it only counts them.
    pub(crate) fn push(&mut self, field: Field, limit: usize) {
        self.size = self.size.saturating_add(field.name.len() + field.value.len() + FIELD_OVERHEAD);
        if self.size > limit || self.malformed {
            return;
        }
        if !is_value(&field.value) {
            self.malformed = true;
        } else if field.name.starts_with(b":") {
            self.pseudo(field);
        } else if is_name(&field.name) && self.may_pass(&field) {
            self.fields.push(field);
        } else {
            self.malformed = true;
        }
    }

    fn pseudo(&mut self, field: Field) {
        let (place, bit) = match &field.name[..] {
            b":method" => (&mut self.method, METHOD),
            b":scheme" => (&mut self.scheme, SCHEME),
            b":authority" => (&mut self.authority, AUTHORITY),
            b":path" => (&mut self.path, PATH),
            _ => return self.malformed = true,
        };
        if self.seen & bit != 0 || !self.fields.is_empty() {
            self.malformed = true;
        }
        self.seen |= bit;
        *place = field.value;
    }

    /// Fields that are about the connection have no place here; a length is remembered.
    fn may_pass(&mut self, field: &Field) -> bool {
        match &field.name[..] {
            b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding"
            | b"upgrade" => false,
            b"te" => field.value == "trailers",
            b"content-length" => {
                let digits = std::str::from_utf8(&field.value).ok();
                let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
                let length = digits.and_then(|text| text.parse().ok());
                let agreed = self.content_length.is_none() || self.content_length == length;
                self.content_length = length;
                length.is_some() && agreed
            }
            _ => true,
        }
    }

    pub(crate) fn is_too_large(&self, limit: usize) -> bool {
        self.size > limit
    }

    pub(crate) fn is_request(&self) -> bool {
        const NEEDED: u8 = METHOD | SCHEME | PATH;
        !self.malformed && self.seen & NEEDED == NEEDED && !self.path.is_empty()
    }

    pub(crate) fn is_trailer(&self) -> bool {
        !self.malformed && self.seen == 0
    }

    pub(crate) fn content_length(&self) -> Option<u64> {
        self.content_length
    }
}

/// A token in lower case.
fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().all(|byte| {
            matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_')
                || b"!#$%&'*+.^`|~".contains(byte)
        })
}

fn is_value(value: &[u8]) -> bool {
    !value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(&'static str, &'static str)]) -> Head {
        let mut head = Head::default();
        for (name, value) in fields {
            let (name, value) = (Bytes::from_static(name.as_bytes()), Bytes::from(*value));
            head.push(Field { name, value }, 1000);
        }
        head
    }

    const GOOD: [(&str, &str); 3] = [(":method", "POST"), (":scheme", "http"), (":path", "/a/b")];

    fn with(more: &[(&'static str, &'static str)]) -> Head {
        head(&[&GOOD[..], more].concat())
    }

    #[test]
    fn any_text_is_an_authority() {
        for authority in ["http://127.0.0.1:2379", "#initially=[a;b]", "", "a b", "\u{fc}"] {
            let head = with(&[(":authority", authority)]);
            assert!(head.is_request(), "{authority:?}");
            assert_eq!(head.authority, authority);
        }
    }

    #[test]
    fn malformed_requests_are_told() {
        assert!(with(&[("te", "trailers"), ("x-a", "1"), ("content-length", "5")]).is_request());
        for bad in [
            [("X-A", "1")],
            [("a b", "1")],
            [("", "1")],
            [("x", "a\r\nb")],
            [(":status", "200")],
            [(":path", "/again")],
            [("connection", "close")],
            [("te", "gzip")],
            [("content-length", "-1")],
            [("content-length", "")],
            [("transfer-encoding", "chunked")],
        ] {
            assert!(!with(&bad).is_request(), "{bad:?}");
        }
        assert!(!with(&[("x", "1"), (":authority", "late")]).is_request());
        assert!(!with(&[("content-length", "1"), ("content-length", "2")]).is_request());
        for missing in 0..3 {
            let mut fields = GOOD.to_vec();
            fields.remove(missing);
            assert!(!head(&fields).is_request(), "{fields:?}");
        }
        assert!(head(&[("x", "1")]).is_trailer());
        assert!(!head(&GOOD).is_trailer());
    }

    #[test]
    fn a_list_beyond_the_limit_is_counted_and_not_held() {
        let head = head(&[("x", "0123456789"); 1000]);
        assert!(head.is_too_large(1000));
        assert!(head.fields.len() < 30);
    }
}
