//! What is counted is counted under etcd's names: `/metrics` of both, family by family.

use std::collections::{BTreeMap, BTreeSet};

use e2e::{Client, Member, Scratch, Server};
use proto::etcdserverpb::request_op::Request as Op;
use proto::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest,
    RangeRequest, RequestOp, TxnRequest,
};

/// What etcd shows and pintle does not, and why not.
const ABSENT: &[(&str, &str)] = &[
    ("go_", "there is no Go"),
    ("etcd_server_go_version", "there is no Go"),
    ("etcd_debugging_store_", "there is no v2 store"),
    ("etcd_grpc_proxy_", "a server is no proxy"),
    ("etcd_debugging_disk_backend_commit_", "a commit of ours has no such phases"),
];

/// Whose values follow from the requests alone.
const EQUAL: &[&str] = &[
    "etcd_mvcc_put_total",
    "etcd_mvcc_delete_total",
    "etcd_mvcc_txn_total",
    "etcd_debugging_mvcc_keys_total",
    "etcd_debugging_mvcc_current_revision",
    "etcd_debugging_mvcc_compact_revision",
    "etcd_debugging_mvcc_total_put_size_in_bytes",
    "etcd_debugging_lease_granted_total",
    "etcd_debugging_lease_revoked_total",
    "etcd_debugging_auth_revision",
    "etcd_server_proposals_failed_total",
    "etcd_server_quota_backend_bytes",
    "etcd_server_version{server_version=\"3.7.1\"}",
    "etcd_cluster_version{cluster_version=\"3.7\"}",
    "etcd_server_apply_duration_seconds_count{op=\"Put\",success=\"true\",version=\"v3\"}",
    "etcd_server_apply_duration_seconds_count{op=\"LeaseGrant\",success=\"true\",version=\"v3\"}",
    "etcd_server_request_duration_seconds_count{success=\"true\",type=\"Txn\"}",
    "etcd_server_request_duration_seconds_count{success=\"true\",type=\"ReadonlyTxn\"}",
    "etcd_server_request_duration_seconds_count{success=\"false\",type=\"Range\"}",
    "grpc_server_handled_total{grpc_code=\"OutOfRange\",grpc_method=\"Range\",\
     grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"}",
];

/// One family as it is declared.
#[derive(Debug, Default, PartialEq, Eq)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
    /// Upper bounds of a histogram.
    bounds: BTreeSet<String>,
}

#[test]
fn families_are_those_of_etcd() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let (ours, theirs) = (shown_by(&pintle), shown_by(&etcd));
    for name in EQUAL {
        let value = |metrics: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.parse::<f64>().ok())
        };
        assert_eq!(value(&ours), value(&theirs), "{name}");
    }
    let (ours, theirs) = (families(&ours), families(&theirs));
    for (name, expected) in &theirs {
        if ABSENT.iter().any(|(absent, _)| name.starts_with(absent)) {
            assert!(!ours.contains_key(name), "{name} is there after all");
            continue;
        }
        assert_eq!(ours.get(name), Some(expected), "{name}");
    }
    let invented: Vec<_> = ours.keys().filter(|name| !theirs.contains_key(*name)).collect();
    assert!(invented.is_empty(), "etcd knows nothing of {invented:?}");
}

/// The metrics of a server that has seen some of everything.
fn shown_by(server: &Server) -> String {
    let scratch = Scratch::new("metrics");
    let member =
        Member::start(server, scratch.path(), &["--unsafe-no-fsync", "--metrics=extensive"])
            .unwrap();
    let client = Client::connect(&member).unwrap();
    let put = |key: &'static str, lease| PutRequest {
        key: key.into(),
        value: "value".into(),
        lease,
        ..Default::default()
    };
    let range = |revision| RangeRequest { key: "a".into(), revision, ..Default::default() };
    let op = |request| RequestOp { request: Some(request) };
    client.call(&put("a", 0)).unwrap();
    client.call(&put("b", 0)).unwrap();
    client.call(&LeaseGrantRequest { id: 7, ttl: 100 }).unwrap();
    client.call(&put("c", 7)).unwrap();
    client.call(&put("d", 7)).unwrap();
    client.call(&LeaseRevokeRequest { id: 7 }).unwrap();
    let ops = vec![op(Op::RequestPut(put("e", 0))), op(Op::RequestPut(put("f", 0)))];
    client.call(&TxnRequest { success: ops, ..Default::default() }).unwrap();
    let ops = vec![op(Op::RequestRange(range(0))), op(Op::RequestRange(range(0)))];
    client.call(&TxnRequest { success: ops, ..Default::default() }).unwrap();
    client.call(&DeleteRangeRequest { key: "b".into(), ..Default::default() }).unwrap();
    client.call(&range(0)).unwrap();
    client.call(&CompactionRequest { revision: 4, physical: true }).unwrap();
    assert!(client.call(&range(1)).is_err());
    let (code, metrics) = member.get("/metrics").unwrap();
    assert_eq!(code, 200);
    metrics
}

fn families(metrics: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::<String, Family>::new();
    for line in metrics.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|it| it.split_once(' ')) {
            help.trim_end().clone_into(&mut families.entry(name.to_owned()).or_default().help);
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|it| it.split_once(' '))
        {
            kind.clone_into(&mut families.entry(name.to_owned()).or_default().kind);
        } else if let Some((sample, labels)) = labelled(line) {
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| {
                    sample.strip_suffix(suffix).filter(|it| families.contains_key(*it))
                })
                .unwrap_or(sample);
            let Some(family) = families.get_mut(family) else { continue };
            for (name, value) in labels {
                if name == "le" {
                    family.bounds.insert(bound(value));
                } else {
                    family.labels.insert(name.to_owned());
                }
            }
        }
    }
    families
}

/// A bound, however it is spelled (`1.048576e+06`).
fn bound(text: &str) -> String {
    text.parse::<f64>().unwrap().to_string()
}

/// The name of a sample and its labels; no value in these metrics holds a comma or a brace.
fn labelled(line: &str) -> Option<(&str, Vec<(&str, &str)>)> {
    let (name, rest) = line.split_once('{')?;
    let (labels, _) = rest.split_once('}')?;
    let labels = labels.split(',').filter_map(|label| label.split_once('='));
    Some((name, labels.map(|(name, value)| (name, value.trim_matches('"'))).collect()))
}
