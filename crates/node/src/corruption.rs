//! Whether what is on disk is still what was written, and the same on all members.
//!
//! Members compare their hashes of all keys: some of the time those of now, and after compactions
//! those that each of them took on its way. One that is alone compares two of its own, which differ
//! where its disk, or its memory, does not give back what it was given.

use std::collections::BTreeMap;
use std::time::Duration;

use mvcc::HashKv;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::{AlarmRequest, AlarmType, InternalRaftRequest};
use state::MemberId;

use crate::peers::{AskError, HashOfMember};
use crate::{Error, Node};

impl Node {
    /// Compares what this member holds with what the others hold, before it serves anybody.
    pub async fn check_initially(&self) -> Result<(), Error> {
        let me = MemberId(self.shared.member_id).to_string();
        let timeout = self.shared.limits.request_timeout;
        tracing::info!(
            "local-member-id" = me,
            timeout = ?timeout,
            "starting initial corruption check"
        );
        let own = self.hash_kv(0).await?;
        let mut mismatches = 0;
        for (id, told) in self.hashes_of_others(own.revision).await {
            let theirs = match told {
                Ok(HashOfMember { hash, .. }) => hash,
                Err(error) => {
                    let (peer, error) = (id.to_string(), error.to_string());
                    tracing::warn!(
                        "local-member-id" = me,
                        "remote-peer-id" = peer,
                        "local-member-revision" = own.revision,
                        error,
                        "cannot fetch hash from remote peer"
                    );
                    continue;
                }
            };
            if theirs.hash == own.hash {
                continue;
            }
            let same_history = theirs.compact_revision == own.compact_revision;
            mismatches += usize::from(same_history);
            let text = match same_history {
                true => "found different hash values from remote peer",
                false => "found different compact revision values from remote peer",
            };
            tracing::warn!(
                "local-member-id" = me,
                "local-member-revision" = own.revision,
                "local-member-compact-revision" = own.compact_revision,
                "local-member-hash" = own.hash,
                "remote-peer-id" = %id,
                "remote-peer-compact-revision" = theirs.compact_revision,
                "remote-peer-hash" = theirs.hash,
                "{text}"
            );
        }
        if mismatches > 0 {
            return Err(Error::Inconsistent(me));
        }
        tracing::info!("local-member-id" = me, "initial corruption checking passed; no corruption");
        Ok(())
    }

    /// Compares hashes, and raises the CORRUPT alarm where they should be the same and are not: no
    /// key is read or written any more then, until an operator has looked. Only the leader does.
    pub(crate) async fn check_corruption(&self) -> Result<(), Error> {
        let first = self.hash_kv(0).await?;
        let others = self.hashes_of_others(first.revision).await;
        self.read_barrier().await?;
        let second = self.hash_kv(0).await?;
        let leader = OfLeader { first, second, current_revision: self.header().revision };
        let mut corrupt = None;
        if leader.contradicts_itself() {
            let OfLeader { first, second, .. } = &leader;
            tracing::warn!(
                "revision-1" = first.revision,
                "compact-revision-1" = first.compact_revision,
                "hash-1" = first.hash,
                "revision-2" = second.revision,
                "compact-revision-2" = second.compact_revision,
                "hash-2" = second.hash,
                "found hash mismatch"
            );
            corrupt = Some(MemberId(self.shared.member_id));
        }
        let mut checked = 0;
        for (id, told) in others {
            let Ok(theirs) = told else { continue };
            checked += 1;
            for suspicion in leader.suspicions(&theirs) {
                tracing::warn!(
                    "leader-revision" = leader.current_revision,
                    "leader-compact-revision" = leader.second.compact_revision,
                    "leader-hash" = leader.first.hash,
                    "follower-revision" = theirs.current_revision,
                    "follower-compact-revision" = theirs.hash.compact_revision,
                    "follower-hash" = theirs.hash.hash,
                    "follower-peer-id" = %id,
                    "{suspicion}"
                );
                corrupt = corrupt.or(Some(id));
            }
        }
        // One alarm is enough to stop everybody.
        if let Some(id) = corrupt {
            self.raise_corrupt(id).await?;
        }
        tracing::info!("number-of-peers-checked" = checked, "finished peer corruption check");
        Ok(())
    }

