//! The events for the TLA+ specification: their form, word for word, and that they make sense as
//! the specification takes them. Whether it allows them only its own checker can say:
//!
//! ```text
//! cargo run -p raft --example raft-script -- --trace /tmp/run.ndjson tests/traces/small.txt
//! .../etcd-io/raft/tla/validate.sh -s Traceetcdraft.tla -c Traceetcdraft.cfg /tmp/run.ndjson
//! ```
//!
//! `RAFT_BLESS=1 cargo test -p raft` writes both files anew; read the difference before you commit
//! it.

use crate::scripts::runner;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

fn played() -> (String, String) {
    let text = fs::read_to_string(path("small.txt")).expect("the script is there");
    runner::play_traced(&text).expect("it plays")
}

fn path(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces").join(name)
}

#[test]
fn a_small_run_is_written_as_the_specification_reads_it() {
    let (output, events) = played();
    for (name, now) in [("small.txt", output), ("small.ndjson", events)] {
        if std::env::var_os("RAFT_BLESS").is_some() {
            fs::write(path(name), now).expect("it can be written");
            continue;
        }
        let before = fs::read_to_string(path(name)).unwrap_or_default();
        for (at, (before, now)) in before.lines().zip(now.lines()).enumerate() {
            assert_eq!(before, now, "{name}:{}", at + 1);
        }
        assert_eq!(before, now, "{name}");
    }
}

/// The value of a field: a string, or a number as text.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let start = line.find(&format!("\"{name}\":"))? + name.len() + 3;
    let value = &line[start..];
    match value.strip_prefix('"') {
        Some(text) => text.split('"').next(),
        None => value.split([',', '}']).next(),
    }
}

/// What the specification does with the lines: a message can be received after the `Ready` that
/// follows its sending, and once for each time that it was sent; terms and commit indexes do not
/// fall, except by a restart; the state before a message is received is the one after the node's
/// last event.
#[test]
fn every_message_that_is_received_was_sent_and_handed_out() {
    let (_, events) = played();
    let mut queued: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut on_their_way: Vec<String> = Vec::new();
    let mut last: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut names = BTreeSet::new();
    let mut received = 0;
    for line in events.lines() {
        assert!(line.starts_with("{\"tag\":\"trace\",\"event\":{") && line.ends_with("}}"));
        let get = |name| field(line, name).unwrap_or_else(|| panic!("no {name}: {line}"));
        let (name, node) = (get("name"), get("nid").to_owned());
        names.insert(name.to_owned());
        let message =
            || line[line.find("\"msg\":").expect("a message")..].split_once("}").map(|m| m.0);
        let number = |name| get(name).parse::<u64>().expect("a number");
        let now = (number("term"), number("commit"));
        let before = last.insert(node.clone(), now).unwrap_or_default();
        if name.starts_with("Receive") {
            let message = message().expect("it ends").to_owned();
            let at = on_their_way.iter().position(|sent| *sent == message);
            on_their_way.remove(at.unwrap_or_else(|| panic!("never handed out: {line}")));
            assert_eq!(now, before, "the state before: {line}");
            received += 1;
        } else if name.starts_with("Send") {
            queued.entry(node).or_default().push(message().expect("it ends").to_owned());
        } else if name == "Ready" {
            on_their_way.append(queued.entry(node).or_default());
        } else if name == "InitState" {
            queued.remove(&node);
        }
        assert!(now >= before || now.0 == before.0 && now.1 >= before.1, "{line}");
    }
    for name in [
        "InitState",
        "ApplyConfChange",
        "BecomeFollower",
        "BecomeCandidate",
        "BecomeLeader",
        "Commit",
        "Replicate",
        "ChangeConf",
        "Ready",
        "SendAppendEntriesRequest",
        "ReceiveAppendEntriesRequest",
        "SendAppendEntriesResponse",
        "ReceiveAppendEntriesResponse",
        "SendRequestVoteRequest",
        "ReceiveRequestVoteRequest",
        "SendRequestVoteResponse",
        "ReceiveRequestVoteResponse",
    ] {
        assert!(names.remove(name), "no {name}");
    }
    assert!(names.is_empty() && received > 30, "{names:?} {received}");
}

/// The specification knows neither.
#[test]
fn scripts_that_the_specification_does_not_know_are_refused() {
    for setting in ["prevote=true", "async-storage-writes=true"] {
        let script = format!("add-nodes 1 voters=1 index=2 {setting}\n----\n");
        let (output, events) = runner::play_traced(&script).expect("it plays");
        assert!(output.contains("knows neither") && events.is_empty(), "{output} {events}");
    }
}
