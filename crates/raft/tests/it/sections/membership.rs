//! Thesis 4: changes of membership; 4.2.1 learners.

use crate::cluster::{Cluster, full, plain};
use crate::harness::{Member, id, ids, storage, voters};
use raft::{
    ConfChange, ConfChangeKind, ConfChangeSingle, ConfChangeTransition, ConfState, Config,
    DropReason, EntryBody, LogIndex, NodeId, StateRole, StepError,
};

fn change(kind: ConfChangeKind, n: u64) -> ConfChange<Vec<u8>> {
    ConfChange::v1(kind, NodeId::new(n))
}

fn joint(
    transition: ConfChangeTransition,
    changes: &[(ConfChangeKind, u64)],
) -> ConfChange<Vec<u8>> {
    let single = |(kind, n): &(ConfChangeKind, u64)| ConfChangeSingle::new(*kind, Some(id(*n)));
    ConfChange::v2(transition, changes.iter().map(single).collect())
}

fn propose(cluster: &mut Cluster, n: u64, change: ConfChange<Vec<u8>>) {
    cluster.get(n).node.propose_conf_change(change).unwrap();
    cluster.deliver();
}

fn config(cluster: &mut Cluster, n: u64) -> String {
    cluster.get(n).node.status().config.to_string()
}

/// A group of the first members, and others that know nothing yet. All have the same empty log, so
/// that newcomers need no snapshot.
fn group(first: &[u64], all: u64, settings: impl Fn(u64) -> Config) -> Cluster {
    let member = |n| Member::new(settings(n), storage(voters(first)));
    Cluster::of((1..=all).map(member).collect())
}

/// Thesis 4.1: one at a time.
#[test]
fn a_second_change_is_refused_until_the_first_is_applied() {
    let mut cluster = group(&[1, 2, 3], 5, plain);
    cluster.elect(1);
    let node = &mut cluster.get(1).node;
    node.propose_conf_change(change(ConfChangeKind::AddNode, 4)).unwrap();
    node.propose_conf_change(change(ConfChangeKind::AddNode, 5)).unwrap();
    cluster.deliver();
    let applied = &cluster.get(1).applied;
    assert!(applied[1].body.is_conf_change());
    assert_eq!(applied[2].body, EntryBody::Refused);
    assert_eq!(config(&mut cluster, 1), "voters=(1 2 3 4)");
    propose(&mut cluster, 1, change(ConfChangeKind::AddNode, 5));
    assert_eq!(config(&mut cluster, 5), "voters=(1 2 3 4 5)");
}

/// A new leader does not know whether there is a change in what it has inherited: it waits until
/// that is applied.
#[test]
fn a_new_leader_takes_no_change_before_its_first_commit() {
    let mut cluster = group(&[1, 2, 3], 4, plain);
    cluster.elect(1);
    cluster.isolate(1);
    cluster.get(2).node.campaign().unwrap();
    for _ in 0..2 {
        let messages = cluster.collect();
        cluster.send(messages);
    }
    assert_eq!(cluster.role(2), StateRole::Leader);
    // The entry of its term is not committed, but all before it is applied.
    propose(&mut cluster, 2, change(ConfChangeKind::AddNode, 4));
    assert_eq!(config(&mut cluster, 2), "voters=(1 2 3 4)");
}

/// Thesis 4.2.1: a learner gets everything and decides nothing.
#[test]
fn a_learner_follows_and_does_not_count() {
    let conf = ConfState { voters: ids(&[1, 2]), learners: ids(&[3]), ..ConfState::default() };
    let mut cluster = Cluster::with_conf(3, conf, plain);
    cluster.elect(1);
    cluster.propose(1, "a");
    assert_eq!(cluster.get(3).payloads(), [b"a"]);
    cluster.isolate(2);
    cluster.propose(1, "b");
    assert_eq!(cluster.commits(), [2, 2, 2], "the learner is no majority");
    // Nor does it campaign, however long the silence.
    cluster.isolate(3);
    for _ in 0..100 {
        cluster.get(3).node.tick();
    }
    assert_eq!((cluster.role(3), cluster.get(3).term()), (StateRole::Follower, 1));
    assert!(cluster.get(3).node.campaign().is_err());
}

/// A learner that is asked votes: it may be a voter already and not know it (a promotion that was
/// committed without it).
#[test]
fn a_learner_that_is_asked_votes() {
    let mut cluster = group(&[1], 3, plain);
    cluster.elect(1);
    propose(&mut cluster, 1, change(ConfChangeKind::AddNode, 2));
    propose(&mut cluster, 1, change(ConfChangeKind::AddLearnerNode, 3));
    cluster.isolate(3);
    propose(&mut cluster, 1, change(ConfChangeKind::AddNode, 3));
    assert_eq!(config(&mut cluster, 2), "voters=(1 2 3)");
    assert_eq!(config(&mut cluster, 3), "voters=(1 2) learners=(3)");
    cluster.heal();
    cluster.isolate(1);
    cluster.elect(2);
    assert_eq!(config(&mut cluster, 3), "voters=(1 2 3)");
}

