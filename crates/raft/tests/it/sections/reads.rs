//! Thesis 6.4: reads without the log.

use crate::cluster::{Cluster, full, log_of, message, plain};
use crate::harness::{Member, id};
use raft::{Body, Config, DropReason, LogIndex, ReadOnlyOption, StateRole, StepError};

fn answers(member: &mut Member) -> Vec<(u64, String)> {
    member.settle();
    let answer =
        |read: raft::ReadState<Vec<u8>>| (read.index.0, String::from_utf8(read.context).unwrap());
    member.read_states.drain(..).map(answer).collect()
}

fn read(cluster: &mut Cluster, n: u64, context: &str) {
    cluster.get(n).node.read_index(context.as_bytes().to_vec()).unwrap();
}

/// Thesis 6.4: a leader exchanges a round of heartbeats with a majority before it answers.
#[test]
fn a_read_is_answered_after_a_round_of_heartbeats() {
    let mut cluster = Cluster::new(3, full);
    cluster.elect(1);
    cluster.propose(1, "a");
    read(&mut cluster, 1, "r");
    assert_eq!(answers(cluster.get(1)), []);
    cluster.deliver();
    assert_eq!(answers(cluster.get(1)), [(2, "r".into())]);
}

/// Thesis 6.4: one round serves all reads that have gathered.
#[test]
fn reads_share_a_round() {
    let mut cluster = Cluster::new(3, full);
    cluster.elect(1);
    for n in 0..100 {
        read(&mut cluster, 1, &format!("{n}"));
    }
    // Only the last heartbeats get through.
    let mut messages = cluster.collect();
    messages.drain(..messages.len() - 2);
    cluster.send(messages);
    cluster.deliver();
    assert_eq!(answers(cluster.get(1)).len(), 100);
}

/// Thesis 6.4: a follower asks the leader.
#[test]
fn a_follower_gets_its_index_from_the_leader() {
    let mut cluster = Cluster::new(3, full);
    cluster.elect(1);
    cluster.propose(1, "a");
    read(&mut cluster, 3, "r");
    cluster.deliver();
    assert_eq!(answers(cluster.get(3)), [(2, "r".into())]);
    assert_eq!(answers(cluster.get(1)), []);
}

/// Thesis 6.4, step 1 (etcd #7331, #12680): not before the leader has committed in its term; such
/// reads wait and are not lost.
#[test]
fn etcd_7331_a_read_waits_for_the_first_commit_of_the_term() {
    let mut cluster = Cluster::new(3, plain);
    cluster.elect(1);
    cluster.propose(1, "a");
    cluster.get(2).node.campaign().unwrap();
    // Elected, and its first entry not acknowledged yet.
    for _ in 0..2 {
        let messages = cluster.collect();
        cluster.send(messages);
    }
    assert_eq!(cluster.role(2), StateRole::Leader);
    read(&mut cluster, 2, "early");
    let heartbeat = |m: &raft::Message<_>| matches!(m.body, Body::Heartbeat { .. });
    let messages = cluster.collect();
    assert!(!messages.iter().any(heartbeat), "{messages:?}");
    cluster.send(messages);
    cluster.deliver();
    assert_eq!(answers(cluster.get(2)), [(3, "early".into())]);
}

/// A leader that nobody follows any more confirms nothing.
#[test]
fn a_deposed_leader_answers_nothing() {
    let mut cluster = Cluster::new(3, plain);
    cluster.elect(1);
    cluster.isolate(1);
    cluster.elect(2);
    cluster.propose(2, "a");
    read(&mut cluster, 1, "stale");
    cluster.tick(5);
    assert_eq!(answers(cluster.get(1)), []);
    // It hears of the new leader; the read is gone, and does not come back with its next term.
    cluster.heal();
    cluster.tick(2);
    assert_eq!(cluster.role(1), StateRole::Follower);
    cluster.elect(1);
    assert_eq!(answers(cluster.get(1)), []);
    read(&mut cluster, 1, "fresh");
    cluster.deliver();
    let answered = answers(cluster.get(1));
    assert_eq!(answered.len(), 1);
    assert!(answered[0].0 >= 3 && answered[0].1 == "fresh", "{answered:?}");
}

