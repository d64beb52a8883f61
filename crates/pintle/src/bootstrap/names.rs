//! Whether two lists of URLs mean the same places, be it that one has names and the other has
//! addresses.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use net::{DnsError, SrvRecord, SrvResolver, Url};
use tokio::time::Instant;

use super::Beginning;
use crate::logging::Logger;

/// How long names may take to become addresses: a machine that has just come up may not be in the
/// DNS yet.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(1);

/// What the DNS knows.
pub(crate) trait Lookup {
    /// Where a host is: its addresses, and at least one.
    async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;

    /// Who offers a service: its records, and at least one.
    async fn services(&self, name: &str) -> Result<Vec<SrvRecord>, DnsError>;
}

/// Names as this machine knows them.
pub(crate) struct SystemNames;

impl Lookup for SystemNames {
    async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found: Vec<_> = tokio::net::lookup_host((host, port)).await?.collect();
        if found.is_empty() { Err(io::Error::other("no such host")) } else { Ok(found) }
    }

    async fn services(&self, name: &str) -> Result<Vec<SrvRecord>, DnsError> {
        SrvResolver::of_machine().lookup(name).await
    }
}

/// Names, for as long as there is patience with them.
pub(super) struct Names<'a, L> {
    lookup: &'a L,
    logger: &'a Logger,
    until: Instant,
}

impl<'a, L: Lookup> Beginning<'a, L> {
    pub(super) fn names(&self) -> Names<'a, L> {
        Names { lookup: self.lookup, logger: self.logger, until: Instant::now() + PATIENCE }
    }
}

impl<L: Lookup> Names<'_, L> {
    /// Whether both lists mean the same places, in whatever order; an error says why not. Names
    /// are looked up only where the lists differ.
    pub(super) async fn same(&self, one: &[Url], other: &[Url]) -> Result<(), String> {
        if one.len() != other.len() {
            return Err(format!("len({}) != len({})", quoted(one), quoted(other)));
        }
        let (one, other) = (sorted(one), sorted(other));
        let differ = |one: &[Url], other: &[Url]| {
            one.iter().zip(other).position(|(one, other)| place(one) != place(other))
        };
        if differ(&one, &other).is_none() {
            return Ok(());
        }
        let one = sorted(&self.resolved(&one).await?);
        let other = sorted(&self.resolved(&other).await?);
        match differ(&one, &other) {
            None => Ok(()),
            Some(at) => {
                Err(format!("resolved urls: {:?} != {:?}", one[at].as_str(), other[at].as_str()))
            }
        }
    }

    async fn resolved(&self, urls: &[Url]) -> Result<Vec<Url>, String> {
        let mut resolved = Vec::new();
        for url in urls {
            let at = self.resolve(url).await;
            let at = at.map_err(|error| format!("failed to resolve {:?} ({error})", url.as_str()));
            resolved.push(at?.unwrap_or_else(|| url.clone()));
        }
        Ok(resolved)
    }

    /// `None` where nothing is to be looked up.
    async fn resolve(&self, url: &Url) -> Result<Option<Url>, String> {
        if url.scheme().is_unix() || url.hostname() == "localhost" {
            return Ok(None);
        }
        let port = url.port().parse::<u16>();
        let port = port.map_err(|_| format!("address {}: invalid port", url.port()))?;
        let mut error = "context deadline exceeded".to_owned();
        let looked_up = tokio::time::timeout_at(self.until, async {
            loop {
                match self.lookup.addresses(url.hostname(), port).await.as_deref() {
                    Ok([address, ..]) => return *address,
                    Ok([]) => error = format!("lookup {}: no such host", url.hostname()),
                    Err(found) => error = format!("lookup {}: {found}", url.hostname()),
                }
                self.complain("failed to resolve URL Host", url, &error);
                tokio::time::sleep(PAUSE).await;
            }
        });
        let Ok(address) = looked_up.await else {
            self.complain("failed to resolve URL Host; returning", url, &error);
            return Err(error);
        };
        self.logger
            .info("resolved URL Host")
            .text("url", url.as_str())
            .text("host", url.address())
            .text("resolved-addr", address.to_string())
            .send();
        let at = url.with_host_port(&address.ip().to_string(), &address.port().to_string());
        at.map(Some).map_err(|error| error.to_string())
    }

    fn complain(&self, message: &str, url: &Url, error: &str) {
        self.logger
            .warn(message)
            .text("url", url.as_str())
            .text("host", url.address())
            .duration("retry-interval", PAUSE)
            .error(error)
            .send();
    }
}

/// What makes two URLs one place: addresses have several spellings.
fn place(url: &Url) -> (net::Scheme, String) {
    let address = match url.hostname().parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip.to_canonical(), url.port().parse().unwrap_or(0)).to_string(),
        Err(_) => url.address(),
    };
    (url.scheme(), address)
}

fn sorted(urls: &[Url]) -> Vec<Url> {
    let mut urls = urls.to_vec();
    urls.sort();
    urls
}

/// As Go prints a list of texts with `%q`.
fn quoted(urls: &[Url]) -> String {
    let texts: Vec<_> = urls.iter().map(|url| format!("{:?}", url.as_str())).collect();
    format!("[{}]", texts.join(" "))
}
