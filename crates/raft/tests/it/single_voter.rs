//! A group of one: everything that needs no other member.

use crate::harness::{Member, id, storage, voters};
use raft::{
    CampaignRefused, ConfChange, ConfChangeKind, Config, DropReason, EntryBody, LogIndex,
    MemStorage, NodeId, OutOfOrder, RawNode, StartError, StateRole, StepError, Term,
};
use std::num::NonZeroU64;

fn config() -> Config {
    Config::new(id(1))
}

/// A leader alone, with its first entry applied.
fn leader_with(config: Config) -> Member {
    let mut member = Member::new(config, storage(voters(&[1])));
    member.node.campaign().unwrap();
    member.settle();
    member
}

fn leader() -> Member {
    leader_with(config())
}

#[test]
fn one_voter_elects_itself_and_commits_an_empty_entry() {
    let member = leader();
    let status = member.node.status();
    assert_eq!(status.soft_state.role, StateRole::Leader);
    assert_eq!(status.soft_state.leader, Some(id(1)));
    assert_eq!((member.term(), member.commit(), status.applied), (1, 1, LogIndex(1)));
    assert_eq!(member.applied.len(), 1);
    assert_eq!(member.applied[0].body, EntryBody::Empty);
    assert!(member.outbox.is_empty());
}

#[test]
fn one_voter_campaigns_within_twice_the_election_timeout() {
    let mut member = Member::new(config(), storage(voters(&[1])));
    let mut ticks = 0;
    while member.node.status().soft_state.role != StateRole::Leader {
        member.node.tick();
        member.settle();
        ticks += 1;
        assert!(ticks < 20, "no leader after {ticks} ticks");
    }
    assert!(ticks >= 10, "campaigned after {ticks} ticks");
}

/// Nothing is committed, let alone applied, before it is on the only disk there is (etcd #14370).
#[test]
fn etcd_14370_a_proposal_is_applied_only_after_its_append_is_done() {
    let mut member = leader();
    member.node.propose(b"a".to_vec()).unwrap();
    let (append, apply) = member.ready();
    let append = append.unwrap();
    assert!(append.must_sync);
    assert_eq!(append.entries.len(), 1);
    assert!(apply.is_none());
    // However often one asks.
    assert!(!member.node.has_ready());
    assert_eq!(member.commit(), 1);
    member.append(append);
    assert_eq!(member.commit(), 2);
    let (commit, apply) = member.ready();
    let commit = commit.unwrap();
    assert!(!commit.must_sync, "the commit index alone needs no sync");
    assert_eq!(commit.hard_state.unwrap().commit, LogIndex(2));
    member.append(commit);
    member.apply(apply.unwrap());
    assert_eq!(member.payloads(), [b"a"]);
}

#[test]
fn many_proposals_share_one_append_and_one_sync() {
    let mut member = leader();
    let (syncs, appends) = (member.syncs, member.appends);
    for i in 0..1000u32 {
        member.node.propose(i.to_le_bytes().to_vec()).unwrap();
    }
    member.settle();
    assert_eq!(member.payloads().len(), 1000);
    assert_eq!(member.syncs - syncs, 1);
    assert_eq!(member.appends - appends, 2, "the entries, then the commit index");
}

#[test]
fn proposals_made_while_an_append_is_under_way_go_into_the_next() {
    let mut member = leader();
    member.node.propose(b"a".to_vec()).unwrap();
    let first = member.ready().0.unwrap();
    member.node.propose(b"b".to_vec()).unwrap();
    let second = member.ready().0.unwrap();
    assert_eq!(second.entries.len(), 1);
    assert_eq!(second.entries[0].body, EntryBody::Normal(b"b".to_vec()));
    member.append(first);
    assert_eq!(member.commit(), 2);
    member.append(second);
    assert_eq!(member.commit(), 3);
    member.settle();
    assert_eq!(member.payloads(), [b"a", b"b"]);
}

/// openraft #1960: the completions of two appends swapped.
#[test]
fn openraft_1960_appends_reported_out_of_order_are_refused_and_nothing_happens() {
    let mut member = leader();
    member.node.propose(b"a".to_vec()).unwrap();
    let first = member.ready().0.unwrap();
    member.node.propose(b"b".to_vec()).unwrap();
    let second = member.ready().0.unwrap();
    let before = member.node.clone();
    let refused = member.node.on_append_done(second.ticket, &mut Vec::new());
    let Err(OutOfOrder::Append { expected, ticket }) = refused else {
        panic!("accepted out of order: {refused:?}");
    };
    assert_eq!(expected, Some(first.ticket.number()));
    assert_eq!(member.node, before);
    member.node.storage_mut().append(first.entries).unwrap();
    member.node.on_append_done(first.ticket, &mut Vec::new()).unwrap();
    assert_eq!(member.commit(), 2);
    member.node.storage_mut().append(second.entries).unwrap();
    member.node.on_append_done(ticket, &mut Vec::new()).unwrap();
    assert_eq!(member.commit(), 3);
}

