use super::{ConfChangeContext, Member, RaftAttributes, Roster};
use crate::{MemberId, Rejected};

/// What a conf change entry asks for, in the numbers of raft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// A new voter, or a learner's promotion.
    AddNode,
    /// A member leaves for ever.
    RemoveNode,
    /// New peer URLs.
    UpdateNode,
    /// A new learner.
    AddLearnerNode,
}

/// A conf change that the roster accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberChange {
    /// A new member.
    Add(Member),
    /// This learner votes from now on.
    Promote(MemberId),
    /// This member is gone, its id is burnt.
    Remove(MemberId),
    /// This member is reached at other URLs.
    Update(MemberId, Vec<String>),
}

/// Why a conf change cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ChangeError {
    /// It does not fit the members: a result like any other.
    Rejected(Rejected),
    /// It is no conf change: no member can go on from here.
    Malformed(String),
}

impl From<Rejected> for ChangeError {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl Roster {
    /// Checks a conf change in etcd's order: burnt ids first, then what its kind asks for.
    pub(crate) fn check_change(
        &self,
        kind: ChangeKind,
        id: MemberId,
        context: &[u8],
        max_learners: usize,
    ) -> Result<MemberChange, ChangeError> {
        if self.is_removed(id) {
            return Err(Rejected::MemberIdRemoved.into());
        }
        match kind {
            ChangeKind::AddNode | ChangeKind::AddLearnerNode => {
                let context = ConfChangeContext::from_json(context)
                    .map_err(|error| ChangeError::Malformed(error.to_string()))?;
                let change = if context.is_promote {
                    self.check_promote(id)?
                } else {
                    self.check_add(kind, id, &context.member, max_learners)?
                };
                same_id(id, context.member.id)?;
                Ok(change)
            }
            ChangeKind::RemoveNode => {
                self.member(id).ok_or(Rejected::MemberNotFound)?;
                Ok(MemberChange::Remove(id))
            }
            ChangeKind::UpdateNode => {
                self.member(id).ok_or(Rejected::MemberNotFound)?;
                let member = Member::from_json(context)
                    .map_err(|error| ChangeError::Malformed(error.to_string()))?;
                self.check_urls_free(&member.peer_urls, Some(id))?;
                same_id(id, member.id)?;
                Ok(MemberChange::Update(id, member.peer_urls))
            }
        }
    }

    fn check_promote(&self, id: MemberId) -> Result<MemberChange, Rejected> {
        let member = self.member(id).ok_or(Rejected::MemberNotFound)?;
        if member.is_learner {
            Ok(MemberChange::Promote(id))
        } else {
            Err(Rejected::MemberNotLearner)
        }
    }

    fn check_add(
        &self,
        kind: ChangeKind,
        id: MemberId,
        member: &Member,
        max_learners: usize,
    ) -> Result<MemberChange, Rejected> {
        if self.member(id).is_some() {
            return Err(Rejected::MemberIdExists);
        }
        self.check_urls_free(&member.peer_urls, None)?;
        let learners = self.members().filter(|member| member.is_learner).count();
        let adds_learner = kind == ChangeKind::AddLearnerNode && member.is_learner;
        if adds_learner && learners + 1 > max_learners {
            return Err(Rejected::TooManyLearners);
        }
        Ok(MemberChange::Add(member.clone()))
    }

    fn check_urls_free(&self, urls: &[String], but: Option<MemberId>) -> Result<(), Rejected> {
        let others = self.members().filter(|member| Some(member.id) != but);
        let taken = others.flat_map(|member| &member.peer_urls).any(|url| urls.contains(url));
        if taken { Err(Rejected::PeerUrlExists) } else { Ok(()) }
    }

    /// Takes over a checked change and gives the member as it is now (`None`: it is gone).
    pub(crate) fn apply_change(&mut self, change: &MemberChange) -> Option<Member> {
        match change {
            MemberChange::Add(member) => {
                self.insert(member.clone());
                Some(member.clone())
            }
            MemberChange::Promote(id) => self.edit(*id, |member| member.is_learner = false),
            MemberChange::Update(id, urls) => {
                self.edit(*id, |member| member.peer_urls.clone_from(urls))
            }
            MemberChange::Remove(id) => {
                self.remove(*id);
                None
            }
        }
    }
}

fn same_id(entry: MemberId, context: MemberId) -> Result<(), ChangeError> {
    if entry == context {
        return Ok(());
    }
    Err(ChangeError::Malformed(format!("member {context} in the context of a change of {entry}")))
}

impl From<&Member> for RaftAttributes {
    fn from(member: &Member) -> Self {
        Self { peer_urls: member.peer_urls.clone(), is_learner: member.is_learner }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, is_learner: bool) -> Member {
        Member {
            id: MemberId(id),
            peer_urls: vec![format!("http://m{id}:2380")],
            is_learner,
            name: format!("m{id}"),
            client_urls: vec![],
        }
    }

