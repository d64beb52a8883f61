//! Every state that a small group can get into, up to a number of events: nothing is left to
//! chance, and what is explored is the code itself, not a model of it.
//!
//! Events are: a member campaigns, a leader takes a proposal, a message arrives (in any order), the
//! oldest append of a member gets to its disk, a member crashes, with or without what is written
//! and not synced. Bounds: terms, proposals, crashes, and messages on their way; if there are more
//! of these the oldest is lost. What a member has to say it says at once.
//!
//! `RAFT_EXPLORE_DEEPER=n cargo test --release -p raft explore` goes n events deeper.

use super::{PendingAppend, RawNode};
use crate::config::Config;
use crate::message::Message;
use crate::ready::{AppendTicket, Ready};
use crate::storage::mem::MemStorage;
use crate::types::{EntryId, HardState, LogIndex, NodeId, StateRole, Term};
use crate::{ConfState, Entry};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};
use core::hash::{Hash, Hasher};
use std::collections::HashSet;
use std::hash::DefaultHasher;

type Payload = &'static str;
type Raft = RawNode<Payload, MemStorage<Payload>>;

/// An append on its way to disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Write {
    hard_state: Option<HardState>,
    entries: Vec<Entry<Payload>>,
    must_sync: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    raft: Raft,
    /// What a crash of the machine leaves.
    durable: MemStorage<Payload>,
    writes: Vec<Write>,
    lives: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    nodes: Vec<Node>,
    net: Vec<Message<Payload>>,
    proposals: u8,
    crashes: u8,
    /// Who has led each term, and in which of its lives.
    leaders: BTreeMap<Term, (NodeId, u8)>,
    /// What anybody has committed.
    committed: Vec<EntryId>,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Campaign(usize),
    Propose(usize),
    Arrive(usize),
    Written(usize),
    /// And whether what was not synced is lost.
    Crash(usize, bool),
}

#[derive(Clone, Copy)]
struct Bounds {
    members: u64,
    /// Members that campaign: all are alike until one has.
    candidates: usize,
    pre_vote: bool,
    terms: u64,
    proposals: u8,
    crashes: u8,
    messages: usize,
    depth: usize,
}

fn config(id: NodeId, bounds: &Bounds) -> Config {
    Config {
        pre_vote: bounds.pre_vote,
        check_quorum: false,
        election_jitter: Some(0),
        ..Config::new(id)
    }
}

impl Node {
    fn start(id: NodeId, disk: MemStorage<Payload>, lives: u8, bounds: &Bounds) -> Self {
        let raft = RawNode::new(config(id, bounds), disk.clone()).expect("the disk is whole");
        Self { raft, durable: disk, writes: Vec::new(), lives }
    }

    /// Takes out what there is to do; applies at once, and numbers appends anew when it can.
    fn hand_out(&mut self, net: &mut Vec<Message<Payload>>) {
        let mut ready = Ready::default();
        while self.raft.has_ready() {
            self.raft.ready(&mut ready).expect("it has not failed");
            net.append(&mut ready.messages);
            if let Some(append) = ready.append.take() {
                // The ticket is made again when it is done: a state that is cloned has two.
                let _ = append.ticket;
                assert!(append.snapshot.is_none(), "nothing is compacted");
                self.writes.push(Write {
                    hard_state: append.hard_state,
                    entries: append.entries,
                    must_sync: append.must_sync,
                });
            }
            if let Some(apply) = ready.apply.take() {
                self.raft.on_apply_done(apply.ticket).expect("in order");
            }
        }
        self.raft.next_apply = 1;
        if self.raft.appends.is_empty() {
            self.raft.next_append = 1;
        }
        self.raft.raft.forget_chance();
    }

    fn write(&mut self, net: &mut Vec<Message<Payload>>) {
        let write = self.writes.remove(0);
        let disk = self.raft.storage_mut();
        if let Some(hard_state) = write.hard_state {
            disk.set_hard_state(hard_state);
        }
        disk.append(write.entries).expect("no holes");
        if write.must_sync {
            self.durable = disk.clone();
        }
        let number = self.raft.appends.front().map(PendingAppend::number).expect("one is written");
        self.raft.on_append_done(AppendTicket(number), net).expect("in order");
    }
}

