//! Several members and the network between them: in order, at once, and with cuts.

use crate::harness::{Member, Payload, id, storage, voters};
use raft::{
    Body, ConfState, Config, Entry, EntryBody, EntryId, MemStorage, Message, StateRole,
    StorageApply,
};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) struct Cluster {
    members: Vec<Member>,
    /// From whom to whom nothing arrives.
    cut: BTreeSet<(u64, u64)>,
    /// Members that do not get to apply anything, and what waits there.
    lagging: BTreeMap<u64, Vec<StorageApply<Payload>>>,
}

/// Settings of a classic group, without what etcd has added: what the paper's sections are about.
pub(crate) fn plain(n: u64) -> Config {
    let mut config = Config::new(id(n));
    (config.pre_vote, config.check_quorum) = (false, false);
    config
}

/// etcd's own settings.
pub(crate) fn full(n: u64) -> Config {
    Config::new(id(n))
}

/// A log of entries with these terms, stored by members 1 to 3.
pub(crate) fn log_of(terms: &[u64]) -> MemStorage<Payload> {
    let mut storage = storage(voters(&[1, 2, 3]));
    storage.append(entries(1, terms)).expect("no holes");
    let term = raft::Term(terms.last().copied().unwrap_or_default());
    storage.set_hard_state(raft::HardState { term, ..raft::HardState::default() });
    storage
}

/// Entries with these terms from index `first` on.
pub(crate) fn entries(first: u64, terms: &[u64]) -> Vec<Entry<Payload>> {
    let entry = |(at, term): (usize, &u64)| Entry {
        id: EntryId::new(*term, first.saturating_add(at as u64)),
        body: EntryBody::Normal(format!("{term}").into_bytes()),
    };
    terms.iter().enumerate().map(entry).collect()
}

pub(crate) fn message(from: u64, to: u64, term: u64, body: Body<Payload>) -> Message<Payload> {
    Message { from: id(from), to: id(to), term: raft::Term(term), body }
}

impl Cluster {
    /// Members 1 to `n`, all voters.
    pub(crate) fn new(n: u64, config: impl Fn(u64) -> Config) -> Self {
        let all: Vec<u64> = (1..=n).collect();
        Self::with_conf(n, voters(&all), config)
    }

    pub(crate) fn with_conf(n: u64, conf: ConfState, config: impl Fn(u64) -> Config) -> Self {
        Self::of((1..=n).map(|n| Member::new(config(n), storage(conf.clone()))).collect())
    }

    /// Members with the ids 1, 2 and so on.
    pub(crate) fn of(members: Vec<Member>) -> Self {
        Self { members, cut: BTreeSet::new(), lagging: BTreeMap::new() }
    }

    pub(crate) fn get(&mut self, n: u64) -> &mut Member {
        &mut self.members[n as usize - 1]
    }

    pub(crate) fn add(&mut self, member: Member) {
        self.members.push(member);
    }

    /// Cuts a member off from all others.
    pub(crate) fn isolate(&mut self, n: u64) {
        for other in 1..=self.members.len() as u64 {
            self.cut.extend([(n, other), (other, n)]);
        }
    }

    pub(crate) fn cut(&mut self, from: u64, to: u64) {
        self.cut.insert((from, to));
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    /// From now on a member writes its log and applies nothing.
    pub(crate) fn lag(&mut self, n: u64) {
        self.lagging.entry(n).or_default();
    }

    /// A member stops and starts on what it has stored and applied.
    pub(crate) fn restart(&mut self, n: u64, config: Config) {
        if let Some(waiting) = self.lagging.get_mut(&n) {
            waiting.clear();
        }
        let before = self.get(n);
        let disk = before.node.storage().clone();
        let applied = before.applied_index();
        let entries = std::mem::take(&mut before.applied);
        *before = Member::new(Config { applied, ..config }, disk);
        before.applied = entries;
    }

    /// Lets all do what they have to do and takes what they send.
    pub(crate) fn collect(&mut self) -> Vec<Message<Payload>> {
        let mut messages = Vec::new();
        for (n, member) in (1..).zip(&mut self.members) {
            match self.lagging.get_mut(&n) {
                Some(waiting) => waiting.extend(member.settle_without_applying()),
                None => member.settle(),
            }
            messages.append(&mut member.outbox);
        }
        messages.retain(|m| !self.cut.contains(&(m.from.get(), m.to.get())));
        messages
    }

    pub(crate) fn send(&mut self, messages: Vec<Message<Payload>>) {
        for message in messages {
            if let Some(member) = self.members.get_mut(message.to.get() as usize - 1) {
                // A refusal is an answer too.
                let _ = member.node.step(message);
            }
        }
    }

    /// Until nobody has anything to say.
    pub(crate) fn deliver(&mut self) {
        loop {
            let messages = self.collect();
            if messages.is_empty() {
                return;
            }
            self.send(messages);
        }
    }

    /// Makes a member campaign, and lets everything happen.
    pub(crate) fn campaign(&mut self, n: u64) {
        let _ = self.get(n).node.campaign();
        self.deliver();
    }

    pub(crate) fn elect(&mut self, n: u64) {
        self.campaign(n);
        assert_eq!(self.role(n), StateRole::Leader, "{n} is elected");
    }

    pub(crate) fn propose(&mut self, n: u64, payload: &str) {
        self.get(n).node.propose(payload.as_bytes().to_vec()).expect("taken");
        self.deliver();
    }

    pub(crate) fn role(&mut self, n: u64) -> StateRole {
        self.get(n).node.status().soft_state.role
    }

    pub(crate) fn leader_of(&mut self, n: u64) -> Option<u64> {
        self.get(n).node.status().soft_state.leader.map(raft::NodeId::get)
    }

    pub(crate) fn roles(&mut self) -> Vec<StateRole> {
        (1..=self.members.len() as u64).map(|n| self.role(n)).collect()
    }

    pub(crate) fn terms(&self) -> Vec<u64> {
        self.members.iter().map(Member::term).collect()
    }

    pub(crate) fn commits(&self) -> Vec<u64> {
        self.members.iter().map(Member::commit).collect()
    }

    /// One tick for everybody, and what comes of it.
    pub(crate) fn tick(&mut self, times: u32) {
        for _ in 0..times {
            for member in &mut self.members {
                member.node.tick();
            }
            self.deliver();
        }
    }
}
