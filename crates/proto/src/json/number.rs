//! Whole numbers, in all the forms in which JSON may have them: `10`, `1e1`, `100.0e-1`.

/// What an integer may have in digits.
const DIGITS: i64 = 20;

/// As much of a text as may be a number.
pub(super) fn front(text: &str) -> &[u8] {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._".contains(byte);
    let end = text.as_bytes().iter().position(|byte| !is_part(byte)).unwrap_or(text.len());
    text.as_bytes().get(..end).unwrap_or_default()
}

/// A whole number as a sign and its digits; `None` if it is not whole, or has too many of them.
pub(super) fn whole(text: &[u8]) -> Option<String> {
    let parts = parts(text)?;
    let fraction = parts.fraction.trim_end_matches('0');
    let integer = if parts.integer == "0" { "" } else { parts.integer };
    if integer.is_empty() && fraction.is_empty() {
        return Some("0".to_owned());
    }
    let exponent = match parts.exponent {
        "" => 0,
        text => i64::from(text.parse::<i32>().ok()?),
    };
    let mut number = String::from(if parts.negative { "-" } else { "" });
    if let Ok(shift) = usize::try_from(exponent) {
        let zeros = shift.checked_sub(fraction.len())?;
        if integer.len() as i64 + exponent > DIGITS {
            return None;
        }
        number.push_str(integer);
        number.push_str(fraction);
        number.extend(std::iter::repeat_n('0', zeros));
    } else {
        let cut = usize::try_from(-exponent).ok()?;
        let kept = integer.len().checked_sub(cut)?;
        let (kept, gone) = integer.split_at_checked(kept)?;
        if !fraction.is_empty() || gone.bytes().any(|digit| digit != b'0') {
            return None;
        }
        number.push_str(kept);
    }
    Some(number)
}

struct Parts<'a> {
    negative: bool,
    integer: &'a str,
    fraction: &'a str,
    exponent: &'a str,
}

fn parts(text: &[u8]) -> Option<Parts<'_>> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (integer, rest) = digits(text);
    if integer.is_empty() || (integer.starts_with('0') && integer.len() > 1) {
        return None;
    }
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => digits(rest),
        None => ("", rest),
    };
    if fraction.is_empty() && text.get(integer.len()..)?.starts_with('.') {
        return None;
    }
    let exponent = match rest.strip_prefix(['e', 'E']) {
        Some(exponent) => exponent,
        None if rest.is_empty() => "",
        None => return None,
    };
    let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let is_exponent = !unsigned.is_empty() && unsigned.bytes().all(|byte| byte.is_ascii_digit());
    (rest.is_empty() || is_exponent).then_some(Parts { negative, integer, fraction, exponent })
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_come_in_many_forms() {
        for (text, number) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.00e99999999999", "0"),
            ("12", "12"),
            ("-12.0", "-12"),
            ("1.50e1", "15"),
            ("0.5E+1", "5"),
            ("1e3", "1000"),
            ("1200e-2", "12"),
            ("18446744073709551615", "18446744073709551615"),
        ] {
            assert_eq!(whole(text.as_bytes()).as_deref(), Some(number), "{text}");
        }
        for text in ["1.5", "1.55e1", "5e-1", "1e21", "1e99999999999", "1.0e-1", "12e-1"] {
            assert_eq!(whole(text.as_bytes()), None, "{text}");
        }
        for text in ["", "-", "01", "1.", ".5", "1e", "1e+", "1 ", " 1", "+1", "1x", "0x1", "1,"] {
            assert!(parts(text.as_bytes()).is_none(), "{text}");
        }
    }
}
