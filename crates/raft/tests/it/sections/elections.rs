//! Paper 5.1 and 5.2, 5.4.1; thesis 9.6.

use crate::cluster::{Cluster, entries, full, log_of, message, plain};
use crate::harness::{Member, id, storage, voters};
use raft::{Body, Config, EntryId, LogIndex, StateRole, Term};
use std::collections::BTreeSet;

fn follower() -> Member {
    Member::new(plain(1), storage(voters(&[1, 2, 3])))
}

fn candidate() -> Member {
    let mut member = follower();
    member.node.campaign().unwrap();
    member.settle();
    member.outbox.clear();
    member
}

fn leader() -> Member {
    let mut member = candidate();
    let vote = Body::VoteResp { reject: false, committed: None };
    member.node.step(message(2, 1, 1, vote)).unwrap();
    member.settle();
    member.outbox.clear();
    member
}

/// Paper 5.1: whoever sees a later term goes to it and follows.
#[test]
fn a_later_term_makes_a_follower_of_anybody() {
    for mut member in [follower(), candidate(), leader()] {
        let append =
            Body::Append { prev: EntryId::default(), entries: Vec::new(), commit: LogIndex::ZERO };
        member.node.step(message(2, 1, 7, append)).unwrap();
        let status = member.node.status();
        assert_eq!(status.soft_state.role, StateRole::Follower);
        assert_eq!((status.hard_state.term, status.soft_state.leader), (Term(7), Some(id(2))));
        assert_eq!(status.hard_state.vote, None);
    }
}

/// Paper 5.1: a request with an old term is rejected.
#[test]
fn an_earlier_term_changes_nothing() {
    for mut member in [follower(), candidate(), leader()] {
        let heartbeat = Body::Heartbeat { commit: LogIndex::ZERO, context: None };
        member.node.step(message(3, 1, 9, heartbeat)).unwrap();
        member.settle();
        let before = member.node.clone();
        for body in [
            Body::Append {
                prev: EntryId::default(),
                entries: entries(1, &[1]),
                commit: LogIndex(1),
            },
            Body::Heartbeat { commit: LogIndex(1), context: None },
            Body::Vote { last: EntryId::new(8, 99), transfer: false },
            Body::VoteResp { reject: false, committed: None },
            Body::AppendResp { index: LogIndex(5), reject: None },
            Body::TimeoutNow,
        ] {
            member.node.step(message(2, 1, 8, body)).unwrap();
        }
        assert_eq!(member.node, before);
    }
}

/// Paper 5.2: servers begin as followers, and remain so as long as they hear of a leader.
#[test]
fn a_follower_that_hears_of_a_leader_does_not_campaign() {
    let mut member = follower();
    assert_eq!(member.node.status().soft_state.role, StateRole::Follower);
    for _ in 0..100 {
        for _ in 0..9 {
            member.node.tick();
        }
        let heartbeat = Body::Heartbeat { commit: LogIndex::ZERO, context: None };
        member.node.step(message(2, 1, 1, heartbeat)).unwrap();
        member.settle();
        assert_eq!(member.node.status().soft_state.role, StateRole::Follower);
    }
}

/// Paper 5.2: to begin an election, a follower raises its term, votes for itself and asks all
/// others; if the election comes to nothing it does so again.
#[test]
fn silence_for_an_election_timeout_starts_an_election_and_then_another() {
    let mut member = follower();
    for term in 1..=3 {
        for tick in 1.. {
            let timeout = member.node.randomized_election_timeout();
            member.node.tick();
            if tick == timeout {
                break;
            }
        }
        let status = member.node.status();
        assert_eq!(status.soft_state.role, StateRole::Candidate);
        assert_eq!((status.hard_state.term, status.hard_state.vote), (Term(term), Some(id(1))));
        member.settle();
        let asked: Vec<_> = member.outbox.drain(..).collect();
        assert_eq!(asked.iter().map(|m| m.to).collect::<Vec<_>>(), [id(2), id(3)]);
        for message in asked {
            assert_eq!(message.term, Term(term));
            assert!(matches!(message.body, Body::Vote { transfer: false, .. }), "{message}");
        }
    }
}

