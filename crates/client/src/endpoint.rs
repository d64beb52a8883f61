use net::Url;

use crate::Error;

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `host:port`.
    Tcp(String),
    /// A socket's file.
    Unix(String),
}

impl Endpoint {
    /// Reads a URL, or `host:port` alone.
    pub(crate) fn parse(text: &str) -> Result<Endpoint, Error> {
        let text = text.trim();
        let refuse = |reason: String| Err(Error::Endpoint { endpoint: text.to_owned(), reason });
        let url = match text.contains("://") || text.starts_with("unix") {
            true => Url::parse(text),
            false => Url::parse(&format!("http://{text}")),
        };
        match url {
            Err(error) => refuse(error.to_string()),
            Ok(url) if url.scheme().is_secure() => refuse("TLS is not built yet".to_owned()),
            Ok(url) if url.scheme().is_unix() => Ok(Endpoint::Unix(url.address())),
            Ok(url) => Ok(Endpoint::Tcp(url.address())),
        }
    }

    /// What requests say of where they go.
    pub(crate) fn authority(&self) -> &str {
        match self {
            Endpoint::Tcp(address) => address,
            Endpoint::Unix(_) => "localhost",
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Endpoint::Tcp(address) | Endpoint::Unix(address) => f.write_str(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_operators_write_is_an_endpoint() {
        let tcp = |address: &str| Ok(Endpoint::Tcp(address.to_owned()));
        assert_eq!(Endpoint::parse("localhost:2379"), tcp("localhost:2379"));
        assert_eq!(Endpoint::parse(" http://10.0.0.1:1"), tcp("10.0.0.1:1"));
        assert_eq!(Endpoint::parse("[::1]:2379"), tcp("[::1]:2379"));
        assert_eq!(Endpoint::parse("unix:///run/x"), Ok(Endpoint::Unix("/run/x".to_owned())));
    }

    #[test]
    fn what_cannot_be_dialled_is_refused() {
        for text in ["", "localhost", "https://a:1", "ftp://a:1", "http://a:1/x", "unixs://a:1"] {
            let refused = Endpoint::parse(text).expect_err(text);
            assert!(matches!(refused, Error::Endpoint { .. }), "{text}");
        }
    }
}
