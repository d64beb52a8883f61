//! Where to forward to: what was named, or what the DNS has.

use net::SrvRecord;

use crate::bootstrap::Lookup;
use crate::command::{Flags, Stopped, discover, host_port};
use crate::logging::Logger;

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
        host_port(&self.host, self.port)
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
    let discovered = discover(logger, flags, flags.text("trusted-ca-file"), lookup).await?;
    if !discovered.is_empty() {
        return Ok(discovered.into_iter().map(|one| Endpoint::of(one.record)).collect());
    }
    let named = flags.list("endpoints").iter().map(|text| {
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
