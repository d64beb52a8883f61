//! The log of a real etcd, applied to an empty state, must lead to that etcd's db file: every
//! record of every bucket, byte for byte, and the answers that it gave at the end.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;

use bytes::Bytes;
use env::RealDisk;
use mvcc::{Backend, Bucket, KeyRange, KvFields, Range};
use proto::raftpb::{Entry, Snapshot, SnapshotMetadata};
use serde_json::Value;
use state::{Options, Roster, Version};
use wal::snap::load_newest;

use crate::fixture::{Fixture, base64};
use crate::kit::{Machine, open_backend};

#[test]
fn the_log_of_3_7_1_leads_to_its_db() {
    replay("3.7.1-clean", Version::new(3, 7));
}

#[test]
fn the_log_of_3_6_14_leads_to_its_db() {
    replay("3.6.14-clean", Version::new(3, 6));
}

/// With v2 requests in the log.
#[test]
fn the_log_of_3_5_1_leads_to_its_db() {
    replay("3.5.1-clean", Version::new(3, 5));
}

#[test]
fn the_log_of_3_5_1_after_kills_leads_to_its_db() {
    replay("3.5.1-kill9", Version::new(3, 5));
}

fn replay(name: &'static str, version: Version) {
    let Some(fixture) = Fixture::unpack(name) else { return };
    let theirs = open_backend(&fixture.db());
    let last = number(&theirs, b"consistent_index");

    // Those that were killed did not always live to write one.
    let snapshot = load_newest(&RealDisk, &fixture.snap()).expect("readable").snapshot;
    let mut machine = Machine::open(&fixture.new_db(), Options::default());
    for entry in entries(&fixture.wal()).iter().filter(|entry| entry.index() <= last) {
        machine.apply_entry(entry);
        if let Some(snapshot) = &snapshot
            && snapshot.metadata.as_ref().map(SnapshotMetadata::index) == Some(entry.index())
        {
            compare_snapshot(&machine.state.views().members.roster(), snapshot, version);
        }
    }
    assert_eq!(machine.state.applied().index, last, "the log has all entries");
    machine.commit();

    let views = machine.state.views().clone();
    assert_eq!(views.members.cluster_version(), Some(version));
    compare_buckets(&views.backend, &theirs, version);
    for (revision, reply) in fixture.hashes() {
        let hash = views.reader.hash_kv(revision).expect("a revision that is kept");
        assert_eq!(Value::from(hash.hash), reply["hash"], "hash at {revision}");
        assert_eq!(Value::from(hash.compact_revision), reply["compact_revision"]);
    }
    compare_rows(&views.reader, &fixture.range());
}

/// A snapshot file says the same of the members; since 3.6 it does so in the same words.
fn compare_snapshot(ours: &Roster, theirs: &Snapshot, version: Version) {
    assert_eq!(&Roster::from_v2_json(theirs.data()).expect("a v2 store"), ours);
    if version >= Version::new(3, 6) {
        assert_eq!(ours.to_v2_json(), theirs.data());
    }
}

fn compare_buckets(ours: &Backend, theirs: &Backend, version: Version) {
    let is_old = version < Version::new(3, 6);
    for bucket in Bucket::ALL {
        // Up to 3.5.19 a member's record was never written again.
        if bucket != Bucket::Members || !is_old {
            compare(bucket.name(), records(ours, bucket.name()), records(theirs, bucket.name()));
        }
    }
    let (mut our_keys, mut their_keys) = (records(ours, b"key"), records(theirs, b"key"));
    if is_old {
        // Older versions compact the deletions of just the compacted revision away.
        let compacted = our_keys.len();
        for keys in [&mut our_keys, &mut their_keys] {
            keys.retain(|key, _| key.last() != Some(&b't'));
        }
        assert!(our_keys.len() < compacted, "there are deletions");
    }
    compare(b"key", our_keys, their_keys);
}

type Records = BTreeMap<Bytes, Bytes>;

fn compare(bucket: &[u8], ours: Records, theirs: Records) {
    for (key, value) in &theirs {
        let bucket = bucket.escape_ascii();
        assert_eq!(ours.get(key), Some(value), "{bucket}: {}", key.escape_ascii());
    }
    assert_eq!(ours.len(), theirs.len(), "records of {}", bucket.escape_ascii());
}

fn compare_rows(reader: &mvcc::Reader, theirs: &Value) {
    let ours = reader.range(&Range::of(KeyRange::all())).expect("all rows");
    assert_eq!(Value::from(ours.revision), theirs["header"]["revision"]);
    let rows = theirs["kvs"].as_array().expect("rows");
    assert_eq!(ours.kvs.len(), rows.len());
    for (kv, row) in ours.kvs.iter().zip(rows) {
        let kv = KvFields::parse(kv).expect("a row");
        let number = |name: &str| row.get(name).and_then(Value::as_i64).unwrap_or(0);
        let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        assert_eq!(base64(kv.key), text("key"));
        assert_eq!(base64(kv.value), text("value"));
        assert_eq!(kv.create_revision, number("create_revision"));
        assert_eq!(kv.mod_revision, number("mod_revision"));
        assert_eq!((kv.version, kv.lease), (number("version"), number("lease")));
    }
}

fn entries(wal: &Path) -> Vec<Entry> {
    wal::read(&RealDisk, wal, wal::SnapshotMark::default()).expect("a readable log").entries
}

fn number(backend: &Backend, key: &[u8]) -> u64 {
    let value = backend.get(Bucket::Meta, key).expect("readable").expect("a used db");
    u64::from_be_bytes(value.as_ref().try_into().expect("eight bytes"))
}

fn records(backend: &Backend, bucket: &[u8]) -> Records {
    let bucket = backend.snapshot().bucket(bucket).expect("readable").expect("it is there");
    let records = bucket.range(Bound::Unbounded, Bound::Unbounded);
    records.collect::<Result<_, _>>().expect("readable")
}
