use proto::etcdserverpb::InternalRaftRequest;

use super::{Done, Effect};
use crate::auth::{AuthError, AuthStore};
use crate::reply::{AuthReply, Reply};
use crate::{EntryId, Error, Rejected, State};

impl State {
    /// Does what the request says about users and roles; it is the last kind there is.
    pub(super) fn auth(
        &mut self,
        at: EntryId,
        request: &InternalRaftRequest,
    ) -> Result<Done, Error> {
        if let Some(answer) = self.auth_question(at, request) {
            return Ok(answer.map(Reply::Auth).into());
        }
        let mut store = self.views.auth.write();
        let Some(changed) = change(&mut store, request) else {
            let reason = "a request that this version does not know".to_owned();
            return Err(Error::Entry { index: at.index, reason });
        };
        drop(store);
        match changed {
            Ok(records) => {
                let effect = if records.is_empty() { Effect::None } else { Effect::AuthChanged };
                self.write(records);
                Ok(Done::new(Reply::Auth(AuthReply::Done), effect))
            }
            Err(AuthError::Rejected(rejected)) => Ok(rejected.into()),
            Err(AuthError::ClearPassword) => {
                let reason = "a clear-text password of an etcd before 3.5: start that version on \
                              the data once, so that it is applied there"
                    .to_owned();
                Err(Error::Entry { index: at.index, reason })
            }
        }
    }

    /// Answers what changes nothing.
    fn auth_question(
        &self,
        at: EntryId,
        request: &InternalRaftRequest,
    ) -> Option<Result<AuthReply, Rejected>> {
        let store = self.views.auth.read();
        let roles = |user: &str| {
            let user = store.user(user).ok_or(Rejected::UserNotFound)?;
            Ok(AuthReply::UserRoles(user.roles.clone()))
        };
        Some(if let Some(authenticate) = &request.authenticate {
            store.may_authenticate(&authenticate.name).map(|()| AuthReply::Authenticated {
                username: authenticate.name.clone(),
                token: format!("{}.{}", authenticate.simple_token, at.index - 1),
            })
        } else if request.auth_status.is_some() {
            Ok(AuthReply::Status { enabled: store.is_enabled(), revision: store.revision() })
        } else if let Some(get) = &request.auth_user_get {
            roles(&get.name)
        } else if let Some(get) = &request.auth_role_get {
            store.permissions(&get.role).map(AuthReply::Permissions)
        } else if request.auth_user_list.is_some() {
            Ok(AuthReply::Users(store.user_names()))
        } else if request.auth_role_list.is_some() {
            Ok(AuthReply::Roles(store.role_names()))
        } else {
            return None;
        })
    }
}

/// Makes the change that the request asks for; `None` where it asks for none.
fn change(store: &mut AuthStore, request: &InternalRaftRequest) -> Option<crate::auth::Changed> {
    Some(if request.auth_enable.is_some() {
        store.enable()
    } else if request.auth_disable.is_some() {
        store.disable()
    } else if let Some(add) = &request.auth_user_add {
        store.user_add(add)
    } else if let Some(delete) = &request.auth_user_delete {
        store.user_delete(&delete.name)
    } else if let Some(change) = &request.auth_user_change_password {
        store.user_change_password(change)
    } else if let Some(grant) = &request.auth_user_grant_role {
        store.user_grant_role(&grant.user, &grant.role)
    } else if let Some(revoke) = &request.auth_user_revoke_role {
        store.user_revoke_role(&revoke.name, &revoke.role)
    } else if let Some(add) = &request.auth_role_add {
        store.role_add(&add.name)
    } else if let Some(grant) = &request.auth_role_grant_permission {
        store.role_grant_permission(&grant.name, grant.perm.as_ref())
    } else if let Some(revoke) = &request.auth_role_revoke_permission {
        store.role_revoke_permission(&revoke.role, &revoke.key, &revoke.range_end)
    } else if let Some(delete) = &request.auth_role_delete {
        store.role_delete(&delete.role)
    } else {
        return None;
    })
}