/// Thesis 4.3: in a joint configuration both halves must agree.
#[test]
fn a_joint_configuration_commits_with_both_halves_only() {
    use ConfChangeKind::{AddNode, RemoveNode};
    let mut cluster = group(&[1, 2, 3], 5, plain);
    cluster.elect(1);
    let replace = [(RemoveNode, 2), (RemoveNode, 3), (AddNode, 4), (AddNode, 5)];
    propose(&mut cluster, 1, joint(ConfChangeTransition::JointExplicit, &replace));
    assert_eq!(config(&mut cluster, 1), "voters=(1 4 5)&&(1 2 3)");
    for (cut_off, committed) in [([2, 3], false), ([4, 5], false), ([2, 4], true)] {
        let before = cluster.get(1).commit();
        for n in cut_off {
            cluster.isolate(n);
        }
        cluster.propose(1, "a");
        assert_eq!(cluster.get(1).commit() > before, committed, "without {cut_off:?}");
        cluster.heal();
        cluster.tick(2);
    }
    propose(&mut cluster, 1, ConfChange::leave_joint());
    cluster.tick(1);
    assert_eq!(config(&mut cluster, 5), "voters=(1 4 5)");
    for n in [2, 3] {
        cluster.isolate(n);
    }
    cluster.propose(1, "b");
    assert_eq!(cluster.get(4).payloads().last(), Some(&b"b".as_slice()));
}

/// With an automatic transition the leader leaves the joint configuration by itself.
#[test]
fn an_automatic_joint_configuration_ends_by_itself() {
    use ConfChangeKind::{AddLearnerNode, AddNode};
    let mut cluster = group(&[1, 2, 3], 5, full);
    cluster.elect(1);
    let changes = [(AddNode, 4), (AddNode, 5), (AddLearnerNode, 3)];
    propose(&mut cluster, 1, joint(ConfChangeTransition::Auto, &changes));
    cluster.tick(1);
    for n in 1..=5 {
        assert_eq!(config(&mut cluster, n), "voters=(1 2 4 5) learners=(3)", "at {n}");
    }
}

/// etcd #12136: the leader that was to end it is gone; its successor does.
#[test]
fn etcd_12136_the_next_leader_ends_a_joint_configuration_that_was_left_open() {
    use ConfChangeKind::{AddNode, RemoveNode};
    let mut cluster = group(&[1, 2, 3], 4, full);
    cluster.elect(1);
    let changes = [(AddNode, 4), (RemoveNode, 3)];
    let change = joint(ConfChangeTransition::JointImplicit, &changes);
    cluster.get(1).node.propose_conf_change(change).unwrap();
    // Until the leader has applied it; what it then proposes is lost with it.
    while !cluster.get(1).node.status().config.is_joint() {
        let messages = cluster.collect();
        cluster.send(messages);
        cluster.get(1).settle();
    }
    cluster.get(1).outbox.clear();
    cluster.isolate(1);
    cluster.tick(60);
    let leader = (2..=4).find(|n| cluster.role(*n) == StateRole::Leader).expect("a successor");
    assert_eq!(config(&mut cluster, leader), "voters=(1 2 4)");
}

/// etcd #14538: while the lead is being handed over nothing can be proposed, the end of a joint
/// configuration neither; it is when the transfer is given up.
#[test]
fn etcd_14538_a_transfer_delays_the_end_of_a_joint_configuration() {
    let mut cluster = group(&[1, 2], 3, full);
    cluster.elect(1);
    let add = [(ConfChangeKind::AddNode, 3)];
    let change = joint(ConfChangeTransition::JointImplicit, &add);
    cluster.get(1).node.propose_conf_change(change).unwrap();
    let messages = cluster.collect();
    cluster.send(messages);
    cluster.get(1).node.transfer_leader(id(2));
    cluster.cut(1, 2);
    let messages = cluster.collect();
    cluster.send(messages);
    cluster.deliver();
    assert_eq!(config(&mut cluster, 1), "voters=(1 2 3)&&(1 2) autoleave");
    cluster.heal();
    cluster.tick(12);
    cluster.propose(1, "a");
    cluster.tick(2);
    assert_eq!(config(&mut cluster, 1), "voters=(1 2 3)");
}

