//! Random schedules over whole groups: crashes that lose what was not synced, messages that are
//! lost, doubled and late, partitions, changes of membership, transfers, reads, snapshots. After
//! each step the promises of Raft are checked, and at the end that the group still works.
//!
//! A failure names its seed; `RAFT_SEED=n cargo test -p raft random` plays that one alone.

use crate::harness::{Payload, id, voters};
use raft::{
    ConfChange, ConfChangeKind, ConfChangeSingle, ConfChangeTransition, Config, Entry, EntryBody,
    EntryId, HardState, LogIndex, MemStorage, Message, NodeId, RawNode, Ready, Snapshot, StateRole,
    Storage, StorageAppend, StorageApply, Term,
};
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;

type Raft = RawNode<Payload, MemStorage<Payload>>;

/// The order of events.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.next() % 100 < chance
    }
}

/// An apply, and the append that must be durable before it if it changes the configuration.
struct ApplyWork {
    apply: StorageApply<Payload>,
    after: u64,
}

struct Node {
    config: Config,
    raft: Raft,
    /// What a crash of the machine leaves.
    durable: MemStorage<Payload>,
    appends: VecDeque<StorageAppend<Payload>>,
    appends_done: u64,
    appends_handed: u64,
    applies: VecDeque<ApplyWork>,
    /// Index of the state machine, which a crash takes back to the newest snapshot.
    applied: LogIndex,
    seen: HardState,
}

struct Group {
    seed: u64,
    dice: Dice,
    nodes: BTreeMap<NodeId, Node>,
    net: Vec<Message<Payload>>,
    /// Members that cannot hear each other.
    cut: Vec<(NodeId, NodeId)>,
    leaders: BTreeMap<Term, NodeId>,
    votes: BTreeMap<(NodeId, Term), NodeId>,
    committed: BTreeMap<LogIndex, EntryId>,
    /// What any client may have seen.
    acknowledged: LogIndex,
    /// Reads on their way, and what they must not miss.
    reads: BTreeMap<Payload, LogIndex>,
    proposals: u64,
    reads_answered: usize,
    conf_changes: usize,
    elections: usize,
}

const MEMBERS: u64 = 5;

