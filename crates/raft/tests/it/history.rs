//! What has gone wrong elsewhere, as scenarios here; named by the issue.
//!
//! The list, by number as in the collection that this crate was built from, and where each is.
//! Those that belong to a section of the thesis or to the crate's own table are with these; what
//! only a server can do wrong (23, 41, 44 in part, 45, 46) is not here.
//!
//! | no. | issue | test |
//! |---|---|---|
//! | 1 | logcabin #44 | `logcabin_44_` in `sections::replication` |
//! | 2 | etcd #7280 | `etcd_7280_` |
//! | 3 | etcd #7625, #11284 | `etcd_7625_etcd_11284_`; `hole_5_2_` |
//! | 4 | etcd #10063 | `etcd_10063_`, and in `log` the same cut wherever storage ends |
//! | 5 | etcd #14370 | `etcd_14370_` in `single_voter` |
//! | 6 | raft #8 | `raft_8_`, and in `log_unstable` |
//! | 7 | | `hole_5_1_a_`, `hole_5_1_b_` |
//! | 8 | hashicorp #695 | `hashicorp_695_` |
//! | 9 | hashicorp #661 | `hashicorp_661_` |
//! | 10 | openraft #1802 | `openraft_1802_` in `quorum` |
//! | 11, 38 | openraft cecb5de8, #1500, 54ffb00d | `openraft_late_answers_`, `openraft_1500_` |
//! | 12 | openraft #1892 | `openraft_1892_` in `holes` |
//! | 13 | openraft #1808, camunda #61854 | `openraft_1808_`, `camunda_61854_` |
//! | 14 | CCF #8094 | `ccf_8094_` |
//! | 15 | cockroach #8535 | `cockroach_8535_` |
//! | 16 | matrixone #24966 | `matrixone_24966_` |
//! | 17 | etcd #7331, tikv #6340, #9239 | `etcd_7331_` in `sections::reads` |
//! | 18 | etcd #12680, #12762 | `etcd_12680_`, `a_deposed_leader_answers_nothing` there |
//! | 19 | etcd #20418, raft #397 | `etcd_20418_`, and in `read_only` |
//! | 20 | raft #105 | `hole_5_3_raft_105_`, `hole_5_4_` |
//! | 21 | openraft #1747 | `openraft_1747_` in `sections::reads` |
//! | 22 | etcd #15247, #12528 | `etcd_15247_`: what the core can do about it |
//! | 24 | etcd #8501, raft-rs #42 | `etcd_8501_` |
//! | 25 | etcd #8243, openraft #1796 | `etcd_8243_` |
//! | 26 | etcd #9586, #10355, raft-rs #83 | `etcd_10355_` |
//! | 27 | etcd #10483 | `etcd_10483_` in `sections::elections` |
//! | 28 | hashicorp #606, #609 | `hashicorp_606_`; `a_pre_vote_is_no_promise` |
//! | 29 | redpanda #30817, #31547 | `redpanda_30817_` |
//! | 30 | hashicorp #696, #487, #493, openraft #1805, canonical #203 | `sections::transfer` |
//! | 31 | etcd #13527, hashicorp #666 | `etcd_13527_` in `holes` |
//! | 32 | openraft #1828 | `openraft_1828_` |
//! | 33 | raft #52, etcd #14633 | `raft_52_` |
//! | 34 | raft e419ba5 | `raft_e419ba5_` |
//! | 35 | etcd #12136, #12137, #14538, #12582 | `etcd_12582_`; `sections::membership` |
//! | 36 | raft #149 | `raft_149_` in `tracker::progress` |
//! | 37 | yugabyte #32876 | `yugabyte_32876_` |
//! | 39 | openraft #1960 | `openraft_1960_` in `single_voter` |
//! | 40 | raft-rs #489, #392 | `raft_rs_489_`, `raft_rs_392_`; there is no priority (#511) |
//! | 42 | etcd #10219, #5664 | `etcd_10219_`; `a_log_that_is_shorter_than_its_commit_index_` |
//! | 43 | raft #25, #104, etcd #13509 | `raft_25_`, `raft_104_` in `holes` |

mod membership;
mod terms;

use crate::cluster::{Cluster, entries, full, log_of, message, plain};
use crate::harness::{Member, id, storage, voters};
use raft::{
    Body, CampaignRefused, ConfChange, ConfChangeKind, Config, EntryBody, EntryId, HardState,
    LogIndex, MemStorage, NodeId, ProgressState, RawNode, Snapshot, SnapshotMeta, StartError,
    StateRole, StepError, Term,
};

