//! Writes an input or two for each kind of thing that a target reads, into `corpus/<target>`.
//!
//! A fuzzer finds its own way from there; without them it would look long for the first message.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use env::{Disk, SimDisk};
use fuzz::put_chunk;
use proto::Message;
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{self as pb, compare};
use proto::{membershippb, mvccpb, raftpb, walpb};
use state::{Member, Roster};

fn main() {
    kv();
    wal();
    snap();
    members();
    urls();
    requests();
    http2();
    apply();
    boot();
    checks();
    config();
    db();
    streams();
    messages();
    dns();
}

/// One input, under the number that is free.
fn save(target: &str, number: usize, bytes: &[u8]) {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&dir).expect("the folder can be made");
    fs::write(dir.join(format!("seed-{number:02}")), bytes).expect("the seed can be written");
}

fn kv() {
    let kv = mvccpb::KeyValue {
        key: Bytes::from_static(b"key"),
        create_revision: 2,
        mod_revision: 300,
        version: 2,
        value: Bytes::from_static(b"value"),
        lease: -1,
    };
    save("kv", 0, &kv.encode_to_vec());
    let unknown_fields = b"\x0a\x01k\x3a\x02xy\x40\x01\x4b\x4c\x51\0\0\0\0\0\0\0\0\x5d\0\0\0\0";
    save("kv", 1, unknown_fields);
}

fn entry(term: u64, index: u64, data: &'static [u8]) -> Vec<u8> {
    let data = Some(Bytes::from_static(data));
    raftpb::Entry { term: Some(term), index: Some(index), data, ..Default::default() }
        .encode_to_vec()
}

fn wal() {
    let metadata = pb::Metadata { node_id: Some(1), cluster_id: Some(2) }.encode_to_vec();
    let state = raftpb::HardState { term: Some(1), vote: Some(1), commit: Some(2) };
    let snapshot = |index| {
        walpb::Snapshot { index: Some(index), term: Some(1), ..Default::default() }.encode_to_vec()
    };
    let records: Vec<(u8, Vec<u8>)> = vec![
        (4, vec![]),
        (1, metadata.clone()),
        (
            5,
            walpb::Snapshot { index: Some(0), term: Some(0), ..Default::default() }.encode_to_vec(),
        ),
        (2, entry(1, 1, b"one")),
        (2, entry(1, 2, b"two")),
        (3, state.encode_to_vec()),
        (5, snapshot(1)),
        (0x84, vec![]),
        (1, metadata),
        (3, state.encode_to_vec()),
        (2, entry(1, 2, b"again")),
        (2, entry(2, 3, b"three")),
    ];
    for (number, from) in [[0, 0], [1, 1]].into_iter().enumerate() {
        let mut framed = vec![1];
        framed.extend(from);
        for (kind, data) in &records {
            framed.push(*kind);
            put_chunk(&mut framed, data);
        }
        save("wal", number, &framed);
    }
    let first = records[..7].iter().map(|(kind, data)| (*kind, &data[..]));
    let mut raw = vec![0, 0, 0];
    raw.extend_from_slice(&fuzz::segment(first));
    raw.extend_from_slice(&[0; 64]);
    save("wal", 2, &raw);
}

fn member() -> Member {
    Member {
        id: state::MemberId(0x8e9e_05c5_2164_694d),
        name: "default".to_owned(),
        peer_urls: vec!["http://localhost:2380".to_owned()],
        client_urls: vec!["http://localhost:2379".to_owned()],
        ..Member::default()
    }
}

fn roster() -> Roster {
    let removed = [state::MemberId(7)];
    Roster::new([member()], removed, None)
}

fn conf_state() -> raftpb::ConfState {
    raftpb::ConfState { voters: vec![1, 2], learners: vec![3], ..Default::default() }
}

fn snap() {
    let metadata =
        raftpb::SnapshotMetadata { conf_state: Some(conf_state()), index: Some(5), term: Some(2) };
    let data = Some(Bytes::from(roster().to_v2_json()));
    let snapshot = raftpb::Snapshot { data, metadata: Some(metadata) };
    save("snap", 0, &snapshot.encode_to_vec());
    save("snap", 1, &wal::snap::encode(&snapshot));
}

fn members() {
    save("members", 0, &member().to_json());
    save("members", 1, &roster().to_v2_json());
    save("members", 2, &state::conf_state_to_json(&conf_state()));
    let context = state::ConfChangeContext { member: member(), is_promote: true };
    save("members", 3, &context.to_json());
}

fn urls() {
    let texts = [
        "http://127.0.0.1:2379,https://[::1]:2379",
        "unix://sock:1,unixs:///a/b",
        "a=http://a.example:2380,a=http://b.example:2380,b=https://c.example:2380/",
    ];
    for (number, text) in texts.into_iter().enumerate() {
        save("urls", number, text.as_bytes());
    }
}

