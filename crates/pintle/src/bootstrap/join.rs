//! `--initial-cluster-state=existing`: a member that a cluster has added takes its place there.

use std::time::Duration;

use net::{InitialCluster, Url};
use node::{Bootstrap, Member, MemberId, SERVER_VERSION};
use peer::remote::Versions;

use super::others::{self, Somebody, There};
use super::{Beginning, Lookup, begun_before, named};
use crate::logging::Logger;

/// How long a member may take to say who the members are.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take for the rest, beside two elections: it may have to ask who leads.
const PATIENCE_FOR_VERSION: Duration = Duration::from_secs(5);
/// No cluster is older than that.
const OLDEST: SemVer = SemVer(3, 0, 0);

impl<L: Lookup> Beginning<'_, L> {
    pub(super) async fn join(&self, cluster: &InitialCluster) -> Result<Bootstrap, String> {
        self.verify_existing(cluster)?;
        let Bootstrap::New { members: local } =
            Bootstrap::with_new(named(cluster), &self.config.bootstrap.token)
        else {
            return Err("an initial cluster is always new".to_owned());
        };
        let urls = others::urls(&local, &self.config.name);
        let there = others::members(self.dialer, &urls, PATIENCE, Some(self.logger)).await;
        let there =
            there.map_err(|error| format!("cannot fetch cluster info from peer urls: {error}"))?;
        let me = self.find_myself(&local, &there).await;
        let me =
            me.map_err(|error| format!("error validating peerURLs {}: {error}", describe(&there)))?;
        if !self.is_compatible(&there, me.id).await {
            return Err("incompatible with current running cluster".to_owned());
        }
        let learners = there.members.iter().filter(|member| member.is_learner).count();
        if i64::try_from(learners).is_ok_and(|learners| learners > self.config.limits.max_learners)
        {
            return Err("membership: too many learner members in cluster".to_owned());
        }
        // etcd lets it in. But a member that lost its log may vote a second time where it has
        // voted, and its word that it has an entry is counted though the entry is gone.
        if me.is_started() {
            return Err(begun_before(me));
        }
        Ok(Bootstrap::Join {
            cluster_id: there.cluster_id,
            member_id: me.id.0,
            members: there.members.clone(),
        })
    }

    /// Which of the members this one is: each that the flags name must be where one of the members
    /// is, and the other way round.
    async fn find_myself<'a>(
        &self,
        local: &[Member],
        there: &'a There,
    ) -> Result<&'a Member, String> {
        if local.len() != there.members.len() {
            return Err("member count is unequal".to_owned());
        }
        let names = self.names();
        let mut me = None;
        for member in &there.members {
            let theirs = urls(&member.peer_urls);
            let mut error = String::new();
            let mut matched = None;
            for candidate in local {
                let same = match (&theirs, urls(&candidate.peer_urls)) {
                    (Ok(theirs), Ok(ours)) => names.same(theirs, &ours).await,
                    (Err(error), _) => Err(error.clone()),
                    (_, Err(error)) => Err(error),
                };
                match same {
                    Ok(()) => {
                        matched = Some(candidate);
                        break;
                    }
                    Err(found) => error = found,
                }
            }
            let Some(matched) = matched else {
                return Err(format!(
                    "PeerURLs: no match found for existing member ({}, [{}]), last resolver error \
                     ({error})",
                    member.id,
                    member.peer_urls.join(" ")
                ));
            };
            if matched.name == self.config.name {
                me = Some(member);
            }
        }
        me.ok_or_else(|| super::verify::not_named(&self.config.name))
    }

    /// Whether this member speaks what the cluster speaks: at least one other member says so, and
    /// none says otherwise. Those who are down do not count.
    async fn is_compatible(&self, there: &There, me: MemberId) -> bool {
        let election = Duration::from_millis(self.config.raft.election_timeout_ms);
        let patience = PATIENCE_FOR_VERSION + election * 2;
        let others = there.members.iter().filter(|member| member.id != me);
        let others: Vec<Somebody> =
            others.map(|member| (member.id, member.peer_urls.clone())).collect();
        let versions = others::versions(self.dialer, &others, patience, self.logger).await;
        let downgrade =
            others::downgrade_enabled(self.dialer, &others, patience, self.logger).await;
        let (min, max) = window(downgrade);
        are_compatible(&versions, min, max, self.logger)
    }
}