impl Group {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let first: Vec<u64> = (1..=[1, 2, 3, 3, 5][dice.below(5)]).collect();
        let (pre_vote, check_quorum) = (dice.percent(50), dice.percent(50));
        let small = dice.percent(30);
        let inflight = if small { 2 } else { 64 };
        let mut nodes = BTreeMap::new();
        for n in 1..=MEMBERS {
            let mut config = Config::new(id(n));
            (config.seed, config.pre_vote, config.check_quorum) = (seed, pre_vote, check_quorum);
            config.election_tick = 5;
            config.max_inflight_msgs = inflight;
            if small {
                config.max_size_per_msg = NonZeroU64::new(30);
                config.max_committed_size_per_ready = NonZeroU64::new(40);
                config.max_uncommitted_size = NonZeroU64::new(200);
            }
            let mut disk = MemStorage::new();
            if first.contains(&n) {
                let meta =
                    raft::SnapshotMeta { id: EntryId::new(1, 5), conf_state: voters(&first) };
                disk.apply_snapshot(Snapshot { meta, data: Vec::new() }).unwrap();
                config.applied = LogIndex(5);
            }
            nodes.insert(id(n), Node::start(config, disk));
        }
        Self {
            seed,
            dice,
            nodes,
            net: Vec::new(),
            cut: Vec::new(),
            leaders: BTreeMap::new(),
            votes: BTreeMap::new(),
            committed: BTreeMap::new(),
            acknowledged: LogIndex::ZERO,
            reads: BTreeMap::new(),
            proposals: 0,
            reads_answered: 0,
            conf_changes: 0,
            elections: 0,
        }
    }

    fn any(&mut self) -> NodeId {
        id(1 + self.dice.below(MEMBERS as usize) as u64)
    }

    fn step(&mut self) {
        let at = self.any();
        match self.dice.below(1000) {
            0..300 => self.deliver(),
            300..450 => self.ready(at),
            450..600 => self.append(at),
            600..700 => self.apply(at),
            700..800 => self.node(at).raft.tick(),
            800..900 => self.propose(at),
            900..925 => self.read(at),
            925..945 => self.propose_conf_change(at),
            945..955 => self.crash(at),
            955..965 => self.cut_or_heal(),
            965..980 => self.snapshot(at),
            980..985 => {
                let to = self.any();
                self.node(at).raft.transfer_leader(to);
            }
            985..990 => drop(self.node(at).raft.campaign()),
            990..993 => self.node(at).raft.forget_leader(),
            993..996 => {
                let peer = self.any();
                self.node(at).raft.report_unreachable(peer);
            }
            _ => self.lose_something(),
        }
        self.check(at);
    }

    fn node(&mut self, at: NodeId) -> &mut Node {
        self.nodes.get_mut(&at).unwrap()
    }

    fn deliver(&mut self) {
        if self.net.is_empty() {
            return;
        }
        // Mostly in order, sometimes not.
        let at = if self.dice.percent(80) { 0 } else { self.dice.below(self.net.len()) };
        let message = if self.dice.percent(3) { self.net[at].clone() } else { self.net.remove(at) };
        if self.dice.percent(2) || self.is_cut(message.from, message.to) {
            return;
        }
        let to = message.to;
        // Refusals are part of the game; a node that fails is found by `check`.
        let _ = self.node(to).raft.step(message);
        self.check(to);
    }

    fn is_cut(&self, a: NodeId, b: NodeId) -> bool {
        self.cut.contains(&(a, b))
    }

    fn cut_or_heal(&mut self) {
        if self.dice.percent(50) {
            self.cut.clear();
        } else {
            let (a, b) = (self.any(), self.any());
            self.cut.push((a, b));
            if self.dice.percent(70) {
                self.cut.push((b, a));
            }
        }
    }

    fn lose_something(&mut self) {
        if !self.net.is_empty() {
            let at = self.dice.below(self.net.len());
            self.net.remove(at);
        }
    }

    fn ready(&mut self, at: NodeId) {
        let mut ready = Ready::default();
        let node = self.nodes.get_mut(&at).unwrap();
        node.raft.ready(&mut ready).unwrap();
        if let Some(append) = ready.append.take() {
            node.appends_handed = append.ticket.number();
            node.appends.push_back(append);
        }
        if let Some(apply) = ready.apply.take() {
            node.applies.push_back(ApplyWork { apply, after: node.appends_handed });
        }
        self.net.append(&mut ready.messages);
        for read in ready.read_states {
            if let Some(acknowledged) = self.reads.remove(&read.context) {
                assert!(
                    read.index >= acknowledged,
                    "seed {}: node {at} reads at {}, {acknowledged} was acknowledged before",
                    self.seed,
                    read.index
                );
                self.reads_answered += 1;
            }
        }
    }

    fn append(&mut self, at: NodeId) {
        let node = self.nodes.get_mut(&at).unwrap();
        let Some(append) = node.appends.pop_front() else { return };
        let disk = node.raft.storage_mut();
        if let Some(hard_state) = append.hard_state {
            disk.set_hard_state(hard_state);
        }
        if let Some(snapshot) = append.snapshot {
            node.applied = snapshot.meta.id.index;
            // What was handed out before the snapshot is in it.
            disk.apply_snapshot(snapshot).unwrap();
        }
        disk.append(append.entries).unwrap();
        if append.must_sync {
            node.durable = disk.clone();
        }
        node.appends_done = append.ticket.number();
        let mut released = Vec::new();
        node.raft.on_append_done(append.ticket, &mut released).unwrap();
        for message in released {
            if matches!(message.body, raft::Body::VoteResp { reject: false, .. }) {
                // Over all lives of a node.
                let vote = *self.votes.entry((at, message.term)).or_insert(message.to);
                assert_eq!(vote, message.to, "seed {}: node {at} votes twice", self.seed);
            }
            self.net.push(message);
        }
    }

    fn apply(&mut self, at: NodeId) {
        let node = self.nodes.get_mut(&at).unwrap();
        let Some(work) = node.applies.front() else { return };
        let changes = work.apply.entries.iter().any(|entry| entry.body.is_conf_change());
        if changes && node.appends_done < work.after {
            return;
        }
        let Some(ApplyWork { apply, .. }) = node.applies.pop_front() else { return };
        for entry in &apply.entries {
            if entry.id.index <= node.applied {
                continue;
            }
            assert_eq!(entry.id.index, node.applied.next(), "seed {}: node {at} skips", self.seed);
            node.applied = entry.id.index;
            let known = *self.committed.entry(entry.id.index).or_insert(entry.id);
            assert_eq!(entry.id, known, "seed {}: node {at} applies another entry", self.seed);
            self.acknowledged = self.acknowledged.max(entry.id.index);
            if let EntryBody::ConfChange(change) = &entry.body {
                let conf_state = node.raft.apply_conf_change(entry.id.index, change).unwrap();
                node.raft.storage_mut().set_conf_state(conf_state);
                self.conf_changes += 1;
            }
        }
        node.raft.on_apply_done(apply.ticket).unwrap();
    }

    fn propose(&mut self, at: NodeId) {
        self.proposals += 1;
        let payload = self.proposals.to_be_bytes().to_vec();
        let _ = self.node(at).raft.propose(payload);
    }

    fn read(&mut self, at: NodeId) {
        self.proposals += 1;
        let context = self.proposals.to_be_bytes().to_vec();
        let acknowledged = self.acknowledged;
        if self.node(at).raft.read_index(context.clone()).is_ok() {
            self.reads.insert(context, acknowledged);
        }
    }

    fn propose_conf_change(&mut self, at: NodeId) {
        let kinds = [
            ConfChangeKind::AddNode,
            ConfChangeKind::AddNode,
            ConfChangeKind::AddLearnerNode,
            ConfChangeKind::RemoveNode,
        ];
        let mut changes = Vec::new();
        for _ in 0..self.dice.below(4) {
            let kind = kinds[self.dice.below(kinds.len())];
            changes.push(ConfChangeSingle::new(kind, Some(self.any())));
        }
        let transition = match self.dice.below(4) {
            0 => ConfChangeTransition::JointExplicit,
            1 => ConfChangeTransition::JointImplicit,
            _ => ConfChangeTransition::Auto,
        };
        let _ = self.node(at).raft.propose_conf_change(ConfChange::v2(transition, changes));
    }

    fn snapshot(&mut self, at: NodeId) {
        let node = self.nodes.get_mut(&at).unwrap();
        // Only of a state that the node has reported, with the configuration of that state.
        let index = node.raft.status().applied;
        if node.applied != index || index == LogIndex::ZERO {
            return;
        }
        let conf_state = node.raft.storage().conf_state().clone();
        for disk in [node.raft.storage_mut(), &mut node.durable] {
            if disk.last_index() >= index
                && disk.create_snapshot(index, conf_state.clone(), Vec::new()).is_ok()
            {
                let keep = LogIndex(index.0.saturating_sub(3));
                let _ = disk.compact(keep);
            }
        }
    }

    fn crash(&mut self, at: NodeId) {
        let process_only = self.dice.percent(50);
        let node = self.nodes.get_mut(&at).unwrap();
        let mut disk =
            if process_only { node.raft.storage().clone() } else { node.durable.clone() };
        let mut config = node.config.clone();
        if let Ok(snapshot) = disk.snapshot() {
            config.applied = snapshot.meta.id.index;
            disk.set_conf_state(snapshot.meta.conf_state);
        }
        config.seed = self.dice.next();
        *node = Node::start(config, disk);
    }

    /// What must hold at every moment.
    fn check(&mut self, at: NodeId) {
        let seed = self.seed;
        let node = self.nodes.get_mut(&at).unwrap();
        let status = node.raft.status();
        assert_eq!(status.fatal, None, "seed {seed}: node {at} has failed");
        let (now, before) = (status.hard_state, node.seen);
        assert!(now.term >= before.term && now.commit >= before.commit, "seed {seed}: {at}");
        if now.term == before.term && before.vote.is_some() {
            assert_eq!(now.vote, before.vote, "seed {seed}: node {at} votes twice");
        }
        assert!(status.applied <= status.applying && status.applying <= now.commit);
        assert!(now.commit <= status.last_index);
        if status.soft_state.role == StateRole::Leader {
            let known = *self.leaders.entry(now.term).or_insert_with(|| {
                self.elections += 1;
                at
            });
            assert_eq!(known, at, "seed {seed}: two leaders in term {}", now.term);
            for (peer, progress) in status.progress {
                assert!(progress.matched() < progress.next(), "seed {seed}: {peer} {progress}");
                assert!(progress.inflight_messages() > 0 || progress.inflight_bytes() == 0);
            }
        }
        node.seen = now;
    }

    /// The network is whole again: the group must find a leader, agree, and go on.
    fn heal(&mut self) {
        self.cut.clear();
        for round in 0..2000 {
            let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
            for at in ids {
                self.node(at).raft.tick();
                for _ in 0..20 {
                    self.ready(at);
                    self.append(at);
                    self.apply(at);
                    self.check(at);
                }
                // Lost snapshots are reported by the driver, in time.
                let waiting: Vec<NodeId> = (self.node(at).raft.status().progress.iter())
                    .filter(|(_, progress)| progress.pending_snapshot().is_some())
                    .map(|(peer, _)| *peer)
                    .collect();
                if !waiting.is_empty() {
                    // An old one may not know of a new member yet.
                    self.snapshot(at);
                }
                for peer in waiting {
                    if round % 5 == 0 {
                        let status = raft::SnapshotStatus::Failure;
                        self.node(at).raft.report_snapshot(peer, status);
                    }
                }
            }
            for message in std::mem::take(&mut self.net) {
                let to = message.to;
                let _ = self.node(to).raft.step(message);
                self.check(to);
            }
            if round > 50 && self.agrees() {
                return;
            }
            if round % 10 == 9
                && let Some(leader) = self.leader()
            {
                if self.node(leader).raft.status().config.is_joint() {
                    let _ = self.node(leader).raft.propose_conf_change(ConfChange::leave_joint());
                }
                let leader = self.leader().unwrap();
                self.propose(leader);
            }
        }
        let states: Vec<String> = (self.nodes.values())
            .map(|node| {
                let status = node.raft.status();
                format!(
                    "{} {} {} {} last {} applied {}\n   {:?}",
                    status.id,
                    status.soft_state,
                    status.hard_state,
                    status.config,
                    status.last_index,
                    node.applied,
                    status.progress.iter().map(|(i, p)| format!("{i}: {p}")).collect::<Vec<_>>()
                )
            })
            .collect();
        panic!("seed {}: the group does not recover:\n{}", self.seed, states.join("\n"));
    }

    /// The leader of the newest term.
    fn leader(&self) -> Option<NodeId> {
        let leads = |node: &&Node| node.raft.status().soft_state.role == StateRole::Leader;
        let newest =
            self.nodes.values().filter(leads).max_by_key(|n| n.raft.status().hard_state.term);
        newest.map(|node| node.raft.status().id)
    }

    /// Whether all members of the leader's configuration have applied the same, up to an entry of
    /// the leader's own term, and nothing is joint.
    fn agrees(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let leader = &self.nodes[&leader];
        let status = leader.raft.status();
        !status.config.is_joint()
            && leader.applied == status.last_index
            && self.committed.get(&leader.applied).is_some_and(|e| e.term == status.hard_state.term)
            && status.progress.iter().all(|(id, _)| self.nodes[id].applied == leader.applied)
    }
}

