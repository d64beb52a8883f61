/// Why a list of peer URLs is refused; the texts are for the log, clients see one error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Nothing was given.
    #[error("no valid URLs given")]
    Empty,
    /// Neither http(s) nor unix(s).
    #[error("URL scheme must be http, https, unix, or unixs: {0}")]
    Scheme(String),
    /// Host and port must both be there.
    #[error("URL address does not have the form \"host:port\": {0}")]
    Address(String),
    /// A peer URL names a listener, not a resource.
    #[error("URL must not contain a path: {0}")]
    Path(String),
}

/// Checks the peer URLs of a member add and gives them trimmed and sorted, as they are stored.
pub fn check_peer_urls<S: AsRef<str>>(urls: &[S]) -> Result<Vec<String>, UrlError> {
    if urls.is_empty() {
        return Err(UrlError::Empty);
    }
    let mut checked = Vec::with_capacity(urls.len());
    for url in urls {
        checked.push(check_one(url.as_ref().trim())?);
    }
    checked.sort_unstable();
    Ok(checked)
}

fn check_one(url: &str) -> Result<String, UrlError> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| UrlError::Scheme(url.to_owned()))?;
    let scheme = scheme.to_ascii_lowercase();
    match scheme.as_str() {
        "unix" | "unixs" => {}
        "http" | "https" => {
            let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            if !is_host_port(host) {
                return Err(UrlError::Address(url.to_owned()));
            }
            let path = rest.split(['?', '#']).next().unwrap_or_default();
            if path.contains('/') {
                return Err(UrlError::Path(url.to_owned()));
            }
        }
        _ => return Err(UrlError::Scheme(url.to_owned())),
    }
    Ok(format!("{scheme}://{rest}"))
}

/// `host:port`, `[v6]:port`; an empty host or port is fine, as in Go. A port is a number.
fn is_host_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    (bracketed || !host.contains([':', '[', ']'])) && port.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_urls_come_back_trimmed_and_sorted() {
        assert_eq!(
            check_peer_urls(&[" https://b:2380", "HTTP://[::1]:2380 ", "unix://a.sock:1"]),
            Ok(vec![
                "http://[::1]:2380".to_owned(),
                "https://b:2380".to_owned(),
                "unix://a.sock:1".to_owned()
            ])
        );
    }

    #[test]
    fn bad_urls_are_refused_for_their_reason() {
        let none: [&str; 0] = [];
        assert_eq!(check_peer_urls(&none), Err(UrlError::Empty));
        for url in ["127.0.0.1:2380", "ftp://a:1", "", "://a:1"] {
            assert!(matches!(check_peer_urls(&[url]), Err(UrlError::Scheme(_))), "{url}");
        }
        for url in ["http://a", "http://", "http://::1:1", "http://a:b"] {
            assert!(matches!(check_peer_urls(&[url]), Err(UrlError::Address(_))), "{url}");
        }
        for url in ["http://a:1/", "http://a:1/x"] {
            assert!(matches!(check_peer_urls(&[url]), Err(UrlError::Path(_))), "{url}");
        }
    }
}