    /// Compares the hashes that members took on the way of compactions, the newest that all have.
    /// Says up to where they are checked.
    pub(crate) async fn check_compaction_hashes(&self, checked: i64) -> Result<i64, Error> {
        let me = MemberId(self.shared.member_id);
        tracing::info!("local-member-id" = %me, "starting compact hash check");
        let hashes = self.shared.views().reader.compaction_hashes();
        let unchecked = hashes.iter().rev().filter(|hash| hash.revision > checked);
        let mut looked_at = 0;
        let mut done = checked;
        for own in unchecked {
            let others = self.hashes_of_others(own.revision).await;
            if others.is_empty() {
                break;
            }
            looked_at += 1;
            let same_history: Vec<_> = others
                .iter()
                .filter_map(|(id, told)| Some((*id, told.as_ref().ok()?)))
                .filter(|(_, theirs)| theirs.hash.compact_revision == own.compact_revision)
                .map(|(id, theirs)| (id, theirs.hash.hash))
                .collect();
            let corrupt = minority((me, own.hash), &same_history, others.len() + 1);
            if !corrupt.is_empty() {
                tracing::error!(
                    "leader-id" = %me,
                    "leader-revision" = own.revision,
                    "leader-compact-revision" = own.compact_revision,
                    "leader-hash" = own.hash,
                    "peer-ids" = ?corrupt,
                    "Detected compaction hash mismatch"
                );
                for id in corrupt {
                    self.raise_corrupt(id).await?;
                }
                done = own.revision;
                break;
            }
            if same_history.len() == others.len() {
                tracing::info!(
                    "number-of-peers-checked" = same_history.len(),
                    revision = own.revision,
                    "compactRevision" = own.compact_revision,
                    "successfully checked hash on whole cluster"
                );
                done = own.revision;
                break;
            }
            tracing::warn!(
                "number-of-peers-checked" = same_history.len(),
                "number-of-peers" = others.len(),
                revision = own.revision,
                "skipped revision in compaction hash check; was not able to check all peers"
            );
        }
        tracing::info!("number-of-hashes-checked" = looked_at, "finished compaction hash check");
        Ok(done)
    }

    /// What the other members say that the history up to a revision hashes to.
    async fn hashes_of_others(
        &self,
        revision: i64,
    ) -> Vec<(MemberId, Result<HashOfMember, AskError>)> {
        let Some(others) = self.shared.others.get() else { return Vec::new() };
        let members = self.shared.views().members.list();
        let asked: Vec<_> = members
            .iter()
            .filter(|member| member.id.0 != self.shared.member_id)
            .map(|member| (member.id, others.hash_kv(member.id.0, revision)))
            .collect();
        let mut told = Vec::new();
        for (id, asked) in asked {
            told.push((id, asked.await));
        }
        told
    }

    async fn raise_corrupt(&self, id: MemberId) -> Result<(), Error> {
        let alarm = AlarmRequest {
            action: AlarmAction::Activate as i32,
            member_id: id.0,
            alarm: AlarmType::Corrupt as i32,
        };
        let request = InternalRaftRequest { alarm: Some(alarm), ..Default::default() };
        self.propose(request).await.map(drop)
    }

    /// Checks again and again. Never returns; never begins where there is no interval.
    pub(crate) async fn watch_corruption(&self, interval: Option<Duration>) {
        let Some(interval) = interval else { return std::future::pending().await };
        let me = format!("{:x}", self.shared.member_id);
        tracing::info!(
            "local-member-id" = me,
            interval = ?interval,
            "enabled corruption checking"
        );
        loop {
            tokio::time::sleep(interval).await;
            if self.is_leader()
                && let Err(failure) = self.check_corruption().await
            {
                tracing::warn!(error = failure.to_string(), "failed to check hash KV");
            }
        }
    }

    /// Likewise for the hashes of compactions.
    pub(crate) async fn watch_compaction_hashes(&self, interval: Option<Duration>) {
        let Some(interval) = interval else { return std::future::pending().await };
        let mut checked = 0;
        loop {
            tokio::time::sleep(interval).await;
            if self.is_leader() {
                match self.check_compaction_hashes(checked).await {
                    Ok(revision) => checked = revision,
                    Err(failure) => {
                        let error = failure.to_string();
                        tracing::warn!(error, "failed to check compaction hashes");
                    }
                }
            }
        }
    }
}

/// What a leader has seen of itself before and after it has asked the others.
struct OfLeader {
    first: HashKv,
    second: HashKv,
    current_revision: i64,
}

