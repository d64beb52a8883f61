//! The side that listens.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsStream, server};

use super::anchored::Clients;
use super::crowd::Crowd;
use super::facts::Facts;
use super::files::{Authorities, Pair, Revoked};
use super::judge::{comes_from_there, judge};
use super::refusal;
use super::settings::{TlsError, TlsInfo, ticketer};
use super::watched::Watched;
use crate::limit::descriptor_limit;
use crate::stream::Stream;

/// A handshake that takes longer is given up.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes under way at a time, where descriptors are no tighter bound.
const HANDSHAKES: usize = 4096;
/// What a TLS connection begins with.
const RECORD: u8 = 0x16;

/// Whom a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// Clients, by HTTP/2 and HTTP/1.
    Client,
    /// The operator's tools, which are held to where they come from.
    Metrics,
    /// Other members, by HTTP/1 alone.
    Peer,
}

impl Endpoint {
    fn checks_address(self) -> bool {
        self != Self::Client
    }

    fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            Self::Client => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Self::Metrics | Self::Peer => vec![b"http/1.1".to_vec()],
        }
    }
}

/// What a listener speaks.
#[derive(Debug, Clone, Default)]
pub enum Security {
    /// No TLS.
    #[default]
    Plain,
    /// Nothing but TLS.
    Tls(Arc<ServerTls>),
    /// Whichever the other side begins with.
    Either(Arc<ServerTls>),
}

/// A connection that may be served.
#[derive(Debug)]
pub struct Secured {
    /// The bytes as they are meant.
    pub stream: Stream,
    /// Whether TLS guards them.
    pub is_tls: bool,
    /// The common name of the client's certificate, if it had to show one.
    pub common_name: Option<Arc<str>>,
}

impl Security {
    /// Shakes hands, if that is to be done. Who is refused is told of in the log.
    pub async fn secure(&self, stream: Stream, remote: Option<SocketAddr>) -> Option<Secured> {
        let plain = |stream| Some(Secured { stream, is_tls: false, common_name: None });
        match self {
            Self::Plain => plain(stream),
            Self::Tls(tls) => tls.accept(stream, remote).await,
            Self::Either(tls) => {
                let first = timeout(HANDSHAKE, stream.first_byte()).await.ok()?.ok()?;
                match first {
                    RECORD => tls.accept(stream, remote).await,
                    _ => plain(stream),
                }
            }
        }
    }
}

/// What it takes to be the server of TLS connections.
pub struct ServerTls {
    info: TlsInfo,
    endpoint: Endpoint,
    pair: Watched<Pair>,
    authorities: Option<Watched<Authorities>>,
    revoked: Option<Watched<Revoked>>,
    built: Mutex<Built>,
    crowd: Arc<Crowd>,
}

struct Built {
    pair: Arc<Pair>,
    authorities: Option<Arc<Authorities>>,
    acceptor: TlsAcceptor,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Reads all files.
    pub fn new(info: &TlsInfo, endpoint: Endpoint) -> Result<Arc<ServerTls>, TlsError> {
        info.check()?;
        let pair = pair(&info.cert_file, &info.key_file)?;
        if !info.client_cert_file.is_empty() {
            pair_is_good(&info.client_cert_file, &info.client_key_file)?;
        }
        let authorities = watched(&info.trusted_ca_file, Authorities::read)?;
        let revoked = watched(&info.crl_file, Revoked::read)?;
        let now = pair.current();
        now.tell_of_its_end();
        let believed = authorities.as_ref().map(Watched::current);
        let acceptor = acceptor(info, endpoint, &now, believed.as_deref())?;
        let built = Mutex::new(Built { pair: now, authorities: believed, acceptor });
        let most = descriptor_limit().map_or(HANDSHAKES, |limit| {
            usize::try_from(limit / 2).unwrap_or(HANDSHAKES).min(HANDSHAKES)
        });
        let crowd = Crowd::new(most);
        let info = info.clone();
        Ok(Arc::new(Self { info, endpoint, pair, authorities, revoked, built, crowd }))
    }

    /// As what the files say now.
    fn acceptor(&self) -> TlsAcceptor {
        let pair = self.pair.current();
        pair.tell_of_its_end();
        let authorities = self.authorities.as_ref().map(Watched::current);
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        let same = Arc::ptr_eq(&built.pair, &pair)
            && match (&built.authorities, &authorities) {
                (Some(built), Some(now)) => Arc::ptr_eq(built, now),
                (None, None) => true,
                _ => false,
            };
        if !same {
            match acceptor(&self.info, self.endpoint, &pair, authorities.as_deref()) {
                Ok(acceptor) => *built = Built { pair, authorities, acceptor },
                Err(error) => tracing::warn!(%error, "changed TLS files cannot be used"),
            }
        }
        built.acceptor.clone()
    }

    /// Shakes hands within a time and among a number. Who is refused is told of in the log.
    pub async fn accept(&self, stream: Stream, remote: Option<SocketAddr>) -> Option<Secured> {
        let mut place = self.crowd.enter();
        let mut seen = Seen::default();
        let accepted = timeout(HANDSHAKE, self.shake_hands(stream, remote, &mut seen));
        let outcome = tokio::select! {
            biased;
            _ = &mut place.pushed_out => Err(Some("too many TLS handshakes at a time".to_owned())),
            accepted = accepted => accepted.unwrap_or_else(|_| Err(Some("i/o timeout".to_owned()))),
        };
        match outcome {
            Ok(secured) => Some(secured),
            Err(reason) => {
                self.tell(remote, &seen, reason);
                None
            }
        }
    }

