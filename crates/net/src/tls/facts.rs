//! What a certificate says of who shows it.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// Names, addresses and times of a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) common_name: String,
    pub(super) dns_names: Vec<String>,
    pub(super) ip_addresses: Vec<IpAddr>,
    pub(super) serial: Vec<u8>,
    /// Seconds since 1970.
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    /// Whether it is meant for clients, and for servers. Without a word of it, for all.
    pub(super) for_clients: bool,
    pub(super) for_servers: bool,
}

impl Facts {
    /// `None` where it cannot be read.
    pub(super) fn of(cert: &CertificateDer<'_>) -> Option<Facts> {
        let (_, cert) = X509Certificate::from_der(cert).ok()?;
        let mut facts = Facts {
            serial: cert.raw_serial().to_vec(),
            not_before: cert.validity().not_before.timestamp(),
            not_after: cert.validity().not_after.timestamp(),
            for_clients: true,
            for_servers: true,
            ..Facts::default()
        };
        if let Some(usage) = cert.extended_key_usage().ok()? {
            facts.for_clients = usage.value.any || usage.value.client_auth;
            facts.for_servers = usage.value.any || usage.value.server_auth;
        }
        // Go takes the last one where there are several.
        if let Some(name) = cert.subject().iter_common_name().last() {
            facts.common_name = name.as_str().unwrap_or_default().to_owned();
        }
        let names = cert.subject_alternative_name().ok()?;
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) => facts.dns_names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => facts.ip_addresses.extend(address(bytes)),
                _ => {}
            }
        }
        Some(facts)
    }

    /// Whether it holds for a host: an address, perhaps in brackets, or a name.
    pub(super) fn is_for(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        match bare.parse::<IpAddr>() {
            Ok(address) => self.ip_addresses.contains(&address.to_canonical()),
            Err(_) => self.dns_names.iter().any(|pattern| matches(pattern, host)),
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let address = four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
    Some(address.ok()?.to_canonical())
}

/// Label by label; a star may stand for the whole first one.
fn matches(pattern: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    if pattern.is_empty() || host.is_empty() {
        return false;
    }
    let (patterns, labels): (Vec<_>, Vec<_>) =
        (pattern.split('.').collect(), host.split('.').collect());
    let same = |(at, (pattern, label)): (usize, (&&str, &&str))| {
        (at == 0 && *pattern == "*" && !label.is_empty()) || pattern.eq_ignore_ascii_case(label)
    };
    patterns.len() == labels.len() && patterns.iter().zip(&labels).enumerate().all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_matched_as_certificates_mean_them() {
        let facts = Facts {
            dns_names: vec!["a.example.com".to_owned(), "*.b.example.com".to_owned()],
            ip_addresses: vec![IpAddr::from([127, 0, 0, 1])],
            ..Facts::default()
        };
        for good in ["a.example.com", "A.example.com.", "x.b.example.com", "127.0.0.1"] {
            assert!(facts.is_for(good), "{good}");
        }
        for bad in ["b.example.com", "x.y.b.example.com", ".b.example.com", "127.0.0.2", "", "a"] {
            assert!(!facts.is_for(bad), "{bad}");
        }
        assert!(facts.is_for("[127.0.0.1]"));
    }
}
