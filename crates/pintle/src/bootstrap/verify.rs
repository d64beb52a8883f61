//! Whether the flags that name the first members make sense together.

use std::collections::BTreeSet;

use net::{InitialCluster, Url};

use super::{Beginning, Lookup};

impl<L: Lookup> Beginning<'_, L> {
    /// For a new cluster.
    pub(super) async fn verify_new(&self, cluster: &InitialCluster) -> Result<(), String> {
        self.verify_named(cluster)?;
        self.verify_advertised(cluster).await?;
        verify_apart(cluster, "initial")
    }

    /// For a cluster that is there. It knows where this member is from when it was added.
    pub(super) fn verify_existing(&self, cluster: &InitialCluster) -> Result<(), String> {
        self.verify_named(cluster)?;
        verify_apart(cluster, "initial")?;
        if self.config.bootstrap.discovery.is_wanted() {
            let problem = "discovery URL should not be set when joining existing initial cluster";
            return Err(problem.to_owned());
        }
        Ok(())
    }

    /// For what has come of discovery. Somebody else may have taken this member's name.
    pub(super) fn verify_discovered(
        &self,
        cluster: &InitialCluster,
        own: &InitialCluster,
    ) -> Result<(), String> {
        verify_apart(cluster, "discovery")?;
        let name = &self.config.name;
        if cluster.urls_of(name) == own.urls_of(name) {
            return Ok(());
        }
        Err(format!("discovery cluster {cluster} has other URLs for {name}: names must differ"))
    }

    fn verify_named(&self, cluster: &InitialCluster) -> Result<(), String> {
        let name = &self.config.name;
        cluster.urls_of(name).map(|_| ()).ok_or_else(|| not_named(name))
    }

    /// Others must come to the same id for this member as it does, and the id is made from its
    /// URLs.
    async fn verify_advertised(&self, cluster: &InitialCluster) -> Result<(), String> {
        let name = &self.config.name;
        let mut advertised = self.config.advertise.peer.clone();
        advertised.sort();
        let named = cluster.urls_of(name).unwrap_or_default();
        let Err(error) = self.names().same(&advertised, named).await else { return Ok(()) };
        let pairs = |urls: &[Url]| {
            urls.iter().map(|url| format!("{name}={url}")).collect::<Vec<_>>().join(",")
        };
        let all = joined(&advertised);
        let missing = missing(named, &advertised);
        if !missing.is_empty() {
            return Err(format!(
                "--initial-cluster has {} but missing from --initial-advertise-peer-urls={all} \
                 ({error})",
                pairs(&missing)
            ));
        }
        let missing = self::missing(&advertised, named);
        if !missing.is_empty() {
            return Err(format!(
                "--initial-advertise-peer-urls has {} but missing from --initial-cluster={}",
                joined(&missing),
                pairs(&advertised)
            ));
        }
        Err(format!(
            "failed to resolve {all} to match --initial-cluster={} ({error})",
            pairs(&advertised)
        ))
    }
}

pub(super) fn not_named(name: &str) -> String {
    format!("couldn't find local name {name:?} in the initial cluster configuration")
}

/// No two members are at the same place.
fn verify_apart(cluster: &InitialCluster, kind: &str) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    let apart = cluster.members().values().flatten().all(|url| seen.insert(url.as_str()));
    if apart { Ok(()) } else { Err(format!("{kind} cluster {cluster} has duplicate url")) }
}

/// What is in the first list only.
fn missing(of: &[Url], from: &[Url]) -> Vec<Url> {
    let mut missing: Vec<_> = of.iter().filter(|url| !from.contains(url)).cloned().collect();
    missing.dedup();
    missing
}

fn joined(urls: &[Url]) -> String {
    urls.iter().map(Url::as_str).collect::<Vec<_>>().join(",")
}
