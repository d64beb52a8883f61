//! Holes that a small simulator found in etcd-io/raft v3.7.0 itself, mostly in modes that etcd does
//! not use. Each is made impossible here; the numbers are those of the crate's table of
//! differences.

use crate::cluster::{Cluster, entries, full, log_of, message, plain};
use crate::harness::{Member, Payload, id, storage, voters};
use raft::{
    Body, ConfChange, ConfChangeError, ConfChangeKind, ConfChangeSingle, ConfChangeTransition,
    Config, EntryBody, EntryId, Fatal, HardState, LogIndex, MemStorage, NodeId, Snapshot,
    SnapshotMeta, StateRole, StepError, Term,
};
use std::num::NonZeroU64;

/// Starts again on what is on disk.
fn restart(member: &Member, config: Config) -> Member {
    Member::new(config, member.node.storage().clone())
}

/// 5.1 (a): a candidate that asks for votes before its term is on disk may crash, campaign in the
/// same term again and be voted for again, with another log. Here nobody has heard of the first
/// campaign.
#[test]
fn hole_5_1_a_a_candidate_has_one_life_per_term() {
    let mut member = Member::new(plain(1), log_of(&[1]));
    member.node.campaign().unwrap();
    let (append, _) = member.ready();
    assert!(member.outbox.is_empty(), "nobody is asked yet: {:?}", member.outbox);
    // A crash here loses the term, and nobody knows of it.
    let after_crash = restart(&member, plain(1));
    assert_eq!(after_crash.term(), 1);
    // Without a crash the requests leave with the append.
    let append = append.unwrap();
    assert!(append.must_sync);
    member.append(append);
    let asked: Vec<_> = member.outbox.iter().map(|m| (m.to.get(), m.body.name())).collect();
    assert_eq!(asked, [(2, "MsgVote"), (3, "MsgVote")]);
    assert_eq!(restart(&member, plain(1)).hard_state().vote, Some(id(1)));
}

/// 5.1 (b): waiting for the own vote alone is not enough. The vote of another must not rest on
/// entries that the candidate may still lose: they are on its disk before it asks.
#[test]
fn hole_5_1_b_votes_are_asked_for_a_log_that_is_on_disk() {
    let mut member = Member::new(plain(1), log_of(&[1]));
    let append = Body::Append {
        prev: EntryId::new(1, 1),
        entries: entries(2, &[1, 1]),
        commit: LogIndex::ZERO,
    };
    member.node.step(message(2, 1, 1, append)).unwrap();
    let entries_append = member.ready().0.unwrap();
    member.node.campaign().unwrap();
    let vote_append = member.ready().0.unwrap();
    assert!(member.outbox.is_empty());
    member.append(entries_append);
    // The acknowledgement may go now, the requests not yet: the term is not on disk.
    let kinds =
        |member: &Member| -> Vec<_> { member.outbox.iter().map(|m| m.body.name()).collect() };
    assert_eq!(kinds(&member), ["MsgAppResp"]);
    member.append(vote_append);
    let Body::Vote { last, .. } = member.outbox[1].body else { panic!("{:?}", member.outbox) };
    let disk = restart(&member, plain(1));
    assert_eq!(disk.node.status().last_index, last.index);
    assert_eq!(disk.term(), 2);
}

/// 5.2: the configuration follows what is applied. If the commit index could fall behind a change
/// that was in force, a crash would undo it. So the index is synced when the change is handed out.
#[test]
fn hole_5_2_a_conf_change_is_not_handed_out_without_a_synced_commit() {
    let mut member = Member::new(full(1), storage(voters(&[1])));
    member.node.campaign().unwrap();
    member.settle();
    let add = ConfChange::v1(ConfChangeKind::AddLearnerNode, NodeId::new(2));
    member.node.propose_conf_change(add).unwrap();
    let append = member.ready().0.unwrap();
    member.append(append);
    let (commit, apply) = member.ready();
    let commit = commit.unwrap();
    assert!(apply.unwrap().entries.iter().any(|entry| entry.body.is_conf_change()));
    assert!(commit.must_sync, "the commit index is synced with it");
    assert_eq!(commit.hard_state.unwrap().commit, LogIndex(2));
}

