//! Changes of membership.

use crate::cluster::{Cluster, entries, full, log_of, message, plain};
use crate::harness::{Member, ids, storage, voters};
use raft::{
    Body, ConfChange, ConfChangeKind, ConfChangeSingle, ConfChangeTransition, ConfState, Config,
    EntryBody, EntryId, HardState, LogIndex, MemStorage, NodeId, Snapshot, SnapshotMeta, StateRole,
    Storage, Term,
};
use std::collections::BTreeMap;
use std::num::NonZeroU64;

fn add(n: u64) -> ConfChange<Vec<u8>> {
    ConfChange::v1(ConfChangeKind::AddNode, NodeId::new(n))
}

fn has(set: u64, n: u64) -> bool {
    set & (1 << n) != 0
}

/// Two members join {1, 2, 3}, one after the other. Those of `lagging` write their logs and apply
/// nothing, `away` hears nothing at all; then the laggards may restart.
fn two_members_join(lagging: u64, away: Option<u64>, restart: bool) -> Cluster {
    let members = (1..=5).map(|n| Member::new(plain(n), storage(voters(&[1, 2, 3]))));
    let mut cluster = Cluster::of(members.collect());
    cluster.elect(1);
    cluster.tick(1);
    (1..=5).filter(|n| has(lagging, *n)).for_each(|n| cluster.lag(n));
    if let Some(away) = away {
        cluster.isolate(away);
    }
    for n in [4, 5] {
        // At once, whatever the leader has applied.
        cluster.get(1).node.propose_conf_change(add(n)).expect("it leads");
        cluster.deliver();
    }
    if restart {
        (1..=5).filter(|n| has(lagging, *n)).for_each(|n| cluster.restart(n, plain(n)));
    }
    cluster.heal();
    cluster
}

/// etcd #7625, #11284: a configuration counts when it is applied, and members apply when they get
/// to it. Two changes in a row would let {2, 3}, which know of neither, and {1, 4, 5}, which know
/// both, each take themselves for a majority. So the second waits for the first, and nobody
/// campaigns who knows that there is one to apply.
///
/// All: who lags, who was away, whether the laggards have restarted, and how the group is split.
#[test]
fn etcd_7625_etcd_11284_two_changes_in_a_row_make_no_two_majorities() {
    let (mut second_refused, mut both_in_force) = (0, 0);
    for lagging in (0..32).step_by(2) {
        for away in [None, Some(2), Some(3), Some(4)] {
            for restart in [false, true] {
                for side in (0..64).step_by(4) {
                    let mut cluster = two_members_join(lagging, away, restart);
                    let config = cluster.get(1).node.status().config.to_string();
                    second_refused += usize::from(has(lagging, 1));
                    both_in_force += usize::from(config == "voters=(1 2 3 4 5)");
                    // Member 1 on one side, with some of the others; the rest on the other.
                    for (a, b) in (1..=5).flat_map(|a| (1..=5).map(move |b| (a, b))) {
                        if has(side | 2, a) != has(side | 2, b) {
                            cluster.cut(a, b);
                        }
                    }
                    for n in 1..=5 {
                        cluster.campaign(n);
                        if cluster.role(n) == StateRole::Leader {
                            let _ = cluster.get(n).node.propose(vec![n as u8]);
                            cluster.deliver();
                        }
                    }
                    let _ = cluster.get(1).node.propose(vec![9]);
                    cluster.deliver();
                    let mut known = BTreeMap::new();
                    for n in 1..=5 {
                        let commit = cluster.get(n).commit();
                        let disk = cluster.get(n).node.storage();
                        for entry in disk.iter().filter(|entry| entry.id.index.0 <= commit) {
                            let id = *known.entry(entry.id.index).or_insert(entry.id);
                            assert_eq!(
                                id, entry.id,
                                "lagging {lagging:b}, away {away:?}, {restart}, side {side:b}"
                            );
                        }
                    }
                }
            }
        }
    }
    assert!(second_refused > 100 && both_in_force > 100, "{second_refused} {both_in_force}");
}

/// openraft #1808: a change of membership that is in the log, and not committed, does not outlive
/// the snapshot that takes the log's place; neither in this life nor in the next.
#[test]
fn openraft_1808_a_snapshot_brings_its_members_and_nobody_elses() {
    let mut new = entries(1, &[1, 1]);
    new[1].body = EntryBody::ConfChange(Box::new(add(4)));
    let mut member = Member::new(plain(3), log_of(&[]));
    let append = Body::Append { prev: EntryId::default(), entries: new, commit: LogIndex(1) };
    member.node.step(message(1, 3, 1, append)).unwrap();
    member.settle();
    let meta = SnapshotMeta { id: EntryId::new(2, 9), conf_state: voters(&[2, 3, 5]) };
    let snapshot = Box::new(Snapshot { meta: meta.clone(), data: Vec::new() });
    member.node.step(message(2, 3, 2, Body::Snapshot { snapshot })).unwrap();
    assert_eq!(member.node.status().config.to_string(), "voters=(2 3 5)");
    member.settle();
    let mut disk = member.node.storage().clone();
    let stored = disk.snapshot().expect("it was stored").meta.conf_state;
    disk.set_conf_state(stored);
    let restarted = Member::new(Config { applied: LogIndex(9), ..plain(3) }, disk);
    assert_eq!(restarted.node.status().config.to_string(), "voters=(2 3 5)");
    assert_eq!(restarted.node.status().first_index, LogIndex(10));
}

