//! What was acknowledged survives a crash of the process, and no revision goes back.
//!
//! The long form: `PINTLE_ROUNDS=500 cargo test --release -p e2e kill -- --nocapture`.

use e2e::{Member, Scratch, Server};

use crate::tools::accepted_by_tools;
use crate::writers::Writers;

#[test]
fn every_acknowledged_write_survives_kill_9() {
    let Some(pintle) = Server::pintle() else { return };
    let seed = e2e::seed("kill");
    let scratch = Scratch::new("kill");
    // Few entries between snapshots, so that a crash meets all the work around them too.
    let flags = ["--heartbeat-interval=10", "--election-timeout=100", "--snapshot-count=300"];
    let mut member = Member::start(&pintle, scratch.path(), &flags).unwrap();
    let mut writers = Writers::new(seed);
    writers.grant_leases(&member);
    for round in 1..=e2e::rounds(8) {
        writers.write_until(&mut member, |member| member.kill().unwrap());
        accepted_by_tools(&member.data(), scratch.path(), &format!("killed in round {round}"));
        member.restart(&pintle).unwrap();
        writers.verify(&member);
        if round % 3 == 0 {
            writers.compact(&member);
        }
    }
    eprintln!("kill: {} writes were acknowledged and are there", writers.acknowledged());
}