/// 5.2, with the apply so far behind that the commit index was written, unsynced, long ago: there
/// is another append for it.
#[test]
fn hole_5_2_a_late_conf_change_has_a_sync_of_its_own() {
    let mut config = full(1);
    config.max_committed_size_per_ready = NonZeroU64::new(1);
    let mut member = Member::new(config, storage(voters(&[1])));
    member.node.campaign().unwrap();
    member.settle();
    member.node.propose(vec![0; 100]).unwrap();
    let add = ConfChange::v1(ConfChangeKind::AddLearnerNode, NodeId::new(2));
    member.node.propose_conf_change(add).unwrap();
    let append = member.ready().0.unwrap();
    member.append(append);
    // One entry at a time: first the large one.
    let (commit, apply) = member.ready();
    let commit = commit.unwrap();
    assert!(!commit.must_sync);
    member.append(commit);
    member.apply(apply.unwrap());
    let (sync, apply) = member.ready();
    assert!(apply.as_ref().unwrap().entries[0].body.is_conf_change());
    let sync = sync.expect("an append that does nothing but sync");
    assert!(sync.must_sync && sync.entries.is_empty());
    assert_eq!(sync.hard_state.unwrap().commit, LogIndex(3));
    member.append(sync);
    member.apply(apply.unwrap());
    // Once is enough.
    member.settle();
    assert!(!member.node.has_ready());
}

/// 5.2 and the crash: what was in force comes back before the node can campaign.
#[test]
fn hole_5_2_a_restarted_member_campaigns_with_the_configuration_that_was_in_force() {
    let mut member = Member::new(full(1), storage(voters(&[1])));
    member.node.campaign().unwrap();
    member.settle();
    let add = ConfChange::v1(ConfChangeKind::AddNode, NodeId::new(2));
    member.node.propose_conf_change(add).unwrap();
    member.settle();
    // Its state machine is lost: it starts with the members of index 0.
    let mut disk = member.node.storage().clone();
    disk.set_conf_state(voters(&[1]));
    let mut restarted = Member::new(full(1), disk);
    assert!(restarted.node.campaign().is_err(), "the change is committed and not applied");
    restarted.settle();
    assert_eq!(restarted.node.status().config.to_string(), "voters=(1 2)");
    restarted.node.campaign().unwrap();
    restarted.settle();
    assert_ne!(restarted.node.status().soft_state.role, StateRole::Leader);
}

/// 5.3: also a voter alone does not know what is committed before it commits in its own term.
#[test]
fn hole_5_3_raft_105_a_restarted_voter_alone_does_not_read_in_the_past() {
    let mut member = Member::new(full(1), storage(voters(&[1])));
    member.node.campaign().unwrap();
    member.settle();
    member.node.propose(b"a".to_vec()).unwrap();
    let append = member.ready().0.unwrap();
    member.append(append);
    // Committed, applied, seen; the commit index is not on disk.
    assert_eq!(member.commit(), 2);
    let mut restarted = restart(&member, full(1));
    assert_eq!(restarted.commit(), 1);
    restarted.node.campaign().unwrap();
    while restarted.node.status().soft_state.role != StateRole::Leader {
        let (append, apply) = restarted.ready();
        if let Some(apply) = apply {
            restarted.apply(apply);
        }
        restarted.append(append.unwrap());
    }
    restarted.node.read_index(b"r".to_vec()).unwrap();
    let (append, _) = restarted.ready();
    assert!(restarted.read_states.is_empty(), "not before a commit in its term");
    restarted.append(append.unwrap());
    restarted.settle();
    assert_eq!(restarted.read_states[0].index, LogIndex(3));
}

/// 5.4: a leader that has removed itself from {1, 2} sees one voter, and it is another.
#[test]
fn hole_5_4_a_removed_leader_does_not_take_itself_for_the_only_voter() {
    let remove = || ConfChange::v1(ConfChangeKind::RemoveNode, NodeId::new(1));
    // Even where it is told to stay in office.
    let stay = |n| Config { step_down_on_removal: false, ..plain(n) };
    let mut cluster = Cluster::new(2, stay);
    cluster.elect(1);
    cluster.get(1).node.propose_conf_change(remove()).unwrap();
    cluster.deliver();
    cluster.isolate(1);
    cluster.elect(2);
    cluster.propose(2, "a");
    assert_eq!(cluster.role(1), StateRole::Leader, "it does not know better");
    cluster.get(1).node.read_index(b"r".to_vec()).unwrap();
    cluster.tick(3);
    assert!(cluster.get(1).read_states.is_empty());

    let mut cluster = Cluster::new(2, plain);
    cluster.elect(1);
    cluster.get(1).node.propose_conf_change(remove()).unwrap();
    cluster.deliver();
    assert_eq!(cluster.role(1), StateRole::Follower);
    let dropped = StepError::Dropped(raft::DropReason::NoLeader);
    assert_eq!(cluster.get(1).node.read_index(b"r".to_vec()), Err(dropped));
}