/// etcd #7280: nobody campaigns while a committed change of membership is not applied, not even by
/// order of the leader.
#[test]
fn etcd_7280_no_campaign_with_an_unapplied_conf_change() {
    let mut new = entries(1, &[1, 1]);
    let add = ConfChange::v1(ConfChangeKind::AddNode, NodeId::new(4));
    new[1].body = EntryBody::ConfChange(Box::new(add));
    let mut member = Member::new(plain(2), log_of(&[]));
    let append = Body::Append { prev: EntryId::default(), entries: new, commit: LogIndex(2) };
    member.node.step(message(1, 2, 1, append)).unwrap();
    let append = member.ready().0.unwrap();
    member.append(append);
    let (append, apply) = member.ready();
    if let Some(append) = append {
        member.append(append);
    }
    assert_eq!(member.node.campaign(), Err(CampaignRefused::ConfChangePending));
    member.node.step(message(1, 2, 1, Body::TimeoutNow)).unwrap();
    for _ in 0..100 {
        member.node.tick();
    }
    assert_eq!((member.node.status().soft_state.role, member.term()), (StateRole::Follower, 1));
    member.apply(apply.unwrap());
    member.node.step(message(1, 2, 1, Body::TimeoutNow)).unwrap();
    assert_eq!(member.node.status().soft_state.role, StateRole::Candidate);
}

/// etcd #10063: pages of committed entries and the commit index are two things.
#[test]
fn etcd_10063_pages_do_not_truncate_the_commit_index() {
    let mut config = plain(1);
    config.max_committed_size_per_ready = std::num::NonZeroU64::new(20);
    let mut disk = log_of(&[1; 10]);
    disk.set_hard_state(HardState { term: Term(1), vote: Some(id(2)), commit: LogIndex(10) });
    let mut member = Member::new(config, disk);
    while member.node.has_ready() {
        let (append, apply) = member.ready();
        assert!(append.is_none(), "nothing is news: {append:?}");
        assert_eq!(member.commit(), 10);
        member.apply(apply.unwrap());
    }
    assert_eq!(member.payloads().len(), 10);
}

/// etcd-io/raft #8: entries A are being written, B replaces them, A comes again by a later leader.
/// The completion of the first write matches what the node has now, and says nothing about it.
#[test]
fn raft_8_aba_of_overwritten_entries() {
    let mut member = Member::new(plain(2), log_of(&[]));
    let append = |terms: &[u64]| Body::Append {
        prev: EntryId::default(),
        entries: entries(1, terms),
        commit: LogIndex::ZERO,
    };
    member.node.step(message(1, 2, 1, append(&[1]))).unwrap();
    let first = member.ready().0.unwrap();
    member.node.step(message(3, 2, 2, append(&[2]))).unwrap();
    let second = member.ready().0.unwrap();
    // Leader 1 is elected again and sends what it had.
    member.node.step(message(1, 2, 3, append(&[1]))).unwrap();
    let third = member.ready().0.unwrap();
    let last = |member: &Member| member.node.status().last_index;
    // On disk: A, then B, then A. All the while the log reads A.
    let term_at_1 = |member: &mut Member| -> u64 {
        let probe =
            Body::Append { prev: EntryId::new(1, 1), entries: Vec::new(), commit: LogIndex::ZERO };
        let mut node = member.node.clone();
        node.step(message(1, 2, 3, probe)).unwrap();
        node.ready(&mut raft::Ready::default()).unwrap();
        match node.pending_appends().last().and_then(|append| append.responses().last()) {
            Some(raft::Message { body: Body::AppendResp { index, reject: None }, .. }) => index.0,
            answer => panic!("the log does not read A: {answer:?}"),
        }
    };
    for append in [first, second, third] {
        assert_eq!((last(&member), term_at_1(&mut member)), (LogIndex(1), 1));
        member.append(append);
    }
    assert_eq!((last(&member), term_at_1(&mut member)), (LogIndex(1), 1));
    assert_eq!(member.node.storage().iter().next().unwrap().id, EntryId::new(1, 1));
    // And nothing is kept for ever.
    member.settle();
    assert_eq!(member.node.pending_appends().len(), 0);
}

