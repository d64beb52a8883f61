//! What is found out about the URLs to listen on when the doors are about to open.

use net::Url;

use super::{Listen, Tls};

impl Listen {
    /// Whether each door can open, as far as one can tell without opening it.
    pub(crate) fn check(&self, tls: &Tls) -> Result<(), String> {
        let (peer, client) =
            (tls.peer_auto || !tls.peer.is_empty(), tls.client_auto || !tls.client.is_empty());
        net::check_cipher_suites(&tls.peer.cipher_suites)?;
        if let Some(url) = secure(&self.peer).filter(|_| !peer) {
            let address = url.address();
            return Err(format!(
                "cannot listen on TLS for {address}: KeyFile and CertFile are not presented"
            ));
        }
        let url = secure(&self.client).or(secure(&self.client_http));
        if let Some(url) = url.filter(|_| !client) {
            return Err(format!(
                "TLS key/cert (--cert-file, --key-file) must be provided for client url {url} \
                 with HTTPS scheme"
            ));
        }
        let twice = |url: &&Url| self.client.iter().any(|other| other.address() == url.address());
        if let Some(url) = self.client_http.iter().find(twice) {
            return Err(format!(
                "cannot bind both --listen-client-urls and --listen-client-http-urls on the same \
                 url {url}"
            ));
        }
        secure(&self.metrics).filter(|_| !client).map_or(Ok(()), |_| {
            Err("client TLS key/cert (--cert-file, --key-file) must be provided for metrics \
                 secure url"
                .to_owned())
        })
    }
}

fn secure(urls: &[Url]) -> Option<&Url> {
    urls.iter().find(|url| url.scheme().is_secure())
}

#[cfg(test)]
mod tests {
    use net::{SocketOptions, parse_urls};

    use crate::config::{Listen, Tls};

    fn listen(peer: &str, client: &str, client_http: &str, metrics: &str) -> Listen {
        let urls = |list: &str| match list {
            "" => Vec::new(),
            list => parse_urls(list).expect("reads"),
        };
        Listen {
            peer: urls(peer),
            client: urls(client),
            client_http: urls(client_http),
            metrics: urls(metrics),
            socket: SocketOptions::default(),
        }
    }

    #[test]
    fn doors_that_cannot_open_are_named_in_etcds_words() {
        let plain = "http://127.0.0.1:1";
        let none = Tls::default();
        let auto = Tls { client_auto: true, peer_auto: true, ..Tls::default() };
        let all = "https://127.0.0.1:1";
        assert_eq!(listen(all, all, "unixs://a:1", all).check(&auto), Ok(()));
        let mut weak = auto;
        for (suite, text) in [
            ("x", "unexpected TLS cipher suite \"x\""),
            (
                "TLS_RSA_WITH_AES_128_CBC_SHA",
                "TLS cipher suite \"TLS_RSA_WITH_AES_128_CBC_SHA\" is not supported by pintle: it \
                 has no forward secrecy or a weak cipher",
            ),
        ] {
            weak.peer.cipher_suites = vec![suite.to_owned()];
            assert_eq!(listen(plain, plain, "", "").check(&weak).expect_err(text), text);
        }
        assert_eq!(listen(plain, plain, "unix://a:1", plain).check(&none), Ok(()));
        let cases = [
            (
                listen("https://127.0.0.1:1", plain, "", ""),
                "cannot listen on TLS for 127.0.0.1:1: KeyFile and CertFile are not presented",
            ),
            (
                listen(plain, "unixs://a:1", "", ""),
                "TLS key/cert (--cert-file, --key-file) must be provided for client url \
                 unixs://a:1 with HTTPS scheme",
            ),
            (
                listen(plain, plain, plain, ""),
                "cannot bind both --listen-client-urls and --listen-client-http-urls on the same \
                 url http://127.0.0.1:1",
            ),
            (
                listen(plain, plain, "", "https://127.0.0.1:1"),
                "client TLS key/cert (--cert-file, --key-file) must be provided for metrics \
                 secure url",
            ),
        ];
        for (listen, text) in cases {
            assert_eq!(listen.check(&none).expect_err(text), text);
        }
    }
}