/// The cluster versions that a member of this version may join. While the cluster is on its way to
/// an older version, members of that one are waited for, and they meet the version before.
fn window(downgrade: bool) -> (SemVer, SemVer) {
    let SemVer(major, minor, _) = SemVer::parse(SERVER_VERSION).expect("our own version reads");
    match downgrade {
        false => (OLDEST, SemVer(major, minor, 0)),
        true => (SemVer(major, minor + 1, 0), SemVer(major, minor + 1, 0)),
    }
}

fn are_compatible(
    versions: &[(MemberId, Versions)],
    min: SemVer,
    max: SemVer,
    logger: &Logger,
) -> bool {
    let mut compatible = false;
    for (id, versions) in versions {
        let tell = |message, bound: Option<(&str, SemVer)>| {
            let line = logger
                .warn(message)
                .text("remote-member-id", id.to_string())
                .text("remote-member-cluster-version", &versions.cluster);
            match bound {
                Some((key, version)) => line.text(key, version.to_string()).send(),
                None => line.send(),
            }
        };
        let Some(cluster) = SemVer::parse(&versions.cluster) else {
            tell("failed to parse cluster version of remote member", None);
            continue;
        };
        if cluster < min {
            let message = "cluster version of remote member is not compatible; too low";
            tell(message, Some(("minimum-cluster-version-supported", min)));
            return false;
        }
        if cluster > max {
            let message = "cluster version of remote member is not compatible; too high";
            tell(message, Some(("maximum-cluster-version-supported", max)));
            return false;
        }
        compatible = true;
    }
    compatible
}

/// Three numbers; what stands behind them does not count here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct SemVer(u64, u64, u64);

impl SemVer {
    fn parse(text: &str) -> Option<SemVer> {
        let release = text.split(['-', '+']).next().unwrap_or_default();
        let mut numbers = release.split('.').map(|number| number.parse().ok());
        let version = SemVer(numbers.next()??, numbers.next()??, numbers.next()??);
        numbers.next().is_none().then_some(version)
    }
}

impl std::fmt::Display for SemVer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

fn urls(texts: &[String]) -> Result<Vec<Url>, String> {
    texts.iter().map(|text| Url::parse(text).map_err(|error| error.to_string())).collect()
}

/// A cluster as etcd prints one.
fn describe(there: &There) -> String {
    let members: Vec<_> = there
        .members
        .iter()
        .map(|member| {
            format!(
                "&{{ID:{} RaftAttributes:{{PeerURLs:[{}] IsLearner:{}}} Attributes:{{Name:{} \
                 ClientURLs:[{}]}}}}",
                member.id,
                member.peer_urls.join(" "),
                member.is_learner,
                member.name,
                member.client_urls.join(" ")
            )
        })
        .collect();
    let cluster = MemberId(there.cluster_id);
    format!("{{ClusterID:{cluster} Members:[{}] RemovedMemberIDs:[]}}", members.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compatible(versions: &[&str], downgrade: bool) -> bool {
        let told = |cluster: &&str| {
            (MemberId(1), Versions { server: "3.7.1".to_owned(), cluster: (*cluster).to_owned() })
        };
        let (min, max) = window(downgrade);
        let (logger, _) = Logger::memory();
        are_compatible(&versions.iter().map(told).collect::<Vec<_>>(), min, max, &logger)
    }

    #[test]
    fn one_member_must_be_in_the_window_and_none_outside() {
        assert!(compatible(&["3.7.0"], false));
        assert!(compatible(&["not_decided", "3.0.0"], false));
        assert!(compatible(&["3.5.0", "3.6.0-rc.1"], false));
        assert!(!compatible(&[], false));
        assert!(!compatible(&["not_decided", "3.7"], false));
        assert!(!compatible(&["3.7.0", "3.8.0"], false));
        assert!(!compatible(&["2.3.0", "3.7.0"], false));
    }

    #[test]
    fn a_downgrade_waits_for_members_of_the_version_below() {
        assert!(compatible(&["3.8.0"], true));
        assert!(!compatible(&["3.7.0"], true));
        assert!(!compatible(&["3.9.0"], true));
    }
}
