//! Old leaders and new ones: what arrives late, what is forgotten, what is counted twice.

use crate::cluster::{Cluster, entries, full, log_of, message, plain};
use crate::harness::{Member, Payload, id, storage, voters};
use raft::{
    Body, Config, EntryBody, EntryId, HardState, LogIndex, MemStorage, Message, Snapshot,
    SnapshotMeta, StateRole, Term,
};
use std::num::NonZeroU64;

fn append(prev: (u64, u64), terms: &[u64], commit: u64) -> Body<Payload> {
    Body::Append {
        prev: EntryId::new(prev.0, prev.1),
        entries: entries(prev.1 + 1, terms),
        commit: LogIndex(commit),
    }
}

/// All orders of `0..n`.
fn orders(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let insert = |order: Vec<usize>| {
        (0..n).map(move |at| {
            let mut order = order.clone();
            order.insert(at, n - 1);
            order
        })
    };
    orders(n - 1).into_iter().flat_map(insert).collect()
}

/// hashicorp #695: what an old leader still says, mixed with the election of a new one and what it
/// says, in every order, also while an earlier append is being written: the term is never
/// mistaken, one vote is given, and nothing of the old leader gets in after the new one.
#[test]
fn hashicorp_695_an_old_leader_in_between_corrupts_no_term() {
    let vote = |last| Body::Vote { last, transfer: false };
    let messages: Vec<Message<Payload>> = vec![
        message(1, 2, 1, append((1, 1), &[1, 1], 1)),
        message(1, 2, 1, Body::Heartbeat { commit: LogIndex(1), context: None }),
        message(3, 2, 2, vote(EntryId::new(1, 3))),
        message(3, 2, 2, append((1, 1), &[2], 1)),
        message(1, 2, 1, append((1, 3), &[1], 1)),
        message(3, 2, 2, Body::Heartbeat { commit: LogIndex(1), context: None }),
    ];
    for order in orders(messages.len()) {
        for settled in [true, false] {
            let mut member = Member::new(plain(2), log_of(&[1]));
            let mut acknowledged = Vec::new();
            for at in &order {
                let before = member.hard_state();
                member.node.step(messages[*at].clone()).unwrap();
                let now = member.hard_state();
                assert!(now.term >= before.term, "{order:?}");
                assert!(now.term > before.term || before.vote.is_none_or(|v| now.vote == Some(v)));
                if settled {
                    member.settle();
                }
            }
            member.settle();
            acknowledged.append(&mut member.outbox);
            assert_eq!(member.term(), 2, "{order:?}");
            assert!(member.hard_state().vote.is_none_or(|vote| vote == id(3)), "{order:?}");
            // The entry of the new leader stands, and nothing of the old one after it.
            let terms: Vec<u64> = member.node.storage().iter().map(|e| e.id.term.0).collect();
            assert_eq!(terms, [1, 2], "{order:?}");
            // What leaves in the new term acknowledges no more than what is there.
            for answer in acknowledged {
                if let Body::AppendResp { index, reject: None } = answer.body
                    && answer.term == Term(2)
                {
                    assert!(index <= LogIndex(2), "{order:?}: {answer}");
                }
            }
        }
    }
}

/// hashicorp #661: a crash between the writing of the term and of the vote would free the vote in
/// a term that was voted in. They are one record, on disk before the vote leaves.
#[test]
fn hashicorp_661_term_and_vote_are_one_record() {
    let mut member = Member::new(plain(2), log_of(&[1]));
    let ask = |from| message(from, 2, 5, Body::Vote { last: EntryId::new(1, 1), transfer: false });
    member.node.step(ask(3)).unwrap();
    let append = member.ready().0.expect("the vote is news");
    let stored = HardState { term: Term(5), vote: Some(id(3)), commit: LogIndex::ZERO };
    assert_eq!((append.hard_state, append.must_sync), (Some(stored), true));
    assert!(member.outbox.is_empty(), "not before it is on disk");
    // A crash now: neither of the two, and nobody has heard of it.
    let before = Member::new(plain(2), member.node.storage().clone());
    assert_eq!((before.term(), before.hard_state().vote), (1, None));
    // A crash later: both, and the vote is given.
    member.append(append);
    assert_eq!(member.outbox.len(), 1);
    let mut after = Member::new(plain(2), member.node.storage().clone());
    assert_eq!(after.hard_state(), stored);
    after.node.step(ask(1)).unwrap();
    after.settle();
    assert_eq!(after.outbox.pop().unwrap().body, Body::VoteResp { reject: true, committed: None });
}

