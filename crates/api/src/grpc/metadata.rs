//! What gRPC says in headers: deadline, metadata, status.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http2::Head;

use crate::rpc::Caller;
use crate::status::{Code, Status};

/// What the head of a call says beside its path.
#[derive(Debug, Default)]
pub(crate) struct Metadata {
    pub(crate) caller: Caller,
    /// The time that the client gives the call.
    pub(crate) timeout: Option<Duration>,
    /// The compression of its messages, where there is one.
    pub(crate) encoding: Option<String>,
}

impl Metadata {
    /// Reads the fields that mean something; the others are for others.
    pub(crate) fn of(head: &Head) -> Result<Self, Status> {
        let mut metadata = Self::default();
        for field in &head.fields {
            match &field.name[..] {
                b"token" => first(&mut metadata.caller.credentials.token, &field.value),
                b"authorization" => {
                    first(&mut metadata.caller.credentials.authorization, &field.value);
                }
                b"traceparent" => first(&mut metadata.caller.trace().parent, &field.value),
                b"tracestate" => first(&mut metadata.caller.trace().state, &field.value),
                b"grpcgateway-accept" => metadata.caller.credentials.by_gateway = true,
                b"hasleader" => metadata.caller.require_leader = field.value == "true",
                b"client-api-version" => {
                    let version = text(&field.value).ok_or_else(|| {
                        let text = "etcdserver: invalid client api version";
                        Status::new(Code::InvalidArgument, text)
                    })?;
                    metadata.caller.api_version = Some(version.to_owned());
                }
                b"grpc-timeout" => {
                    let value = String::from_utf8_lossy(&field.value);
                    let parsed = timeout(&value).map_err(|reason| {
                        let text = format!("malformed grpc-timeout: {reason}");
                        Status::new(Code::Internal, text)
                    })?;
                    metadata.timeout = Some(parsed);
                }
                b"grpc-encoding" if field.value != "identity" => {
                    let encoding = String::from_utf8_lossy(&field.value);
                    metadata.encoding = (!encoding.is_empty()).then(|| encoding.into_owned());
                }
                _ => {}
            }
        }
        Ok(metadata)
    }
}

/// Of several values the first one counts.
fn first(known: &mut Option<Bytes>, value: &Bytes) {
    known.get_or_insert_with(|| value.clone());
}

fn text(value: &Bytes) -> Option<&str> {
    std::str::from_utf8(value).ok()
}

/// Whether a content type is one of gRPC's.
pub(crate) fn is_grpc(content_type: &[u8]) -> bool {
    let behind = content_type.strip_prefix(b"application/grpc");
    behind.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Reads `5S`; what is wrong is told as grpc-go tells it.
fn timeout(value: &str) -> Result<Duration, String> {
    if value.len() < 2 {
        return Err(format!("transport: timeout string is too short: {value:?}"));
    }
    if value.len() > 9 {
        return Err(format!("transport: timeout string is too long: {value:?}"));
    }
    let unknown = || format!("transport: timeout unit is not recognized: {value:?}");
    let (digits, unit) = value.split_at_checked(value.len() - 1).ok_or_else(unknown)?;
    let of: fn(u64) -> Duration = match unit {
        "H" => |count| Duration::from_secs(count * 3600),
        "M" => |count| Duration::from_secs(count * 60),
        "S" => Duration::from_secs,
        "m" => Duration::from_millis,
        "u" => Duration::from_micros,
        "n" => Duration::from_nanos,
        _ => return Err(unknown()),
    };
    let only_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse() {
        Ok(count) if only_digits => Ok(of(count)),
        _ => Err(format!("strconv.ParseUint: parsing {digits:?}: invalid syntax")),
    }
}

/// Appends `grpc-status` and `grpc-message`.
pub(crate) fn put_status(block: &mut Vec<u8>, outcome: &Result<(), Status>) {
    let Err(status) = outcome else {
        http2::encode(block, b"grpc-status", b"0");
        return;
    };
    let code = (status.code as u16).to_string();
    http2::encode(block, b"grpc-status", code.as_bytes());
    http2::encode(block, b"grpc-message", percent_encode(&status.message).as_bytes());
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

    #[test]
    fn timeouts_have_eight_digits_and_a_unit() {
        assert_eq!(timeout("5S"), Ok(Duration::from_secs(5)));
        assert_eq!(timeout("4999866u"), Ok(Duration::from_micros(4_999_866)));
        assert_eq!(timeout("99999999H"), Ok(Duration::from_secs(99_999_999 * 3600)));
        for (bad, reason) in [
            ("", "transport: timeout string is too short: \"\""),
            ("S", "transport: timeout string is too short: \"S\""),
            ("123456789S", "transport: timeout string is too long: \"123456789S\""),
            ("5x", "transport: timeout unit is not recognized: \"5x\""),
            ("5\u{fc}", "transport: timeout unit is not recognized: \"5\u{fc}\""),
            ("-5S", "strconv.ParseUint: parsing \"-5\": invalid syntax"),
            ("+5S", "strconv.ParseUint: parsing \"+5\": invalid syntax"),
        ] {
            assert_eq!(timeout(bad).unwrap_err(), reason);
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_encode("100% \u{fc}\n"), "100%25 %C3%BC%0A");
    }

    #[test]
    fn content_types_of_grpc_are_known() {
        for good in ["application/grpc", "application/grpc+proto", "application/grpc;x"] {
            assert!(is_grpc(good.as_bytes()), "{good}");
        }
        for bad in ["application/grpcx", "application/grpc-web", "text/plain", ""] {
            assert!(!is_grpc(bad.as_bytes()), "{bad}");
        }
    }
}