/// 5.4, the other side: a leader that removes itself from {1, 2} may have a longer log than member
/// 2, and its last word may be lost. Member 2 then needs a vote that it cannot get; it learns from
/// the refusal that it is alone.
#[test]
fn hole_5_4_the_member_that_stays_learns_that_it_is_alone() {
    for config in [plain, full] {
        let mut cluster = Cluster::new(2, config);
        cluster.elect(1);
        let remove = ConfChange::v1(ConfChangeKind::RemoveNode, NodeId::new(1));
        cluster.get(1).node.propose_conf_change(remove).unwrap();
        let messages = cluster.collect();
        // Proposals that only the leader has.
        cluster.get(1).node.propose(b"a".to_vec()).unwrap();
        cluster.send(messages);
        let answers = cluster.collect();
        let answers = answers.into_iter().filter(|m| m.to == id(1)).collect();
        cluster.send(answers);
        // It commits and applies its removal, and is not heard any more.
        cluster.collect();
        assert_eq!(cluster.role(1), StateRole::Follower);
        assert_eq!(cluster.get(2).node.status().config.to_string(), "voters=(1 2)");
        cluster.tick(60);
        assert_eq!(cluster.role(2), StateRole::Leader);
        assert_eq!(cluster.get(2).node.status().config.to_string(), "voters=(2)");
    }
}

/// 5.5: the smallest limits are legal and stop nothing, also after a restart.
#[test]
fn hole_5_5_the_smallest_limits_do_not_stop_a_restarted_member() {
    let mut config = full(1);
    config.max_size_per_msg = NonZeroU64::new(1);
    config.max_committed_size_per_ready = NonZeroU64::new(1);
    let mut member = Member::new(config.clone(), storage(voters(&[1])));
    member.node.campaign().unwrap();
    member.settle();
    for payload in [b"a", b"b", b"c"] {
        member.node.propose(payload.to_vec()).unwrap();
    }
    member.settle();
    config.applied = LogIndex(2);
    let mut restarted = restart(&member, config);
    restarted.settle();
    assert_eq!(restarted.payloads(), [b"b", b"c"]);
}

/// 5.6: what cannot be applied is not taken into the log.
#[test]
fn hole_5_6_impossible_changes_are_refused_when_they_are_proposed() {
    use ConfChangeKind::{AddLearnerNode, RemoveNode, UpdateNode};
    use ConfChangeTransition::{Auto, JointExplicit, JointImplicit};
    let single = |kind, n| ConfChangeSingle::new(kind, NodeId::new(n));
    let impossible = [
        ConfChange::v1(RemoveNode, NodeId::new(1)),
        ConfChange::v1(AddLearnerNode, NodeId::new(1)),
        ConfChange::v2(Auto, vec![single(RemoveNode, 1)]),
        ConfChange::v2(JointExplicit, vec![single(RemoveNode, 1)]),
        ConfChange::v2(Auto, vec![single(RemoveNode, 1), single(AddLearnerNode, 2)]),
        ConfChange::v2(JointImplicit, vec![]),
        ConfChange::v2(JointExplicit, vec![]),
        ConfChange::leave_joint(),
        ConfChange::AutoLeave,
    ];
    let mut member = Member::new(full(1), storage(voters(&[1])));
    member.node.campaign().unwrap();
    for change in impossible.clone() {
        member.node.storage_mut();
        member.settle();
        member.node.propose_conf_change(change.clone()).unwrap();
        member.settle();
        assert_eq!(member.applied.last().unwrap().body, EntryBody::Refused, "{change:?}");
    }
    // In a joint configuration the only way on is out, in the one form that is applied as such.
    let enter = ConfChange::v2(JointExplicit, vec![single(UpdateNode, 1)]);
    member.node.propose_conf_change(enter).unwrap();
    member.settle();
    assert!(member.node.status().config.is_joint());
    for change in &impossible[..7] {
        member.node.propose_conf_change(change.clone()).unwrap();
        member.settle();
        assert_eq!(member.applied.last().unwrap().body, EntryBody::Refused, "{change:?}");
    }
    member.node.propose_conf_change(ConfChange::leave_joint()).unwrap();
    member.settle();
    assert!(!member.node.status().config.is_joint());
}

