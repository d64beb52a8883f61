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

    #[test]
    fn downgrade_json_has_the_target_first() {
        assert_eq!(Downgrade::default().to_json(), br#"{"target-version":"","enabled":false}"#);
        let on = Downgrade { target_version: "3.6.0".into(), enabled: true };
        assert_eq!(on.to_json(), br#"{"target-version":"3.6.0","enabled":true}"#);
    }
}
