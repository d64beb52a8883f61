//! Every call of the table, by callers of every kind, on a member with auth on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use env::{RealClock, SimDisk};
use proto::Message;
use proto::authpb::{Permission, UserAddOptions};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request as Op;
use proto::v3electionpb::{
    CampaignRequest, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest,
};
use proto::v3lockpb::{LockRequest, UnlockRequest};

use super::{Auth, TokenOptions};
use crate::rpc::{BoxFuture, Caller, Credentials, Kind, Replies, Requests};
use crate::service::{Keepalive, Limits, Services};
use crate::status::{Code, Status};
use crate::{Access, error};

const KV: &str = "/etcdserverpb.KV/";
const LEASE: &str = "/etcdserverpb.Lease/";
const AUTH: &str = "/etcdserverpb.Auth/";

/// A member of its own, with `root` and `u` (password `p`), who may read and write `a..c`.
struct World {
    services: Arc<Services>,
    running: node::Running,
}

impl World {
    async fn new() -> Self {
        let world =
            node::World { disk: Arc::new(SimDisk::new(1)), clock: Arc::new(RealClock::new()) };
        let running = node::Running::start(world, crate::grpc::test_options());
        let running = running.expect("an empty disk is fit to start on");
        running.publish().await.expect("it is alone");
        let limits = Limits {
            request_bytes: 1 << 20,
            txn_ops: 128,
            concurrent_streams: u32::MAX,
            watch_progress_interval: Duration::from_secs(600),
            warning_unary_duration: Duration::from_secs(600),
            extensive_metrics: false,
            stop_serving_on_defrag: false,
            go_metrics: false,
            pprof: false,
            keepalive: Keepalive::default(),
        };
        let auth = Auth::new(TokenOptions::Simple, 4, true).expect("there is nothing to read");
        let node = running.node().clone();
        let services = Services::new(node, limits, Access::default(), auth);
        Self { services, running }
    }

    async fn with_users() -> Self {
        let world = Self::new().await;
        let nobody = Caller::default();
        for name in ["root", "u"] {
            let add = pb::AuthUserAddRequest {
                name: name.into(),
                password: "p".into(),
                ..Default::default()
            };
            world.call(&nobody, AUTH, "UserAdd", &add).await.expect("is new");
        }
        let grant = |user: &str, role: &str| pb::AuthUserGrantRoleRequest {
            user: user.into(),
            role: role.into(),
        };
        world.call(&nobody, AUTH, "UserGrantRole", &grant("root", "root")).await.expect("valid");
        let add = pb::AuthRoleAddRequest { name: "r".into() };
        world.call(&nobody, AUTH, "RoleAdd", &add).await.expect("is new");
        world.call(&nobody, AUTH, "RoleGrantPermission", &permission("a", "c")).await.expect("ok");
        world.call(&nobody, AUTH, "UserGrantRole", &grant("u", "r")).await.expect("both are there");
        let enable = pb::AuthEnableRequest {};
        world.call(&nobody, AUTH, "AuthEnable", &enable).await.expect("root is there");
        world
    }

    async fn ask(&self, caller: &Caller, path: &str, message: Bytes) -> Result<Bytes, Status> {
        let rpc = self.services.table.find(path).unwrap_or_else(|| panic!("{path} is no row"));
        let (services, caller) = (Arc::clone(&self.services), caller.clone());
        match rpc.kind {
            Kind::Unary(handler) => handler(services, caller, message).await,
            Kind::ServerStream(handler) | Kind::Bidi(handler) => {
                let (requests, sent) = (Once(Some(message)), Sent::default());
                let replies = Box::new(sent.clone());
                let outcome: BoxFuture<_> = handler(services, caller, Box::new(requests), replies);
                outcome.await?;
                let sent = sent.0.lock().expect("not poisoned");
                Ok(sent.first().cloned().unwrap_or_default())
            }
        }
    }

    async fn call(
        &self,
        caller: &Caller,
        service: &str,
        method: &str,
        request: &impl Message,
    ) -> Result<Bytes, Status> {
        self.ask(caller, &format!("{service}{method}"), request.encode_to_vec().into()).await
    }

    async fn authenticate(&self, name: &str, password: &str) -> Result<String, Status> {
        let request = pb::AuthenticateRequest { name: name.into(), password: password.into() };
        let reply = self.call(&Caller::default(), AUTH, "Authenticate", &request).await?;
        Ok(pb::AuthenticateResponse::decode(reply).expect("its own bytes").token)
    }