    fn roster() -> Roster {
        Roster::new([member(1, false), member(2, true)], [MemberId(9)], None)
    }

    fn check(kind: ChangeKind, id: u64, context: &str) -> Result<MemberChange, ChangeError> {
        roster().check_change(kind, MemberId(id), context.as_bytes(), 1)
    }

    #[test]
    fn the_rules_of_each_kind() {
        use ChangeKind::{AddLearnerNode, AddNode, RemoveNode, UpdateNode};
        let cases = [
            (AddNode, 9, r#"{"id":9}"#, Rejected::MemberIdRemoved),
            (RemoveNode, 9, "", Rejected::MemberIdRemoved),
            (AddNode, 1, r#"{"id":1,"peerURLs":["http://x:1"]}"#, Rejected::MemberIdExists),
            (AddNode, 3, r#"{"id":3,"peerURLs":["http://m2:2380"]}"#, Rejected::PeerUrlExists),
            (
                AddLearnerNode,
                3,
                r#"{"id":3,"peerURLs":["http://x:1"],"isLearner":true}"#,
                Rejected::TooManyLearners,
            ),
            (AddNode, 3, r#"{"id":3,"peerURLs":null,"isPromote":true}"#, Rejected::MemberNotFound),
            (
                AddNode,
                1,
                r#"{"id":1,"peerURLs":null,"isPromote":true}"#,
                Rejected::MemberNotLearner,
            ),
            (RemoveNode, 3, "", Rejected::MemberNotFound),
            (UpdateNode, 3, r#"{"id":3}"#, Rejected::MemberNotFound),
            (UpdateNode, 1, r#"{"id":1,"peerURLs":["http://m2:2380"]}"#, Rejected::PeerUrlExists),
        ];
        for (kind, id, context, rejected) in cases {
            assert_eq!(check(kind, id, context), Err(ChangeError::Rejected(rejected)), "{context}");
        }
    }

    #[test]
    fn accepted_changes_change_what_they_name_and_nothing_else() {
        let mut roster = roster();
        let mut change = |kind, id, context: &str| {
            let change = roster
                .check_change(kind, MemberId(id), context.as_bytes(), 1)
                .expect("a valid change");
            roster.apply_change(&change)
        };
        let promoted = change(ChangeKind::AddNode, 2, r#"{"id":2,"isPromote":true}"#);
        assert_eq!(promoted, Some(member(2, false)));
        let urls = r#"{"id":2,"peerURLs":["http://x:1"],"isLearner":true,"name":"other"}"#;
        let updated = change(ChangeKind::UpdateNode, 2, urls).expect("it stays");
        assert_eq!((updated.peer_urls, updated.name), (vec!["http://x:1".into()], "m2".into()));
        assert!(!updated.is_learner);
        assert_eq!(change(ChangeKind::RemoveNode, 2, ""), None);
        let learner = r#"{"id":3,"peerURLs":["http://m3:2380"],"isLearner":true,"name":"m3"}"#;
        assert_eq!(change(ChangeKind::AddLearnerNode, 3, learner), Some(member(3, true)));
        assert!(roster.is_removed(MemberId(2)));
    }

    #[test]
    fn a_member_may_keep_its_own_urls_in_an_update() {
        let same = r#"{"id":1,"peerURLs":["http://m1:2380"]}"#;
        assert!(check(ChangeKind::UpdateNode, 1, same).is_ok());
    }

    #[test]
    fn nonsense_is_no_result_but_malformed() {
        for (kind, context) in [
            (ChangeKind::AddNode, ""),
            (ChangeKind::AddNode, r#"{"id":4,"peerURLs":["http://x:1"]}"#),
            (ChangeKind::AddLearnerNode, "[]"),
        ] {
            let result = check(kind, 3, context);
            assert!(matches!(result, Err(ChangeError::Malformed(_))), "{context}");
        }
    }
}
