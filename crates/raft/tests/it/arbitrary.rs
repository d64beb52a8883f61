//! Whatever a peer sends, a node answers, ignores, or fails; it does not panic, and it keeps its
//! own promises.

use crate::cluster::plain;
use crate::harness::{Payload, id, ids, storage, voters};
use proptest::collection::vec;
use proptest::prelude::*;
use raft::{
    Body, ConfChange, ConfChangeKind, ConfChangeSingle, ConfChangeTransition, ConfState, Config,
    Entry, EntryBody, EntryId, LogIndex, MemStorage, Message, NodeId, RawNode, Ready, Snapshot,
    SnapshotMeta, StateRole, Term,
};

/// Small numbers, which meet what is there, and the ends of the range, which overflow.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0u64..8, 1 => Just(u64::MAX), 1 => u64::MAX - 2..u64::MAX]
}

fn entry_id() -> impl Strategy<Value = EntryId> {
    (number(), number()).prop_map(|(term, index)| EntryId::new(term, index))
}

fn change() -> impl Strategy<Value = ConfChange<Payload>> {
    let kind = prop_oneof![
        Just(ConfChangeKind::AddNode),
        Just(ConfChangeKind::RemoveNode),
        Just(ConfChangeKind::UpdateNode),
        Just(ConfChangeKind::AddLearnerNode),
    ];
    let single =
        (kind, 0u64..5).prop_map(|(kind, node)| ConfChangeSingle::new(kind, NodeId::new(node)));
    let transition = prop_oneof![
        Just(ConfChangeTransition::Auto),
        Just(ConfChangeTransition::JointImplicit),
        Just(ConfChangeTransition::JointExplicit),
    ];
    prop_oneof![
        Just(ConfChange::AutoLeave),
        (transition, vec(single, 0..4))
            .prop_map(|(transition, changes)| ConfChange::v2(transition, changes)),
    ]
}

fn entry_body() -> impl Strategy<Value = EntryBody<Payload>> {
    prop_oneof![
        Just(EntryBody::Empty),
        Just(EntryBody::Refused),
        vec(any::<u8>(), 0..4).prop_map(EntryBody::Normal),
        change().prop_map(|change| EntryBody::ConfChange(Box::new(change))),
    ]
}

/// Consecutive entries after `prev`, as a rule.
fn append() -> impl Strategy<Value = Body<Payload>> {
    (entry_id(), vec((0u64..3, entry_body()), 0..4), number(), any::<bool>()).prop_map(
        |(prev, bodies, commit, broken)| {
            let mut last = prev;
            let mut entries = Vec::new();
            for (more, body) in bodies {
                let term = Term(last.term.0.saturating_add(more));
                last = EntryId { term, index: LogIndex(last.index.0.saturating_add(1)) };
                entries.push(Entry { id: last, body });
            }
            if broken {
                entries.reverse();
            }
            Body::Append { prev, entries, commit: LogIndex(commit) }
        },
    )
}

fn snapshot() -> impl Strategy<Value = Body<Payload>> {
    let set = || vec(1u64..5, 0..4).prop_map(|set| ids(&set));
    (entry_id(), set(), set(), set(), any::<bool>()).prop_map(
        |(id, voters, learners, voters_outgoing, auto_leave)| {
            let learners_next = Vec::new();
            let conf_state =
                ConfState { voters, learners, voters_outgoing, learners_next, auto_leave };
            let meta = SnapshotMeta { id, conf_state };
            Body::Snapshot { snapshot: Box::new(Snapshot { meta, data: Vec::new() }) }
        },
    )
}

fn body() -> impl Strategy<Value = Body<Payload>> {
    let refusal = || (any::<bool>(), proptest::option::of(entry_id()));
    let context = || vec(any::<u8>(), 0..3);
    prop_oneof![
        4 => append(),
        1 => snapshot(),
        1 => vec(entry_body(), 0..3).prop_map(|entries| Body::Propose { entries }),
        3 => (number(), proptest::option::of(entry_id()))
            .prop_map(|(index, reject)| Body::AppendResp { index: LogIndex(index), reject }),
        2 => (entry_id(), any::<bool>())
            .prop_map(|(last, transfer)| Body::Vote { last, transfer }),
        2 => refusal()
            .prop_map(|(reject, committed)| Body::VoteResp { reject, committed }),
        1 => entry_id().prop_map(|last| Body::PreVote { last }),
        1 => refusal().prop_map(|(reject, committed)| Body::PreVoteResp { reject, committed }),
        2 => (number(), proptest::option::of(number()))
            .prop_map(|(commit, context)| Body::Heartbeat { commit: LogIndex(commit), context }),
        2 => proptest::option::of(number()).prop_map(|context| Body::HeartbeatResp { context }),
        1 => Just(Body::TransferLeader),
        1 => Just(Body::TimeoutNow),
        1 => context().prop_map(|context| Body::ReadIndex { context }),
        1 => (number(), context())
            .prop_map(|(index, context)| Body::ReadIndexResp { index: LogIndex(index), context }),
    ]
}