fn put(key: &'static str, value: &'static str, lease: i64) -> pb::PutRequest {
    let (key, value) = (Bytes::from_static(key.as_bytes()), Bytes::from_static(value.as_bytes()));
    pb::PutRequest { key, value, lease, prev_kv: true, ..Default::default() }
}

fn txn() -> pb::TxnRequest {
    let op = |request| pb::RequestOp { request: Some(request) };
    let range = pb::RangeRequest {
        key: Bytes::from_static(b"a"),
        range_end: Bytes::from_static(b"z"),
        limit: 3,
        sort_order: 2,
        sort_target: 4,
        ..Default::default()
    };
    let delete = pb::DeleteRangeRequest {
        key: Bytes::from_static(b"a"),
        range_end: Bytes::from_static(b"\0"),
        prev_kv: true,
    };
    let compare = pb::Compare {
        result: compare::CompareResult::Greater as i32,
        target: compare::CompareTarget::Version as i32,
        key: Bytes::from_static(b"a"),
        target_union: Some(compare::TargetUnion::Version(0)),
        ..Default::default()
    };
    let nested = pb::TxnRequest {
        compare: vec![],
        success: vec![op(Request::RequestRange(range.clone()))],
        failure: vec![],
    };
    pb::TxnRequest {
        compare: vec![compare],
        success: vec![
            op(Request::RequestPut(put("b", "2", 0))),
            op(Request::RequestRange(range)),
            op(Request::RequestTxn(nested)),
        ],
        failure: vec![op(Request::RequestDeleteRange(delete))],
    }
}

fn requests() {
    // The numbers are places in the target's list.
    let watch = pb::WatchCreateRequest { key: Bytes::from_static(b"a"), ..Default::default() };
    let watch = pb::watch_request::RequestUnion::CreateRequest(watch);
    let message = raftpb::Message { to: Some(1), from: Some(2), ..Default::default() };
    let list: Vec<(u8, Vec<u8>)> = vec![
        (1, put("a", "1", 7).encode_to_vec()),
        (3, txn().encode_to_vec()),
        (5, pb::WatchRequest { request_union: Some(watch) }.encode_to_vec()),
        (14, entries().remove(0).encode_to_vec()),
        (18, entry(1, 2, b"data")),
        (22, message.encode_to_vec()),
    ];
    for (number, (kind, bytes)) in list.into_iter().enumerate() {
        save("requests", number, &[&[kind][..], &bytes].concat());
    }
}

/// A call: its head, its message, the answer; then a window.
fn http2() {
    let mut head = Vec::new();
    for (name, value) in [(":method", "POST"), (":scheme", "http"), (":path", "/a.B/C")] {
        http2::encode(&mut head, name.as_bytes(), value.as_bytes());
    }
    let mut play = vec![0xff, 0];
    let frame = |play: &mut Vec<u8>, kind, flags, stream, payload: &[u8]| {
        play.extend_from_slice(&[1, kind, flags, stream]);
        put_chunk(play, payload);
    };
    frame(&mut play, 1, 4, 1, &head);
    frame(&mut play, 0, 1, 1, b"\0\0\0\0\0");
    // Head, data, trailers; then the output.
    play.extend_from_slice(&[8, 0, 9, 0, 200, 11, 0, 6]);
    frame(&mut play, 8, 0, 1, &[0, 0, 200, 0]);
    frame(&mut play, 8, 0, 0, &[0, 0, 200, 0]);
    frame(&mut play, 4, 0, 0, &[0, 4, 0, 1, 0, 0]);
    frame(&mut play, 3, 0, 1, &[0, 0, 0, 8]);
    save("http2", 0, &play);
}

