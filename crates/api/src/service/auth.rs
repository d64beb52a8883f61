//! `etcdserverpb.Auth`: users, roles, permissions, and who gets a token.
//!
//! All of it goes through the log; who may do what is judged when it is applied. Passwords do not:
//! they are hashed and checked here.

use std::sync::Arc;

use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::{InternalAuthenticateRequest, InternalRaftRequest};
use state::{AuthReply, Rejected, Reply};

use super::{Services, decode, encode, kv};
use crate::error;
use crate::rpc::Caller;
use crate::status::Status;

/// A call that goes into the log as it comes.
macro_rules! proposed {
    ($name:ident, $field:ident, $request:ty) => {
        pub(super) async fn $name(
            services: Arc<Services>,
            caller: Caller,
            request: Bytes,
        ) -> Result<Bytes, Status> {
            let request: $request = decode(request)?;
            let $field = Some(Box::new(request));
            let proposal = InternalRaftRequest { $field, ..Default::default() };
            kv::propose(&services, &caller, proposal).await
        }
    };
}

proposed!(enable, auth_enable, pb::AuthEnableRequest);
proposed!(disable, auth_disable, pb::AuthDisableRequest);
proposed!(status, auth_status, pb::AuthStatusRequest);
proposed!(user_get, auth_user_get, pb::AuthUserGetRequest);
proposed!(user_list, auth_user_list, pb::AuthUserListRequest);
proposed!(user_delete, auth_user_delete, pb::AuthUserDeleteRequest);
proposed!(user_grant_role, auth_user_grant_role, pb::AuthUserGrantRoleRequest);
proposed!(user_revoke_role, auth_user_revoke_role, pb::AuthUserRevokeRoleRequest);
proposed!(role_add, auth_role_add, pb::AuthRoleAddRequest);
proposed!(role_get, auth_role_get, pb::AuthRoleGetRequest);
proposed!(role_list, auth_role_list, pb::AuthRoleListRequest);
proposed!(role_delete, auth_role_delete, pb::AuthRoleDeleteRequest);
proposed!(role_grant_permission, auth_role_grant_permission, pb::AuthRoleGrantPermissionRequest);
proposed!(role_revoke_permission, auth_role_revoke_permission, pb::AuthRoleRevokePermissionRequest);

pub(super) async fn user_add(
    services: Arc<Services>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let mut request: pb::AuthUserAddRequest = decode(request)?;
    // In the log it would lie for all to read, whether it is used or not.
    let password = std::mem::take(&mut request.password);
    if !request.options.is_some_and(|options| options.no_password) {
        request.hashed_password = services.auth.passwords.hash(password).await?;
    }
    let auth_user_add = Some(Box::new(request));
    let proposal = InternalRaftRequest { auth_user_add, ..Default::default() };
    kv::propose(&services, &caller, proposal).await
}

pub(super) async fn user_change_password(
    services: Arc<Services>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let mut request: pb::AuthUserChangePasswordRequest = decode(request)?;
    let password = std::mem::take(&mut request.password);
    if !password.is_empty() {
        request.hashed_password = services.auth.passwords.hash(password).await?;
    }
    let auth_user_change_password = Some(Box::new(request));
    let proposal = InternalRaftRequest { auth_user_change_password, ..Default::default() };
    kv::propose(&services, &caller, proposal).await
}

/// Checks the password, then has the log say that the user has a token. Both again where users or
/// roles were changed in between: the password may be another.
pub(super) async fn authenticate(
    services: Arc<Services>,
    _caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let pb::AuthenticateRequest { name, password } = decode(request)?;
    services.node.read_barrier().await?;
    loop {
        let revision = checked(&services, &name, &password).await?;
        let simple_token = services.auth.letters();
        let authenticate =
            InternalAuthenticateRequest { name: name.clone(), simple_token, ..Default::default() };
        let proposal = InternalRaftRequest {
            authenticate: Some(Box::new(authenticate)),
            ..Default::default()
        };
        let (reply, at) = services.node.propose(proposal).await?;
        if revision != services.node.auth().revision() {
            tracing::info!("revision when password checked became stale; retrying");
            continue;
        }
        let simple = match reply {
            Reply::Auth(AuthReply::Authenticated { token, .. }) => token,
            _ => String::new(),
        };
        let token = services.auth.token(&services.node, &name, revision, simple)?;
        let header = pb::ResponseHeader { revision: at, ..services.node.header() };
        return Ok(encode(&pb::AuthenticateResponse { header: Some(header), token }));
    }
}

/// The revision of which it holds that this is the user's password.
async fn checked(services: &Services, name: &str, password: &str) -> Result<u64, Status> {
    let stored = services.node.auth().password(name);
    let failure = match stored {
        Ok((hash, revision)) => {
            if services.auth.passwords.is_right(name, hash, revision, password).await? {
                return Ok(revision);
            }
            tracing::info!("user-name" = name, "invalid password");
            Rejected::AuthFailed
        }
        Err(rejected) => rejected,
    };
    if failure != Rejected::AuthNotEnabled {
        let error = failure.to_string();
        tracing::warn!(user = name, error, "invalid authentication was requested");
    }
    Err(error::from_rejected(failure))
}
