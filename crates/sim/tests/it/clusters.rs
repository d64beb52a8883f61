//! Seeds of whole clusters without a planted bug. A long run:
//!
//! ```text
//! PINTLE_SEEDS=20000 cargo test --release -p sim --test it clusters -- --nocapture
//! ```
//!
//! `PINTLE_FIRST_SEED` says where to begin. A seed that fails becomes a test of its own below.

use std::time::Duration;

use sim::{ClusterPlan, ClusterReport, Story, lose_leaders, run_cluster};

/// How many seeds a usual round takes.
const SEEDS: u64 = 300;
/// They are shared out to this many threads; each seed runs in one.
const THREADS: u64 = 4;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs seeds and adds up what happened; all that failed are told at once.
fn run_all(seeds: impl Iterator<Item = u64>, plan: ClusterPlan) -> (ClusterReport, Vec<String>) {
    let (mut sum, mut failed) = (ClusterReport::default(), Vec::new());
    for seed in seeds {
        match run_cluster(seed, plan) {
            Ok(report) => sum.add(&report),
            Err(violation) => failed.push(violation.to_string()),
        }
    }
    (sum, failed)
}

#[test]
fn clusters_survive_what_happens_to_them() {
    let first = number("PINTLE_FIRST_SEED").unwrap_or(0);
    let end = first + number("PINTLE_SEEDS").unwrap_or(SEEDS);
    let (mut sum, mut failed) = (ClusterReport::default(), Vec::new());
    std::thread::scope(|scope| {
        let share = |thread| {
            let seeds = (first..end).filter(move |seed| seed % THREADS == thread);
            move || run_all(seeds, ClusterPlan::default())
        };
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
        let unseen = sum.counts().into_iter().filter(|(_, count)| *count == 0);
        let unseen: Vec<&str> = unseen.map(|(what, _)| what).collect();
        assert_eq!(unseen, [""; 0], "what does not happen is not tested");
    }
}

#[test]
fn a_cluster_in_peace_keeps_its_leader() {
    let plan = ClusterPlan { story: Story::Peace, ..ClusterPlan::default() };
    let (_, failed) = run_all(0..5, plan);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn a_flapping_link_does_not_unseat_a_leader() {
    for members in [3, 5] {
        let story = Story::FlappingLink;
        let plan = ClusterPlan { story, members: Some(members), ..ClusterPlan::default() };
        let (sum, failed) = run_all(0..10, plan);
        assert!(failed.is_empty(), "{}", failed.join("\n"));
        assert!(sum.flaps > 100, "{sum:?}");
    }
}

/// A voter whose addition is agreed on when all is made well already has to be switched on, and
/// watchers have to find the few members that are left.
#[test]
fn clusters_that_change_at_the_end_recover() {
    let seeds = [500167, 503566, 505024, 505027, 509261];
    let (_, failed) = run_all(seeds.into_iter(), ClusterPlan::default());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// A start takes from the db file how far the log is committed. The log has to be told before it
/// lets go of entries.
#[test]
fn a_snapshot_counts_for_the_start_after_the_next_one() {
    let (_, failed) = run_all([510419].into_iter(), ClusterPlan::default());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// A member dies as it commits many entries, of which it alone could say so, and starts again
/// without most of them in its memory. Its log begins with a received state, and has them.
#[test]
fn a_commit_that_was_cut_off_is_found_behind_a_received_state() {
    let (_, failed) = run_all([641696].into_iter(), ClusterPlan::default());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn a_seed_of_a_cluster_decides_everything() {
    for seed in 0..4 {
        let first = run_cluster(seed, ClusterPlan::default()).expect("a good seed");
        let again = run_cluster(seed, ClusterPlan::default()).expect("a good seed");
        assert_eq!(first, again, "seed {seed}");
        let other = run_cluster(seed + 1000, ClusterPlan::default()).expect("a good seed");
        assert_ne!(first.digest, other.digest);
    }
}

/// Whoever is lost with the leader, and however late links and disks are, votes are not split for
/// long.
#[test]
fn a_lost_leader_is_soon_replaced() {
    let first = number("PINTLE_FIRST_SEED").unwrap_or(0);
    let seeds = number("PINTLE_SEEDS").unwrap_or(12);
    for (members, others) in [(3, 0), (5, 0), (5, 1)] {
        let run = |seed| lose_leaders(seed, members, others).expect("a good seed");
        let mut waits: Vec<Duration> = (first..first + seeds).flat_map(run).collect();
        waits.sort_unstable();
        let at = |percent| waits[(waits.len() - 1) * percent / 100];
        let (count, longest) = (waits.len(), at(100));
        eprintln!(
            "{members} members lost their leader and {others} more {count} times; another one led \
             after {:?} (median), {:?} (99 %), {longest:?} (longest)",
            at(50),
            at(99),
        );
        assert!(longest < Duration::from_secs(1), "of seeds from {first}: {longest:?}");
    }
}
