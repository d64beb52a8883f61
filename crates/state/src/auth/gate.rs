//! What a caller needs for a request. The same checks decide at apply and, for reads, at the
//! door; at apply they are part of the replicated outcome.

use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{
    DeleteRangeRequest, InternalRaftRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};

use super::permissions::Access;
use super::store::{AuthStore, Caller};
use crate::lease::LeaseTable;
use crate::{LeaseId, Rejected};

/// What a call asks of its caller, where the answer does not lie in the log.
#[derive(Debug, Clone, Copy)]
pub enum Need<'a> {
    /// The role `root`.
    Admin,
    /// To read a range.
    Read {
        /// Its first key.
        key: &'a [u8],
        /// Its end, as in a request.
        range_end: &'a [u8],
    },
    /// To do all that the transaction might do.
    Txn(&'a TxnRequest),
    /// To read all keys that hang on a lease.
    ReadKeysOf(LeaseId),
    /// To read all keys that hang on any lease.
    ReadKeysOfAll,
    /// To write all keys that hang on a lease.
    WriteKeysOf(LeaseId),
}

/// The checks of one request, for one caller.
pub(crate) struct Gate<'a> {
    pub(crate) auth: &'a AuthStore,
    pub(crate) leases: &'a LeaseTable,
    pub(crate) caller: Caller<'a>,
}

impl Gate<'_> {
    /// Whether the caller has what a call needs.
    pub(crate) fn permits(&self, need: Need<'_>) -> Result<(), Rejected> {
        if !self.auth.is_enabled() {
            return Ok(());
        }
        let access = Access::Read;
        match need {
            Need::Admin => self.auth.check_admin(self.caller),
            Need::Read { key, range_end } => {
                self.auth.check_range(self.caller, access, key, range_end)
            }
            Need::Txn(txn) => self.txn(txn),
            Need::ReadKeysOf(id) => self.lease_keys(id, access),
            Need::ReadKeysOfAll => {
                let mut leases = self.leases.leases();
                leases.try_for_each(|lease| self.lease_keys(lease.id, access))
            }
            Need::WriteKeysOf(id) => self.lease_keys(id, Access::Write),
        }
    }

    /// Whether the request may do what it is about to do.
    pub(crate) fn check(&self, request: &InternalRaftRequest) -> Result<(), Rejected> {
        if !self.auth.is_enabled() {
            return Ok(());
        }
        if needs_admin(request) {
            return self.auth.check_admin(self.caller);
        }
        if let Some(range) = &request.range {
            self.range(range)
        } else if let Some(put) = &request.put {
            self.put(put)
        } else if let Some(delete) = &request.delete_range {
            // READ before WRITE inside a txn, the other way round outside: both are needed, the
            // refusal reads the same.
            self.delete_range(delete)
        } else if let Some(txn) = &request.txn {
            self.txn(txn)
        } else if let Some(revoke) = &request.lease_revoke {
            self.lease_keys(LeaseId(revoke.id), Access::Write)
        } else if let Some(get) = &request.auth_user_get {
            self.own_or_admin(get.name == self.caller.username)
        } else if let Some(get) = &request.auth_role_get {
            self.own_or_admin(self.auth.user_has_role(self.caller.username, &get.role))
        } else {
            Ok(())
        }
    }

    fn own_or_admin(&self, own: bool) -> Result<(), Rejected> {
        self.auth.check_admin(self.caller).or_else(|denied| if own { Ok(()) } else { Err(denied) })
    }

    fn range(&self, range: &RangeRequest) -> Result<(), Rejected> {
        self.auth.check_range(self.caller, Access::Read, &range.key, &range.range_end)
    }

    fn put(&self, put: &PutRequest) -> Result<(), Rejected> {
        self.auth.check_range(self.caller, Access::Write, &put.key, &[])?;
        // Who cannot write all keys of a lease could not revoke it; then nothing of theirs may
        // hang on it either.
        self.lease_keys(LeaseId(put.lease), Access::Write)?;
        if put.prev_kv {
            self.auth.check_range(self.caller, Access::Read, &put.key, &[])?;
        }
        Ok(())
    }

    fn delete_range(&self, delete: &DeleteRangeRequest) -> Result<(), Rejected> {
        let (key, range_end) = (&delete.key, &delete.range_end);
        self.auth.check_range(self.caller, Access::Write, key, range_end)?;
        if delete.prev_kv {
            self.auth.check_range(self.caller, Access::Read, key, range_end)?;
        }
        Ok(())
    }

    /// Everything a txn might do: all compares, and all of both branches.
    fn txn(&self, txn: &TxnRequest) -> Result<(), Rejected> {
        for compare in &txn.compare {
            self.auth.check_range(self.caller, Access::Read, &compare.key, &compare.range_end)?;
        }
        txn.success.iter().chain(&txn.failure).try_for_each(|op| self.op(op))
    }

    fn op(&self, op: &RequestOp) -> Result<(), Rejected> {
        match &op.request {
            Some(Request::RequestRange(range)) => self.range(range),
            Some(Request::RequestPut(put)) => self.put(put),
            Some(Request::RequestDeleteRange(delete)) => self.delete_range(delete),
            Some(Request::RequestTxn(txn)) => self.txn(txn),
            None => Ok(()),
        }
    }

    fn lease_keys(&self, id: LeaseId, access: Access) -> Result<(), Rejected> {
        if id.is_none() || self.auth.check_admin(self.caller).is_ok() {
            return Ok(());
        }
        let mut keys = self.leases.keys_of(id);
        keys.try_for_each(|key| self.auth.check_range(self.caller, access, key, &[]))
    }
}

