//! Seeds without a planted bug. A long run:
//!
//! ```text
//! PINTLE_SEEDS=20000 cargo test --release -p sim --test it seeds -- --nocapture
//! ```
//!
//! `PINTLE_FIRST_SEED` says where to begin. A seed that fails becomes a test of its own below.

use sim::{Plan, Report, run};

/// How many seeds a usual round takes.
const SEEDS: u64 = 200;
/// They are shared out to this many threads; each seed runs in one.
const THREADS: u64 = 4;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs seeds and adds up what happened; all that failed are told at once.
fn run_all(seeds: impl Iterator<Item = u64>) -> (Report, Vec<String>) {
    let (mut sum, mut failed) = (Report::default(), Vec::new());
    for seed in seeds {
        match run(seed, Plan::default()) {
            Ok(report) => sum.add(&report),
            Err(violation) => failed.push(violation.to_string()),
        }
    }
    (sum, failed)
}

#[test]
fn members_survive_what_a_disk_can_do_to_them() {
    let first = number("PINTLE_FIRST_SEED").unwrap_or(0);
    let end = first + number("PINTLE_SEEDS").unwrap_or(SEEDS);
    let (mut sum, mut failed) = (Report::default(), Vec::new());
    std::thread::scope(|scope| {
        let share = |thread| move || run_all((first..end).filter(|seed| seed % THREADS == thread));
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(share(thread))).collect();
        for thread in threads {
            let (report, more) = thread.join().expect("a run panics nowhere");
            sum.add(&report);
            failed.extend(more);
        }
    });
    eprintln!("{sum:#?}");
    assert!(failed.is_empty(), "{} failed: {}", failed.len(), failed.join("\n"));
    if end - first >= SEEDS {
        assert_eq!(unseen(&sum), [""; 0], "what does not happen is not tested");
    }
}

/// What should have happened and has not.
fn unseen(sum: &Report) -> Vec<&'static str> {
    let seen = [
        (sum.answers, "answers"),
        (sum.power_cuts, "power cuts"),
        (sum.kills, "kills"),
        (sum.stops, "stops"),
        (sum.over_quota, "requests over the quota"),
        (sum.failures, "failures of the disk"),
        (sum.failed_starts, "failed starts"),
        (sum.unanswered_done, "requests done without an answer"),
        (sum.unanswered_lost, "lost requests"),
        (sum.commits, "commits"),
        (sum.snapshots, "snapshots"),
        (sum.purged, "purged segments"),
        (sum.compactions, "compactions"),
        (sum.vacuums, "vacuum steps"),
        (sum.reads, "reads"),
        (sum.events, "events"),
        (sum.expired, "expired leases"),
    ];
    seen.into_iter().filter(|(count, _)| *count == 0).map(|(_, what)| what).collect()
}

#[test]
fn a_seed_decides_everything() {
    for seed in 0..6 {
        let first = run(seed, Plan::default()).expect("a good seed");
        let again = run(seed, Plan::default()).expect("a good seed");
        assert_eq!(first, again, "seed {seed}");
        let other = run(seed + 1000, Plan::default()).expect("a good seed");
        assert_ne!(first.digest, other.digest);
    }
}

/// Each of these has failed once.
#[track_caller]
fn passes(seeds: &[u64]) {
    let (_, failed) = run_all(seeds.iter().copied());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn the_names_of_new_directories_survive_a_power_cut() {
    passes(&[0, 1, 2]);
}

#[test]
fn a_state_of_the_db_file_that_was_seen_after_a_kill_survives_a_power_cut() {
    passes(&[255, 256, 261, 448, 1990, 2186, 2304, 2332, 2521, 2758]);
}

/// They had several changes of one key in that revision, of which compaction leaves one.
#[test]
fn a_watcher_may_begin_at_the_revision_that_was_compacted_to() {
    passes(&[408450, 429153, 435025, 464287, 474497]);
}
