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
//! `names`, `others`, `join`, `discovery`, `registry`.

mod discovery;
mod join;
mod names;
mod others;
mod registry;
mod srv;
mod verify;

use std::time::Duration;

use net::InitialCluster;
use node::{Bootstrap, Member};
use peer::Dialer;

use crate::config::{self, ClusterState, Config};
use crate::logging::Logger;

use discovery::Discovery;
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

/// Why a member cannot begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// What it was told does not fit, or others have said no.
    #[error("{0}")]
    Refused(String),
    /// It has not found the others.
    #[error("failed to join discovery cluster ({0})")]
    Discovery(String),
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Failure::Refused(reason)
    }
}

/// A start that has no log to go on with.
pub(crate) struct Beginning<'a, L> {
    pub(crate) config: &'a Config,
    pub(crate) logger: &'a Logger,
    pub(crate) lookup: &'a L,
    pub(crate) dialer: &'a Dialer,
}

/// How a member with a log begins: as the log says. Only where the very first write to it was cut
/// short, it says nothing yet, and the flags are taken once more.
pub(crate) fn with_log(config: &Config, logger: &Logger) -> Option<Bootstrap> {
    if config.bootstrap.discovery.is_wanted() {
        let message = "discovery token is ignored since cluster already initialized; valid logs \
                       are found";
        logger.warn(message).text("wal-dir", config.wal_path().display().to_string()).send();
    }
    let members = config.bootstrap.members().ok()?;
    let new =
        config.bootstrap.state == ClusterState::New && members.urls_of(&config.name).is_some();
    new.then(|| Bootstrap::with_new(named(&members), &config.bootstrap.token))
}

/// Who shall be the members of the cluster in which a member without a log begins.
pub(crate) fn first_members(config: &Config, logger: &Logger) -> anyhow::Result<First> {
    // Nobody is asked yet.
    let dialer = &Dialer::default();
    let beginning = Beginning { config, logger, lookup: &SystemNames, dialer };
    let first = runtime()?.block_on(beginning.first_members());
    first.map_err(|error| anyhow::Error::msg(format!("error setting up initial cluster: {error}")))
}

/// How a member without a log begins.
pub(crate) fn without_log(
    config: &Config,
    logger: &Logger,
    dialer: &Dialer,
    first: &First,
) -> anyhow::Result<Bootstrap> {
    let beginning = Beginning { config, logger, lookup: &SystemNames, dialer };
    Ok(runtime()?.block_on(beginning.with(first))?)
}

/// For what is asked before the member is there; it ends with the question.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

impl<L: Lookup> Beginning<'_, L> {
    /// Of those that are to be discovered only this one is known.
    async fn first_members(&self) -> Result<First, String> {
        let config::Bootstrap { discovery, srv, token, .. } = &self.config.bootstrap;
        if discovery.is_wanted() {
            let (name, urls) = (&self.config.name, &self.config.advertise.peer);
            let pairs: Vec<_> = urls.iter().map(|url| format!("{name}={url}")).collect();
            let members = InitialCluster::parse(&pairs.join(","));
            let members = members.map_err(|error| error.to_string())?;
            return Ok(First { members, token: discovery.token.clone() });
        }
        let members = match srv {
            Some(srv) => self.members_in_dns(srv).await?,
            None => self.config.bootstrap.members().map_err(|error| error.to_string())?,
        };
        Ok(First { members, token: token.clone() })
    }

    /// With these members, of which this one is to be one.
    pub(crate) async fn with(&self, first: &First) -> Result<Bootstrap, Failure> {
        match self.config.bootstrap.state {
            ClusterState::New => self.found(first).await,
            ClusterState::Existing => Ok(self.join(&first.members).await?),
        }
    }

    /// A new cluster. Others that know this member as one that has begun are believed: it has lost
    /// its log, and would vote a second time where it has voted.
    async fn found(&self, first: &First) -> Result<Bootstrap, Failure> {
        self.verify_new(&first.members).await?;
        let bootstrap = Bootstrap::with_new(named(&first.members), &first.token);
        let Bootstrap::New { members } = &bootstrap else { return Ok(bootstrap) };
        let Some(me) = members.iter().find(|member| member.name == self.config.name) else {
            return Err(verify::not_named(&self.config.name).into());
        };
        let urls = others::urls(members, &self.config.name);
        if let Ok(there) = others::members(self.dialer, &urls, PATIENCE_AT_FIRST, None).await
            && there.members.iter().any(|it| it.id == me.id && !it.client_urls.is_empty())
        {
            return Err(begun_before(me).into());
        }
        if !self.config.bootstrap.discovery.is_wanted() {
            return Ok(bootstrap);
        }
        let members = self.discover(me, &first.members).await.map_err(Failure::Discovery)?;
        self.verify_discovered(&members, &first.members)?;
        Ok(Bootstrap::with_new(named(&members), &first.token))
    }

    async fn discover(&self, me: &Member, own: &InitialCluster) -> Result<InitialCluster, String> {
        self.logger.info("Bootstrapping cluster using v3 discovery.").send();
        let discovery = Discovery::new(self.logger, &self.config.bootstrap.discovery)?;
        discovery.join(&me.id.to_string(), own).await
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
