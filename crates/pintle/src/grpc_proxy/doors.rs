//! Where the proxy listens, and how its doors are guarded.

use std::path::Path;

use api::{Offer, Server};
use net::{
    BoundSocket, ConnectionLimit, Endpoint, Security, ServerTls, SocketOptions, TlsError, TlsInfo,
    Url,
};
use proxy::Proxy;

use crate::certificates;
use crate::command::{Flags, Stopped};
use crate::logging::{Level, Logger};

/// Sockets that listen; who connects waits until they are opened.
pub(super) struct Doors {
    clients: (BoundSocket, Security),
    metrics: Option<(BoundSocket, Security)>,
}

impl Doors {
    pub(super) fn bind(logger: &Logger, flags: &Flags) -> Result<Self, Stopped> {
        let info = tls(logger, flags)?;
        let address = flags.text("listen-addr");
        let clients = bind(&url_of(address)?)?;
        let security = security(info.as_ref(), Endpoint::Client).map_err(|error| {
            let message = "failed to create TLS listener";
            logger.line(Level::Fatal, message).error(error).send();
            Stopped::Out(String::new())
        })?;
        let message = "listening for gRPC proxy client requests";
        logger.info(message).text("address", address).send();
        let metrics = match flags.text("metrics-addr") {
            "" => None,
            address => Some(metrics(logger, address, info.as_ref())?),
        };
        Ok(Self { clients: (clients, security), metrics })
    }

    pub(super) fn open(
        self,
        logger: &Logger,
        flags: &Flags,
        server: &Server<Proxy>,
    ) -> Result<(), Stopped> {
        let unlimited = || ConnectionLimit::new(u64::MAX);
        if flags.switch("enable-pprof") {
            logger.info("gRPC proxy enabled pprof").text("path", "/debug/pprof").send();
        }
        if let Some((socket, security)) = self.metrics {
            let opened = server.open(socket, unlimited(), Offer::Metrics, security);
            opened.map_err(Stopped::loudly)?;
            logger.info("gRPC proxy server metrics URL serving").send();
        }
        let (socket, security) = self.clients;
        let opened = server.open(socket, unlimited(), Offer::Everything, security);
        opened.map(drop).map_err(Stopped::loudly)
    }
}

/// `host:port`, as Go reads it.
fn url_of(address: &str) -> Result<Url, Stopped> {
    let no_port = || format!("listen tcp: address {address}: missing port in address");
    Url::parse(&format!("http://{address}")).map_err(|_| Stopped::loudly(no_port()))
}

fn bind(url: &Url) -> Result<BoundSocket, Stopped> {
    BoundSocket::bind(url, SocketOptions::default()).map_err(Stopped::loudly)
}

fn security(info: Option<&TlsInfo>, endpoint: Endpoint) -> Result<Security, TlsError> {
    match info {
        None => Ok(Security::Plain),
        Some(info) => Ok(Security::Tls(ServerTls::new(info, endpoint)?)),
    }
}

fn metrics(
    logger: &Logger,
    address: &str,
    info: Option<&TlsInfo>,
) -> Result<(BoundSocket, Security), Stopped> {
    let unread = |_| Stopped::Err(format!("cannot parse {address:?}"));
    let url = Url::parse(address).map_err(unread)?;
    let info = info.filter(|_| url.scheme().is_secure());
    if info.is_none() && url.scheme().is_secure() {
        let address = url.address();
        let reason = "KeyFile and CertFile are not presented";
        return Err(Stopped::loudly(format!("cannot listen on TLS for {address}: {reason}")));
    }
    let security = security(info, Endpoint::Metrics).map_err(Stopped::loudly)?;
    let socket = bind(&url)?;
    logger.info("gRPC proxy listening for metrics").text("address", url.as_str()).send();
    Ok((socket, security))
}

/// What clients are shown; none where TLS is not wished.
fn tls(logger: &Logger, flags: &Flags) -> Result<Option<TlsInfo>, Stopped> {
    let mut info = TlsInfo {
        cert_file: flags.text("cert-file").to_owned(),
        key_file: flags.text("key-file").to_owned(),
        trusted_ca_file: flags.text("trusted-ca-file").to_owned(),
        ..TlsInfo::default()
    };
    if info.is_empty() && info.trusted_ca_file.is_empty() {
        if !flags.switch("auto-tls") {
            return Ok(None);
        }
        info = made(logger, flags)?;
    }
    info.crl_file = flags.text("client-crl-file").to_owned();
    info.cipher_suites = flags.list("listen-cipher-suites").to_vec();
    info.without_tls12 = flags.text("tls-min-version") == "TLS1.3";
    info.without_tls13 = flags.text("tls-max-version") == "TLS1.2";
    logger.info("gRPC proxy server TLS").text("tls-info", info.to_string()).send();
    Ok(Some(info))
}

fn made(logger: &Logger, flags: &Flags) -> Result<TlsInfo, Stopped> {
    let folder = Path::new(flags.text("data-dir")).join("fixtures").join("proxy");
    let url = url_of(flags.text("listen-addr"))?;
    let (hosts, years) = ([url.hostname().to_owned()], flags.uint("self-signed-cert-validity"));
    let made = net::self_signed(&folder, &hosts, years).map_err(Stopped::loudly)?;
    certificates::tell_of_made(logger, &made).map_err(Stopped::loudly)?;
    Ok(made.info)
}
