//! Random users, roles, permissions and requests, held against a reference that says in plain
//! words who may do what: of the permissions of all roles of a user, does one hold each place that
//! the request touches?
//!
//! The long form, a million decisions:
//! `PINTLE_ROUNDS=500 cargo test --release -p state --test it auth -- --nocapture`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use env::Random;
use proto::authpb::Permission;
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{self as pb, InternalRaftRequest, RequestOp, TxnRequest};
use state::{AuthInfo, LeaseId, Need, Rejected};

use crate::kit::Machine;

const DECISIONS_IN_ROUND: usize = 2000;
const READ: i32 = 0;
const WRITE: i32 = 1;
const BOTH: i32 = 2;

#[test]
fn who_may_do_what_is_what_the_reference_says() {
    let rounds = std::env::var("PINTLE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    let rounds: u64 = rounds.unwrap_or(3);
    let mut told = Told::default();
    for seed in 0..rounds {
        Round::new(seed).run(&mut told);
    }
    eprintln!("{told:?}");
    // A test that always hears the same shows nothing.
    let least = told.decisions / 50;
    assert!(told.permitted > least && told.denied > least && told.old > least / 10, "{told:?}");
    assert!(told.nobody > 0 && told.off > 0, "{told:?}");
}

/// How often the reference said what.
#[derive(Debug, Default)]
struct Told {
    decisions: usize,
    permitted: usize,
    denied: usize,
    old: usize,
    nobody: usize,
    off: usize,
}

/// Read, write or both; the key, and where the range ends.
type Permitted = (i32, Vec<u8>, Vec<u8>);

/// Users and roles as plain maps.
#[derive(Debug, Default)]
struct Reference {
    enabled: bool,
    revision: u64,
    users: BTreeMap<String, BTreeSet<String>>,
    roles: BTreeMap<String, Vec<Permitted>>,
}

type Verdict = Result<(), Rejected>;

impl Reference {
    fn is_root(&self, user: &str) -> bool {
        self.users.get(user).is_some_and(|roles| roles.contains("root"))
    }

    fn admin(&self, who: &AuthInfo) -> Verdict {
        let user: &str = &who.username;
        match () {
            () if !self.enabled => Ok(()),
            () if user.is_empty() => Err(Rejected::UserEmpty),
            () if !self.users.contains_key(user) => Err(Rejected::UserNotFound),
            () if self.is_root(user) => Ok(()),
            () => Err(Rejected::PermissionDenied),
        }
    }

    fn may(&self, who: &AuthInfo, wanted: i32, key: &[u8], end: &[u8]) -> Verdict {
        let user: &str = &who.username;
        match () {
            () if !self.enabled => Ok(()),
            () if who.revision == 0 => Err(Rejected::UserEmpty),
            () if who.revision < self.revision => Err(Rejected::AuthOldRevision),
            () if self.is_root(user) || self.holds_all(user, wanted, key, end) => Ok(()),
            () => Err(Rejected::PermissionDenied),
        }
    }

    /// Between two neighbouring ends of permissions all places are alike, so it is enough to look
    /// at the first of each stretch.
    fn holds_all(&self, user: &str, wanted: i32, key: &[u8], end: &[u8]) -> bool {
        let Some(roles) = self.users.get(user) else { return false };
        let permissions = roles.iter().filter_map(|role| self.roles.get(role)).flatten();
        let stretches: Vec<_> = permissions
            .filter(|(kind, ..)| *kind == wanted || *kind == BOTH)
            .map(|(_, key, end)| (key.clone(), end_of(key, end)))
            .collect();
        let holds = |place: &[u8]| {
            stretches.iter().any(|(from, to)| {
                from.as_slice() <= place && to.as_ref().is_none_or(|to| place < to.as_slice())
            })
        };
        let last = end_of(key, end);
        let firsts = stretches.iter().flat_map(|(from, to)| to.iter().chain([from]));
        let mut firsts = firsts.filter(|first| {
            first.as_slice() > key && last.as_ref().is_none_or(|last| *first < last)
        });
        holds(key) && firsts.all(|first| holds(first))
    }

    fn lease(&self, who: &AuthInfo, wanted: i32, keys: &[Bytes]) -> Verdict {
        if self.admin(who).is_ok() {
            return Ok(());
        }
        keys.iter().try_for_each(|key| self.may(who, wanted, key, b""))
    }
}

/// Where a range ends: `None` is nowhere.
fn end_of(key: &[u8], end: &[u8]) -> Option<Vec<u8>> {
    match end {
        [] => Some([key, &[0]].concat()),
        [0] => None,
        end => Some(end.to_vec()),
    }
}

struct Round {
    seed: u64,
    random: Random,
    machine: Machine,
    reference: Reference,
}

impl Round {
    fn new(seed: u64) -> Self {
        let mut round = Self {
            seed,
            random: Random::new(seed),
            machine: Machine::new(),
            reference: Reference { revision: 1, ..Reference::default() },
        };
        for id in 1..4 {
            let grant = pb::LeaseGrantRequest { ttl: 600, id };
            let grant = InternalRaftRequest { lease_grant: Some(grant), ..Default::default() };
            round.machine.outcome(&grant).expect("is new");
        }
        round.change(&user_add("root"));
        round.change(&grant_role("root", "root"));
        round
    }

    fn run(mut self, told: &mut Told) {
        for _ in 0..DECISIONS_IN_ROUND {
            match self.random.below(12) {
                0..3 => self.change_something(),
                3 => self.switch(),
                _ => {}
            }
            let who = self.caller();
            let (asked, expected, actual) = match self.random.chance(1, 2) {
                true => self.ask_at_the_door(&who),
                false => self.ask_the_log(&who),
            };
            assert_eq!(
                actual, expected,
                "seed {}: {who:?} asks for {asked}; {:?}",
                self.seed, self.reference
            );
            told.decisions += 1;
            match expected {
                Ok(()) if !self.reference.enabled => told.off += 1,
                Ok(()) => told.permitted += 1,
                Err(Rejected::AuthOldRevision) => told.old += 1,
                Err(Rejected::UserEmpty) => told.nobody += 1,
                Err(_) => told.denied += 1,
            }
        }
    }

    /// Mostly somebody of now.
    fn caller(&mut self) -> AuthInfo {
        let username = self.user().into();
        let now = self.reference.revision;
        let revision = match self.random.below(20) {
            0 => now - 1,
            1 => 0,
            2 => now + 1,
            _ => now,
        };
        AuthInfo { username, revision }
    }

    fn user(&mut self) -> String {
        ["root", "a", "b", "c", "b", "c", "x", ""][self.random.index(8)].to_owned()
    }

    fn role(&mut self) -> String {
        ["r", "s", "t", "root"][self.random.index(4)].to_owned()
    }

    /// Few places, so that permissions meet: `a` to `f`, and one right behind each.
    fn key(&mut self) -> Bytes {
        let mut key = vec![b'a' + self.random.below(6) as u8];
        if self.random.chance(1, 5) {
            key.push(0);
        }
        key.into()
    }

    fn range(&mut self) -> (Bytes, Bytes) {
        let key = self.key();
        let end = match self.random.below(10) {
            0..4 => Bytes::new(),
            4 => Bytes::from_static(&[0]),
            _ => [self.key(), self.key()].into_iter().max().unwrap_or_default(),
        };
        // An empty range is a matter of its own; see the unit tests.
        let end = if !end.is_empty() && end[0] != 0 && end <= key { Bytes::new() } else { end };
        (key, end)
    }

    fn change_something(&mut self) {
        let (user, role) = (self.user(), self.role());
        let (key, range_end) = self.range();
        let request =
            match self.random.below(14) {
                0..2 => user_add(&user),
                2 => InternalRaftRequest {
                    auth_user_delete: Some(Box::new(pb::AuthUserDeleteRequest { name: user })),
                    ..Default::default()
                },
                3..6 => grant_role(&user, &role),
                6 => InternalRaftRequest {
                    auth_user_revoke_role: Some(Box::new(pb::AuthUserRevokeRoleRequest {
                        name: user,
                        role,
                    })),
                    ..Default::default()
                },
                7..9 => InternalRaftRequest {
                    auth_role_add: Some(Box::new(pb::AuthRoleAddRequest { name: role })),
                    ..Default::default()
                },
                9 if self.random.chance(1, 3) => InternalRaftRequest {
                    auth_role_delete: Some(Box::new(pb::AuthRoleDeleteRequest { role })),
                    ..Default::default()
                },
                10 => InternalRaftRequest {
                    auth_role_revoke_permission: Some(Box::new(
                        pb::AuthRoleRevokePermissionRequest { role, key, range_end },
                    )),
                    ..Default::default()
                },
                _ => {
                    let perm_type = self.random.below(3) as i32;
                    let perm = Some(Permission { perm_type, key, range_end });
                    let grant = pb::AuthRoleGrantPermissionRequest { name: role, perm };
                    InternalRaftRequest {
                        auth_role_grant_permission: Some(Box::new(grant)),
                        ..Default::default()
                    }
                }
            };
        self.change(&request);
    }

    fn switch(&mut self) {
        if self.random.chance(1, 10) {
            self.change(&InternalRaftRequest {
                auth_disable: Some(Box::default()),
                ..Default::default()
            });
            return;
        }
        // `root` may have gone while it could.
        self.change(&user_add("root"));
        self.change(&grant_role("root", "root"));
        self.change(&InternalRaftRequest {
            auth_enable: Some(Box::default()),
            ..Default::default()
        });
    }

    /// Makes a change in both, as `root`; what is refused is refused for what it says.
    fn change(&mut self, request: &InternalRaftRequest) {
        let header = pb::RequestHeader {
            id: 1,
            username: "root".into(),
            auth_revision: self.reference.revision,
        };
        let request = InternalRaftRequest { header: Some(header), ..request.clone() };
        let done = self.machine.outcome(&request).is_ok();
        if done {
            self.reference.change(&request);
        }
        let auth = &self.machine.state.views().auth;
        assert_eq!(auth.is_enabled(), self.reference.enabled, "{request:?}");
        assert_eq!(auth.revision(), self.reference.revision, "{request:?}");
    }

    fn keys_of(&self, id: i64) -> Vec<Bytes> {
        self.machine.state.views().leases.keys(LeaseId(id)).unwrap_or_default()
    }

    fn ask_at_the_door(&mut self, who: &AuthInfo) -> (String, Verdict, Verdict) {
        let (key, range_end) = self.range();
        let id = self.random.below(5) as i64;
        let txn = self.txn(2);
        let reference = &self.reference;
        let (need, expected) = match self.random.below(8) {
            0 => (Need::Admin, reference.admin(who)),
            1..4 => {
                let read = Need::Read { key: &key, range_end: &range_end };
                (read, reference.may(who, READ, &key, &range_end))
            }
            4 => (Need::Txn(&txn), self.judge_txn(who, &txn)),
            5 => {
                let keys = self.keys_of(id);
                (Need::ReadKeysOf(LeaseId(id)), reference.lease(who, READ, &keys))
            }
            6 => {
                let keys = self.keys_of(id);
                (Need::WriteKeysOf(LeaseId(id)), reference.lease(who, WRITE, &keys))
            }
            _ => {
                let keys: Vec<_> = (1..5).flat_map(|id| self.keys_of(id)).collect();
                (Need::ReadKeysOfAll, reference.lease(who, READ, &keys))
            }
        };
        (format!("{need:?}"), expected, self.machine.state.views().permit(who, need))
    }

    fn ask_the_log(&mut self, who: &AuthInfo) -> (String, Verdict, Verdict) {
        let txn = self.txn(2);
        let header = pb::RequestHeader {
            id: 1,
            username: who.username.to_string(),
            auth_revision: who.revision,
        };
        let mut request = InternalRaftRequest { header: Some(header), ..Default::default() };
        let expected = match self.random.below(6) {
            0 => {
                let id = self.random.below(5) as i64;
                request.lease_revoke = Some(pb::LeaseRevokeRequest { id });
                self.reference.lease(who, WRITE, &self.keys_of(id))
            }
            1 => {
                let expected = self.judge_txn(who, &txn);
                request.txn = Some(txn);
                expected
            }
            _ => {
                let op = self.op(0);
                let expected = self.judge(who, &op);
                match op {
                    Request::RequestRange(range) => request.range = Some(Box::new(range)),
                    Request::RequestPut(put) => request.put = Some(put),
                    Request::RequestDeleteRange(delete) => request.delete_range = Some(delete),
                    Request::RequestTxn(txn) => request.txn = Some(txn),
                }
                expected
            }
        };
        let outcome = self.machine.outcome(&request).map(drop);
        // What was let through may be refused for another reason.
        let actual = match outcome {
            Err(Rejected::LeaseNotFound | Rejected::KeyNotFound) => Ok(()),
            outcome => outcome,
        };
        let asked = format!("{request:?}");
        if request.lease_revoke.is_some() && actual.is_ok() {
            self.lease_again();
        }
        (asked, expected, actual)
    }

    /// Leases that are gone come back, without keys.
    fn lease_again(&mut self) {
        for id in 1..4 {
            let grant = pb::LeaseGrantRequest { ttl: 600, id };
            let grant = InternalRaftRequest { lease_grant: Some(grant), ..Default::default() };
            drop(self.machine.outcome(&grant));
        }
    }

    fn op(&mut self, depth: usize) -> Request {
        let (key, range_end) = self.range();
        let prev_kv = self.random.chance(1, 4);
        match self.random.below(if depth > 0 { 7 } else { 6 }) {
            0..2 => {
                Request::RequestRange(pb::RangeRequest { key, range_end, ..Default::default() })
            }
            2..5 => {
                let lease = self.random.below(12) as i64;
                let lease = if lease < 4 { lease } else { 0 };
                Request::RequestPut(pb::PutRequest { key, lease, prev_kv, ..Default::default() })
            }
            5 => Request::RequestDeleteRange(pb::DeleteRangeRequest { key, range_end, prev_kv }),
            _ => Request::RequestTxn(self.txn(depth - 1)),
        }
    }

    /// Small, and mostly one that somebody may do.
    fn txn(&mut self, depth: usize) -> TxnRequest {
        let mut compare = Vec::new();
        if self.random.chance(1, 2) {
            let (key, range_end) = self.range();
            compare.push(pb::Compare { key, range_end, ..Default::default() });
        }
        let mut ops = || {
            let count = self.random.below(2);
            (0..count).map(|_| RequestOp { request: Some(self.op(depth)) }).collect()
        };
        let (success, failure) = (ops(), ops());
        TxnRequest { compare, success, failure }
    }

    fn judge_txn(&self, who: &AuthInfo, txn: &TxnRequest) -> Verdict {
        for compare in &txn.compare {
            self.reference.may(who, READ, &compare.key, &compare.range_end)?;
        }
        for op in txn.success.iter().chain(&txn.failure) {
            self.judge(who, op.request.as_ref().expect("each asks for something"))?;
        }
        Ok(())
    }

    fn judge(&self, who: &AuthInfo, op: &Request) -> Verdict {
        let may = |wanted, key: &Bytes, end: &Bytes| self.reference.may(who, wanted, key, end);
        match op {
            Request::RequestRange(range) => may(READ, &range.key, &range.range_end),
            Request::RequestPut(put) => {
                let single = Bytes::new();
                may(WRITE, &put.key, &single)?;
                self.reference.lease(who, WRITE, &self.keys_of(put.lease))?;
                if put.prev_kv { may(READ, &put.key, &single) } else { Ok(()) }
            }
            Request::RequestDeleteRange(delete) => {
                may(WRITE, &delete.key, &delete.range_end)?;
                if delete.prev_kv { may(READ, &delete.key, &delete.range_end) } else { Ok(()) }
            }
            Request::RequestTxn(txn) => self.judge_txn(who, txn),
        }
    }
}

impl Reference {
    fn change(&mut self, request: &InternalRaftRequest) {
        let before = (self.enabled, self.users.clone());
        if request.auth_enable.is_some() {
            self.enabled = true;
            return;
        } else if request.auth_disable.is_some() {
            self.enabled = false;
        } else if let Some(add) = &request.auth_user_add {
            self.users.insert(add.name.clone(), BTreeSet::new());
        } else if let Some(delete) = &request.auth_user_delete {
            self.users.remove(&delete.name);
        } else if let Some(grant) = &request.auth_user_grant_role {
            self.users.entry(grant.user.clone()).or_default().insert(grant.role.clone());
        } else if let Some(revoke) = &request.auth_user_revoke_role {
            self.users.entry(revoke.name.clone()).or_default().remove(&revoke.role);
        } else if let Some(add) = &request.auth_role_add {
            self.roles.insert(add.name.clone(), Vec::new());
        } else if let Some(delete) = &request.auth_role_delete {
            self.roles.remove(&delete.role);
            self.users.values_mut().for_each(|roles| roles.retain(|role| *role != delete.role));
        } else if let Some(grant) = &request.auth_role_grant_permission {
            self.grant(grant);
        } else if let Some(revoke) = &request.auth_role_revoke_permission {
            let permissions = self.roles.entry(revoke.role.clone()).or_default();
            permissions.retain(|(_, key, end)| *key != revoke.key || *end != revoke.range_end);
        }
        // What was so before is no change.
        let is_grant = request.auth_user_grant_role.is_some();
        let is_switch = request.auth_disable.is_some();
        let same = (self.enabled, self.users.clone()) == before;
        if !(same && (is_grant || is_switch)) {
            self.revision += 1;
        }
    }

    /// etcd looks only at the first permission that begins at this key.
    fn grant(&mut self, grant: &pb::AuthRoleGrantPermissionRequest) {
        let permission = grant.perm.as_ref().expect("there is one");
        let permissions = self.roles.entry(grant.name.clone()).or_default();
        let first = permissions.iter_mut().find(|(_, key, _)| *key == permission.key);
        match first {
            Some((kind, _, end)) if *end == permission.range_end => *kind = permission.perm_type,
            _ => {
                let (key, end) = (permission.key.to_vec(), permission.range_end.to_vec());
                permissions.push((permission.perm_type, key, end));
                permissions.sort_by(|one, other| one.1.cmp(&other.1));
            }
        }
    }
}

fn user_add(name: &str) -> InternalRaftRequest {
    let add = pb::AuthUserAddRequest { name: name.to_owned(), ..Default::default() };
    InternalRaftRequest { auth_user_add: Some(Box::new(add)), ..Default::default() }
}

fn grant_role(user: &str, role: &str) -> InternalRaftRequest {
    let grant = pb::AuthUserGrantRoleRequest { user: user.to_owned(), role: role.to_owned() };
    InternalRaftRequest { auth_user_grant_role: Some(Box::new(grant)), ..Default::default() }
}
