//! Users, passwords and tokens where more is at work than one server: crashes, other members, the
//! other server's files.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use e2e::{Client, Cluster, Member, Scratch, Server, Status};
use proto::authpb::Permission;
use proto::etcdserverpb::{
    AuthEnableRequest, AuthRoleAddRequest, AuthRoleGrantPermissionRequest, AuthStatusRequest,
    AuthUserAddRequest, AuthUserChangePasswordRequest, AuthUserGrantRoleRequest,
    AuthUserListRequest, AuthenticateRequest, HashKvRequest, MemberPromoteRequest,
    MoveLeaderRequest, PutRequest, RangeRequest, StatusRequest,
};

const FLAGS: [&str; 3] = ["--heartbeat-interval=50", "--election-timeout=500", "--bcrypt-cost=4"];

/// Makes `root` and `u`, each with its name as password; `u` may read and write `a..c`.
macro_rules! prepare {
    ($call:expr) => {{
        for name in ["root", "u"] {
            let add = AuthUserAddRequest {
                name: name.into(),
                password: name.into(),
                ..AuthUserAddRequest::default()
            };
            $call(&add).unwrap();
        }
        $call(&AuthRoleAddRequest { name: "r".into() }).unwrap();
        let perm = Permission { perm_type: 2, key: "a".into(), range_end: "c".into() };
        let grant = AuthRoleGrantPermissionRequest { name: "r".into(), perm: Some(perm) };
        $call(&grant).unwrap();
        for (user, role) in [("root", "root"), ("u", "r")] {
            $call(&AuthUserGrantRoleRequest { user: user.into(), role: role.into() }).unwrap();
        }
        $call(&AuthEnableRequest {}).unwrap();
    }};
}

fn login(name: &str, password: &str) -> AuthenticateRequest {
    AuthenticateRequest { name: name.into(), password: password.into() }
}

fn put(key: &'static str) -> PutRequest {
    PutRequest { key: key.into(), value: "v".into(), ..PutRequest::default() }
}

fn get(key: &'static str) -> RangeRequest {
    RangeRequest { key: key.into(), ..RangeRequest::default() }
}

fn refusal<T: std::fmt::Debug>(outcome: Result<T, Status>) -> String {
    outcome.expect_err("it is refused").message
}

const DENIED: &str = "etcdserver: permission denied";
const INVALID: &str = "etcdserver: invalid auth token";

/// Asks as who has this token.
fn ask_as<R: e2e::Rpc>(client: &Client, token: &str, request: &R) -> Result<R::Reply, Status> {
    client.block_on(async |grpc| grpc.clone().with_token(token).call(request).await)
}

/// What one server has made of users, the other one goes on with, both ways and after a crash.
#[test]
fn users_and_roles_are_there_for_whoever_takes_the_directory_over() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let scratch = Scratch::new("auth-handover");
    let mut member = Member::start(&etcd, scratch.path(), &FLAGS).unwrap();
    let client = Client::connect(&member).unwrap();
    prepare!(|request| client.call(request));
    for (round, server) in [&pintle, &etcd, &pintle, &pintle, &etcd].into_iter().enumerate() {
        let before = Client::connect(&member).unwrap().call(&AuthStatusRequest {}).unwrap();
        if round % 2 == 0 {
            member.kill().unwrap();
        } else {
            member.stop().unwrap();
        }
        member.restart(server).unwrap();
        let client = Client::connect(&member).unwrap();
        let after = client.call(&AuthStatusRequest {}).unwrap();
        assert!(after.enabled, "round {round}");
        assert_eq!(after.auth_revision, before.auth_revision, "round {round}");
        assert_eq!(refusal(client.call(&get("a"))), "etcdserver: user name is empty");
        let u = client.call(&login("u", &password(round))).unwrap().token;
        ask_as(&client, &u, &put("b")).unwrap();
        assert_eq!(ask_as(&client, &u, &get("b")).unwrap().count, 1);
        assert_eq!(refusal(ask_as(&client, &u, &put("c"))), DENIED);
        assert_eq!(refusal(ask_as(&client, &u, &AuthUserListRequest {})), DENIED);
        let wrong = refusal(client.call(&login("u", "wrong")));
        assert_eq!(wrong, "etcdserver: authentication failed, invalid user ID or password");
        // The next one has to know this password.
        let root = client.call(&login("root", "root")).unwrap().token;
        let change = AuthUserChangePasswordRequest {
            name: "u".into(),
            password: password(round + 1),
            ..AuthUserChangePasswordRequest::default()
        };
        ask_as(&client, &root, &change).unwrap();
        assert_eq!(refusal(ask_as(&client, &u, &get("b"))), INVALID, "round {round}");
    }
}

fn password(round: usize) -> String {
    if round == 0 { "u".to_owned() } else { format!("u{round}") }
}

