//! The connection to the leader drops: the way to a new leader is short if it is gone, and leads
//! nowhere if it is well. The rules one by one here, whole groups in time in `flapping`.

use crate::cluster::{Cluster, full, log_of, message, plain};
use crate::harness::{Member, id};
use raft::{Body, CampaignRefused, Config, EntryId, LogIndex, ReadOnlyOption, StateRole};

fn heartbeat() -> Body<Vec<u8>> {
    Body::Heartbeat { commit: LogIndex::ZERO, context: None }
}

/// A follower of member 1 in term 1.
fn follower(config: Config) -> Member {
    let mut member = Member::new(config, log_of(&[]));
    member.node.step(message(1, 2, 1, heartbeat())).unwrap();
    member.settle();
    member.outbox.clear();
    member
}

/// What a member says to a pre-vote of member 3: nothing if it protects the leader.
fn asked(member: &mut Member) -> Option<bool> {
    let ask = Body::PreVote { last: EntryId::default() };
    member.node.step(message(3, 2, 2, ask)).unwrap();
    member.settle();
    match member.outbox.pop().map(|answer| answer.body) {
        Some(Body::PreVoteResp { reject, .. }) => Some(!reject),
        None => None,
        other => panic!("no answer to a pre-vote: {other:?}"),
    }
}

#[test]
fn only_a_member_that_has_lost_the_leader_gives_its_word() {
    let mut member = follower(full(2));
    assert_eq!(asked(&mut member), None);
    member.node.forget_leader();
    assert_eq!(asked(&mut member), Some(true));
    // One word of the leader is enough.
    member.node.step(message(1, 2, 1, heartbeat())).unwrap();
    member.settle();
    member.outbox.clear();
    assert_eq!(asked(&mut member), None);
    assert_eq!((member.term(), member.hard_state().vote), (1, None));
}

#[test]
fn a_leader_that_is_well_gives_no_word_and_keeps_its_term() {
    let mut cluster = Cluster::new(3, full);
    cluster.elect(1);
    for round in 0..50 {
        let n = 2 + round % 2;
        cluster.isolate(n);
        cluster.heal();
        cluster.cut(n, 1);
        cluster.cut(1, n);
        cluster.get(n).node.forget_leader();
        cluster.get(n).node.pre_campaign().unwrap();
        cluster.deliver();
        assert_eq!(
            (cluster.role(1), cluster.role(n)),
            (StateRole::Leader, StateRole::PreCandidate)
        );
        cluster.heal();
        cluster.tick(1);
        assert_eq!(cluster.leader_of(n), Some(1), "with the first heartbeat");
        assert_eq!(cluster.terms(), [1, 1, 1]);
    }
}

/// Whatever the settings say: a campaign on a suspicion must not raise the term.
#[test]
fn a_campaign_on_a_suspicion_asks_first_even_without_pre_vote() {
    let without = |n| Config { pre_vote: false, ..full(n) };
    let mut cluster = Cluster::new(3, without);
    cluster.elect(1);
    cluster.cut(1, 3);
    cluster.cut(3, 1);
    cluster.get(3).node.forget_leader();
    cluster.get(3).node.pre_campaign().unwrap();
    cluster.deliver();
    assert_eq!((cluster.role(3), cluster.terms()), (StateRole::PreCandidate, vec![1, 1, 1]));
    // And when the leader is gone, the way is the same.
    cluster.isolate(1);
    cluster.get(2).node.forget_leader();
    cluster.get(3).node.pre_campaign().unwrap();
    cluster.deliver();
    assert_eq!((cluster.role(3), cluster.terms()), (StateRole::Leader, vec![1, 2, 2]));
}

#[test]
fn a_connection_that_is_back_protects_the_leader_before_its_next_heartbeat() {
    // As a follower, and while asking.
    for asking in [false, true] {
        let mut member = follower(full(2));
        for _ in 0..9 {
            member.node.tick();
        }
        member.node.forget_leader();
        if asking {
            member.node.pre_campaign().unwrap();
            member.settle();
            member.outbox.clear();
        }
        member.node.remember_leader(id(1));
        let soft_state = member.node.status().soft_state;
        assert_eq!((soft_state.role, soft_state.leader), (StateRole::Follower, Some(id(1))));
        assert_eq!(asked(&mut member), None);
        // For an election timeout, as with any sign of life, and no longer.
        for _ in 0..10 {
            assert_eq!(asked(&mut member), None);
            member.node.tick();
        }
        assert_eq!(asked(&mut member), Some(true));
    }
}

#[test]
fn only_the_leader_that_was_forgotten_in_this_term_is_remembered() {
    // Somebody else.
    let mut member = follower(full(2));
    member.node.forget_leader();
    member.node.remember_leader(id(3));
    assert_eq!(member.node.status().soft_state.leader, None);
    // Forgotten twice is forgotten once.
    member.node.forget_leader();
    member.node.remember_leader(id(1));
    assert_eq!(member.node.status().soft_state.leader, Some(id(1)));
    // Nothing was forgotten: the timer has found that it is silent, a connection proves nothing.
    let mut member = follower(full(2));
    while member.node.status().soft_state.role == StateRole::Follower {
        member.node.tick();
    }
    let before = member.node.clone();
    member.node.remember_leader(id(1));
    assert_eq!(member.node, before);
    // A new term has begun, by somebody's request for votes or by our own.
    let mut member = follower(full(2));
    member.node.forget_leader();
    let ask = Body::Vote { last: EntryId::default(), transfer: false };
    member.node.step(message(3, 2, 2, ask)).unwrap();
    member.node.remember_leader(id(1));
    assert_eq!(member.node.status().soft_state.leader, None);
    assert_eq!(member.hard_state().vote, Some(id(3)));
    let mut member = follower(plain(2));
    member.node.forget_leader();
    member.node.campaign().unwrap();
    let before = member.node.clone();
    member.node.remember_leader(id(1));
    assert_eq!(member.node, before);
}

/// Leases of reads rest on followers that wait for a full timeout.
#[test]
fn with_leased_reads_no_leader_is_forgotten() {
    let mut member = follower(Config { read_only: ReadOnlyOption::LeaseBased, ..full(2) });
    member.node.forget_leader();
    assert_eq!(asked(&mut member), None);
}

/// What keeps a member from campaigning keeps it from asking, too.
#[test]
fn whoever_may_not_campaign_may_not_ask() {
    let mut cluster = Cluster::new(3, full);
    cluster.elect(1);
    assert_eq!(cluster.get(1).node.pre_campaign(), Err(CampaignRefused::AlreadyLeader));
    let mut stranger = Member::new(full(9), log_of(&[1]));
    assert_eq!(stranger.node.pre_campaign(), Err(CampaignRefused::NotPromotable));
}