    /// A caller with a token of this user.
    async fn login(&self, name: &str) -> Caller {
        with_token(&self.authenticate(name, "p").await.expect("this is the password"))
    }

    fn stop(self) {
        drop(self.services);
        self.running.stop().expect("nothing stands in the way");
    }
}

/// One request, and then the client has closed its half.
struct Once(Option<Bytes>);

impl Requests for Once {
    fn poll_next(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Bytes, Status>>> {
        std::task::Poll::Ready(self.0.take().map(Ok))
    }
}

/// Takes one message; then the client is gone.
#[derive(Clone, Default)]
struct Sent(Arc<std::sync::Mutex<Vec<Bytes>>>);

impl Replies for Sent {
    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Status>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn send(&mut self, message: Bytes) -> Result<(), Status> {
        self.0.lock().expect("not poisoned").push(message);
        Ok(())
    }
}

fn with_token(token: &str) -> Caller {
    let token = Some(Bytes::copy_from_slice(token.as_bytes()));
    Caller { credentials: Credentials { token, ..Credentials::default() }, ..Caller::default() }
}

fn with_name(name: &str) -> Caller {
    let common_name = Some(name.into());
    let credentials = Credentials { common_name, ..Credentials::default() };
    Caller { credentials, ..Caller::default() }
}

fn permission(key: &'static str, range_end: &'static str) -> pb::AuthRoleGrantPermissionRequest {
    let perm = Permission { perm_type: 2, key: key.into(), range_end: range_end.into() };
    pb::AuthRoleGrantPermissionRequest { name: "r".into(), perm: Some(perm) }
}

fn put(key: &'static str, lease: i64) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: "v".into(), lease, ..Default::default() }
}

fn get(key: &'static str, range_end: &'static str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.into(), range_end: range_end.into(), ..Default::default() }
}