/// In a cluster of both, a token that one member gave out is good at each of them, and the others
/// still know it when that one is gone.
#[test]
fn every_member_knows_every_token() {
    let Some((pintle, etcd)) = Server::both() else { return };
    for servers in [[&pintle; 3], [&pintle, &etcd, &pintle]] {
        let mut cluster = Cluster::start("auth", &servers, &FLAGS).unwrap();
        cluster.wait_for_leader().unwrap();
        prepare!(|request| cluster.call(0, request));
        for at in 0..3 {
            let u = cluster.call(at, &login("u", "u")).unwrap().token;
            for other in 0..3 {
                cluster.call_as(&u, other, &put("b")).unwrap();
                assert_eq!(cluster.call_as(&u, other, &get("b")).unwrap().count, 1);
                assert_eq!(refusal(cluster.call_as(&u, other, &get("c"))), DENIED);
                assert_eq!(refusal(cluster.call_as("x.1", other, &get("b"))), INVALID);
            }
        }
        let root = cluster.call(0, &login("root", "root")).unwrap().token;
        let u = cluster.call(0, &login("u", "u")).unwrap().token;
        let hashes: Vec<_> = (0..3)
            .map(|at| {
                // What is acknowledged is there once the member was asked for all.
                cluster.call_as(&root, at, &get("b")).unwrap();
                cluster.call_as(&root, at, &HashKvRequest { revision: 0 }).unwrap().hash
            })
            .collect();
        assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
        cluster.kill(0).unwrap();
        e2e::until(std::time::Duration::from_secs(20), || {
            cluster.call_as(&u, 1, &put("a")).is_ok().then_some(())
        })
        .expect("two of three go on, and know the token");
        cluster.call_as(&u, 2, &get("a")).unwrap();
        cluster.restart(0).unwrap();
        let again = cluster.call(0, &login("u", "u")).unwrap().token;
        cluster.call_as(&again, 0, &put("b")).unwrap();
        cluster.call_as(&again, 1, &put("b")).unwrap();
    }
}

/// What a member says to a promotion that another one passes on, perhaps with a token.
fn passed_on(cluster: &Cluster, at: usize, learner: u64, token: Option<&str>) -> String {
    let mut socket = TcpStream::connect(cluster.member(at).peer_address()).unwrap();
    let token = token.map(|token| format!("Authorization: {token}\r\n")).unwrap_or_default();
    let head = format!("POST /members/promote/{learner} HTTP/1.1\r\nHost: m\r\n{token}");
    write!(socket, "{head}Content-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// Who passes a promotion on to the leader shows it whose wish it is, and the leader judges it:
/// who can reach a peer URL may not therefore change the members.
#[test]
fn a_follower_passes_on_who_promotes_a_learner() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let flags = [&FLAGS[..], &["--strict-reconfig-check=false", "--max-learners=3"]].concat();
    let mut cluster = Cluster::start("auth-promote", &[&pintle, &etcd, &pintle], &flags).unwrap();
    let ids: Vec<_> = (0..3).map(|at| cluster.id(at).unwrap()).collect();
    let learners: Vec<_> = (0..3)
        .map(|_| {
            let at = cluster.join(&pintle, true).unwrap();
            cluster.id(at).unwrap()
        })
        .collect();
    prepare!(|request| cluster.call(0, request));
    let root = cluster.call(0, &login("root", "root")).unwrap().token;
    let u = cluster.call(0, &login("u", "u")).unwrap().token;
    for (learner, leader, follower) in
        [(learners[0], 0, 2), (learners[1], 0, 1), (learners[2], 1, 2)]
    {
        // Who moves the lead asks the one who has it.
        let led = || {
            let statuses = (0..3).map(|at| cluster.call_as(&root, at, &StatusRequest {}).ok());
            let mut leaders = statuses.map(|status| Some(status?.leader));
            if leaders.all(|known| known == Some(ids[leader])) {
                return Some(());
            }
            let request = MoveLeaderRequest { target_id: ids[leader] };
            (0..3).for_each(|at| _ = cluster.call_as(&root, at, &request));
            None
        };
        e2e::until(std::time::Duration::from_secs(20), led).expect("the lead can be moved");
        let request = MemberPromoteRequest { id: learner };
        let promote = |token: &str| cluster.call_as(token, follower, &request);
        assert_eq!(refusal(promote(&u)), DENIED);
        assert_eq!(refusal(promote("x.1")), INVALID);
        for token in [None, Some(&*u), Some("x.1")] {
            for at in [leader, follower] {
                let answer = passed_on(&cluster, at, learner, token);
                assert!(answer.starts_with("HTTP/1.1 500 "), "{token:?} at {at}: {answer}");
            }
        }
        // It may be that the learner lags behind.
        let promoted = e2e::until(std::time::Duration::from_secs(20), || promote(&root).ok());
        let members = promoted.expect("root may, at whichever member").members;
        assert!(members.iter().any(|member| member.id == learner && !member.is_learner));
        let again = passed_on(&cluster, leader, learner, Some(&root));
        assert!(again.starts_with("HTTP/1.1 412 "), "{again}");
    }
}

/// Each use renews a token; then it ends, on both alike.
#[test]
fn a_token_ends_when_nobody_uses_it() {
    let Some((pintle, etcd)) = Server::both() else { return };
    for server in [&pintle, &etcd] {
        let scratch = Scratch::new("auth-ttl");
        let flags = [&FLAGS[..], &["--auth-token-ttl=3"]].concat();
        let member = Member::start(server, scratch.path(), &flags).unwrap();
        let client = Client::connect(&member).unwrap();
        prepare!(|request| client.call(request));
        let u = client.call(&login("u", "u")).unwrap().token;
        let idle = client.call(&login("u", "u")).unwrap().token;
        let end = e2e::now() + std::time::Duration::from_secs(5);
        while e2e::now() < end {
            ask_as(&client, &u, &get("a")).unwrap();
            e2e::pause(std::time::Duration::from_millis(200));
        }
        assert_eq!(refusal(ask_as(&client, &idle, &get("a"))), INVALID, "{}", member.name());
    }
}

/// The same wrong wishes stop both servers at their start.
#[test]
fn token_options_that_make_no_sense_stop_the_start() {
    let Some((pintle, etcd)) = Server::both() else { return };
    for option in [
        "none",
        "simple,x",
        "jwt",
        "jwt,sign-method=XS256",
        "jwt,sign-method=HS256",
        "jwt,sign-method=RS256",
        "jwt,sign-method=HS256,priv-key=/nowhere/at/all",
        "jwt,sign-method=HS256,ttl=soon",
        "jwt,sign-method=HS256,sign-method=HS256",
    ] {
        let told = [&pintle, &etcd].map(|server| {
            let scratch = Scratch::new("auth-options");
            let option = format!("--auth-token={option}");
            let flags = [&FLAGS[..], &[&option]].concat();
            let refused = Member::start(server, scratch.path(), &flags).expect_err("it is refused");
            let refused = format!("{refused:#}");
            let texts = ["auth: invalid auth options", "auth: missing key data"];
            texts
                .into_iter()
                .find(|text| refused.contains(text))
                .unwrap_or_else(|| panic!("{}: {option}: {refused}", server_name(server, &pintle)))
        });
        assert_eq!(told[0], told[1], "{option}");
    }
}

fn server_name(server: &Server, pintle: &Server) -> &'static str {
    if std::ptr::eq(server, pintle) { "pintle" } else { "etcd" }
}

