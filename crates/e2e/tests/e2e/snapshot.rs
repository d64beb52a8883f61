//! A snapshot saved from one server is what that server had, and another one starts from it.
//!
//! Saved by etcdctl and restored by etcdutl of etcd 3.7.1, under writes.

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Client, Member, Outcome, Scratch, Server};
use proto::etcdserverpb::{
    CompactionRequest, DefragmentRequest, DeleteRangeRequest, HashKvRequest, HashKvResponse,
    LeaseGrantRequest, LeaseLeasesRequest, PutRequest,
};

const FLAGS: [&str; 2] = ["--heartbeat-interval=10", "--election-timeout=100"];

#[test]
fn from_pintle_to_etcd() {
    let Some((pintle, etcd)) = Server::both() else { return };
    hand_over(&pintle, &etcd);
}

#[test]
fn from_etcd_to_pintle() {
    let Some((pintle, etcd)) = Server::both() else { return };
    hand_over(&etcd, &pintle);
}

#[test]
fn from_pintle_to_pintle() {
    let Some(pintle) = Server::pintle() else { return };
    hand_over(&pintle, &pintle);
}

struct Tools {
    etcdctl: PathBuf,
    etcdutl: PathBuf,
}

/// With stores of several sizes, each saved while somebody writes.
fn hand_over(from: &Server, to: &Server) {
    let (Some(etcdctl), Some(etcdutl)) = (e2e::peer("etcdctl"), e2e::peer("etcdutl")) else {
        return;
    };
    let tools = Tools { etcdctl, etcdutl };
    let scratch = Scratch::new("snapshot");
    let mut member = Member::start(from, scratch.path(), &FLAGS).unwrap();
    let client = Client::connect(&member).unwrap();
    for (step, keys) in [0, 50, 5000].into_iter().enumerate() {
        let folder = scratch.join(&format!("restored-{step}"));
        std::fs::create_dir_all(&folder).unwrap();
        fill(&client, keys);
        tools.save_under_writes(&member, &client, &folder);
        tools.check(&folder);
        tools.restore(&folder);
        let restored = Member::start(to, &folder, &FLAGS).unwrap();
        compare(&client, &Client::connect(&restored).unwrap());
        use_up(&Client::connect(&restored).unwrap());
    }
    member.stop().unwrap();
}

/// Puts so many keys, some of them long, and leaves deleted ones, a lease and a compaction.
fn fill(client: &Client, keys: usize) {
    for number in 0..keys {
        let key = format!("key/{number:05}").into();
        let value = vec![b'v'; if number % 100 == 7 { 9000 } else { number % 60 }].into();
        client.call(&PutRequest { key, value, ..PutRequest::default() }).unwrap();
    }
    if keys == 0 {
        return;
    }
    let (key, range_end) = ("key/00010".into(), "key/00040".into());
    client.call(&DeleteRangeRequest { key, range_end, prev_kv: false }).unwrap();
    client.call(&LeaseGrantRequest { ttl: 10_000, id: keys as i64 }).unwrap();
    let (key, lease) = ("leased".into(), keys as i64);
    let reply = client.call(&PutRequest { key, lease, ..PutRequest::default() }).unwrap();
    let revision = reply.header.unwrap().revision - 20;
    client.call(&CompactionRequest { revision, physical: true }).unwrap();
}

impl Tools {
    /// Saves a snapshot while another client puts; the puts go on until it is there.
    fn save_under_writes(&self, member: &Member, client: &Client, folder: &Path) {
        let mut command = Command::new(&self.etcdctl);
        command.args(["--endpoints", &member.endpoint(), "snapshot", "save"]);
        let mut saving =
            e2e::Running::start(command.arg(folder.join("saved.db")), "", folder).unwrap();
        while !saving.has_ended() {
            let (key, value) = ("busy".into(), vec![b'b'; 100].into());
            client.call(&PutRequest { key, value, ..PutRequest::default() }).unwrap();
        }
        expect_success(saving.wait(std::time::Duration::from_secs(60)));
    }

    fn check(&self, folder: &Path) {
        let mut status = Command::new(&self.etcdutl);
        status.args(["snapshot", "status"]).arg(folder.join("saved.db"));
        expect_success(e2e::run(&mut status, "", folder));
        if let Some(bbolt) = e2e::peer("bbolt") {
            let mut check = Command::new(bbolt);
            check.arg("check").arg(folder.join("saved.db"));
            expect_success(e2e::run(&mut check, "", folder));
        }
    }

    fn restore(&self, folder: &Path) {
        let mut command = Command::new(&self.etcdutl);
        command.args(["snapshot", "restore"]).arg(folder.join("saved.db"));
        command.arg("--data-dir").arg(folder.join("data"));
        command.args(e2e::member_flags());
        expect_success(e2e::run(&mut command, "", folder));
    }
}

fn expect_success(outcome: anyhow::Result<Outcome>) {
    let outcome = outcome.unwrap();
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

/// The restored member has what the original had at the revision of the snapshot.
fn compare(original: &Client, restored: &Client) {
    let found = restored.call(&e2e::everything(0)).unwrap();
    let revision = found.header.unwrap().revision;
    let expected = original.call(&e2e::everything(revision)).unwrap();
    assert_eq!(found.kvs, expected.kvs, "at revision {revision}");
    let hash = |client: &Client| {
        let reply = client.call(&HashKvRequest { revision }).unwrap();
        HashKvResponse { header: None, ..reply }
    };
    assert_eq!(hash(restored), hash(original));
    let leases = |client: &Client| {
        let mut leases = client.call(&LeaseLeasesRequest {}).unwrap().leases;
        leases.sort_by_key(|lease| lease.id);
        leases
    };
    assert_eq!(leases(restored), leases(original));
}

/// The restored member works: it writes, compacts, deletes and defragments.
fn use_up(client: &Client) {
    let reply = client.call(&PutRequest { key: "new".into(), ..PutRequest::default() }).unwrap();
    let revision = reply.header.unwrap().revision;
    client.call(&CompactionRequest { revision, physical: true }).unwrap();
    let all = e2e::everything(0);
    let (key, range_end) = (all.key.clone(), all.range_end.clone());
    client.call(&DeleteRangeRequest { key, range_end, prev_kv: true }).unwrap();
    client.call(&CompactionRequest { revision: revision + 1, physical: true }).unwrap();
    client.call(&DefragmentRequest {}).unwrap();
    assert_eq!(client.call(&all).unwrap().count, 0);
}