/// The queues are bounded, before and after the first commit of a term.
#[test]
fn etcd_12680_reads_beyond_the_bound_are_dropped() {
    let config = |n| Config { max_pending_reads: 2, ..plain(n) };
    let dropped = Err(StepError::Dropped(DropReason::TooManyReads));
    let mut cluster = Cluster::new(3, config);
    cluster.elect(1);
    cluster.isolate(1);
    read(&mut cluster, 1, "1");
    read(&mut cluster, 1, "2");
    assert_eq!(cluster.get(1).node.read_index(b"3".to_vec()), dropped);
    cluster.heal();
    cluster.tick(1);
    assert_eq!(answers(cluster.get(1)).len(), 2);
    read(&mut cluster, 1, "4");

    let mut member = Member::new(config(1), log_of(&[]));
    member.node.campaign().unwrap();
    member.settle();
    let vote = Body::VoteResp { reject: false, committed: None };
    member.node.step(message(2, 1, 1, vote)).unwrap();
    member.node.read_index(b"1".to_vec()).unwrap();
    let forwarded = Body::ReadIndex { context: b"2".to_vec() };
    member.node.step(message(2, 1, 0, forwarded.clone())).unwrap();
    assert_eq!(member.node.step(message(2, 1, 0, forwarded)), dropped);
}

/// Thesis 6.4.1: with a lease the leader answers at once.
#[test]
fn a_leased_read_needs_no_round() {
    let config = |n| Config { read_only: ReadOnlyOption::LeaseBased, ..full(n) };
    let mut cluster = Cluster::new(3, config);
    cluster.elect(1);
    read(&mut cluster, 1, "r");
    assert_eq!(answers(cluster.get(1)), [(1, "r".into())]);
    // And nobody forgets a leader that relies on being remembered.
    cluster.get(2).node.forget_leader();
    assert_eq!(cluster.leader_of(2), Some(1));
}

/// Thesis 6.4.1 (openraft #1747): a transfer breaks leases, since its target may be elected at any
/// moment; also when the transfer is given up, for the word to campaign may still arrive.
#[test]
fn openraft_1747_a_lease_ends_with_a_transfer() {
    let config = |n| Config { read_only: ReadOnlyOption::LeaseBased, ..full(n) };
    let mut cluster = Cluster::new(3, config);
    cluster.elect(1);
    cluster.get(1).node.transfer_leader(id(2));
    read(&mut cluster, 1, "r");
    assert_eq!(answers(cluster.get(1)), []);
    // The transfer gets lost, everything else arrives.
    let mut messages = cluster.collect();
    messages.retain(|m| !matches!(m.body, Body::TimeoutNow));
    cluster.send(messages);
    cluster.deliver();
    assert_eq!(answers(cluster.get(1)), [(1, "r".into())]);
    cluster.tick(11);
    assert_eq!(cluster.get(1).node.status().transferee, None);
    read(&mut cluster, 1, "later");
    assert_eq!(answers(cluster.get(1)), [], "by a round, until there is a new term");
    cluster.deliver();
    assert_eq!(answers(cluster.get(1)), [(1, "later".into())]);
}

/// In a joint configuration a majority of each half must confirm.
#[test]
fn a_read_in_a_joint_configuration_needs_both_halves() {
    use raft::{ConfChange, ConfChangeKind, ConfChangeSingle, ConfChangeTransition};
    let mut cluster = Cluster::new(3, plain);
    cluster.elect(1);
    for n in [4, 5] {
        let nobody = raft::ConfState::default();
        cluster.add(Member::new(plain(n), crate::harness::storage(nobody)));
    }
    // Leader 1 has a snapshot for them.
    let disk = cluster.get(1).node.storage_mut();
    let conf = crate::harness::voters(&[1, 2, 3, 4, 5]);
    disk.create_snapshot(LogIndex(1), conf, Vec::new()).unwrap();
    disk.compact(LogIndex(1)).unwrap();
    let change = |kind, n| ConfChangeSingle::new(kind, Some(id(n)));
    let changes = vec![
        change(ConfChangeKind::RemoveNode, 2),
        change(ConfChangeKind::RemoveNode, 3),
        change(ConfChangeKind::AddNode, 4),
        change(ConfChangeKind::AddNode, 5),
    ];
    let explicit = ConfChange::v2(ConfChangeTransition::JointExplicit, changes);
    cluster.get(1).node.propose_conf_change(explicit).unwrap();
    cluster.deliver();
    cluster.tick(3);
    assert!(cluster.get(1).node.status().config.is_joint());
    for (cut_off, answered) in [([2, 3], false), ([4, 5], false), ([2, 4], true)] {
        for n in cut_off {
            cluster.isolate(n);
        }
        read(&mut cluster, 1, "r");
        cluster.deliver();
        assert_eq!(!answers(cluster.get(1)).is_empty(), answered, "without {cut_off:?}");
        cluster.heal();
        cluster.tick(1);
        answers(cluster.get(1));
    }
}