/// A signed token needs no memory, and says of which users it speaks. Each server believes what the
/// other has signed.
#[test]
fn signed_tokens_outlive_a_restart_and_no_change_of_users() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let keys = e2e::root().join("crates/api/src/auth/jwt/fixtures");
    for (number, (method, private, public)) in [
        ("HS256", "ed.pem", None),
        ("HS512", "ed.pem", None),
        ("RS256", "rsa.pem", Some("rsa.pub.pem")),
        ("PS384", "rsa.pkcs1.pem", None),
        ("ES256", "ec.sec1.pem", Some("ec.pub.pem")),
        ("ES384", "ec384.sec1.pem", None),
        ("EdDSA", "ed.pem", Some("ed.pub.pem")),
    ]
    .into_iter()
    .enumerate()
    {
        let scratch = Scratch::new("auth-jwt");
        let key = |name: &str| keys.join(name).display().to_string();
        let mut option = format!("--auth-token=jwt,sign-method={method},priv-key={}", key(private));
        option.extend(public.map(|public| format!(",pub-key={}", key(public))));
        let flags = [&FLAGS[..], &[&option]].concat();
        let (first, second) = if number % 2 == 0 { (&pintle, &etcd) } else { (&etcd, &pintle) };
        let mut member = Member::start(first, scratch.path(), &flags).unwrap();
        let client = Client::connect(&member).unwrap();
        prepare!(|request| client.call(request));
        let u = client.call(&login("u", "u")).unwrap().token;
        ask_as(&client, &u, &put("a")).unwrap();
        member.kill().unwrap();
        member.restart(second).unwrap();
        let client = Client::connect(&member).unwrap();
        assert_eq!(ask_as(&client, &u, &get("a")).unwrap().count, 1, "{method}");
        assert_eq!(refusal(ask_as(&client, &u[1..], &get("a"))), INVALID, "{method}");
        let own = client.call(&login("u", "u")).unwrap().token;
        ask_as(&client, &own, &put("a")).unwrap();
        let root = client.call(&login("root", "root")).unwrap().token;
        ask_as(&client, &root, &AuthRoleAddRequest { name: "s".into() }).unwrap();
        let old = refusal(ask_as(&client, &u, &get("a")));
        assert_eq!(old, "etcdserver: revision of auth store is old", "{method}");
    }
}
