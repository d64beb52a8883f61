//! Numbers, truth values and durations as Go's `strconv`, `flag` and `time` read and write them.

use std::fmt;
use std::time::Duration;

/// Why a number is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadNumber {
    /// Not a number at all.
    Syntax,
    /// A number, but the type cannot hold it.
    Range,
}

/// Reads one of Go's words for true and false.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Reads `10`, `0x1f`, `0o17`, `017`, `0b11` and `1_000`, of at most `bits` bits.
pub(crate) fn parse_uint(text: &str, bits: u32) -> Result<u64, BadNumber> {
    let (digits, radix) = split_radix(text);
    if digits.is_empty() || !underscores_separate_digits(text) {
        return Err(BadNumber::Syntax);
    }
    let mut value: u64 = 0;
    let mut fits = true;
    for digit in digits.chars().filter(|digit| *digit != '_') {
        let digit = digit.to_digit(radix).ok_or(BadNumber::Syntax)?;
        let next =
            value.checked_mul(radix.into()).and_then(|value| value.checked_add(digit.into()));
        fits &= next.is_some();
        value = next.unwrap_or(u64::MAX);
    }
    if !fits || (bits < 64 && value >> bits != 0) {
        return Err(BadNumber::Range);
    }
    Ok(value)
}

/// Reads what [`parse_uint`] does, with a sign.
pub(crate) fn parse_int(text: &str) -> Result<i64, BadNumber> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let magnitude = i128::from(parse_uint(digits, 64)?);
    let value = if negative { -magnitude } else { magnitude };
    i64::try_from(value).map_err(|_| BadNumber::Range)
}

fn split_radix(text: &str) -> (&str, u32) {
    let prefixed = |prefix: &str| {
        let head = text.get(..2)?;
        if head.eq_ignore_ascii_case(prefix) { text.get(2..) } else { None }
    };
    if let Some(digits) = prefixed("0x") {
        (digits, 16)
    } else if let Some(digits) = prefixed("0o") {
        (digits, 8)
    } else if let Some(digits) = prefixed("0b") {
        (digits, 2)
    } else if text.len() > 1 && text.starts_with('0') {
        (&text[1..], 8)
    } else {
        (text, 10)
    }
}

/// An underscore stands between two digits, or between a prefix such as `0x` and a digit, and
/// only in a number that has such a prefix or none at all.
fn underscores_separate_digits(text: &str) -> bool {
    let (digits, radix) = split_radix(text);
    let mut after_digit = radix != 10;
    for mark in digits.chars() {
        if mark == '_' && !after_digit {
            return false;
        }
        after_digit = mark != '_';
    }
    after_digit
}

/// A span of time in Go's range and spelling: signed nanoseconds, `1h30m0s`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GoDuration(pub(crate) i64);

/// Why a text is not a duration, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadDuration {
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    #[error("time: unknown unit {1:?} in duration {0:?}")]
    UnknownUnit(String, String),
}

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

impl GoDuration {
    /// Reads `1h2m3.5s`, `100ms`, `-1s`, `0`.
    pub(crate) fn parse(text: &str) -> Result<GoDuration, BadDuration> {
        let invalid = || BadDuration::Invalid(text.to_owned());
        let (negative, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if rest == "0" {
            return Ok(GoDuration(0));
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let number = leading(rest, |byte| byte.is_ascii_digit() || byte == b'.');
            let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
            if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
                return Err(invalid());
            }
            rest = &rest[number.len()..];
            let unit = leading(rest, |byte| byte != b'.' && !byte.is_ascii_digit());
            if unit.is_empty() {
                return Err(BadDuration::MissingUnit(text.to_owned()));
            }
            rest = &rest[unit.len()..];
            let unit = unit_nanoseconds(unit)
                .ok_or_else(|| BadDuration::UnknownUnit(text.to_owned(), unit.to_owned()))?;
            total += span(whole, fraction, unit).ok_or_else(invalid)?;
            // One past the greatest is let through, for it may be the least negative one.
            if total > i128::from(i64::MAX) + 1 {
                return Err(invalid());
            }
        }
        let signed = if negative { -total } else { total };
        i64::try_from(signed).map(GoDuration).map_err(|_| invalid())
    }

    /// As the standard library's duration; none is negative there, so those become zero.
    pub(crate) fn to_std(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }

    /// From the standard library's duration; the longest ones are cut at 292 years.
    pub(crate) fn from_std(duration: Duration) -> GoDuration {
        GoDuration(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }
}

fn leading(text: &str, keep: impl Fn(u8) -> bool) -> &str {
    let end = text.bytes().position(|byte| !keep(byte)).unwrap_or(text.len());
    // `keep` stops at ASCII bytes only, so this is never inside a character.
    &text[..end]
}

fn unit_nanoseconds(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        _ => return None,
    })
}

