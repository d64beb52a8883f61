//! Their side: raft-rs, driven as its documentation says.

use crate::inputs::{self, Input, Kind, Transition};
use crate::{Group, State, election_tick};
use protobuf::Message as _;
use raft_rs::eraftpb::{
    ConfChange, ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState,
    Entry, EntryType, Message,
};
use raft_rs::storage::MemStorage;
use raft_rs::{Config, GetEntriesContext, RawNode, StateRole, Storage};
use slog::{Discard, Logger, o};

struct Node {
    config: Config,
    raw: RawNode<MemStorage>,
    disk: MemStorage,
    conf_state: ConfState,
    applied: u64,
}

pub(crate) struct Theirs {
    nodes: Vec<Node>,
}

fn logger() -> Logger {
    Logger::root(Discard, o!())
}

fn single(kind: Kind, of: u64) -> ConfChangeSingle {
    let mut single = ConfChangeSingle::default();
    single.set_change_type(match kind {
        Kind::Add => ConfChangeType::AddNode,
        Kind::AddLearner => ConfChangeType::AddLearnerNode,
        Kind::Remove => ConfChangeType::RemoveNode,
    });
    single.node_id = of;
    single
}

impl Node {
    fn start(config: Config, disk: MemStorage, conf_state: ConfState) -> Self {
        let raw = RawNode::new(&config, disk.clone(), &logger()).expect("a valid configuration");
        Self { applied: config.applied, config, raw, disk, conf_state }
    }

    fn apply(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            self.applied = entry.index;
            let applied = match entry.get_entry_type() {
                EntryType::EntryNormal => continue,
                EntryType::EntryConfChange => {
                    let mut change = ConfChange::default();
                    change.merge_from_bytes(&entry.data).expect("it was encoded here");
                    self.raw.apply_conf_change(&change)
                }
                EntryType::EntryConfChangeV2 => {
                    let mut change = ConfChangeV2::default();
                    change.merge_from_bytes(&entry.data).expect("it was encoded here");
                    self.raw.apply_conf_change(&change)
                }
            };
            self.conf_state = applied.expect("a possible change");
            self.disk.wl().set_conf_state(self.conf_state.clone());
        }
    }

    fn work(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while self.raw.has_ready() {
            let mut ready = self.raw.ready();
            messages.append(&mut ready.take_messages());
            if !ready.snapshot().is_empty() {
                let snapshot = ready.snapshot().clone();
                self.conf_state = snapshot.get_metadata().get_conf_state().clone();
                self.applied = snapshot.get_metadata().index;
                self.disk.wl().apply_snapshot(snapshot).expect("a newer one");
            }
            self.apply(ready.take_committed_entries());
            self.disk.wl().append(ready.entries()).expect("no holes");
            if let Some(hard_state) = ready.hs() {
                self.disk.wl().set_hardstate(hard_state.clone());
            }
            messages.append(&mut ready.take_persisted_messages());
            let mut light = self.raw.advance(ready);
            if let Some(commit) = light.commit_index() {
                self.disk.wl().mut_hard_state().commit = commit;
            }
            messages.append(&mut light.take_messages());
            self.apply(light.take_committed_entries());
            self.raw.advance_apply();
        }
        messages
    }
}

impl Theirs {
    fn node(&mut self, n: u64) -> &mut Node {
        &mut self.nodes[n as usize - 1]
    }
}

impl Group for Theirs {
    type Message = Message;

    fn new(size: u64, voters: &[u64], full: bool) -> Self {
        let node = |n| {
            let ticks = election_tick(n) as usize;
            let config = Config {
                id: n,
                election_tick: ticks,
                min_election_tick: ticks,
                max_election_tick: ticks + 1,
                heartbeat_tick: 1,
                max_size_per_msg: 1 << 20,
                max_inflight_msgs: 256,
                pre_vote: full,
                check_quorum: full,
                ..Config::default()
            };
            let mut conf_state = ConfState::default();
            conf_state.set_voters(voters.to_vec());
            let disk = MemStorage::new_with_conf_state(conf_state.clone());
            Node::start(config, disk, conf_state)
        };
        Self { nodes: (1..=size).map(node).collect() }
    }

    fn give(&mut self, n: u64, input: &Input) {
        let node = self.node(n);
        match input {
            Input::Tick => drop(node.raw.tick()),
            Input::Campaign => drop(node.raw.campaign()),
            Input::Propose(what) => {
                drop(node.raw.propose(Vec::new(), what.to_be_bytes().to_vec()));
            }
            Input::ChangeV1(kind, of) => {
                let single = single(*kind, *of);
                let mut change = ConfChange::default();
                change.set_change_type(single.get_change_type());
                change.node_id = *of;
                let _ = node.raw.propose_conf_change(Vec::new(), change);
            }
            Input::ChangeV2(transition, changes) => {
                let mut change = ConfChangeV2::default();
                change.set_transition(match transition {
                    Transition::Auto => ConfChangeTransition::Auto,
                    Transition::Implicit => ConfChangeTransition::Implicit,
                    Transition::Explicit => ConfChangeTransition::Explicit,
                });
                let changes: Vec<_> = changes.iter().map(|(kind, of)| single(*kind, *of)).collect();
                change.set_changes(changes.into());
                let _ = node.raw.propose_conf_change(Vec::new(), change);
            }
            Input::Transfer(to) => node.raw.transfer_leader(*to),
            Input::Unreachable(of) => node.raw.report_unreachable(*of),
            Input::Restart => {
                let config = Config { applied: node.applied, ..node.config.clone() };
                *node = Node::start(config, node.disk.clone(), node.conf_state.clone());
            }
            Input::Compact(less) => {
                let upto = node.applied.saturating_sub(*less);
                node.disk.wl().compact(upto).expect("it is in the log");
            }
            Input::Cut(..) | Input::Isolate(_) | Input::Heal => {}
        }
    }

    fn work(&mut self, n: u64) -> Vec<Self::Message> {
        self.node(n).work()
    }

    fn ends(message: &Self::Message) -> (u64, u64) {
        (message.from, message.to)
    }

    fn step(&mut self, message: Self::Message) {
        let _ = self.node(message.to).raw.step(message);
    }

    fn state(&mut self, n: u64) -> State {
        let node = self.node(n);
        let hard_state = node.raw.raft.hard_state();
        let (first, last) = (node.disk.first_index(), node.disk.last_index());
        let (first, last) = (first.expect("in memory"), last.expect("in memory"));
        let context = GetEntriesContext::empty(false);
        let entries = match first <= last {
            true => node.disk.entries(first, last + 1, None, context).expect("in memory"),
            false => Vec::new(),
        };
        let list = |ids: &[u64]| {
            let mut ids = ids.to_vec();
            ids.sort_unstable();
            ids
        };
        let conf = &node.conf_state;
        State {
            role: match node.raw.raft.state {
                StateRole::Follower => "follower",
                StateRole::PreCandidate => "pre-candidate",
                StateRole::Candidate => "candidate",
                StateRole::Leader => "leader",
            },
            term: hard_state.term,
            vote: hard_state.vote,
            leader: node.raw.raft.leader_id,
            commit: hard_state.commit,
            log: entries.iter().map(|entry| (entry.term, entry.index)).collect(),
            config: inputs::Config {
                voters: list(conf.get_voters()),
                learners: list(conf.get_learners()),
                outgoing: list(conf.get_voters_outgoing()),
                learners_next: list(conf.get_learners_next()),
                auto_leave: conf.auto_leave,
            },
        }
    }
}
