//! Members come, catch up, get a vote and go, under load.

use std::time::Duration;

use e2e::{Cluster, Server};

use super::load::Load;
use super::{FLAGS, alone};

/// Changes need not wait until all members have been connected for five seconds.
const LOOSE: [&str; 3] = [FLAGS[0], FLAGS[1], "--strict-reconfig-check=false"];

#[test]
fn a_learner_joins_is_promoted_and_replaces_the_leader() {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    let mut cluster = Cluster::start("replace", &[&pintle; 3], &LOOSE).unwrap();
    for seed in e2e::round_seeds("cluster replace", 1) {
        let load = Load::start(&cluster, seed);
        load.go_on_for(30);
        let new = cluster.join(&pintle, true).unwrap();
        assert!(cluster.status(new).unwrap().is_learner);
        load.follow(&cluster);
        load.go_on_for(30);
        cluster.promote(new).unwrap();
        load.go_on_for(30);
        let old = cluster.wait_for_leader().unwrap();
        cluster.remove(old).unwrap();
        let ended = cluster.wait_until_it_ends(old).unwrap();
        assert!(ended.success(), "a removed member ends with {ended}");
        load.follow(&cluster);
        load.go_on_for(60);
        assert_ne!(cluster.wait_for_leader().unwrap(), old);
        let told = load.finish(&cluster);
        told.check("a learner replaces the leader");
        // It hands over first: nobody waits for an election timeout.
        assert!(told.longest_gap < Duration::from_secs(1), "no writes for {:?}", told.longest_gap);
        cluster.same_hash().unwrap();
    }
}

/// Until it comes the members cannot agree on a version newer than the oldest.
#[test]
fn a_cluster_begins_without_its_last_member() {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    let mut cluster = Cluster::start_last_late("late", &[&pintle; 3], &FLAGS).unwrap();
    for seed in e2e::round_seeds("cluster late", 1) {
        let load = Load::start(&cluster, seed);
        load.go_on_for(60);
        load.finish(&cluster).check("a member comes late");
    }
    for at in 0..cluster.size() {
        cluster.member(at).wait_for_storage_version().unwrap();
        assert!(!cluster.has_ended(at));
    }
    cluster.same_hash().unwrap();
}

#[test]
fn a_member_far_behind_gets_a_snapshot_and_has_the_same() {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    let flags = [FLAGS[0], FLAGS[1], "--snapshot-count=50", "--snapshot-catchup-entries=10"];
    let mut cluster = Cluster::start("behind", &[&pintle; 3], &flags).unwrap();
    let behind = cluster.size() - 1;
    // It writes no snapshots of its own, so one that it has was sent.
    cluster.add_flag(behind, "--snapshot-count=1000000");
    for seed in e2e::round_seeds("cluster behind", 1) {
        let load = Load::start(&cluster, seed);
        cluster.kill(behind).unwrap();
        let before = newest_snapshot(&cluster, behind);
        load.follow(&cluster);
        load.go_on_for(300);
        cluster.restart(behind).unwrap();
        load.follow(&cluster);
        load.go_on_for(60);
        load.finish(&cluster).check("a member is far behind");
        cluster.same_hash().unwrap();
        let after = newest_snapshot(&cluster, behind);
        assert!(after > before, "it was sent no snapshot: {before:?}, {after:?}");
    }
}

#[test]
fn a_member_that_has_lost_its_disk_does_not_start_under_its_old_name() {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    let mut cluster = Cluster::start("lost-disk", &[&pintle; 3], &LOOSE).unwrap();
    let lost = 1;
    cluster.kill(lost).unwrap();
    cluster.wipe(lost).unwrap();
    cluster.begin_restart(lost).unwrap();
    let ended = cluster.wait_until_it_ends(lost).unwrap();
    assert!(!ended.success(), "it ended with {ended}");
    let log = cluster.member(lost).log();
    assert!(log.contains("has already been bootstrapped"), "{log}");
    // What it is told to do helps: it leaves, and comes back as somebody new.
    cluster.remove(lost).unwrap();
    cluster.admit(lost, false).unwrap();
    cluster.restart(lost).unwrap();
    cluster.wait_for_leader().unwrap();
    cluster.same_hash().unwrap();
}

/// The name of the newest snapshot file, which has its term and index.
pub(crate) fn newest_snapshot(cluster: &Cluster, at: usize) -> Option<String> {
    let folder = cluster.member(at).data().join("member/snap");
    let files = std::fs::read_dir(folder).expect("a member has a folder of snapshots");
    let names = files.flatten().map(|file| file.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".snap")).max()
}

#[test]
fn the_lead_is_handed_round_under_load() {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    let cluster = Cluster::start("move", &[&pintle; 3], &FLAGS).unwrap();
    for seed in e2e::round_seeds("cluster move", 1) {
        let load = Load::start(&cluster, seed);
        for to in [0, 1, 2, 0] {
            cluster.move_leader(to).unwrap();
            load.go_on_for(30);
        }
        let told = load.finish(&cluster);
        told.check("the lead is handed round");
        assert_eq!(told.failed_twice, 0, "requests whose retry failed too: {:?}", told.errors);
        assert!(told.longest_gap < Duration::from_secs(1), "no writes for {:?}", told.longest_gap);
        cluster.same_hash().unwrap();
    }
}