impl OfLeader {
    /// Two hashes of the same history that are not the same.
    fn contradicts_itself(&self) -> bool {
        let Self { first, second, .. } = self;
        let same_history =
            first.revision == second.revision && first.compact_revision == second.compact_revision;
        same_history && first.hash != second.hash
    }

    /// What cannot be of what a follower has told: it was asked before the second look, so that all
    /// that it had then, its leader has now.
    fn suspicions(&self, follower: &HashOfMember) -> Vec<&'static str> {
        let HashOfMember { hash, current_revision } = follower;
        let other_keys =
            hash.compact_revision == self.first.compact_revision && hash.hash != self.first.hash;
        [
            (
                *current_revision > self.current_revision,
                "revision from follower must be less than or equal to leader's",
            ),
            (
                hash.compact_revision > self.second.compact_revision,
                "compact revision from follower must be less than or equal to leader's",
            ),
            (other_keys, "same compact revision then hashes must match"),
        ]
        .into_iter()
        .filter_map(|(is_so, text)| is_so.then_some(text))
        .collect()
    }
}

/// Who does not agree with most of the members; nobody where all agree. Where there is no such
/// majority nobody knows whose data is corrupt: then it is member 0, which stands for all.
fn minority(own: (MemberId, u32), others: &[(MemberId, u32)], members: usize) -> Vec<MemberId> {
    let mut by_hash: BTreeMap<u32, Vec<MemberId>> = BTreeMap::new();
    for (id, hash) in std::iter::once(&own).chain(others) {
        by_hash.entry(*hash).or_default().push(*id);
    }
    if by_hash.len() == 1 {
        return Vec::new();
    }
    let quorum = members / 2 + 1;
    let Some((right, _)) = by_hash.iter().find(|(_, ids)| ids.len() >= quorum) else {
        return vec![MemberId(0)];
    };
    let right = *right;
    by_hash.into_iter().filter(|(hash, _)| *hash != right).flat_map(|(_, ids)| ids).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(hash: u32, compact_revision: i64, revision: i64) -> HashKv {
        HashKv { hash, compact_revision, revision }
    }

    #[test]
    fn only_hashes_of_one_history_contradict_each_other() {
        let contradict =
            |first, second| OfLeader { first, second, current_revision: 9 }.contradicts_itself();
        assert!(contradict(hash(1, 2, 9), hash(3, 2, 9)));
        assert!(!contradict(hash(1, 2, 9), hash(1, 2, 9)));
        assert!(!contradict(hash(1, 2, 9), hash(3, 2, 10)), "there was a write between");
        assert!(!contradict(hash(1, 2, 9), hash(3, 4, 9)), "there was a compaction between");
    }

    #[test]
    fn a_follower_is_suspected_of_what_its_leader_has_not() {
        let first = hash(1, 2, 9);
        let leader = OfLeader { first, second: hash(5, 4, 12), current_revision: 12 };
        let told = |hash, current_revision| {
            let suspicions = leader.suspicions(&HashOfMember { hash, current_revision });
            suspicions
                .into_iter()
                .map(|text| text.split(' ').next().expect("words"))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(hash(1, 2, 9), 9), [""; 0], "the same");
        assert_eq!(told(hash(1, 2, 9), 12), [""; 0], "further, as the leader is by now");
        assert_eq!(told(hash(1, 2, 9), 13), ["revision"]);
        assert_eq!(told(hash(7, 4, 9), 12), [""; 0], "compacted like the leader meanwhile");
        assert_eq!(told(hash(7, 5, 9), 12), ["compact"]);
        assert_eq!(told(hash(7, 2, 9), 9), ["same"]);
        assert_eq!(told(hash(7, 5, 9), 13), ["revision", "compact"]);
    }

    #[test]
    fn who_disagrees_with_most_is_corrupt() {
        let id = MemberId;
        assert_eq!(minority((id(1), 7), &[(id(2), 7), (id(3), 7)], 3), []);
        assert_eq!(minority((id(1), 7), &[(id(2), 7), (id(3), 8)], 3), [id(3)]);
        assert_eq!(minority((id(1), 7), &[(id(2), 8), (id(3), 8)], 3), [id(1)]);
        assert_eq!(minority((id(1), 7), &[(id(2), 8), (id(3), 9)], 3), [id(0)]);
        assert_eq!(minority((id(1), 7), &[(id(3), 8)], 3), [id(0)], "one has not told");
        assert_eq!(minority((id(1), 7), &[(id(3), 7)], 3), []);
    }
}