/// 5.6: a driver that checks by itself, and fails to, gets an error and not a dead process.
#[test]
fn hole_5_6_an_impossible_change_is_an_error_when_it_is_applied() {
    let config = Config { disable_conf_change_validation: true, ..full(1) };
    let mut member = Member::new(config, storage(voters(&[1])));
    member.node.campaign().unwrap();
    member.settle();
    let remove = ConfChange::v1(ConfChangeKind::RemoveNode, NodeId::new(1));
    member.node.propose_conf_change(remove.clone()).unwrap();
    let append = member.ready().0.unwrap();
    member.append(append);
    let (append, apply) = member.ready();
    member.append(append.unwrap());
    let at = apply.unwrap().entries[0].id.index;
    let applied = member.node.apply_conf_change(at, &remove);
    assert_eq!(applied, Err(ConfChangeError::RemovedAllVoters));
    assert_eq!(member.node.status().config.to_string(), "voters=(1)");
}

fn snapshot(term: u64, index: u64, members: &[u64]) -> Box<Snapshot<Payload>> {
    let meta = SnapshotMeta { id: EntryId::new(term, index), conf_state: voters(members) };
    Box::new(Snapshot { meta, data: b"state".to_vec() })
}

/// 5.7: a snapshot and the entries that follow it may come in one batch; first the one, then the
/// others.
#[test]
fn hole_5_7_a_snapshot_and_entries_in_one_append() {
    let mut member = Member::new(plain(3), MemStorage::new());
    let snapshot = Body::Snapshot { snapshot: snapshot(2, 7, &[1, 2, 3]) };
    member.node.step(message(1, 3, 2, snapshot)).unwrap();
    let append = Body::Append {
        prev: EntryId::new(2, 7),
        entries: entries(8, &[2, 2]),
        commit: LogIndex(8),
    };
    member.node.step(message(1, 3, 2, append)).unwrap();
    let (append, apply) = member.ready();
    let append = append.unwrap();
    assert_eq!(append.snapshot.as_ref().unwrap().meta.id, EntryId::new(2, 7));
    assert_eq!(append.entries.len(), 2);
    assert!(append.must_sync && apply.is_none(), "first the snapshot");
    member.append(append);
    let answers: Vec<_> = member.outbox.iter().map(ToString::to_string).collect();
    assert_eq!(answers, ["3->1 MsgAppResp Term:2 Log:0/7", "3->1 MsgAppResp Term:2 Log:0/9"]);
    member.settle();
    assert_eq!(member.applied.iter().map(|e| e.id.index.0).collect::<Vec<_>>(), [8]);
    let disk = member.node.storage();
    assert_eq!(disk.iter().map(|e| e.id.index.0).collect::<Vec<_>>(), [8, 9]);
}

/// 5.7: a leader that has joined by a snapshot has made none itself; that is no reason to die when
/// somebody needs one.
#[test]
fn hole_5_7_a_leader_without_a_snapshot_lets_a_lagging_member_wait() {
    let meta = SnapshotMeta { id: EntryId::new(1, 7), conf_state: voters(&[1, 2]) };
    let mut disk = MemStorage::at(meta);
    disk.set_hard_state(HardState { term: Term(1), vote: None, commit: LogIndex(7) });
    let mut cluster = Cluster::of(vec![
        Member::new(plain(1), disk.clone()),
        Member::new(plain(2), disk),
        Member::new(plain(3), MemStorage::new()),
    ]);
    cluster.elect(1);
    let add = ConfChange::v1(ConfChangeKind::AddNode, NodeId::new(3));
    cluster.get(1).node.propose_conf_change(add).unwrap();
    cluster.tick(3);
    assert_eq!(cluster.get(3).node.status().last_index, LogIndex::ZERO);
    assert_eq!(cluster.get(1).node.fatal(), None);
    // When there is one it is sent, with the next heartbeat.
    let applied = cluster.get(1).applied_index();
    let disk = cluster.get(1).node.storage_mut();
    disk.create_snapshot(applied, voters(&[1, 2, 3]), Vec::new()).unwrap();
    cluster.tick(2);
    assert_eq!(cluster.commits()[2], applied.0);
}

