//! Patroni keeps a primary of PostgreSQL by three members, which it reaches by the JSON gateway.

mod nodes;

use e2e::{Cluster, Server};
use nodes::{Nodes, PATIENCE, Programs, SCOPE};
use proto::authpb::Permission;
use proto::etcdserverpb::{
    AuthEnableRequest, AuthRoleAddRequest, AuthRoleGrantPermissionRequest, AuthUserAddRequest,
    AuthUserGrantRoleRequest, AuthenticateRequest, LeaseTimeToLiveRequest, RangeRequest,
    StatusRequest,
};
use serde_json::Value;

/// The machine may be busy, and an election that fails costs the primary its place.
const FLAGS: [&str; 3] = ["--heartbeat-interval=100", "--election-timeout=1000", "--bcrypt-cost=4"];

#[test]
fn patroni_fails_over_and_back() {
    let Some(pintle) = Server::pintle() else { return };
    let Some(programs) = Programs::find() else { return };
    let mut cluster = Cluster::start("patroni", &[&pintle; 3], &FLAGS).unwrap();
    cluster.wait_for_leader().unwrap();
    let mut nodes = Nodes::start(programs, &cluster).unwrap();
    let first = primary_and_replica(&nodes, None);
    let second = 1 - first;
    nodes.sql(first, "create table t (n int primary key)").unwrap();
    write(&nodes, first, 1);

    // From now on it has to say who it is; its first calls thereafter do not.
    enable_auth(&cluster);
    goes_on(&nodes, &[0, 1], first);
    write(&nodes, first, 2);

    nodes.kill(first).unwrap();
    let promoted = e2e::until(PATIENCE, || {
        nodes.sql(second, "select not pg_is_in_recovery()").ok().filter(|it| it == "t")
    });
    promoted.expect("the replica becomes the primary");
    has_rows(&nodes, second, 200);
    write(&nodes, second, 3);
    nodes.start_node(first).unwrap();
    assert_eq!(primary_and_replica(&nodes, Some(second)), second);
    has_rows(&nodes, first, 300);

    // A member that is lost costs nobody his place, and one that returns knows no token.
    let leader = leader(&cluster);
    let timeline = nodes.timeline(second).unwrap();
    cluster.kill(leader).unwrap();
    write(&nodes, second, 4);
    goes_on(&nodes, &[0, 1], second);
    cluster.restart(leader).unwrap();
    goes_on(&nodes, &[0, 1], second);
    assert_eq!(nodes.timeline(second), Some(timeline), "there was no other primary meanwhile");

    let (from, to) = (format!("p{second}"), format!("p{first}"));
    nodes.ctl(&["switchover", SCOPE, "--leader", &from, "--candidate", &to, "--force"]).unwrap();
    assert_eq!(primary_and_replica(&nodes, Some(first)), first);
    write(&nodes, first, 5);
    has_rows(&nodes, second, 500);
    holds_the_key(&cluster, &to);
    is_listed(&nodes, first);
}

/// Waits until one is the primary, this one if it is given, and the other one follows it closely;
/// as both of them see it.
fn primary_and_replica(nodes: &Nodes, which: Option<usize>) -> usize {
    let settled = e2e::until(PATIENCE, || {
        let seen = nodes.cluster(0)?;
        if nodes.cluster(1)? != seen {
            return None;
        }
        let find = |role: &str, state: &str| {
            let is = |(_, has, is): &(String, String, String)| has == role && is == state;
            seen.iter().find(|one| is(one)).map(|(name, _, _)| name.as_str())
        };
        let primary = match (find("leader", "running")?, find("sync_standby", "streaming")?) {
            ("p0", "p1") => 0,
            ("p1", "p0") => 1,
            _ => return None,
        };
        which.is_none_or(|which| which == primary).then_some(primary)
    });
    settled.unwrap_or_else(|| panic!("not settled: {:?} {:?}", nodes.cluster(0), nodes.cluster(1)))
}

/// Both go on hearing of the cluster's state for some rounds, in which the primary stays.
fn goes_on(nodes: &Nodes, who: &[usize], primary: usize) {
    const ROUNDS: u64 = 4;
    for at in who {
        let since = e2e::until(PATIENCE, || nodes.heard_at(*at)).expect("it tells");
        let heard = e2e::until(PATIENCE, || nodes.heard_at(*at).filter(|it| *it >= since + ROUNDS));
        heard.unwrap_or_else(|| panic!("p{at} has lost touch"));
    }
    assert_eq!(primary_and_replica(nodes, Some(primary)), primary);
}

