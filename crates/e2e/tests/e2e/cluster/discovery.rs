//! Members that find each other at a discovery service.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use e2e::{Authority, Cluster, Outcome, Running, Scratch, Server};
use proto::etcdserverpb::{
    AuthEnableRequest, AuthUserAddRequest, AuthUserGrantRoleRequest, DeleteRangeRequest,
    MemberListRequest, PutRequest, RangeRequest,
};

use super::{FLAGS, alone};

const PATIENCE: Duration = Duration::from_secs(60);

fn key(token: &str, rest: &str) -> Bytes {
    format!("/_etcd/registry/{token}/{rest}").into()
}

/// How many members the service is told to expect.
fn expect(service: &Cluster, token: &str, size: &'static str) {
    let (key, value) = (key(token, "_config/size"), Bytes::from_static(size.as_bytes()));
    service.call(0, &PutRequest { key, value, ..PutRequest::default() }).unwrap();
}

/// A member that comes to the service.
fn comer(service: &Cluster, server: &Server, token: &str, more: &[&str]) -> Running {
    let folder = service.scratch().join(&format!("{}-{token}", server.name));
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = Command::new(&server.path);
    command.env_clear().current_dir(&folder).args([
        "--data-dir=data",
        "--name=late",
        "--listen-peer-urls=http://127.0.0.1:0",
        "--listen-client-urls=http://127.0.0.1:0",
        "--initial-advertise-peer-urls=http://127.0.0.1:9",
        "--advertise-client-urls=http://127.0.0.1:9",
        &format!("--discovery-token={token}"),
        &format!("--discovery-endpoints={}", service.member(0).address()),
    ]);
    Running::start(command.args(more), "", &folder).unwrap()
}

/// One that finds no place there.
fn turned_away(service: &Cluster, server: &Server, token: &str, more: &[&str]) -> Outcome {
    comer(service, server, token, more).wait(PATIENCE).unwrap()
}

fn lines(outcome: &Outcome) -> Vec<serde_json::Value> {
    outcome.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// What is said of the failure, and the lines that only a failure of discovery brings.
fn reasons(outcome: &Outcome) -> Vec<(String, String)> {
    let lines = lines(outcome);
    let text =
        |line: &serde_json::Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let about = |line: &&serde_json::Value| text(line, "msg").contains("discovery ");
    let told = lines.iter().filter(about).map(|line| (text(line, "msg"), text(line, "error")));
    told.collect()
}

#[test]
fn members_of_both_kinds_find_each_other_at_a_service_of_either() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let _alone = alone();
    for server in [&pintle, &etcd] {
        let service = Cluster::start("discovery", &[server], &FLAGS).unwrap();
        expect(&service, "e2e", "3");
        let servers = [&pintle, &etcd, &pintle];
        let mut cluster =
            Cluster::gather("gathered", &servers, &FLAGS, service.member(0).address(), "e2e")
                .unwrap();
        let members = cluster.call(0, &MemberListRequest::default()).unwrap().members;
        let mut names: Vec<_> = members.iter().map(|member| member.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["m0", "m1", "m2"]);
        let (key_of_ours, value) = (Bytes::from_static(b"k"), Bytes::from_static(b"v"));
        let put = PutRequest { key: key_of_ours.clone(), value, ..PutRequest::default() };
        cluster.call(0, &put).unwrap();
        let get = RangeRequest { key: key_of_ours, ..RangeRequest::default() };
        assert_eq!(cluster.call(2, &get).unwrap().kvs.len(), 1);
        cluster.same_hash().unwrap();
        // All three are registered under their ids.
        for member in &members {
            let key = key("e2e", &format!("members/{:x}", member.id));
            let get = RangeRequest { key, ..RangeRequest::default() };
            let registered = service.call(0, &get).unwrap().kvs;
            let urls = format!("{}={}", member.name, member.peer_urls[0]);
            assert_eq!(registered[0].value, urls);
        }
        // Who has a log asks nobody any more.
        let forget = DeleteRangeRequest {
            key: key("e2e", ""),
            range_end: key("e2e0", ""),
            ..DeleteRangeRequest::default()
        };
        service.call(0, &forget).unwrap();
        cluster.stop(0).unwrap();
        cluster.restart(0).unwrap();
        let told = cluster.member(0).log();
        assert!(told.contains("discovery token is ignored since cluster already initialized"));
        cluster.same_hash().unwrap();
    }
}

