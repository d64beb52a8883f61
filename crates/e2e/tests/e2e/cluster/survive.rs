//! Members die, hang and are cut off under load; no acknowledged write is lost, no read is stale.

use e2e::{Cluster, Server};

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