/// openraft #1500: a heartbeat that comes late, or one whose commit index is behind or ahead of
/// what the member has, says nothing about its log.
#[test]
fn openraft_1500_late_heartbeats_are_no_loss_of_log() {
    let mut member = Member::new(plain(2), log_of(&[1, 1, 1]));
    member.node.step(message(1, 2, 1, append((1, 3), &[1], 4))).unwrap();
    member.settle();
    for commit in [0, 4, 2] {
        let heartbeat = Body::Heartbeat { commit: LogIndex(commit), context: None };
        member.node.step(message(1, 2, 1, heartbeat)).unwrap();
        assert_eq!((member.commit(), member.node.fatal()), (4, None));
    }
    // From an earlier leader, with a commit index that would be beyond our log.
    let heartbeat = Body::Heartbeat { commit: LogIndex(99), context: None };
    member.node.step(message(3, 2, 2, append((1, 4), &[], 4))).unwrap();
    member.node.step(message(1, 2, 1, heartbeat)).unwrap();
    assert_eq!((member.commit(), member.node.fatal()), (4, None));
}

/// etcd #20418, raft #397: a read is tried again with the same context, after a pause in which
/// somebody else has led; the echoes of the first try are still on their way.
#[test]
fn etcd_20418_echoes_from_before_a_pause_do_not_confirm_a_second_try() {
    let mut cluster = Cluster::new(3, full);
    cluster.elect(1);
    cluster.get(1).node.read_index(b"same".to_vec()).unwrap();
    let asked = cluster.collect();
    cluster.send(asked);
    let echoes = cluster.collect();
    assert!(echoes.iter().any(|m| matches!(m.body, Body::HeartbeatResp { context: Some(_) })));
    // Member 1 is stopped. Another leads and commits.
    cluster.isolate(1);
    (2..=3).for_each(|n| cluster.get(n).node.forget_leader());
    cluster.elect(2);
    cluster.propose(2, "a");
    // It goes on where it was, and asks again before anything arrives.
    cluster.get(1).node.read_index(b"same".to_vec()).unwrap();
    cluster.send(echoes);
    cluster.collect();
    // The first try may be answered: it was asked before "a" was acknowledged.
    let answers: Vec<_> = cluster.get(1).read_states.iter().map(|state| state.index.0).collect();
    assert_eq!(answers, [1]);
    cluster.heal();
    cluster.tick(3);
    assert_eq!(cluster.role(1), StateRole::Follower);
    assert_eq!(cluster.get(1).read_states.len(), 1);
}

/// etcd #15247, #12528: a leader that was stopped, or whose disk was, takes itself for the leader
/// when it goes on. It confirms nothing, says so as soon as it hears of anybody, and without that
/// after an election timeout. (What it does with leases meanwhile is not the core's.)
#[test]
fn etcd_15247_a_leader_that_was_stopped_confirms_nothing_and_finds_out() {
    let stopped = |cluster: &mut Cluster| {
        cluster.elect(1);
        cluster.isolate(1);
        (2..=3).for_each(|n| cluster.get(n).node.forget_leader());
        cluster.elect(2);
        cluster.propose(2, "a");
        cluster.get(1).soft_states.clear();
        cluster.get(1).node.read_index(b"r".to_vec()).unwrap();
        cluster.get(1).node.propose(b"lost".to_vec()).unwrap();
        cluster.deliver();
        let member = cluster.get(1);
        assert!(member.read_states.is_empty() && member.payloads().is_empty());
    };
    // Anybody is enough.
    let mut cluster = Cluster::new(3, full);
    stopped(&mut cluster);
    cluster.heal();
    cluster.get(1).node.tick();
    cluster.deliver();
    let told = cluster.get(1).soft_states.first().map(|state| state.role);
    assert_eq!(told, Some(StateRole::Follower));
    cluster.tick(2);
    assert_eq!(cluster.get(1).payloads(), [b"a"]);
    assert!(cluster.get(1).read_states.is_empty());
    // Nobody at all: within two timeouts, for it may have heard of them just before.
    let mut cluster = Cluster::new(3, full);
    stopped(&mut cluster);
    for _ in 0..20 {
        cluster.get(1).node.tick();
    }
    assert_eq!(cluster.role(1), StateRole::Follower);
}