/// openraft cecb5de8, #54ffb00d: answers that come late, in any order and twice, do not move the
/// leader's view beyond what it was told last, nor behind it.
#[test]
fn openraft_late_answers_do_not_move_match() {
    let mut cluster = Cluster::new(3, plain);
    cluster.elect(1);
    for payload in ["a", "b", "c"] {
        cluster.propose(1, payload);
    }
    let matched = |cluster: &mut Cluster| cluster.get(1).node.status().progress[1].1.matched();
    assert_eq!(matched(&mut cluster), LogIndex(4));
    for (index, reject) in [(2, None), (1, Some(EntryId::default())), (4, Some(EntryId::new(1, 2)))]
    {
        let answer = Body::AppendResp { index: LogIndex(index), reject };
        cluster.get(1).node.step(message(2, 1, 1, answer)).unwrap();
        assert_eq!(matched(&mut cluster), LogIndex(4));
    }
    cluster.deliver();
    cluster.propose(1, "d");
    assert_eq!(cluster.commits()[1], 5);
}

/// microsoft/CCF #8094: stepping down within a term must not free the vote.
#[test]
fn ccf_8094_a_vote_is_kept_within_its_term() {
    for config in [plain, full] {
        let mut member = Member::new(config(1), log_of(&[]));
        let ask =
            |from| message(from, 1, 1, Body::Vote { last: EntryId::default(), transfer: false });
        member.node.step(ask(2)).unwrap();
        let heartbeat = Body::Heartbeat { commit: LogIndex::ZERO, context: None };
        member.node.step(message(2, 1, 1, heartbeat)).unwrap();
        member.node.forget_leader();
        // A pre-vote round of its own that comes to nothing.
        let _ = member.node.campaign();
        let before = member.hard_state();
        if before.term == Term(1) {
            for from in [2, 3] {
                let refusal = Body::PreVoteResp { reject: true, committed: None };
                member.node.step(message(from, 1, 1, refusal)).unwrap();
            }
            assert_eq!(member.hard_state().vote, Some(id(2)));
            member.node.step(ask(3)).unwrap();
            member.settle();
            let last = member.outbox.last().unwrap();
            assert_eq!(last.body, Body::VoteResp { reject: true, committed: None });
        }
    }
}

/// A member whose state is being replaced does not campaign: it would lead without it.
#[test]
fn nobody_campaigns_while_a_snapshot_is_being_installed() {
    let mut member = Member::new(plain(3), MemStorage::new());
    let meta = SnapshotMeta { id: EntryId::new(1, 5), conf_state: voters(&[1, 2, 3]) };
    let snapshot = Box::new(Snapshot { meta, data: Vec::new() });
    member.node.step(message(1, 3, 1, Body::Snapshot { snapshot })).unwrap();
    let append = member.ready().0.unwrap();
    assert_eq!(member.node.campaign(), Err(CampaignRefused::NotPromotable));
    for _ in 0..100 {
        member.node.tick();
    }
    member.node.step(message(1, 3, 1, Body::TimeoutNow)).unwrap();
    assert_eq!(member.node.status().soft_state.role, StateRole::Follower);
    member.append(append);
    assert_eq!(member.node.campaign(), Ok(()));
}

/// cockroach #8535: the order to campaign reaches somebody who is no member.
#[test]
fn cockroach_8535_a_removed_member_does_not_obey_the_order_to_campaign() {
    let mut member = Member::new(plain(9), log_of(&[1]));
    member.node.step(message(1, 9, 1, Body::TimeoutNow)).unwrap();
    assert_eq!(member.node.status().soft_state.role, StateRole::Follower);
    assert_eq!(member.node.campaign(), Err(CampaignRefused::NotPromotable));
}

/// etcd #8501, raft-rs #42: pre-vote is switched on member by member; one without it has a higher
/// term and a shorter log. Its requests must not be ignored on both sides for ever.
#[test]
fn etcd_8501_pre_vote_can_be_switched_on_one_by_one() {
    let rolling = |n| Config { pre_vote: n != 3, check_quorum: false, ..plain(n) };
    let mut cluster = Cluster::new(3, rolling);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.propose(1, "a");
    for _ in 0..5 {
        cluster.campaign(3);
    }
    assert!(cluster.get(3).term() > cluster.get(1).term());
    // Node 3 gets pre-vote too, by a restart; node 1 is gone for good.
    let disk = cluster.get(3).node.storage().clone();
    *cluster.get(3) = Member::new(Config { pre_vote: true, ..plain(3) }, disk);
    cluster.heal();
    cluster.isolate(1);
    cluster.tick(80);
    let leader = [2, 3].into_iter().find(|n| cluster.role(*n) == StateRole::Leader);
    assert_eq!(leader, Some(2), "the one with the longer log");
    assert_eq!(cluster.get(3).payloads(), [b"a"]);
}

