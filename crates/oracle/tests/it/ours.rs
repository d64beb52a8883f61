//! Our side.

use crate::inputs::{self, Input, Kind, Transition};
use crate::{Group, State, election_tick};
use raft::{
    ConfChange, ConfChangeKind, ConfChangeSingle, ConfChangeTransition, ConfState, Config, Entry,
    EntryBody, EntryId, HardState, LogIndex, MemStorage, Message, NodeId, RawNode, Ready, Snapshot,
    SnapshotMeta, StateRole, Storage, StorageError, Term,
};
use std::ops::Range;

type Payload = Vec<u8>;

/// A log whose snapshot is always of what is committed: theirs makes such.
#[derive(Clone)]
struct Disk(MemStorage<Payload>);

impl Storage<Payload> for Disk {
    fn initial_state(&self) -> Result<(HardState, ConfState), StorageError> {
        self.0.initial_state()
    }

    fn entries(
        &self,
        range: Range<LogIndex>,
        max_bytes: u64,
        into: &mut Vec<Entry<Payload>>,
    ) -> Result<(), StorageError> {
        self.0.entries(range, max_bytes, into)
    }

    fn term(&self, index: LogIndex) -> Result<Term, StorageError> {
        self.0.term(index)
    }

    fn first_index(&self) -> LogIndex {
        self.0.first_index()
    }

    fn last_index(&self) -> LogIndex {
        self.0.last_index()
    }

    fn snapshot(&self) -> Result<Snapshot<Payload>, StorageError> {
        let index = self.0.hard_state().commit;
        let id = EntryId { term: self.0.term(index)?, index };
        let meta = SnapshotMeta { id, conf_state: self.0.conf_state().clone() };
        Ok(Snapshot { meta, data: Vec::new() })
    }
}

pub(crate) struct Ours {
    nodes: Vec<(Config, RawNode<Payload, Disk>)>,
    snapshots: usize,
}

fn id(n: u64) -> NodeId {
    NodeId::new(n).expect("members are counted from one")
}

impl Ours {
    fn node(&mut self, n: u64) -> &mut RawNode<Payload, Disk> {
        &mut self.nodes[n as usize - 1].1
    }

    pub(crate) fn snapshots_installed(&self) -> usize {
        self.snapshots
    }

    pub(crate) fn is_handing_over(&self, n: u64) -> bool {
        self.nodes[n as usize - 1].1.status().transferee.is_some()
    }

    fn apply(&mut self, n: u64, entries: &[Entry<Payload>]) {
        let node = self.node(n);
        for entry in entries {
            if let EntryBody::ConfChange(change) = &entry.body {
                let conf_state =
                    node.apply_conf_change(entry.id.index, change).expect("a possible change");
                node.storage_mut().0.set_conf_state(conf_state);
            }
        }
    }

    fn restart(&mut self, n: u64) {
        let (config, node) = &mut self.nodes[n as usize - 1];
        let config = Config { applied: node.status().applied, ..config.clone() };
        *node = RawNode::new(config, node.storage().clone()).expect("it ran before");
    }
}

impl Group for Ours {
    type Message = Message<Payload>;

    fn new(size: u64, voters: &[u64], full: bool) -> Self {
        let node = |n| {
            let config = Config {
                election_tick: election_tick(n),
                election_jitter: Some(0),
                max_inflight_msgs: 256,
                pre_vote: full,
                check_quorum: full,
                step_down_on_removal: false,
                ..Config::new(id(n))
            };
            let mut disk = MemStorage::new();
            let voters = voters.iter().copied().map(id).collect();
            disk.set_conf_state(ConfState { voters, ..ConfState::default() });
            let node = RawNode::new(config.clone(), Disk(disk)).expect("a valid configuration");
            (config, node)
        };
        Self { nodes: (1..=size).map(node).collect(), snapshots: 0 }
    }