/// Paper 5.2: a candidate wins with the votes of a majority, and at most one can.
#[test]
fn a_majority_of_votes_decides() {
    type Case = (u64, &'static [(u64, bool)], StateRole);
    let cases: &[Case] = &[
        (1, &[], StateRole::Leader),
        (3, &[(2, true), (3, true)], StateRole::Leader),
        (3, &[(2, true)], StateRole::Leader),
        (3, &[(2, false)], StateRole::Candidate),
        (3, &[(2, false), (3, false)], StateRole::Follower),
        (3, &[], StateRole::Candidate),
        (5, &[(2, true), (3, true), (4, false)], StateRole::Leader),
        (5, &[(2, true)], StateRole::Candidate),
        // The same vote twice is one vote.
        (5, &[(2, true), (2, true)], StateRole::Candidate),
        (5, &[(2, false), (3, false), (4, false)], StateRole::Follower),
    ];
    for (size, votes, role) in cases {
        let all: Vec<u64> = (1..=*size).collect();
        let mut member = Member::new(plain(1), storage(voters(&all)));
        member.node.campaign().unwrap();
        member.settle();
        for (from, granted) in *votes {
            let body = Body::VoteResp { reject: !granted, committed: None };
            member.node.step(message(*from, 1, 1, body)).unwrap();
        }
        let status = member.node.status();
        assert_eq!(status.soft_state.role, *role, "{size} {votes:?}");
        assert_eq!(status.hard_state.term, Term(1));
    }
}

/// Paper 5.2: each server votes for at most one candidate in a term, first come first served.
#[test]
fn a_vote_is_given_once_per_term() {
    for (voted, asks, granted) in
        [(None, 2, true), (None, 3, true), (Some(2), 2, true), (Some(2), 3, false)]
    {
        let mut member = follower();
        if let Some(voted) = voted {
            let body = Body::Vote { last: EntryId::default(), transfer: false };
            member.node.step(message(voted, 1, 1, body)).unwrap();
            member.settle();
            member.outbox.clear();
        }
        let body = Body::Vote { last: EntryId::default(), transfer: false };
        member.node.step(message(asks, 1, 1, body)).unwrap();
        member.settle();
        let answer = Body::VoteResp { reject: !granted, committed: None };
        assert_eq!(member.outbox, [message(1, asks, 1, answer)], "{voted:?} {asks}");
    }
}

/// A member that hears of a leader in its term needs no other, whether or not it has voted.
#[test]
fn nobody_votes_in_a_term_that_has_a_leader() {
    let mut member = follower();
    let heartbeat = Body::Heartbeat { commit: LogIndex::ZERO, context: None };
    member.node.step(message(2, 1, 1, heartbeat)).unwrap();
    let body = Body::Vote { last: EntryId::new(1, 9), transfer: false };
    member.node.step(message(3, 1, 1, body)).unwrap();
    member.settle();
    let answer = Body::VoteResp { reject: true, committed: None };
    assert_eq!(member.outbox.last(), Some(&message(1, 3, 1, answer)));
    assert_eq!(member.hard_state().vote, None);
}

/// Paper 5.2: whoever has voted waits a full timeout for the outcome before it campaigns itself.
#[test]
fn a_vote_puts_the_own_campaign_off() {
    let mut member = follower();
    let heartbeat = Body::Heartbeat { commit: LogIndex::ZERO, context: None };
    member.node.step(message(2, 1, 1, heartbeat)).unwrap();
    member.node.forget_leader();
    let timeout = member.node.randomized_election_timeout();
    for _ in 1..timeout {
        member.node.tick();
    }
    let body = Body::Vote { last: EntryId::default(), transfer: false };
    member.node.step(message(3, 1, 1, body)).unwrap();
    for tick in 1..=timeout {
        assert_eq!(member.node.status().soft_state.role, StateRole::Follower, "tick {tick}");
        member.node.tick();
    }
    assert_eq!(member.node.status().soft_state.role, StateRole::Candidate);
}

/// Paper 5.2: a candidate that hears of a leader of its own term recognises it.
#[test]
fn a_candidate_follows_the_leader_of_its_term() {
    for term in [1, 2] {
        let mut member = candidate();
        let append =
            Body::Append { prev: EntryId::default(), entries: Vec::new(), commit: LogIndex::ZERO };
        member.node.step(message(3, 1, term, append)).unwrap();
        let status = member.node.status();
        assert_eq!(status.soft_state.role, StateRole::Follower);
        assert_eq!((status.soft_state.leader, status.hard_state.term), (Some(id(3)), Term(term)));
    }
}

/// Paper 5.2: timeouts are chosen at random from a fixed interval, so that split votes are rare.
/// Each value comes up, about equally often, and members with one seed differ (etcd #10483).
#[test]
fn etcd_10483_election_timeouts_are_spread_over_the_interval() {
    let mut counts = [0u32; 10];
    let mut member = follower();
    for _ in 0..2000 {
        let timeout = member.node.randomized_election_timeout();
        counts[timeout as usize - 10] += 1;
        member.node.campaign().unwrap();
        member.settle();
        member.outbox.clear();
    }
    assert!(counts.iter().all(|count| (120..280).contains(count)), "{counts:?}");
    let timeout = |n| {
        let config = Config { seed: 42, ..plain(n) };
        let member = Member::new(config, storage(voters(&[1, 2, 3])));
        member.node.randomized_election_timeout()
    };
    let different: BTreeSet<u32> = (1..=20).map(timeout).collect();
    assert!(different.len() > 5, "{different:?}");
}

/// Paper 5.2: a leader sends heartbeats to keep its authority.
#[test]
fn a_leader_sends_heartbeats_at_their_interval() {
    let mut member = Member::new(Config { heartbeat_tick: 3, ..plain(1) }, log_of(&[]));
    member.node.campaign().unwrap();
    member.settle();
    let vote = Body::VoteResp { reject: false, committed: None };
    member.node.step(message(2, 1, 1, vote)).unwrap();
    member.settle();
    member.outbox.clear();
    for tick in 1..=9 {
        member.node.tick();
        member.settle();
        let sent: Vec<_> = member.outbox.drain(..).collect();
        assert_eq!(sent.len(), if tick % 3 == 0 { 2 } else { 0 }, "tick {tick}");
        assert!(sent.iter().all(|m| matches!(m.body, Body::Heartbeat { .. })));
    }
}

/// Paper 5.4.1: the vote request says how far the log goes, and a voter whose own log goes further
/// refuses.
#[test]
fn nobody_votes_for_a_shorter_log() {
    let cases: &[(&[u64], (u64, u64), bool)] = &[
        // Equal, longer, shorter.
        (&[1], (1, 1), true),
        (&[1], (1, 2), true),
        (&[1, 1], (1, 1), false),
        // A later last term wins over length.
        (&[1], (2, 1), true),
        (&[1, 1], (2, 1), true),
        (&[2], (1, 1), false),
        (&[2], (1, 2), false),
        (&[1, 2], (1, 9), false),
    ];
    for (terms, (term, index), granted) in cases {
        let mut member = Member::new(plain(1), log_of(terms));
        let body = Body::Vote { last: EntryId::new(*term, *index), transfer: false };
        member.node.step(message(2, 1, 3, body)).unwrap();
        member.settle();
        let answer = Body::VoteResp { reject: !granted, committed: None };
        assert_eq!(member.outbox, [message(1, 2, 3, answer)], "{terms:?} {term}/{index}");
    }
    let mut member = Member::new(plain(1), log_of(&[1, 2, 2]));
    member.node.campaign().unwrap();
    member.settle();
    let Body::Vote { last, .. } = member.outbox[0].body else { panic!("{:?}", member.outbox) };
    assert_eq!(last, EntryId::new(2, 3));
}

/// Paper 5.4.1, and thesis 3.6.1: whoever is elected has all that was committed.
#[test]
fn a_member_that_lacks_committed_entries_is_not_elected() {
    let mut cluster = Cluster::new(3, plain);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.propose(1, "a");
    cluster.heal();
    cluster.campaign(3);
    assert_eq!(cluster.role(3), StateRole::Follower);
    cluster.campaign(2);
    assert_eq!(cluster.role(2), StateRole::Leader);
}

/// Thesis 9.6: a member that was cut off does not raise its term, however long it takes.
#[test]
fn with_pre_vote_a_member_that_was_cut_off_disturbs_nobody() {
    let mut cluster = Cluster::new(3, full);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.tick(200);
    assert_eq!(cluster.terms(), [1, 1, 1]);
    assert_eq!(cluster.role(3), StateRole::PreCandidate);
    cluster.heal();
    cluster.tick(30);
    assert_eq!(cluster.terms(), [1, 1, 1]);
    assert_eq!(cluster.leader_of(3), Some(1));
}

/// Thesis 9.6: an election goes through both rounds, and changes the term once.
#[test]
fn a_pre_vote_that_is_won_leads_to_an_election() {
    let mut cluster = Cluster::new(3, |n| Config { pre_vote: true, ..plain(n) });
    cluster.get(1).node.campaign().unwrap();
    assert_eq!((cluster.role(1), cluster.terms()), (StateRole::PreCandidate, vec![0, 0, 0]));
    cluster.deliver();
    assert_eq!((cluster.role(1), cluster.terms()), (StateRole::Leader, vec![1, 1, 1]));
}

/// Thesis 9.6: giving one's word is not voting: it is given to anybody who could win, and neither
/// term, vote nor timer change (hashicorp #606, CCF #8094).
#[test]
fn a_pre_vote_is_no_promise() {
    let mut member = Member::new(full(1), log_of(&[]));
    for _ in 0..5 {
        member.node.tick();
    }
    let before = member.node.clone();
    for from in [2, 3] {
        let body = Body::PreVote { last: EntryId::default() };
        member.node.step(message(from, 1, 1, body)).unwrap();
        member.settle();
        let answer = Body::PreVoteResp { reject: false, committed: None };
        assert_eq!(member.outbox.pop(), Some(message(1, from, 1, answer)));
    }
    assert_eq!(member.node.status().hard_state, before.status().hard_state);
    // Both still time out at the same tick.
    let (mut one, mut other) = (member.node.clone(), before);
    while one.status().soft_state.role == StateRole::Follower {
        one.tick();
        other.tick();
        assert_eq!(one.status().soft_state, other.status().soft_state);
    }
}

/// Thesis 6.4.1 and 4.2.3: with check-quorum a server that hears of a leader does not vote.
#[test]
fn a_lease_protects_the_leader_from_members_that_do_not_hear_it() {
    let mut cluster = Cluster::new(3, |n| Config { check_quorum: true, ..plain(n) });
    cluster.elect(1);
    cluster.cut(1, 3);
    for _ in 0..60 {
        cluster.get(3).node.tick();
        cluster.get(1).node.tick();
        cluster.deliver();
    }
    // Node 3 asks in ever later terms; nobody listens.
    assert_eq!(
        (cluster.role(1), cluster.get(1).term(), cluster.get(2).term()),
        (StateRole::Leader, 1, 1)
    );
    assert!(cluster.get(3).term() > 1);
    // When it hears of the leader, its answer moves the leader to its term, or it would be stuck.
    cluster.heal();
    cluster.tick(40);
    let terms = cluster.terms();
    assert!(terms.iter().all(|term| *term == terms[0]), "{terms:?}");
    assert_eq!(cluster.roles().iter().filter(|role| **role == StateRole::Leader).count(), 1);
}

/// Thesis 6.2: a leader that hears of no majority steps down.
#[test]
fn a_leader_without_a_quorum_steps_down() {
    let mut cluster = Cluster::new(5, full);
    cluster.elect(1);
    cluster.isolate(4);
    cluster.isolate(5);
    cluster.tick(50);
    assert_eq!(cluster.role(1), StateRole::Leader, "three of five are enough");
    cluster.isolate(3);
    cluster.tick(25);
    assert_ne!(cluster.role(1), StateRole::Leader);
    cluster.heal();
    cluster.tick(60);
    assert_eq!(cluster.roles().iter().filter(|role| **role == StateRole::Leader).count(), 1);
}

/// Forgetting the leader frees the member's word, and only that.
#[test]
fn a_follower_that_forgets_its_leader_grants_a_pre_vote_at_once() {
    let mut cluster = Cluster::new(3, full);
    cluster.elect(1);
    cluster.isolate(1);
    cluster.campaign(2);
    assert_ne!(cluster.role(2), StateRole::Leader, "member 3 protects the leader");
    cluster.get(3).node.forget_leader();
    cluster.get(2).node.forget_leader();
    assert_eq!(cluster.terms(), [1, 1, 1]);
    cluster.elect(2);
    assert_eq!(cluster.terms(), [1, 2, 2]);
}
