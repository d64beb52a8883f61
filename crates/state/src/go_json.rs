//! JSON as Go's `encoding/json` writes it: what lies in the db file and in conf changes is
//! compared by its bytes with what other members wrote.

use serde::Serialize;

/// Encodes `value` with Go's extra escapes: `<`, `>`, `&`, U+2028 and U+2029.
///
/// In JSON none of these five can stand outside a string, so replacing them in the whole text
/// is exact.
pub(crate) fn to_vec(value: &impl Serialize) -> Vec<u8> {
    let plain = serde_json::to_string(value).expect("strings, numbers and lists always encode");
    if !plain.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return plain.into_bytes();
    }
    let mut escaped = String::with_capacity(plain.len() + 16);
    for symbol in plain.chars() {
        match symbol {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            other => escaped.push(other),
        }
    }
    escaped.into_bytes()
}

/// The same as text, for JSON inside JSON.
pub(crate) fn to_string(value: &impl Serialize) -> String {
    String::from_utf8(to_vec(value)).expect("JSON is UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_and_line_separators_are_escaped_as_in_go() {
        assert_eq!(
            to_string(&"a<b>&\"\\\n\u{7}\u{2028}\u{7f}é"),
            "\"a\\u003cb\\u003e\\u0026\\\"\\\\\\n\\u0007\\u2028\u{7f}é\""
        );
    }

    #[test]
    fn numbers_above_two_to_53_stay_exact() {
        assert_eq!(to_string(&7_026_481_039_975_517_645_u64), "7026481039975517645");
    }
}