fn entries() -> Vec<pb::InternalRaftRequest> {
    let header = Some(pb::RequestHeader { id: 9, ..Default::default() });
    let request = || pb::InternalRaftRequest { header: header.clone(), ..Default::default() };
    let member = membershippb::ClusterMemberAttrSetRequest {
        member_id: 1,
        member_attributes: Some(membershippb::Attributes {
            name: "a".to_owned(),
            client_urls: vec!["http://a:1".to_owned()],
        }),
    };
    let version = membershippb::ClusterVersionSetRequest { ver: "3.7.0".to_owned() };
    let alarm = pb::AlarmRequest { action: 1, member_id: 1, alarm: 1 };
    vec![
        pb::InternalRaftRequest {
            lease_grant: Some(pb::LeaseGrantRequest { ttl: 30, id: 7 }),
            ..request()
        },
        pb::InternalRaftRequest { put: Some(put("a", "1", 7)), ..request() },
        pb::InternalRaftRequest { txn: Some(txn()), ..request() },
        pb::InternalRaftRequest { put: Some(put("a", "3", 0)), ..request() },
        pb::InternalRaftRequest {
            delete_range: Some(pb::DeleteRangeRequest {
                key: Bytes::from_static(b"b"),
                ..Default::default()
            }),
            ..request()
        },
        pb::InternalRaftRequest {
            compaction: Some(pb::CompactionRequest { revision: 3, physical: true }),
            ..request()
        },
        pb::InternalRaftRequest {
            lease_revoke: Some(pb::LeaseRevokeRequest { id: 7 }),
            ..request()
        },
        pb::InternalRaftRequest { alarm: Some(alarm), ..request() },
        pb::InternalRaftRequest { cluster_member_attr_set: Some(Box::new(member)), ..request() },
        pb::InternalRaftRequest { cluster_version_set: Some(Box::new(version)), ..request() },
    ]
}

fn boot() {
    let mut all = vec![0];
    for request in entries() {
        all.push(0);
        put_chunk(&mut all, &request.encode_to_vec());
    }
    all.extend_from_slice(&[4, 0, 0]);
    save("boot", 0, &all);
    save("boot", 1, &[1]);
    let snapshot = walpb::Snapshot { index: Some(1), term: Some(1), ..Default::default() };
    let mut marked = vec![0, 4, 0, 0, 8];
    put_chunk(&mut marked, &snapshot.encode_to_vec());
    save("boot", 2, &marked);
}

fn checks() {
    let mut all = vec![1];
    put_chunk(&mut all, &put("a", "1", 0).encode_to_vec());
    all.push(3);
    put_chunk(&mut all, &txn().encode_to_vec());
    save("checks", 0, &all);
}

fn config() {
    let texts = [
        "name: 'default'\ndata-dir: /tmp/x\nsnapshot-count: 10000\nheartbeat-interval: 100\n",
        "listen-client-urls: http://localhost:2379,unix://x\ninitial-cluster: a=http://b:1\n",
        "client-transport-security:\n  cert-file: x\n  auto-tls: false\nlog-outputs: [stderr]\n",
        "{\"auto-compaction-mode\": \"periodic\", \"auto-compaction-retention\": \"1h\"}",
        "discovery-config:\n  endpoints: [a, b]\n  dial-timeout: 5\nfeature-gates: A=true\n",
    ];
    for (number, text) in texts.into_iter().enumerate() {
        save("config", number, text.as_bytes());
    }
}

fn apply() {
    let mut all = Vec::new();
    for (number, request) in entries().into_iter().enumerate() {
        let mut one = Vec::new();
        put_chunk(&mut one, &request.encode_to_vec());
        save("apply", number + 1, &one);
        all.extend_from_slice(&one);
    }
    put_chunk(&mut all, b"\x08\x01\x12\x04SYNC\x1a\x02/1");
    save("apply", 0, &all);
}

fn db() {
    for (number, keys) in [0, 3, 300].into_iter().enumerate() {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
        let path = Path::new("/db");
        let options = bolt::Options { page_size: 1024, grow_bytes: 0, ..Default::default() };
        let db = bolt::Db::open(Arc::clone(&disk), path, options).expect("a new file");
        let mut tx = db.write();
        for bucket in [&b"key"[..], b"meta"] {
            tx.create_bucket(bucket).expect("is new");
            for key in 0..keys {
                let value = Bytes::from_static(&[b'v'; 24]);
                tx.put(bucket, Bytes::from(format!("{key:05}")), value).expect("has room");
            }
        }
        tx.commit().expect("the disk is sound");
        drop(db);
        let file = disk.open(path, env::Access::Read).expect("is there");
        let mut image = vec![0; usize::try_from(file.len().expect("has one")).expect("is small")];
        file.read_exact_at(&mut image, 0).expect("can be read");
        save("db", 2 * number, &[&[4][..], &image].concat());
        save("db", 2 * number + 1, &[&[7][..], &image].concat());
    }
}

