//! All is made well, and must become well; then what was seen is checked.

use std::time::Duration;

use raft::StateRole;
use state::LeaseId;

use super::Cluster;
use super::network::Weather;
use super::plan::ClusterBug;
use super::timeline::{Event, HostAt};
use crate::check::{
    Answer, Broken, History, LeaseRecord, MemberHash, Moment, Outcome, Rule, check_hashes,
    check_leases, check_linearizable, check_watch,
};
use crate::recovery::compare;
use crate::told::Told;
use crate::verdict::{Checked, Checker, ensure};

/// How long a cluster that is well may take to find a leader and to agree.
const RECOVERY: Duration = Duration::from_secs(20);
/// Longer than any lease, with the time that a new leader adds to it, and with what was asked
/// before all was well and is still on its way.
const LEASES_END: Duration = Duration::from_secs(25);

impl Cluster {
    pub(super) fn heal(&mut self) -> Checked {
        let led = self.stable_leader();
        self.make_well()?;
        let end = self.now() + RECOVERY;
        while !self.agrees() {
            ensure(self.now() < end, Checker::Serving, || self.standing("do not recover"))?;
            self.start_who_joined();
            self.live_until(self.now() + Duration::from_millis(100))?;
        }
        self.serves_everywhere()?;
        if self.plan.story.is_stable() {
            let leads = self.stable_leader();
            ensure(led.is_some() && leads == led, Checker::Stable, || {
                format!("{led:?} has led, now {leads:?}")
            })?;
            let elections = self.truth.raft.elections();
            ensure(elections == 1, Checker::Stable, || format!("{elections} terms had a leader"))?;
        }
        let end = self.now() + LEASES_END;
        loop {
            let left = &self.truth.model.leases;
            if left.is_empty() {
                break;
            }
            ensure(self.now() < end, Checker::Lease, || format!("these do not end: {left:?}"))?;
            if self.plan.bug == Some(ClusterBug::EndlessLease) {
                self.renew_all();
            }
            self.live_until(self.now() + Duration::from_millis(500))?;
        }
        self.come_to_rest()?;
        self.compare_members()
    }

    /// As if there were somebody who never lets a lease go.
    fn renew_all(&mut self) {
        let (leases, now) = (self.truth.model.leases.clone(), self.now());
        for host in &mut self.hosts {
            let shows = host.clock.set(now);
            for id in leases.keys() {
                if let Some(member) = &host.member {
                    member.renew_lease(shows, LeaseId(*id));
                }
            }
        }
    }

    pub(super) fn stable_leader(&self) -> Option<(u64, u64)> {
        let leader = &self.hosts[self.leader()?];
        let term = leader.member.as_ref().map(|member| member.raft().hard_state.term.0);
        Some((leader.id, term.unwrap_or(0)))
    }

    /// Nothing is broken any more, and everybody is there.
    fn make_well(&mut self) -> Checked {
        self.healing = true;
        self.network.heal();
        self.network.weather = Weather::FAIR;
        let now = self.now();
        for at in 0..self.hosts.len() {
            let host = &mut self.hosts[at];
            if host.left {
                continue;
            }
            host.clock.go(now, 1000);
            host.disk.forget_faults();
            host.paused_until = None;
            host.sync_takes = None;
            host.wake = None;
            if let Some(member) = host.member.as_mut() {
                member.sync_here(true);
                if host.disk.is_off() {
                    self.die(at, true)?;
                }
            }
            match self.hosts[at].member {
                Some(_) => self.step(at)?,
                None => self.timeline.after(Duration::from_millis(10), Event::Start { host: at }),
            }
        }
        for client in 0..self.clients.len() {
            self.timeline.after(Duration::from_millis(10), Event::Client { client });
        }
        Ok(())
    }

    /// Hosts whose members belong to the cluster.
    fn members(&self) -> Vec<HostAt> {
        let Some(leader) = self.leader() else { return Vec::new() };
        let Some(member) = &self.hosts[leader].member else { return Vec::new() };
        let list = member.views().members.list().into_iter();
        list.filter_map(|member| self.by_id.get(&member.id.0).copied()).collect()
    }

    /// Whether somebody leads, all members follow it, and all have applied the same.
    fn agrees(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let Some(leads) = &self.hosts[leader].member else { return false };
        let status = leads.raft();
        let members = self.members();
        !status.config.is_joint()
            && status.progress.len() == members.len()
            && members.iter().all(|at| {
                let member = self.hosts[*at].member.as_ref();
                member.is_some_and(|member| {
                    let its = member.raft();
                    let follows = its.soft_state.role == StateRole::Leader
                        || its.soft_state.leader == Some(status.id);
                    // Clients go on all the time: nearly everything is enough.
                    let near = its.hard_state.commit.0 + 20 >= status.last_index.0;
                    follows && near && its.hard_state.term == status.hard_state.term
                })
            })
    }

    fn standing(&self, what: &str) -> String {
        let members = self.hosts.iter().map(|host| match &host.member {
            Some(member) => {
                let status = member.raft();
                let leads = status.soft_state.role == StateRole::Leader;
                let followers = status.progress.iter().filter(|_| leads);
                let followers = followers.map(|(id, progress)| format!(" {id}: {progress}"));
                format!(
                    "{:x}: {} {} {} last {} applied {}{}",
                    host.id,
                    status.soft_state,
                    status.hard_state,
                    status.config,
                    status.last_index,
                    member.applied().index,
                    followers.collect::<String>()
                )
            }
            None => format!("{:x}: down", host.id),
        });
        format!("{what}: {}", members.collect::<Vec<_>>().join("; "))
    }

