//! The audit log tells of each call that it was asked to tell of, and of no other.

use std::time::Duration;

use e2e::{Client, Member, Scratch, Server};
use proto::etcdserverpb::{LeaseGrantRequest, PutRequest, RangeRequest};

fn put(key: &'static str, lease: i64) -> PutRequest {
    PutRequest { key: key.into(), value: "secret".into(), lease, ..PutRequest::default() }
}

#[test]
fn calls_are_told_with_their_keys_and_what_came_of_them() {
    let Some(pintle) = Server::pintle() else { return };
    let scratch = Scratch::new("audit");
    let path = scratch.path().join("audit.log");
    let flags = [
        "--unsafe-no-fsync",
        &format!("--experimental-audit-log={}", path.display()),
        "--experimental-audit-log-methods=Put,etcdserverpb.Lease",
        "--experimental-audit-log-prefixes=m/,n/",
    ];
    let mut member = Member::start(&pintle, scratch.path(), &flags).unwrap();
    let client = Client::connect(&member).unwrap();
    client.call(&put("m/a", 0)).unwrap();
    client.call(&put("other", 0)).unwrap();
    client.call(&RangeRequest { key: "m/a".into(), ..RangeRequest::default() }).unwrap();
    client.call(&LeaseGrantRequest { id: 1, ttl: 100 }).unwrap();
    client.call(&put("n/b", 99)).unwrap_err();
    let lines = e2e::until(Duration::from_secs(10), || {
        let text = std::fs::read_to_string(&path).ok()?;
        (text.lines().count() >= 2).then_some(text)
    });
    let lines = lines.expect("two calls are told of");
    let told: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let what: Vec<_> = told
        .iter()
        .map(|it| (it["keys"][0].as_str().unwrap(), it["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(what, [("m/a", "OK"), ("n/b", "NotFound")]);
    assert_eq!(told[0]["method"], "etcdserverpb.KV/Put");
    assert!(told[0]["remote"].as_str().unwrap().starts_with("127.0.0.1:"), "{lines}");
    assert_eq!(told[1]["message"], "etcdserver: requested lease not found");
    assert!(!lines.contains("secret"));
    assert!(member.stop().is_ok());
}

#[test]
fn a_file_that_cannot_be_written_ends_the_start() {
    let Some(pintle) = Server::pintle() else { return };
    let scratch = Scratch::new("audit");
    // A directory is no file.
    let flags = [format!("--experimental-audit-log={}", scratch.path().display())];
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let error = Member::start(&pintle, scratch.path(), &flags).unwrap_err();
    assert!(format!("{error:#}").contains("audit log"), "{error:#}");
}