    fn give(&mut self, n: u64, input: &Input) {
        let single = |(kind, of): &(Kind, u64)| {
            let kind = match kind {
                Kind::Add => ConfChangeKind::AddNode,
                Kind::AddLearner => ConfChangeKind::AddLearnerNode,
                Kind::Remove => ConfChangeKind::RemoveNode,
            };
            ConfChangeSingle::new(kind, NodeId::new(*of))
        };
        match input {
            Input::Tick => self.node(n).tick(),
            Input::Campaign => drop(self.node(n).campaign()),
            Input::Propose(what) => drop(self.node(n).propose(what.to_be_bytes().to_vec())),
            Input::ChangeV1(kind, of) => {
                let single = single(&(*kind, *of));
                let _ = self.node(n).propose_conf_change(ConfChange::v1(single.kind, single.node));
            }
            Input::ChangeV2(transition, changes) => {
                let transition = match transition {
                    Transition::Auto => ConfChangeTransition::Auto,
                    Transition::Implicit => ConfChangeTransition::JointImplicit,
                    Transition::Explicit => ConfChangeTransition::JointExplicit,
                };
                let change = ConfChange::v2(transition, changes.iter().map(single).collect());
                let _ = self.node(n).propose_conf_change(change);
            }
            Input::Transfer(to) => self.node(n).transfer_leader(id(*to)),
            Input::Unreachable(of) => self.node(n).report_unreachable(id(*of)),
            Input::Restart => self.restart(n),
            Input::Compact(less) => {
                let upto = LogIndex(self.node(n).status().applied.0.saturating_sub(*less));
                let disk = &mut self.node(n).storage_mut().0;
                if upto >= disk.first_index() {
                    disk.compact(upto).expect("it is in the log");
                }
            }
            Input::Cut(..) | Input::Isolate(_) | Input::Heal => {}
        }
    }

    fn work(&mut self, n: u64) -> Vec<Self::Message> {
        let mut messages = Vec::new();
        let mut ready = Ready::default();
        while self.node(n).has_ready() {
            self.node(n).ready(&mut ready).expect("it has not failed");
            messages.append(&mut ready.messages);
            if let Some(append) = ready.append.take() {
                self.snapshots += usize::from(append.snapshot.is_some());
                let node = self.node(n);
                let disk = &mut node.storage_mut().0;
                if let Some(hard_state) = append.hard_state {
                    disk.set_hard_state(hard_state);
                }
                if let Some(snapshot) = append.snapshot {
                    disk.apply_snapshot(snapshot).expect("a newer one");
                }
                disk.append(append.entries).expect("no holes");
                node.on_append_done(append.ticket, &mut messages).expect("in order");
            }
            if let Some(apply) = ready.apply.take() {
                self.apply(n, &apply.entries);
                self.node(n).on_apply_done(apply.ticket).expect("in order");
            }
        }
        messages
    }

    fn ends(message: &Self::Message) -> (u64, u64) {
        (message.from.get(), message.to.get())
    }

    fn step(&mut self, message: Self::Message) {
        let _ = self.node(message.to.get()).step(message);
    }

    fn state(&mut self, n: u64) -> State {
        let node = self.node(n);
        let status = node.status();
        let ConfState { voters, learners, voters_outgoing, learners_next, auto_leave } =
            status.config.conf_state();
        let list = |ids: Vec<NodeId>| ids.into_iter().map(NodeId::get).collect();
        State {
            role: match status.soft_state.role {
                StateRole::Follower => "follower",
                StateRole::PreCandidate => "pre-candidate",
                StateRole::Candidate => "candidate",
                StateRole::Leader => "leader",
            },
            term: status.hard_state.term.0,
            vote: status.hard_state.vote.map_or(0, NodeId::get),
            leader: status.soft_state.leader.map_or(0, NodeId::get),
            commit: status.hard_state.commit.0,
            log: node.storage().0.iter().map(|entry| (entry.id.term.0, entry.id.index.0)).collect(),
            config: inputs::Config {
                voters: list(voters),
                learners: list(learners),
                outgoing: list(voters_outgoing),
                learners_next: list(learners_next),
                auto_leave,
            },
        }
    }
}
