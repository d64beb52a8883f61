//! The doors of a member: bound before anything else of it begins, opened when it can answer.

use api::{Offer, Server};
use net::{BoundSocket, ConnectionLimit, LocalAddress, Url, descriptor_limit};

use crate::config::{Config, Listen};
use crate::logging::{Level, Logger};

/// Sockets that listen; who connects waits until they are opened.
#[derive(Debug)]
pub(crate) struct Doors {
    peer: Vec<BoundSocket>,
    client: Vec<(BoundSocket, Offer, &'static str)>,
}

impl Doors {
    /// Takes the addresses of members and clients, so that two members never share them, and
    /// the second one ends before it touches any data.
    pub(crate) fn bind(listen: &Listen, logger: &Logger) -> Result<Doors, anyhow::Error> {
        let bind = |url: &Url| BoundSocket::bind(url, listen.socket);
        let urls = texts(&listen.peer);
        logger.info("configuring peer listeners").list("listen-peer-urls", urls).send();
        let peer = listen.peer.iter().map(bind).collect::<Result<Vec<_>, _>>();
        let peer = peer.inspect_err(|error| {
            logger.line(Level::Error, "creating peer listener failed").error(error).send();
        })?;
        let urls = texts(&listen.client);
        logger.info("configuring client listeners").list("listen-client-urls", urls).send();
        let apart = !listen.client_http.is_empty();
        let (offer, traffic) =
            if apart { (Offer::Grpc, "grpc") } else { (Offer::Everything, "grpc+http") };
        let clients = listen.client.iter().map(|url| (url, offer, traffic));
        let http = listen.client_http.iter().map(|url| (url, Offer::Http, "http"));
        let client = clients
            .chain(http)
            .map(|(url, offer, traffic)| Ok((bind(url)?, offer, traffic)))
            .collect::<Result<Vec<_>, net::BindError>>()?;
        Ok(Doors { peer, client })
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
        for url in &config.listen.metrics {
            let socket = BoundSocket::bind(url, config.listen.socket)?;
            let address = server.open(socket, unlimited(), Offer::Metrics)?;
            let scheme = url.scheme().as_str();
            logger.info("serving metrics").text("address", format!("{scheme}://{address}")).send();
        }
        let mut addresses = Vec::new();
        for socket in self.peer.drain(..) {
            let address = peers.open(socket, unlimited())?;
            logger.info("serving peer traffic").text("address", address.to_string()).send();
            addresses.push(address);
        }
        Ok(addresses)
    }

    /// Opens the doors to clients. Each of them has a limit of its own, as in etcd.
    pub(crate) fn open(&mut self, logger: &Logger, server: &Server) -> Result<(), anyhow::Error> {
        for (socket, offer, traffic) in self.client.drain(..) {
            let limit = ConnectionLimit::from_descriptors(descriptor_limit())?;
            let address = server.open(socket, limit, offer)?.to_string();
            logger.info("ready to serve client requests").send();
            logger
                .info("serving client traffic insecurely; this is strongly discouraged!")
                .text("traffic", traffic)
                .text("address", address)
                .send();
        }
        Ok(())
    }
}

pub(crate) fn texts(urls: &[Url]) -> Vec<&str> {
    urls.iter().map(Url::as_str).collect()
}
