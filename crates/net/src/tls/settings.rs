//! What an operator says of TLS, and the choice of algorithms.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::ProducesTickets;
use rustls::{CipherSuite, SupportedProtocolVersion};

/// Files, names and limits; an empty text stands for none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsInfo {
    /// The certificate to show, with those that lead to its authority.
    pub cert_file: String,
    /// Its key.
    pub key_file: String,
    /// What to show as a client; `cert_file` where there is none.
    pub client_cert_file: String,
    /// Its key.
    pub client_key_file: String,
    /// The authorities that count; those of the machine where there is none.
    pub trusted_ca_file: String,
    /// Whether clients must show a certificate. They must, too, where there are authorities.
    pub client_cert_auth: bool,
    /// Certificates that do not count any more.
    pub crl_file: String,
    /// Common names that clients may bear; all, when empty.
    pub allowed_cns: Vec<String>,
    /// Hosts for which clients' certificates must hold; all, when empty.
    pub allowed_hostnames: Vec<String>,
    /// Do not ask whether a client's certificate holds for the address that it comes from.
    pub skip_client_san_verify: bool,
    /// As a client, believe any certificate.
    pub insecure_skip_verify: bool,
    /// As a client, the name that certificates must hold for, instead of the dialled host's.
    pub server_name: String,
    /// The certificate was made here, so nobody can vouch for those of others either.
    pub self_signed: bool,
    /// Names of cipher suites; the good ones when empty.
    pub cipher_suites: Vec<String>,
    /// Do not speak TLS 1.2.
    pub without_tls12: bool,
    /// Do not speak TLS 1.3.
    pub without_tls13: bool,
}

impl TlsInfo {
    /// Whether there is nothing to show.
    pub fn is_empty(&self) -> bool {
        self.cert_file.is_empty() && self.key_file.is_empty()
    }

    /// Whether no names are told that alone may come in.
    pub(super) fn any_name_may_come(&self) -> bool {
        self.allowed_cns.is_empty() && self.allowed_hostnames.is_empty()
    }

    pub(super) fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let mut versions = Vec::new();
        if !self.without_tls13 {
            versions.push(&rustls::version::TLS13);
        }
        if !self.without_tls12 {
            versions.push(&rustls::version::TLS12);
        }
        versions
    }

    /// The algorithms. As in Go, the suites of TLS 1.3 are not chosen among.
    pub(super) fn provider(&self) -> Arc<CryptoProvider> {
        let mut provider = aws_lc_rs::default_provider();
        if !self.cipher_suites.is_empty() {
            let wanted: Vec<CipherSuite> =
                self.cipher_suites.iter().filter_map(|name| suite(name)).collect();
            provider.cipher_suites.retain(|suite| {
                suite.version() == &rustls::version::TLS13 || wanted.contains(&suite.suite())
            });
        }
        Arc::new(provider)
    }

    /// What cannot be meant, in etcd's words.
    pub(super) fn check(&self) -> Result<(), TlsError> {
        let refuse = |text: String| Err(TlsError::Settings(text));
        if self.cert_file.is_empty() || self.key_file.is_empty() {
            return refuse(format!(
                "KeyFile and CertFile must both be present[key: {}, cert: {}]",
                self.key_file, self.cert_file
            ));
        }
        if self.client_cert_file.is_empty() != self.client_key_file.is_empty() {
            return refuse(format!(
                "ClientKeyFile and ClientCertFile must both be present or both absent: key: {}, \
                 cert: {}]",
                self.client_key_file, self.client_cert_file
            ));
        }
        if !self.allowed_cns.is_empty() && !self.allowed_hostnames.is_empty() {
            return refuse(format!(
                "AllowedCNs and AllowedHostnames are mutually exclusive (cns=[{}], hostnames=[{}])",
                quoted(&self.allowed_cns),
                quoted(&self.allowed_hostnames)
            ));
        }
        Ok(())
    }
}

pub(super) fn quoted(texts: &[String]) -> String {
    texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(" ")
}

/// As etcd's log shows it.
impl fmt::Display for TlsInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cert = {}, key = {}, client-cert={}, client-key={}, trusted-ca = {}, \
             client-cert-auth = {}, crl-file = {}",
            self.cert_file,
            self.key_file,
            self.client_cert_file,
            self.client_key_file,
            self.trusted_ca_file,
            self.client_cert_auth,
            self.crl_file
        )
    }
}

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Settings(String),
    /// A file cannot be read, or is not what it should be.
    #[error("{0}")]
    File(String),
    /// Certificate, authorities and versions do not go together.
    #[error("cannot set up TLS: {0}")]
    Setup(#[from] rustls::Error),
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    SelfSigned(String),
    /// A file of a made certificate cannot be written.
    #[error("cannot write {path}: {error}")]
    Write {
        /// The file.
        path: String,
        /// Why not.
        error: io::Error,
    },
}

pub(super) fn ticketer() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    aws_lc_rs::Ticketer::new()
}

/// Suites by the names that Go gives them.
const SUITES: &[(&str, CipherSuite)] = &[
    ("TLS_AES_128_GCM_SHA256", CipherSuite::TLS13_AES_128_GCM_SHA256),
    ("TLS_AES_256_GCM_SHA384", CipherSuite::TLS13_AES_256_GCM_SHA384),
    ("TLS_CHACHA20_POLY1305_SHA256", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// Suites that Go has beside those: without forward secrecy, or with ciphers that leak.
const WEAK: &[&str] = &[
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
];

fn suite(name: &str) -> Option<CipherSuite> {
    SUITES.iter().find(|(known, _)| *known == name).map(|(_, suite)| *suite)
}

/// Whether all names are those of suites that we have.
pub fn check_cipher_suites(names: &[String]) -> Result<(), String> {
    let Some(name) = names.iter().find(|name| suite(name).is_none()) else { return Ok(()) };
    Err(match WEAK.contains(&name.as_str()) {
        true => format!(
            "TLS cipher suite {name:?} is not supported by pintle: it has no forward secrecy or a \
             weak cipher"
        ),
        false => format!("unexpected TLS cipher suite {name:?}"),
    })
}
