use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Attributes, Member};
use crate::go_json;
use crate::{MemberId, Version};

/// Who belongs to the cluster, who did, and what all agreed on about versions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roster {
    members: BTreeMap<MemberId, Member>,
    removed: BTreeSet<MemberId>,
    cluster_version: Option<Version>,
    downgrade: Downgrade,
}

/// Whether the cluster is on its way to an older version. The disabled form has no target.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Downgrade {
    /// Where to, `3.6.0`; empty when disabled.
    #[serde(default, rename = "target-version")]
    pub target_version: String,
    /// Whether a downgrade is under way.
    #[serde(default)]
    pub enabled: bool,
}

impl Downgrade {
    /// The value in the `cluster` bucket.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        go_json::to_vec(self)
    }
}

impl Roster {
    /// Puts a roster together; for a snapshot of a cluster that is about to be made.
    pub fn new(
        members: impl IntoIterator<Item = Member>,
        removed: impl IntoIterator<Item = MemberId>,
        cluster_version: Option<Version>,
    ) -> Self {
        Self {
            members: members.into_iter().map(|member| (member.id, member)).collect(),
            removed: removed.into_iter().collect(),
            cluster_version,
            downgrade: Downgrade::default(),
        }
    }

    /// All members by ascending id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// One member.
    pub fn member(&self, id: MemberId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// The ids that may never come back, ascending.
    pub fn removed(&self) -> impl Iterator<Item = MemberId> {
        self.removed.iter().copied()
    }

    /// Whether this id was a member and was removed.
    pub fn is_removed(&self, id: MemberId) -> bool {
        self.removed.contains(&id)
    }

    /// The members with a vote, ascending.
    pub fn voters(&self) -> impl Iterator<Item = &Member> {
        self.members().filter(|member| !member.is_learner)
    }

    /// The members without a vote, ascending.
    pub fn learners(&self) -> impl Iterator<Item = &Member> {
        self.members().filter(|member| member.is_learner)
    }

    /// Whether enough members run for one more voter: most of the voters that there will be. A
    /// cluster of one may always grow, that is how one is rebuilt from its last member.
    pub fn may_add_voter(&self) -> bool {
        let (voters, started) = (self.voters().count() + 1, self.started_voters());
        (started == 1 && voters == 2) || started > voters / 2
    }

    /// Whether enough members run without this voter: most of those that will be left. So the
    /// last one cannot be removed.
    pub fn may_remove_voter(&self, id: MemberId) -> bool {
        let rest = || self.voters().filter(|voter| voter.id != id);
        rest().filter(|voter| voter.is_started()).count() > rest().count() / 2
    }

    /// Whether enough members run for a learner's promotion; it counts as one that runs.
    pub fn may_promote(&self) -> bool {
        self.started_voters() + 1 > self.voters().count().div_ceil(2)
    }

    fn started_voters(&self) -> usize {
        self.voters().filter(|voter| voter.is_started()).count()
    }

    /// What the members agreed to speak; `None` until the first leader has said so.
    pub fn cluster_version(&self) -> Option<Version> {
        self.cluster_version
    }

    /// Whether a downgrade is under way.
    pub fn downgrade(&self) -> &Downgrade {
        &self.downgrade
    }

    pub(crate) fn set_cluster_version(&mut self, version: Version) -> Option<Version> {
        self.cluster_version.replace(version)
    }

    pub(crate) fn set_downgrade(&mut self, downgrade: Downgrade) {
        self.downgrade = downgrade;
    }

    pub(crate) fn insert(&mut self, member: Member) {
        self.members.insert(member.id, member);
    }

    pub(crate) fn remove(&mut self, id: MemberId) {
        self.members.remove(&id);
        self.removed.insert(id);
    }

    /// Changes one member and gives it as it is now; `None` where there is no such member.
    pub(crate) fn edit(
        &mut self,
        id: MemberId,
        change: impl FnOnce(&mut Member),
    ) -> Option<Member> {
        let member = self.members.get_mut(&id)?;
        change(member);
        Some(member.clone())
    }

    /// Takes what a member says of itself.
    pub(crate) fn set_attributes(
        &mut self,
        id: MemberId,
        attributes: Attributes,
    ) -> Option<Member> {
        self.edit(id, |member| {
            member.name = attributes.name;
            member.client_urls = attributes.client_urls;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_listed_by_unsigned_id() {
        let ids = [u64::MAX, 1, 1 << 63];
        let members = ids.map(|id| Member { id: MemberId(id), ..Member::default() });
        let roster = Roster::new(members, [], None);
        let listed: Vec<u64> = roster.members().map(|member| member.id.0).collect();
        assert_eq!(listed, [1, 1 << 63, u64::MAX]);
    }

    /// Voters, the first `started` of them with a name, and a learner.
    fn cluster(voters: u64, started: u64) -> Roster {
        let voters = (1..=voters).map(|id| {
            let name = if id <= started { format!("m{id}") } else { String::new() };
            Member { id: MemberId(id), name, ..Member::default() }
        });
        let learner = Member { id: MemberId(99), is_learner: true, ..Member::default() };
        Roster::new(voters.chain([learner]), [], None)
    }

    #[test]
    fn a_voter_is_added_where_most_of_the_new_cluster_runs() {
        let may = |voters, started| cluster(voters, started).may_add_voter();
        assert!(may(1, 1), "a cluster of one may grow");
        assert!(!may(2, 1) && may(2, 2));
        assert!(!may(3, 2) && may(3, 3));
        assert!(!may(4, 2) && may(4, 3));
        assert!(!may(1, 0));
    }

    #[test]
    fn a_voter_is_removed_where_most_of_the_rest_runs() {
        let may = |voters, started, id| cluster(voters, started).may_remove_voter(MemberId(id));
        assert!(!may(1, 1, 1), "not the last");
        assert!(may(2, 1, 2) && !may(2, 1, 1));
        assert!(may(3, 2, 3) && !may(3, 2, 1));
        assert!(may(5, 3, 5) && !may(5, 3, 1));
    }

    #[test]
    fn a_learner_is_promoted_where_most_of_the_new_voters_run() {
        let may = |voters, started| cluster(voters, started).may_promote();
        assert!(may(1, 1) && !may(1, 0));
        assert!(may(2, 1) && !may(2, 0));
        assert!(may(3, 2) && !may(3, 1));
        assert!(may(4, 2) && !may(4, 1));
    }

    #[test]
    fn downgrade_json_has_the_target_first() {
        assert_eq!(Downgrade::default().to_json(), br#"{"target-version":"","enabled":false}"#);
        let on = Downgrade { target_version: "3.6.0".into(), enabled: true };
        assert_eq!(on.to_json(), br#"{"target-version":"3.6.0","enabled":true}"#);
    }
}
