//! Members of etcd and of pintle in one cluster, as etcd has them.

use e2e::{Cluster, Server};
use proto::etcdserverpb::PutRequest;

use super::change::newest_snapshot;
use super::load::Load;
use super::{FLAGS, alone};

const LOOSE: [&str; 3] = [FLAGS[0], FLAGS[1], "--strict-reconfig-check=false"];

#[test]
fn a_cluster_of_etcd_is_replaced_by_pintle_and_back() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let _alone = alone();
    let mut cluster = Cluster::start("there-and-back", &[&etcd; 3], &LOOSE).unwrap();
    for seed in e2e::round_seeds("cluster there and back", 1) {
        let load = Load::start(&cluster, seed);
        load.go_on_for(30);
        for server in [&pintle, &etcd] {
            for _ in 0..3 {
                replace_one(&mut cluster, server, &load);
            }
            load.go_on_for(30);
        }
        load.finish(&cluster).check("there and back");
        cluster.same_hash().unwrap();
    }
}

#[test]
fn a_cluster_of_etcd_3_6_takes_in_pintle_and_lets_it_go_again() {
    let Some(etcd) = Server::etcd_3_6() else { return };
    takes_in_and_lets_go("cluster with 3.6", &etcd);
}

#[test]
fn a_cluster_of_etcd_3_5_takes_in_pintle_and_lets_it_go_again() {
    let Some(etcd) = Server::etcd_3_5() else { return };
    takes_in_and_lets_go("cluster with 3.5", &etcd);
}

/// Of older etcd the way back ends where the first member of pintle has raised the version of the
/// cluster; so one of etcd stays to the end.
fn takes_in_and_lets_go(what: &'static str, etcd: &Server) {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    let mut cluster = Cluster::start(etcd.name, &[etcd; 3], &LOOSE).unwrap();
    for seed in e2e::round_seeds(what, 1) {
        let load = Load::start(&cluster, seed);
        load.go_on_for(30);
        for server in [&pintle, etcd] {
            for _ in 0..2 {
                replace_one(&mut cluster, server, &load);
            }
            let leader = cluster.wait_for_leader().unwrap();
            for to in cluster.running().into_iter().filter(|at| *at != leader) {
                cluster.move_leader(to).unwrap();
                load.go_on_for(20);
            }
        }
        load.finish(&cluster).check(what);
        cluster.same_hash().unwrap();
    }
}

/// Somebody of the other kind goes, the leader first of all, and one of this kind comes.
fn replace_one(cluster: &mut Cluster, server: &Server, load: &Load) {
    let leader = cluster.wait_for_leader().unwrap();
    let other = |at: &usize| cluster.member(*at).name() != server.name;
    let old = Some(leader).filter(other).or_else(|| cluster.running().into_iter().find(other));
    let old = old.expect("somebody is of the other kind");
    let new = cluster.join(server, true).unwrap();
    load.follow(cluster);
    load.go_on_for(20);
    cluster.promote(new).unwrap();
    load.go_on_for(20);
    cluster.remove(old).unwrap();
    cluster.wait_until_it_ends(old).unwrap();
    load.follow(cluster);
    load.go_on_for(20);
    cluster.wait_for_leader().unwrap();
    cluster.same_hash().unwrap();
}

#[test]
fn members_change_their_program_where_they_are() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let _alone = alone();
    let mut cluster = Cluster::start("in-place", &[&etcd; 3], &FLAGS).unwrap();
    for seed in e2e::round_seeds("cluster in place", 1) {
        let load = Load::start(&cluster, seed);
        for server in [&pintle, &etcd] {
            for at in 0..cluster.size() {
                load.go_on_for(20);
                cluster.stop(at).unwrap();
                cluster.restart_as(at, server).unwrap();
                cluster.wait_for_leader().unwrap();
                cluster.same_hash().unwrap();
            }
        }
        load.go_on_for(20);
        load.finish(&cluster).check("members change their program");
    }
}

#[test]
fn pintle_leads_etcd_and_sends_a_snapshot_to_one_that_was_wiped() {
    let Some(etcd) = Server::etcd() else { return };
    sends_a_snapshot("a wiped member of etcd", &etcd);
}

#[test]
fn pintle_leads_etcd_3_6_and_sends_a_snapshot_to_one_that_was_wiped() {
    let Some(etcd) = Server::etcd_3_6() else { return };
    sends_a_snapshot("a wiped member of etcd 3.6", &etcd);
}

/// It reads the members in a snapshot where newer ones do not look.
#[test]
fn pintle_leads_etcd_3_5_and_sends_a_snapshot_to_one_that_was_wiped() {
    let Some(etcd) = Server::etcd_3_5() else { return };
    sends_a_snapshot("a wiped member of etcd 3.5", &etcd);
}

fn sends_a_snapshot(what: &'static str, etcd: &Server) {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    let flags = [LOOSE[0], LOOSE[1], LOOSE[2], "--snapshot-count=50"];
    let mut cluster = Cluster::start("wiped", &[&pintle, etcd, etcd], &flags).unwrap();
    let (leader, wiped) = (0, 2);
    // Older etcd has another word for it.
    cluster.add_flag(leader, "--snapshot-catchup-entries=10");
    // It writes no snapshots of its own, so one that it has was sent.
    cluster.add_flag(wiped, "--snapshot-count=1000000");
    cluster.stop(leader).unwrap();
    cluster.restart(leader).unwrap();
    cluster.move_leader(leader).unwrap();
    for seed in e2e::round_seeds(what, 1) {
        let load = Load::start(&cluster, seed);
        cluster.remove(wiped).unwrap();
        cluster.wait_until_it_ends(wiped).unwrap();
        cluster.wipe(wiped).unwrap();
        load.follow(&cluster);
        load.go_on_for(150);
        cluster.move_leader(leader).unwrap();
        cluster.admit(wiped, true).unwrap();
        cluster.restart(wiped).unwrap();
        load.follow(&cluster);
        cluster.promote(wiped).unwrap();
        load.go_on_for(30);
        load.finish(&cluster).check(what);
        assert_eq!(cluster.leader(), Some(leader));
        assert!(newest_snapshot(&cluster, wiped).is_some(), "it was sent no snapshot");
        assert_eq!(cluster.list_of(wiped).unwrap(), cluster.list_of(leader).unwrap());
        cluster.same_hash().unwrap();
    }
}

#[test]
fn each_leads_the_other_turn_by_turn() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let _alone = alone();
    let cluster = Cluster::start("turns", &[&pintle, &etcd, &pintle], &FLAGS).unwrap();
    for seed in e2e::round_seeds("cluster turns", 1) {
        let load = Load::start(&cluster, seed);
        for to in [1, 0, 1, 2] {
            cluster.move_leader(to).unwrap();
            load.go_on_for(30);
            cluster.same_hash().unwrap();
        }
        load.finish(&cluster).check("each leads the other");
    }
}

#[test]
fn etcd_forgets_no_big_value_that_pintle_sent() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let _alone = alone();
    let cluster = Cluster::start("big", &[&pintle, &etcd, &etcd], &FLAGS).unwrap();
    for leader in [0, 1] {
        cluster.move_leader(leader).unwrap();
        for at in 0..cluster.size() {
            let (key, value) = (format!("{leader}-{at}").into(), vec![7; 1 << 20].into());
            cluster.call(at, &PutRequest { key, value, ..PutRequest::default() }).unwrap();
        }
        cluster.same_hash().unwrap();
    }
}
