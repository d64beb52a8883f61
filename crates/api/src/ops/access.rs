//! Who may use the plain HTTP: the host that was asked for, and the origin of scripts.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, HOST,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode, request};

use super::error;
use crate::door::Via;

const METHODS: HeaderValue = HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE");
const HEADERS: HeaderValue = HeaderValue::from_static("accept, content-type, authorization");

/// What of plain HTTP is served, and to whom. No names at all, or `*` among them, means everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// `--host-whitelist`: host names under which plain HTTP is served.
    pub hosts: Vec<String>,
    /// `--cors`: origins whose scripts may read answers.
    pub origins: Vec<String>,
    /// `--enable-grpc-gateway`: whether the API is served as JSON, too.
    pub gateway: bool,
}

impl Access {
    /// The answer to a request for a host that is not served.
    pub(super) fn refusal(&self, request: &request::Parts) -> Option<Response<Bytes>> {
        // Who was shown the certificate of a host knows where he is.
        let is_tls = request.extensions.get::<Via>().is_some_and(|via| via.is_tls);
        if is_tls || is_open(&self.hosts) {
            return None;
        }
        let host = host(request);
        if self.hosts.iter().any(|served| served == host) {
            return None;
        }
        tracing::warn!(host, "rejecting HTTP request to prevent DNS rebinding attacks");
        Some(error(StatusCode::MISDIRECTED_REQUEST, misdirected(host)))
    }

    /// Tells the browser whose scripts may read the answer.
    pub(super) fn mark(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        let any = is_open(&self.origins);
        let known = origin.filter(|origin| {
            self.origins.iter().any(|known| known.as_bytes() == origin.as_bytes())
        });
        let everybody = any.then_some(HeaderValue::from_static("*"));
        if let Some(origin) = everybody.or(known.cloned()) {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
        }
    }
}

fn is_open(names: &[String]) -> bool {
    names.is_empty() || names.iter().any(|name| name == "*")
}

/// The host that the client believes to speak to, without its port.
fn host(request: &request::Parts) -> &str {
    let header = request.headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = request.uri.authority().map(http::uri::Authority::as_str);
    let whole = header.or(authority).unwrap_or_default();
    match whole.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => match host.strip_prefix('[') {
            Some(bracketed) => bracketed.trim_end_matches(']'),
            // Colons without brackets are no port.
            None if host.contains(':') => whole,
            None => host,
        },
        _ => whole,
    }
}

/// What etcd tells whoever asked: how to be served.
fn misdirected(host: &str) -> String {
    format!(
        "\n\
         etcd received your request, but the Host header was unrecognized.\n\
         \n\
         To fix this, choose one of the following options:\n\
         - Enable TLS, then any HTTPS request will be allowed.\n\
         - Add the hostname you want to use to the whitelist in settings.\n  \
         - e.g. etcd --host-whitelist {host:?}\n\
         \n\
         This requirement has been added to help prevent \"DNS Rebinding\" attacks \
         (CVE-2018-5702).\n\n"
    )
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn request(host: &str, origin: &str) -> request::Parts {
        let request = Request::builder().header("host", host).header("origin", origin);
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn hosts_are_compared_without_their_port() {
        for (given, expected) in [
            ("localhost:2379", "localhost"),
            ("localhost", "localhost"),
            ("[::1]:2379", "::1"),
            ("[::1]", "[::1]"),
            ("::1", "::1"),
            ("", ""),
        ] {
            assert_eq!(host(&request(given, "x")), expected, "{given}");
        }
        let access = Access { hosts: vec!["localhost".to_owned()], ..Access::default() };
        assert!(access.refusal(&request("localhost:1", "x")).is_none());
        let refusal = access.refusal(&request("evil", "x")).expect("is refused");
        assert_eq!(refusal.status(), StatusCode::MISDIRECTED_REQUEST);
        assert_eq!(refusal.body().len(), 371 - "127.0.0.1".len() + "evil".len());
        let open = Access { hosts: vec!["a".to_owned(), "*".to_owned()], ..access };
        assert!(open.refusal(&request("evil", "x")).is_none());
    }

    #[test]
    fn only_known_origins_may_read() {
        let marked = |origins: &[&str], origin| {
            let origins = origins.iter().map(|&origin| origin.to_owned()).collect();
            let mut headers = HeaderMap::new();
            let origin = HeaderValue::from_static(origin);
            Access { origins, ..Access::default() }.mark(Some(&origin), &mut headers);
            let header = headers.get(ACCESS_CONTROL_ALLOW_ORIGIN);
            header.map(|value| value.to_str().expect("is text").to_owned())
        };
        assert_eq!(marked(&[], "http://a:1"), Some("*".to_owned()));
        assert_eq!(marked(&["*"], "http://a:1"), Some("*".to_owned()));
        let known = &["http://a:1", "http://b:2"];
        assert_eq!(marked(known, "http://b:2"), Some("http://b:2".to_owned()));
        assert_eq!(marked(known, "http://c:3"), None);
    }
}