    /// Every client gets answers again.
    fn serves_everywhere(&mut self) -> Checked {
        let before: Vec<u64> = self.clients.iter().map(|client| client.answers).collect();
        let end = self.now() + RECOVERY;
        loop {
            let mut pairs = self.clients.iter().zip(&before);
            let Some((client, _)) = pairs.find(|(client, before)| client.answers < **before + 6)
            else {
                return Ok(());
            };
            let answers = client.answers;
            ensure(self.now() < end, Checker::Serving, || {
                self.standing(&format!("a client has only {answers} answers"))
            })?;
            self.live_until(self.now() + Duration::from_millis(100))?;
        }
    }

    /// Clients ask nothing more, and all that was begun comes to its end.
    fn come_to_rest(&mut self) -> Checked {
        for host in 0..self.hosts.len() {
            self.clients_lose(host)?;
        }
        self.clients.clear();
        self.timeline.forget_clients();
        let end = self.now() + RECOVERY;
        loop {
            self.live_until(self.now() + Duration::from_millis(300))?;
            self.start_who_joined();
            let committed = self.truth.committed();
            let behind = self.members().into_iter().find(|at| {
                let member = self.hosts[*at].member.as_ref();
                member.is_none_or(|member| member.applied().index != committed)
            });
            if behind.is_none() && self.agrees() && self.watchers_are_done() {
                return Ok(());
            }
            ensure(self.now() < end, Checker::Serving, || {
                self.standing(&format!("do not come to rest at {committed}"))
            })?;
        }
    }

    /// Who watches at a member that was removed is let go when that ends.
    fn watchers_are_done(&self) -> bool {
        let members = self.members();
        let there = |at: Option<(HostAt, u64)>| at.is_some_and(|(at, _)| members.contains(&at));
        self.watches.iter().all(|watch| watch.is_connected() && there(watch.at))
    }

    fn compare_members(&mut self) -> Checked {
        self.truth.reference.flush()?;
        let revision = self.truth.model.revision();
        let mut hashes = Vec::new();
        for at in self.members() {
            let Some(member) = self.hosts[at].member.as_mut() else { continue };
            let broken = |error: node::Fatal| (Checker::Boot, error.to_string());
            while member.step_compaction(1000).map_err(broken)?.is_some() {}
            while member.seal() || member.commit_sealed().map_err(broken)? {
                member.commit_sealed().map_err(broken)?;
            }
            let views = member.views().clone();
            hashes.push(member_hash(self.hosts[at].id, &views)?);
            let oldest = self.truth.model.compacted.max(1).max(revision - 30);
            let revisions: Vec<i64> = (oldest..=revision).chain([0]).collect();
            compare(&views, &self.truth.model, &revisions)?;
            let problems = views.backend.db().check();
            ensure(problems.is_empty(), Checker::File, || format!("{problems:?}"))?;
        }
        hashes.push(member_hash(0, self.truth.reference.state().views())?);
        check_hashes(&hashes).map_err(|broken| (Checker::Hash, broken.to_string()))
    }

    /// As if everybody had heard in the end whether what was asked was done: where a cluster was
    /// in trouble for long, that is too much to guess.
    fn with_all_answers(&mut self, mut history: History) -> History {
        let mut ids = std::mem::take(&mut self.histories.ids).into_iter();
        history.operations.retain_mut(|operation| {
            let id = ids.next().flatten();
            if operation.outcome != Outcome::Unknown {
                return true;
            }
            let due = id.and_then(|id| self.truth.due(id));
            let Some((Ok(told), revision)) = due else { return false };
            let answer = match told {
                Told::Op(answer) => answer.clone(),
                _ => Answer::Revoke { revision: *revision },
            };
            operation.outcome = Outcome::Answered { returned: Moment::MAX, answer };
            true
        });
        history
    }

    /// What clients and watchers have seen, without a look at what happened.
    pub(super) fn check_histories(&mut self) -> Checked {
        let operations = std::mem::take(&mut self.histories.operations);
        let events = self.watches.iter().flat_map(|watch| watch.seen()).collect();
        let compacted = self.histories.compacted;
        let history = History { operations, events, compacted, ..History::default() };
        let told = |checker| move |broken: Broken| (checker, broken.to_string());
        let replay = check_linearizable(&history).or_else(|broken| match broken.rule {
            Rule::Undecided => check_linearizable(&self.with_all_answers(history.clone())),
            _ => Err(broken),
        });
        let replay = replay.map_err(told(Checker::Linearizable))?;
        self.report.unanswered_done = replay.unanswered_done as u64;
        // Which of several lost requests came first, nobody need have seen. What did, is known
        // here.
        let mut real = replay;
        real.changes = self.truth.model.changes().to_vec();
        real.revision = self.truth.model.revision();
        for watch in &self.watches {
            self.report.events += watch.events;
            self.report.resumed += watch.resumed;
            let until = Some(real.revision);
            check_watch(&watch.watcher, &real, until).map_err(told(Checker::Watch))?;
        }
        let records: Vec<LeaseRecord> = std::mem::take(&mut self.histories.leases);
        check_leases(&records, self.mix.leniency()).map_err(told(Checker::Lease))
    }
}

fn member_hash(member: u64, views: &state::Views) -> Checked<MemberHash> {
    let hash = views.reader.hash_kv(0).map_err(|error| (Checker::Hash, error.to_string()))?;
    Ok(MemberHash {
        member,
        revision: hash.revision,
        compact_revision: hash.compact_revision,
        hash: hash.hash,
    })
}
