use net::Url;

use crate::Error;

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    url: Url,
    /// Whether the URL says if TLS is spoken there; one without a scheme does not.
    has_scheme: bool,
}

impl Endpoint {
    /// Reads a URL, or `host:port` alone.
    pub(crate) fn parse(text: &str) -> Result<Endpoint, Error> {
        let text = text.trim();
        let refuse = |reason: String| Err(Error::Endpoint { endpoint: text.to_owned(), reason });
        let has_scheme = text.contains("://") || text.starts_with("unix");
        let url = match has_scheme {
            true => Url::parse(text),
            false => Url::parse(&format!("http://{text}")),
        };
        match url {
            Err(error) => refuse(error.to_string()),
            Ok(url) => Ok(Endpoint { url, has_scheme }),
        }
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Whether TLS is spoken there; `by_default` is for those that do not say.
    pub(crate) fn is_secure(&self, by_default: bool) -> bool {
        if self.has_scheme { self.url.scheme().is_secure() } else { by_default }
    }

    /// What requests say of where they go.
    pub(crate) fn authority(&self) -> String {
        match self.url.scheme().is_unix() {
            true => "localhost".to_owned(),
            false => self.url.address(),
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.url.address())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_operators_write_is_an_endpoint() {
        let address = |text| Endpoint::parse(text).map(|endpoint| endpoint.to_string());
        assert_eq!(address("localhost:2379"), Ok("localhost:2379".to_owned()));
        assert_eq!(address(" http://10.0.0.1:1"), Ok("10.0.0.1:1".to_owned()));
        assert_eq!(address("[::1]:2379"), Ok("[::1]:2379".to_owned()));
        assert_eq!(address("unix:///run/x"), Ok("/run/x".to_owned()));
        for (text, plain, by_default) in [
            ("a:1", false, true),
            ("http://a:1", false, false),
            ("https://a:1", true, true),
            ("unixs://a:1", true, true),
        ] {
            let endpoint = Endpoint::parse(text).expect(text);
            assert_eq!((endpoint.is_secure(false), endpoint.is_secure(true)), (plain, by_default));
        }
    }

    #[test]
    fn what_cannot_be_dialled_is_refused() {
        for text in ["", "localhost", "ftp://a:1", "http://a:1/x"] {
            let refused = Endpoint::parse(text).expect_err(text);
            assert!(matches!(refused, Error::Endpoint { .. }), "{text}");
        }
    }
}
