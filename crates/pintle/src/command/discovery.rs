//! Members that the DNS names, for who speaks to them as a client.

use std::time::Duration;

use net::SrvRecord;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Flags, Stopped, host_port, reason};
use crate::bootstrap::Lookup;
use crate::logging::{Line, Logger};

/// How long a connection to a member may take.
pub(crate) const DIAL_PATIENCE: Duration = Duration::from_secs(30);

/// A member by its record.
#[derive(Debug, Clone)]
pub(crate) struct Discovered {
    pub(crate) url: String,
    pub(crate) record: SrvRecord,
}

impl Discovered {
    fn new(scheme: &str, record: SrvRecord) -> Self {
        let url = format!("{scheme}://{}", host_port(&record.target, record.port));
        Self { url, record }
    }
}

/// Those that `--discovery-srv` names, without those that are not to be trusted; none without it.
/// The file has the authorities that are believed.
pub(crate) async fn discover<L: Lookup>(
    logger: &Logger,
    flags: &Flags,
    authorities: &str,
    lookup: &L,
) -> Result<Vec<Discovered>, Stopped> {
    let domain = flags.text("discovery-srv");
    if domain.is_empty() {
        return Ok(Vec::new());
    }
    let suffix = match flags.text("discovery-srv-name") {
        "" => String::new(),
        name => format!("-{name}"),
    };
    let secure = lookup.services(&format!("_etcd-client-ssl{suffix}._tcp.{domain}")).await;
    let plain = lookup.services(&format!("_etcd-client{suffix}._tcp.{domain}")).await;
    if let (Err(secure), Err(plain)) = (&secure, &plain) {
        return Err(Stopped::loudly(format!("dns lookup errors: {secure} and {plain}")));
    }
    let found: Vec<Discovered> = [("https", secure), ("http", plain)]
        .into_iter()
        .flat_map(|(scheme, records)| {
            let records = records.unwrap_or_default().into_iter();
            records.map(move |record| Discovered::new(scheme, record))
        })
        .collect();
    said(domain, logger.info("discovered cluster from SRV"), &found).send();
    if flags.switch("insecure-discovery") {
        return Ok(found);
    }
    said(domain, logger.info("validating discovered SRV endpoints"), &found).send();
    let (good, problems) = validated(authorities, found).await;
    match problems.is_empty() {
        true => said(domain, logger.info("using validated discovered SRV endpoints"), &good).send(),
        false => {
            let line = logger.warn("failed to validate discovered endpoints");
            let line = said(domain, line, &good);
            line.error(problems.join(",")).send();
        }
    }
    Ok(good)
}

/// A line that tells of endpoints.
fn said<'a>(domain: &str, line: Line<'a>, found: &[Discovered]) -> Line<'a> {
    line.text("srv-server", domain).list("endpoints", found.iter().map(|one| one.url.as_str()))
}

/// Those that speak TLS by their name and take connections, and what is wrong with the others.
async fn validated(authorities: &str, found: Vec<Discovered>) -> (Vec<Discovered>, Vec<String>) {
    if !authorities.is_empty()
        && let Err(error) = std::fs::read(authorities)
    {
        let problem = format!("open {authorities}: {}", reason(&error));
        return (Vec::new(), vec![problem]);
    }
    let (mut good, mut problems) = (Vec::new(), Vec::new());
    for one in found {
        let url = &one.url;
        if !url.starts_with("https://") {
            problems.push(format!("{url:?} is insecure"));
            continue;
        }
        let address = host_port(&one.record.target, one.record.port);
        match timeout(DIAL_PATIENCE, TcpStream::connect(&address)).await {
            Ok(Ok(_)) => good.push(one),
            Ok(Err(error)) => {
                let reason = reason(&error);
                problems.push(format!(
                    "{url:?} failed to dial (dial tcp {address}: connect: {reason})"
                ));
            }
            Err(_) => {
                problems.push(format!("{url:?} failed to dial (dial tcp {address}: i/o timeout)"));
            }
        }
    }
    (good, problems)
}
