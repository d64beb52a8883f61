//! `/etc/resolv.conf`, as far as it matters here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

const PORT: u16 = 53;
/// As many as the machine's own resolver asks.
const SERVERS: usize = 3;

/// Whom to ask, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) servers: Vec<SocketAddr>,
    /// Domains that a name may stand in.
    pub(super) search: Vec<String>,
    /// A name with so many dots is looked up as it is first.
    pub(super) ndots: usize,
    /// For one server, one time.
    pub(super) patience: Duration,
    /// How often all servers are asked.
    pub(super) attempts: u32,
}

impl Default for Settings {
    fn default() -> Self {
        let patience = Duration::from_secs(5);
        Settings { servers: Vec::new(), search: Vec::new(), ndots: 1, patience, attempts: 1 }
    }
}

impl Settings {
    /// What is not understood does not count.
    pub(super) fn read(text: &str) -> Settings {
        let mut settings = Settings { attempts: 2, ..Settings::default() };
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") if settings.servers.len() < SERVERS => {
                    settings.servers.extend(words.next().and_then(server));
                }
                Some("domain") => settings.search = words.next().map(domain).into_iter().collect(),
                Some("search") => settings.search = words.map(domain).collect(),
                Some("options") => words.for_each(|word| settings.take_option(word)),
                _ => {}
            }
        }
        if settings.servers.is_empty() {
            let here = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
            settings.servers = here.map(|ip| SocketAddr::new(ip, PORT)).into();
        }
        settings
    }

    fn take_option(&mut self, option: &str) {
        let Some((name, number)) = option.split_once(':') else { return };
        let Ok(number) = number.parse::<u32>() else { return };
        match name {
            "ndots" => self.ndots = number.min(15) as usize,
            "timeout" => self.patience = Duration::from_secs(u64::from(number.clamp(1, 30))),
            "attempts" => self.attempts = number.clamp(1, 5),
            _ => {}
        }
    }

    /// The names that a name may stand for, in the order in which they are looked up.
    pub(super) fn full_names(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let mut names: Vec<String> = self
            .search
            .iter()
            .filter(|domain| !domain.is_empty())
            .map(|domain| format!("{name}.{domain}."))
            .collect();
        let many_dots = name.matches('.').count() >= self.ndots;
        names.insert(if many_dots { 0 } else { names.len() }, format!("{name}."));
        names
    }
}

fn domain(word: &str) -> String {
    word.trim_end_matches('.').to_owned()
}

fn server(word: &str) -> Option<SocketAddr> {
    // A zone may stand behind an address of a link; only its number could be used.
    let address = word.split('%').next()?;
    Some(SocketAddr::new(address.parse().ok()?, PORT))
}

/// The names that a hosts file gives an address.
pub(super) fn names_in_hosts(text: &str, address: IpAddr) -> Vec<String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let mut names = Vec::new();
    for mut words in lines.map(str::split_whitespace) {
        let of = words.next().and_then(|word| word.parse::<IpAddr>().ok());
        if of == Some(address) {
            names.extend(words.map(str::to_owned));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_understood_is_taken() {
        let settings = Settings::read(
            "# comment\nnameserver 10.0.0.1\nnameserver nowhere\nnameserver fe80::1%eth0\n\
             search a.example. b.example\noptions ndots:5 timeout:2 attempts:9 rotate x:y\n\
             nameserver 10.0.0.2\nnameserver 10.0.0.3\n",
        );
        let servers: Vec<String> = settings.servers.iter().map(SocketAddr::to_string).collect();
        assert_eq!(servers, ["10.0.0.1:53", "[fe80::1]:53", "10.0.0.2:53"]);
        assert_eq!(settings.search, ["a.example", "b.example"]);
        assert_eq!((settings.ndots, settings.attempts), (5, 5));
        assert_eq!(settings.patience, Duration::from_secs(2));
    }

    #[test]
    fn where_nothing_is_said_this_machine_is_asked() {
        let settings = Settings::read("");
        assert_eq!(settings.servers.len(), 2);
        assert!(settings.servers.iter().all(|server| server.ip().is_loopback()));
        assert_eq!(settings.full_names("x"), ["x."]);
    }

    #[test]
    fn short_names_are_looked_for_in_domains_first() {
        let settings = Settings::read("search a b.\noptions ndots:2");
        assert_eq!(settings.full_names("x.y"), ["x.y.a.", "x.y.b.", "x.y."]);
        assert_eq!(settings.full_names("x.y.z"), ["x.y.z.", "x.y.z.a.", "x.y.z.b."]);
        assert_eq!(settings.full_names("x."), ["x."]);
    }
}