/// What happens to the node.
#[derive(Clone, Debug)]
enum Event {
    Message(u64, u64, Body<Payload>),
    Ticks(u8),
    Campaign,
    Propose(EntryBody<Payload>),
    Work,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (1u64..5, number(), body())
            .prop_map(|(from, term, body)| Event::Message(from, term, body)),
        1 => (1u8..25).prop_map(Event::Ticks),
        1 => Just(Event::Campaign),
        1 => entry_body().prop_map(Event::Propose),
        4 => Just(Event::Work),
    ]
}

struct Subject {
    node: RawNode<Payload, MemStorage<Payload>>,
    appends: Vec<raft::StorageAppend<Payload>>,
}

impl Subject {
    /// Does one round of what the node asks for; false if it has failed.
    fn work(&mut self, all: bool) -> bool {
        let mut ready = Ready::default();
        if self.node.ready(&mut ready).is_err() {
            return false;
        }
        self.appends.extend(ready.append);
        // Sometimes an append is under way for a while.
        if all || self.appends.len() > 1 {
            for append in std::mem::take(&mut self.appends) {
                let disk = self.node.storage_mut();
                if let Some(hard_state) = append.hard_state {
                    disk.set_hard_state(hard_state);
                }
                if let Some(snapshot) = append.snapshot {
                    let _ = disk.apply_snapshot(snapshot);
                }
                disk.append(append.entries).expect("no holes");
                self.node.on_append_done(append.ticket, &mut Vec::new()).expect("in order");
            }
        }
        if let Some(apply) = ready.apply {
            for entry in &apply.entries {
                if let EntryBody::ConfChange(change) = &entry.body {
                    // What peers put into the log may be impossible here.
                    let _ = self.node.apply_conf_change(entry.id.index, change);
                }
            }
            self.node.on_apply_done(apply.ticket).expect("in order");
        }
        true
    }

    fn play(&mut self, event: Event) {
        match event {
            Event::Message(from, term, body) => {
                let message = Message { from: id(from), to: id(1), term: Term(term), body };
                let _ = self.node.step(message);
            }
            Event::Ticks(ticks) => (0..ticks).for_each(|_| self.node.tick()),
            Event::Campaign => drop(self.node.campaign()),
            Event::Propose(EntryBody::ConfChange(change)) => {
                drop(self.node.propose_conf_change(*change));
            }
            Event::Propose(EntryBody::Normal(payload)) => drop(self.node.propose(payload)),
            Event::Propose(_) => drop(self.node.read_index(Vec::new())),
            Event::Work => drop(self.work(false)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_message_makes_a_node_panic_or_break_its_word(
        events in vec(event(), 1..60),
        full in any::<bool>(),
        members in prop_oneof![Just(vec![1u64]), Just(vec![1, 2]), Just(vec![1, 2, 3])],
    ) {
        let config = if full { Config::new(id(1)) } else { plain(1) };
        let node = RawNode::new(config, storage(voters(&members))).expect("valid");
        let mut subject = Subject { node, appends: Vec::new() };
        for event in events {
            let before = subject.node.status().hard_state;
            subject.play(event);
            let status = subject.node.status();
            let now = status.hard_state;
            prop_assert!(now.term >= before.term && now.commit >= before.commit);
            if now.term == before.term && before.vote.is_some() {
                prop_assert_eq!(now.vote, before.vote);
            }
            prop_assert!(status.applied <= status.applying && status.applying <= now.commit);
            prop_assert!(now.commit <= status.last_index);
            if status.soft_state.role == StateRole::Leader {
                for (_, progress) in status.progress {
                    prop_assert!(progress.matched() < progress.next());
                }
            }
        }
        while subject.node.has_ready() && subject.work(true) {}
    }
}