impl State {
    fn first(bounds: &Bounds) -> Self {
        let ids: Vec<NodeId> = (1..=bounds.members).filter_map(NodeId::new).collect();
        let mut disk = MemStorage::new();
        disk.set_conf_state(ConfState { voters: ids.clone(), ..ConfState::default() });
        let start = |id: &NodeId| Node::start(*id, disk.clone(), 0, bounds);
        Self {
            nodes: ids.iter().map(start).collect(),
            net: Vec::new(),
            proposals: 0,
            crashes: 0,
            leaders: BTreeMap::new(),
            committed: Vec::new(),
        }
    }

    fn events(&self, bounds: &Bounds) -> Vec<Event> {
        let mut events = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let status = node.raft.status();
            let leads = status.soft_state.role == StateRole::Leader;
            if at < bounds.candidates && !leads && status.hard_state.term.0 < bounds.terms {
                events.push(Event::Campaign(at));
            }
            if leads && self.proposals < bounds.proposals {
                events.push(Event::Propose(at));
            }
            if !node.writes.is_empty() {
                events.push(Event::Written(at));
            }
            if self.crashes < bounds.crashes {
                events.push(Event::Crash(at, false));
                if node.durable != *node.raft.storage() {
                    events.push(Event::Crash(at, true));
                }
            }
        }
        for at in 0..self.net.len() {
            if !self.net[..at].contains(&self.net[at]) {
                events.push(Event::Arrive(at));
            }
        }
        events
    }

    fn after(&self, event: Event, bounds: &Bounds) -> Self {
        let mut next = self.clone();
        let at = match event {
            Event::Campaign(at) => {
                let _ = next.nodes[at].raft.campaign();
                at
            }
            Event::Propose(at) => {
                next.proposals += 1;
                let _ = next.nodes[at].raft.propose(["a", "b", "c"][next.proposals as usize % 3]);
                at
            }
            Event::Arrive(at) => {
                let message = next.net.remove(at);
                let to = message.to.get() as usize - 1;
                let _ = next.nodes[to].raft.step(message);
                to
            }
            Event::Written(at) => {
                next.nodes[at].write(&mut next.net);
                at
            }
            Event::Crash(at, unsynced_is_lost) => {
                next.crashes += 1;
                let node = &next.nodes[at];
                let disk =
                    if unsynced_is_lost { &node.durable } else { node.raft.storage() }.clone();
                next.nodes[at] = Node::start(node.raft.raft.id, disk, node.lives + 1, bounds);
                at
            }
        };
        next.nodes[at].hand_out(&mut next.net);
        let too_many = next.net.len().saturating_sub(bounds.messages);
        next.net.drain(..too_many);
        next
    }

    /// The promises of Raft; notes what is needed to hold later states to them.
    fn check(&mut self) -> Result<(), String> {
        for node in &self.nodes {
            let status = node.raft.status();
            let (id, term) = (status.id, status.hard_state.term);
            if let Some(fatal) = status.fatal {
                return Err(format!("{id} has failed: {fatal}"));
            }
            let entry = |index: u64| {
                let index = LogIndex(index);
                let term = node.raft.raft.log.term(index).ok().flatten();
                term.map(|term| EntryId { term, index })
            };
            // State machine safety.
            for index in 1..=status.hard_state.commit.0 {
                let Some(ours) = entry(index) else {
                    return Err(format!("{id} has committed {index} and does not have it"));
                };
                match self.committed.get(index as usize - 1) {
                    Some(known) if *known != ours => {
                        return Err(format!("{id} has committed {ours:?}, others {known:?}"));
                    }
                    Some(_) => {}
                    None => self.committed.push(ours),
                }
            }
            if status.soft_state.role != StateRole::Leader {
                continue;
            }
            // Election safety, for each life by itself.
            let known = *self.leaders.entry(term).or_insert((id, node.lives));
            if known != (id, node.lives) {
                return Err(format!("{id} leads term {term}, as does {known:?}"));
            }
            // Leader completeness, unless it has been deposed and does not know.
            let newest = self.leaders.keys().next_back() == Some(&term);
            let lost = self.committed.iter().find(|known| entry(known.index.0) != Some(**known));
            if let Some(lost) = lost.filter(|_| newest) {
                return Err(format!("{id} leads term {term} without the committed {lost:?}"));
            }
        }
        Ok(())
    }

    /// The order of messages on their way is no part of it: they arrive in any.
    fn fingerprint(&self) -> u128 {
        let mut net: Vec<u64> = self.net.iter().map(|message| hash(message, 0)).collect();
        net.sort_unstable();
        let Self { nodes, net: _, proposals, crashes, leaders, committed } = self;
        let all = (nodes, net, proposals, crashes, leaders, committed);
        (u128::from(hash(&all, 1)) << 64) | u128::from(hash(&all, 2))
    }
}

