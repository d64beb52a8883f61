//! The log of a real etcd, applied by our state, leads to etcd's own db file, byte for byte.
//!
//! Each round starts an etcd on an empty directory, sends it requests by chance, stops it, and
//! feeds its log to [`state::State`]. On the way it stops where etcd was asked for a hash, with
//! compactions half done.
//!
//! The long form: `PINTLE_ROUNDS=2000 cargo test --release -p e2e replay -- --nocapture`.

mod machine;

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use e2e::{Client, Generator, Member, Mix, Request, Scratch, Server};
use env::{Random, RealDisk};
use machine::Machine;
use proto::etcdserverpb::{
    AuthEnableRequest, AuthRoleAddRequest, AuthUserAddRequest, AuthUserGrantRoleRequest,
    CompactionRequest, HashKvRequest, HashKvResponse, PutRequest, StatusRequest,
};

/// No fsync: nobody pulls a plug here, and rounds are many.
const FLAGS: [&str; 4] =
    ["--heartbeat-interval=10", "--election-timeout=100", "--unsafe-no-fsync", "--bcrypt-cost=4"];

#[test]
fn the_log_of_etcd_leads_to_its_db() {
    let Some(etcd) = Server::etcd() else { return };
    for seed in e2e::round_seeds("replay", 5) {
        replay(&etcd, seed);
    }
}

/// What etcd answered when it had applied so many entries.
type Hashes = HashMap<u64, Vec<HashKvResponse>>;

fn replay(etcd: &Server, seed: u64) {
    let scratch = Scratch::new("replay");
    let hashes = drive(etcd, scratch.path(), seed);
    let theirs = scratch.join("data/member/snap/db");
    let ours = scratch.join("db");
    let mut machine = Machine::open(&ours, Random::new(seed));
    let wal = scratch.join("data/member/wal");
    let log = wal::read(&RealDisk, &wal, wal::SnapshotMark::default()).expect("a readable log");
    for entry in &log.entries {
        machine.apply(entry);
        for expected in hashes.get(&entry.index()).into_iter().flatten() {
            let hash = machine.hash_kv(expected.hash_revision);
            // Where no key lives at the revision etcd takes in all records that are there, and so
            // its answer depends on how far its own compaction has come. Ours is the one of after.
            if hash.hash != expected.hash && machine.is_empty_at(expected.hash_revision) {
                let settled = HashKvResponse { hash: hash.hash, ..*expected };
                assert_eq!(hash, settled, "seed {seed}, after entry {}", entry.index());
                eprintln!("replay: etcd's compaction was under way, seed {seed}");
                continue;
            }
            assert_eq!(hash, *expected, "seed {seed}, after entry {}", entry.index());
        }
    }
    machine.finish();
    compare(&ours, &theirs, seed);
}

/// Sends requests, a few hundred, and stops the server in good order.
fn drive(etcd: &Server, folder: &Path, seed: u64) -> Hashes {
    let mut member = Member::start(etcd, folder, &FLAGS).unwrap();
    let client = Client::connect(&member).unwrap();
    let mut generator = Generator::new(seed, Mix { auth: true, reads: false });
    let mut hashes = Hashes::new();
    let count = 50 + Random::new(seed).below(400);
    for _ in 0..count {
        let request = generator.next_request();
        if let Request::HashKv(request) = &request {
            hash(&client, request, &mut hashes);
            continue;
        }
        let answer = client.block_on(async |grpc| request.ask(grpc).await);
        assert!(!answer.is_lost(), "seed {seed}: {request:?}: {answer:?}\n{}", member.log_tail());
        generator.learn(&request, &answer);
    }
    end(&client, generator.compacted(), &mut hashes);
    member.stop().unwrap();
    hashes
}

fn hash(client: &Client, request: &HashKvRequest, hashes: &mut Hashes) {
    let Ok(reply) = client.call(request) else { return };
    // One client, and it waits: what is committed is applied, which etcd notes a little late.
    let index = client.call(&StatusRequest {}).unwrap().raft_index;
    hashes.entry(index).or_default().push(HashKvResponse { header: None, ..reply });
}

/// A compaction that is waited for, since a stop would leave those that run half done; then the
/// switch to authentication, after which nobody may do anything.
fn end(client: &Client, compacted: i64, hashes: &mut Hashes) {
    client.disarm().unwrap();
    let reply = client.call(&PutRequest { key: "last".into(), ..PutRequest::default() }).unwrap();
    let revision = reply.header.unwrap().revision;
    if compacted > 0 {
        client.call(&CompactionRequest { revision, physical: true }).unwrap();
    }
    let reply = client.call(&PutRequest { key: "last".into(), ..PutRequest::default() }).unwrap();
    let revision = reply.header.unwrap().revision;
    hash(client, &HashKvRequest { revision }, hashes);
    let root = || "root".to_owned();
    // They may be there already.
    let user =
        AuthUserAddRequest { name: root(), password: root(), ..AuthUserAddRequest::default() };
    let _ = client.call(&user);
    let _ = client.call(&AuthRoleAddRequest { name: root() });
    let _ = client.call(&AuthUserGrantRoleRequest { user: root(), role: root() });
    client.call(&AuthEnableRequest {}).unwrap();
    let denied = client.call(&PutRequest { key: "denied".into(), ..PutRequest::default() });
    assert!(denied.is_err());
}

/// etcd sees to it every four seconds, which a round may be shorter than.
const STORAGE_VERSION: &[u8] = b"storageVersion";

type Records = BTreeMap<Bytes, Bytes>;

/// All buckets, all records, the index of the last entry too: both stopped in good order.
fn compare(ours: &Path, theirs: &Path, seed: u64) {
    let open = |path: &Path| {
        bolt::Db::open(Arc::new(RealDisk), path, bolt::Options::default()).expect("a db file")
    };
    let (our_db, their_db) = (open(ours), open(theirs));
    let (our_tx, their_tx) = (our_db.read(), their_db.read());
    let names = their_tx.buckets().expect("buckets");
    assert_eq!(our_tx.buckets().expect("buckets"), names, "seed {seed}");
    for name in names {
        let (mut ours, theirs) = (records(&our_tx, &name), records(&their_tx, &name));
        if !theirs.contains_key(STORAGE_VERSION) {
            ours.remove(STORAGE_VERSION);
        }
        let name = name.escape_ascii();
        for (key, value) in &theirs {
            let found = ours.get(key);
            assert_eq!(found, Some(value), "seed {seed}, {name}: {}", key.escape_ascii());
        }
        assert_eq!(ours.len(), theirs.len(), "seed {seed}: records of {name}");
    }
    assert_eq!(our_db.check(), []);
}

fn records(tx: &bolt::ReadTx, bucket: &[u8]) -> Records {
    let bucket = tx.bucket(bucket).expect("readable").expect("it is there");
    let records = bucket.range(Bound::Unbounded, Bound::Unbounded);
    records.collect::<Result<_, _>>().expect("readable")
}
