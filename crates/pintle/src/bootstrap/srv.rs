//! `--discovery-srv`: the DNS names the first members.

use std::net::SocketAddr;

use net::{InitialCluster, Scheme, Url};

use super::{Beginning, Lookup};
use crate::config::Srv;

/// The members that one kind of record names, as `name=url`.
type Found = Result<Vec<String>, String>;

impl<L: Lookup> Beginning<'_, L> {
    /// Who speaks TLS and who does not have records of their own; both are members.
    pub(super) async fn members_in_dns(&self, srv: &Srv) -> Result<InitialCluster, String> {
        let name = &self.config.name;
        let secure = self.look_for(srv, Scheme::Https).await;
        let plain = self.look_for(srv, Scheme::Http).await;
        let errors: Vec<&str> = [&secure, &plain]
            .into_iter()
            .filter_map(|found| found.as_ref().err())
            .map(String::as_str)
            .collect();
        let error = errors.join("\n");
        if !error.is_empty() {
            self.logger.warn("failed to resolve during SRV discovery").error(&error).send();
        }
        let members: Vec<String> = [secure, plain].into_iter().flatten().flatten().collect();
        for member in &members {
            let line = self.logger.info("got bootstrap from DNS for etcd-server");
            line.text("node", member).send();
        }
        if members.is_empty() && !error.is_empty() {
            return Err(error);
        }
        let members = InitialCluster::parse(&members.join(","));
        let members = members.map_err(|error| error.to_string())?;
        if members.urls_of(name).is_none() {
            return Err(format!("cannot find local etcd member {name:?} in SRV records"));
        }
        Ok(members)
    }

    async fn look_for(&self, srv: &Srv, scheme: Scheme) -> Found {
        let mut service = match scheme.is_secure() {
            true => "etcd-server-ssl".to_owned(),
            false => "etcd-server".to_owned(),
        };
        if !srv.name.is_empty() {
            service = format!("{service}-{}", srv.name);
        }
        let found = self.members_of(&service, srv, scheme).await;
        let message = match scheme.is_secure() {
            true => "get cluster for etcd-server-ssl SRV",
            false => "get cluster for etcd-server SRV",
        };
        let line = self
            .logger
            .info(message)
            .text("service-scheme", scheme.as_str())
            .text("service-name", &service)
            .text("server-name", &self.config.name)
            .text("discovery-srv", &srv.domain)
            .list("advertise-peer-urls", self.config.advertise.peer.iter().map(Url::as_str))
            .list("found-cluster", found.as_deref().unwrap_or_default());
        match &found {
            Ok(_) => line.send(),
            Err(error) => line.error(error).send(),
        }
        found
    }

    async fn members_of(&self, service: &str, srv: &Srv, scheme: Scheme) -> Found {
        let mut ours = Vec::new();
        for url in &self.config.advertise.peer {
            ours.push((url, self.addresses_of(url.hostname(), url.port()).await?));
        }
        let queried =
            |error: String| format!("error querying DNS SRV records for _{service} {error}");
        let records = self.lookup.services(&format!("_{service}._tcp.{}", srv.domain)).await;
        let records = records.map_err(|error| queried(error.to_string()))?;
        let mut members = Vec::new();
        let (mut unnamed, mut last) = (0, None);
        for record in records {
            let (host, port) = (record.target.as_str(), record.port.to_string());
            let there = match self.addresses_of(host, &port).await {
                Ok(there) => there,
                Err(error) => {
                    last = Some(error);
                    continue;
                }
            };
            let me = ours.iter().find(|(_, here)| here.iter().any(|it| there.contains(it)));
            let name = match me {
                Some(_) => self.config.name.clone(),
                None => {
                    unnamed += 1;
                    (unnamed - 1).to_string()
                }
            };
            let url = format!("{scheme}://{host}:{port}");
            match me {
                Some((ours, _)) if ours.scheme() != scheme => {
                    last = Some(format!(
                        "bootstrap at {url} from DNS for {service} has scheme mismatch with \
                         expected peer {ours}"
                    ));
                }
                _ => members.push(format!("{name}={url}")),
            }
        }
        match last {
            Some(error) if members.is_empty() => Err(queried(error)),
            _ => Ok(members),
        }
    }

    async fn addresses_of(&self, host: &str, port: &str) -> Result<Vec<SocketAddr>, String> {
        let port = port.parse().map_err(|_| format!("address {port}: invalid port"))?;
        let found = self.lookup.addresses(host, port).await;
        found.map_err(|error| format!("lookup {host}: {error}"))
    }
}
