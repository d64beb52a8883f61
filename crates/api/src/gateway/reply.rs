//! Answers: messages and refusals as JSON, with the status codes of HTTP.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use proto::json::{Schema, Style, write, write_text};

use crate::answer::Answer;
use crate::status::{Code, Status};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const OF_CALL: HeaderName = HeaderName::from_static("grpc-metadata-content-type");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// A good answer.
pub(super) fn good(body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response.headers_mut().insert(OF_CALL, GRPC);
    response
}

/// A stream that ended well before it said anything.
pub(super) fn silent() -> Response<Answer> {
    Response::new(Answer::Whole(Bytes::new()))
}

/// An answer that is a status.
pub(super) fn refusal(status: &Status) -> Response<Answer> {
    let mut body = Vec::new();
    put_status(status, Style::Plain, &mut body);
    let mut response = Response::new(Answer::Whole(Bytes::from(body)));
    *response.status_mut() = http_status(status.code);
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    if status.code == Code::Unauthenticated
        && let Ok(message) = HeaderValue::from_str(&status.message)
    {
        response.headers_mut().insert(WWW_AUTHENTICATE, message);
    }
    response
}

/// A message as JSON. Most of it is base64, which takes four bytes for three.
pub(super) fn message(schema: &'static Schema, wire: &[u8]) -> Result<Bytes, Status> {
    let mut out = Vec::with_capacity(wire.len() / 2 * 3 + 256);
    put_message(schema, wire, Style::Plain, &mut out)?;
    Ok(Bytes::from(out))
}

/// A message of a stream as a line.
pub(super) fn line(schema: &'static Schema, wire: &[u8]) -> Result<Bytes, Status> {
    let mut out = Vec::with_capacity(wire.len() / 2 * 3 + 256);
    out.extend_from_slice(b"{\"result\":");
    put_message(schema, wire, Style::Html, &mut out)?;
    out.extend_from_slice(b"}\n");
    Ok(Bytes::from(out))
}

/// The line with which a stream ends badly.
pub(super) fn last_line(status: &Status) -> Bytes {
    let mut out = Vec::from(b"{\"error\":");
    put_status(status, Style::Html, &mut out);
    out.extend_from_slice(b"}\n");
    Bytes::from(out)
}

fn put_message(
    schema: &'static Schema,
    wire: &[u8],
    style: Style,
    out: &mut Vec<u8>,
) -> Result<(), Status> {
    write(schema, wire, style, out)
        .map_err(|malformed| Status::new(Code::Internal, malformed.to_string()))
}

fn put_status(status: &Status, style: Style, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{{\"code\":{}", status.code as u8).as_bytes());
    if !status.message.is_empty() {
        out.extend_from_slice(b",\"message\":");
        write_text(&status.message, style, out);
    }
    out.push(b'}');
}

/// The code that HTTP has for a code of gRPC.
fn http_status(code: Code) -> StatusCode {
    let number = match code {
        Code::Ok => 200,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
        Code::Unauthenticated => 401,
        Code::PermissionDenied => 403,
        Code::NotFound => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::ResourceExhausted => 429,
        Code::Canceled => 499,
        Code::Unknown | Code::Internal | Code::DataLoss => 500,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::DeadlineExceeded => 504,
    };
    StatusCode::from_u16(number).expect("all of them are codes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_written_as_by_grpc_gateway() {
        for (code, number) in [
            (Code::NotFound, 404),
            (Code::FailedPrecondition, 400),
            (Code::Canceled, 499),
            (Code::ResourceExhausted, 429),
            (Code::Unauthenticated, 401),
        ] {
            let response = refusal(&Status::new(code, "etcdserver: <no>"));
            assert_eq!(response.status(), number);
            assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
            let asks = response.headers().get(WWW_AUTHENTICATE).is_some();
            assert_eq!(asks, code == Code::Unauthenticated);
            let Answer::Whole(body) = response.into_body() else { panic!("is not a stream") };
            let expected = format!("{{\"code\":{},\"message\":\"etcdserver: <no>\"}}", code as u8);
            assert_eq!(body, expected);
        }
        let last = last_line(&Status::new(Code::Unavailable, "<x>"));
        assert_eq!(last, "{\"error\":{\"code\":14,\"message\":\"\\u003cx\\u003e\"}}\n");
    }
}
