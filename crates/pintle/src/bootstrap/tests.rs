use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

use net::{DnsError, SrvRecord, SrvResolver};
use node::{Bootstrap, MemberId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{Beginning, Lookup};
use crate::config::Config;
use crate::logging::Logger;
use crate::options::arguments::{Parsed, parse};

mod dns;

/// Names of its own; the rest nobody knows. It may know them only when asked again.
#[derive(Default)]
struct Table {
    known: BTreeMap<&'static str, [u8; 4]>,
    fails: AtomicU32,
    dns: Option<SrvResolver>,
}

impl Table {
    fn of(known: &[(&'static str, [u8; 4])]) -> Table {
        Table { known: known.iter().copied().collect(), ..Table::default() }
    }
}

impl Lookup for Table {
    async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let again = self
            .fails
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if again.is_ok() {
            return Err(io::Error::other("server misbehaving"));
        }
        let ip = match (host.parse::<IpAddr>(), self.known.get(host)) {
            (Ok(ip), _) => ip,
            (_, Some(ip)) => IpAddr::from(Ipv4Addr::from(*ip)),
            _ => return Err(io::Error::other("no such host")),
        };
        Ok(vec![SocketAddr::new(ip, port)])
    }

    async fn services(&self, name: &str) -> Result<Vec<SrvRecord>, DnsError> {
        self.dns.as_ref().expect("records are asked for").lookup(name).await
    }
}

fn config(line: &[&str]) -> Config {
    let line: Vec<_> = line.iter().map(|&word| word.to_owned()).collect();
    let Parsed::Settings(settings, _) = parse(&line) else { panic!("{line:?} does not read") };
    Config::new(&settings, None).expect("is right")
}

/// How a member with these flags begins, and the messages that it logs.
async fn begin_with(line: &[&str], lookup: &Table) -> (Result<Bootstrap, String>, Vec<String>) {
    let config = config(line);
    let (logger, bytes) = Logger::memory();
    let dialer = &peer::Dialer::default();
    let beginning = Beginning { config: &config, logger: &logger, lookup, dialer };
    let outcome = match beginning.first_members().await {
        Ok(first) => beginning.with(&first).await.map_err(|failure| failure.to_string()),
        Err(error) => Err(error),
    };
    let written = String::from_utf8(bytes.lock().expect("is free").clone()).expect("is text");
    let messages = written.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
        line["msg"].as_str().expect("a message").to_owned()
    });
    (outcome, messages.collect())
}

async fn refusal(line: &[&str]) -> String {
    begin_with(line, &Table::default()).await.0.expect_err("it makes no sense")
}

