//! Which version the members speak with each other: raised when all are new enough, lowered when
//! the operator prepares for an older etcd.

use proto::etcdserverpb::downgrade_request::DowngradeAction;
use proto::etcdserverpb::{DowngradeRequest, InternalRaftRequest};
use proto::membershippb::{ClusterVersionSetRequest, DowngradeInfoSetRequest};
use state::{Downgrade, Version};

use crate::{Error, Node};

/// What a member of this version speaks at most.
const NEWEST: Version = Version::new(3, 7);

/// The version to agree on next; `None` to leave it. There is no other member whose version
/// would count.
fn decide(agreed: Option<Version>, downgrade: &Downgrade) -> Option<Version> {
    let Some(agreed) = agreed else { return Some(NEWEST) };
    if !downgrade.enabled {
        return (agreed < NEWEST).then_some(NEWEST);
    }
    let target: Version = downgrade.target_version.parse().ok()?;
    if target == agreed {
        return None;
    }
    let below = |version: Version| Some(target) == one_below(version);
    if below(agreed) && below(NEWEST) {
        return Some(target);
    }
    let (target, agreed) = (&downgrade.target_version, agreed.to_string());
    tracing::error!(
        "downgrade-target" = target,
        "cluster-version" = agreed,
        "Cannot downgrade from cluster-version to downgrade-target"
    );
    None
}

/// A downgrade goes one minor version down.
fn one_below(version: Version) -> Option<Version> {
    Some(Version::new(version.major, version.minor.checked_sub(1)?))
}

/// A target as operators write it: with or without a patch number, which does not count.
fn target(text: &str) -> Result<Version, Error> {
    let version: Result<Version, _> = text.parse().or_else(|_| format!("{text}.0").parse());
    version.map(Version::to_minor).map_err(|_| Error::DowngradeVersion)
}

/// `3.7`, as logs and answers tell a cluster version.
pub(crate) fn short(version: Version) -> String {
    format!("{}.{}", version.major, version.minor)
}

impl Node {
    /// Prepares for an older version, or takes that back. The answer is the version that the
    /// members speak now.
    pub async fn downgrade(&self, request: &DowngradeRequest) -> Result<String, Error> {
        match DowngradeAction::try_from(request.action) {
            Ok(DowngradeAction::Validate) => {
                let target = target(&request.version)?;
                let agreed = self.agreed_version()?;
                self.check_target(target).await?;
                return Ok(short(agreed));
            }
            Ok(DowngradeAction::Enable) => {
                let enabled = self.enable_downgrade(&request.version).await;
                enabled.inspect_err(|failure| {
                    let error = format!("etcdserver: {failure}");
                    tracing::warn!(error, "reject downgrade request");
                })?;
            }
            Ok(DowngradeAction::Cancel) => {
                // As in etcd, who has nothing to take back hears nothing of it.
                if let Err(failure) = self.cancel_downgrade().await {
                    let error = format!("etcdserver: {failure}");
                    tracing::warn!(error, "failed to cancel downgrade");
                }
            }
            Err(_) => return Err(Error::UnknownMethod),
        }
        self.agreed_version().map(short)
    }

    fn agreed_version(&self) -> Result<Version, Error> {
        self.shared.views().members.cluster_version().ok_or(Error::NoClusterVersion)
    }

    async fn check_target(&self, target: Version) -> Result<(), Error> {
        self.read_barrier().await?;
        if Some(target) != one_below(self.agreed_version()?) {
            return Err(Error::DowngradeTarget);
        }
        if self.shared.views().members.downgrade().enabled {
            return Err(Error::DowngradeUnderWay);
        }
        Ok(())
    }

    async fn enable_downgrade(&self, version: &str) -> Result<(), Error> {
        let target = target(version)?;
        self.check_target(target).await?;
        self.set_downgrade(DowngradeInfoSetRequest { enabled: true, ver: target.to_string() }).await
    }

    async fn cancel_downgrade(&self) -> Result<(), Error> {
        self.read_barrier().await?;
        if !self.shared.views().members.downgrade().enabled {
            return Err(Error::NoDowngrade);
        }
        self.set_downgrade(DowngradeInfoSetRequest::default()).await
    }

    async fn set_downgrade(&self, set: DowngradeInfoSetRequest) -> Result<(), Error> {
        let downgrade_info_set = Some(Box::new(set));
        let request = InternalRaftRequest { downgrade_info_set, ..Default::default() };
        self.propose(request).await.map(drop)
    }

    /// Proposes another version for the cluster if it is time for one.
    pub(crate) async fn update_cluster_version(&self) -> Result<(), Error> {
        let members = self.shared.views().members.clone();
        let agreed = members.cluster_version();
        let Some(next) = decide(agreed, &members.downgrade()) else { return Ok(()) };
        let to = short(next);
        match agreed.map(short) {
            None => tracing::info!(
                "cluster-version" = to,
                "setting up initial cluster version using v3 API"
            ),
            Some(from) => tracing::info!(from, to, "updating cluster version using v3 API"),
        }
        let set = ClusterVersionSetRequest { ver: next.to_string() };
        let cluster_version_set = Some(Box::new(set));
        self.propose(InternalRaftRequest { cluster_version_set, ..Default::default() }).await?;
        tracing::info!("cluster-version" = to, "cluster version is updated");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn downgrade(to: &str) -> Downgrade {
        Downgrade { target_version: to.to_owned(), enabled: !to.is_empty() }
    }

    #[test]
    fn the_version_follows_the_binary_unless_a_downgrade_is_prepared() {
        assert_eq!(decide(None, &downgrade("")), Some(NEWEST));
        assert_eq!(decide(Some(Version::new(3, 4)), &downgrade("")), Some(NEWEST));
        assert_eq!(decide(Some(NEWEST), &downgrade("")), None);
        assert_eq!(decide(Some(NEWEST), &downgrade("3.6.0")), Some(Version::new(3, 6)));
        assert_eq!(decide(Some(Version::new(3, 6)), &downgrade("3.6.0")), None);
        assert_eq!(decide(Some(Version::new(3, 6)), &downgrade("3.5.0")), None);
        assert_eq!(decide(Some(NEWEST), &downgrade("3.5.0")), None);
    }

    #[test]
    fn targets_may_lack_a_patch_number() {
        assert_eq!(target("3.6"), Ok(Version::new(3, 6)));
        assert_eq!(target("3.6.9"), Ok(Version::new(3, 6)));
        for text in ["", "3", "x", "3.6.0.0"] {
            assert_eq!(target(text), Err(Error::DowngradeVersion), "{text}");
        }
    }
}
