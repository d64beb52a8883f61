//! Paper 5.3 and 5.4.2; thesis 3.8 and 10.2.1.

use crate::cluster::{Cluster, entries, full, log_of, message, plain};
use crate::harness::{Member, id, storage, voters};
use raft::{
    Body, Config, EntryId, HardState, LogIndex, ProgressState, SnapshotStatus, StepError, Term,
};
use std::num::NonZeroU64;

/// Leader 1 of three, by the vote of 2; its own first entry is on its disk and sent.
fn leader(terms: &[u64]) -> Member {
    let mut member = Member::new(plain(1), log_of(terms));
    member.node.campaign().unwrap();
    member.settle();
    let term = member.term();
    let vote = Body::VoteResp { reject: false, committed: None };
    member.node.step(message(2, 1, term, vote)).unwrap();
    member.settle();
    member.outbox.clear();
    member
}

/// Paper 5.3: the leader appends the command to its log and sends it to all others, with index and
/// term of the entry before.
#[test]
fn a_proposal_is_sent_to_all_with_what_goes_before_it() {
    let mut cluster = Cluster::new(3, plain);
    cluster.elect(1);
    cluster.get(1).node.propose(b"a".to_vec()).unwrap();
    let messages = cluster.collect();
    assert_eq!(messages.len(), 2);
    for (message, to) in messages.iter().zip([2, 3]) {
        assert_eq!(message.to, id(to));
        let Body::Append { prev, entries, commit } = &message.body else { panic!("{message}") };
        assert_eq!((*prev, *commit), (EntryId::new(1, 1), LogIndex(1)));
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].id, EntryId::new(1, 2));
    }
}

/// Paper 5.3: an entry is committed once a majority has it, and then applied by all.
#[test]
fn an_entry_is_committed_by_a_majority() {
    for (size, alive, committed) in
        [(1, 1, true), (2, 1, false), (2, 2, true), (3, 2, true), (4, 2, false), (5, 3, true)]
    {
        let mut cluster = Cluster::new(size, plain);
        cluster.elect(1);
        for n in alive + 1..=size {
            cluster.isolate(n);
        }
        cluster.propose(1, "a");
        let expected = if committed { 2 } else { 1 };
        assert_eq!(cluster.get(1).commit(), expected, "{alive} of {size}");
        for n in 1..=alive {
            let payloads = cluster.get(n).payloads().len();
            assert_eq!(payloads, usize::from(committed), "{n} of {size}");
        }
    }
}

/// Paper 5.3: committing an entry commits all before it, those of earlier leaders too.
#[test]
fn earlier_entries_are_committed_with_the_first_of_the_term() {
    for terms in [&[][..], &[2], &[1, 2], &[1]] {
        let mut member = leader(terms);
        let last = terms.len() as u64 + 1;
        let term = member.term();
        assert_eq!(member.commit(), 0);
        let answer = Body::AppendResp { index: LogIndex(last), reject: None };
        member.node.step(message(2, 1, term, answer)).unwrap();
        member.settle();
        assert_eq!(member.commit(), last);
        let applied: Vec<u64> = member.applied.iter().map(|entry| entry.id.term.0).collect();
        assert_eq!(applied[..terms.len()], *terms);
        // The others hear of it at once.
        let commit = |m: &raft::Message<_>| match m.body {
            Body::Append { commit, .. } => commit,
            _ => panic!("{m:?}"),
        };
        assert!(member.outbox.iter().any(|m| m.to == id(2) && commit(m) == LogIndex(last)));
    }
}

/// Paper 5.4.2, figure 8 (logcabin #44): an entry of an earlier term is not committed by counting,
/// whoever has it, but with the first entry of the leader's own term.
#[test]
fn logcabin_44_entries_of_earlier_terms_are_not_committed_by_counting() {
    let mut member = leader(&[1, 2]);
    let term = member.term();
    for (index, committed) in [(1, 0), (2, 0), (3, 3)] {
        let answer = Body::AppendResp { index: LogIndex(index), reject: None };
        member.node.step(message(2, 1, term, answer)).unwrap();
        member.settle();
        assert_eq!(member.commit(), committed, "acknowledged up to {index}");
    }
}