fn encoded(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

/// All calls, each with a request that says enough to get as far as who asks.
fn all_calls() -> Vec<(&'static str, Bytes)> {
    let none = Bytes::new;
    let url = vec!["http://127.0.0.1:1".to_owned()];
    let add = pb::MemberAddRequest { peer_urls: url, ..Default::default() };
    let lease_keys = pb::LeaseTimeToLiveRequest { id: 9, keys: true };
    let campaign = CampaignRequest { name: "z".into(), lease: 0, value: none() };
    let leader = Some(LeaderKey { name: "z".into(), key: "z".into(), rev: 1, lease: 1 });
    let proclaim = ProclaimRequest { leader: leader.clone(), value: none() };
    vec![
        ("etcdserverpb.KV/Range", encoded(&get("z", ""))),
        ("etcdserverpb.KV/RangeStream", encoded(&get("z", ""))),
        ("etcdserverpb.KV/Put", encoded(&put("z", 0))),
        ("etcdserverpb.KV/DeleteRange", encoded(&get("z", ""))),
        ("etcdserverpb.KV/Txn", encoded(&txn_of(Op::RequestPut(put("z", 0))))),
        ("etcdserverpb.KV/Compact", none()),
        ("etcdserverpb.Lease/LeaseGrant", none()),
        ("etcdserverpb.Lease/LeaseRevoke", none()),
        ("etcdserverpb.Lease/LeaseKeepAlive", none()),
        ("etcdserverpb.Lease/LeaseTimeToLive", encoded(&lease_keys)),
        ("etcdserverpb.Lease/LeaseLeases", none()),
        ("etcdserverpb.Cluster/MemberAdd", encoded(&add)),
        ("etcdserverpb.Cluster/MemberRemove", none()),
        ("etcdserverpb.Cluster/MemberUpdate", none()),
        ("etcdserverpb.Cluster/MemberList", none()),
        ("etcdserverpb.Cluster/MemberPromote", none()),
        ("etcdserverpb.Maintenance/Alarm", none()),
        ("etcdserverpb.Maintenance/Status", none()),
        ("etcdserverpb.Maintenance/Defragment", none()),
        ("etcdserverpb.Maintenance/Hash", none()),
        ("etcdserverpb.Maintenance/HashKV", none()),
        ("etcdserverpb.Maintenance/Snapshot", none()),
        ("etcdserverpb.Maintenance/MoveLeader", none()),
        ("etcdserverpb.Maintenance/Downgrade", none()),
        ("etcdserverpb.Auth/AuthEnable", none()),
        ("etcdserverpb.Auth/AuthDisable", none()),
        ("etcdserverpb.Auth/UserAdd", none()),
        ("etcdserverpb.Auth/UserGet", encoded(&pb::AuthUserGetRequest { name: "root".into() })),
        ("etcdserverpb.Auth/UserList", none()),
        ("etcdserverpb.Auth/UserDelete", none()),
        ("etcdserverpb.Auth/UserChangePassword", none()),
        ("etcdserverpb.Auth/UserGrantRole", none()),
        ("etcdserverpb.Auth/UserRevokeRole", none()),
        ("etcdserverpb.Auth/RoleAdd", none()),
        ("etcdserverpb.Auth/RoleGet", encoded(&pb::AuthRoleGetRequest { role: "root".into() })),
        ("etcdserverpb.Auth/RoleList", none()),
        ("etcdserverpb.Auth/RoleDelete", none()),
        ("etcdserverpb.Auth/RoleGrantPermission", none()),
        ("etcdserverpb.Auth/RoleRevokePermission", none()),
        ("v3lockpb.Lock/Lock", encoded(&LockRequest { name: "z".into(), lease: 0 })),
        ("v3lockpb.Lock/Unlock", encoded(&UnlockRequest { key: "z".into() })),
        ("v3electionpb.Election/Campaign", encoded(&campaign)),
        ("v3electionpb.Election/Proclaim", encoded(&proclaim)),
        ("v3electionpb.Election/Leader", encoded(&LeaderRequest { name: "z".into() })),
        ("v3electionpb.Election/Resign", encoded(&ResignRequest { leader })),
    ]
}

/// What is asked without a word about who asks; of streams, their handlers ask.
const FREE: [&str; 7] = [
    "etcdserverpb.Auth/AuthStatus",
    "etcdserverpb.Auth/Authenticate",
    "etcdserverpb.Watch/Watch",
    "v3electionpb.Election/Observe",
    "grpc.health.v1.Health/Check",
    "grpc.health.v1.Health/List",
    "grpc.health.v1.Health/Watch",
];

/// What any user may do, whatever its roles.
const FOR_USERS: [&str; 8] = [
    "etcdserverpb.Lease/LeaseGrant",
    "etcdserverpb.Lease/LeaseRevoke",
    "etcdserverpb.Lease/LeaseKeepAlive",
    "etcdserverpb.Lease/LeaseTimeToLive",
    "etcdserverpb.Lease/LeaseLeases",
    "etcdserverpb.Cluster/MemberList",
    "etcdserverpb.Maintenance/Alarm",
    "etcdserverpb.Maintenance/Status",
];

fn txn_of(op: Op) -> pb::TxnRequest {
    let failure = vec![pb::RequestOp { request: Some(op) }];
    pb::TxnRequest { failure, ..Default::default() }
}

fn is_of_auth(status: &Status) -> bool {
    *status == error::USER_EMPTY
        || *status == error::PERMISSION_DENIED
        || *status == error::INVALID_AUTH_TOKEN
}

#[tokio::test]
async fn every_call_of_the_table_asks_who_calls() {
    let world = World::with_users().await;
    let calls = all_calls();
    for path in world.services.table.paths() {
        let name = path.trim_start_matches('/');
        let known = FREE.contains(&name) || calls.iter().any(|(call, _)| *call == name);
        assert!(known, "{path}: say here what it asks of its caller");
    }
    let u = world.login("u").await;
    for (name, request) in calls {
        let path = format!("/{name}");
        let by = async |caller: &Caller| world.ask(caller, &path, request.clone()).await;
        // What Lock and Election are refused they tell by its text alone.
        let told = |status: Status| match name.starts_with("v3") {
            true => Err(Status { code: Code::Unknown, ..status }),
            false => Err(status),
        };
        assert_eq!(by(&Caller::default()).await, told(error::USER_EMPTY), "{name}: nobody");
        let wrong = with_token("abcdefghijklmnop.1");
        let refused = told(error::INVALID_AUTH_TOKEN);
        assert_eq!(by(&wrong).await, refused, "{name}: a wrong token");
        let outcome = by(&u).await;
        match FOR_USERS.contains(&name) {
            true => assert!(!outcome.is_err_and(|status| is_of_auth(&status)), "{name}: a user"),
            false => assert_eq!(outcome, told(error::PERMISSION_DENIED), "{name}: a user"),
        }
    }
    world.stop();
}

#[tokio::test]
async fn passwords_open_and_wrong_ones_do_not() {
    let world = World::with_users().await;
    assert_eq!(world.authenticate("u", "x").await, Err(error::AUTH_FAILED));
    assert_eq!(world.authenticate("nobody", "p").await, Err(error::AUTH_FAILED));
    let root = world.login("root").await;
    let none = pb::AuthUserAddRequest {
        name: "none".into(),
        password: "p".into(),
        options: Some(UserAddOptions { no_password: true }),
        ..Default::default()
    };
    world.call(&root, AUTH, "UserAdd", &none).await.expect("root may");
    assert_eq!(world.authenticate("none", "p").await, Err(error::NO_PASSWORD_USER));
    let change = pb::AuthUserChangePasswordRequest {
        name: "u".into(),
        password: "other".into(),
        ..Default::default()
    };
    let u = world.login("u").await;
    world.call(&root, AUTH, "UserChangePassword", &change).await.expect("root may");
    // What was known to be right a moment ago is not right any more.
    assert_eq!(world.authenticate("u", "p").await, Err(error::AUTH_FAILED));
    assert!(world.authenticate("u", "other").await.is_ok());
    let outcome = world.call(&u, KV, "Range", &get("a", "")).await;
    assert_eq!(outcome, Err(error::INVALID_AUTH_TOKEN), "its token went with the password");
    let disable = pb::AuthDisableRequest {};
    world.call(&root, AUTH, "AuthDisable", &disable).await.expect("root may");
    assert_eq!(world.authenticate("u", "other").await, Err(error::AUTH_NOT_ENABLED));
    // Tokens do not matter now, right or wrong.
    world.call(&u, KV, "Range", &get("z", "")).await.expect("auth is off");
    world.stop();
}

#[tokio::test]
async fn a_permission_that_was_taken_away_is_gone_for_the_next_read() {
    let world = World::with_users().await;
    let (root, u) = (world.login("root").await, world.login("u").await);
    let read_only = txn_of(Op::RequestRange(get("a", "c")));
    world.call(&u, KV, "Put", &put("a", 0)).await.expect("u may write");
    world.call(&u, KV, "Range", &get("a", "c")).await.expect("u may read");
    world.call(&u, KV, "Txn", &read_only).await.expect("u may read");
    let revoke = pb::AuthRoleRevokePermissionRequest {
        role: "r".into(),
        key: "a".into(),
        range_end: "c".into(),
    };
    world.call(&root, AUTH, "RoleRevokePermission", &revoke).await.expect("root may");
    let denied = Err(error::PERMISSION_DENIED);
    assert_eq!(world.call(&u, KV, "Range", &get("a", "c")).await, denied);
    assert_eq!(world.call(&u, KV, "RangeStream", &get("a", "c")).await, denied);
    assert_eq!(world.call(&u, KV, "Txn", &read_only).await, denied);
    assert_eq!(world.call(&u, KV, "Put", &put("a", 0)).await, denied);
    let stale = pb::RangeRequest { serializable: true, ..get("a", "c") };
    assert_eq!(world.call(&u, KV, "Range", &stale).await, denied);
    world.stop();
}

#[tokio::test]
async fn leases_are_for_those_who_may_touch_their_keys() {
    let world = World::with_users().await;
    let (root, u) = (world.login("root").await, world.login("u").await);
    let grant = |id| pb::LeaseGrantRequest { ttl: 600, id };
    for id in [1, 2] {
        world.call(&u, LEASE, "LeaseGrant", &grant(id)).await.expect("users may");
    }
    world.call(&u, KV, "Put", &put("a", 1)).await.expect("u may write");
    world.call(&root, KV, "Put", &put("z", 2)).await.expect("root may write");
    let denied = Err(error::PERMISSION_DENIED);
    assert_eq!(world.call(&u, KV, "Put", &put("a", 2)).await, denied);
    let ttl = |id, keys| pb::LeaseTimeToLiveRequest { id, keys };
    world.call(&u, LEASE, "LeaseTimeToLive", &ttl(1, true)).await.expect("u may read a");
    world.call(&u, LEASE, "LeaseTimeToLive", &ttl(2, false)).await.expect("no keys are told");
    assert_eq!(world.call(&u, LEASE, "LeaseTimeToLive", &ttl(2, true)).await, denied);
    assert_eq!(world.call(&u, LEASE, "LeaseLeases", &pb::LeaseLeasesRequest {}).await, denied);
    let renew = |id| pb::LeaseKeepAliveRequest { id };
    world.call(&u, LEASE, "LeaseKeepAlive", &renew(1)).await.expect("u may write a");
    assert_eq!(world.call(&u, LEASE, "LeaseKeepAlive", &renew(2)).await, denied);
    world.call(&root, LEASE, "LeaseKeepAlive", &renew(2)).await.expect("root may");
    let revoke = |id| pb::LeaseRevokeRequest { id };
    assert_eq!(world.call(&u, LEASE, "LeaseRevoke", &revoke(2)).await, denied);
    world.call(&u, LEASE, "LeaseRevoke", &revoke(1)).await.expect("u may write a");
    world.stop();
}

#[tokio::test]
async fn tokens_and_names_are_read_as_etcd_reads_them() {
    let world = World::with_users().await;
    let token = world.authenticate("u", "p").await.expect("this is the password");
    let ask = async |credentials: Credentials| {
        let caller = Caller { credentials, ..Caller::default() };
        world.call(&caller, KV, "Range", &get("a", "")).await.map(drop)
    };
    let bytes = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
    let own = || Credentials { token: bytes(&token), ..Credentials::default() };
    assert_eq!(ask(own()).await, Ok(()));
    let bearer = bytes(&format!("Bearer {token}"));
    assert_eq!(ask(Credentials { token: bearer.clone(), ..own() }).await, Ok(()));
    let header = Credentials { token: None, authorization: bearer.clone(), ..own() };
    assert_eq!(ask(header).await, Ok(()));
    let invalid = Err(error::INVALID_AUTH_TOKEN);
    let both = Credentials { token: bytes("x"), authorization: bearer, ..own() };
    assert_eq!(ask(both).await, invalid, "a token is looked at first");
    for wrong in ["", "x", "x.y", "x.1.2", "Bearer", "a.18446744073709551616"] {
        assert_eq!(ask(Credentials { token: bytes(wrong), ..own() }).await, invalid, "{wrong}");
    }
    let u = with_name("u");
    world.call(&u, KV, "Range", &get("a", "")).await.expect("its certificate says so");
    let gateway = Credentials { by_gateway: true, ..u.credentials.clone() };
    assert_eq!(ask(gateway).await, Err(error::USER_EMPTY), "the certificate is the gateway's");
    let both = Credentials { token: bytes("x"), ..u.credentials };
    assert_eq!(ask(both).await, invalid, "a token counts before a certificate");
    let denied = world.call(&with_name("x"), KV, "Range", &get("a", "")).await;
    assert_eq!(denied, Err(error::PERMISSION_DENIED));
    world.stop();
}

#[tokio::test]
async fn a_watcher_that_may_not_read_is_cancelled_when_it_is_created() {
    let world = World::with_users().await;
    let u = world.login("u").await;
    let create = |range_end: &'static str| pb::WatchRequest {
        request_union: Some(pb::watch_request::RequestUnion::CreateRequest(
            pb::WatchCreateRequest {
                key: "b".into(),
                range_end: range_end.into(),
                ..Default::default()
            },
        )),
    };
    let ask = async |caller: &Caller, range_end| {
        let rpc = world.services.table.find("/etcdserverpb.Watch/Watch").expect("it is there");
        let Kind::Bidi(handler) = rpc.kind else { panic!("watches go both ways") };
        let sent = Sent::default();
        let requests = Once(Some(encoded(&create(range_end))));
        let services = Arc::clone(&world.services);
        let mut call =
            handler(services, caller.clone(), Box::new(requests), Box::new(sent.clone()));
        // It goes on until the client ends it.
        let first = std::future::poll_fn(|cx| {
            let _ = call.as_mut().poll(cx);
            let mut sent = sent.0.lock().expect("not poisoned");
            match sent.pop() {
                Some(first) => std::task::Poll::Ready(first),
                None => std::task::Poll::Pending,
            }
        });
        let response = pb::WatchResponse::decode(first.await).expect("its own bytes");
        (response.watch_id, response.canceled, response.cancel_reason)
    };
    assert_eq!(ask(&u, "c").await, (0, false, String::new()));
    let refused = |code: &str, text: &str| {
        (-1, true, format!("rpc error: code = {code} desc = etcdserver: {text}"))
    };
    let denied = refused("PermissionDenied", "permission denied");
    assert_eq!(ask(&u, "d").await, denied);
    assert_eq!(ask(&u, "\0").await, denied);
    let nobody = ask(&Caller::default(), "c").await;
    assert_eq!(nobody, refused("InvalidArgument", "user name is empty"));
    let wrong = ask(&with_token("x"), "c").await;
    assert_eq!(wrong, refused("Unauthenticated", "invalid auth token"));
    world.stop();
}
