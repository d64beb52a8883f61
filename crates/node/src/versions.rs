//! Which version the members speak with each other: raised when all are new enough, lowered when
//! the operator prepares for an older etcd.

use proto::etcdserverpb::downgrade_request::DowngradeAction;
use proto::etcdserverpb::{DowngradeRequest, InternalRaftRequest};
use proto::membershippb::{ClusterVersionSetRequest, DowngradeInfoSetRequest};
use state::{Downgrade, Version};

use crate::{Error, Node};

/// What a member of this version speaks at most.
const NEWEST: Version = Version::new(3, 7);

/// The oldest version that a cluster can speak.
const OLDEST: Version = Version::new(3, 0);

/// The version to agree on next; `None` to leave it. `least` is the oldest of the members'
/// versions, `None` where one of them has not told.
fn decide(
    agreed: Option<Version>,
    least: Option<Version>,
    downgrade: &Downgrade,
) -> Option<Version> {
    let Some(agreed) = agreed else { return Some(least.unwrap_or(OLDEST)) };
    let least = least?;
    if !downgrade.enabled {
        return (agreed < least).then_some(least);
    }
    let target: Version = downgrade.target_version.parse().ok()?;
    if target == agreed {
        return None;
    }
    let below = |version: Version| Some(target) == one_below(version);
    let (target_text, agreed_text) = (&downgrade.target_version, agreed.to_string());
    if !below(agreed) {
        tracing::error!(
            "downgrade-target" = target_text,
            "cluster-version" = agreed_text,
            "Cannot downgrade from cluster-version to downgrade-target"
        );
    } else if !below(least) {
        tracing::error!(
            "downgrade-target" = target_text,
            "minimal-server-version" = least.to_string(),
            "Cannot downgrade from minimal-server-version to downgrade-target"
        );
    } else {
        return Some(target);
    }
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

    /// Proposes another version for the cluster if it is time for one. Only the leader does.
    pub(crate) async fn update_cluster_version(&self) -> Result<(), Error> {
        let members = self.shared.views().members.clone();
        let agreed = members.cluster_version();
        let least = self.servers().await.and_then(|versions| versions.into_iter().min());
        let Some(next) = decide(agreed, least, &members.downgrade()) else { return Ok(()) };
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

    /// Ends a downgrade when all members are of the older version.
    pub(crate) async fn end_downgrade_if_done(&self) -> Result<(), Error> {
        let downgrade = self.shared.views().members.downgrade();
        let Ok(target) = downgrade.target_version.parse::<Version>() else { return Ok(()) };
        if !downgrade.enabled {
            return Ok(());
        }
        let Some(versions) = self.servers().await else { return Ok(()) };
        if versions.iter().any(|version| *version != target.to_minor()) {
            return Ok(());
        }
        let version = downgrade.target_version;
        tracing::info!("cluster-version" = version, "the cluster has been downgraded");
        self.cancel_downgrade().await
    }

    /// The versions of all members; `None` where one of them does not tell.
    async fn servers(&self) -> Option<Vec<Version>> {
        let mut versions = vec![NEWEST];
        let members = self.shared.views().members.list();
        let others = members.iter().filter(|member| member.id.0 != self.shared.member_id);
        let asked: Vec<_> = others
            .map(|member| {
                let asked = self.shared.others.get().map(|others| others.version(member.id.0));
                (member.id, asked)
            })
            .collect();
        let mut all = true;
        for (id, asked) in asked {
            let told = match asked {
                Some(asked) => asked.await.map_err(|error| error.to_string()),
                None => Err("no connection to other members".to_owned()),
            };
            let version = told
                .and_then(|told| told.server.parse::<Version>().map_err(|error| error.to_string()));
            match version {
                Ok(version) => versions.push(version.to_minor()),
                Err(error) => {
                    tracing::warn!("remote-member-id" = %id, error, "failed to get version");
                    all = false;
                }
            }
        }
        all.then_some(versions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn downgrade(to: &str) -> Downgrade {
        Downgrade { target_version: to.to_owned(), enabled: !to.is_empty() }
    }

    #[test]
    fn the_version_follows_the_binaries_unless_a_downgrade_is_prepared() {
        let all_newest = Some(NEWEST);
        let decide = |agreed, to| decide(agreed, all_newest, &downgrade(to));
        assert_eq!(decide(None, ""), Some(NEWEST));
        assert_eq!(decide(Some(Version::new(3, 4)), ""), Some(NEWEST));
        assert_eq!(decide(Some(NEWEST), ""), None);
        assert_eq!(decide(Some(NEWEST), "3.6.0"), Some(Version::new(3, 6)));
        assert_eq!(decide(Some(Version::new(3, 6)), "3.6.0"), None);
        assert_eq!(decide(Some(Version::new(3, 6)), "3.5.0"), None);
        assert_eq!(decide(Some(NEWEST), "3.5.0"), None);
    }

    #[test]
    fn the_oldest_member_says_how_far_it_goes() {
        let (old, older) = (Version::new(3, 6), Version::new(3, 5));
        assert_eq!(decide(None, Some(old), &downgrade("")), Some(old));
        assert_eq!(decide(None, None, &downgrade("")), Some(OLDEST), "somebody has not told");
        assert_eq!(decide(Some(old), None, &downgrade("")), None);
        assert_eq!(decide(Some(older), Some(old), &downgrade("")), Some(old));
        assert_eq!(decide(Some(old), Some(old), &downgrade("")), None);
        assert_eq!(decide(Some(NEWEST), Some(old), &downgrade("3.6.0")), None);
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