/// etcd #8243, openraft #1796: with pre-vote a term spreads by refusals. A member that missed an
/// election, and a leader that did, must learn of it.
#[test]
fn etcd_8243_a_refused_pre_vote_teaches_the_term() {
    let member = |n, term| {
        let mut disk = log_of(&[1]);
        disk.set_hard_state(HardState { term: Term(term), vote: None, commit: LogIndex(1) });
        Member::new(full(n), disk)
    };
    // With the log as long as all others, and with a term from long ago.
    let mut cluster = Cluster::of(vec![member(1, 1), member(2, 7), member(3, 7)]);
    cluster.campaign(1);
    assert_eq!((cluster.get(1).term(), cluster.role(1)), (7, StateRole::Follower));
    cluster.elect(1);
    assert_eq!(cluster.terms(), [8, 8, 8]);
    // A leader of term 1 whose others are in term 7: they ignore votes for no reason of its own.
    let mut cluster = Cluster::new(3, full);
    cluster.elect(1);
    let disk = cluster.get(3).node.storage().clone();
    let mut ahead = Member::new(full(3), disk);
    ahead.node.step(message(2, 3, 7, append((1, 1), &[], 1))).unwrap();
    ahead.settle();
    ahead.outbox.clear();
    *cluster.get(3) = ahead;
    cluster.tick(1);
    assert!(cluster.get(1).term() >= 7, "{:?}", cluster.terms());
    cluster.tick(60);
    let leaders = cluster.roles().iter().filter(|role| **role == StateRole::Leader).count();
    assert_eq!(leaders, 1);
}

/// raft e419ba5: bytes that are on their way, and bytes that are not committed, are counted up and
/// down again: by acknowledgements, by rejections, by a lost connection, by a snapshot, by
/// entries of an earlier leader. When all is quiet both are zero.
#[test]
fn raft_e419ba5_when_all_is_quiet_nothing_is_counted() {
    let config = |n| Config {
        max_size_per_msg: NonZeroU64::new(64),
        max_inflight_bytes: NonZeroU64::new(200),
        max_inflight_msgs: 5,
        max_uncommitted_size: NonZeroU64::new(300),
        ..full(n)
    };
    let mut cluster = Cluster::new(3, config);
    let mut number = 0u64;
    for round in 0..40 {
        let leader = 1 + round % 3;
        for n in 1..=3 {
            cluster.get(n).node.forget_leader();
        }
        cluster.campaign(leader);
        cluster.tick(1);
        if cluster.role(leader) != StateRole::Leader {
            continue;
        }
        let other = 1 + (leader + round) % 3;
        let silent = if other == leader { 1 + leader % 3 } else { other };
        match round % 4 {
            0 => cluster.isolate(silent),
            1 => cluster.cut(silent, leader),
            2 => cluster.get(leader).node.report_unreachable(id(silent)),
            _ => {}
        }
        for _ in 0..12 {
            number += 1;
            let payload = vec![number as u8; (number % 50) as usize];
            let _ = cluster.get(leader).node.propose(payload);
            if number.is_multiple_of(3) {
                cluster.deliver();
            }
        }
        cluster.deliver();
        if round % 5 == 4 {
            let applied = cluster.get(leader).applied_index();
            let disk = cluster.get(leader).node.storage_mut();
            disk.create_snapshot(applied, voters(&[1, 2, 3]), Vec::new()).unwrap();
            disk.compact(applied).unwrap();
        }
        cluster.heal();
        cluster.tick(4);
        for (peer, progress) in cluster.get(leader).node.status().progress {
            let (messages, bytes) = (progress.inflight_messages(), progress.inflight_bytes());
            assert_eq!((messages, bytes), (0, 0), "round {round}: {peer} {progress}");
        }
        // More than the limit is taken only if nothing else waits.
        let large = cluster.get(leader).node.propose(vec![0; 301]);
        assert_eq!(large, Ok(()), "round {round}");
        cluster.deliver();
    }
    assert!(cluster.get(1).payloads().len() > 300);
}

/// The logs of up to four entries, with terms up to three.
fn logs() -> Vec<Vec<u64>> {
    let mut all = vec![Vec::new()];
    for length in 0..4 {
        for log in all.clone().into_iter().filter(|log| log.len() == length) {
            for term in log.last().copied().unwrap_or(1)..=3 {
                all.push([log.clone(), vec![term]].concat());
            }
        }
    }
    all
}

/// Whether two members can have such logs: where they agree on an entry they agree on all before.
fn can_meet(ours: &[u64], theirs: &[u64]) -> bool {
    let common = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
    ours.iter().zip(theirs).skip(common).all(|(a, b)| a != b)
}

