//! What gRPC says in headers: deadline, metadata, status.

use std::fmt::Write as _;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::rpc::Caller;
use crate::status::{Code, Status};

/// Reads who calls from the request's headers.
pub(crate) fn caller(headers: &HeaderMap) -> Result<Caller, Status> {
    let require_leader = headers.get("hasleader").is_some_and(|value| value == "true");
    let api_version = match headers.get("client-api-version") {
        None => None,
        Some(value) => match std::str::from_utf8(value.as_bytes()) {
            Ok(version) => Some(version.to_owned()),
            Err(_) => {
                let text = "etcdserver: invalid client api version";
                return Err(Status::new(Code::InvalidArgument, text));
            }
        },
    };
    Ok(Caller { require_leader, api_version, ..Caller::default() })
}

/// The time that the client gives the call (`grpc-timeout: 5S`).
pub(crate) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let malformed = || Status::new(Code::Internal, "malformed grpc-timeout");
    let text = value.to_str().map_err(|_| malformed())?;
    let (digits, unit) =
        text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(malformed)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed());
    }
    let count: u64 = digits.parse().map_err(|_| malformed())?;
    Ok(Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return Err(malformed()),
    }))
}

/// Writes `grpc-status` and `grpc-message`.
pub(crate) fn put_status(headers: &mut HeaderMap, outcome: &Result<(), Status>) {
    let Err(status) = outcome else {
        headers.insert("grpc-status", HeaderValue::from_static("0"));
        return;
    };
    headers.insert("grpc-status", HeaderValue::from(status.code as u16));
    if let Ok(message) = HeaderValue::from_str(&percent_encode(&status.message)) {
        headers.insert("grpc-message", message);
    }
}

/// gRPC's encoding of the message: all but printable ASCII, and `%`, as `%XX`.
fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (0x20..0x7f).contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_timeout(value: &str) -> Result<Option<Duration>, Status> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", HeaderValue::from_str(value).unwrap());
        timeout(&headers)
    }

    #[test]
    fn timeouts_have_eight_digits_and_a_unit() {
        assert_eq!(with_timeout("5S"), Ok(Some(Duration::from_secs(5))));
        assert_eq!(with_timeout("4999866u"), Ok(Some(Duration::from_micros(4_999_866))));
        for bad in ["", "S", "5", "123456789S", "5x", "-5S"] {
            assert_eq!(with_timeout(bad).unwrap_err().code, Code::Internal, "{bad:?}");
        }
        assert_eq!(timeout(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_encode("100% \u{fc}\n"), "100%25 %C3%BC%0A");
    }
}
