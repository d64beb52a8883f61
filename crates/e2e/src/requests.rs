//! Requests by chance: of all kinds, mostly sensible, over few keys, leases and users, so that they
//! meet each other.

mod auth;
mod kv;

use std::fmt::Debug;

use env::Random;
use proto::Message as _;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmType, AuthRoleAddRequest, AuthRoleDeleteRequest,
    AuthRoleGetRequest, AuthRoleGrantPermissionRequest, AuthRoleListRequest,
    AuthRoleRevokePermissionRequest, AuthStatusRequest, AuthUserAddRequest,
    AuthUserChangePasswordRequest, AuthUserDeleteRequest, AuthUserGetRequest,
    AuthUserGrantRoleRequest, AuthUserListRequest, AuthUserRevokeRoleRequest, CompactionRequest,
    DefragmentRequest, DeleteRangeRequest, HashKvRequest, LeaseGrantRequest, LeaseKeepAliveRequest,
    LeaseKeepAliveResponse, LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest,
    MemberListRequest, PutRequest, RangeRequest, RangeResponse, RangeStreamResponse, StatusRequest,
    TxnRequest,
};

use crate::grpc::{Grpc, Status};
use crate::rpc::{Rpc, streams};

/// What a server said, as text that two servers must have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The reply or the status. Times and file sizes are left out.
    pub text: String,
    /// The revision in the header, 0 without one.
    pub revision: i64,
}

impl Answer {
    /// Whether nobody answered.
    pub fn is_lost(&self) -> bool {
        self.text.contains("(no reply)")
    }
}

macro_rules! requests {
    ($($name:ident($type:ident);)*) => {
        /// A request of any kind.
        #[derive(Debug, Clone)]
        #[expect(missing_docs, reason = "the names of the messages say it all")]
        pub enum Request {
            $($name($type),)*
            RangeStream(RangeRequest),
            KeepAlive(LeaseKeepAliveRequest),
        }

        impl Request {
            /// Where it goes, and its wire form.
            pub fn wire(&self) -> (&'static str, Vec<u8>) {
                match self {
                    $(Self::$name(request) => (<$type as Rpc>::PATH, request.encode_to_vec()),)*
                    Self::RangeStream(request) => (streams::RANGE_STREAM, request.encode_to_vec()),
                    Self::KeepAlive(request) => {
                        (streams::LEASE_KEEP_ALIVE, request.encode_to_vec())
                    }
                }
            }

            /// Sends it and waits for all of the answer.
            pub async fn ask(&self, grpc: &Grpc) -> Answer {
                match self {
                    $(Self::$name(request) => {
                        let reply = grpc.call(request).await;
                        let header = reply.as_ref().ok().and_then(|reply| reply.header.as_ref());
                        let revision = header.map_or(0, |header| header.revision);
                        Answer { text: show(reply), revision }
                    })*
                    Self::RangeStream(request) => range_stream(grpc, request).await,
                    Self::KeepAlive(request) => keep_alive(grpc, request).await,
                }
            }
        }
    };
}

requests! {
    Put(PutRequest);
    Range(RangeRequest);
    DeleteRange(DeleteRangeRequest);
    Txn(TxnRequest);
    Compact(CompactionRequest);
    LeaseGrant(LeaseGrantRequest);
    LeaseRevoke(LeaseRevokeRequest);
    LeaseTimeToLive(LeaseTimeToLiveRequest);
    LeaseLeases(LeaseLeasesRequest);
    Alarm(AlarmRequest);
    Status(StatusRequest);
    HashKv(HashKvRequest);
    Defragment(DefragmentRequest);
    MemberList(MemberListRequest);
    AuthStatus(AuthStatusRequest);
    UserAdd(AuthUserAddRequest);
    UserGet(AuthUserGetRequest);
    UserList(AuthUserListRequest);
    UserDelete(AuthUserDeleteRequest);
    UserChangePassword(AuthUserChangePasswordRequest);
    UserGrantRole(AuthUserGrantRoleRequest);
    UserRevokeRole(AuthUserRevokeRoleRequest);
    RoleAdd(AuthRoleAddRequest);
    RoleGet(AuthRoleGetRequest);
    RoleList(AuthRoleListRequest);
    RoleDelete(AuthRoleDeleteRequest);
    RoleGrantPermission(AuthRoleGrantPermissionRequest);
    RoleRevokePermission(AuthRoleRevokePermissionRequest);
}

/// Shows a reply without what two servers cannot have in common.
fn show<Reply: Debug + 'static>(reply: Result<Reply, Status>) -> String {
    let reply = reply.map(|mut reply| {
        kv::settle(&mut reply);
        reply
    });
    format!("{reply:?}")
}

/// Which kinds of requests there are to be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mix {
    /// Users and roles, without switching authentication on.
    pub auth: bool,
    /// What only reads.
    pub reads: bool,
}

/// A stream of requests that follows from its seed, and from the revisions that it is told.
#[derive(Debug)]
pub struct Generator {
    random: Random,
    mix: Mix,
    revision: i64,
    compacted: i64,
    /// All compactions so far were waited for.
    settled: bool,
    /// Raised, and probably not taken back yet.
    alarms: Vec<AlarmMember>,
}

impl Generator {
    /// Begins on an empty store.
    pub fn new(seed: u64, mix: Mix) -> Self {
        let random = Random::new(seed);
        Self { random, mix, revision: 1, compacted: 0, settled: true, alarms: Vec::new() }
    }

