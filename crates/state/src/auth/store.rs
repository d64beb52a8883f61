use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proto::authpb::permission::Type;
use proto::authpb::{Permission, Role, User, UserAddOptions};
use proto::etcdserverpb as pb;
use proto::json::{Alphabet, decode_base64};

use super::clear::{Salt, hash};
use super::permissions::{Access, RoleRanges, covers};
use crate::Rejected;
use crate::schema::{self, Record};

const ROOT: &str = "root";

/// Users, roles, and whether they matter.
#[derive(Debug, Default)]
pub(crate) struct AuthStore {
    enabled: bool,
    revision: u64,
    users: BTreeMap<Bytes, Account>,
    roles: BTreeMap<Bytes, (Role, Arc<RoleRanges>)>,
}

/// A user, with what its roles permit at hand: checks are many, changes are few.
#[derive(Debug)]
struct Account {
    user: User,
    is_root: bool,
    ranges: Vec<Arc<RoleRanges>>,
}

/// Who asks, as the entry's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Caller<'a> {
    pub(crate) username: &'a str,
    pub(crate) revision: u64,
}

/// What an auth operation did: the records it changed, or why not.
pub(crate) type Changed = Result<Vec<Record>, Rejected>;

impl AuthStore {
    pub(crate) fn restore(
        enabled: bool,
        revision: u64,
        users: impl IntoIterator<Item = User>,
        roles: impl IntoIterator<Item = Role>,
    ) -> Self {
        let mut store = Self { enabled, revision, ..Self::default() };
        for role in roles {
            store.keep_role(role);
        }
        for user in users {
            store.keep_user(user);
        }
        store
    }

