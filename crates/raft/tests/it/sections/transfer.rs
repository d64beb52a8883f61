//! Thesis 3.10: handing over the lead.

use crate::cluster::{Cluster, full, plain};
use crate::harness::{id, ids};
use raft::{Body, ConfState, Config, DropReason, StateRole, StepError};

fn transferee(cluster: &mut Cluster, n: u64) -> Option<u64> {
    cluster.get(n).node.status().transferee.map(raft::NodeId::get)
}

#[test]
fn a_leader_hands_over_to_a_member_that_has_everything() {
    for config in [plain, full] {
        let mut cluster = Cluster::new(3, config);
        cluster.elect(1);
        cluster.get(1).node.transfer_leader(id(2));
        cluster.deliver();
        assert_eq!(cluster.role(2), StateRole::Leader);
        // One election, without a pre-vote: leases do not stand against the leader's own order.
        assert_eq!(cluster.terms(), [2, 2, 2]);
        assert_eq!(transferee(&mut cluster, 1), None);
    }
}

/// Thesis 3.10, step 2: first the target is brought up to date, and meanwhile nothing is taken.
#[test]
fn a_target_that_lags_is_brought_up_to_date_first() {
    let mut cluster = Cluster::new(3, full);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.propose(1, "a");
    cluster.heal();
    cluster.get(1).node.transfer_leader(id(3));
    let dropped = Err(StepError::Dropped(DropReason::Transferring));
    assert_eq!(cluster.get(1).node.propose(b"b".to_vec()), dropped);
    cluster.deliver();
    // What was lost on the way is found with the next heartbeat.
    cluster.tick(1);
    assert_eq!(cluster.role(3), StateRole::Leader);
    assert_eq!(cluster.get(3).payloads(), [b"a"]);
}

#[test]
fn a_follower_passes_the_wish_on() {
    let mut cluster = Cluster::new(3, full);
    cluster.elect(1);
    cluster.get(2).node.transfer_leader(id(3));
    cluster.deliver();
    assert_eq!(cluster.role(3), StateRole::Leader);
}

#[test]
fn wishes_that_make_no_sense_change_nothing() {
    let conf = ConfState { voters: ids(&[1, 2]), learners: ids(&[3]), ..ConfState::default() };
    let mut cluster = Cluster::with_conf(3, conf, full);
    cluster.elect(1);
    for to in [1, 3, 9] {
        cluster.get(1).node.transfer_leader(id(to));
        assert_eq!(transferee(&mut cluster, 1), None, "to {to}");
        cluster.deliver();
        assert_eq!(cluster.roles()[0], StateRole::Leader, "to {to}");
    }
    cluster.propose(1, "a");
}

/// Thesis 3.10: a transfer that takes longer than an election timeout is given up.
#[test]
fn a_transfer_is_given_up_after_an_election_timeout() {
    let mut cluster = Cluster::new(3, full);
    cluster.elect(1);
    cluster.isolate(2);
    cluster.get(1).node.transfer_leader(id(2));
    cluster.tick(9);
    assert_eq!(transferee(&mut cluster, 1), Some(2));
    cluster.tick(1);
    assert_eq!(transferee(&mut cluster, 1), None);
    cluster.propose(1, "a");
    assert_eq!(cluster.get(1).payloads(), [b"a"]);
}

#[test]
fn another_target_replaces_the_first_and_the_same_does_not_renew() {
    let mut cluster = Cluster::new(3, full);
    cluster.elect(1);
    cluster.isolate(2);
    cluster.get(1).node.transfer_leader(id(2));
    cluster.tick(5);
    // Asking again does not make it longer.
    cluster.get(1).node.transfer_leader(id(2));
    cluster.tick(5);
    assert_eq!(transferee(&mut cluster, 1), None);

    cluster.get(1).node.transfer_leader(id(2));
    cluster.get(1).node.transfer_leader(id(3));
    cluster.deliver();
    assert_eq!(cluster.role(3), StateRole::Leader);
    // Back to itself is a way to stop.
    cluster.get(3).node.transfer_leader(id(2));
    cluster.get(3).node.transfer_leader(id(3));
    assert_eq!(transferee(&mut cluster, 3), None);
}

/// hashicorp #696, openraft #1805: nothing of a transfer survives a change of role.
#[test]
fn hashicorp_696_a_change_of_role_ends_the_transfer() {
    let mut cluster = Cluster::new(3, plain);
    cluster.elect(1);
    cluster.isolate(1);
    cluster.get(1).node.transfer_leader(id(2));
    assert_eq!(transferee(&mut cluster, 1), Some(2));
    cluster.elect(2);
    cluster.heal();
    cluster.tick(1);
    assert_eq!((cluster.role(1), transferee(&mut cluster, 1)), (StateRole::Follower, None));
    cluster.elect(1);
    cluster.propose(1, "a");
}

/// A target that cannot be elected does not keep the lead from where it was for long.
#[test]
fn a_target_that_crashes_costs_an_election_timeout() {
    let mut cluster = Cluster::new(3, |n| Config { seed: 3, ..full(n) });
    cluster.elect(1);
    cluster.get(1).node.transfer_leader(id(2));
    // The order arrives, its votes do not.
    let messages = cluster.collect();
    assert!(messages.iter().any(|m| matches!(m.body, Body::TimeoutNow)));
    cluster.send(messages);
    cluster.isolate(2);
    cluster.deliver();
    assert_eq!(cluster.role(2), StateRole::Candidate);
    cluster.tick(10);
    cluster.propose(1, "a");
    assert_eq!(cluster.get(3).payloads(), [b"a"]);
    cluster.heal();
    cluster.tick(40);
    let leaders = cluster.roles().iter().filter(|role| **role == StateRole::Leader).count();
    assert_eq!(leaders, 1);
}
