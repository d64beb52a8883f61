//! How a member begins: what the flags say is checked, and who is there already is asked.
//!
//! ```text
//!   flags, DNS, or a discovery service --> members
//!     a log is there? ----------------------------------> what the log says
//!         new cluster? --> verify --> asked others -----> Bootstrap::New
//!    existing cluster? --> verify --> asked others -----> Bootstrap::Join
//! ```
//!
//! What goes wrong is told in etcd's words. Files in reading order: `mod`, `srv`, `verify`,
//! `names`, `others`, `join`.

mod join;
mod names;
mod others;
mod srv;
mod verify;

use std::time::Duration;

use net::InitialCluster;
use node::{Bootstrap, Member};

use crate::config::{ClusterState, Config};
use crate::logging::Logger;

pub(crate) use names::{Lookup, SystemNames};

/// How long the others may take to say whether this member has begun before: they begin at the
/// same time, mostly, and do not answer yet.
const PATIENCE_AT_FIRST: Duration = Duration::from_secs(1);

/// Who the members shall be, as far as is known before anybody of them is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct First {
    pub(crate) members: InitialCluster,
    /// Tells the ids of this cluster from those of others.
    pub(crate) token: String,
}

/// A start that has no log to go on with.
pub(crate) struct Beginning<'a, L> {
    pub(crate) config: &'a Config,
    pub(crate) logger: &'a Logger,
    pub(crate) lookup: &'a L,
}

/// How a member with a log begins: as the log says. Only where the very first write to it was cut
/// short, it says nothing yet, and the flags are taken once more.
pub(crate) fn with_log(config: &Config) -> Option<Bootstrap> {
    let members = config.bootstrap.members().ok()?;
    let new =
        config.bootstrap.state == ClusterState::New && members.urls_of(&config.name).is_some();
    new.then(|| Bootstrap::with_new(named(&members), &config.bootstrap.token))
}

/// Who shall be the members of the cluster in which a member without a log begins.
pub(crate) fn first_members(config: &Config, logger: &Logger) -> anyhow::Result<First> {
    let beginning = Beginning { config, logger, lookup: &SystemNames };
    let members = runtime()?
        .block_on(beginning.first_members())
        .map_err(|error| anyhow::Error::msg(format!("error setting up initial cluster: {error}")));
    Ok(First { members: members?, token: config.bootstrap.token.clone() })
}

/// How a member without a log begins.
pub(crate) fn without_log(
    config: &Config,
    logger: &Logger,
    first: &First,
) -> anyhow::Result<Bootstrap> {
    let beginning = Beginning { config, logger, lookup: &SystemNames };
    runtime()?.block_on(beginning.with(first)).map_err(anyhow::Error::msg)
}

/// For what is asked before the member is there; it ends with the question.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

impl<L: Lookup> Beginning<'_, L> {
    async fn first_members(&self) -> Result<InitialCluster, String> {
        match &self.config.bootstrap.srv {
            Some(srv) => self.members_in_dns(srv).await,
            None => self.config.bootstrap.members().map_err(|error| error.to_string()),
        }
    }

    /// With these members, of which this one is to be one.
    pub(crate) async fn with(&self, first: &First) -> Result<Bootstrap, String> {
        match self.config.bootstrap.state {
            ClusterState::New => self.found(first).await,
            ClusterState::Existing => self.join(&first.members).await,
        }
    }

    /// A new cluster. Others that know this member as one that has begun are believed: it has lost
    /// its log, and would vote a second time where it has voted.
    async fn found(&self, first: &First) -> Result<Bootstrap, String> {
        self.verify_new(&first.members).await?;
        let bootstrap = Bootstrap::with_new(named(&first.members), &first.token);
        let Bootstrap::New { members } = &bootstrap else { return Ok(bootstrap) };
        let Some(me) = members.iter().find(|member| member.name == self.config.name) else {
            return Err(verify::not_named(&self.config.name));
        };
        let urls = others::urls(members, &self.config.name);
        if let Ok(there) = others::members(&urls, PATIENCE_AT_FIRST, None).await
            && there.members.iter().any(|it| it.id == me.id && !it.client_urls.is_empty())
        {
            return Err(begun_before(me));
        }
        Ok(bootstrap)
    }
}

/// etcd's words, and what to do about it.
fn begun_before(me: &Member) -> String {
    format!(
        "member {id} has already been bootstrapped (it has lost its data directory, or was given \
         another one: bring that back, or remove the member from the cluster with `etcdctl member \
         remove {id}`, add it anew with `etcdctl member add`, and start it with \
         --initial-cluster-state=existing)",
        id = me.id
    )
}

fn named(cluster: &InitialCluster) -> impl Iterator<Item = (&String, Vec<String>)> {
    let members = cluster.members().iter();
    members.map(|(name, urls)| (name, urls.iter().map(|url| url.as_str().to_owned()).collect()))
}

#[cfg(test)]
mod tests;
