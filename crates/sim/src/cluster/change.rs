//! Changes of the members: who comes, who goes, who is given a vote.

use std::time::Duration;

use node::{Bootstrap, Member, MemberId};
use state::MemberChange;

use super::Cluster;
use super::host::{Host, options_of, url};
use super::timeline::{Event, HostAt};
use crate::verdict::Checked;

/// No cluster grows beyond this.
const MOST: usize = 6;
/// How much of the leader's log a learner must have to be given a vote.
const READY: f64 = 0.9;

/// A member that somebody asked to add. Whether that was done, members know.
#[derive(Debug)]
pub(super) struct Joining {
    id: MemberId,
    url: String,
}

impl Cluster {
    pub(super) fn change_members(&mut self) -> Checked {
        if self.healing || !self.mix.changes_members {
            return Ok(());
        }
        let pause = 300 + self.random.below(5000);
        self.timeline.after(Duration::from_millis(pause), Event::Change);
        self.start_who_joined();
        let at = self.random.index(self.hosts.len());
        let Some(member) = self.hosts[at].member.as_ref().filter(|_| self.hosts[at].serves())
        else {
            return Ok(());
        };
        let list = member.views().members.list();
        let change = match self.random.below(10) {
            0..5 if list.len() < MOST => Some(self.addition(&list)),
            0..7 => self.promotion(&list),
            _ => self.removal(),
        };
        let Some(change) = change else { return Ok(()) };
        // Only a leader knows who is ready for a vote, and who may go.
        let at = match change {
            MemberChange::Promote(_) | MemberChange::Remove(_) => self.leader().unwrap_or(at),
            _ => at,
        };
        self.tell(at, |member| {
            member.change_members(&change);
        })
    }

    fn addition(&mut self, list: &[Member]) -> MemberChange {
        // At times where another member has been before.
        let gone = self.hosts.iter().position(|host| host.left);
        let place = gone.filter(|_| self.random.chance(1, 2)).unwrap_or(self.hosts.len());
        let taken = |url: &String| list.iter().any(|member| member.peer_urls.contains(url));
        let url = Some(url(place)).filter(|url| !taken(url));
        let url = url.unwrap_or_else(|| super::host::url(100 + self.joining.len()));
        let urls = vec![url.clone()];
        // Whoever was added at another moment is somebody else.
        let id = state::member_id(&urls, "", i64::try_from(self.moment).ok());
        self.joining.push(Joining { id, url });
        let is_learner = self.random.chance(3, 4);
        MemberChange::Add(Member { id, peer_urls: urls, is_learner, ..Member::default() })
    }

    fn promotion(&mut self, list: &[Member]) -> Option<MemberChange> {
        let leader = self.hosts[self.leader()?].member.as_ref()?;
        let status = leader.raft();
        let ready = |id: u64| {
            let found = status.progress.iter().find(|(member, _)| member.get() == id);
            let matched = found.map_or(0, |(_, progress)| progress.matched().0);
            matched as f64 >= status.last_index.0 as f64 * READY
        };
        let learner = list.iter().find(|member| member.is_learner && ready(member.id.0))?;
        Some(MemberChange::Promote(learner.id))
    }

    /// Of two voters none goes: the one that is left might never hear of it, and would wait for
    /// the other one's vote for ever.
    fn removal(&mut self) -> Option<MemberChange> {
        let leader = self.hosts[self.leader()?].member.as_ref()?;
        let list = leader.views().members.list();
        let voters = list.iter().filter(|member| !member.is_learner).count();
        let gone = list.get(self.random.index(list.len()))?;
        (gone.is_learner || voters > 2).then_some(MemberChange::Remove(gone.id))
    }

    /// Switches on the machines of all who were added.
    pub(super) fn start_who_joined(&mut self) {
        for at in 0..self.hosts.len() {
            let Some(member) = &self.hosts[at].member else { continue };
            let (cluster_id, members) = (member.cluster_id(), member.views().members.list());
            let joined = |joining: &Joining| members.iter().any(|member| member.id == joining.id);
            for joining in self.joining.extract_if(.., |joining| joined(joining)) {
                let host = self.hosts.len();
                let bootstrap = Bootstrap::Join {
                    cluster_id,
                    member_id: joining.id.0,
                    members: members.clone(),
                };
                let options = options_of(host, &self.common);
                let options = node::Options { bootstrap: Some(bootstrap), ..options };
                self.digest.note(&joining.url, &[joining.id.0], &[]);
                self.hosts.push(Host::new(options, &mut self.random, &self.digest));
                let delay = Duration::from_millis(self.random.below(1500));
                self.timeline.after(delay, Event::Start { host });
            }
        }
    }

    /// A member tries to keep up its connections, and hears there whether it was removed.
    pub(super) fn knock(&mut self, host: HostAt) {
        let peer = self.random.index(self.hosts.len());
        let Some(member) = &self.hosts[peer].member else { return };
        let cut = self.network.is_cut(host, peer) || self.network.is_cut(peer, host);
        let removed = member.views().members.is_removed(MemberId(self.hosts[host].id));
        if removed && !cut && self.hosts[peer].serves() {
            let (delay, life) = (self.network.delay(), self.hosts[host].life);
            self.timeline.after(delay, Event::Removed { host, life });
        }
    }

    /// Who was removed is told so by whoever knows, and ends. What somebody else has asked for and
    /// this one forwards does not count.
    pub(super) fn is_refused(&mut self, from: HostAt, to: HostAt) -> bool {
        let Some(member) = &self.hosts[to].member else { return false };
        let refused = member.views().members.is_removed(MemberId(self.hosts[from].id));
        if refused && self.hosts[from].serves() && !self.network.is_cut(to, from) {
            let (delay, life) = (self.network.delay(), self.hosts[from].life);
            self.timeline.after(delay, Event::Removed { host: from, life });
        }
        refused
    }
}
