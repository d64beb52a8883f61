//! The side that dials.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};
use tokio_rustls::{TlsConnector, TlsStream};

use super::anchored::{Anybody, Servers};
use super::facts::Facts;
use super::files::{Authorities, Pair};
use super::refusal;
use super::server::{pair, watched};
use super::settings::{TlsError, TlsInfo};
use super::watched::Watched;
use crate::stream::Stream;
use crate::url::Url;

/// What it takes to be the client of TLS connections.
pub struct ClientTls {
    info: TlsInfo,
    protocols: Vec<Vec<u8>>,
    pair: Option<Watched<Pair>>,
    authorities: Option<Watched<Authorities>>,
    /// Made at the first use where no file could be wrong: most members dial nobody by TLS.
    built: Mutex<Option<Built>>,
}

struct Built {
    pair: Option<Arc<Pair>>,
    authorities: Option<Arc<Authorities>>,
    connector: TlsConnector,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}

impl ClientTls {
    /// Reads all files. Without a certificate none is shown.
    pub fn new(info: &TlsInfo, protocols: &[&str]) -> Result<Arc<ClientTls>, TlsError> {
        let pair = match info.is_empty() {
            true => None,
            false => {
                info.check()?;
                let (cert, key) = match info.client_cert_file.is_empty() {
                    true => (&info.cert_file, &info.key_file),
                    false => (&info.client_cert_file, &info.client_key_file),
                };
                Some(pair(cert, key)?)
            }
        };
        let authorities = watched(&info.trusted_ca_file, Authorities::read)?;
        let protocols: Vec<Vec<u8>> = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        let built = Mutex::new(None);
        let made = Self { info: info.clone(), protocols, pair, authorities, built };
        if !info.is_empty() || !info.trusted_ca_file.is_empty() {
            made.connector()?;
        }
        Ok(Arc::new(made))
    }

    /// The common name of the certificate that is shown; empty where it has none, or where none
    /// is shown.
    pub fn common_name(&self) -> String {
        let pair = self.pair.as_ref().map(Watched::current);
        let facts = pair.and_then(|pair| Facts::of(pair.key.cert.first()?));
        facts.map(|facts| facts.common_name).unwrap_or_default()
    }

    fn connector(&self) -> Result<TlsConnector, TlsError> {
        let pair = self.pair.as_ref().map(Watched::current);
        if let Some(pair) = &pair {
            pair.tell_of_its_end();
        }
        let authorities = self.authorities.as_ref().map(Watched::current);
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = pair.as_ref().map(Arc::as_ptr);
        let believed = authorities.as_ref().map(Arc::as_ptr);
        if let Some(built) = &*built
            && built.pair.as_ref().map(Arc::as_ptr) == shown
            && built.authorities.as_ref().map(Arc::as_ptr) == believed
        {
            return Ok(built.connector.clone());
        }
        let made = connector(&self.info, &self.protocols, pair.as_deref(), authorities.as_deref());
        match (made, &*built) {
            (Ok(connector), _) => {
                *built = Some(Built { pair, authorities, connector: connector.clone() });
                Ok(connector)
            }
            (Err(error), Some(built)) => {
                tracing::warn!(%error, "changed TLS files cannot be used");
                Ok(built.connector.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Connects to who listens on a URL, and shakes hands.
    pub async fn connect(&self, url: &Url) -> io::Result<Stream> {
        self.connect_from(None, url).await
    }

    /// As [`ClientTls::connect`], from an address of this machine, if one is given.
    pub async fn connect_from(&self, from: Option<IpAddr>, url: &Url) -> io::Result<Stream> {
        let stream = Stream::connect_from(from, url).await?;
        self.secure(stream, url.hostname()).await
    }

    /// Shakes hands with a host on a connection that is there.
    pub async fn secure(&self, stream: Stream, host: &str) -> io::Result<Stream> {
        let name = match self.info.server_name.as_str() {
            "" => host,
            name => name,
        };
        let shaken = self.connector()?.connect(server_name(name)?, stream).await;
        let stream = shaken.map_err(|error| {
            let text = refusal::text(&error).unwrap_or_else(|| "EOF".to_owned());
            io::Error::new(error.kind(), text)
        })?;
        Ok(Stream::Tls(Box::new(TlsStream::Client(stream))))
    }
}

/// A unix socket's file names no host; nothing that is shown will hold for it.
fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(ServerName::IpAddress(address.into()));
    }
    let host = if bare.is_empty() { "localhost" } else { bare };
    ServerName::try_from(host.to_owned()).map_err(io::Error::other)
}

fn connector(
    info: &TlsInfo,
    protocols: &[Vec<u8>],
    pair: Option<&Pair>,
    authorities: Option<&Authorities>,
) -> Result<TlsConnector, TlsError> {
    let provider = info.provider();
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&info.versions())?;
    let machine;
    let authorities = match authorities {
        Some(authorities) => authorities,
        None => {
            machine = Authorities::of_machine();
            &machine
        }
    };
    let roots = &authorities.roots;
    let builder = if info.insecure_skip_verify || info.self_signed {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody { algorithms }))
    } else if roots.is_empty() {
        // Nobody vouches for anybody: to be found out by who dials, as in Go.
        builder.with_root_certificates(Arc::clone(roots))
    } else {
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), provider).build();
        let others = verifier.map_err(|error| TlsError::File(error.to_string()))?;
        let (authorities, info) = (Arc::clone(&authorities.certs), info.clone());
        let verifier = Arc::new(Servers { authorities, others, info, algorithms });
        builder.dangerous().with_custom_certificate_verifier(verifier)
    };
    let mut config = match pair {
        None => builder.with_no_client_auth(),
        Some(pair) => builder.with_client_cert_resolver(Arc::new(Shown(Arc::clone(&pair.key)))),
    };
    config.alpn_protocols = protocols.to_vec();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The one certificate that is shown to whoever asks, whomever the other side believes: what is
/// wrong with it shows in the other side's log then.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