#[test]
fn applies_reported_out_of_order_are_refused() {
    let mut config = config();
    config.max_committed_size_per_ready = NonZeroU64::new(1 << 20);
    let mut member = leader_with(config);
    member.node.propose(b"a".to_vec()).unwrap();
    let append = member.ready().0.unwrap();
    member.append(append);
    let (commit, first) = member.ready();
    member.append(commit.unwrap());
    member.node.propose(b"b".to_vec()).unwrap();
    let append = member.ready().0.unwrap();
    member.append(append);
    let (commit, second) = member.ready();
    member.append(commit.unwrap());
    let (first, second) = (first.unwrap(), second.unwrap());
    let refused = member.node.on_apply_done(second.ticket);
    let Err(OutOfOrder::Apply { ticket, .. }) = refused else {
        panic!("accepted out of order: {refused:?}");
    };
    assert_eq!(member.applied_index(), LogIndex(1));
    member.node.on_apply_done(first.ticket).unwrap();
    member.node.on_apply_done(ticket).unwrap();
    assert_eq!(member.applied_index(), LogIndex(3));
}

#[test]
fn a_restarted_voter_applies_again_what_its_state_machine_does_not_have() {
    let mut member = leader();
    for payload in [b"a", b"b", b"c"] {
        member.node.propose(payload.to_vec()).unwrap();
    }
    member.settle();
    let disk = member.node.storage().clone();

    let mut whole = Member::new(config(), disk.clone());
    whole.settle();
    assert_eq!(whole.payloads(), [b"a", b"b", b"c"]);
    assert_eq!(whole.hard_state().vote, Some(id(1)));
    assert_eq!(whole.node.status().soft_state.role, StateRole::Follower);

    let mut later = Member::new(Config { applied: LogIndex(3), ..config() }, disk);
    later.settle();
    assert_eq!(later.payloads(), [b"c"]);
    later.node.campaign().unwrap();
    later.settle();
    assert_eq!((later.term(), later.commit()), (2, 5));
}

#[test]
fn a_restart_after_compaction_goes_on_where_the_log_begins() {
    let mut member = leader();
    for i in 0..10u8 {
        member.node.propose(vec![i]).unwrap();
    }
    member.settle();
    let storage = member.node.storage_mut();
    storage.create_snapshot(LogIndex(8), voters(&[1]), b"state".to_vec()).unwrap();
    storage.compact(LogIndex(6)).unwrap();
    let disk = storage.clone();
    let mut restarted = Member::new(Config { applied: LogIndex(8), ..config() }, disk.clone());
    restarted.settle();
    assert_eq!(restarted.payloads(), [[7], [8], [9]]);
    let early = RawNode::new(Config { applied: LogIndex(5), ..config() }, disk.clone());
    assert!(matches!(early, Err(StartError::AppliedOutOfRange { .. })), "{early:?}");
    let late = RawNode::new(Config { applied: LogIndex(13), ..config() }, disk);
    assert!(matches!(late, Err(StartError::AppliedOutOfRange { .. })), "{late:?}");
}

#[test]
fn bootstrap_makes_the_members_the_first_entries_of_the_log() {
    let members = [(id(1), Some(b"context".to_vec()))];
    let node = RawNode::bootstrap(config(), MemStorage::new(), members).unwrap();
    let mut member = Member::of(node);
    let (append, apply) = member.ready();
    let append = append.unwrap();
    assert!(append.must_sync && apply.is_none());
    let hard_state = append.hard_state.unwrap();
    assert_eq!((hard_state.term, hard_state.commit), (Term(1), LogIndex(1)));
    let EntryBody::ConfChange(change) = &append.entries[0].body else { panic!("{append:?}") };
    assert_eq!(change.context(), Some(&b"context".to_vec()));
    // Not before the configuration is known for sure.
    assert_eq!(member.node.campaign(), Err(CampaignRefused::ConfChangePending));
    member.append(append);
    member.settle();
    member.node.campaign().unwrap();
    member.settle();
    assert_eq!((member.term(), member.commit()), (2, 2));
    let status = member.node.status();
    assert_eq!(status.soft_state.role, StateRole::Leader);
    assert_eq!(status.config.conf_state(), voters(&[1]));

    let used = member.node.storage().clone();
    let again = RawNode::bootstrap(config(), used, [(id(1), None)]);
    assert_eq!(again.unwrap_err(), StartError::NotBootstrappable);
    let nobody = RawNode::<Vec<u8>, _>::bootstrap(config(), MemStorage::new(), []);
    assert_eq!(nobody.unwrap_err(), StartError::NotBootstrappable);
}

#[test]
fn without_a_leader_proposals_and_reads_are_dropped() {
    let mut member = Member::new(config(), storage(voters(&[1])));
    let dropped = Err(StepError::Dropped(DropReason::NoLeader));
    assert_eq!(member.node.propose(b"a".to_vec()), dropped);
    assert_eq!(member.node.propose_conf_change(ConfChange::leave_joint()), dropped);
    assert_eq!(member.node.read_index(b"r".to_vec()), dropped);
    assert!(!member.node.has_ready());
}