    /// Learns from an answer how far the store is.
    pub fn learn(&mut self, request: &Request, answer: &Answer) {
        self.revision = self.revision.max(answer.revision);
        if let Request::Compact(request) = request
            && answer.revision > 0
        {
            self.compacted = request.revision;
            self.settled &= request.physical;
        }
    }

    /// The newest revision that it heard of.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The newest compaction; 0 before the first.
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    /// The next request.
    pub fn next_request(&mut self) -> Request {
        // An alarm stops most requests, so none is left for long.
        if !self.alarms.is_empty() && self.random.chance(1, 8) {
            let AlarmMember { member_id, alarm } = self.alarms.swap_remove(0);
            let action = AlarmAction::Deactivate.into();
            return Request::Alarm(AlarmRequest { action, member_id, alarm });
        }
        loop {
            let request = match self.random.below(100) {
                0..30 => Request::Put(self.put()),
                30..38 => Request::DeleteRange(self.delete_range()),
                38..60 => Request::Txn(self.txn()),
                60..63 => Request::Compact(self.compaction()),
                63..73 => self.lease(),
                73..76 => self.alarm(),
                76..80 => self.auth(),
                80..85 => self.maintenance(),
                85..87 => Request::RangeStream(self.stream_of_range()),
                _ => Request::Range(self.range()),
            };
            if self.is_wanted(&request) {
                return request;
            }
        }
    }

    fn is_wanted(&self, request: &Request) -> bool {
        match request {
            Request::Range(_) | Request::RangeStream(_) | Request::LeaseTimeToLive(_) => {
                self.mix.reads
            }
            Request::Status(_) | Request::LeaseLeases(_) | Request::MemberList(_) => self.mix.reads,
            Request::HashKv(request) => {
                // What was compacted while nobody waited may or may not have left a hash.
                request.revision > self.compacted || self.settled
            }
            request => self.mix.auth || !request.is_of_auth(),
        }
    }

    fn lease(&mut self) -> Request {
        let id = self.lease_id();
        match self.random.below(10) {
            0..4 => {
                let ttl = match self.random.below(8) {
                    0 => 9_000_000_000 + self.random.below(2) as i64,
                    1 => 5000,
                    _ => 1000 + self.random.below(100_000) as i64,
                };
                Request::LeaseGrant(LeaseGrantRequest { ttl, id })
            }
            4..7 => Request::LeaseRevoke(LeaseRevokeRequest { id }),
            7 => Request::KeepAlive(LeaseKeepAliveRequest { id }),
            8 => Request::LeaseLeases(LeaseLeasesRequest {}),
            _ => {
                let keys = self.random.chance(1, 2);
                Request::LeaseTimeToLive(LeaseTimeToLiveRequest { id, keys })
            }
        }
    }

    /// One of a few; sometimes one that cannot be.
    fn lease_id(&mut self) -> i64 {
        const IDS: [i64; 6] = [1, 2, 3, 0x7fff_ffff_ffff_ffff, -5, 0x1234_5678_9abc];
        IDS[self.random.index(IDS.len())]
    }

    fn alarm(&mut self) -> Request {
        use AlarmType::{Corrupt, None, Nospace};
        let member_id = 1 + self.random.below(2);
        let alarm = [Nospace, Nospace, Corrupt, None][self.random.index(4)].into();
        let action = match self.random.below(6) {
            0 => AlarmAction::Activate,
            1 | 2 => AlarmAction::Deactivate,
            _ => AlarmAction::Get,
        };
        if action == AlarmAction::Activate {
            self.alarms.push(AlarmMember { member_id, alarm });
        }
        Request::Alarm(AlarmRequest { action: action.into(), member_id, alarm })
    }

    fn maintenance(&mut self) -> Request {
        match self.random.below(8) {
            0 => Request::Defragment(DefragmentRequest {}),
            1 => Request::Status(StatusRequest {}),
            2 => Request::MemberList(MemberListRequest { linearizable: true }),
            _ => {
                let beyond = self.revision - self.compacted + 2;
                let revision = self.compacted + self.random.below(beyond as u64) as i64;
                Request::HashKv(HashKvRequest { revision })
            }
        }
    }
}

/// How the rows are cut into replies is up to the server; put together they are one reply.
async fn range_stream(grpc: &Grpc, request: &RangeRequest) -> Answer {
    let whole = async {
        let mut whole = RangeResponse::default();
        let mut call = grpc.open(streams::RANGE_STREAM).await?;
        call.send_last(request)?;
        while let Some(reply) = call.next::<RangeStreamResponse>().await? {
            let part = reply.range_response.unwrap_or_default();
            // Header and count come with the last one only.
            let early = whole.header.is_some() || whole.count > 0;
            let kvs = [whole.kvs, part.kvs].concat();
            whole = RangeResponse { kvs, more: part.more || early, ..part };
        }
        Ok::<_, Status>(whole)
    };
    Answer { text: show(whole.await), revision: 0 }
}

async fn keep_alive(grpc: &Grpc, request: &LeaseKeepAliveRequest) -> Answer {
    let reply = async {
        let mut call = grpc.open(streams::LEASE_KEEP_ALIVE).await?;
        call.send(request)?;
        let reply = call.next::<LeaseKeepAliveResponse>().await?;
        call.close()?;
        call.finish().await?;
        Ok::<_, Status>(reply)
    };
    Answer { text: show(reply.await), revision: 0 }
}
