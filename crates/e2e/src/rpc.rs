//! Which reply belongs to which request, and a client that waits for it.

use std::net::SocketAddr;
use std::time::Duration;

use proto::Message;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::{self, AlarmMember, AlarmRequest, RangeRequest};
use proto::{v3electionpb, v3lockpb};
use tokio::runtime::Runtime;

use crate::grpc::{Grpc, Status};
use crate::member::Member;

/// A request of one reply.
pub trait Rpc: Message {
    /// What comes back.
    type Reply: Message + Default;
    /// Where it goes.
    const PATH: &str;
}

macro_rules! rpcs {
    ($package:ident; $($path:literal $request:ident => $reply:ident;)*) => {
        $(impl Rpc for $package::$request {
            type Reply = $package::$reply;
            const PATH: &str = concat!("/", stringify!($package), ".", $path);
        })*
    };
}

rpcs! {
    v3lockpb;
    "Lock/Lock" LockRequest => LockResponse;
    "Lock/Unlock" UnlockRequest => UnlockResponse;
}

rpcs! {
    v3electionpb;
    "Election/Campaign" CampaignRequest => CampaignResponse;
    "Election/Proclaim" ProclaimRequest => ProclaimResponse;
    "Election/Leader" LeaderRequest => LeaderResponse;
    "Election/Resign" ResignRequest => ResignResponse;
}

rpcs! {
    etcdserverpb;
    "KV/Range" RangeRequest => RangeResponse;
    "KV/Put" PutRequest => PutResponse;
    "KV/DeleteRange" DeleteRangeRequest => DeleteRangeResponse;
    "KV/Txn" TxnRequest => TxnResponse;
    "KV/Compact" CompactionRequest => CompactionResponse;
    "Lease/LeaseGrant" LeaseGrantRequest => LeaseGrantResponse;
    "Lease/LeaseRevoke" LeaseRevokeRequest => LeaseRevokeResponse;
    "Lease/LeaseTimeToLive" LeaseTimeToLiveRequest => LeaseTimeToLiveResponse;
    "Lease/LeaseLeases" LeaseLeasesRequest => LeaseLeasesResponse;
    "Cluster/MemberAdd" MemberAddRequest => MemberAddResponse;
    "Cluster/MemberList" MemberListRequest => MemberListResponse;
    "Cluster/MemberPromote" MemberPromoteRequest => MemberPromoteResponse;
    "Cluster/MemberRemove" MemberRemoveRequest => MemberRemoveResponse;
    "Cluster/MemberUpdate" MemberUpdateRequest => MemberUpdateResponse;
    "Maintenance/Alarm" AlarmRequest => AlarmResponse;
    "Maintenance/MoveLeader" MoveLeaderRequest => MoveLeaderResponse;
    "Maintenance/Status" StatusRequest => StatusResponse;
    "Maintenance/Downgrade" DowngradeRequest => DowngradeResponse;
    "Maintenance/Defragment" DefragmentRequest => DefragmentResponse;
    "Maintenance/Hash" HashRequest => HashResponse;
    "Maintenance/HashKV" HashKvRequest => HashKvResponse;
    "Auth/Authenticate" AuthenticateRequest => AuthenticateResponse;
    "Auth/AuthEnable" AuthEnableRequest => AuthEnableResponse;
    "Auth/AuthDisable" AuthDisableRequest => AuthDisableResponse;
    "Auth/AuthStatus" AuthStatusRequest => AuthStatusResponse;
    "Auth/UserAdd" AuthUserAddRequest => AuthUserAddResponse;
    "Auth/UserGet" AuthUserGetRequest => AuthUserGetResponse;
    "Auth/UserList" AuthUserListRequest => AuthUserListResponse;
    "Auth/UserDelete" AuthUserDeleteRequest => AuthUserDeleteResponse;
    "Auth/UserChangePassword" AuthUserChangePasswordRequest => AuthUserChangePasswordResponse;
    "Auth/UserGrantRole" AuthUserGrantRoleRequest => AuthUserGrantRoleResponse;
    "Auth/UserRevokeRole" AuthUserRevokeRoleRequest => AuthUserRevokeRoleResponse;
    "Auth/RoleAdd" AuthRoleAddRequest => AuthRoleAddResponse;
    "Auth/RoleGet" AuthRoleGetRequest => AuthRoleGetResponse;
    "Auth/RoleList" AuthRoleListRequest => AuthRoleListResponse;
    "Auth/RoleDelete" AuthRoleDeleteRequest => AuthRoleDeleteResponse;
    "Auth/RoleGrantPermission" AuthRoleGrantPermissionRequest => AuthRoleGrantPermissionResponse;
    "Auth/RoleRevokePermission" AuthRoleRevokePermissionRequest => AuthRoleRevokePermissionResponse;
}

/// Where the calls go that are not one request and one reply.
pub mod streams {
    /// A stream of watch requests, and one of replies.
    pub const WATCH: &str = "/etcdserverpb.Watch/Watch";
    /// A stream of requests, each with its reply.
    pub const LEASE_KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
    /// One request, many replies.
    pub const RANGE_STREAM: &str = "/etcdserverpb.KV/RangeStream";
    /// One request, many replies.
    pub const OBSERVE: &str = "/v3electionpb.Election/Observe";
    /// One request, many replies.
    pub const SNAPSHOT: &str = "/etcdserverpb.Maintenance/Snapshot";
}

impl Grpc {
    /// Asks and waits for the reply.
    pub async fn call<R: Rpc>(&self, request: &R) -> Result<R::Reply, Status> {
        self.unary(R::PATH, request).await
    }
}

/// How long a reply may take: longer than anything that a server does, so that what hangs is told.
const LIMIT: Duration = Duration::from_secs(60);

/// A connection for tests that do one thing after the other.
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    grpc: Grpc,
}

impl Client {
    /// Connects to a member.
    pub fn connect(member: &Member) -> anyhow::Result<Self> {
        Self::connect_to(member.address())
    }

    /// Connects to who listens there.
    pub fn connect_to(address: SocketAddr) -> anyhow::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build()?;
        let grpc = runtime.block_on(Grpc::connect(address))?;
        Ok(Self { runtime, grpc })
    }

    /// Asks and waits for the reply.
    pub fn call<R: Rpc>(&self, request: &R) -> Result<R::Reply, Status> {
        self.limited(self.grpc.call(request)).unwrap_or_else(|| {
            Err(Status { code: 4, message: format!("(no reply) within {LIMIT:?}") })
        })
    }

    /// Takes all alarms back.
    pub fn disarm(&self) -> Result<(), Status> {
        for raised in self.call(&AlarmRequest::default())?.alarms {
            let action = AlarmAction::Deactivate.into();
            let AlarmMember { member_id, alarm } = raised;
            self.call(&AlarmRequest { action, member_id, alarm })?;
        }
        Ok(())
    }

    /// For what is more than one reply.
    pub fn block_on<T>(&self, work: impl AsyncFnOnce(&Grpc) -> T) -> T {
        self.limited(work(&self.grpc)).expect("a server answers within a minute")
    }

    fn limited<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.runtime.block_on(async { tokio::time::timeout(LIMIT, work).await.ok() })
    }
}

/// All keys at a revision, 0 for the newest.
pub fn everything(revision: i64) -> RangeRequest {
    let all = bytes::Bytes::from_static(&[0]);
    RangeRequest { key: all.clone(), range_end: all, revision, ..RangeRequest::default() }
}
