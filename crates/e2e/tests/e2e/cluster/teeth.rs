//! What proves nothing about pintle: that the checks of this suite notice what they are for.
//! A stale read is in `survive`.

use std::process::Command;

use e2e::{Cluster, Server};
use sim::Rule;

use super::load::Load;
use super::{FLAGS, alone};

#[test]
fn acknowledged_writes_that_are_lost_would_be_noticed() {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    let mut cluster = Cluster::start("lost", &[&pintle; 3], &FLAGS).unwrap();
    let load = Load::start(&cluster, e2e::seed("cluster lost"));
    load.go_on_for(30);
    everybody_dies(&mut cluster);
    let saved = cluster.scratch().join("saved");
    for at in 0..cluster.size() {
        copy(&cluster.member(at).data(), &saved.join(at.to_string()));
    }
    everybody_comes_back(&mut cluster);
    load.go_on_for(30);
    everybody_dies(&mut cluster);
    for at in 0..cluster.size() {
        cluster.wipe(at).unwrap();
        copy(&saved.join(at.to_string()), &cluster.member(at).data());
    }
    everybody_comes_back(&mut cluster);
    // Watchers wait for a revision beyond what was lost.
    load.go_on_for(150);
    let broken = load.finish(&cluster).judge().expect_err("thirty writes were lost");
    assert!(matches!(broken.rule, Rule::RealTime | Rule::Linearizable), "{broken}");
}

fn everybody_dies(cluster: &mut Cluster) {
    for at in 0..cluster.size() {
        cluster.kill(at).unwrap();
    }
}

fn everybody_comes_back(cluster: &mut Cluster) {
    for at in 0..cluster.size() {
        cluster.begin_restart(at).unwrap();
    }
    for at in 0..cluster.size() {
        cluster.wait_until_it_serves(at).unwrap();
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    let copied = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
    assert!(copied.success(), "copying {} ends with {copied}", from.display());
}
