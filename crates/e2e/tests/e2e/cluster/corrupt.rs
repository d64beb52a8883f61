//! A member whose disk gives back something else is found, and nobody reads it any more.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use e2e::{Cluster, Server};
use env::RealDisk;
use proto::Message as _;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::{AlarmRequest, AlarmType, CompactionRequest, PutRequest, StatusRequest};
use proto::mvccpb::KeyValue;

use super::{FLAGS, alone};

const PATIENCE: Duration = Duration::from_secs(30);
const KEYS: i64 = 20;

/// What becomes of a db file.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// A value is another one.
    Value,
    /// It has a revision that nobody has written.
    Ahead,
}

/// Of a member that has ended.
fn damage(cluster: &Cluster, at: usize, damage: Damage) {
    let path = cluster.member(at).data().join("member/snap/db");
    let db = bolt::Db::open(Arc::new(RealDisk), &path, bolt::Options::default()).unwrap();
    let newest = |main: i64| {
        let name = [&main.to_be_bytes()[..], b"_", &0_i64.to_be_bytes()].concat();
        let record = db.read().bucket(b"key").unwrap().unwrap().get(&name).unwrap();
        (Bytes::from(name), record.expect("this is the newest revision"))
    };
    let (name, record) = newest(KEYS + 1);
    let mut record = KeyValue::decode(record).unwrap();
    let name = match damage {
        Damage::Value => name,
        Damage::Ahead => {
            record.mod_revision += 10;
            record.version += 1;
            let main = record.mod_revision.to_be_bytes();
            [&main[..], b"_", &0_i64.to_be_bytes()].concat().into()
        }
    };
    record.value = "something else".into();
    let mut tx = db.write();
    tx.put(b"key", name, record.encode_to_vec().into()).unwrap();
    tx.commit().unwrap();
}

/// A cluster that is led by the first, and whose last member has this damage and does not run.
fn damaged(name: &str, servers: &[&Server], flags: &[&str], what: Damage) -> (Cluster, usize) {
    let flags = [&FLAGS[..], flags].concat();
    let mut cluster = Cluster::start(name, servers, &flags).unwrap();
    let at = servers.len() - 1;
    cluster.wait_for_leader().unwrap();
    cluster.move_leader(0).unwrap();
    for number in 0..KEYS {
        let (key, value) = (format!("k{number}").into(), "right".into());
        cluster.call(0, &PutRequest { key, value, ..PutRequest::default() }).unwrap();
    }
    cluster.same_hash().unwrap();
    cluster.stop(at).unwrap();
    damage(&cluster, at, what);
    (cluster, at)
}

/// Whose data is said to be corrupt, as soon as somebody's is.
fn alarmed(cluster: &Cluster) -> Vec<u64> {
    let get = AlarmRequest { action: AlarmAction::Get as i32, ..AlarmRequest::default() };
    let alarmed = e2e::until(PATIENCE, || {
        let alarms = cluster.call(0, &get).ok()?.alarms;
        let corrupt = alarms.iter().filter(|alarm| alarm.alarm == AlarmType::Corrupt as i32);
        Some(corrupt.map(|alarm| alarm.member_id).collect::<Vec<_>>()).filter(|ids| !ids.is_empty())
    });
    alarmed.unwrap_or_else(|| panic!("no alarm\n{}", cluster.member(0).log()))
}

fn id(cluster: &Cluster, at: usize) -> u64 {
    let status = cluster.call(at, &StatusRequest {}).unwrap();
    status.header.expect("a reply has a header").member_id
}

#[test]
fn a_follower_of_other_keys_or_other_revisions_is_found() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let _alone = alone();
    for (what, follower, text) in [
        (Damage::Value, &pintle, "same compact revision then hashes must match"),
        (Damage::Ahead, &pintle, "revision from follower must be less than or equal to leader's"),
        (Damage::Ahead, &etcd, "revision from follower must be less than or equal to leader's"),
    ] {
        let servers = [&pintle, &pintle, follower];
        let (mut cluster, at) = damaged("corrupt", &servers, &["--corrupt-check-time=1s"], what);
        cluster.restart(at).unwrap();
        assert_eq!(alarmed(&cluster), [id(&cluster, at)], "{what:?} of {}", follower.name);
        let told = cluster.member(0).log();
        assert!(told.contains(&format!("\"{text}\"")), "{told}");
        let put = PutRequest { key: "k".into(), ..PutRequest::default() };
        let refused = cluster.call(0, &put).unwrap_err();
        assert_eq!(refused.message, "etcdserver: corrupt cluster");
    }
}

#[test]
fn a_follower_of_other_keys_is_found_when_all_compact() {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    let flags = ["--feature-gates=CompactHashCheck=true", "--compact-hash-check-time=1s"];
    let (mut cluster, at) = damaged("compact", &[&pintle; 3], &flags, Damage::Value);
    cluster.restart(at).unwrap();
    // The check is of compactions that all have done.
    cluster.wait_for_leader().unwrap();
    let compaction = CompactionRequest { revision: KEYS + 1, physical: true };
    cluster.call(0, &compaction).unwrap();
    assert_eq!(alarmed(&cluster), [id(&cluster, at)]);
    assert!(cluster.member(0).log().contains("Detected compaction hash mismatch"));
}

#[test]
fn who_has_other_keys_than_the_others_does_not_begin_to_serve() {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    let flags = ["--feature-gates=InitialCorruptCheck=true"];
    let (mut cluster, at) = damaged("initial", &[&pintle; 3], &flags, Damage::Value);
    cluster.begin_restart(at).unwrap();
    let ended = cluster.wait_until_it_ends(at).unwrap();
    assert!(!ended.success());
    let told = cluster.member(at).log();
    assert!(told.contains("found data inconsistency with peers"), "{told}");
    assert_eq!(cluster.call(0, &StatusRequest {}).unwrap().errors, [""; 0]);
}
