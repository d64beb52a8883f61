//! Each checker of clusters notices what it is there for.

use sim::{Checker, ClusterBug, ClusterPlan, run_cluster};

/// The first seeds that show the bug show it to one of these checkers.
#[track_caller]
fn is_noticed(bug: ClusterBug, by: &[Checker]) {
    let mut noticed = 0;
    for seed in 0..40 {
        let plan = ClusterPlan { bug: Some(bug), ..ClusterPlan::default() };
        if let Err(violation) = run_cluster(seed, plan) {
            assert!(by.contains(&violation.checker), "{bug:?} as {violation}");
            noticed += 1;
        }
        if noticed == 3 {
            return;
        }
    }
    assert!(noticed > 0, "{bug:?} was not noticed");
}

#[test]
fn logs_that_are_not_synced() {
    use Checker::{Answer, Boot, Log, Raft, Serving};
    is_noticed(ClusterBug::UnsyncedLog, &[Answer, Boot, Log, Raft, Serving]);
}

#[test]
fn a_vote_that_is_given_twice() {
    is_noticed(ClusterBug::VoteTwice, &[Checker::Raft]);
}

#[test]
fn an_append_that_was_not_made() {
    is_noticed(ClusterBug::AppendedMore, &[Checker::Raft, Checker::Serving]);
}

#[test]
fn a_member_that_is_sent_other_entries() {
    is_noticed(ClusterBug::OtherEntries, &[Checker::Raft]);
}

#[test]
fn a_read_without_asking_anybody() {
    is_noticed(ClusterBug::NoBarrier, &[Checker::Linearizable]);
}

#[test]
fn an_answer_of_another_revision() {
    is_noticed(ClusterBug::WrongRevision, &[Checker::Linearizable]);
}

#[test]
fn an_event_that_a_watcher_misses() {
    is_noticed(ClusterBug::DroppedEvent, &[Checker::Watch]);
}

#[test]
fn an_event_that_comes_twice() {
    is_noticed(ClusterBug::DoubledEvent, &[Checker::Watch]);
}

#[test]
fn clocks_that_are_too_fast() {
    is_noticed(ClusterBug::FastClock, &[Checker::Lease]);
}

#[test]
fn a_lease_without_an_end() {
    is_noticed(ClusterBug::EndlessLease, &[Checker::Lease]);
}

#[test]
fn an_entry_that_one_member_has_not_applied() {
    // What it has not applied may be the end of a lease, which a leader then waits for.
    use Checker::{Answer, Boot, Hash, Lease, Raft, State};
    is_noticed(ClusterBug::SkippedApply, &[Answer, Boot, Hash, Lease, Raft, State]);
}

#[test]
fn members_that_do_not_hear_each_other() {
    is_noticed(ClusterBug::Deaf, &[Checker::Serving]);
}
