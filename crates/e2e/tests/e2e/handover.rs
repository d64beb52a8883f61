//! One data directory, turn by turn etcd's and pintle's.
//!
//! The long form: `PINTLE_ROUNDS=50 cargo test --release -p e2e handover -- --nocapture`.

use e2e::{Member, Scratch, Server};
use env::Random;

use crate::tools::accepted_by_tools;
use crate::writers::Writers;

#[test]
fn etcd_and_pintle_take_turns_on_one_directory() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let seed = e2e::seed("handover");
    let scratch = Scratch::new("handover");
    let flags = ["--heartbeat-interval=10", "--election-timeout=100", "--snapshot-count=300"];
    let mut random = Random::new(seed);
    let mut writers = Writers::new(seed);
    let mut member = Member::start(&pintle, scratch.path(), &flags).unwrap();
    writers.grant_leases(&member);
    for round in 1..=e2e::rounds(6) {
        if random.chance(1, 3) {
            writers.compact(&member);
        }
        let crash = random.chance(1, 2);
        writers.write_until(&mut member, |member| {
            if crash {
                member.kill().unwrap();
            } else {
                member.stop().unwrap();
            }
        });
        let how = if crash { "killed" } else { "stopped" };
        let done = format!("round {round}: {} was {how}", member.name());
        accepted_by_tools(&member.data(), scratch.path(), &done);
        let next = if round % 2 == 0 { &pintle } else { &etcd };
        member.restart(next).unwrap_or_else(|error| panic!("{done}, then {error:#}"));
        writers.verify(&member);
    }
    eprintln!("handover: {} writes were acknowledged and are there", writers.acknowledged());
}