#[tokio::test(start_paused = true)]
async fn each_misconfiguration_has_etcds_text() {
    let cases: &[(&[&str], &str)] = &[
        (
            &["--name=a", "--initial-cluster=b=http://1.1.1.1:1"],
            "couldn't find local name \"a\" in the initial cluster configuration",
        ),
        (
            &[
                "--name=a",
                "--initial-cluster=b=http://1.1.1.1:1",
                "--initial-cluster-state=existing",
            ],
            "couldn't find local name \"a\" in the initial cluster configuration",
        ),
        (
            &[
                "--name=a",
                "--initial-cluster=a=http://1.1.1.1:1,b=http://1.1.1.2:1",
                "--initial-advertise-peer-urls=http://1.1.1.3:1",
            ],
            "--initial-cluster has a=http://1.1.1.1:1 but missing from \
             --initial-advertise-peer-urls=http://1.1.1.3:1 (resolved urls: \"http://1.1.1.3:1\" \
             != \"http://1.1.1.1:1\")",
        ),
        (
            &[
                "--name=a",
                "--initial-cluster=a=http://1.1.1.1:1,a=http://1.1.1.2:1",
                "--initial-advertise-peer-urls=http://1.1.1.1:1",
            ],
            "--initial-cluster has a=http://1.1.1.2:1 but missing from \
             --initial-advertise-peer-urls=http://1.1.1.1:1 (len([\"http://1.1.1.1:1\"]) != \
             len([\"http://1.1.1.1:1\" \"http://1.1.1.2:1\"]))",
        ),
        (
            &[
                "--name=a",
                "--initial-cluster=a=http://1.1.1.1:1",
                "--initial-advertise-peer-urls=http://1.1.1.1:1,http://1.1.1.2:1",
            ],
            "--initial-advertise-peer-urls has http://1.1.1.2:1 but missing from \
             --initial-cluster=a=http://1.1.1.1:1,a=http://1.1.1.2:1",
        ),
        (
            &[
                "--name=a",
                "--initial-cluster=a=http://1.1.1.1:1,a=http://1.1.1.1:1",
                "--initial-advertise-peer-urls=http://1.1.1.1:1",
            ],
            "failed to resolve http://1.1.1.1:1 to match --initial-cluster=a=http://1.1.1.1:1 \
             (len([\"http://1.1.1.1:1\"]) != len([\"http://1.1.1.1:1\" \"http://1.1.1.1:1\"]))",
        ),
        (
            &[
                "--name=a",
                "--initial-cluster=a=http://nowhere:1",
                "--initial-advertise-peer-urls=http://1.1.1.1:1",
            ],
            "--initial-cluster has a=http://nowhere:1 but missing from \
             --initial-advertise-peer-urls=http://1.1.1.1:1 (failed to resolve \
             \"http://nowhere:1\" (lookup nowhere: no such host))",
        ),
        (
            &[
                "--name=a",
                "--initial-cluster=a=http://1.1.1.1:1,b=http://1.1.1.1:1",
                "--initial-advertise-peer-urls=http://1.1.1.1:1",
            ],
            "initial cluster a=http://1.1.1.1:1,b=http://1.1.1.1:1 has duplicate url",
        ),
        (
            &[
                "--name=a",
                "--initial-cluster=a=http://1.1.1.1:1,b=http://1.1.1.1:1",
                "--initial-cluster-state=existing",
            ],
            "initial cluster a=http://1.1.1.1:1,b=http://1.1.1.1:1 has duplicate url",
        ),
    ];
    for (line, text) in cases {
        assert_eq!(refusal(line).await, *text, "{line:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_and_its_address_are_one_place() {
    let line = [
        "--name=a",
        "--initial-cluster=a=http://a.example.com:1",
        "--initial-advertise-peer-urls=http://10.0.0.1:1",
    ];
    let names = Table::of(&[("a.example.com", [10, 0, 0, 1])]);
    // The DNS may come up later.
    names.fails.store(2, Ordering::Relaxed);
    let (outcome, messages) = begin_with(&line, &names).await;
    let Ok(Bootstrap::New { members }) = outcome else { panic!("{outcome:?}") };
    // The ids come from the cluster's URLs, as on all members.
    assert_eq!(members[0].peer_urls, ["http://a.example.com:1"]);
    assert_eq!(messages.iter().filter(|text| *text == "failed to resolve URL Host").count(), 2);
    assert_eq!(messages.iter().filter(|text| *text == "resolved URL Host").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_for_names_that_are_spelled_the_same() {
    let line = [
        "--name=a",
        "--initial-cluster=a=http://nowhere:1,a=http://[fd00::0:1]:2,a=unix://x:1",
        "--initial-advertise-peer-urls=http://[fd00::1]:2,http://nowhere:1,unix://x:1",
    ];
    let (outcome, messages) = begin_with(&line, &Table::default()).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    assert_eq!(messages, [""; 0]);
}

/// A free port to serve on, and its URL.
async fn bound() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("is bound"));
    (listener, url)
}

/// Answers these paths, one request on each connection, as long as the test runs.
async fn serve(listener: TcpListener, answers: Vec<(&'static str, String)>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = [0; 4096];
        let len = stream.read(&mut request).await.unwrap_or_default();
        let request = String::from_utf8_lossy(&request[..len]).into_owned();
        let path = request.split(' ').nth(1).unwrap_or_default();
        let (status, body) = match answers.iter().find(|(of, _)| *of == path) {
            Some((_, body)) => ("200 OK", body.as_str()),
            None => ("404 Not Found", "404 page not found\n"),
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\nX-Etcd-Cluster-ID: c1\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

const ME: &str = "http://127.0.0.1:2";

fn json(id: u64, name: &str, url: &str, learner: bool) -> String {
    let clients = if name.is_empty() { "" } else { r#""http://127.0.0.1:9""# };
    format!(
        "{{\"id\":{id},\"peerURLs\":[\"{url}\"],\"isLearner\":{learner},\"name\":\"{name}\",\
         \"clientURLs\":[{clients}]}}"
    )
}

/// What a cluster says of itself.
struct Said<'a> {
    /// As JSON; the first member is added.
    members: &'a [String],
    cluster_version: &'a str,
    downgrade: &'a str,
}

const FIT: Said<'_> = Said { members: &[], cluster_version: "3.7.0", downgrade: "false" };

/// A cluster's first member serves what is said; its URL.
async fn cluster(said: Said<'_>) -> String {
    let (listener, url) = bound().await;
    let first = json(1, "first", &url, false);
    let members: Vec<_> = said.members.iter().chain([&first]).map(String::as_str).collect();
    let version = said.cluster_version;
    let answers = vec![
        ("/members", format!("[{}]", members.join(","))),
        ("/version", format!(r#"{{"etcdserver":"3.7.1","etcdcluster":"{version}"}}"#)),
        ("/downgrade/enabled", said.downgrade.to_owned()),
    ];
    tokio::spawn(serve(listener, answers));
    url
}

/// Begins as member `me` beside the first one.
async fn begin_beside(first: &str, state: &str) -> (Result<Bootstrap, String>, Vec<String>) {
    let line = [
        "--name=me",
        &format!("--initial-cluster=first={first},me={ME}"),
        &format!("--initial-advertise-peer-urls={ME}"),
        &format!("--initial-cluster-state={state}"),
    ];
    begin_with(&line, &Table::default()).await
}

#[tokio::test]
async fn a_new_cluster_begins_with_all_its_members_though_the_others_do_not_answer_yet() {
    let (listener, url) = bound().await;
    drop(listener);
    let (outcome, messages) = begin_beside(&url, "new").await;
    let Ok(Bootstrap::New { members }) = outcome else { panic!("{outcome:?}") };
    assert!(members.is_sorted_by_key(|member| member.id));
    let mut names: Vec<_> = members.iter().map(|member| member.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["first", "me"]);
    assert_eq!(messages, [""; 0]);
}

#[tokio::test]
async fn who_has_lost_its_log_is_told_what_to_do() {
    // Of a cluster of old the ids are known; of one that it was added to, the names.
    let Bootstrap::New { members } = Bootstrap::with_new([("me", [ME])], "etcd-cluster") else {
        panic!("it is new")
    };
    let id = members[0].id;
    for state in ["new", "existing"] {
        let me = [json(id.0, "me", ME, false)];
        let url = cluster(Said { members: &me, ..FIT }).await;
        let error = begin_beside(&url, state).await.0.expect_err("it has begun before");
        let begins = format!("member {id} has already been bootstrapped (");
        assert!(error.starts_with(&begins), "{error}");
        assert!(error.contains(&format!("etcdctl member remove {id}")), "{error}");
    }
    // Who is known and has never been seen may begin.
    let me = [json(id.0, "", ME, false)];
    let url = cluster(Said { members: &me, ..FIT }).await;
    assert!(begin_beside(&url, "new").await.0.is_ok());
}

#[tokio::test]
async fn who_joins_takes_its_id_and_the_clusters_from_the_others() {
    let me = [json(0xabc, "", ME, true)];
    let first = cluster(Said { members: &me, ..FIT }).await;
    let (outcome, _) = begin_beside(&first, "existing").await;
    let Ok(Bootstrap::Join { cluster_id, member_id, members }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!((cluster_id, member_id), (0xc1, 0xabc));
    let told: Vec<_> = members.iter().map(|it| (it.id, &*it.peer_urls[0])).collect();
    assert_eq!(told, [(MemberId(1), first.as_str()), (MemberId(0xabc), ME)]);
    assert!(members[1].is_learner);
}

#[tokio::test]
async fn who_joins_is_refused_in_etcds_words() {
    let me = || json(0xabc, "", ME, false);
    let elsewhere = json(0xabc, "", "http://127.0.0.1:3", false);
    let learners = [json(0xabc, "", ME, true), json(0xabd, "", "http://127.0.0.1:3", true)];
    let cases: [(Said<'_>, &str); 5] = [
        (Said { members: &[], ..FIT }, "}] RemovedMemberIDs:[]}: member count is unequal"),
        (
            Said { members: &[elsewhere], ..FIT },
            "PeerURLs: no match found for existing member (abc, [http://127.0.0.1:3]), last \
             resolver error (resolved urls: \"http://127.0.0.1:3\" != \"http://127.0.0.1:",
        ),
        (
            Said { members: &[me()], cluster_version: "3.8.0", ..FIT },
            "incompatible with current running cluster",
        ),
        (
            Said { members: &[me()], downgrade: "true", ..FIT },
            "incompatible with current running cluster",
        ),
        (
            Said { members: &[me()], cluster_version: "not_decided", ..FIT },
            "incompatible with current running cluster",
        ),
    ];
    for (said, text) in cases {
        let url = cluster(said).await;
        let error = begin_beside(&url, "existing").await.0.expect_err(text);
        assert!(error.contains(text), "{error}");
    }
    let url = cluster(Said { members: &learners, ..FIT }).await;
    let line = [
        "--name=me",
        &format!("--initial-cluster=first={url},me={ME},other=http://127.0.0.1:3"),
        "--initial-cluster-state=existing",
    ];
    let error = begin_with(&line, &Table::default()).await.0.expect_err("too many learners");
    assert_eq!(error, "membership: too many learner members in cluster");
}

#[tokio::test]
async fn who_joins_hears_from_whoever_answers() {
    // Nobody does.
    let (listener, silent) = bound().await;
    drop(listener);
    let (outcome, messages) = begin_beside(&silent, "existing").await;
    assert_eq!(
        outcome.expect_err("there is nobody"),
        "cannot fetch cluster info from peer urls: could not retrieve cluster information from \
         the given URLs"
    );
    assert_eq!(messages, ["failed to get cluster response"]);
    // One that makes no sense, and one that knows nobody.
    for (body, message, error) in [
        (
            "{",
            Some("failed to unmarshal cluster response"),
            "could not retrieve cluster information from the given URLs",
        ),
        ("[]", None, "failed to get raft cluster member(s) from the given URLs"),
    ] {
        let (listener, url) = bound().await;
        tokio::spawn(serve(listener, vec![("/members", body.to_owned())]));
        let (outcome, messages) = begin_beside(&url, "existing").await;
        let told = outcome.expect_err("it says nothing");
        assert_eq!(told, format!("cannot fetch cluster info from peer urls: {error}"));
        assert_eq!(messages.first().map(String::as_str), message);
    }
    // One of two is enough.
    let others = [json(0xabc, "", ME, false), json(2, "second", &silent, false)];
    let first = cluster(Said { members: &others, ..FIT }).await;
    let line = [
        "--name=me",
        &format!("--initial-cluster=first={first},me={ME},second={silent}"),
        "--initial-cluster-state=existing",
    ];
    let (outcome, messages) = begin_with(&line, &Table::default()).await;
    assert!(matches!(outcome, Ok(Bootstrap::Join { .. })), "{outcome:?}");
    assert!(messages.contains(&"failed to get version".to_owned()), "{messages:?}");
}
