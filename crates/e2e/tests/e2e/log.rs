//! What operators match on in the log: the same requests leave the same lines.

use std::time::Duration;

use e2e::{Client, Member, Scratch, Server};
use proto::etcdserverpb::compare::TargetUnion;
use proto::etcdserverpb::request_op::Request as Op;
use proto::etcdserverpb::{
    CompactionRequest, Compare, DefragmentRequest, DeleteRangeRequest, LeaseGrantRequest,
    PutRequest, RangeRequest, RequestOp, TxnRequest,
};
use serde_json::{Map, Value};

/// Everything is slow.
const SLOW: [&str; 3] =
    ["--unsafe-no-fsync", "--warning-apply-duration=1ns", "--warning-unary-request-duration=1ns"];

#[test]
fn slow_requests_are_told_of_as_by_etcd() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let told = |server: &Server| {
        let scratch = Scratch::new("log");
        let member = Member::start(server, scratch.path(), &SLOW).unwrap();
        let client = Client::connect(&member).unwrap();
        ask(&client);
        member.log()
    };
    let (ours, theirs) = (told(&pintle), told(&etcd));
    for message in ["apply request took too long", "failed to apply request", "request stats"] {
        let (ours, theirs) = (lines(&ours, message), lines(&theirs, message));
        assert!(!theirs.is_empty(), "etcd says nothing of {message:?}");
        assert_eq!(ours, theirs, "{message}");
    }
}

fn ask(client: &Client) {
    let key = |key: &'static str| key.into();
    let put = PutRequest { key: key("a"), value: "\"secret\"".into(), ..Default::default() };
    client.call(&put).unwrap();
    client.call(&RangeRequest { key: key("a"), limit: 3, ..Default::default() }).unwrap();
    client
        .call(&RangeRequest {
            key: key("\u{1}\\é"),
            range_end: key("z"),
            keys_only: true,
            serializable: true,
            sort_target: 1,
            ..Default::default()
        })
        .unwrap();
    let op = |request| RequestOp { request: Some(request) };
    let delete = DeleteRangeRequest { key: key("c"), range_end: key("d"), prev_kv: true };
    let read = || op(Op::RequestRange(RangeRequest { key: key("a"), ..Default::default() }));
    let compare = vec![
        Compare {
            result: 1,
            target: 2,
            key: key("a"),
            target_union: Some(TargetUnion::ModRevision(0)),
            ..Default::default()
        },
        Compare {
            target: 3,
            key: key("a"),
            target_union: Some(TargetUnion::Value("xx".into())),
            ..Default::default()
        },
    ];
    let txn = TxnRequest {
        compare,
        success: vec![op(Op::RequestPut(put.clone()))],
        failure: vec![op(Op::RequestDeleteRange(delete.clone())), read()],
    };
    client.call(&txn).unwrap();
    client.call(&TxnRequest { success: vec![read(), read()], ..Default::default() }).unwrap();
    client.call(&delete).unwrap();
    client.call(&LeaseGrantRequest { id: 7, ttl: 100 }).unwrap();
    client.call(&CompactionRequest { revision: 2, physical: false }).unwrap();
    client.call(&PutRequest { lease: 77, ..put }).unwrap_err();
    client.call(&RangeRequest { key: key("a"), revision: 99, ..Default::default() }).unwrap_err();
}

/// The fields of the lines with a message, without what chance or the clock decides.
fn lines(log: &str, message: &str) -> Vec<(String, Map<String, Value>)> {
    let parsed = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lines = parsed.filter(|line| line["msg"] == message).map(|line| {
        let Value::Object(mut line) = line else { panic!("a line is an object") };
        let level = line["level"].to_string();
        for key in ["level", "ts", "caller", "msg"] {
            assert!(line.remove(key).is_some(), "{message}: no {key}");
        }
        for (key, value) in &mut line {
            *value = masked(key, value);
        }
        (level, line)
    });
    // The members' own requests differ in when they are made.
    let lines = lines.filter(|(_, line)| !line.values().any(|value| value == "own"));
    lines.collect()
}

fn masked(key: &str, value: &Value) -> Value {
    let Some(text) = value.as_str() else { return value.clone() };
    match key {
        "took" | "time spent" => {
            assert!(text.ends_with('s'), "{key}: {text}");
            "some time".into()
        }
        "start time" => {
            assert!(text.len() > 25 && text.contains('T'), "{text}");
            "some time".into()
        }
        // Headers of the server count in one and not in the other.
        "response" if !text.contains("range") => "size".into(),
        "remote" => "somebody".into(),
        "request" if text.contains("cluster_") => "own".into(),
        _ => without_ids(&text.replace("  ", " ")).into(),
    }
}

fn without_ids(text: &str) -> String {
    let Some((before, after)) = text.split_once("ID:") else { return text.to_owned() };
    format!("{before}ID:{}", after.trim_start_matches(|mark: char| mark.is_ascii_digit()))
}

