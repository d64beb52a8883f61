//! Paths that are written in a roundabout way: the client is sent to the straight one.

use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderValue, Method, Response, StatusCode, Uri};

use super::typed;

/// Where a request should have gone, with its query; `None` if it is right.
pub(super) fn elsewhere(method: &Method, uri: &Uri, gateway: bool) -> Option<String> {
    if *method == Method::CONNECT {
        return None;
    }
    let path = uri.path();
    let mut clean = clean(path);
    if gateway && clean == "/v3" {
        clean.push('/');
    }
    if clean == path {
        return None;
    }
    // The straight path is written anew, and an escape in it is escaped.
    let clean = clean.replace('%', "%25");
    Some(match uri.query() {
        Some(query) => format!("{clean}?{query}"),
        None => clean,
    })
}

/// Sends a client to another path, with a body where it may have one.
pub(super) fn redirect(method: &Method, place: &str) -> Response<Bytes> {
    let mut response = if *method == Method::GET || *method == Method::HEAD {
        let place = place.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let place = place.replace('"', "&#34;").replace('\'', "&#39;");
        let body = format!("<a href=\"{place}\">Temporary Redirect</a>.\n\n");
        typed(StatusCode::TEMPORARY_REDIRECT, "text/html; charset=utf-8", body)
    } else {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
        response
    };
    if let Ok(place) = HeaderValue::from_str(place) {
        response.headers_mut().insert(LOCATION, place);
    }
    response
}

/// A path without empty parts, `.` and `..`; a slash at its end stays.
fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut clean = format!("/{}", parts.join("/"));
    if path.ends_with('/') && !clean.ends_with('/') {
        clean.push('/');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roundabout_paths_lead_elsewhere() {
        for (from, to) in [
            ("/v3/kv/range", None),
            ("/v3/kv/range/", None),
            ("/", None),
            ("/v3", Some("/v3/")),
            ("/v3?x=1", Some("/v3/?x=1")),
            ("//health", Some("/health")),
            ("/v3/kv/../kv/./range?x=1", Some("/v3/kv/range?x=1")),
            ("/../..", Some("/")),
            ("/a//%41/", Some("/a/%2541/")),
        ] {
            let uri: Uri = from.parse().expect("is a path");
            assert_eq!(elsewhere(&Method::GET, &uri, true).as_deref(), to, "{from}");
        }
        assert_eq!(elsewhere(&Method::GET, &Uri::from_static("/v3"), false), None);
        assert_eq!(elsewhere(&Method::CONNECT, &Uri::from_static("/v3"), true), None);
        let get = redirect(&Method::GET, "/a?\"");
        assert_eq!(get.body(), "<a href=\"/a?&#34;\">Temporary Redirect</a>.\n\n");
        assert!(redirect(&Method::POST, "/a").body().is_empty());
    }
}