/// A conf change that is being applied when a snapshot comes belongs to the old state: it must
/// neither be applied on top of the new configuration nor be missing from the old.
#[test]
fn a_conf_change_from_before_a_snapshot_does_not_touch_its_configuration() {
    let mut member = Member::new(plain(3), log_of(&[]));
    let enter = ConfChange::v2(
        ConfChangeTransition::JointExplicit,
        vec![ConfChangeSingle::new(ConfChangeKind::AddLearnerNode, NodeId::new(4))],
    );
    let mut new = entries(1, &[1]);
    new[0].body = EntryBody::ConfChange(Box::new(enter.clone()));
    let append = Body::Append { prev: EntryId::default(), entries: new, commit: LogIndex(1) };
    member.node.step(message(1, 3, 1, append)).unwrap();
    let append = member.ready().0.unwrap();
    member.append(append);
    let (append, apply) = member.ready();
    if let Some(append) = append {
        member.append(append);
    }
    // Now the snapshot, from long after the joint configuration was left and entered again.
    let mut snapshot = snapshot(1, 9, &[1, 3]);
    snapshot.meta.conf_state.voters_outgoing = vec![id(1), id(2), id(3)];
    let conf_state = snapshot.meta.conf_state.clone();
    member.node.step(message(1, 3, 1, Body::Snapshot { snapshot })).unwrap();
    let old = member.node.apply_conf_change(LogIndex(1), &enter).unwrap();
    assert_eq!((old.voters, old.learners), (crate::harness::ids(&[1, 2, 3]), vec![id(4)]));
    assert_eq!(member.node.status().config.conf_state(), conf_state);
    member.node.on_apply_done(apply.unwrap().ticket).unwrap();
    member.settle();
    assert_eq!(member.applied_index(), LogIndex(9));
    assert_eq!(*member.node.storage().conf_state(), conf_state);
}

/// A leader with a dead disk keeps office for ever, since heartbeats need no disk (etcd #13527).
#[test]
fn etcd_13527_a_leader_whose_disk_stalls_steps_down() {
    let mut cluster = Cluster::new(3, full);
    cluster.elect(1);
    cluster.get(1).node.propose(b"a".to_vec()).unwrap();
    let append = cluster.get(1).ready().0.unwrap();
    for tick in 1..=10 {
        assert_eq!(cluster.role(1), StateRole::Leader, "tick {tick}");
        cluster.get(1).node.tick();
    }
    assert_eq!(cluster.role(1), StateRole::Follower);
    assert_eq!(cluster.get(1).node.fatal(), None, "it may lead again");
    cluster.get(1).append(append);

    // Any progress is progress.
    let mut cluster = Cluster::new(3, full);
    cluster.elect(1);
    for round in 0..10u8 {
        cluster.get(1).node.propose(vec![round]).unwrap();
        let append = cluster.get(1).ready().0.unwrap();
        for _ in 0..9 {
            cluster.get(1).node.tick();
        }
        cluster.get(1).append(append);
        cluster.deliver();
        assert_eq!(cluster.role(1), StateRole::Leader, "round {round}");
    }
}

