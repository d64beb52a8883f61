//! SRV records: who offers a service, in the DNS.
//!
//! The machine's own resolver finds addresses and nothing else, so these records are asked for
//! here: by UDP, and by TCP where an answer is too long for that. Addresses stay with the machine,
//! which also knows its hosts file.
//!
//! Files in reading order: `mod`, `settings`, `message`.

mod message;
mod settings;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use message::{Answer, Query};
use settings::Settings;

/// What a UDP answer may have; it is also what servers are told that we take.
const UDP_BYTES: u16 = 1232;

/// Where an offer of a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrvRecord {
    /// Lower ones come first.
    pub priority: u16,
    /// How much of the load it takes beside others of the same priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host, without a dot at its end.
    pub target: String,
}

/// Why there are no records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// The name is none that can be asked for.
    #[error("lookup {0}: not a domain name")]
    Name(String),
    /// Nobody has such records.
    #[error("lookup {name} on {server}: no such host")]
    NotFound {
        /// What was asked for.
        name: String,
        /// Who said so.
        server: SocketAddr,
    },
    /// No server has given an answer that says anything.
    #[error("lookup {name} on {server}: {reason}")]
    Server {
        /// What was asked for.
        name: String,
        /// The last one that was asked.
        server: SocketAddr,
        /// What became of it.
        reason: String,
    },
}

/// Asks the servers that the machine asks.
#[derive(Debug, Clone)]
pub struct SrvResolver {
    settings: Settings,
}

impl SrvResolver {
    /// With the servers of `/etc/resolv.conf`; that of this machine where it names none.
    pub fn of_machine() -> SrvResolver {
        let text = std::fs::read_to_string(Path::new("/etc/resolv.conf")).unwrap_or_default();
        SrvResolver { settings: Settings::read(&text) }
    }

    /// With these servers, each asked once and for so long.
    pub fn with_servers(servers: Vec<SocketAddr>, patience: Duration) -> SrvResolver {
        SrvResolver { settings: Settings { servers, patience, ..Settings::default() } }
    }

    /// The records of a name such as `_etcd-server._tcp.example.com`: by priority, and in the
    /// server's order where that is the same. There is at least one.
    pub async fn lookup(&self, name: &str) -> Result<Vec<SrvRecord>, DnsError> {
        let mut last = None;
        for full in self.settings.full_names(name) {
            match self.lookup_full(name, &full).await {
                Err(error @ DnsError::NotFound { .. }) => last = last.or(Some(error)),
                Err(error) => return Err(error),
                Ok(mut records) => {
                    records.sort_by_key(|record| record.priority);
                    return Ok(records);
                }
            }
        }
        Err(last.unwrap_or_else(|| DnsError::Name(name.to_owned())))
    }

    /// What an address is called, by the hosts file and the DNS; there may be no name.
    pub(crate) async fn names_of(&self, address: IpAddr) -> Option<Vec<String>> {
        let hosts = std::fs::read_to_string(Path::new("/etc/hosts")).unwrap_or_default();
        let names = settings::names_in_hosts(&hosts, address);
        if !names.is_empty() {
            return Some(names);
        }
        for &server in &self.settings.servers {
            let query = Query::ptr(random_id(), address)?;
            match timeout(self.settings.patience, ask(server, &query)).await {
                Ok(Ok(Answer::Names(names))) => return Some(names),
                Ok(Ok(Answer::Nothing)) => return None,
                _ => {}
            }
        }
        None
    }

    async fn lookup_full(&self, name: &str, full: &str) -> Result<Vec<SrvRecord>, DnsError> {
        let mut last = DnsError::Name(name.to_owned());
        for _ in 0..self.settings.attempts {
            for &server in &self.settings.servers {
                let query = Query::srv(random_id(), full);
                let query = query.ok_or_else(|| DnsError::Name(name.to_owned()))?;
                let name = name.to_owned();
                let asked = timeout(self.settings.patience, ask(server, &query)).await;
                let reason = match asked.unwrap_or_else(|_| Err("i/o timeout".to_owned())) {
                    Ok(Answer::Records(records)) => return Ok(records),
                    Ok(Answer::Nothing) => return Err(DnsError::NotFound { name, server }),
                    Ok(Answer::Names(_) | Answer::Failure | Answer::Truncated) => {
                        "server misbehaving".to_owned()
                    }
                    Err(reason) => reason,
                };
                last = DnsError::Server { name, server, reason };
            }
        }
        Err(last)
    }
}

/// Somebody who cannot see the query must guess this to answer in the server's place.
fn random_id() -> u16 {
    // The keys of hash maps are random, from the operating system.
    let [first, second, ..] = RandomState::new().build_hasher().finish().to_be_bytes();
    u16::from_be_bytes([first, second])
}

async fn ask(server: SocketAddr, query: &Query) -> Result<Answer, String> {
    let answer = ask_udp(server, query).await.map_err(|error| error.to_string())?;
    if answer != Answer::Truncated {
        return Ok(answer);
    }
    ask_tcp(server, query).await.map_err(|error| error.to_string())
}

async fn ask_udp(server: SocketAddr, query: &Query) -> io::Result<Answer> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(query.bytes()).await?;
    let mut buffer = [0; UDP_BYTES as usize];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // What does not answer the query may be somebody's try to answer in the server's place.
        if let Some(answer) = buffer.get(..length).and_then(|bytes| query.answer(bytes)) {
            return Ok(answer);
        }
    }
}

async fn ask_tcp(server: SocketAddr, query: &Query) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.bytes().len()).map_err(io::Error::other)?;
    let message = [&length.to_be_bytes(), query.bytes()].concat();
    stream.write_all(&message).await?;
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    query.answer(&bytes).ok_or_else(|| io::Error::other("cannot unmarshal DNS message"))
}
