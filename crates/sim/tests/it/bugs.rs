//! Each checker notices what it is there for.

use sim::{Bug, Checker, Plan, run};

/// The first seeds that show the bug show it to one of these checkers.
#[track_caller]
fn is_noticed(bug: Bug, by: &[Checker]) {
    let mut noticed = 0;
    for seed in 0..20 {
        if let Err(violation) = run(seed, Plan { bug: Some(bug), ..Plan::default() }) {
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
fn a_log_that_is_not_synced() {
    // Where the db file was synced it has more than the log, and the member says so itself.
    is_noticed(Bug::UnsyncedLog, &[Checker::Acknowledged, Checker::Log, Checker::Boot]);
}

#[test]
fn a_db_file_that_is_not_synced() {
    use Checker::{Boot, File, Hash, Index, State};
    is_noticed(Bug::UnsyncedDb, &[Boot, File, Hash, Index, State]);
}

#[test]
fn an_index_ahead_of_its_data() {
    is_noticed(Bug::IndexAhead, &[Checker::Index, Checker::Boot]);
}

#[test]
fn a_lease_that_nobody_granted() {
    is_noticed(Bug::StrayLease, &[Checker::Index, Checker::State]);
}

#[test]
fn a_record_that_only_hashes_show() {
    is_noticed(Bug::OddTombstone, &[Checker::Hash]);
}

#[test]
fn a_page_with_keys_out_of_order() {
    // Mostly it does not even come to the check: reading the page tells.
    is_noticed(Bug::LeasesSwapped, &[Checker::Boot, Checker::File]);
}

#[test]
fn a_request_that_was_altered() {
    is_noticed(Bug::AlteredRequest, &[Checker::Log]);
}

#[test]
fn an_answer_with_another_revision() {
    is_noticed(Bug::WrongRevision, &[Checker::Answer]);
}

#[test]
fn a_read_of_what_is_not_there() {
    is_noticed(Bug::StrayRow, &[Checker::Seen]);
}

#[test]
fn a_clock_that_is_too_fast() {
    is_noticed(Bug::FastClock, &[Checker::Lease]);
}

#[test]
fn a_member_that_does_not_serve() {
    is_noticed(Bug::Asleep, &[Checker::Serving]);
}

#[test]
fn a_log_that_is_gone() {
    use Checker::{Acknowledged, Boot, Log};
    is_noticed(Bug::NoLog, &[Acknowledged, Boot, Log]);
}
