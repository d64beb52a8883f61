//! What is asked of URLs beyond their grammar, before anything is opened.

use std::net::IpAddr;

use crate::url::{Url, split_host_port};

/// A URL that cannot serve its purpose; the texts are etcd's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// Listening needs an address of this machine: a name could mean any of several.
    #[error("expected IP in URL for binding ({0})")]
    NotAnIp(Url),
    /// Nobody can connect to an advertised URL without a host.
    #[error("unexpected empty host ({0})")]
    EmptyHost(Url),
}

/// Whether each URL names an address that one can listen on.
pub fn check_bindable(urls: &[Url]) -> Result<(), BadAddress> {
    let bad = tcp(urls).find(|url| {
        // As etcd judges: one special name, otherwise an address and no zone.
        url.hostname() != "localhost" && url.hostname().parse::<IpAddr>().is_err()
    });
    bad.map_or(Ok(()), |url| Err(BadAddress::NotAnIp(url.clone())))
}

/// Whether each URL names a host that others can connect to.
pub fn check_advertised(urls: &[Url]) -> Result<(), BadAddress> {
    let bad = tcp(urls).find(|url| url.hostname().is_empty());
    bad.map_or(Ok(()), |url| Err(BadAddress::EmptyHost(url.clone())))
}

fn tcp(urls: &[Url]) -> impl Iterator<Item = &Url> {
    urls.iter().filter(|url| !url.scheme().is_unix()).inspect(|url| {
        debug_assert!(split_host_port(&url.address()).is_some(), "the parser asked for host:port");
    })
}

#[cfg(test)]
mod tests {
    use super::{check_advertised, check_bindable};
    use crate::url::parse_urls;

    #[test]
    fn listening_needs_an_ip_or_localhost() {
        for good in ["http://localhost:1", "http://0.0.0.0:1,https://[::]:2", "unix://any.name:1"] {
            assert_eq!(check_bindable(&parse_urls(good).expect(good)), Ok(()), "{good}");
        }
        for bad in ["http://example.com:1", "http://:1", "http://[fe80::1%25eth0]:1"] {
            let error = check_bindable(&parse_urls(bad).expect(bad)).expect_err(bad);
            assert!(error.to_string().starts_with("expected IP in URL for binding (http://"));
        }
    }

    #[test]
    fn advertising_needs_a_host() {
        for good in ["http://example.com:1", "unix:///run/x", "http://0.0.0.0:1"] {
            assert_eq!(check_advertised(&parse_urls(good).expect(good)), Ok(()), "{good}");
        }
        let error = check_advertised(&parse_urls("http://:1").expect("parses")).expect_err("bad");
        assert_eq!(error.to_string(), "unexpected empty host (http://:1)");
    }
}
