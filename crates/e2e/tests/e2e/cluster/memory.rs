//! However long a member is away, the others keep no more of the log than they need.
//!
//! The long form: `PINTLE_ROUNDS=200 cargo test --release -p e2e cluster::memory -- --nocapture`.

use std::time::Duration;

use bytes::Bytes;
use e2e::{Cluster, Server};
use env::Random;
use proto::etcdserverpb::{CompactionRequest, PutRequest};

use super::{FLAGS, alone};

const VALUE_BYTES: usize = 32 << 10;
const WRITES_PER_ROUND: usize = 400;

/// Segments are 64 MB, and one is always made ahead.
const SEGMENTS: usize = 4;

#[test]
fn memory_and_log_stay_bounded_while_a_member_is_away() {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    let flags = [
        FLAGS[0],
        FLAGS[1],
        "--snapshot-count=100",
        "--snapshot-catchup-entries=20",
        "--max-wals=2",
        "--max-snapshots=2",
        "--unsafe-no-fsync",
    ];
    let mut cluster = Cluster::start("away", &[&pintle; 3], &flags).unwrap();
    let away = 2;
    cluster.kill(away).unwrap();
    let mut random = Random::new(e2e::seed("cluster away"));
    // The first round is for all that a member needs once.
    write(&cluster, &mut random);
    let before = resident_bytes(&cluster);
    let rounds = e2e::rounds(5) as usize;
    for _ in 0..rounds {
        write(&cluster, &mut random);
    }
    let after = resident_bytes(&cluster);
    let written = (rounds * WRITES_PER_ROUND * VALUE_BYTES) as u64;
    eprintln!("cluster away: {written} bytes written, resident {before:?}, then {after:?}");
    for (before, after) in before.iter().zip(&after) {
        let grown = after.saturating_sub(*before);
        assert!(grown < 24 << 20, "memory has grown by {grown} bytes");
    }
    for at in cluster.running() {
        // Old segments are removed every half a minute only.
        let kept = e2e::until(Duration::from_secs(45), || {
            (segments(&cluster, at) <= SEGMENTS).then_some(())
        });
        assert!(kept.is_some(), "m{at} keeps {} segments of the log", segments(&cluster, at));
    }
    cluster.restart(away).unwrap();
    cluster.same_hash().unwrap();
}

/// Puts the same few keys over and over, and compacts what was there.
fn write(cluster: &Cluster, random: &mut Random) {
    let leader = cluster.wait_for_leader().unwrap();
    let mut value = vec![0; VALUE_BYTES];
    for number in 0..WRITES_PER_ROUND {
        random.fill(&mut value[..64]);
        let (key, value) = (format!("k{}", number % 10).into(), Bytes::copy_from_slice(&value));
        let reply = cluster.call(leader, &PutRequest { key, value, ..PutRequest::default() });
        let revision = reply.unwrap().header.expect("a reply has a header").revision;
        if number % 100 == 99 {
            // Not the newest: of a revision that is just compacted, who has done it keeps a hash.
            let request = CompactionRequest { revision: revision - 1, physical: true };
            cluster.call(leader, &request).unwrap();
        }
    }
}

fn resident_bytes(cluster: &Cluster) -> Vec<u64> {
    let of_one = |at: usize| {
        let pid = cluster.member(at).pid().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        // Without what is mapped of files, which the kernel takes back as it likes.
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.expect("the kernel tells") * 1024
    };
    cluster.running().into_iter().map(of_one).collect()
}

fn segments(cluster: &Cluster, at: usize) -> usize {
    let folder = cluster.member(at).data().join("member/wal");
    let files = std::fs::read_dir(folder).unwrap().flatten();
    files.filter(|file| file.path().extension().is_some_and(|it| it == "wal")).count()
}
