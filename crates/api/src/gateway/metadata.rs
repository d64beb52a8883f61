//! What the headers of a request say to the call.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{Method, request};
use http2::{Field, Head};
use proto::json::{Alphabet, decode_base64};
use tokio::time::Instant;

use crate::grpc::Metadata;
use crate::rpc::Caller;
use crate::status::{Code, Status};

const PREFIX: &str = "grpc-metadata-";
/// Headers that every call hears of, under this name.
const FORWARDED_PREFIX: &str = "grpcgateway-";
const FORWARDED: [&str; 24] = [
    "accept",
    "accept-charset",
    "accept-language",
    "accept-ranges",
    "authorization",
    "cache-control",
    "content-type",
    "cookie",
    "date",
    "expect",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-schedule-tag-match",
    "if-unmodified-since",
    "max-forwards",
    "origin",
    "pragma",
    "referer",
    "user-agent",
    "via",
    "warning",
];

/// Who calls, and until when an answer is of use.
pub(super) fn of(parts: &request::Parts) -> Result<(Caller, Option<Instant>), Status> {
    let deadline = deadline(parts)?;
    let mut head = Head::default();
    for (name, value) in &parts.headers {
        let name = name.as_str();
        let Some(key) = key(name) else { continue };
        let mut value = Bytes::copy_from_slice(value.as_bytes());
        if name.ends_with("-bin") {
            value = binary(name, &value)?;
        } else if value.iter().any(|byte| !(0x20..0x7f).contains(byte)) {
            // Calls carry no such text.
            continue;
        }
        if name == "authorization" {
            head.fields.push(Field { name: Bytes::from("authorization"), value: value.clone() });
        }
        head.fields.push(Field { name: Bytes::from(key), value });
    }
    Ok((Metadata::of(&head)?.caller, deadline))
}

/// The name under which a call hears of a header. What begins like gRPC's own is not passed on.
fn key(header: &str) -> Option<String> {
    if FORWARDED.contains(&header) {
        return Some(format!("{FORWARDED_PREFIX}{header}"));
    }
    let key = header.strip_prefix(PREFIX)?;
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let is_ours = key.starts_with("grpc-") || key == "content-type";
    (!is_ours && key.bytes().all(is_good)).then(|| key.to_owned())
}

fn binary(name: &str, value: &[u8]) -> Result<Bytes, Status> {
    let mut bytes = Vec::new();
    match decode_base64(value, Alphabet::Standard, value.len().is_multiple_of(4), &mut bytes) {
        Ok(()) => Ok(Bytes::from(bytes)),
        Err(place) => {
            let name = canonical(name);
            let text =
                format!("invalid binary header {name}: illegal base64 data at input byte {place}");
            Err(Status::new(Code::InvalidArgument, text))
        }
    }
}

/// `grpc-metadata-x` as `Grpc-Metadata-X`.
fn canonical(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        let first = out.is_empty() || out.ends_with('-');
        out.push(if first { c.to_ascii_uppercase() } else { c });
    }
    out
}

fn deadline(parts: &request::Parts) -> Result<Option<Instant>, Status> {
    let Some(text) = parts.headers.get("grpc-timeout").filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(text.as_bytes());
    let bad = || Status::new(Code::InvalidArgument, format!("invalid grpc-timeout: {text}"));
    let (count, unit) = text.split_at_checked(text.len() - 1).ok_or_else(bad)?;
    let nanos: i128 = match unit {
        "H" => 3_600_000_000_000,
        "M" => 60_000_000_000,
        "S" => 1_000_000_000,
        "m" => 1_000_000,
        "u" => 1000,
        "n" => 1,
        _ => return Err(bad()),
    };
    let count: i64 = count.parse().map_err(|_| bad())?;
    let nanos = i128::from(count) * nanos;
    if nanos == 0 {
        return Ok(None);
    }
    // What is over before it begins is over now; what is beyond all clocks is no deadline.
    let span = Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX));
    Ok(Instant::now().checked_add(span))
}

/// The method that a form says it is meant for.
pub(super) fn method(parts: &request::Parts) -> Option<Method> {
    const OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");
    let meant = parts.headers.get(OVERRIDE).filter(|value| !value.is_empty())?;
    let kind = parts.headers.get(CONTENT_TYPE)?;
    let is_form = parts.method == Method::POST && kind == "application/x-www-form-urlencoded";
    let upper = meant.as_bytes().to_ascii_uppercase();
    is_form.then(|| Method::from_bytes(&upper).unwrap_or(Method::CONNECT))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts(headers: &[(&str, &str)]) -> request::Parts {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("is a request").into_parts().0
    }

    #[test]
    fn metadata_is_passed_on_and_the_rest_is_not() {
        let (caller, deadline) = of(&parts(&[
            ("Grpc-Metadata-hasleader", "true"),
            ("Grpc-Metadata-Client-Api-Version", "3.7"),
            ("Grpc-Metadata-X-Bin", "Zm9v"),
            ("Grpc-Metadata-Grpc-Timeout", "nonsense"),
            ("hasleader", "false"),
        ]))
        .expect("is good");
        assert!(caller.require_leader && deadline.is_none());
        assert_eq!(caller.api_version.as_deref(), Some("3.7"));
        assert_eq!(key("accept").as_deref(), Some("grpcgateway-accept"));
        assert_eq!(key("grpc-metadata-token").as_deref(), Some("token"));
        assert_eq!(key("grpc-metadata-grpc-encoding"), None);
        assert_eq!(key("x-real-ip"), None);
    }

    #[test]
    fn bad_headers_are_told_as_by_grpc_gateway() {
        for (name, value, text) in [
            ("Grpc-Timeout", "x", "invalid grpc-timeout: x"),
            ("Grpc-Timeout", "5", "invalid grpc-timeout: 5"),
            ("Grpc-Timeout", "S", "invalid grpc-timeout: S"),
            (
                "grpc-metadata-x-bin",
                "?",
                "invalid binary header Grpc-Metadata-X-Bin: illegal base64 data at input byte 0",
            ),
        ] {
            let status = of(&parts(&[(name, value)])).expect_err("is bad");
            assert_eq!((status.code, &*status.message), (Code::InvalidArgument, text));
        }
        for (value, set) in [("5S", true), ("-5S", true), ("0S", false), ("+7m", true)] {
            let (_, deadline) = of(&parts(&[("grpc-timeout", value)])).expect("is good");
            assert_eq!(deadline.is_some(), set, "{value}");
        }
    }

    #[test]
    fn only_forms_have_another_method() {
        const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
        let method = |headers: &[_], posted| {
            let mut parts = parts(headers);
            parts.method = posted;
            method(&parts)
        };
        let meant = ("x-http-method-override", "put");
        assert_eq!(method(&[FORM, meant], Method::POST), Some(Method::PUT));
        assert_eq!(method(&[FORM, meant], Method::GET), None);
        assert_eq!(method(&[meant], Method::POST), None);
        assert_eq!(method(&[FORM], Method::POST), None);
    }
}