/// `whole.fraction` units in nanoseconds, rounded down.
fn span(whole: &str, fraction: &str, unit: u64) -> Option<i128> {
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Digits beyond these are less than a nanosecond of an hour; with them the product still fits.
    let digits = &fraction[..fraction.len().min(16)];
    let mut part: i128 = 0;
    for digit in digits.bytes() {
        part = part * 10 + i128::from(digit - b'0');
    }
    let scale = 10_i128.pow(u32::try_from(digits.len()).ok()?);
    Some(i128::from(whole) * i128::from(unit) + part * i128::from(unit) / scale)
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanoseconds = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        match nanoseconds {
            0 => f.write_str("0s"),
            1..MICROSECOND => write!(f, "{nanoseconds}ns"),
            MICROSECOND..MILLISECOND => decimal(f, nanoseconds, MICROSECOND, "\u{b5}s"),
            MILLISECOND..SECOND => decimal(f, nanoseconds, MILLISECOND, "ms"),
            _ => {
                let (hours, minutes) = (nanoseconds / HOUR, nanoseconds / MINUTE % 60);
                if hours > 0 {
                    write!(f, "{hours}h")?;
                }
                if hours > 0 || minutes > 0 {
                    write!(f, "{minutes}m")?;
                }
                decimal(f, nanoseconds % MINUTE, SECOND, "s")
            }
        }
    }
}

fn decimal(f: &mut fmt::Formatter<'_>, value: u64, unit: u64, name: &str) -> fmt::Result {
    write!(f, "{}", value / unit)?;
    let width = unit.ilog10() as usize;
    let fraction = format!("{:0width$}", value % unit);
    let fraction = fraction.trim_end_matches('0');
    if !fraction.is_empty() {
        write!(f, ".{fraction}")?;
    }
    f.write_str(name)
}

#[cfg(test)]
mod tests {
    use super::{BadNumber, GoDuration, parse_bool, parse_int, parse_uint};

    #[test]
    fn integers_are_gos() {
        let good = [
            ("0", 0),
            ("10", 10),
            ("0x1F", 31),
            ("0X1f", 31),
            ("0o17", 15),
            ("017", 15),
            ("0b101", 5),
            ("1_000", 1000),
            ("0x_10", 16),
            ("0_7", 7),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, value) in good {
            assert_eq!(parse_uint(text, 64), Ok(value), "{text}");
        }
        for text in
            ["", "x", "-1", "+1", "1__0", "_1", "1_", "0x", "08", "1.5", "1e3", "0x1g", " 1"]
        {
            assert_eq!(parse_uint(text, 64), Err(BadNumber::Syntax), "{text}");
        }
        assert_eq!(parse_uint("18446744073709551616", 64), Err(BadNumber::Range));
        assert_eq!(parse_uint("4294967296", 32), Err(BadNumber::Range));
        assert_eq!(parse_uint("4294967295", 32), Ok(u64::from(u32::MAX)));
        assert_eq!(parse_int("-0x10"), Ok(-16));
        assert_eq!(parse_int("+7"), Ok(7));
        assert_eq!(parse_int("-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(parse_int("9223372036854775808"), Err(BadNumber::Range));
        assert_eq!(parse_int("--1"), Err(BadNumber::Syntax));
    }

    #[test]
    fn truth_has_twelve_words() {
        for word in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(parse_bool(word), Some(true));
        }
        for word in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(parse_bool(word), Some(false));
        }
        for word in ["", "yes", "tRue", "on"] {
            assert_eq!(parse_bool(word), None);
        }
    }

    #[test]
    fn durations_are_read_and_written_as_in_go() {
        let cases = [
            ("0", 0, "0s"),
            ("5s", 5_000_000_000, "5s"),
            ("1h30m", 5_400_000_000_000, "1h30m0s"),
            ("100ms", 100_000_000, "100ms"),
            ("1.5s", 1_500_000_000, "1.5s"),
            (".5s", 500_000_000, "500ms"),
            ("1.s", 1_000_000_000, "1s"),
            ("-1.5h", -5_400_000_000_000, "-1h30m0s"),
            ("8167ns", 8_167, "8.167\u{b5}s"),
            ("3us", 3_000, "3\u{b5}s"),
            ("3\u{3bc}s", 3_000, "3\u{b5}s"),
            ("1ns", 1, "1ns"),
            ("2m0.000000001s", 120_000_000_001, "2m0.000000001s"),
            ("0.3333333333333333333h", 1_199_999_999_999, "19m59.999999999s"),
            ("-9223372036854775808ns", i64::MIN, "-2562047h47m16.854775808s"),
        ];
        for (text, nanoseconds, shown) in cases {
            let duration = GoDuration::parse(text).expect(text);
            assert_eq!(duration, GoDuration(nanoseconds), "{text}");
            assert_eq!(duration.to_string(), shown);
        }
    }

    #[test]
    fn bad_durations_are_refused_in_gos_words() {
        let cases = [
            ("", "time: invalid duration \"\""),
            ("-", "time: invalid duration \"-\""),
            ("x", "time: invalid duration \"x\""),
            (".s", "time: invalid duration \".s\""),
            ("1..5s", "time: invalid duration \"1..5s\""),
            ("5", "time: missing unit in duration \"5\""),
            ("1h5", "time: missing unit in duration \"1h5\""),
            ("5d", "time: unknown unit \"d\" in duration \"5d\""),
            ("9223372036854775808ns", "time: invalid duration \"9223372036854775808ns\""),
            ("3000000h", "time: invalid duration \"3000000h\""),
        ];
        for (text, error) in cases {
            assert_eq!(GoDuration::parse(text).expect_err(text).to_string(), error);
        }
    }
}