/// yugabyte #32876, paper figure 7: a follower with any other tail is brought to the leader's log,
/// by one probe for each term that it has wrong and not for each entry, whatever is lost or comes
/// twice on the way.
#[test]
fn yugabyte_32876_any_two_tails_are_reconciled() {
    for ours in logs() {
        for theirs in logs().into_iter().filter(|theirs| can_meet(&ours, theirs)) {
            for twice in [false, true] {
                let context = format!("{ours:?} {theirs:?} {twice}");
                let member = |n, terms: &[u64]| Member::new(plain(n), log_of(terms));
                let mut cluster = Cluster::of(vec![member(1, &ours), member(2, &ours)]);
                cluster.add(member(3, &theirs));
                cluster.get(1).node.step(message(2, 1, 3, Body::TimeoutNow)).unwrap();
                cluster.cut(1, 3);
                cluster.cut(3, 1);
                cluster.deliver();
                assert_eq!(cluster.role(1), StateRole::Leader, "{context}");
                cluster.heal();
                let mut probes = 0;
                // One heartbeat finds out what is missing.
                cluster.get(1).node.tick();
                loop {
                    let messages = cluster.collect();
                    if messages.is_empty() {
                        break;
                    }
                    probes += messages
                        .iter()
                        .filter(|m| m.to == id(3) && matches!(m.body, Body::Append { .. }))
                        .count();
                    if twice {
                        cluster.send(messages.clone());
                    }
                    cluster.send(messages);
                }
                let log = |cluster: &mut Cluster, n| -> Vec<EntryId> {
                    cluster.get(n).node.storage().iter().map(|entry| entry.id).collect()
                };
                assert_eq!(log(&mut cluster, 1), log(&mut cluster, 3), "{context}");
                assert_eq!(cluster.commits()[2], ours.len() as u64 + 1, "{context}");
                let wrong = theirs.chunk_by(|a, b| a == b).count();
                let most = (wrong + 3) * if twice { 2 } else { 1 };
                assert!(probes <= most, "{context}: {probes} probes");
            }
        }
    }
}

/// raft-rs #489: a new leader opens its term whatever waits in its log already, under whatever
/// limits.
#[test]
fn raft_rs_489_a_new_leader_is_not_stopped_by_the_limits() {
    let config = Config {
        max_size_per_msg: NonZeroU64::new(1),
        max_inflight_bytes: NonZeroU64::new(1),
        max_inflight_msgs: 1,
        max_uncommitted_size: NonZeroU64::new(1),
        max_committed_size_per_ready: NonZeroU64::new(1),
        ..plain(1)
    };
    let mut disk = log_of(&[]);
    let large =
        |index| raft::Entry { id: EntryId::new(1, index), body: EntryBody::Normal(vec![7; 1000]) };
    disk.append((1..=20).map(large)).unwrap();
    let small = |n| Config { id: id(n), ..config.clone() };
    let mut cluster = Cluster::of(vec![
        Member::new(small(1), disk.clone()),
        Member::new(small(2), log_of(&[])),
        Member::new(small(3), disk),
    ]);
    for leader in [1, 3, 1] {
        cluster.elect(leader);
        cluster.tick(3);
        let last = cluster.get(leader).node.status().last_index;
        assert_eq!(cluster.commits(), [last.0; 3]);
    }
    assert_eq!(cluster.get(2).payloads().len(), 20);
}

/// etcd #10219, #5664: the hard state that goes to disk with a snapshot says that what is in it is
/// committed; a log and a commit index that do not fit are found at the start, not later.
#[test]
fn etcd_10219_a_snapshot_is_stored_with_its_commit_index() {
    let mut member = Member::new(plain(3), MemStorage::new());
    let meta = SnapshotMeta { id: EntryId::new(2, 9), conf_state: voters(&[1, 2, 3]) };
    let snapshot = Box::new(Snapshot { meta, data: Vec::new() });
    member.node.step(message(1, 3, 4, Body::Snapshot { snapshot })).unwrap();
    let append = member.ready().0.unwrap();
    let stored = HardState { term: Term(4), vote: None, commit: LogIndex(9) };
    assert_eq!((append.hard_state, append.must_sync), (Some(stored), true));
    assert!(member.outbox.is_empty(), "it is acknowledged when it is stored");
    member.append(append);
    assert_eq!(member.outbox.len(), 1);
    // The other way round: the commit index of the snapshot, and an empty log without it.
    let mut disk = storage(voters(&[1, 2, 3]));
    disk.set_hard_state(stored);
    assert!(raft::RawNode::<Payload, _>::new(plain(3), disk).is_err());
}
