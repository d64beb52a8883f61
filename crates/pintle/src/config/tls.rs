//! What the options say of TLS.

use net::TlsInfo;

use crate::options::Settings;

/// TLS towards clients, members, and the discovery service.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tls {
    pub(crate) client: TlsInfo,
    pub(crate) peer: TlsInfo,
    /// Make a certificate for clients if none is given.
    pub(crate) client_auto: bool,
    /// Make a certificate for members if none is given.
    pub(crate) peer_auto: bool,
    /// For how many years made certificates hold.
    pub(crate) self_signed_years: u64,
}

/// How the discovery service is spoken to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DiscoveryTls {
    pub(crate) insecure_transport: bool,
    pub(crate) insecure_skip_verify: bool,
    pub(crate) cert: String,
    pub(crate) key: String,
    pub(crate) cacert: String,
}

pub(super) fn tls(settings: &Settings) -> Tls {
    let mut client = info(settings, "");
    client.allowed_hostnames = settings.list("client-cert-allowed-hostname");
    client.allowed_cns = settings.client_certs.allowed_cns.clone();
    client.skip_client_san_verify = settings.client_certs.skip_san;
    client.crl_file = settings.text("client-crl-file");
    let mut peer = info(settings, "peer-");
    peer.allowed_hostnames = settings.list("peer-cert-allowed-hostname");
    peer.allowed_cns = settings.list("peer-cert-allowed-cn");
    peer.skip_client_san_verify = settings.flag("peer-skip-client-san-verification");
    Tls {
        client,
        peer,
        client_auto: settings.flag("auto-tls"),
        peer_auto: settings.flag("peer-auto-tls"),
        self_signed_years: settings.uint("self-signed-cert-validity"),
    }
}

fn info(settings: &Settings, prefix: &str) -> TlsInfo {
    let text = |name: &str| settings.text(&format!("{prefix}{name}"));
    let crl_file = if prefix.is_empty() { String::new() } else { text("crl-file") };
    TlsInfo {
        cert_file: text("cert-file"),
        key_file: text("key-file"),
        client_cert_file: text("client-cert-file"),
        client_key_file: text("client-key-file"),
        trusted_ca_file: text("trusted-ca-file"),
        client_cert_auth: settings.flag(&format!("{prefix}client-cert-auth")),
        crl_file,
        cipher_suites: settings.list("cipher-suites"),
        without_tls12: settings.text("tls-min-version") == "TLS1.3",
        without_tls13: settings.text("tls-max-version") == "TLS1.2",
        ..TlsInfo::default()
    }
}

pub(super) fn discovery(settings: &Settings) -> DiscoveryTls {
    DiscoveryTls {
        insecure_transport: settings.flag("discovery-insecure-transport"),
        insecure_skip_verify: settings.flag("discovery-insecure-skip-tls-verify"),
        cert: settings.text("discovery-cert"),
        key: settings.text("discovery-key"),
        cacert: settings.text("discovery-cacert"),
    }
}