/// Messages of all kinds that members say.
fn said() -> Vec<raftpb::Message> {
    use raftpb::MessageType as Kind;
    let at = |kind: Kind, index: u64| raftpb::Message {
        r#type: Some(kind as i32),
        term: Some(1),
        log_term: Some(1),
        index: Some(index),
        commit: Some(index),
        ..Default::default()
    };
    let entry = |index: u64, kind: raftpb::EntryType, data: Vec<u8>| raftpb::Entry {
        term: Some(1),
        index: Some(index),
        r#type: Some(kind as i32),
        data: Some(data.into()),
    };
    let normal = raftpb::EntryType::EntryNormal;
    let put = pb::InternalRaftRequest { put: Some(put("k", "v", 0)), ..Default::default() };
    let change = raftpb::ConfChange {
        id: Some(1),
        r#type: Some(3),
        node_id: Some(9),
        context: Some(member().to_json().into()),
    };
    let changes = vec![raftpb::ConfChangeSingle { r#type: Some(1), node_id: Some(9) }];
    let second = raftpb::ConfChangeV2 { transition: Some(0), changes, context: None };
    let append = |entry| raftpb::Message { entries: vec![entry], ..at(Kind::MsgApp, 3) };
    let snapshot = raftpb::Snapshot {
        data: Some(roster().to_v2_json().into()),
        metadata: Some(raftpb::SnapshotMetadata {
            conf_state: Some(conf_state()),
            index: Some(9),
            term: Some(1),
        }),
    };
    vec![
        append(entry(4, normal, put.encode_to_vec())),
        append(entry(4, normal, Vec::new())),
        append(entry(4, raftpb::EntryType::EntryConfChange, change.encode_to_vec())),
        append(entry(4, raftpb::EntryType::EntryConfChangeV2, second.encode_to_vec())),
        at(Kind::MsgHeartbeat, 3),
        at(Kind::MsgAppResp, 3),
        raftpb::Message { reject: Some(true), reject_hint: Some(2), ..at(Kind::MsgAppResp, 3) },
        at(Kind::MsgVote, 3),
        at(Kind::MsgPreVote, 3),
        at(Kind::MsgVoteResp, 0),
        at(Kind::MsgPreVoteResp, 0),
        at(Kind::MsgTimeoutNow, 0),
        at(Kind::MsgTransferLeader, 0),
        append(entry(0, normal, put.encode_to_vec())),
        raftpb::Message {
            entries: vec![entry(0, normal, b"12345678".to_vec())],
            ..at(Kind::MsgReadIndex, 0)
        },
        raftpb::Message { snapshot: Some(snapshot), ..at(Kind::MsgSnap, 0) },
    ]
}

fn streams() {
    let framed = |message: Vec<u8>| [&(message.len() as u64).to_be_bytes()[..], &message].concat();
    for (number, message) in said().into_iter().enumerate() {
        let framed = framed(message.encode_to_vec());
        save("streams", 2 * number, &[&[1, 3][..], &framed].concat());
        save("streams", 2 * number + 1, &[&[0, 9, 0, 2][..], &framed].concat());
    }
    let entry = framed(entry(1, 4, b"data"));
    let dense = [&[0, 255, 1][..], &1_u64.to_be_bytes(), &entry, &4_u64.to_be_bytes()].concat();
    save("streams", 99, &dense);
}

fn messages() {
    for (number, message) in said().into_iter().enumerate() {
        // Another member is heard of first.
        let mut input = Vec::new();
        for message in [said().swap_remove(4), message] {
            input.push(0x20);
            put_chunk(&mut input, &message.encode_to_vec());
        }
        input.extend([0x0c, 20, 0x0c, 20]);
        save("messages", number, &input);
    }
    // It asks, stands and leads; a request is taken, and whatever is said then.
    let is = |kind: raftpb::MessageType| raftpb::Message {
        r#type: Some(kind as i32),
        ..Default::default()
    };
    let mut leads = vec![0x0c, 20, 0x20];
    put_chunk(&mut leads, &is(raftpb::MessageType::MsgPreVoteResp).encode_to_vec());
    leads.push(0);
    put_chunk(&mut leads, &is(raftpb::MessageType::MsgVoteResp).encode_to_vec());
    leads.push(0x0e);
    for (number, message) in said().into_iter().enumerate() {
        let mut input = leads.clone();
        for index in [4, 5] {
            let taken =
                raftpb::Message { index: Some(index), ..is(raftpb::MessageType::MsgAppResp) };
            input.push(0);
            put_chunk(&mut input, &taken.encode_to_vec());
        }
        input.push(1);
        put_chunk(&mut input, &message.encode_to_vec());
        input.extend([0x0e, 0x0c, 3]);
        save("messages", 50 + number, &input);
    }
}

fn dns() {
    let record = [
        &[0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60, 0, 17, 0, 0, 0, 0, 9, 0x4c][..],
        b"\x01m\x07example\0",
    ]
    .concat();
    save("dns", 0, &[&[0x81, 0x80, 0, 1, 0, 0, 0, 0][..], &record].concat());
    save("dns", 1, &[0x83, 0x80, 0, 0, 0, 0, 0, 0]);
    save("dns", 2, &[0x81, 0x83, 0, 0, 0, 0, 0, 0]);
}
