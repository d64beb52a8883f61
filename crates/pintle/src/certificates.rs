//! Certificates as the doors find them: given, or made here; and what the log says of them.

use net::{SelfSigned, TlsInfo, Url};

use crate::config::Config;
use crate::logging::{Level, Logger};

/// Whom certificates are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    Members,
    Clients,
}

impl To {
    fn word(self) -> &'static str {
        match self {
            To::Members => "peer",
            To::Clients => "client",
        }
    }
}

/// What a side shows and believes, with a certificate made for it where that is wished.
pub(crate) fn prepare(config: &Config, logger: &Logger, to: To) -> Result<TlsInfo, anyhow::Error> {
    let (tls, listen) = (&config.tls, &config.listen);
    let (given, wished) = match to {
        To::Members => (&tls.peer, tls.peer_auto),
        To::Clients => (&tls.client, tls.client_auto),
    };
    let mut info = given.clone();
    if wished && !given.is_empty() {
        logger.warn(&format!("ignoring {} auto TLS since certs given", to.word())).send();
    } else if wished {
        let hosts: Vec<String> = match to {
            To::Members => listen.peer.iter().map(host).collect(),
            To::Clients => listen.client.iter().chain(&listen.client_http).map(host).collect(),
        };
        info = make(config, logger, to, &hosts)?;
    }
    if to == To::Members && !info.is_empty() {
        starting(logger, "starting with peer TLS", &info);
    }
    if to == To::Clients {
        for url in listen.client.iter().chain(&listen.client_http) {
            warn_of_unused(logger, url, &info, to);
        }
    }
    Ok(info)
}

fn host(url: &Url) -> String {
    url.hostname().to_owned()
}

/// As in etcd, nothing but suites and versions of what was said before holds beside a certificate
/// that was made here.
fn make(
    config: &Config,
    logger: &Logger,
    to: To,
    hosts: &[String],
) -> Result<TlsInfo, anyhow::Error> {
    let folder = config.data_dir.join("fixtures").join(to.word());
    let made = net::self_signed(&folder, hosts, config.tls.self_signed_years);
    let made = made.inspect_err(|error| {
        let message = format!("failed to get {} self-signed certs", to.word());
        logger.line(Level::Fatal, &message).error(error).send();
    })?;
    let given = match to {
        To::Members => &config.tls.peer,
        To::Clients => &config.tls.client,
    };
    tell_of_made(logger, &made)?;
    if given.client_cert_auth || !given.trusted_ca_file.is_empty() {
        let message = "certificates of the other side are not asked for beside auto TLS";
        logger.warn(message).text("side", to.word()).send();
    }
    Ok(TlsInfo {
        cipher_suites: given.cipher_suites.clone(),
        without_tls12: given.without_tls12,
        without_tls13: given.without_tls13,
        ..made.info
    })
}

/// What was made just now.
pub(crate) fn tell_of_made(logger: &Logger, made: &SelfSigned) -> Result<(), anyhow::Error> {
    let Some(until) = made.made_until else { return Ok(()) };
    let until = jiff::Timestamp::try_from(until)?.to_string();
    let line = logger.warn("automatically generate certificates");
    line.text("certificate-validity-bound-not-after", until).send();
    logger.info("created cert file").text("path", &made.info.cert_file).send();
    logger.info("created key file").text("path", &made.info.key_file).send();
    Ok(())
}

/// One line with all files.
pub(crate) fn starting(logger: &Logger, message: &str, info: &TlsInfo) {
    let line = logger.info(message).text("tls-info", info.to_string());
    line.list("cipher-suites", &info.cipher_suites).send();
}

/// Whoever gives certificates may believe that they count everywhere.
pub(crate) fn warn_of_unused(logger: &Logger, url: &Url, info: &TlsInfo, to: To) {
    let unused = match to {
        To::Members => url.scheme() == net::Scheme::Http,
        To::Clients => !url.scheme().is_secure(),
    };
    let (scheme, flag, key) = match to {
        To::Members => ("HTTP", "--peer-client-cert-auth", "peer-url"),
        To::Clients => ("http or unix", "--client-cert-auth", "client-url"),
    };
    if unused && !info.is_empty() {
        let message = format!(
            "scheme is {scheme} while key and cert files are present; ignoring key and cert files"
        );
        logger.warn(&message).text(key, url.as_str()).send();
    }
    if unused && info.client_cert_auth {
        let message = format!(
            "scheme is {scheme} while {flag} is enabled; ignoring client cert auth for this URL"
        );
        logger.warn(&message).text(key, url.as_str()).send();
    }
}
