//! Members come, go and lead, by the API.

use anyhow::{Context as _, ensure};
use proto::etcdserverpb::{
    Member as Listed, MemberAddRequest, MemberListRequest, MemberPromoteRequest,
    MemberRemoveRequest, MoveLeaderRequest,
};

use super::{Cluster, PATIENCE};
use crate::grpc::Status;
use crate::programs::Server;
use crate::wait;

impl Cluster {
    /// The members as they are now.
    pub fn list(&self) -> anyhow::Result<Vec<Listed>> {
        let request = MemberListRequest { linearizable: true };
        for at in self.running() {
            if let Ok(reply) = self.call(at, &request) {
                return Ok(reply.members);
            }
        }
        anyhow::bail!("no member lists the members")
    }

    /// The members as one of them knows them by itself.
    pub fn list_of(&self, at: usize) -> anyhow::Result<Vec<Listed>> {
        let request = MemberListRequest { linearizable: false };
        let reply = self.call(at, &request).map_err(|status| anyhow::anyhow!("{status:?}"));
        Ok(reply.with_context(self.context(at, "the list of"))?.members)
    }

    /// The id of a member of the cluster.
    pub fn id(&self, at: usize) -> anyhow::Result<u64> {
        let url = self.peer_url(at);
        let members = self.list()?;
        let found = members.iter().find(|member| member.peer_urls.iter().any(|it| it == url));
        Ok(found.with_context(|| format!("{url} is not a member's"))?.id)
    }

    /// Adds a member and starts it on nothing. It serves when this is done.
    pub fn join(&mut self, server: &Server, is_learner: bool) -> anyhow::Result<usize> {
        let at = self.seat(server, super::loopback(crate::ports::free()))?;
        self.admit(at, is_learner)?;
        self.restart_as(at, server)?;
        Ok(at)
    }

    /// Makes the cluster know a member that is not running, and the member know the cluster.
    pub fn admit(&mut self, at: usize, is_learner: bool) -> anyhow::Result<()> {
        let peer_urls = vec![self.peer_url(at).to_owned()];
        let request = MemberAddRequest { peer_urls, is_learner };
        let added =
            self.sometime("adding a member", |cluster, leader| cluster.call(leader, &request))?;
        let is_listed = |at: &usize| {
            let url = self.peer_url(*at);
            added.members.iter().any(|member| member.peer_urls.iter().any(|it| it == url))
        };
        let everybody: Vec<_> = (0..self.size()).filter(is_listed).collect();
        let identity = self.identity(at, &everybody, "existing");
        self.seats[at].member.identify(identity);
        Ok(())
    }

    /// Makes a voter of a learner, once that has caught up.
    pub fn promote(&self, at: usize) -> anyhow::Result<()> {
        let request = MemberPromoteRequest { id: self.id(at)? };
        self.sometime("promoting a member", |cluster, leader| cluster.call(leader, &request))?;
        Ok(())
    }

    /// Removes a member, whose process may go on as it likes.
    pub fn remove(&self, at: usize) -> anyhow::Result<()> {
        let request = MemberRemoveRequest { id: self.id(at)? };
        self.sometime("removing a member", |cluster, leader| {
            match cluster.call(leader, &request) {
                // An answer before this one was lost.
                Err(status) if status.message == "etcdserver: member not found" => Ok(()),
                reply => reply.map(|_| ()),
            }
        })
    }

    /// Hands the lead to a member, and waits until all that run know it.
    pub fn move_leader(&self, to: usize) -> anyhow::Result<()> {
        let request = MoveLeaderRequest { target_id: self.id(to)? };
        self.sometime("moving the leader", |cluster, leader| {
            if leader == to { Ok(()) } else { cluster.call(leader, &request).map(|_| ()) }
        })?;
        let leader = self.wait_for_leader()?;
        ensure!(leader == to, "m{leader} leads, and m{to} should");
        Ok(())
    }

    /// Asks the leader again and again until it does it: it may be that the leader has changed,
    /// that a learner lags, or that not enough members are connected yet.
    fn sometime<T>(
        &self,
        what: &str,
        mut ask: impl FnMut(&Self, usize) -> Result<T, Status>,
    ) -> anyhow::Result<T> {
        let mut last = None;
        let done = wait::until(PATIENCE, || {
            let asked = self.leader().map(|leader| ask(self, leader))?;
            asked.map_err(|status| last = Some(status)).ok()
        });
        done.with_context(|| format!("{what}: not within {PATIENCE:?}, last {last:?}"))
    }
}