/// etcd #9586, #10355, raft-rs #83: a pre-candidate that keeps the leader or votes of an earlier
/// try never wins, or wins by old votes.
#[test]
fn etcd_10355_a_pre_candidate_begins_with_nothing() {
    let mut cluster = Cluster::new(5, full);
    cluster.elect(1);
    let forget = |cluster: &mut Cluster| (3..=5).for_each(|n| cluster.get(n).node.forget_leader());
    for round in 0..5 {
        // Two of five, and each time another one.
        cluster.heal();
        for n in [1, 3, 4, 5].into_iter().filter(|n| *n != 3 + round % 3) {
            cluster.isolate(n);
        }
        forget(&mut cluster);
        cluster.campaign(2);
        assert_eq!(cluster.role(2), StateRole::PreCandidate);
        assert_eq!(cluster.leader_of(2), None);
    }
    cluster.heal();
    cluster.isolate(1);
    forget(&mut cluster);
    cluster.elect(2);
}

/// hashicorp #606: a member gives its former leader its word like anybody else, and that does not
/// count as having heard of a leader.
#[test]
fn hashicorp_606_the_former_leader_can_be_elected_again() {
    let mut cluster = Cluster::new(3, full);
    cluster.elect(1);
    cluster.isolate(1);
    cluster.tick(60);
    assert_ne!(cluster.role(1), StateRole::Leader);
    cluster.heal();
    cluster.tick(3);
    for n in 1..=3 {
        cluster.get(n).node.forget_leader();
    }
    cluster.elect(1);
}

/// redpanda #30817: what a leader says may be rejected; that it lives is true all the same.
#[test]
fn redpanda_30817_a_rejected_append_puts_off_the_election() {
    let mut member = Member::new(plain(2), log_of(&[]));
    for round in 0..20 {
        for _ in 0..9 {
            member.node.tick();
        }
        let append = Body::Append {
            prev: EntryId::new(1, 100 + round),
            entries: Vec::new(),
            commit: LogIndex::ZERO,
        };
        member.node.step(message(1, 2, 1, append)).unwrap();
        member.settle();
        assert_eq!(member.node.status().soft_state.role, StateRole::Follower);
    }
}

/// openraft #1828: a learner that was never reached, and a leader whose log is all compacted: it
/// needs a snapshot, and probes of an empty range are no use.
#[test]
fn openraft_1828_a_new_learner_of_a_compacted_log_gets_a_snapshot() {
    let mut cluster = Cluster::new(1, full);
    cluster.elect(1);
    cluster.propose(1, "a");
    let add = ConfChange::v1(ConfChangeKind::AddLearnerNode, NodeId::new(2));
    cluster.get(1).node.propose_conf_change(add).unwrap();
    cluster.deliver();
    let applied = cluster.get(1).applied_index();
    let disk = cluster.get(1).node.storage_mut();
    let conf_state = disk.conf_state().clone();
    disk.create_snapshot(applied, conf_state, Vec::new()).unwrap();
    disk.compact(applied).unwrap();
    // Unreachable for a long time.
    cluster.tick(50);
    cluster.get(1).node.report_unreachable(id(2));
    cluster.add(Member::new(full(2), MemStorage::new()));
    cluster.tick(3);
    assert_eq!(cluster.commits(), [3, 3]);
    assert!(cluster.get(2).node.status().is_learner);
}

/// raft #52, etcd #14633: a follower that has everything and was marked unreachable.
#[test]
fn raft_52_a_follower_that_is_caught_up_leaves_probe() {
    let mut cluster = Cluster::new(3, full);
    cluster.elect(1);
    cluster.get(1).node.report_unreachable(id(2));
    let state = |cluster: &mut Cluster| cluster.get(1).node.status().progress[1].1.state();
    assert_eq!(state(&mut cluster), ProgressState::Probe);
    cluster.tick(1);
    assert_eq!(state(&mut cluster), ProgressState::Replicate);
}