/// Thesis 4.2.2: a leader that removes itself leads until the change is applied, without counting
/// itself from then on, and steps down.
#[test]
fn a_leader_that_is_removed_or_demoted_steps_down() {
    for kind in [ConfChangeKind::RemoveNode, ConfChangeKind::AddLearnerNode] {
        let mut cluster = group(&[1, 2, 3], 3, full);
        cluster.elect(1);
        propose(&mut cluster, 1, change(kind, 1));
        assert_eq!(cluster.role(1), StateRole::Follower, "{kind}");
        let dropped = Err(StepError::Dropped(DropReason::NoLeader));
        assert_eq!(cluster.get(1).node.propose(b"a".to_vec()), dropped);
        assert!(cluster.get(1).node.campaign().is_err());
        cluster.tick(60);
        let leader = [2, 3].into_iter().find(|n| cluster.role(*n) == StateRole::Leader);
        cluster.propose(leader.expect("a successor"), "a");
        assert_eq!(cluster.get(2).payloads(), [b"a"]);
    }
}

/// With the old behaviour a removed leader goes on for the others, and takes nothing itself.
#[test]
fn a_removed_leader_that_stays_takes_no_proposals() {
    let stay = |n| Config { step_down_on_removal: false, ..plain(n) };
    let mut cluster = group(&[1, 2, 3], 3, stay);
    cluster.elect(1);
    propose(&mut cluster, 1, change(ConfChangeKind::RemoveNode, 1));
    assert_eq!(cluster.role(1), StateRole::Leader);
    let dropped = Err(StepError::Dropped(DropReason::Removed));
    assert_eq!(cluster.get(1).node.propose(b"a".to_vec()), dropped);
}

/// When a group shrinks, what waits may be committed by fewer.
#[test]
fn removing_a_silent_member_commits_what_it_held_back() {
    let mut cluster = group(&[1, 2, 3, 4], 4, plain);
    cluster.elect(1);
    cluster.isolate(4);
    propose(&mut cluster, 1, change(ConfChangeKind::RemoveNode, 4));
    cluster.isolate(3);
    cluster.propose(1, "a");
    assert_eq!(cluster.get(2).payloads(), [b"a"]);
}

/// A transfer to a member that is removed meanwhile is given up.
#[test]
fn removing_the_target_ends_the_transfer() {
    let mut cluster = group(&[1, 2, 3], 3, full);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.get(1).node.propose_conf_change(change(ConfChangeKind::RemoveNode, 3)).unwrap();
    let messages = cluster.collect();
    cluster.get(1).node.transfer_leader(id(3));
    assert!(cluster.get(1).node.status().transferee.is_some());
    cluster.send(messages);
    cluster.deliver();
    assert_eq!(cluster.get(1).node.status().transferee, None);
    cluster.propose(1, "a");
}

/// A V1 and a V2 change with context: the application finds it again.
#[test]
fn the_context_of_a_change_comes_back_when_it_is_applied() {
    let mut cluster = group(&[1], 2, full);
    cluster.elect(1);
    let single = ConfChangeSingle::new(ConfChangeKind::AddNode, Some(id(2)));
    let context = Some(b"url".to_vec());
    let v1 = ConfChange::V1 { id: 77, change: single, context: context.clone() };
    let update = ConfChangeSingle::new(ConfChangeKind::UpdateNode, Some(id(2)));
    let transition = ConfChangeTransition::Auto;
    let v2 = ConfChange::V2 { transition, changes: vec![update], context };
    propose(&mut cluster, 1, v1.clone());
    cluster.tick(2);
    propose(&mut cluster, 1, v2.clone());
    for n in [1, 2] {
        let applied = &cluster.get(n).applied;
        let change = |entry: &raft::Entry<_>| match &entry.body {
            EntryBody::ConfChange(change) => Some((**change).clone()),
            _ => None,
        };
        let changes: Vec<_> = applied.iter().filter_map(change).collect();
        assert_eq!(changes, [v1.clone(), v2.clone()], "at {n}");
    }
}

/// The configuration that comes with a snapshot is in force at once.
#[test]
fn a_snapshot_brings_its_configuration() {
    let mut cluster = Cluster::new(2, plain);
    cluster.elect(1);
    propose(&mut cluster, 1, change(ConfChangeKind::AddLearnerNode, 3));
    let disk = cluster.get(1).node.storage_mut();
    let conf = disk.conf_state().clone();
    disk.create_snapshot(LogIndex(2), conf, Vec::new()).unwrap();
    disk.compact(LogIndex(2)).unwrap();
    cluster.add(Member::new(plain(3), storage(ConfState::default())));
    cluster.tick(2);
    assert_eq!(config(&mut cluster, 3), "voters=(1 2) learners=(3)");
    assert!(cluster.get(3).node.status().is_learner);
    assert_eq!(cluster.get(3).node.storage().conf_state().learners, ids(&[3]));
}