#[test]
fn members_find_each_other_in_the_dns() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let _alone = alone();
    let test = "cluster::discovery::members_find_each_other_in_the_dns";
    if !e2e::on_hosts(test, &pintle) {
        return;
    }
    let domain = "members.example";
    let (servers, by_tcp) = ([&pintle, &pintle, &etcd], 1);
    let (cluster, names) =
        Cluster::start_by_names("dns", &servers, &FLAGS, domain, by_tcp).unwrap();
    let members = cluster.call(0, &MemberListRequest::default()).unwrap().members;
    for at in 0..servers.len() {
        let address = cluster.member(at).peer_address();
        let url = format!("http://m{at}.{domain}:{}", address.port());
        let member = members.iter().find(|member| member.name == format!("m{at}"));
        assert_eq!(member.unwrap().peer_urls, [url]);
        // Each was told by the way that it had to take.
        let told = |way: bool| {
            let service = format!("_etcd-server._tcp.{domain}");
            let asked = names.asked().into_iter().filter(|asked| asked.from == address.ip());
            asked.filter(|asked| asked.name == service && asked.by_tcp == way).count()
        };
        assert!(told(false) > 0, "m{at}: {:?}", names.asked());
        assert_eq!(told(true) > 0, at == by_tcp, "m{at}: {:?}", names.asked());
    }
    let value = Bytes::from_static(b"v");
    cluster.call(0, &PutRequest { key: value.clone(), value, ..PutRequest::default() }).unwrap();
    cluster.same_hash().unwrap();
}

#[test]
fn a_service_that_is_not_there_yet_is_waited_for() {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    let mut service = Cluster::start("discovery", &[&pintle], &FLAGS).unwrap();
    expect(&service, "e2e", "2");
    service.stop(0).unwrap();
    let address = service.member(0).address();
    let silent = TcpListener::bind(address).unwrap();
    let cluster = std::thread::scope(|scope| {
        let gathered =
            scope.spawn(|| Cluster::gather("late", &[&pintle; 2], &FLAGS, address, "e2e"));
        // Both have asked before there is an answer.
        for _ in 0..2 {
            drop(silent.accept().unwrap());
        }
        drop(silent);
        service.restart(0).unwrap();
        gathered.join().unwrap().unwrap()
    });
    for at in 0..2 {
        let told = cluster.member(at).log();
        assert!(told.contains("retry connecting to discovery service"), "{told}");
    }
    cluster.same_hash().unwrap();
}

/// From now on one has to be `root` with the password `secret`.
fn ask_for_users(service: &Cluster) {
    let (name, password) = ("root".to_owned(), "secret".to_owned());
    let user = AuthUserAddRequest { name: name.clone(), password, ..AuthUserAddRequest::default() };
    service.call(0, &user).unwrap();
    let grant = AuthUserGrantRoleRequest { user: name.clone(), role: name };
    service.call(0, &grant).unwrap();
    service.call(0, &AuthEnableRequest::default()).unwrap();
}

#[test]
fn a_service_that_knows_users_is_shown_who_one_is() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let _alone = alone();
    let service = Cluster::start("discovery", &[&etcd], &FLAGS).unwrap();
    let given = [
        ("apart", &["--discovery-user=root", "--discovery-password=secret"][..]),
        ("behind", &["--discovery-user=root:secret"]),
    ];
    given.iter().for_each(|(token, _)| expect(&service, token, "1"));
    ask_for_users(&service);
    let wrong = ["--discovery-user=root", "--discovery-password=wrong"];
    let ours = turned_away(&service, &pintle, "apart", &wrong);
    let theirs = turned_away(&service, &etcd, "apart", &wrong);
    assert_eq!((ours.code, theirs.code), (1, 1), "{}", ours.stderr);
    let told = |outcome: &Outcome| {
        reasons(outcome).into_iter().find(|(message, _)| message.contains("already used"))
    };
    assert!(told(&ours).is_some());
    assert_eq!(told(&ours), told(&theirs));
    let address = service.member(0).address();
    for (token, user) in given {
        let flags = [&FLAGS[..], user].concat();
        let cluster = Cluster::gather("known", &[&pintle], &flags, address, token).unwrap();
        assert!(cluster.leader().is_some());
    }
}