/// A wiped or restored member under its old name (raft #25, etcd #13509, #20269): it says so, and
/// neither votes nor campaigns, since it may have promised what it no longer knows.
#[test]
fn raft_25_a_member_that_lost_its_log_says_so_and_stays_out_of_elections() {
    let mut cluster = Cluster::new(3, plain);
    cluster.elect(1);
    cluster.propose(1, "a");
    *cluster.get(3) = Member::new(plain(3), storage(voters(&[1, 2, 3])));
    cluster.tick(1);
    let lost = Fatal::LogLost { commit: LogIndex(2), last: LogIndex::ZERO };
    let member = cluster.get(3);
    assert_eq!(member.node.fatal(), Some(&lost));
    assert!(!lost.halts());
    assert!(member.node.campaign().is_err());
    for _ in 0..50 {
        member.node.tick();
    }
    assert_eq!(member.node.status().soft_state.role, StateRole::Follower);
    let term = member.term() + 1;
    for body in [
        Body::Vote { last: EntryId::new(9, 9), transfer: false },
        Body::PreVote { last: EntryId::new(9, 9) },
    ] {
        member.node.step(message(2, 3, term, body)).unwrap();
    }
    member.settle();
    assert!(!member.outbox.iter().any(|m| m.body.name().contains("Vote")), "{:?}", member.outbox);
    // It confirms no reads either, at any commit index, but is alive and can be repaired: by the
    // next leader, which knows nothing of what it once had.
    member.outbox.clear();
    for commit in [0, 2] {
        let heartbeat = Body::Heartbeat { commit: LogIndex(commit), context: Some(7) };
        let _ = member.node.step(message(1, 3, term, heartbeat));
        member.settle();
        let answer = member.outbox.pop().unwrap();
        assert_eq!(answer.body, Body::HeartbeatResp { context: None });
    }
    cluster.campaign(2);
    cluster.elect(2);
    cluster.tick(2);
    assert_eq!(cluster.get(3).commit(), cluster.get(2).commit());
    assert!(cluster.get(3).node.campaign().is_err(), "for this life");
}

/// The leader finds out, and repairs it: by entries, or by a snapshot if they are gone.
#[test]
fn raft_104_a_member_that_lost_its_log_is_repaired_by_the_same_leader() {
    for compacted in [false, true] {
        let mut cluster = Cluster::new(3, full);
        cluster.elect(1);
        for payload in ["a", "b", "c"] {
            cluster.propose(1, payload);
        }
        *cluster.get(3) = Member::new(full(3), storage(voters(&[1, 2, 3])));
        // A heartbeat never names more than what the member has acknowledged.
        cluster.tick(1);
        if compacted {
            let disk = cluster.get(1).node.storage_mut();
            disk.create_snapshot(LogIndex(4), voters(&[1, 2, 3]), Vec::new()).unwrap();
            disk.compact(LogIndex(4)).unwrap();
        }
        cluster.propose(1, "d");
        cluster.get(1).node.report_unreachable(id(3));
        cluster.tick(3);
        assert_eq!(cluster.commits(), [5, 5, 5]);
        let repaired = cluster.get(3).payloads().len();
        assert_eq!(repaired, if compacted { 1 } else { 4 });
        assert_eq!(cluster.terms(), [1, 1, 1]);
        assert!(cluster.get(3).node.fatal().is_some() && cluster.get(3).node.campaign().is_err());
    }
}

/// What two members have committed must never differ; whoever finds out stops (openraft #1892).
#[test]
fn openraft_1892_a_member_that_contradicts_the_leader_on_committed_entries_stops() {
    let with_commit = |commit| {
        let mut disk = log_of(&[1, 1]);
        disk.set_hard_state(HardState { term: Term(1), vote: None, commit: LogIndex(commit) });
        Member::new(plain(1), disk)
    };
    let corrupt = Fatal::Corrupt { ours: EntryId::new(1, 2), theirs: EntryId::new(2, 2) };
    let mut member = with_commit(2);
    let snapshot_body = Body::Snapshot { snapshot: snapshot(2, 2, &[1, 2, 3]) };
    let stepped = member.node.step(message(2, 1, 2, snapshot_body));
    assert_eq!(stepped, Err(StepError::Fatal(corrupt.clone())));
    assert!(corrupt.halts() && member.node.has_ready());
    assert_eq!(member.node.ready(&mut raft::Ready::default()), Err(corrupt.clone()));
    let before = member.node.clone();
    member.node.tick();
    let stepped = member.node.step(message(2, 1, 3, Body::TimeoutNow));
    assert_eq!(stepped, Err(StepError::Fatal(corrupt)));
    assert_eq!(member.node, before, "it does nothing any more");

    // Entries after the committed one may differ.
    let mut member = with_commit(1);
    let append =
        Body::Append { prev: EntryId::new(1, 1), entries: entries(2, &[2]), commit: LogIndex(2) };
    member.node.step(message(2, 1, 2, append)).unwrap();
    assert_eq!(member.commit(), 2);
}