fn needs_admin(request: &InternalRaftRequest) -> bool {
    request.auth_enable.is_some()
        || request.auth_disable.is_some()
        || request.auth_user_add.is_some()
        || request.auth_user_delete.is_some()
        || request.auth_user_change_password.is_some()
        || request.auth_user_grant_role.is_some()
        || request.auth_user_revoke_role.is_some()
        || request.auth_user_list.is_some()
        || request.auth_role_add.is_some()
        || request.auth_role_delete.is_some()
        || request.auth_role_grant_permission.is_some()
        || request.auth_role_revoke_permission.is_some()
        || request.auth_role_list.is_some()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proto::authpb::Permission;
    use proto::authpb::permission::Type;
    use proto::etcdserverpb as pb;

    use super::*;
    use crate::lease::Lease;

    /// `u` may write `a..c` and read `b..d`; lease 1 holds `a`, lease 2 holds `a` and `z`.
    fn world() -> (AuthStore, LeaseTable) {
        let mut auth = AuthStore::default();
        for name in ["root", "u"] {
            let add = pb::AuthUserAddRequest { name: name.into(), ..Default::default() };
            auth.user_add(&add, crate::auth::Salt([0; 16])).expect("new");
        }
        auth.user_grant_role("root", "root").expect("always there");
        auth.role_add("r").expect("new");
        auth.user_grant_role("u", "r").expect("both are there");
        for (kind, key, end) in [(Type::Write, "a", "c"), (Type::Read, "b", "d")] {
            let permission = Permission {
                perm_type: kind as i32,
                key: Bytes::from(key),
                range_end: Bytes::from(end),
            };
            auth.role_grant_permission("r", Some(&permission)).expect("valid");
        }
        auth.enable().expect("root is there");
        let mut leases = LeaseTable::default();
        for id in [1, 2] {
            leases.insert(Lease { id: LeaseId(id), ttl: 10, remaining_ttl: 0 });
        }
        leases.attach(b"a", LeaseId(1));
        leases.attach(b"z", LeaseId(2));
        (auth, leases)
    }

    fn check(username: &str, request: &InternalRaftRequest) -> Result<(), Rejected> {
        let (auth, leases) = world();
        let caller = Caller { username, revision: auth.revision() };
        Gate { auth: &auth, leases: &leases, caller }.check(request)
    }

    fn put(key: &'static str, lease: i64, prev_kv: bool) -> PutRequest {
        PutRequest { key: Bytes::from(key), lease, prev_kv, ..PutRequest::default() }
    }

    fn put_request(key: &'static str, lease: i64, prev_kv: bool) -> InternalRaftRequest {
        InternalRaftRequest { put: Some(put(key, lease, prev_kv)), ..Default::default() }
    }

    #[test]
    fn a_put_needs_write_and_with_prev_kv_read() {
        assert_eq!(check("u", &put_request("a", 0, false)), Ok(()));
        assert_eq!(check("u", &put_request("c", 0, false)), Err(Rejected::PermissionDenied));
        assert_eq!(check("u", &put_request("a", 0, true)), Err(Rejected::PermissionDenied));
        assert_eq!(check("u", &put_request("b", 0, true)), Ok(()));
        assert_eq!(check("", &put_request("a", 0, false)), Err(Rejected::PermissionDenied));
    }

    #[test]
    fn a_lease_needs_write_on_all_its_keys() {
        let revoke = |id| InternalRaftRequest {
            lease_revoke: Some(pb::LeaseRevokeRequest { id }),
            ..Default::default()
        };
        assert_eq!(check("u", &put_request("a", 1, false)), Ok(()));
        assert_eq!(check("u", &put_request("a", 2, false)), Err(Rejected::PermissionDenied));
        assert_eq!(check("u", &revoke(1)), Ok(()));
        assert_eq!(check("u", &revoke(2)), Err(Rejected::PermissionDenied));
        assert_eq!(check("u", &revoke(9)), Ok(()));
        assert_eq!(check("root", &revoke(2)), Ok(()));
    }

    #[test]
    fn a_txn_needs_all_that_it_might_do() {
        let nested = TxnRequest {
            failure: vec![RequestOp { request: Some(Request::RequestPut(put("z", 0, false))) }],
            ..TxnRequest::default()
        };
        let txn = |compare: &'static str, op: Request| InternalRaftRequest {
            txn: Some(TxnRequest {
                compare: vec![pb::Compare { key: Bytes::from(compare), ..Default::default() }],
                failure: vec![RequestOp { request: Some(op) }, RequestOp { request: None }],
                ..TxnRequest::default()
            }),
            ..Default::default()
        };
        assert_eq!(check("u", &txn("b", Request::RequestPut(put("a", 0, false)))), Ok(()));
        let denied = Err(Rejected::PermissionDenied);
        assert_eq!(check("u", &txn("a", Request::RequestPut(put("a", 0, false)))), denied);
        assert_eq!(check("u", &txn("b", Request::RequestTxn(nested))), denied);
    }

    #[test]
    fn own_records_may_be_read_by_everybody() {
        let user = |name: &str| InternalRaftRequest {
            auth_user_get: Some(Box::new(pb::AuthUserGetRequest { name: name.into() })),
            ..Default::default()
        };
        let role = |role: &str| InternalRaftRequest {
            auth_role_get: Some(Box::new(pb::AuthRoleGetRequest { role: role.into() })),
            ..Default::default()
        };
        assert_eq!(check("u", &user("u")), Ok(()));
        assert_eq!(check("u", &user("root")), Err(Rejected::PermissionDenied));
        assert_eq!(check("u", &role("r")), Ok(()));
        assert_eq!(check("u", &role("root")), Err(Rejected::PermissionDenied));
        assert_eq!(check("root", &user("u")), Ok(()));
        let list =
            InternalRaftRequest { auth_user_list: Some(Box::default()), ..Default::default() };
        assert_eq!(check("u", &list), Err(Rejected::PermissionDenied));
        assert_eq!(check("root", &list), Ok(()));
    }

    #[test]
    fn grants_and_alarms_are_not_asked_at_apply() {
        let grant = InternalRaftRequest {
            lease_grant: Some(pb::LeaseGrantRequest { ttl: 1, id: 1 }),
            ..Default::default()
        };
        assert_eq!(check("", &grant), Ok(()));
    }
}
