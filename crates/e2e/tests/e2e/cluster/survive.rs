//! Members die, hang and are cut off under load; no acknowledged write is lost, no read is stale.

use e2e::{Cluster, Server};
use sim::Rule;

use super::load::Load;
use super::{FLAGS, alone};

#[test]
fn three_members_survive_kill_9_of_each_in_turn() {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    let mut cluster = Cluster::start("kill-each", &[&pintle; 3], &FLAGS).unwrap();
    for seed in e2e::round_seeds("cluster kill", 1) {
        let load = Load::start(&cluster, seed);
        for victim in 0..cluster.size() {
            load.go_on_for(30);
            cluster.kill(victim).unwrap();
            load.go_on_for(60);
            cluster.restart(victim).unwrap();
        }
        load.go_on_for(30);
        load.finish(&cluster).check("kill -9 of each in turn");
        cluster.same_hash().unwrap();
    }
}

#[test]
fn five_members_survive_the_loss_of_two() {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    let mut cluster = Cluster::start("five", &[&pintle; 5], &FLAGS).unwrap();
    for seed in e2e::round_seeds("cluster five", 1) {
        let load = Load::start(&cluster, seed);
        load.go_on_for(30);
        let leader = cluster.wait_for_leader().unwrap();
        let other = (leader + 1) % cluster.size();
        cluster.kill(leader).unwrap();
        cluster.kill(other).unwrap();
        load.go_on_for(60);
        cluster.restart(other).unwrap();
        cluster.restart(leader).unwrap();
        load.go_on_for(30);
        load.finish(&cluster).check("two of five are lost");
        cluster.same_hash().unwrap();
    }
}

/// What proves nothing about pintle: that the checks of this suite notice what they are for.
#[test]
fn a_stale_read_would_be_noticed() {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    let cluster = Cluster::start("stale", &[&pintle; 3], &FLAGS).unwrap();
    let load = Load::start(&cluster, e2e::seed("cluster stale"));
    load.go_on_for(30);
    let leader = cluster.wait_for_leader().unwrap();
    let deaf = (leader + 1) % cluster.size();
    cluster.cut_off(deaf);
    load.go_on_for(60);
    let stale = load.pretend_linearizable(&cluster, deaf);
    cluster.heal();
    load.go_on_for(30);
    let mut told = load.finish(&cluster);
    told.check("a member that is behind");
    told.add(stale);
    let broken = told.judge().expect_err("the read was stale");
    assert_eq!(broken.rule, Rule::RealTime, "{broken}");
}

#[test]
fn a_leader_that_is_cut_off_serves_nobody_and_comes_back() {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    let cluster = Cluster::start("cut-off", &[&pintle; 3], &FLAGS).unwrap();
    for seed in e2e::round_seeds("cluster cut off", 1) {
        let load = Load::start(&cluster, seed);
        load.go_on_for(30);
        let old = cluster.wait_for_leader().unwrap();
        cluster.cut_off(old);
        let others: Vec<_> = (0..cluster.size()).filter(|at| *at != old).collect();
        let new = cluster.wait_for_leader_among(&others).unwrap();
        assert_ne!(new, old);
        load.go_on_for(60);
        cluster.heal();
        cluster.wait_for_leader().unwrap();
        load.go_on_for(30);
        load.finish(&cluster).check("a leader is cut off");
        cluster.same_hash().unwrap();
    }
}

#[test]
fn a_member_that_hears_nothing_but_is_heard_does_not_unseat_the_leader() {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    let cluster = Cluster::start("one-way", &[&pintle; 3], &FLAGS).unwrap();
    let leader = cluster.wait_for_leader().unwrap();
    let term = cluster.status(leader).unwrap().raft_term;
    let deaf = (leader + 1) % cluster.size();
    let other = (leader + 2) % cluster.size();
    let load = Load::start(&cluster, e2e::seed("cluster one way"));
    cluster.cut(leader, deaf);
    cluster.cut(other, deaf);
    load.go_on_for(150);
    let during = cluster.status(leader).unwrap();
    assert_eq!(cluster.leader(), Some(leader));
    assert_eq!(during.raft_term, term, "the deaf one has started an election");
    cluster.heal();
    load.go_on_for(30);
    load.finish(&cluster).check("a member hears nothing");
    assert_eq!(cluster.wait_for_leader().unwrap(), leader);
    cluster.same_hash().unwrap();
}

#[test]
fn a_leader_that_hangs_is_replaced_and_serves_nothing_stale_when_it_goes_on() {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    let mut cluster = Cluster::start("hang", &[&pintle; 3], &FLAGS).unwrap();
    for seed in e2e::round_seeds("cluster hang", 1) {
        let load = Load::start(&cluster, seed);
        load.go_on_for(30);
        let old = cluster.wait_for_leader().unwrap();
        cluster.pause(old).unwrap();
        let new = cluster.wait_for_leader().unwrap();
        assert_ne!(new, old);
        load.go_on_for(60);
        cluster.resume(old).unwrap();
        load.go_on_for(60);
        load.finish(&cluster).check("a leader hangs");
        cluster.same_hash().unwrap();
    }
}

#[test]
fn a_rolling_restart_costs_no_error_beyond_a_retry() {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    let mut cluster = Cluster::start("rolling", &[&pintle; 3], &FLAGS).unwrap();
    for seed in e2e::round_seeds("cluster rolling", 1) {
        let load = Load::start(&cluster, seed);
        for at in 0..cluster.size() {
            load.go_on_for(30);
            cluster.stop(at).unwrap();
            load.go_on_for(60);
            cluster.restart(at).unwrap();
        }
        let told = load.finish(&cluster);
        told.check("a rolling restart");
        cluster.same_hash().unwrap();
        assert_eq!(told.failed_twice, 0, "requests whose retry failed too: {:?}", told.errors);
    }
}