/// raft #52: everything that filled the window was lost.
#[test]
fn raft_52_a_full_window_of_lost_messages_is_found_out() {
    let mut cluster = Cluster::new(2, |n| Config { max_inflight_msgs: 4, ..full(n) });
    cluster.elect(1);
    cluster.isolate(2);
    for i in 0..10u8 {
        cluster.get(1).node.propose(vec![i]).unwrap();
        cluster.deliver();
    }
    let progress = cluster.get(1).node.status().progress[1].1.clone();
    assert!(progress.is_paused() && progress.inflight_messages() == 4, "{progress}");
    cluster.heal();
    cluster.tick(2);
    assert_eq!(cluster.commits(), [11, 11]);
    let progress = &cluster.get(1).node.status().progress[1].1;
    assert_eq!((progress.inflight_messages(), progress.inflight_bytes()), (0, 0));
}

/// etcd #18055: two snapshots in a short time, the second while the first is being installed.
#[test]
fn etcd_18055_two_snapshots_in_a_row() {
    let snapshot = |index| {
        let meta = SnapshotMeta { id: EntryId::new(1, index), conf_state: voters(&[1, 2, 3]) };
        Body::Snapshot { snapshot: Box::new(Snapshot { meta, data: vec![index as u8] }) }
    };
    let mut member = Member::new(plain(3), MemStorage::new());
    member.node.step(message(1, 3, 1, snapshot(5))).unwrap();
    let first = member.ready().0.unwrap();
    member.node.step(message(1, 3, 1, snapshot(9))).unwrap();
    // An old one after it changes nothing.
    member.node.step(message(1, 3, 1, snapshot(7))).unwrap();
    let second = member.ready().0.unwrap();
    assert_eq!(second.snapshot.as_ref().unwrap().meta.id.index, LogIndex(9));
    member.append(first);
    assert_eq!(member.applied_index(), LogIndex(5));
    member.append(second);
    member.settle();
    assert_eq!((member.applied_index(), member.commit()), (LogIndex(9), 9));
    assert_eq!(member.node.storage().conf_state(), &voters(&[1, 2, 3]));
}

/// A snapshot of entries that a follower has: it learns that they are committed, and keeps them.
#[test]
fn a_snapshot_of_known_entries_only_moves_the_commit_index() {
    let mut member = Member::new(plain(3), log_of(&[1, 1, 1]));
    let meta = SnapshotMeta { id: EntryId::new(1, 2), conf_state: voters(&[1, 2, 3]) };
    let snapshot = Box::new(Snapshot { meta, data: Vec::new() });
    member.node.step(message(1, 3, 1, Body::Snapshot { snapshot })).unwrap();
    member.settle();
    assert_eq!((member.commit(), member.payloads().len()), (2, 2));
    let answer = Body::AppendResp { index: LogIndex(2), reject: None };
    assert_eq!(member.outbox.last().unwrap().body, answer);
}

/// A snapshot for a group that one is no member of, or that is no group, is not taken.
#[test]
fn foreign_and_impossible_snapshots_are_not_taken() {
    let mut member = Member::new(plain(3), MemStorage::new());
    let mut offer = |conf_state: raft::ConfState| {
        let meta = SnapshotMeta { id: EntryId::new(1, 5), conf_state };
        let snapshot = Box::new(Snapshot { meta, data: Vec::new() });
        let stepped = member.node.step(message(1, 3, 1, Body::Snapshot { snapshot }));
        assert_eq!(member.commit(), 0);
        stepped
    };
    assert_eq!(offer(voters(&[1, 2])), Ok(()));
    let mut contradictory = voters(&[1, 2, 3]);
    contradictory.learners = crate::harness::ids(&[3]);
    assert_eq!(offer(contradictory), Err(StepError::Malformed));
}

/// raft-rs #392: the state machine and the log do not fit.
#[test]
fn raft_rs_392_applied_out_of_range_is_an_error() {
    for applied in [4, 100] {
        let config = Config { applied: LogIndex(applied), ..plain(1) };
        let started = RawNode::new(config, log_of(&[1, 1, 1]));
        assert!(matches!(started, Err(StartError::AppliedOutOfRange { .. })), "{applied}");
    }
}