/// camunda #61854: a joint configuration that is found at a restart is left by an entry of the log
/// like any other, and until that is committed by both halves it is in force.
#[test]
fn camunda_61854_a_recovered_joint_configuration_needs_both_halves_until_the_end() {
    let conf_state = ConfState {
        voters: ids(&[1, 2, 3]),
        voters_outgoing: ids(&[1, 4, 5]),
        auto_leave: true,
        ..ConfState::default()
    };
    let meta = SnapshotMeta { id: EntryId::new(1, 5), conf_state };
    let mut disk = MemStorage::at(meta);
    disk.set_hard_state(HardState { term: Term(1), vote: None, commit: LogIndex(5) });
    let member = |n| Member::new(Config { applied: LogIndex(5), ..plain(n) }, disk.clone());
    let mut cluster = Cluster::of((1..=5).map(member).collect());
    let config = |cluster: &mut Cluster| cluster.get(1).node.status().config.to_string();
    cluster.elect(1);
    // It has committed in its term, and begins to leave.
    assert_eq!(config(&mut cluster), "voters=(1 2 3)");

    let mut cluster = Cluster::of((1..=5).map(member).collect());
    cluster.isolate(2);
    cluster.isolate(3);
    cluster.campaign(1);
    assert_eq!(cluster.role(1), StateRole::Candidate, "one half is not enough");
    cluster.heal();
    cluster.elect(1);
    let mut cluster = Cluster::of((1..=5).map(member).collect());
    let _ = cluster.get(1).node.campaign();
    while cluster.role(1) != StateRole::Leader {
        let messages = cluster.collect();
        cluster.send(messages);
    }
    // The old half is silent from here.
    cluster.isolate(4);
    cluster.isolate(5);
    cluster.tick(2);
    assert_eq!(config(&mut cluster), "voters=(1 2 3)&&(1 4 5) autoleave");
    assert_eq!(cluster.get(1).commit(), 5);
    cluster.heal();
    cluster.tick(2);
    assert_eq!(config(&mut cluster), "voters=(1 2 3)");
}

/// matrixone #24966: a member that starts from a snapshot knows from which entry its configuration
/// is; older entries that are applied again do not pass for newer ones.
#[test]
fn matrixone_24966_changes_from_before_the_snapshot_are_old_after_a_restart() {
    let meta = SnapshotMeta { id: EntryId::new(2, 9), conf_state: voters(&[1, 3]) };
    let config = Config { applied: LogIndex(9), ..plain(1) };
    let mut member = Member::new(config, MemStorage::at(meta));
    for (at, change) in [(LogIndex(4), add(2)), (LogIndex(9), add(4))] {
        assert_eq!(member.node.apply_conf_change(at, &change), Ok(voters(&[1, 3])));
        assert_eq!(member.node.status().config.to_string(), "voters=(1 3)");
    }
    let newer = member.node.apply_conf_change(LogIndex(10), &add(2));
    assert_eq!(newer, Ok(voters(&[1, 2, 3])));
}

/// etcd #12582: to leave a joint configuration twice stops every replica. It is proposed once,
/// however often the leader gets to think of it, and by whomever.
#[test]
fn etcd_12582_a_joint_configuration_is_left_once() {
    // One entry is applied at a time, so the leader thinks of it with each.
    let config = |n| Config { max_committed_size_per_ready: NonZeroU64::new(1), ..full(n) };
    let mut cluster = Cluster::new(3, config);
    cluster.elect(1);
    let demote = ConfChangeSingle::new(ConfChangeKind::AddLearnerNode, NodeId::new(3));
    let update = ConfChangeSingle::new(ConfChangeKind::UpdateNode, NodeId::new(2));
    let change = ConfChange::v2(ConfChangeTransition::JointImplicit, vec![demote, update]);
    cluster.get(1).node.propose_conf_change(change).unwrap();
    for payload in ["a", "b", "c"] {
        cluster.get(1).node.propose(payload.as_bytes().to_vec()).unwrap();
    }
    // The leader has entered it and cannot commit the end.
    let messages = cluster.collect();
    cluster.send(messages);
    let answers = cluster.collect();
    cluster.send(answers);
    cluster.isolate(1);
    cluster.deliver();
    assert!(cluster.get(1).node.status().config.is_joint());
    assert_eq!(cluster.get(1).payloads(), [b"a", b"b", b"c"]);
    // Its successor thinks of it, too; whoever is heard, one end counts.
    cluster.tick(60);
    cluster.heal();
    cluster.tick(60);
    let leader = (1..=2).find(|n| cluster.role(*n) == StateRole::Leader).expect("one of two");
    cluster.propose(leader, "d");
    for n in 1..=3 {
        let member = cluster.get(n);
        assert_eq!(member.node.status().config.to_string(), "voters=(1 2) learners=(3)");
        let left = |entry: &&raft::Entry<Vec<u8>>| match &entry.body {
            EntryBody::ConfChange(change) => **change == ConfChange::AutoLeave,
            _ => false,
        };
        assert_eq!(member.applied.iter().filter(left).count(), 1);
        assert!(member.applied.iter().all(|entry| entry.body != EntryBody::Refused));
    }
    // Nor was the first leader's own log full of tries.
    assert!(cluster.get(1).node.storage().iter().all(|entry| entry.body != EntryBody::Refused));
}
