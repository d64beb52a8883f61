use proto::etcdserverpb::{InternalAuthenticateRequest, InternalRaftRequest};

use super::{Done, Effect};
use crate::auth::{AuthStore, Salt};
use crate::reply::{AuthReply, Reply};
use crate::{EntryId, Error, Rejected, State};

impl State {
    /// Does what the request says about users and roles; it is the last kind there is.
    pub(super) fn auth(
        &mut self,
        at: EntryId,
        request: &InternalRaftRequest,
    ) -> Result<Done, Error> {
        if let Some(authenticate) = &request.authenticate {
            return Ok(self.authenticate(at, authenticate));
        }
        if let Some(answer) = self.auth_question(request) {
            return Ok(answer.map(Reply::Auth).into());
        }
        let salt = Salt::of(at, &self.views.members.read());
        let changed = self.views.auth.change(|store| change(store, request, salt));
        let Some(changed) = changed else {
            let reason = "a request that this version does not know".to_owned();
            return Err(Error::Entry { index: at.index, reason });
        };
        match changed {
            Ok(records) => {
                let effect = if records.is_empty() { Effect::None } else { effect_of(request) };
                self.write(records);
                Ok(Done::new(Reply::Auth(AuthReply::Done), effect))
            }
            Err(rejected) => Ok(rejected.into()),
        }
    }

    /// The proposer has checked the password. The token is the same on all members.
    fn authenticate(&self, at: EntryId, request: &InternalAuthenticateRequest) -> Done {
        if let Err(rejected) = self.views.auth.read().may_authenticate(&request.name) {
            return rejected.into();
        }
        let username = request.name.clone();
        let token = format!("{}.{}", request.simple_token, at.index - 1);
        // Who has tokens of another kind chooses no letters, and what is left could be guessed.
        let effect = match request.simple_token.as_str() {
            "" => Effect::None,
            _ => Effect::Authenticated { username: username.clone(), token: token.clone() },
        };
        Done::new(Reply::Auth(AuthReply::Authenticated { username, token }), effect)
    }

    /// Answers what changes nothing.
    fn auth_question(&self, request: &InternalRaftRequest) -> Option<Result<AuthReply, Rejected>> {
        let store = self.views.auth.read();
        let roles = |user: &str| {
            let user = store.user(user).ok_or(Rejected::UserNotFound)?;
            Ok(AuthReply::UserRoles(user.roles.clone()))
        };
        Some(if request.auth_status.is_some() {
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

/// What follows from a change that was made.
fn effect_of(request: &InternalRaftRequest) -> Effect {
    if request.auth_disable.is_some() {
        Effect::AuthDisabled
    } else if let Some(delete) = &request.auth_user_delete {
        Effect::UserInvalidated(delete.name.clone())
    } else if let Some(change) = &request.auth_user_change_password {
        Effect::UserInvalidated(change.name.clone())
    } else {
        Effect::AuthChanged
    }
}

/// Makes the change that the request asks for; `None` where it asks for none.
fn change(
    store: &mut AuthStore,
    request: &InternalRaftRequest,
    salt: Salt,
) -> Option<crate::auth::Changed> {
    Some(if request.auth_enable.is_some() {
        store.enable()
    } else if request.auth_disable.is_some() {
        store.disable()
    } else if let Some(add) = &request.auth_user_add {
        store.user_add(add, salt)
    } else if let Some(delete) = &request.auth_user_delete {
        store.user_delete(&delete.name)
    } else if let Some(change) = &request.auth_user_change_password {
        store.user_change_password(change, salt)
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