/// Paper 5.3: a follower takes entries only if its log has the entry before them; otherwise it
/// refuses and says where the logs may agree.
#[test]
fn a_follower_checks_what_goes_before() {
    let hint = |term, index| Some(EntryId::new(term, index));
    let cases = [
        // What goes before -> what it answers
        ((0, 0), (2, None)),
        ((1, 1), (2, None)),
        ((2, 2), (3, None)),
        ((1, 2), (2, hint(1, 1))),
        ((2, 3), (3, hint(2, 2))),
        ((3, 9), (9, hint(2, 2))),
    ];
    for ((term, index), (answered, reject)) in cases {
        let mut member = Member::new(plain(1), log_of(&[1, 2]));
        let prev = EntryId::new(term, index);
        let new = if index == 0 { entries(1, &[1, 2]) } else { entries(index + 1, &[3]) };
        let body = Body::Append { prev, entries: new, commit: LogIndex::ZERO };
        member.node.step(message(2, 1, 3, body)).unwrap();
        member.settle();
        let answer = Body::AppendResp { index: LogIndex(answered), reject };
        assert_eq!(member.outbox, [message(1, 2, 3, answer)], "{prev:?}");
    }
}

/// Paper 5.3: what conflicts with the leader's log is removed, and what does not stays.
#[test]
fn a_follower_replaces_what_conflicts() {
    // Own terms, what goes before, new terms -> own terms
    type Case = (&'static [u64], (u64, u64), &'static [u64], &'static [u64]);
    let cases: &[Case] = &[
        (&[1, 2], (2, 2), &[3], &[1, 2, 3]),
        (&[1, 2], (1, 1), &[3, 4], &[1, 3, 4]),
        (&[1, 2], (0, 0), &[1], &[1, 2]),
        (&[1, 2], (0, 0), &[3], &[3]),
        (&[1, 2, 2, 2], (1, 1), &[2, 3], &[1, 2, 3]),
    ];
    for (terms, (term, index), new, after) in cases {
        let mut member = Member::new(plain(1), log_of(terms));
        let prev = EntryId::new(*term, *index);
        let body = Body::Append { prev, entries: entries(index + 1, new), commit: LogIndex::ZERO };
        member.node.step(message(2, 1, 4, body)).unwrap();
        member.settle();
        let stored: Vec<u64> = member.node.storage().iter().map(|e| e.id.term.0).collect();
        assert_eq!(stored, *after, "{terms:?} {prev:?} {new:?}");
    }
}

/// Paper 5.3: a follower commits what the leader says, as far as it has it.
#[test]
fn a_follower_commits_what_it_has_and_the_leader_says() {
    for (new, commit, committed) in
        [(&[1][..], 1, 1), (&[1, 1], 1, 1), (&[1, 1], 2, 2), (&[1], 9, 1), (&[], 9, 0)]
    {
        let mut member = Member::new(plain(1), log_of(&[]));
        let body = Body::Append {
            prev: EntryId::default(),
            entries: entries(1, new),
            commit: LogIndex(commit),
        };
        member.node.step(message(2, 1, 1, body)).unwrap();
        member.settle();
        assert_eq!(member.commit(), committed, "{new:?} {commit}");
        assert_eq!(member.applied.len() as u64, committed);
    }
}

/// Paper 5.3, figure 7: whatever a follower has, the leader brings it to its own log, with no more
/// probes than there are terms.
#[test]
fn a_leader_brings_every_log_to_its_own() {
    let leader_log = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    let cases: [&[u64]; 8] = [
        &[1, 1, 1, 4, 4, 5, 5, 6, 6],
        &[1, 1, 1, 4],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        &[1, 1, 1, 4, 4, 4, 4],
        &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
        &[2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2],
        &[],
    ];
    for follower in cases {
        let mut disk = log_of(&leader_log);
        disk.set_hard_state(HardState { term: Term(7), ..HardState::default() });
        let mut cluster = Cluster::of(vec![
            Member::new(plain(1), disk),
            Member::new(plain(2), log_of(follower)),
            Member::new(plain(3), log_of(&[])),
        ]);
        // By the vote of member 3; member 2 may have the longer log.
        cluster.isolate(2);
        cluster.elect(1);
        cluster.heal();
        let mut rejections = 0;
        cluster.get(1).node.propose(b"last".to_vec()).unwrap();
        cluster.get(1).node.tick();
        loop {
            let messages = cluster.collect();
            if messages.is_empty() {
                break;
            }
            let rejected = |m: &&raft::Message<_>| {
                m.from == id(2) && matches!(m.body, Body::AppendResp { reject: Some(_), .. })
            };
            rejections += messages.iter().filter(rejected).count();
            cluster.send(messages);
        }
        let log = |cluster: &mut Cluster, n: u64| -> Vec<_> {
            cluster.get(n).node.storage().iter().cloned().collect()
        };
        assert_eq!(log(&mut cluster, 2), log(&mut cluster, 1), "{follower:?}");
        assert_eq!(cluster.get(2).commit(), cluster.get(1).commit());
        assert!(rejections <= 4, "{rejections} probes for {follower:?}");
    }
}

/// Thesis 3.8: an acknowledgement and a vote leave when what they promise is on disk.
#[test]
fn promises_wait_for_the_disk() {
    let mut member = Member::new(plain(1), log_of(&[]));
    let body = Body::Append {
        prev: EntryId::default(),
        entries: entries(1, &[1]),
        commit: LogIndex::ZERO,
    };
    member.node.step(message(2, 1, 1, body)).unwrap();
    let (append, _) = member.ready();
    assert!(member.outbox.is_empty());
    let append = append.unwrap();
    assert!(append.must_sync);
    member.append(append);
    let answer = Body::AppendResp { index: LogIndex(1), reject: None };
    assert_eq!(member.outbox, [message(1, 2, 1, answer)]);

    let mut member = Member::new(plain(1), log_of(&[]));
    let body = Body::Vote { last: EntryId::default(), transfer: false };
    member.node.step(message(2, 1, 1, body)).unwrap();
    let append = member.ready().0.unwrap();
    assert!(member.outbox.is_empty() && append.must_sync);
    assert_eq!(append.hard_state.unwrap().vote, Some(id(2)));
    member.append(append);
    let answer = Body::VoteResp { reject: false, committed: None };
    assert_eq!(member.outbox, [message(1, 2, 1, answer)]);
}

/// Thesis 10.2.1: a leader sends its entries while it writes them, and may commit them before they
/// are on its own disk, if a majority of others has them.
#[test]
fn a_leader_writes_to_its_disk_in_parallel() {
    let mut member = leader(&[]);
    let term = member.term();
    for from in [2, 3] {
        let answer = Body::AppendResp { index: LogIndex(1), reject: None };
        member.node.step(message(from, 1, term, answer)).unwrap();
    }
    member.settle();
    member.outbox.clear();
    member.node.propose(b"a".to_vec()).unwrap();
    let append = member.ready().0.unwrap();
    assert_eq!(member.outbox.len(), 2, "sent before the append is done");
    // One other and the leader itself are no majority yet: its own disk does not count.
    let answer = Body::AppendResp { index: LogIndex(2), reject: None };
    member.node.step(message(2, 1, term, answer.clone())).unwrap();
    assert_eq!(member.commit(), 1);
    member.node.step(message(3, 1, term, answer)).unwrap();
    assert_eq!(member.commit(), 2);
    // Committed, but nothing is applied that its own storage does not have.
    let (commit, apply) = member.ready();
    assert!(apply.is_none());
    member.append(append);
    member.append(commit.unwrap());
    member.settle();
    assert_eq!(member.payloads(), [b"a"]);
}

/// A burst goes out without waiting for answers, up to the window, in messages up to the limit.
#[test]
fn replication_is_pipelined_within_its_limits() {
    let mut config = plain(1);
    config.max_inflight_msgs = 3;
    config.max_size_per_msg = NonZeroU64::new(40);
    let mut member = Member::new(config, storage(voters(&[1, 2])));
    member.node.campaign().unwrap();
    member.settle();
    member.node.step(message(2, 1, 1, Body::VoteResp { reject: false, committed: None })).unwrap();
    member.settle();
    let answer = Body::AppendResp { index: LogIndex(1), reject: None };
    member.node.step(message(2, 1, 1, answer)).unwrap();
    member.settle();
    member.outbox.clear();
    for i in 0..20u8 {
        member.node.propose(vec![i; 10]).unwrap();
    }
    member.settle();
    let sizes = |member: &mut Member| -> Vec<usize> {
        let entries = |m: raft::Message<_>| match m.body {
            Body::Append { entries, .. } => entries.len(),
            _ => 0,
        };
        member.outbox.drain(..).map(entries).collect()
    };
    assert_eq!(sizes(&mut member), [1, 1, 1], "as they came, until the window is full");
    // An answer to all of them makes room for three messages of what has gathered.
    let answer = Body::AppendResp { index: LogIndex(4), reject: None };
    member.node.step(message(2, 1, 1, answer)).unwrap();
    assert_eq!(member.node.status().progress[1].1.inflight_messages(), 3);
    member.settle();
    assert_eq!(sizes(&mut member), [2, 2, 2]);
}

/// Nobody can have more than the leader of the term has made.
#[test]
fn an_acknowledgement_beyond_the_log_is_refused() {
    let mut member = leader(&[]);
    let answer = Body::AppendResp { index: LogIndex(99), reject: None };
    assert_eq!(member.node.step(message(2, 1, member.term(), answer)), Err(StepError::Malformed));
    assert_eq!(member.node.status().progress[1].1.matched(), LogIndex::ZERO);
}

#[test]
fn appends_that_no_leader_can_have_sent_are_refused() {
    for (prev, terms, first, term) in [
        // A hole, a term that falls, a term above the leader's, an index that overflows.
        (EntryId::new(1, 1), &[1][..], 3, 1),
        (EntryId::new(2, 1), &[1], 2, 2),
        (EntryId::new(1, 1), &[2, 1], 2, 2),
        (EntryId::new(1, 1), &[3], 2, 2),
        (EntryId::new(1, u64::MAX), &[1], u64::MAX, 1),
        (EntryId::new(1, u64::MAX / 2), &[1], u64::MAX / 2 + 1, 1),
    ] {
        let mut member = Member::new(plain(1), log_of(&[1]));
        let before = member.node.clone();
        let body = Body::Append { prev, entries: entries(first, terms), commit: LogIndex(9) };
        assert_eq!(member.node.step(message(2, 1, term, body)), Err(StepError::Malformed));
        assert_eq!(member.node, before);
    }
}

/// A follower sends proposals on to the leader, unless that is switched off.
#[test]
fn proposals_at_a_follower_reach_the_leader() {
    let mut cluster = Cluster::new(3, full);
    cluster.elect(1);
    cluster.propose(3, "a");
    assert_eq!(cluster.commits(), [2, 2, 2]);
    assert_eq!(cluster.get(3).payloads(), [b"a"]);

    let no_forwarding = |n| Config { disable_proposal_forwarding: true, ..full(n) };
    let mut cluster = Cluster::new(3, no_forwarding);
    cluster.elect(1);
    let dropped = Err(StepError::Dropped(raft::DropReason::ForwardingDisabled));
    assert_eq!(cluster.get(3).node.propose(b"a".to_vec()), dropped);
}

#[test]
fn several_proposals_at_once_go_in_one_message() {
    let mut cluster = Cluster::new(3, full);
    cluster.elect(1);
    cluster.get(1).node.propose_all(vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]).unwrap();
    let messages = cluster.collect();
    assert_eq!(messages.len(), 2);
    cluster.send(messages);
    cluster.deliver();
    assert_eq!(cluster.get(2).payloads(), [b"a", b"b", b"c"]);
    assert_eq!(cluster.get(1).node.propose_all(Vec::new()), Ok(()));
    assert!(cluster.collect().is_empty());
}

