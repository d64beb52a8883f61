//! Who leads, and whether all have the same.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use proto::etcdserverpb::{
    HashKvRequest, HashKvResponse, RangeRequest, StatusRequest, StatusResponse,
};

use super::{Cluster, PATIENCE, name_of};
use crate::wait;

/// How long a member may take to say how it is.
const STATUS: Duration = Duration::from_secs(2);

impl Cluster {
    /// How a member is; none if it does not say.
    pub fn status(&self, at: usize) -> Option<StatusResponse> {
        self.call_within(STATUS, at, &StatusRequest {}).ok()
    }

    /// Who says that it leads, in the newest term.
    pub fn leader(&self) -> Option<usize> {
        let mut newest = None;
        for at in self.running() {
            let Some(status) = self.status(at) else { continue };
            let own = status.header.map_or(0, |header| header.member_id);
            let leads = status.leader != 0 && status.leader == own;
            if leads && newest.is_none_or(|(term, _)| term < status.raft_term) {
                newest = Some((status.raft_term, at));
            }
        }
        newest.map(|(_, at)| at)
    }

    /// Waits until all that run and are reached agree on who leads.
    pub fn wait_for_leader(&self) -> anyhow::Result<usize> {
        self.wait_for_leader_among(&self.running())
    }

    /// As [`Cluster::wait_for_leader`], where others may believe what they like.
    pub fn wait_for_leader_among(&self, members: &[usize]) -> anyhow::Result<usize> {
        let agreed = wait::until(PATIENCE, || {
            let statuses: Option<Vec<_>> = members.iter().map(|at| self.status(*at)).collect();
            let statuses = statuses?;
            let first = statuses.first()?;
            let same = |status: &StatusResponse| {
                (status.leader, status.raft_term) == (first.leader, first.raft_term)
            };
            let leads = |status: &StatusResponse| {
                status.header.is_some_and(|header| header.member_id == first.leader)
            };
            let leader = members.get(statuses.iter().position(leads)?)?;
            statuses.iter().all(same).then_some(*leader)
        });
        agreed.with_context(|| {
            let known: Vec<_> = members.iter().map(|at| (name_of(*at), self.status(*at))).collect();
            format!("no leader within {PATIENCE:?}: {known:?}")
        })
    }

    /// A revision that a member has, which may be behind the others.
    pub fn revision(&self, at: usize) -> anyhow::Result<i64> {
        let key = bytes::Bytes::from_static(b"no such key");
        let request = RangeRequest { key, serializable: true, ..RangeRequest::default() };
        let reply = self.call_within(STATUS, at, &request);
        let reply = reply.map_err(|status| anyhow::anyhow!("{status:?}"));
        let reply = reply.with_context(|| format!("asking {} for its revision", name_of(at)))?;
        Ok(reply.header.context("a reply has a header")?.revision)
    }

    /// Waits until these members have the newest revision that one of them has now, and compares
    /// what their keys come to there. Gives back that revision.
    pub fn same_hash_of(&self, members: &[usize]) -> anyhow::Result<i64> {
        let revisions = members.iter().map(|at| self.learned(*at));
        let revisions = revisions.collect::<anyhow::Result<Vec<_>>>()?;
        let revision = revisions.into_iter().max().context("members to compare")?;
        let mut hashes: Vec<(String, HashKvResponse)> = Vec::new();
        for at in members {
            let hash = wait::until(PATIENCE, || {
                self.call_within(STATUS, *at, &HashKvRequest { revision }).ok()
            });
            let hash = hash.with_context(self.context(*at, "no hash of"))?;
            // etcd 3.5 does not say of which revision it is.
            let hash_revision = if hash.hash_revision == 0 { revision } else { hash.hash_revision };
            hashes.push((name_of(*at), HashKvResponse { header: None, hash_revision, ..hash }));
        }
        let same = hashes.iter().all(|(_, hash)| *hash == hashes[0].1);
        ensure!(same, "hashes at revision {revision} differ: {hashes:?}");
        Ok(revision)
    }

    /// As [`Cluster::same_hash_of`], of all that run.
    pub fn same_hash(&self) -> anyhow::Result<i64> {
        self.same_hash_of(&self.running())
    }

    fn learned(&self, at: usize) -> anyhow::Result<i64> {
        let learned = wait::until(PATIENCE, || self.revision(at).ok());
        learned.with_context(self.context(at, "no revision of"))
    }
}