    /// A store that was never used starts at revision 1.
    pub(crate) fn first_revision(&mut self) -> Option<Record> {
        (self.revision == 0).then(|| self.bump())
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name.as_bytes()).map(|account| &account.user)
    }

    pub(crate) fn role(&self, name: &str) -> Option<&Role> {
        self.roles.get(name.as_bytes()).map(|(role, _)| role)
    }

    /// All user names in byte order.
    pub(crate) fn user_names(&self) -> Vec<String> {
        names(self.users.keys())
    }

    /// All role names in byte order.
    pub(crate) fn role_names(&self) -> Vec<String> {
        names(self.roles.keys())
    }

    /// What a role permits; `root` permits all, whatever its record says.
    pub(crate) fn permissions(&self, role: &str) -> Result<Vec<Permission>, Rejected> {
        let found = self.role(role).ok_or(Rejected::RoleNotFound)?;
        if role == ROOT {
            let range_end = Bytes::from_static(&[0]);
            let perm_type = Type::Readwrite as i32;
            return Ok(vec![Permission { perm_type, key: Bytes::new(), range_end }]);
        }
        Ok(found.key_permission.clone())
    }

    pub(crate) fn enable(&mut self) -> Changed {
        if self.enabled {
            return Ok(vec![]);
        }
        let root = self.user(ROOT).ok_or(Rejected::RootUserNotExist)?;
        if !has_role(root, ROOT) {
            return Err(Rejected::RootRoleNotExist);
        }
        self.enabled = true;
        Ok(vec![schema::auth_enabled(true)])
    }

    pub(crate) fn disable(&mut self) -> Changed {
        if !self.enabled {
            return Ok(vec![]);
        }
        self.enabled = false;
        Ok(vec![schema::auth_enabled(false), self.bump()])
    }

    pub(crate) fn user_add(&mut self, request: &pb::AuthUserAddRequest, salt: Salt) -> Changed {
        if request.name.is_empty() {
            return Err(Rejected::UserEmpty);
        }
        if self.user(&request.name).is_some() {
            return Err(Rejected::UserExists);
        }
        let options = request.options.unwrap_or_default();
        let password = if options.no_password {
            Bytes::new()
        } else {
            hashed(&request.password, &request.hashed_password, salt)?
        };
        let name = Bytes::from(request.name.clone());
        let user = User { name, password, options: Some(options), ..User::default() };
        Ok(vec![self.keep_user(user), self.bump()])
    }

    pub(crate) fn user_delete(&mut self, name: &str) -> Changed {
        if self.enabled && name == ROOT {
            return Err(Rejected::InvalidAuthManagement);
        }
        self.users.remove(name.as_bytes()).ok_or(Rejected::UserNotFound)?;
        Ok(vec![schema::user_deleted(name), self.bump()])
    }

    pub(crate) fn user_change_password(
        &mut self,
        request: &pb::AuthUserChangePasswordRequest,
        salt: Salt,
    ) -> Changed {
        let user = self.user(&request.name).ok_or(Rejected::UserNotFound)?;
        let password = if has_no_password(user) {
            Bytes::new()
        } else {
            hashed(&request.password, &request.hashed_password, salt)?
        };
        let user = User { password, ..user.clone() };
        Ok(vec![self.keep_user(user), self.bump()])
    }

    pub(crate) fn user_grant_role(&mut self, name: &str, role: &str) -> Changed {
        let mut user = self.user(name).ok_or(Rejected::UserNotFound)?.clone();
        if role != ROOT && self.role(role).is_none() {
            return Err(Rejected::RoleNotFound);
        }
        if has_role(&user, role) {
            return Ok(vec![]);
        }
        user.roles.push(role.to_owned());
        user.roles.sort_unstable();
        Ok(vec![self.keep_user(user), self.bump()])
    }

    pub(crate) fn user_revoke_role(&mut self, name: &str, role: &str) -> Changed {
        if self.enabled && name == ROOT && role == ROOT {
            return Err(Rejected::InvalidAuthManagement);
        }
        let mut user = self.user(name).ok_or(Rejected::UserNotFound)?.clone();
        if !take_role(&mut user, role) {
            return Err(Rejected::RoleNotGranted);
        }
        Ok(vec![self.keep_user(user), self.bump()])
    }

    pub(crate) fn role_add(&mut self, name: &str) -> Changed {
        if name.is_empty() {
            return Err(Rejected::RoleEmpty);
        }
        if self.role(name).is_some() {
            return Err(Rejected::RoleExists);
        }
        let role = Role { name: Bytes::from(name.to_owned()), key_permission: vec![] };
        Ok(vec![self.keep_role(role), self.bump()])
    }

    pub(crate) fn role_delete(&mut self, name: &str) -> Changed {
        if self.enabled && name == ROOT {
            return Err(Rejected::InvalidAuthManagement);
        }
        self.roles.remove(name.as_bytes()).ok_or(Rejected::RoleNotFound)?;
        let mut records = vec![schema::role_deleted(name)];
        for mut user in self.holders(name) {
            take_role(&mut user, name);
            records.push(self.keep_user(user));
        }
        records.push(self.bump());
        Ok(records)
    }

    pub(crate) fn role_grant_permission(
        &mut self,
        name: &str,
        permission: Option<&Permission>,
    ) -> Changed {
        let permission = permission.ok_or(Rejected::PermissionNotGiven)?;
        if !is_valid_range(&permission.key, &permission.range_end) {
            return Err(Rejected::InvalidAuthManagement);
        }
        let mut role = self.role(name).ok_or(Rejected::RoleNotFound)?.clone();
        let granted = &mut role.key_permission;
        // As in etcd only the first permission that starts at this key is looked at.
        let first = granted.partition_point(|known| known.key < permission.key);
        match granted.get_mut(first) {
            Some(known)
                if known.key == permission.key && known.range_end == permission.range_end =>
            {
                known.perm_type = permission.perm_type;
            }
            _ => {
                granted.push(permission.clone());
                granted.sort_by(|one, other| one.key.cmp(&other.key));
            }
        }
        Ok(vec![self.keep_role(role), self.bump()])
    }

    pub(crate) fn role_revoke_permission(
        &mut self,
        name: &str,
        key: &[u8],
        range_end: &[u8],
    ) -> Changed {
        let mut role = self.role(name).ok_or(Rejected::RoleNotFound)?.clone();
        let before = role.key_permission.len();
        role.key_permission.retain(|granted| granted.key != key || granted.range_end != range_end);
        if role.key_permission.len() == before {
            return Err(Rejected::PermissionNotGranted);
        }
        Ok(vec![self.keep_role(role), self.bump()])
    }

    /// The checks of an authentication that are left when the proposer has checked the password.
    pub(crate) fn may_authenticate(&self, name: &str) -> Result<(), Rejected> {
        if !self.enabled {
            return Err(Rejected::AuthNotEnabled);
        }
        let user = self.user(name).ok_or(Rejected::AuthFailed)?;
        if has_no_password(user) { Err(Rejected::AuthFailed) } else { Ok(()) }
    }

    /// Whether the caller has the role `root`, or auth is off.
    pub(crate) fn check_admin(&self, caller: Caller<'_>) -> Result<(), Rejected> {
        if !self.enabled {
            return Ok(());
        }
        if caller.username.is_empty() {
            return Err(Rejected::UserEmpty);
        }
        let account = self.users.get(caller.username.as_bytes()).ok_or(Rejected::UserNotFound)?;
        if account.is_root { Ok(()) } else { Err(Rejected::PermissionDenied) }
    }

    /// Whether the caller may touch this range, or auth is off.
    pub(crate) fn check_range(
        &self,
        caller: Caller<'_>,
        access: Access,
        key: &[u8],
        range_end: &[u8],
    ) -> Result<(), Rejected> {
        if !self.enabled {
            return Ok(());
        }
        if caller.revision == 0 {
            return Err(Rejected::UserEmpty);
        }
        if caller.revision < self.revision {
            return Err(Rejected::AuthOldRevision);
        }
        let account = self.users.get(caller.username.as_bytes());
        let account = account.ok_or(Rejected::PermissionDenied)?;
        let ranges = account.ranges.iter().map(|ranges| &**ranges);
        if account.is_root || covers(ranges, access, key, range_end) {
            return Ok(());
        }
        Err(Rejected::PermissionDenied)
    }

    /// Whether the user has the role. (An unknown user has none.)
    pub(crate) fn user_has_role(&self, user: &str, role: &str) -> bool {
        self.user(user).is_some_and(|user| has_role(user, role))
    }

    /// What a password is checked against, and the revision of which that holds.
    pub(crate) fn password(&self, name: &str) -> Result<(Bytes, u64), Rejected> {
        if !self.enabled {
            return Err(Rejected::AuthNotEnabled);
        }
        let user = self.user(name).ok_or(Rejected::AuthFailed)?;
        if has_no_password(user) {
            return Err(Rejected::NoPasswordUser);
        }
        Ok((user.password.clone(), self.revision))
    }

    fn holders(&self, role: &str) -> Vec<User> {
        let users = self.users.values().map(|account| &account.user);
        users.filter(|user| has_role(user, role)).cloned().collect()
    }

    fn keep_user(&mut self, user: User) -> Record {
        let record = schema::user_put(&user);
        let roles = user.roles.iter().filter_map(|role| self.roles.get(role.as_bytes()));
        let ranges = roles.map(|(_, ranges)| Arc::clone(ranges)).collect();
        let is_root = has_role(&user, ROOT);
        self.users.insert(user.name.clone(), Account { user, is_root, ranges });
        record
    }

    fn keep_role(&mut self, role: Role) -> Record {
        let record = schema::role_put(&role);
        let name = String::from_utf8_lossy(&role.name).into_owned();
        let ranges = Arc::new(RoleRanges::new(&role));
        self.roles.insert(role.name.clone(), (role, ranges));
        for user in self.holders(&name) {
            self.keep_user(user);
        }
        record
    }

    fn bump(&mut self) -> Record {
        self.revision += 1;
        schema::auth_revision(self.revision)
    }
}

