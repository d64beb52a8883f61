//! `/debug/vars`: a few facts as one JSON object, in the form of Go's `expvar`.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{process, typed};
use crate::service::Services;

const JSON: &str = "application/json; charset=utf-8";

pub(super) fn answer(services: &Services) -> Response<Bytes> {
    let arguments: Vec<String> = std::env::args().collect();
    let facts = [
        ("cmdline", json!(arguments)),
        ("file_descriptor_limit", json!(net::descriptor_limit())),
        ("memstats", memstats()),
        ("raft.status", raft_status(services)),
    ];
    let lines: Vec<String> = facts.iter().map(|(key, fact)| format!("\"{key}\": {fact}")).collect();
    typed(StatusCode::OK, JSON, format!("{{\n{}\n}}\n", lines.join(",\n")))
}

/// Of what Go tells of its memory, what there is here: heap and stacks are told as the heap, and
/// nothing is ever collected.
fn memstats() -> Value {
    let memory = process::memory();
    json!({
        "Alloc": memory.anonymous_bytes,
        "HeapAlloc": memory.anonymous_bytes,
        "HeapInuse": memory.anonymous_bytes,
        "HeapSys": memory.anonymous_bytes,
        "NumGC": 0,
        "Sys": memory.resident_bytes,
    })
}

fn raft_status(services: &Services) -> Value {
    let node = &services.node;
    let (header, status) = (node.header(), node.status());
    let (me, leader) = (format!("{:x}", header.member_id), format!("{:x}", status.leader));
    let leads = node.is_leader();
    // A leader that is alone has what it has committed.
    let progress = json!({
        "match": status.raft_index,
        "next": status.raft_index + 1,
        "state": "StateReplicate",
    });
    json!({
        "id": me,
        "term": status.raft_term,
        // Who leads alone has voted for itself; who does not has no vote to tell.
        "vote": if leads { me.as_str() } else { "0" },
        "commit": status.raft_index,
        "lead": leader,
        "raftState": if leads { "StateLeader" } else { "StateFollower" },
        "applied": status.raft_applied_index,
        "progress": if leads { json!({ me.as_str(): progress }) } else { json!({}) },
        "leadtransferee": "0",
    })
}
