//! Where to forward to: what was named, or what the DNS has.

use net::SrvRecord;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Stopped;
use super::flags::Flags;
use super::proxy::{DIAL_PATIENCE, reason};
use crate::bootstrap::Lookup;
use crate::logging::{Line, Logger};

/// A place to forward to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
    /// Lower ones come first.
    pub(super) priority: u16,
    /// The share among those of one priority.
    pub(super) weight: u16,
}

impl Endpoint {
    pub(super) fn address(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    fn of(record: SrvRecord) -> Self {
        let SrvRecord { priority, weight, port, target } = record;
        Self { host: target, port, priority, weight }
    }
}

/// All endpoints: the DNS comes first, and then what was named.
pub(super) async fn all<L: Lookup>(
    logger: &Logger,
    flags: &Flags,
    lookup: &L,
) -> Result<Vec<Endpoint>, Stopped> {
    let discovered = match flags.discovery_srv.is_empty() {
        true => Vec::new(),
        false => discover(logger, flags, lookup).await?,
    };
    if !discovered.is_empty() {
        return Ok(discovered);
    }
    let named = flags.endpoints.iter().map(|text| {
        let behind = text.split_once("://").map_or(text.as_str(), |(_, behind)| behind);
        let address = behind.split(['/', '?', '#']).next().unwrap_or_default();
        let bad = || Stopped::Out(format!("error parsing endpoint {address:?}"));
        let (host, port) = split_address(address).ok_or_else(bad)?;
        // What is no port is none that anybody listens on.
        let digits = port.bytes().take_while(u8::is_ascii_digit).count();
        let port = port[..digits].parse().unwrap_or(0);
        Ok(Endpoint { host: host.to_owned(), port, priority: 0, weight: 0 })
    });
    named.collect()
}

async fn discover<L: Lookup>(
    logger: &Logger,
    flags: &Flags,
    lookup: &L,
) -> Result<Vec<Endpoint>, Stopped> {
    let domain = &flags.discovery_srv;
    let suffix = match flags.discovery_srv_name.as_str() {
        "" => String::new(),
        name => format!("-{name}"),
    };
    let secure = lookup.services(&format!("_etcd-client-ssl{suffix}._tcp.{domain}")).await;
    let plain = lookup.services(&format!("_etcd-client{suffix}._tcp.{domain}")).await;
    if let (Err(secure), Err(plain)) = (&secure, &plain) {
        return Err(Stopped::loudly(format!("dns lookup errors: {secure} and {plain}")));
    }
    let found: Vec<(String, Endpoint)> = [("https", secure), ("http", plain)]
        .into_iter()
        .flat_map(|(scheme, records)| {
            let endpoints = records.unwrap_or_default().into_iter().map(Endpoint::of);
            endpoints.map(move |one| (format!("{scheme}://{}", one.address()), one))
        })
        .collect();
    said(domain, logger.info("discovered cluster from SRV"), &found).send();
    if flags.insecure_discovery {
        return Ok(found.into_iter().map(|(_, endpoint)| endpoint).collect());
    }
    said(domain, logger.info("validating discovered SRV endpoints"), &found).send();
    let (good, problems) = validated(flags, found).await;
    match problems.is_empty() {
        true => said(domain, logger.info("using validated discovered SRV endpoints"), &good).send(),
        false => {
            let line = logger.warn("failed to validate discovered endpoints");
            let line = said(domain, line, &good);
            line.error(problems.join(",")).send();
        }
    }
    Ok(good.into_iter().map(|(_, endpoint)| endpoint).collect())
}

/// A line that tells of endpoints.
fn said<'a>(domain: &str, line: Line<'a>, found: &[(String, Endpoint)]) -> Line<'a> {
    let urls = found.iter().map(|(url, _)| url.as_str());
    line.text("srv-server", domain).list("endpoints", urls)
}

/// Those that speak TLS by their name and take connections, and what is wrong with the others.
async fn validated(
    flags: &Flags,
    found: Vec<(String, Endpoint)>,
) -> (Vec<(String, Endpoint)>, Vec<String>) {
    if !flags.trusted_ca_file.is_empty()
        && let Err(error) = std::fs::read(&flags.trusted_ca_file)
    {
        let problem = format!("open {}: {}", flags.trusted_ca_file, reason(&error));
        return (Vec::new(), vec![problem]);
    }
    let (mut good, mut problems) = (Vec::new(), Vec::new());
    for (url, endpoint) in found {
        if !url.starts_with("https://") {
            problems.push(format!("{url:?} is insecure"));
            continue;
        }
        let address = endpoint.address();
        match timeout(DIAL_PATIENCE, TcpStream::connect(&address)).await {
            Ok(Ok(_)) => good.push((url, endpoint)),
            Ok(Err(error)) => {
                let reason = reason(&error);
                problems.push(format!(
                    "{url:?} failed to dial (dial tcp {address}: connect: {reason})"
                ));
            }
            Err(_) => {
                problems.push(format!("{url:?} failed to dial (dial tcp {address}: i/o timeout)"));
            }
        }
    }
    (good, problems)
}

/// Host and port; a host with colons stands in brackets.
pub(super) fn split_address(address: &str) -> Option<(&str, &str)> {
    let (host, port) = address.rsplit_once(':')?;
    match host.strip_prefix('[') {
        Some(bracketed) => Some((bracketed.strip_suffix(']')?, port)),
        None if host.contains([':', ']']) => None,
        None => Some((host, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_as_by_go() {
        assert_eq!(split_address("a:1"), Some(("a", "1")));
        assert_eq!(split_address("[::1]:1"), Some(("::1", "1")));
        assert_eq!(split_address(":1"), Some(("", "1")));
        for bad in ["a", "::1:1", "[::1:1", ""] {
            assert_eq!(split_address(bad), None, "{bad}");
        }
    }
}
