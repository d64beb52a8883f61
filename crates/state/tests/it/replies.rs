//! The answers of a real etcd to 400 requests, as its JSON gateway gave them, and ours to the
//! entries that these requests became.

use bytes::Bytes;
use env::RealDisk;
use mvcc::KvFields;
use proto::raftpb::{Entry, EntryType};
use serde_json::{Map, Value, json};
use state::{
    EntryRequest, OpReply, Options, Outcome, PutReply, RangeReply, Rejected, Reply, TxnReply,
};

use crate::fixture::{Fixture, base64};
use crate::kit::{Machine, run};

#[test]
fn requests_are_answered_as_by_3_7_1() {
    compare_replies("3.7.1-clean");
}

#[test]
fn requests_are_answered_as_by_3_6_14() {
    compare_replies("3.6.14-clean");
}

#[test]
fn requests_are_answered_as_by_3_5_1() {
    compare_replies("3.5.1-clean");
}

fn compare_replies(name: &'static str) {
    let Some(fixture) = Fixture::unpack(name) else { return };
    let entries = wal::read(&RealDisk, &fixture.wal(), wal::SnapshotMark::default());
    let mut machine = Machine::open(&fixture.new_db(), Options::default());
    let requests = fixture.requests();
    let mut requests = requests
        .iter()
        .filter(|request| becomes_an_entry(request))
        .map(|request| (&request[2], &request[3]));
    for entry in entries.expect("a readable log").entries {
        if !is_from_client(&entry) {
            machine.apply_entry(&entry);
            continue;
        }
        let Ok(EntryRequest::Request(request)) = EntryRequest::read(&data_of(&entry)) else {
            panic!("entry {} was a request before", entry.index());
        };
        let at = machine.id_of(&entry);
        let applied = machine.state.apply(at, &request, true).expect("an entry");
        run(applied.effect);
        let Some((status, theirs)) = requests.next() else { break };
        let ours = as_gateway(&applied.outcome, applied.revision);
        assert_eq!(ours, plain(status, theirs), "entry {}: {request:?}", entry.index());
    }
    assert_eq!(requests.count(), 0, "requests that are not in the log");
}

/// Not what only reads, and not what the door refuses.
fn becomes_an_entry(request: &Value) -> bool {
    let (path, body) = (&request[0], &request[1]);
    let ops = ["success", "failure"].into_iter().filter_map(|branch| body[branch].as_array());
    let only_reads = path == "/v3/kv/range"
        || path == "/v3/kv/txn" && ops.flatten().all(|op| op.get("request_range").is_some());
    let is_duplicate = request[3]["message"] == "etcdserver: duplicate key given in txn request";
    !only_reads && !is_duplicate
}

fn is_from_client(entry: &Entry) -> bool {
    if entry.r#type() != EntryType::EntryNormal {
        return false;
    }
    let Ok(EntryRequest::Request(request)) = EntryRequest::read(&data_of(entry)) else {
        return false;
    };
    request.put.is_some()
        || request.delete_range.is_some()
        || request.txn.is_some()
        || request.compaction.is_some()
        || request.lease_grant.is_some()
        || request.lease_revoke.is_some()
}

fn data_of(entry: &Entry) -> Bytes {
    Bytes::copy_from_slice(entry.data())
}

/// Their answer without what only the server knows.
fn plain(status: &Value, reply: &Value) -> (u64, Value) {
    let status = status.as_u64().expect("a status");
    if status != 200 {
        return (status, reply["message"].clone());
    }
    let mut reply = reply.clone();
    let header = reply.get_mut("header").and_then(Value::as_object_mut).expect("a header");
    header.retain(|name, _| name == "revision");
    (status, reply)
}

fn as_gateway(outcome: &Outcome, current: i64) -> (u64, Value) {
    let reply = match outcome {
        Ok(Reply::Put(reply)) => put(reply),
        Ok(Reply::DeleteRange(reply)) => delete_range(reply),
        Ok(Reply::Txn(reply)) => txn(reply),
        Ok(Reply::LeaseGrant { id, ttl }) => with_header(current, |reply| {
            number(reply, "ID", id.0);
            number(reply, "TTL", *ttl);
        }),
        Ok(Reply::Compaction | Reply::LeaseRevoke) => with_header(current, |_| {}),
        Err(rejected) => return refusal(*rejected),
        other => panic!("not among the requests: {other:?}"),
    };
    (200, reply)
}

fn refusal(rejected: Rejected) -> (u64, Value) {
    let (status, text) = match rejected {
        Rejected::KeyNotFound => (400, "key not found"),
        Rejected::LeaseNotFound => (404, "requested lease not found"),
        Rejected::LeaseExists => (400, "lease already exists"),
        Rejected::LeaseTtlTooLarge => (400, "too large lease TTL"),
        Rejected::Compacted => (400, "mvcc: required revision has been compacted"),
        Rejected::FutureRevision => (400, "mvcc: required revision is a future revision"),
        other => panic!("not among the requests: {other:?}"),
    };
    (status, json!(format!("etcdserver: {text}")))
}

fn put(reply: &PutReply) -> Value {
    with_header(reply.revision, |fields| {
        if let Some(kv) = &reply.prev_kv {
            fields.insert("prev_kv".into(), key_value(kv));
        }
    })
}

fn delete_range(reply: &state::DeleteRangeReply) -> Value {
    with_header(reply.revision, |fields| {
        number(fields, "deleted", reply.deleted);
        list(fields, "prev_kvs", reply.prev_kvs.iter().map(key_value).collect());
    })
}

fn range(reply: &RangeReply) -> Value {
    with_header(reply.revision, |fields| {
        list(fields, "kvs", reply.kvs.iter().map(key_value).collect());
        if reply.more {
            fields.insert("more".into(), true.into());
        }
        number(fields, "count", reply.count);
    })
}

fn txn(reply: &TxnReply) -> Value {
    with_header(reply.revision, |fields| {
        if reply.succeeded {
            fields.insert("succeeded".into(), true.into());
        }
        let responses = reply.responses.iter().map(|response| match response {
            OpReply::Range(reply) => json!({ "response_range": range(reply) }),
            OpReply::Put(reply) => json!({ "response_put": put(reply) }),
            OpReply::DeleteRange(reply) => json!({ "response_delete_range": delete_range(reply) }),
            OpReply::Txn(reply) => json!({ "response_txn": txn(reply) }),
            OpReply::Empty => json!({}),
        });
        list(fields, "responses", responses.collect());
    })
}

fn key_value(kv: &Bytes) -> Value {
    let kv = KvFields::parse(kv).expect("a row");
    let mut fields = Map::new();
    fields.insert("key".into(), base64(kv.key).into());
    number(&mut fields, "create_revision", kv.create_revision);
    number(&mut fields, "mod_revision", kv.mod_revision);
    number(&mut fields, "version", kv.version);
    if !kv.value.is_empty() {
        fields.insert("value".into(), base64(kv.value).into());
    }
    number(&mut fields, "lease", kv.lease);
    fields.into()
}

fn with_header(revision: i64, fill: impl FnOnce(&mut Map<String, Value>)) -> Value {
    let mut header = Map::new();
    number(&mut header, "revision", revision);
    let mut fields = Map::from_iter([("header".to_owned(), header.into())]);
    fill(&mut fields);
    fields.into()
}

fn number(fields: &mut Map<String, Value>, name: &str, value: i64) {
    if value != 0 {
        fields.insert(name.into(), value.to_string().into());
    }
}

fn list(fields: &mut Map<String, Value>, name: &str, values: Vec<Value>) {
    if !values.is_empty() {
        fields.insert(name.into(), values.into());
    }
}