/// A state machine may come to disk when the commit index, which nothing syncs, does not.
#[test]
fn what_was_applied_is_committed_at_a_restart() {
    let mut disk = log_of(&[1, 1, 1]);
    disk.set_hard_state(HardState { term: Term(1), vote: None, commit: LogIndex(1) });
    let member = Member::new(Config { applied: LogIndex(2), ..plain(1) }, disk);
    assert_eq!((member.commit(), member.applied_index()), (2, LogIndex(2)));
}

/// A commit index beyond the log: the log was cut behind the node's back.
#[test]
fn a_log_that_is_shorter_than_its_commit_index_does_not_start() {
    let mut disk = log_of(&[1, 1, 1]);
    disk.set_hard_state(HardState { term: Term(1), vote: None, commit: LogIndex(9) });
    let lost = raft::Fatal::LogLost { commit: LogIndex(9), last: LogIndex(3) };
    assert_eq!(RawNode::new(plain(1), disk).unwrap_err(), StartError::Fatal(lost));
}

/// A configuration that contradicts itself does not start, and neither do settings that do.
#[test]
fn what_makes_no_sense_does_not_start() {
    let mut conf_state = voters(&[1, 2]);
    conf_state.learners = crate::harness::ids(&[2]);
    let started = RawNode::new(plain(1), storage(conf_state));
    assert!(matches!(started, Err(StartError::ConfState(_))), "{started:?}");
    type Spoil = fn(&mut Config);
    let wrong: [(&str, Spoil); 5] = [
        ("heartbeat tick must", |c| c.heartbeat_tick = 0),
        ("election tick must", |c| c.election_tick = 1),
        ("max inflight messages", |c| c.max_inflight_msgs = 0),
        ("max inflight bytes", |c| c.max_inflight_bytes = std::num::NonZeroU64::new(10)),
        ("lease-based reads", |c| c.read_only = raft::ReadOnlyOption::LeaseBased),
    ];
    for (text, spoil) in wrong {
        let mut config = plain(1);
        spoil(&mut config);
        let error = RawNode::new(config, storage(voters(&[1]))).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}

/// A term that has no next one would allow two votes in it: it is never reached.
#[test]
fn the_last_term_is_never_reached() {
    let heartbeat = || Body::Heartbeat { commit: LogIndex::ZERO, context: None };
    let mut member = Member::new(plain(1), log_of(&[1]));
    let stepped = member.node.step(message(2, 1, u64::MAX, heartbeat()));
    assert_eq!((stepped, member.term()), (Err(StepError::Malformed), 1));
    member.node.step(message(2, 1, u64::MAX - 1, heartbeat())).unwrap();
    assert_eq!(member.node.campaign(), Err(CampaignRefused::LastTerm));
    member.node.step(message(2, 1, u64::MAX - 1, Body::TimeoutNow)).unwrap();
    assert_eq!(member.term(), u64::MAX - 1);
}

/// Term zero has no leader; in etcd-io/raft a message of it passes for a local call.
#[test]
fn a_message_of_term_zero_is_old_news() {
    let mut member = Member::new(plain(1), log_of(&[1]));
    let before = member.node.clone();
    for body in [
        Body::Heartbeat { commit: LogIndex(1), context: None },
        Body::Append { prev: EntryId::default(), entries: Vec::new(), commit: LogIndex(1) },
        Body::TimeoutNow,
    ] {
        member.node.step(message(2, 1, 0, body)).unwrap();
    }
    assert_eq!(member.node, before);
}

/// Answers of strangers, messages for others and in one's own name.
#[test]
fn messages_that_are_not_for_this_node_are_refused() {
    let mut member = Member::new(plain(1), log_of(&[1]));
    let before = member.node.clone();
    let answer = || Body::AppendResp { index: LogIndex(1), reject: None };
    let cases = [
        (message(9, 1, 1, answer()), StepError::PeerNotFound(id(9))),
        (message(2, 3, 1, answer()), StepError::WrongRecipient(id(3))),
        (message(1, 1, 1, answer()), StepError::LocalMessage),
    ];
    for (message, error) in cases {
        assert_eq!(member.node.step(message), Err(error));
    }
    assert_eq!(member.node, before);
    // A leader that one does not know is a leader: one may have been away for long.
    let heartbeat = Body::Heartbeat { commit: LogIndex(1), context: None };
    member.node.step(message(9, 1, 5, heartbeat)).unwrap();
    assert_eq!(member.node.status().soft_state.leader, Some(id(9)));
}
