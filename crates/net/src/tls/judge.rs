//! Whether the certificate of a client counts, beyond who vouches for it.

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use super::facts::Facts;
use super::files::Revoked;
use super::settings::{TlsInfo, quoted};
use crate::dns::SrvResolver;

/// What the log says of who has none of the names that may come in.
pub(super) const NOT_ALLOWED: &str = "client certificate authentication failed";

/// Judges those that a client has shown, its own first. What changes with time is judged here, so
/// that it also holds for who goes on from an earlier connection.
pub(super) fn judge(
    info: &TlsInfo,
    certs: &[CertificateDer<'_>],
    facts: &Facts,
    revoked: Option<&Revoked>,
) -> Result<(), String> {
    let now = super::today().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if !(facts.not_before..=facts.not_after).contains(&now) {
        return Err("tls: failed to verify certificate: x509: certificate has expired or is not \
                    yet valid"
            .to_owned());
    }
    if !is_allowed(info, facts) {
        return Err(NOT_ALLOWED.to_owned());
    }
    let Some(revoked) = revoked else { return Ok(()) };
    for cert in certs {
        let facts = Facts::of(cert).ok_or("tls: failed to parse certificate from client")?;
        if let Some(serial) = revoked.find(&facts.serial) {
            return Err(format!("transport: certificate serial {serial} revoked"));
        }
    }
    Ok(())
}

/// Whether the certificate has one of the names that may come in, where these are told.
pub(super) fn is_allowed(info: &TlsInfo, facts: &Facts) -> bool {
    match (info.allowed_cns.as_slice(), info.allowed_hostnames.as_slice()) {
        ([], []) => true,
        ([], hosts) => hosts.iter().any(|host| facts.is_for(host)),
        (names, _) => names.contains(&facts.common_name),
    }
}

/// Whether a certificate that names addresses or hosts names the one that it comes from. Names
/// count when they have that address, or when the address has such a name.
pub(super) async fn comes_from_there(facts: &Facts, remote: SocketAddr) -> Result<(), String> {
    let address = remote.ip().to_canonical();
    if (facts.ip_addresses.is_empty() && facts.dns_names.is_empty())
        || facts.ip_addresses.contains(&address)
    {
        return Ok(());
    }
    if facts.dns_names.is_empty() {
        let known: Vec<String> = facts.ip_addresses.iter().map(IpAddr::to_string).collect();
        let known = known.join(", ");
        return Err(format!("x509: certificate is valid for {known}, not {address}"));
    }
    let (wild, names): (Vec<&str>, Vec<&str>) =
        facts.dns_names.iter().map(String::as_str).partition(|name| name.starts_with("*."));
    let mut failure = String::new();
    for name in &names {
        match tokio::net::lookup_host((*name, 0)).await {
            Ok(mut found) => {
                if found.any(|it| it.ip().to_canonical() == address) {
                    return Ok(());
                }
            }
            Err(error) => failure = format!(" (lookup {name}: {error})"),
        }
    }
    let found = SrvResolver::of_machine().names_of(address).await.unwrap_or_default();
    let is_ours = |found: &String| {
        names.contains(&found.as_str())
            || wild.iter().any(|name| found.ends_with(name.trim_start_matches('*')))
    };
    if found.iter().any(is_ours) {
        return Ok(());
    }
    let names = quoted(&facts.dns_names);
    let address = address.to_string();
    Err(format!("tls: {address:?} does not match any of DNSNames [{names}]{failure}"))
}
