//! The same requests, one after the other, to etcd and to pintle: every reply must be the same,
//! headers included.
//!
//! The long form: `PINTLE_ROUNDS=500 cargo test --release -p e2e differential -- --nocapture`.

use e2e::{Client, Generator, Member, Mix, Scratch, Server};
use env::Random;
use proto::etcdserverpb::{CompactionRequest, HashKvRequest, HashRequest, PutRequest};

use crate::tools::dumped_log;

/// Both tell clients the same address, so that even the hash of the whole db is the same.
const FLAGS: [&str; 5] = [
    "--heartbeat-interval=10",
    "--election-timeout=100",
    "--unsafe-no-fsync",
    "--bcrypt-cost=4",
    "--advertise-client-urls=http://127.0.0.1:2379",
];

#[test]
fn replies_are_the_same() {
    let Some((pintle, etcd)) = Server::both() else { return };
    for seed in e2e::round_seeds("differential", 6) {
        let (ours, theirs) = compare(&pintle, &etcd, seed, Mix { auth: false, reads: true });
        compare_files(&ours, &theirs, seed);
        compare_logs(ours, theirs, seed);
    }
}

/// Hashes of passwords are new each time, so the files have them in common no more.
#[test]
fn replies_about_users_are_the_same() {
    let Some((pintle, etcd)) = Server::both() else { return };
    for seed in e2e::round_seeds("differential-auth", 3) {
        compare(&pintle, &etcd, seed, Mix { auth: true, reads: true });
    }
}

/// A server with its client.
struct Side {
    member: Member,
    client: Client,
    scratch: Scratch,
}

impl Side {
    fn start(server: &Server) -> Self {
        let scratch = Scratch::new("differential");
        let member = Member::start(server, scratch.path(), &FLAGS).unwrap();
        let client = Client::connect(&member).unwrap();
        Self { member, client, scratch }
    }

    fn restart(&mut self, server: &Server) {
        self.member.kill().unwrap();
        self.member.restart(server).unwrap();
        self.client = Client::connect(&self.member).unwrap();
    }
}

/// Asks both the same, and gives them back.
fn compare(pintle: &Server, etcd: &Server, seed: u64, mix: Mix) -> (Side, Side) {
    let (mut ours, mut theirs) = (Side::start(pintle), Side::start(etcd));
    let mut generator = Generator::new(seed, mix);
    let count = 300 + Random::new(seed).below(300);
    let mut before = Vec::new();
    for number in 0..count {
        let request = generator.next_request();
        let expected = theirs.client.block_on(async |grpc| request.ask(grpc).await);
        assert!(!expected.is_lost(), "{request:?}: {expected:?}\n{}", theirs.member.log_tail());
        let answer = ours.client.block_on(async |grpc| request.ask(grpc).await);
        before.push(format!("{request:?}\n    {}", expected.text));
        assert!(
            answer == expected,
            "PINTLE_ROUND_SEED={seed}, request {number} of {count}; the last five, and etcd's answers:\n{}\n\
             pintle's answer, and its folder {}:\n    {}\netcd has {:?}\npintle has {:?}",
            before[before.len().saturating_sub(5)..].join("\n"),
            ours.scratch.path().display(),
            answer.text,
            theirs.client.call(&e2e::everything(0)),
            ours.client.call(&e2e::everything(0)),
        );
        generator.learn(&request, &answer);
        if number == count / 2 {
            ours.restart(pintle);
            theirs.restart(etcd);
        }
    }
    (ours, theirs)
}

/// All that clients cannot read is the same too: the hash of the whole db says so, once nothing
/// is half done.
fn compare_files(ours: &Side, theirs: &Side, seed: u64) {
    let hashes = [ours, theirs].map(|side| {
        side.client.disarm().unwrap();
        let put = PutRequest { key: "last".into(), ..PutRequest::default() };
        let revision = side.client.call(&put).unwrap().header.unwrap().revision;
        side.client.call(&CompactionRequest { revision, physical: true }).unwrap();
        let hash = side.client.call(&HashRequest {}).unwrap();
        let hash_kv = side.client.call(&HashKvRequest { revision: 0 }).unwrap();
        (hash, hash_kv)
    });
    assert_eq!(hashes[0], hashes[1], "seed {seed}: the hash of all buckets");
}

/// `etcd-dump-logs` reads the same entries out of both logs.
fn compare_logs(mut ours: Side, mut theirs: Side, seed: u64) {
    let logs = [&mut ours, &mut theirs].map(|side| {
        side.member.stop().unwrap();
        dumped_log(&side.member.data(), side.scratch.path())
    });
    let [Some(actual), Some(expected)] = logs else { return };
    for (number, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
        assert_eq!(actual, expected, "seed {seed}: entry {number} of the log");
    }
    assert_eq!(actual.len(), expected.len(), "seed {seed}: entries of the log");
}