#[test]
fn who_finds_no_place_at_a_service_is_told_in_etcds_words() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let _alone = alone();
    let service = Cluster::start("discovery", &[&pintle], &FLAGS).unwrap();
    expect(&service, "bad", "three");
    expect(&service, "none", "0");
    expect(&service, "full", "1");
    let value = Bytes::from_static(b"first=http://127.0.0.1:7");
    let first = PutRequest { key: key("full", "members/1"), value, ..PutRequest::default() };
    service.call(0, &first).unwrap();
    for (token, more, reason) in [
        ("missing", &[][..], "discovery: size key not found"),
        ("bad", &[], "discovery: size key is bad"),
        ("none", &[], "discovery: size key is bad"),
        ("full", &[], "discovery: cluster is full"),
        (
            "full",
            &["--initial-cluster-state=existing"],
            "discovery URL should not be set when joining existing initial cluster",
        ),
    ] {
        let ours = turned_away(&service, &pintle, token, more);
        let theirs = turned_away(&service, &etcd, token, more);
        assert_eq!((ours.code, theirs.code), (1, 1), "{token}\n{}", ours.stderr);
        assert!(ours.stderr.contains(reason), "{token}\n{}", ours.stderr);
        assert_eq!(reasons(&ours), reasons(&theirs), "{token}");
    }
}

/// A folder with an authority that vouches for `server` and `client`.
fn authority(folder: &Path) -> Authority {
    let authority = Authority::new(folder).unwrap();
    authority.vouch("server", 10).unwrap();
    authority.vouch("client", 11).unwrap();
    authority
}

/// What a member says to whom it believes for one authority, with a certificate of another one.
fn speaking_tls(believed: &Authority, own: &Authority) -> Vec<String> {
    let flag = |name, authority: &Authority, file| {
        format!("--discovery-{name}={}", authority.file(file).display())
    };
    vec![
        flag("cacert", believed, "ca.crt"),
        flag("cert", own, "client.crt"),
        flag("key", own, "client.key"),
        "--discovery-dial-timeout=1s".to_owned(),
        "--discovery-request-timeout=1s".to_owned(),
    ]
}

#[test]
fn members_find_each_other_at_a_service_that_asks_for_certificates() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let _alone = alone();
    let scratch = Scratch::new("discovery-tls");
    let ours = authority(&scratch.join("ours"));
    let others = authority(&scratch.join("others"));
    let file = |name| ours.file(name).display().to_string();
    let secure = [
        format!("--cert-file={}", file("server.crt")),
        format!("--key-file={}", file("server.key")),
        format!("--trusted-ca-file={}", file("ca.crt")),
        "--client-cert-auth".to_owned(),
    ];
    let secure = secure.iter().map(String::as_str).chain(FLAGS).collect::<Vec<_>>();
    let root = ["--discovery-user=root", "--discovery-password=secret"].map(str::to_owned);
    for server in [&etcd, &pintle] {
        let service = Cluster::start("discovery-tls", &[server], &secure).unwrap();
        expect(&service, "e2e", "3");
        expect(&service, "users", "3");
        let gather = |token: &str, more: &[String]| {
            let flags = [&speaking_tls(&ours, &ours), more].concat();
            let flags = flags.iter().map(String::as_str).chain(FLAGS).collect::<Vec<_>>();
            let address = service.member(0).address();
            let cluster = Cluster::gather("gathered", &[&pintle; 3], &flags, address, token);
            let cluster = cluster.unwrap();
            let key = Bytes::from_static(b"k");
            cluster.call(0, &PutRequest { key, ..PutRequest::default() }).unwrap();
            cluster.same_hash().unwrap();
        };
        gather("e2e", &[]);
        ask_for_users(&service);
        gather("users", &root);
        // Who believes somebody else, or is not believed, goes on asking, as with etcd. By TLS 1.3
        // one that is not believed may write again before it hears why.
        for (believed, own, reasons) in [
            (&others, &ours, &["certificate signed by unknown authority"][..]),
            (&ours, &others, &["unknown certificate authority", "broken pipe", "reset"]),
        ] {
            let flags = speaking_tls(believed, own);
            let flags: Vec<_> = flags.iter().map(String::as_str).collect();
            for comes in [&pintle, &etcd] {
                let mut running = comer(&service, comes, "e2e", &flags);
                let told = e2e::until(PATIENCE, || {
                    let told = running.complained();
                    let retries = told.contains("retry connecting to discovery service");
                    (retries || running.has_ended()).then_some(told)
                });
                let told = told.unwrap();
                assert!(!running.has_ended(), "{told}");
                let says_why = reasons.iter().any(|reason| told.contains(reason));
                assert!(comes.name == "etcd" || says_why, "{told}");
            }
        }
        let absent = ["--discovery-cacert=/nowhere/ca.crt"];
        for comes in [&pintle, &etcd] {
            let outcome = turned_away(&service, comes, "e2e", &absent);
            assert_eq!(outcome.code, 1, "{}", outcome.stderr);
            assert!(outcome.stderr.contains("open /nowhere/ca.crt"), "{}", outcome.stderr);
        }
    }
}
