//! Requests about users and roles.

use proto::authpb::{Permission, UserAddOptions};
use proto::etcdserverpb::{
    AuthRoleAddRequest, AuthRoleDeleteRequest, AuthRoleGetRequest, AuthRoleGrantPermissionRequest,
    AuthRoleListRequest, AuthRoleRevokePermissionRequest, AuthStatusRequest, AuthUserAddRequest,
    AuthUserChangePasswordRequest, AuthUserDeleteRequest, AuthUserGetRequest,
    AuthUserGrantRoleRequest, AuthUserListRequest, AuthUserRevokeRoleRequest,
};

use super::{Generator, Request};

impl Request {
    pub(super) fn is_of_auth(&self) -> bool {
        matches!(
            self,
            Self::AuthStatus(_)
                | Self::UserAdd(_)
                | Self::UserGet(_)
                | Self::UserList(_)
                | Self::UserDelete(_)
                | Self::UserChangePassword(_)
                | Self::UserGrantRole(_)
                | Self::UserRevokeRole(_)
                | Self::RoleAdd(_)
                | Self::RoleGet(_)
                | Self::RoleList(_)
                | Self::RoleDelete(_)
                | Self::RoleGrantPermission(_)
                | Self::RoleRevokePermission(_)
        )
    }
}

impl Generator {
    pub(super) fn auth(&mut self) -> Request {
        let (name, role) = (self.user(), self.role());
        match self.random.below(20) {
            0..3 => Request::UserAdd(self.user_add(name)),
            3..6 => Request::RoleAdd(AuthRoleAddRequest { name: role }),
            6..9 => Request::UserGrantRole(AuthUserGrantRoleRequest { user: name, role }),
            9..13 => Request::RoleGrantPermission(AuthRoleGrantPermissionRequest {
                name: role,
                perm: Some(self.permission()),
            }),
            13 => Request::UserDelete(AuthUserDeleteRequest { name }),
            14 => Request::RoleDelete(AuthRoleDeleteRequest { role }),
            15 => Request::UserRevokeRole(AuthUserRevokeRoleRequest { name, role }),
            16 => {
                let Permission { key, range_end, .. } = self.permission();
                let revoke = AuthRoleRevokePermissionRequest { role, key, range_end };
                Request::RoleRevokePermission(revoke)
            }
            17 => Request::UserChangePassword(AuthUserChangePasswordRequest {
                name,
                password: "another".to_owned(),
                ..AuthUserChangePasswordRequest::default()
            }),
            18 => Request::RoleGet(AuthRoleGetRequest { role }),
            _ => match self.random.below(4) {
                0 => Request::UserGet(AuthUserGetRequest { name }),
                1 => Request::UserList(AuthUserListRequest {}),
                2 => Request::RoleList(AuthRoleListRequest {}),
                _ => Request::AuthStatus(AuthStatusRequest {}),
            },
        }
    }

    fn user_add(&mut self, name: String) -> AuthUserAddRequest {
        let no_password = self.random.chance(1, 3);
        let password = if no_password { "" } else { "secret" };
        AuthUserAddRequest {
            name,
            password: password.to_owned(),
            options: Some(UserAddOptions { no_password }),
            ..AuthUserAddRequest::default()
        }
    }

    fn user(&mut self) -> String {
        ["root", "alice", "bob"][self.random.index(3)].to_owned()
    }

    fn role(&mut self) -> String {
        ["root", "reader", "writer"][self.random.index(3)].to_owned()
    }

    fn permission(&mut self) -> Permission {
        let keys: [&[u8]; 4] = [b"a", b"b", b"c", b""];
        let ends: [&[u8]; 4] = [b"", b"", b"b", b"\0"];
        Permission {
            perm_type: self.random.below(3) as i32,
            key: keys[self.random.index(4)].into(),
            range_end: ends[self.random.index(4)].into(),
        }
    }
}
