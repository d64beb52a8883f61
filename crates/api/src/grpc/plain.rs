//! HTTP/2 requests that are no calls: the operator's, as over HTTP/1.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, request};
use http2::Head;

use crate::answer::{self, Answer, Incoming};
use crate::door::Via;
use crate::host::Host;
use crate::rpc::BoxFuture;

/// Answers such a request. What cannot be one is answered with 400.
pub(super) fn answer<H: Host>(
    host: Arc<H>,
    via: &Via,
    head: &Head,
    body: Incoming,
) -> BoxFuture<Response<Answer>> {
    let Some(mut parts) = parts(head) else {
        return Box::pin(std::future::ready(Answer::whole(bad_request())));
    };
    let (offer, peer) = (via.offer, via.peer);
    parts.extensions.insert(via.clone());
    let request = answer::Request::new(parts, body, peer);
    host.answer(offer, request)
}

fn parts(head: &Head) -> Option<request::Parts> {
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(&head.method).ok()?;
    *request.uri_mut() = http::Uri::from_maybe_shared(head.path.clone()).ok()?;
    for field in &head.fields {
        let name = HeaderName::from_bytes(&field.name).ok()?;
        let value = HeaderValue::from_maybe_shared(field.value.clone()).ok()?;
        request.headers_mut().append(name, value);
    }
    // What a client says of the host beside it does not count, as in Go.
    if !head.authority.is_empty() {
        let host = HeaderValue::from_maybe_shared(head.authority.clone()).ok()?;
        request.headers_mut().insert(http::header::HOST, host);
    }
    Some(request.into_parts().0)
}

fn bad_request() -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(b"400 Bad Request"));
    *response.status_mut() = http::StatusCode::BAD_REQUEST;
    response
}

/// The header block of a response.
pub(super) fn block(response: &Response<Answer>) -> Vec<u8> {
    let mut block = Vec::new();
    http2::encode(&mut block, b":status", response.status().as_str().as_bytes());
    for (name, value) in response.headers() {
        http2::encode(&mut block, name.as_str().as_bytes(), value.as_bytes());
    }
    if let Answer::Whole(body) = response.body() {
        http2::encode(&mut block, b"content-length", body.len().to_string().as_bytes());
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_the_host() {
        let host = |authority: &'static str, header: Option<&'static str>| {
            let mut head = Head::default();
            head.authority = Bytes::from(authority);
            (head.method, head.path) = (Bytes::from("GET"), Bytes::from("/health?serializable=x"));
            head.fields.extend(header.map(|value| http2::Field {
                name: Bytes::from("host"),
                value: Bytes::from(value),
            }));
            let parts = parts(&head).expect("it is a request");
            assert_eq!((parts.uri.path(), parts.uri.query()), ("/health", Some("serializable=x")));
            parts.headers.get("host").map(|host| host.to_str().expect("it is text").to_owned())
        };
        assert_eq!(host("a:1", Some("b")).as_deref(), Some("a:1"));
        assert_eq!(host("", Some("b")).as_deref(), Some("b"));
        assert_eq!(host("http://a:1", None).as_deref(), Some("http://a:1"));
        assert_eq!(host("", None), None);
    }
}