impl Node {
    fn start(config: Config, disk: MemStorage<Payload>) -> Self {
        let raft = RawNode::new(config.clone(), disk.clone()).unwrap();
        Self {
            applied: raft.status().applied,
            seen: raft.status().hard_state,
            config,
            raft,
            durable: disk,
            appends: VecDeque::new(),
            appends_done: 0,
            appends_handed: 0,
            applies: VecDeque::new(),
        }
    }
}

/// All entries that two nodes have both applied are the same.
fn logs_match(group: &Group) {
    let entries = |node: &Node| -> Vec<Entry<Payload>> {
        // Up to where the state machine is; later ones may wait to be replaced on disk.
        let stored = node.raft.storage().iter();
        stored.filter(|entry| entry.id.index <= node.applied).cloned().collect()
    };
    for node in group.nodes.values() {
        for entry in entries(node) {
            if let Some(known) = group.committed.get(&entry.id.index) {
                assert_eq!(*known, entry.id, "seed {}: logs differ", group.seed);
            }
        }
    }
}

/// Says which seed it was, whatever panics.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with RAFT_SEED={}", self.0);
        }
    }
}

fn play(seed: u64, steps: usize) -> Group {
    let _named = Named(seed);
    let mut group = Group::new(seed);
    for _ in 0..steps {
        group.step();
    }
    logs_match(&group);
    group.heal();
    logs_match(&group);
    group
}

#[test]
fn random_schedules_keep_every_promise() {
    if let Ok(seed) = std::env::var("RAFT_SEED") {
        play(seed.parse().unwrap(), 4000);
        return;
    }
    let seeds = std::env::var("RAFT_SEEDS").map_or(60, |seeds| seeds.parse().unwrap());
    let (mut elections, mut reads, mut changes) = (0, 0, 0);
    for seed in 0..seeds {
        let group = play(seed, 4000);
        elections += group.elections;
        reads += group.reads_answered;
        changes += group.conf_changes;
    }
    // The schedules must reach what they are meant to test.
    assert!(elections > 60 && reads > 60 && changes > 60, "{elections} {reads} {changes}");
}