fn hash(what: &impl Hash, salt: u8) -> u64 {
    let mut hasher = DefaultHasher::new();
    salt.hash(&mut hasher);
    what.hash(&mut hasher);
    hasher.finish()
}

/// How far the exploration came.
#[derive(Debug, Default)]
struct Explored {
    states: usize,
    leaders: usize,
    committed: usize,
    crashed_leaders: usize,
}

/// Breadth first, so that what is found is found by the shortest way. `Err` tells the way.
fn explore(bounds: &Bounds) -> Result<Explored, String> {
    let mut seen = HashSet::new();
    // How each state came about: the entry of this list before it, and the event.
    let mut ways: Vec<(usize, Event)> = Vec::new();
    let mut level = vec![(State::first(bounds), usize::MAX)];
    let mut explored = Explored::default();
    for depth in 1..=bounds.depth {
        let mut next_level = Vec::new();
        for (state, came) in &level {
            for event in state.events(bounds) {
                let mut next = state.after(event, bounds);
                let checked = next.check();
                if let Err(what) = checked {
                    return Err(format!("{what}, by:\n{}", way(&ways, *came, event)));
                }
                if !seen.insert(next.fingerprint()) {
                    continue;
                }
                explored.states += 1;
                explored.leaders = explored.leaders.max(next.leaders.len());
                explored.committed = explored.committed.max(next.committed.len());
                let crashed = |node: &Node| {
                    next.leaders
                        .values()
                        .any(|(id, life)| *id == node.raft.raft.id && *life < node.lives)
                };
                explored.crashed_leaders += usize::from(next.nodes.iter().any(crashed));
                if depth < bounds.depth {
                    ways.push((*came, event));
                    next_level.push((next, ways.len() - 1));
                }
            }
        }
        level = next_level;
    }
    Ok(explored)
}

fn way(ways: &[(usize, Event)], mut at: usize, last: Event) -> String {
    let mut events = vec![last];
    while let Some((before, event)) = ways.get(at) {
        events.push(*event);
        at = *before;
    }
    events.iter().rev().map(|event| format!("  {event:?}\n")).collect()
}

/// What is explored in all tests, and how deep in all of them beyond what CI has time for.
fn bounds(depth: usize) -> Bounds {
    let deeper = std::env::var("RAFT_EXPLORE_DEEPER").map_or(0, |n| n.parse().expect("a number"));
    Bounds {
        members: 3,
        candidates: 1,
        pre_vote: false,
        terms: 1,
        proposals: 1,
        crashes: 1,
        messages: 4,
        depth: depth + deeper,
    }
}

/// Explores, and says how far it came when asked to show it.
fn explored(bounds: &Bounds) -> Explored {
    let explored = explore(bounds).unwrap_or_else(|what| panic!("{what}"));
    std::eprintln!("depth {}: {explored:?}", bounds.depth);
    explored
}

/// One term, and a candidate that may crash at any moment of it and come back into it (5.1).
#[test]
fn whoever_crashes_in_a_term_does_no_harm_in_it() {
    let explored = explored(&bounds(14));
    assert!(explored.committed >= 2 && explored.crashed_leaders > 1000, "{explored:?}");
}

/// One leader after the other.
#[test]
fn two_who_campaign_do_not_contradict_each_other() {
    let bounds = Bounds { candidates: 2, terms: 2, crashes: 0, messages: 3, ..bounds(11) };
    let explored = explored(&bounds);
    assert!(explored.leaders >= 2 && explored.committed >= 1, "{explored:?}");
}

/// Both must agree to everything.
#[test]
fn two_members_do_not_contradict_each_other() {
    let explored = explored(&Bounds { members: 2, candidates: 2, terms: 3, ..bounds(12) });
    assert!(explored.leaders >= 2 && explored.crashed_leaders > 1000, "{explored:?}");
}

/// The question before an election, and a crash in between.
#[test]
fn asking_first_changes_nothing_of_that() {
    let explored = explored(&Bounds { pre_vote: true, ..bounds(10) });
    assert!(explored.leaders >= 1 && explored.crashed_leaders >= 1, "{explored:?}");
}