    async fn shake_hands(
        &self,
        stream: Stream,
        remote: Option<SocketAddr>,
        seen: &mut Seen,
    ) -> Result<Secured, Option<String>> {
        // Nothing is set aside for who says nothing.
        stream.first_byte().await.map_err(|error| refusal::text(&error))?;
        let shaken = self.acceptor().accept(stream).await;
        let stream = shaken.map_err(|error| refusal::text(&error))?;
        let (_, session) = stream.get_ref();
        seen.server_name = session.server_name().unwrap_or_default().to_owned();
        let mut common_name = None;
        if let Some(certs) = session.peer_certificates()
            && let Some(first) = certs.first()
        {
            let facts = Facts::of(first);
            let facts = facts.ok_or("tls: failed to parse certificate from client".to_owned())?;
            let facts = seen.facts.insert(facts);
            let revoked = self.revoked.as_ref().map(Watched::current);
            judge(&self.info, certs, facts, revoked.as_deref())?;
            if self.endpoint.checks_address()
                && !self.info.skip_client_san_verify
                && let Some(remote) = remote
            {
                comes_from_there(facts, remote).await?;
            }
            common_name = Some(Arc::from(facts.common_name.as_str()));
        }
        Ok(Secured { stream: guarded(stream), is_tls: true, common_name })
    }

    /// In etcd's words. Who just goes is nothing to worry about.
    fn tell(&self, remote: Option<SocketAddr>, seen: &Seen, reason: Option<String>) {
        let remote = remote.map_or_else(|| "@".to_owned(), |remote| remote.to_string());
        let name = &seen.server_name;
        let Some(error) = reason else {
            tracing::debug!(
                "remote-addr" = %remote,
                "server-name" = %name,
                error = "EOF",
                "rejected connection"
            );
            return;
        };
        let Facts { ip_addresses, dns_names, .. } = seen.facts.clone().unwrap_or_default();
        let addresses: Vec<String> = ip_addresses.iter().map(ToString::to_string).collect();
        match (self.endpoint, seen.facts.is_some()) {
            (Endpoint::Peer, true) => tracing::warn!(
                "remote-addr" = %remote,
                "server-name" = %name,
                "ip-addresses" = ?addresses,
                "dns-names" = ?dns_names,
                error = %error,
                "rejected connection on peer endpoint"
            ),
            (Endpoint::Peer, false) => tracing::warn!(
                "remote-addr" = %remote,
                "server-name" = %name,
                error = %error,
                "rejected connection on peer endpoint"
            ),
            (_, true) => tracing::warn!(
                "remote-addr" = %remote,
                "server-name" = %name,
                "ip-addresses" = ?addresses,
                "dns-names" = ?dns_names,
                error = %error,
                "rejected connection on client endpoint"
            ),
            (_, false) => tracing::warn!(
                "remote-addr" = %remote,
                "server-name" = %name,
                error = %error,
                "rejected connection on client endpoint"
            ),
        }
    }
}

/// What a handshake has brought to light before it failed.
#[derive(Debug, Default)]
struct Seen {
    server_name: String,
    facts: Option<Facts>,
}

fn guarded(stream: server::TlsStream<Stream>) -> Stream {
    Stream::Tls(Box::new(TlsStream::Server(stream)))
}

pub(super) fn pair(cert: &str, key: &str) -> Result<Watched<Pair>, TlsError> {
    Watched::new(vec![cert.into(), key.into()], Pair::read).map_err(TlsError::File)
}

fn pair_is_good(cert: &str, key: &str) -> Result<(), TlsError> {
    pair(cert, key).map(|_| ())
}

pub(super) fn watched<T>(
    path: &str,
    read: super::watched::Read<T>,
) -> Result<Option<Watched<T>>, TlsError> {
    if path.is_empty() {
        return Ok(None);
    }
    Watched::new(vec![path.into()], read).map(Some).map_err(TlsError::File)
}

fn acceptor(
    info: &TlsInfo,
    endpoint: Endpoint,
    pair: &Pair,
    authorities: Option<&Authorities>,
) -> Result<TlsAcceptor, TlsError> {
    let provider = info.provider();
    let algorithms = provider.signature_verification_algorithms;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&info.versions())?;
    let machine;
    let authorities = match authorities {
        None if info.client_cert_auth => {
            machine = Authorities::of_machine();
            Some(&machine)
        }
        given => given,
    };
    let builder = match authorities {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let roots = Arc::clone(&authorities.roots);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            let others = verifier.map_err(|error| TlsError::File(error.to_string()))?;
            let (authorities, info) = (Arc::clone(&authorities.certs), info.clone());
            let verifier = Clients { authorities, others, info, algorithms };
            builder.with_client_cert_verifier(Arc::new(verifier))
        }
    };
    let mut config =
        builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&pair.key))));
    config.alpn_protocols = endpoint.protocols();
    // Tickets are kept by clients; here is nothing to remember.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = ticketer()?;
    config.send_tls13_tickets = 1;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> Self {
        io::Error::other(error)
    }
}
