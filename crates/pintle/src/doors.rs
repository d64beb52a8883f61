//! The doors of a member: bound before anything else of it begins, opened when it can answer.

use std::sync::Arc;

use api::{Offer, Server};
use net::{
    BoundSocket, ConnectionLimit, Endpoint, LocalAddress, Security, ServerTls, TlsInfo, Url,
    descriptor_limit,
};

use crate::certificates::{self, To};
use crate::config::{Config, Listen};
use crate::logging::{Level, Logger};

/// Sockets that listen; who connects waits until they are opened.
#[derive(Debug)]
pub(crate) struct Doors {
    peer: Vec<(BoundSocket, Security)>,
    client: Vec<ClientDoor>,
    /// What members are shown, and who of them is believed.
    pub(crate) peer_info: TlsInfo,
    client_info: TlsInfo,
}

#[derive(Debug)]
struct ClientDoor {
    socket: BoundSocket,
    security: Security,
    offer: Offer,
    traffic: &'static str,
}

impl Doors {
    /// Takes the addresses of members and clients, so that two members never share them, and
    /// the second one ends before it touches any data.
    pub(crate) fn bind(config: &Config, logger: &Logger) -> Result<Doors, anyhow::Error> {
        let listen = &config.listen;
        let urls = texts(&listen.peer);
        logger.info("configuring peer listeners").list("listen-peer-urls", urls).send();
        let peer_info = certificates::prepare(config, logger, To::Members)?;
        let bound = bind_peers(listen, logger, &peer_info);
        let peer = bound.inspect_err(|error| {
            logger.line(Level::Error, "creating peer listener failed").error(error).send();
        })?;
        let urls = texts(&listen.client);
        logger.info("configuring client listeners").list("listen-client-urls", urls).send();
        let client_info = certificates::prepare(config, logger, To::Clients)?;
        let client = bind_clients(listen, &client_info)?;
        Ok(Doors { peer, client, peer_info, client_info })
    }

    /// Opens the doors to members and to metrics, which answer before the member is ready. Tells
    /// where members find it.
    pub(crate) fn open_early(
        &mut self,
        config: &Config,
        logger: &Logger,
        server: &Server,
        peers: &peer::Server,
    ) -> Result<Vec<LocalAddress>, anyhow::Error> {
        let unlimited = || ConnectionLimit::new(u64::MAX);
        let tls = tls_for(&config.listen.metrics, &self.client_info, Endpoint::Metrics)?;
        for url in &config.listen.metrics {
            let socket = BoundSocket::bind(url, config.listen.socket)?;
            let security = security(url, tls.as_ref());
            let address = server.open(socket, unlimited(), Offer::Metrics, security)?;
            let scheme = url.scheme().as_str();
            logger.info("serving metrics").text("address", format!("{scheme}://{address}")).send();
        }
        let mut addresses = Vec::new();
        for (socket, security) in self.peer.drain(..) {
            let address = peers.open(socket, unlimited(), security)?;
            logger.info("serving peer traffic").text("address", address.to_string()).send();
            addresses.push(address);
        }
        if !self.client_info.is_empty() {
            certificates::starting(logger, "starting with client TLS", &self.client_info);
        }
        Ok(addresses)
    }

    /// Opens the doors to clients. Each of them has a limit of its own, as in etcd.
    pub(crate) fn open(&mut self, logger: &Logger, server: &Server) -> Result<(), anyhow::Error> {
        for ClientDoor { socket, security, offer, traffic } in self.client.drain(..) {
            let (plain, guarded) = match &security {
                Security::Plain => (true, false),
                Security::Tls(_) => (false, true),
                Security::Either(_) => (true, true),
            };
            let limit = ConnectionLimit::from_descriptors(descriptor_limit())?;
            let address = server.open(socket, limit, offer, security)?.to_string();
            logger.info("ready to serve client requests").send();
            let serving = |message: &str| {
                logger.info(message).text("traffic", traffic).text("address", &address).send();
            };
            if plain {
                serving("serving client traffic insecurely; this is strongly discouraged!");
            }
            if guarded {
                serving("serving client traffic securely");
            }
        }
        Ok(())
    }
}

fn bind_peers(
    listen: &Listen,
    logger: &Logger,
    info: &TlsInfo,
) -> Result<Vec<(BoundSocket, Security)>, anyhow::Error> {
    let tls = tls_for(&listen.peer, info, Endpoint::Peer)?;
    let mut doors = Vec::new();
    for url in &listen.peer {
        certificates::warn_of_unused(logger, url, info, To::Members);
        let socket = BoundSocket::bind(url, listen.socket)?;
        doors.push((socket, security(url, tls.as_ref())));
    }
    Ok(doors)
}

/// A URL for TLS and one without may be at the same address: that is one door then.
fn bind_clients(listen: &Listen, info: &TlsInfo) -> Result<Vec<ClientDoor>, anyhow::Error> {
    let apart = !listen.client_http.is_empty();
    let (offer, traffic) =
        if apart { (Offer::Grpc, "grpc") } else { (Offer::Everything, "grpc+http") };
    let clients = listen.client.iter().map(|url| (url, offer, traffic));
    let http = listen.client_http.iter().map(|url| (url, Offer::Http, "http"));
    let all: Vec<_> = clients.chain(http).collect();
    let urls: Vec<Url> = all.iter().map(|(url, ..)| (*url).clone()).collect();
    let tls = tls_for(&urls, info, Endpoint::Client)?;
    let mut doors: Vec<(String, ClientDoor)> = Vec::new();
    for (url, offer, traffic) in all {
        let (address, security) = (url.address(), security(url, tls.as_ref()));
        // A port of 0 is another one each time.
        let there = doors.iter_mut().find(|(there, _)| *there == address && url.port() != "0");
        if let Some((_, door)) = there {
            door.security = both(&door.security, security);
            continue;
        }
        let socket = BoundSocket::bind(url, listen.socket)?;
        doors.push((address, ClientDoor { socket, security, offer, traffic }));
    }
    Ok(doors.into_iter().map(|(_, door)| door).collect())
}

fn tls_for(
    urls: &[Url],
    info: &TlsInfo,
    endpoint: Endpoint,
) -> Result<Option<Arc<ServerTls>>, net::TlsError> {
    let wanted = urls.iter().any(|url| url.scheme().is_secure());
    wanted.then(|| ServerTls::new(info, endpoint)).transpose()
}

fn security(url: &Url, tls: Option<&Arc<ServerTls>>) -> Security {
    match tls {
        Some(tls) if url.scheme().is_secure() => Security::Tls(Arc::clone(tls)),
        _ => Security::Plain,
    }
}

fn both(one: &Security, other: Security) -> Security {
    match (one, other) {
        (Security::Plain, Security::Tls(tls)) => Security::Either(tls),
        (Security::Tls(tls), Security::Plain) => Security::Either(Arc::clone(tls)),
        (one, _) => one.clone(),
    }
}

pub(crate) fn texts(urls: &[Url]) -> Vec<&str> {
    urls.iter().map(Url::as_str).collect()
}