/// A hundred rows of a round, which the primary acknowledges.
fn write(nodes: &Nodes, primary: usize, round: usize) {
    let (from, to) = (round * 100 - 99, round * 100);
    nodes.sql(primary, &format!("insert into t select generate_series({from}, {to})")).unwrap();
}

/// All rows are there that were acknowledged. A replica has them, and may be about to show them.
fn has_rows(nodes: &Nodes, at: usize, count: usize) {
    let count = count.to_string();
    let mut told = None;
    e2e::until(PATIENCE, || {
        told = Some(nodes.sql(at, "select count(*) from t"));
        told.iter().flatten().any(|it| *it == count).then_some(())
    })
    .unwrap_or_else(|| panic!("p{at} has {told:?} of {count}"));
}

/// Lets Patroni's user read and write its keys, and nobody do more without a name.
fn enable_auth(cluster: &Cluster) {
    for name in ["root", "patroni"] {
        let (name, password) = (name.to_owned(), "secret".to_owned());
        let add = AuthUserAddRequest { name, password, ..AuthUserAddRequest::default() };
        cluster.call(0, &add).unwrap();
    }
    let role = "keys of patroni".to_owned();
    cluster.call(0, &AuthRoleAddRequest { name: role.clone() }).unwrap();
    let (key, range_end) = (format!("/service/{SCOPE}/"), format!("/service/{SCOPE}0"));
    let perm = Permission { perm_type: 2, key: key.into(), range_end: range_end.into() };
    let grant = AuthRoleGrantPermissionRequest { name: role.clone(), perm: Some(perm) };
    cluster.call(0, &grant).unwrap();
    for (user, role) in [("root", "root"), ("patroni", &role)] {
        let grant = AuthUserGrantRoleRequest { user: user.into(), role: role.into() };
        cluster.call(0, &grant).unwrap();
    }
    cluster.call(0, &AuthEnableRequest {}).unwrap();
}

/// A new token of one of the users.
fn token(cluster: &Cluster, user: &str) -> String {
    let login = AuthenticateRequest { name: user.to_owned(), password: "secret".to_owned() };
    cluster.call(0, &login).unwrap().token
}

/// Which member leads, for who may ask.
fn leader(cluster: &Cluster) -> usize {
    let root = token(cluster, "root");
    let leads = |at: &usize| {
        let status = cluster.call_as(&root, *at, &StatusRequest {});
        status.is_ok_and(|it| it.header.is_some_and(|header| header.member_id == it.leader))
    };
    e2e::until(PATIENCE, || (0..cluster.size()).find(leads)).expect("one of them leads")
}

/// The primary's key names it, as long as a lease lasts.
fn holds_the_key(cluster: &Cluster, name: &str) {
    let token = token(cluster, "patroni");
    let key = format!("/service/{SCOPE}/leader");
    let request = RangeRequest { key: key.clone().into(), ..RangeRequest::default() };
    let reply = cluster.call_as(&token, 0, &request).unwrap();
    let kv = &reply.kvs[0];
    assert_eq!(kv.value, name.as_bytes());
    let request = LeaseTimeToLiveRequest { id: kv.lease, keys: true };
    let lease = cluster.call_as(&token, 0, &request).unwrap();
    assert!((1..=20).contains(&lease.ttl) && lease.granted_ttl == 20, "{lease:?}");
    assert!(lease.keys.iter().any(|one| *one == key.as_bytes()), "{lease:?}");
}

/// `patronictl list` says the same.
fn is_listed(nodes: &Nodes, primary: usize) {
    let listed = nodes.ctl(&["list", SCOPE, "--format", "json"]).unwrap();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let text = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
    let listed: Vec<_> = listed.as_array().unwrap().iter().collect();
    for at in 0..2 {
        let role =
            if at == primary { ("Leader", "running") } else { ("Sync Standby", "streaming") };
        let name = format!("p{at}");
        let one = listed.iter().find(|one| text(one, "Member") == name).expect("it is listed");
        assert_eq!((&*text(one, "Role"), &*text(one, "State")), role, "{listed:?}");
    }
}