#[test]
fn reads_of_one_voter_are_answered_at_once() {
    let mut member = leader();
    member.node.propose(b"a".to_vec()).unwrap();
    member.settle();
    member.node.read_index(b"r1".to_vec()).unwrap();
    member.node.read_index(b"r2".to_vec()).unwrap();
    member.settle();
    let reads: Vec<_> =
        member.read_states.iter().map(|r| (r.index.0, r.context.as_slice())).collect();
    assert_eq!(reads, [(2, b"r1".as_slice()), (2, b"r2")]);
}

#[test]
fn the_only_voter_cannot_be_removed_or_demoted() {
    for kind in [ConfChangeKind::RemoveNode, ConfChangeKind::AddLearnerNode] {
        let mut member = leader();
        member.node.propose_conf_change(ConfChange::v1(kind, NodeId::new(1))).unwrap();
        member.settle();
        assert_eq!(member.applied.last().unwrap().body, EntryBody::Refused, "{kind}");
        assert_eq!(member.node.status().soft_state.role, StateRole::Leader);
    }
}

#[test]
fn an_update_and_an_emptied_change_leave_the_configuration_as_it_is() {
    for (kind, node) in [
        (ConfChangeKind::UpdateNode, NodeId::new(1)),
        (ConfChangeKind::AddNode, NodeId::new(1)),
        (ConfChangeKind::AddNode, None),
    ] {
        let mut member = leader();
        member.node.propose_conf_change(ConfChange::v1(kind, node)).unwrap();
        member.settle();
        assert!(member.applied.last().unwrap().body.is_conf_change());
        assert_eq!(member.node.status().config.conf_state(), voters(&[1]));
        member.node.propose(b"a".to_vec()).unwrap();
        member.settle();
        assert_eq!(member.payloads(), [b"a"]);
    }
}

#[test]
fn a_leader_alone_hears_no_heartbeat_and_needs_none() {
    let mut member = leader();
    for _ in 0..100 {
        member.node.tick();
        member.settle();
    }
    assert_eq!(member.node.status().soft_state.role, StateRole::Leader);
    assert_eq!(member.term(), 1);
    assert!(member.outbox.is_empty());
}

/// With nobody to take over, stepping down would only add an election to the stall.
#[test]
fn a_stalled_disk_does_not_depose_the_only_voter() {
    let mut member = leader();
    member.node.propose(b"a".to_vec()).unwrap();
    let append = member.ready().0.unwrap();
    for _ in 0..100 {
        member.node.tick();
    }
    assert_eq!(member.node.status().soft_state.role, StateRole::Leader);
    member.append(append);
    member.settle();
    assert_eq!(member.payloads(), [b"a"]);
}

#[test]
fn uncommitted_proposals_are_bounded_in_bytes_and_the_first_always_fits() {
    let mut config = config();
    config.max_uncommitted_size = NonZeroU64::new(100);
    let mut member = leader_with(config);
    let dropped = Err(StepError::Dropped(DropReason::UncommittedLimit));
    member.node.propose(vec![0; 1000]).unwrap();
    assert_eq!(member.node.propose(vec![0; 1]), dropped);
    // Weighs nothing, so it is no burden.
    member.node.propose(Vec::new()).unwrap();
    member.settle();
    member.node.propose(vec![0; 60]).unwrap();
    assert_eq!(member.node.propose(vec![0; 60]), dropped);
    member.node.propose(vec![0; 40]).unwrap();
    member.settle();
    assert_eq!(member.payloads().len(), 4);
    // Nothing leaks: the whole limit is there again (raft e419ba5).
    member.node.propose_all(vec![vec![0; 50], vec![0; 50]]).unwrap();
    assert_eq!(member.node.propose(vec![0; 1]), dropped);
}

#[test]
fn committed_entries_are_handed_out_in_pages_and_none_is_lost() {
    let mut config = config();
    config.max_committed_size_per_ready = NonZeroU64::new(64);
    let mut member = leader_with(config);
    for i in 0..100u8 {
        member.node.propose(vec![i; 10]).unwrap();
    }
    let append = member.ready().0.unwrap();
    member.append(append);
    let mut pages = 0;
    while member.node.has_ready() {
        let (append, apply) = member.ready();
        if let Some(append) = append {
            member.append(append);
        }
        if let Some(apply) = apply {
            let bytes: u64 = apply.entries.iter().map(raft::Entry::size).sum();
            assert!(bytes <= 64);
            assert!(!member.node.has_ready(), "no second page before the first is applied");
            member.apply(apply);
            pages += 1;
        }
    }
    assert!(pages >= 25, "{pages}");
    let firsts: Vec<u8> = member.payloads().iter().map(|p| p[0]).collect();
    assert_eq!(firsts, (0..100).collect::<Vec<u8>>());
}

#[test]
fn a_node_is_state_and_does_the_same_each_time() {
    let run = || {
        let mut member = Member::new(Config { seed: 7, ..config() }, storage(voters(&[1])));
        for i in 0..50u8 {
            member.node.tick();
            let _ = member.node.propose(vec![i]);
            member.settle();
        }
        member
    };
    assert_eq!(run(), run());
}
