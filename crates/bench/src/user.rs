//! A user for a load: one who may do what it does, by one role and no more.

use proto::authpb::{Permission, permission};
use proto::etcdserverpb::{
    AuthEnableRequest, AuthEnableResponse, AuthRoleAddRequest, AuthRoleAddResponse,
    AuthRoleGrantPermissionRequest, AuthRoleGrantPermissionResponse, AuthUserAddRequest,
    AuthUserAddResponse, AuthUserGrantRoleRequest, AuthUserGrantRoleResponse, AuthenticateRequest,
    AuthenticateResponse,
};

use crate::grpc::Connection;

const USER: &str = "bench";
const PASSWORD: &str = "bench";

/// Makes the user, turns auth on, and lets all connections show its token.
pub(crate) async fn log_in(connections: &mut [Connection]) -> anyhow::Result<()> {
    let Some(first) = connections.first() else { return Ok(()) };
    prepare(first).await?;
    let request = AuthenticateRequest { name: USER.into(), password: PASSWORD.into() };
    let mut rpc = first.method("/etcdserverpb.Auth/Authenticate")?;
    let AuthenticateResponse { token, .. } = rpc.ask(&request).await?;
    connections.iter_mut().for_each(|connection| connection.show(&token));
    Ok(())
}

async fn prepare(connection: &Connection) -> anyhow::Result<()> {
    let rpc = |method: &str| connection.method(&format!("/etcdserverpb.Auth/{method}"));
    for name in ["root", USER] {
        let add = AuthUserAddRequest {
            name: name.into(),
            password: PASSWORD.into(),
            ..AuthUserAddRequest::default()
        };
        rpc("UserAdd")?.ask::<AuthUserAddResponse>(&add).await?;
    }
    let add = AuthRoleAddRequest { name: USER.into() };
    rpc("RoleAdd")?.ask::<AuthRoleAddResponse>(&add).await?;
    // All keys of loads.
    let perm_type = permission::Type::Readwrite as i32;
    let perm = Permission { perm_type, key: "/bench/".into(), range_end: "/bench0".into() };
    let grant = AuthRoleGrantPermissionRequest { name: USER.into(), perm: Some(perm) };
    rpc("RoleGrantPermission")?.ask::<AuthRoleGrantPermissionResponse>(&grant).await?;
    for (user, role) in [("root", "root"), (USER, USER)] {
        let grant = AuthUserGrantRoleRequest { user: user.into(), role: role.into() };
        rpc("UserGrantRole")?.ask::<AuthUserGrantRoleResponse>(&grant).await?;
    }
    rpc("AuthEnable")?.ask::<AuthEnableResponse>(&AuthEnableRequest {}).await?;
    Ok(())
}