/// A follower that lags behind the leader's log gets the state machine instead, and then goes on.
#[test]
fn a_follower_without_the_entries_gets_a_snapshot() {
    let mut cluster = Cluster::new(3, plain);
    cluster.elect(1);
    cluster.isolate(3);
    for payload in ["a", "b", "c"] {
        cluster.propose(1, payload);
    }
    let disk = cluster.get(1).node.storage_mut();
    disk.create_snapshot(LogIndex(4), voters(&[1, 2, 3]), b"abc".to_vec()).unwrap();
    disk.compact(LogIndex(4)).unwrap();
    cluster.heal();
    cluster.tick(1);
    assert_eq!(cluster.commits(), [4, 4, 4]);
    let member = cluster.get(3);
    assert!(member.payloads().is_empty(), "it has the state, not the entries");
    assert_eq!(member.applied_index(), LogIndex(4));
    assert_eq!(member.node.storage().hard_state().commit, LogIndex(4));
    cluster.propose(1, "d");
    assert_eq!(cluster.get(3).payloads(), [b"d"]);
    let progress = &cluster.get(1).node.status().progress[2].1;
    assert_eq!(progress.state(), ProgressState::Replicate);
}

/// A leader that has lost a snapshot waits until it is told so: only the driver knows.
#[test]
fn a_snapshot_that_failed_is_sent_again_after_a_heartbeat() {
    let mut cluster = Cluster::new(3, plain);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.propose(1, "a");
    let disk = cluster.get(1).node.storage_mut();
    disk.create_snapshot(LogIndex(2), voters(&[1, 2, 3]), b"a".to_vec()).unwrap();
    disk.compact(LogIndex(2)).unwrap();
    cluster.get(1).node.report_unreachable(id(3));
    cluster.heal();
    let state = |cluster: &mut Cluster| cluster.get(1).node.status().progress[2].1.state();
    cluster.get(1).node.tick();
    loop {
        let messages = cluster.collect();
        let is_snapshot = |m: &raft::Message<_>| matches!(m.body, Body::Snapshot { .. });
        if messages.iter().any(is_snapshot) {
            break;
        }
        assert!(!messages.is_empty(), "no snapshot is sent");
        cluster.send(messages);
    }
    assert_eq!(state(&mut cluster), ProgressState::Snapshot);
    cluster.tick(5);
    assert_eq!(state(&mut cluster), ProgressState::Snapshot, "it is not sent twice");
    cluster.get(1).node.report_snapshot(id(3), SnapshotStatus::Failure);
    assert_eq!(state(&mut cluster), ProgressState::Probe);
    cluster.tick(1);
    assert_eq!(state(&mut cluster), ProgressState::Replicate);
    assert_eq!(cluster.get(3).commit(), 2);
}