fn names<'a>(names: impl Iterator<Item = &'a Bytes>) -> Vec<String> {
    names.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

/// Roles of a user are kept sorted.
fn has_role(user: &User, role: &str) -> bool {
    user.roles.binary_search_by(|held| held.as_str().cmp(role)).is_ok()
}

fn take_role(user: &mut User, role: &str) -> bool {
    let before = user.roles.len();
    user.roles.retain(|held| held != role);
    user.roles.len() < before
}

fn has_no_password(user: &User) -> bool {
    user.options.is_some_and(|options: UserAddOptions| options.no_password)
}

/// The hash that a request brings, or that of the password that it brings in its place.
fn hashed(password: &str, hashed_password: &str, salt: Salt) -> Result<Bytes, Rejected> {
    if !password.is_empty() && hashed_password.is_empty() {
        return hash(password, salt).ok_or(Rejected::NoPasswordUser);
    }
    let mut hash = Vec::new();
    let decoded = decode_base64(hashed_password.as_bytes(), Alphabet::Standard, true, &mut hash);
    decoded.map_err(|_| Rejected::NoPasswordUser)?;
    Ok(hash.into())
}

fn is_valid_range(key: &[u8], range_end: &[u8]) -> bool {
    !key.is_empty() && (range_end.is_empty() || range_end == [0] || key < range_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: Salt = Salt([7; 16]);

    fn user_add(name: &str) -> pb::AuthUserAddRequest {
        pb::AuthUserAddRequest {
            name: name.into(),
            hashed_password: "aGFzaA==".into(),
            ..pb::AuthUserAddRequest::default()
        }
    }

    fn permission(kind: Type, key: &'static [u8], range_end: &'static [u8]) -> Permission {
        Permission {
            perm_type: kind as i32,
            key: Bytes::from_static(key),
            range_end: Bytes::from_static(range_end),
        }
    }

    fn rejected(changed: Changed) -> Rejected {
        match changed {
            Err(rejected) => rejected,
            other => panic!("not rejected: {other:?}"),
        }
    }

    fn store() -> AuthStore {
        let mut store = AuthStore::default();
        assert!(store.first_revision().is_some());
        store.user_add(&user_add("root"), SALT).expect("new");
        store.user_grant_role("root", "root").expect("always there");
        store.role_add("r").expect("new");
        store.user_add(&user_add("u"), SALT).expect("new");
        store.user_grant_role("u", "r").expect("both are there");
        store
    }

    #[test]
    fn every_change_bumps_the_revision_and_enabling_does_not() {
        let mut store = store();
        assert_eq!(store.revision(), 6);
        assert_eq!(store.first_revision(), None);
        assert_eq!(store.enable().map(|records| records.len()), Ok(1));
        assert_eq!(store.enable(), Ok(vec![]));
        assert_eq!(store.user_grant_role("u", "r"), Ok(vec![]));
        assert_eq!(store.revision(), 6);
        assert_eq!(store.disable().map(|records| records.len()), Ok(2));
        assert_eq!(store.disable(), Ok(vec![]));
        assert_eq!(store.revision(), 7);
    }

    #[test]
    fn enabling_needs_root_with_its_role() {
        let mut store = AuthStore::default();
        assert_eq!(rejected(store.enable()), Rejected::RootUserNotExist);
        store.user_add(&user_add("root"), SALT).expect("new");
        assert_eq!(rejected(store.enable()), Rejected::RootRoleNotExist);
    }

    #[test]
    fn root_stays_while_auth_is_on() {
        let mut store = store();
        store.role_add("root").expect("new");
        store.enable().expect("root is there");
        let denied = Rejected::InvalidAuthManagement;
        assert_eq!(rejected(store.user_delete("root")), denied);
        assert_eq!(rejected(store.user_revoke_role("root", "root")), denied);
        assert_eq!(rejected(store.role_delete("root")), denied);
        store.disable().expect("it was on");
        assert!(store.role_delete("root").is_ok());
        assert!(store.user_delete("root").is_ok());
    }

    #[test]
    fn operations_name_what_is_missing() {
        let mut store = store();
        assert_eq!(rejected(store.user_add(&user_add(""), SALT)), Rejected::UserEmpty);
        assert_eq!(rejected(store.user_add(&user_add("u"), SALT)), Rejected::UserExists);
        assert_eq!(rejected(store.user_delete("x")), Rejected::UserNotFound);
        assert_eq!(rejected(store.user_grant_role("x", "r")), Rejected::UserNotFound);
        assert_eq!(rejected(store.user_grant_role("u", "x")), Rejected::RoleNotFound);
        assert_eq!(rejected(store.user_revoke_role("x", "r")), Rejected::UserNotFound);
        assert_eq!(rejected(store.user_revoke_role("u", "x")), Rejected::RoleNotGranted);
        assert_eq!(rejected(store.role_add("")), Rejected::RoleEmpty);
        assert_eq!(rejected(store.role_add("r")), Rejected::RoleExists);
        assert_eq!(rejected(store.role_delete("x")), Rejected::RoleNotFound);
        let grant = store.role_grant_permission("r", None);
        assert_eq!(rejected(grant), Rejected::PermissionNotGiven);
        let turned = permission(Type::Read, b"b", b"a");
        let grant = store.role_grant_permission("r", Some(&turned));
        assert_eq!(rejected(grant), Rejected::InvalidAuthManagement);
        let revoke = store.role_revoke_permission("r", b"a", b"");
        assert_eq!(rejected(revoke), Rejected::PermissionNotGranted);
        assert_eq!(store.permissions("x"), Err(Rejected::RoleNotFound));
    }

    #[test]
    fn passwords_come_hashed() {
        let mut store = store();
        assert_eq!(store.user("u").map(|user| user.password.clone()), Some("hash".into()));
        let clear = pb::AuthUserAddRequest {
            name: "old".into(),
            password: "secret".into(),
            ..pb::AuthUserAddRequest::default()
        };
        store.user_add(&clear, SALT).expect("new");
        let hash = String::from_utf8(store.user("old").expect("added").password.to_vec());
        assert!(bcrypt::verify("secret", &hash.expect("is text")).expect("is a hash"));
        let bad = pb::AuthUserAddRequest { hashed_password: "?".into(), ..user_add("bad") };
        assert_eq!(rejected(store.user_add(&bad, SALT)), Rejected::NoPasswordUser);
        let none = pb::AuthUserAddRequest {
            options: Some(UserAddOptions { no_password: true }),
            ..user_add("none")
        };
        store.user_add(&none, SALT).expect("new");
        let change = pb::AuthUserChangePasswordRequest {
            name: "none".into(),
            hashed_password: "aGFzaA==".into(),
            ..pb::AuthUserChangePasswordRequest::default()
        };
        store.user_change_password(&change, SALT).expect("it exists");
        assert_eq!(store.user("none").map(|user| user.password.clone()), Some(Bytes::new()));
        assert_eq!(store.may_authenticate("none"), Err(Rejected::AuthNotEnabled));
        store.enable().expect("root is there");
        assert_eq!(store.may_authenticate("none"), Err(Rejected::AuthFailed));
        assert_eq!(store.may_authenticate("x"), Err(Rejected::AuthFailed));
        assert_eq!(store.may_authenticate("u"), Ok(()));
    }

    #[test]
    fn a_deleted_role_leaves_its_users() {
        let mut store = store();
        let records = store.role_delete("r").expect("it exists");
        // The role, the one user that had it, the revision.
        assert_eq!(records.len(), 3);
        assert_eq!(store.user("u").map(|user| user.roles.len()), Some(0));
        assert_eq!(store.user("root").map(|user| user.roles.len()), Some(1));
    }

    #[test]
    fn an_update_looks_only_at_the_first_permission_of_the_key() {
        let mut store = store();
        for (kind, range_end) in [(Type::Read, &b"c"[..]), (Type::Read, b"d"), (Type::Write, b"d")]
        {
            store
                .role_grant_permission("r", Some(&permission(kind, b"b", range_end)))
                .expect("valid");
        }
        let ends: Vec<Bytes> = store
            .permissions("r")
            .expect("it exists")
            .into_iter()
            .map(|permission| permission.range_end)
            .collect();
        assert_eq!(ends, ["c", "d", "d"]);
        store
            .role_grant_permission("r", Some(&permission(Type::Write, b"b", b"c")))
            .expect("valid");
        let first = store.permissions("r").expect("it exists")[0].perm_type;
        assert_eq!(first, Type::Write as i32);
        store.role_revoke_permission("r", b"b", b"d").expect("granted");
        assert_eq!(store.permissions("r").map(|granted| granted.len()), Ok(1));
    }

    #[test]
    fn root_the_role_permits_everything() {
        let mut store = store();
        store.role_add("root").expect("new");
        let all = Permission {
            perm_type: Type::Readwrite as i32,
            key: Bytes::new(),
            range_end: Bytes::from_static(&[0]),
        };
        assert_eq!(store.permissions("root"), Ok(vec![all]));
        assert_eq!(store.role_names(), ["r", "root"]);
        assert_eq!(store.user_names(), ["root", "u"]);
    }

    #[test]
    fn checks_come_in_etcds_order() {
        let mut store = store();
        let check = |store: &AuthStore, username, revision, key: &[u8]| {
            store.check_range(Caller { username, revision }, Access::Read, key, b"")
        };
        assert_eq!(check(&store, "", 0, b"a"), Ok(()));
        store.role_grant_permission("r", Some(&permission(Type::Read, b"a", b"c"))).expect("valid");
        store.enable().expect("root is there");
        let now = store.revision();
        assert_eq!(check(&store, "", 0, b"a"), Err(Rejected::UserEmpty));
        assert_eq!(check(&store, "u", now - 1, b"a"), Err(Rejected::AuthOldRevision));
        assert_eq!(check(&store, "x", now, b"a"), Err(Rejected::PermissionDenied));
        assert_eq!(check(&store, "u", now, b"a"), Ok(()));
        assert_eq!(check(&store, "u", now, b"c"), Err(Rejected::PermissionDenied));
        assert_eq!(check(&store, "root", now, b"c"), Ok(()));
        let admin = |username| store.check_admin(Caller { username, revision: now });
        assert_eq!(admin(""), Err(Rejected::UserEmpty));
        assert_eq!(admin("x"), Err(Rejected::UserNotFound));
        assert_eq!(admin("u"), Err(Rejected::PermissionDenied));
        assert_eq!(admin("root"), Ok(()));
    }
}