/// What tells of a start, of work and of a stop, with the fields that must be there. Texts that
/// are the same on both sides are compared.
const LIFE: &[&str] = &[
    "configuring peer listeners",
    "configuring client listeners",
    "starting an etcd server",
    "opened backend db",
    "restore consistentIndex",
    "starting local member",
    "kvstore restored",
    "enabled backend quota with default value",
    "starting etcd server",
    "now serving peer/client/metrics",
    "serving peer traffic",
    "serving metrics",
    "added member",
    "setting up initial cluster version using v3 API",
    "published local member to cluster through raft",
    "ready to serve client requests",
    "set initial cluster version",
    "enabled capabilities for version",
    "cluster version is updated",
    "grpc service status changed",
    "serving client traffic insecurely; this is strongly discouraged!",
    "triggering snapshot",
    "saved snapshot to disk",
    "compact tree index",
    "finished scheduled compaction",
    "storing new hash",
    "starting defragment",
    "defragmenting",
    "finished defragmenting directory",
    "finished defragment",
    "received signal; shutting down",
    "closing etcd server",
    "skipped leadership transfer for single voting member cluster",
    "stopping serving peer traffic",
    "stopped serving peer traffic",
    "closed etcd server",
];

#[test]
fn the_lines_of_a_life_have_etcds_fields() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let told = |server: &Server| {
        let scratch = Scratch::new("log");
        let flags = [
            "--unsafe-no-fsync",
            "--snapshot-count=10",
            "--listen-metrics-urls=http://127.0.0.1:0",
            "--advertise-client-urls=http://127.0.0.1:2379",
        ];
        let mut member = Member::start(server, scratch.path(), &flags).unwrap();
        let client = Client::connect(&member).unwrap();
        let put = PutRequest { key: "a".into(), value: "b".into(), ..Default::default() };
        for _ in 0..30 {
            client.call(&put).unwrap();
        }
        client.call(&CompactionRequest { revision: 9, physical: true }).unwrap();
        client.call(&DefragmentRequest {}).unwrap();
        let saved = || member.log().contains("saved snapshot to disk").then_some(());
        assert!(e2e::until(Duration::from_secs(5), saved).is_some(), "{}", member.log_tail());
        member.stop().unwrap();
        let log = member.log();
        let first = |message| lines(&log, message).into_iter().next();
        LIFE.iter().map(|message| first(message)).collect::<Vec<_>>()
    };
    for ((message, ours), theirs) in LIFE.iter().zip(told(&pintle)).zip(told(&etcd)) {
        let (Some((level, ours)), Some((expected, theirs))) = (&ours, &theirs) else {
            panic!("{message}: pintle {ours:?}, etcd {theirs:?}");
        };
        let keys = |line: &Map<String, Value>| line.keys().cloned().collect::<Vec<_>>();
        assert_eq!((level, keys(ours)), (expected, keys(theirs)), "{message}");
        for key in SAME {
            assert_eq!(ours.get(*key), theirs.get(*key), "{message}: {key}");
        }
    }
}

/// Fields whose values follow from the flags and the requests.
const SAME: &[&str] = &[
    "local-member-id",
    "cluster-id",
    "cluster-version",
    "local-member-attributes",
    "publish-timeout",
    "quota-size",
    "compact-revision",
    "number-of-keys-compacted",
    "hash",
    "status",
    "traffic",
    "snapshot-forced",
    "added-peer-peer-urls",
];

#[test]
fn where_the_time_of_slow_requests_went_is_told_where_that_is_wanted() {
    let Some(pintle) = Server::pintle() else { return };
    let scratch = Scratch::new("log");
    let flags = ["--unsafe-no-fsync", "--experimental-slow-request-log-duration=1us"];
    let member = Member::start(&pintle, scratch.path(), &flags).unwrap();
    let client = Client::connect(&member).unwrap();
    client.call(&PutRequest { key: "a".into(), ..PutRequest::default() }).unwrap();
    let range = RangeRequest { key: "a".into(), ..RangeRequest::default() };
    client.call(&range).unwrap();
    let read = RequestOp { request: Some(Op::RequestRange(range)) };
    client.call(&TxnRequest { success: vec![read], ..TxnRequest::default() }).unwrap();
    let parts = [
        ("\"Put\"", "syncing the log (fsync): "),
        ("\"Range\"", "reading: "),
        ("\"ReadonlyTxn\"", "confirming the leader: "),
    ];
    for (kind, part) in parts {
        let told = e2e::until(Duration::from_secs(5), || {
            let log = member.log();
            let mut lines = log.lines().filter(|line| line.contains("a request took long"));
            lines.any(|line| line.contains(kind) && line.contains(part)).then_some(())
        });
        assert!(told.is_some(), "{kind}: {}", member.log_tail());
    }
}
