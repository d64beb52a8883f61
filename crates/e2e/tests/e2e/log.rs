//! What operators match on in the log: the same requests leave the same lines.

use e2e::{Client, Member, Scratch, Server};
use proto::etcdserverpb::compare::TargetUnion;
use proto::etcdserverpb::request_op::Request as Op;
use proto::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest,
    RequestOp, TxnRequest,
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
