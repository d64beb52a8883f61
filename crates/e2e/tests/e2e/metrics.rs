//! What is counted is counted under etcd's names: `/metrics` of both, family by family.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};

use e2e::{Client, Cluster, Member, Scratch, Server};
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

/// Flags that show everything.
const ALL: [&str; 2] = ["--unsafe-no-fsync", "--metrics=extensive"];

/// Lines of a table of data, as words.
fn rows(table: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_whitespace().collect())
}

/// A member of three that was read from, written to and asked how it is, and whose neighbour was
/// away for a while.
fn shown_in_a_cluster(pintle: &Server) -> String {
    let mut cluster = Cluster::start("metrics", &[pintle, pintle, pintle], &ALL).unwrap();
    let leader = cluster.wait_for_leader().unwrap();
    let other = (leader + 1) % 3;
    cluster.kill(other).unwrap();
    let put = || PutRequest { key: "a".into(), ..Default::default() };
    cluster.call(leader, &put()).unwrap();
    cluster.call(leader, &RangeRequest { key: "a".into(), ..Default::default() }).unwrap();
    cluster.member(leader).get("/readyz").unwrap();
    let wanted = ["etcd_network_peer_sent_failures_total{", "etcd_network_peer_round_trip_time_"];
    let found = e2e::until(std::time::Duration::from_secs(30), || {
        cluster.call(leader, &put()).unwrap();
        let (_, metrics) = cluster.member(leader).get("/metrics").unwrap();
        wanted.iter().all(|name| metrics.contains(name)).then_some(metrics)
    });
    found.unwrap_or_else(|| cluster.member(leader).get("/metrics").unwrap().1)
}

#[test]
fn names_types_and_labels_are_those_of_the_list_and_boards_and_alerts_find_all_that_they_ask_for() {
    let Some(pintle) = Server::pintle() else { return };
    let metrics = shown_in_a_cluster(&pintle);
    let shown = families(&metrics);
    for row in rows(include_str!("metrics/families.txt")) {
        let [name, kind, labels, when] = row[..] else { panic!("{row:?}") };
        let Some(family) = shown.get(name) else {
            assert!(when == "counted" || when == "never", "{name} is not there");
            continue;
        };
        assert_ne!(when, "never", "{name} is there after all");
        assert_eq!(family.kind, kind, "{name}");
        let found: Vec<_> = family.labels.iter().map(String::as_str).collect();
        assert_eq!(found.join(","), labels.trim_start_matches('-'), "{name}");
    }
    let missing: Vec<_> = rows(include_str!("metrics/uses.txt"))
        .filter(|row| !metrics.lines().any(|line| answers(line, row)))
        .collect();
    assert!(missing.is_empty(), "nothing is shown for {missing:?}");
}

/// Whether a sample has the name, and the labels with these values or any.
fn answers(line: &str, wanted: &[&str]) -> bool {
    let (name, labels) =
        labelled(line).unwrap_or_else(|| (line.split(' ').next().unwrap_or_default(), Vec::new()));
    name == wanted[0]
        && wanted[1..].iter().all(|wanted| {
            let (label, value) = wanted.split_once('=').unwrap_or((wanted, ""));
            labels
                .iter()
                .any(|(name, found)| *name == label && (value.is_empty() || *found == value))
        })
}

/// GET with a header: head and body.
fn scrape(member: &Member, header: &str) -> (String, Vec<u8>) {
    let mut stream = std::net::TcpStream::connect(member.address()).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: localhost\r\n{header}\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_ascii_lowercase();
    (head, answer.split_off(end + 4))
}

#[test]
fn who_reads_gzip_gets_it() {
    let Some((pintle, etcd)) = Server::both() else { return };
    for server in [&pintle, &etcd] {
        let scratch = Scratch::new("metrics");
        let member = Member::start(server, scratch.path(), &["--unsafe-no-fsync"]).unwrap();
        for (header, compressed) in [
            ("", false),
            ("Accept-Encoding: gzip\r\n", true),
            ("Accept-Encoding: deflate, gzip;q=0.5\r\n", true),
            ("Accept-Encoding: gzip;q=0\r\n", false),
            ("Accept-Encoding: br\r\n", false),
        ] {
            let (head, body) = scrape(&member, header);
            let says = head.contains("content-encoding: gzip");
            assert_eq!(says, compressed, "{}, {header}: {head}", server.name);
            assert_eq!(body.starts_with(&[0x1f, 0x8b]), compressed, "{}, {header}", server.name);
        }
    }
}

#[test]
fn what_go_says_of_itself_is_stood_in_for_where_that_is_wanted() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let [ours, theirs] = [&pintle, &etcd].map(|server| {
        let scratch = Scratch::new("metrics");
        let flags: &[&str] = match server.name {
            "pintle" => &["--experimental-go-metrics", "--enable-pprof"],
            _ => &["--enable-pprof"],
        };
        let member = Member::start(server, scratch.path(), flags).unwrap();
        assert_eq!(member.get("/debug/pprof/goroutine?debug=1").unwrap().0, 200);
        assert_eq!(member.get("/debug/pprof/nothing").unwrap().0, 404);
        let (_, cmdline) = member.get("/debug/pprof/cmdline").unwrap();
        assert!(cmdline.contains("\0--enable-pprof"), "{cmdline:?}");
        let (_, metrics) = member.get("/metrics").unwrap();
        let of_go = |name: &String| name.starts_with("go_") || name == "etcd_server_go_version";
        let kept = families(&metrics).into_iter().filter(|(name, _)| of_go(name));
        kept.map(|(name, family)| (name, (family.kind, family.labels))).collect::<BTreeMap<_, _>>()
    });
    for (name, family) in &theirs {
        assert_eq!(ours.get(name), Some(family), "{name}");
    }
    assert!(theirs.len() > 20, "{theirs:?}");
}
