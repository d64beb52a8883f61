//! Every refusal that a client of etcd can meet, with the code and the text that it knows.

use std::borrow::Cow;

use state::Rejected;

use crate::status::{Code, Status};

pub(crate) const EMPTY_KEY: Status =
    known(Code::InvalidArgument, "etcdserver: key is not provided");
pub(crate) const KEY_NOT_FOUND: Status = known(Code::InvalidArgument, "etcdserver: key not found");
pub(crate) const VALUE_PROVIDED: Status =
    known(Code::InvalidArgument, "etcdserver: value is provided");
pub(crate) const LEASE_PROVIDED: Status =
    known(Code::InvalidArgument, "etcdserver: lease is provided");
pub(crate) const TOO_MANY_OPS: Status =
    known(Code::InvalidArgument, "etcdserver: too many operations in txn request");
pub(crate) const DUPLICATE_KEY: Status =
    known(Code::InvalidArgument, "etcdserver: duplicate key given in txn request");
pub(crate) const INVALID_SORT_OPTION: Status =
    known(Code::InvalidArgument, "etcdserver: invalid sort option");
pub(crate) const COMPACTED: Status =
    known(Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted");
pub(crate) const FUTURE_REVISION: Status =
    known(Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision");
pub(crate) const NO_SPACE: Status =
    known(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");
pub(crate) const LEASE_NOT_FOUND: Status =
    known(Code::NotFound, "etcdserver: requested lease not found");
pub(crate) const LEASE_EXISTS: Status =
    known(Code::FailedPrecondition, "etcdserver: lease already exists");
pub(crate) const LEASE_TTL_TOO_LARGE: Status =
    known(Code::OutOfRange, "etcdserver: too large lease TTL");
pub(crate) const MEMBER_EXISTS: Status =
    known(Code::FailedPrecondition, "etcdserver: member ID already exist");
pub(crate) const PEER_URL_EXISTS: Status =
    known(Code::FailedPrecondition, "etcdserver: Peer URLs already exists");
pub(crate) const MEMBER_NOT_FOUND: Status = known(Code::NotFound, "etcdserver: member not found");
pub(crate) const MEMBER_NOT_LEARNER: Status =
    known(Code::FailedPrecondition, "etcdserver: can only promote a learner member");
pub(crate) const TOO_MANY_LEARNERS: Status =
    known(Code::FailedPrecondition, "etcdserver: too many learner members in cluster");
pub(crate) const REQUEST_TOO_LARGE: Status =
    known(Code::InvalidArgument, "etcdserver: request is too large");
pub(crate) const TOO_MANY_REQUESTS: Status = known(Code::Unknown, "etcdserver: too many requests");
pub(crate) const NO_LEADER: Status = known(Code::Unavailable, "etcdserver: no leader");
pub(crate) const NOT_LEADER: Status = known(Code::FailedPrecondition, "etcdserver: not leader");
pub(crate) const STOPPED: Status = known(Code::Unavailable, "etcdserver: server stopped");
pub(crate) const TIMEOUT: Status = known(Code::Unavailable, "etcdserver: request timed out");
pub(crate) const LEADER_LOST: Status = known(
    Code::Unavailable,
    "etcdserver: request timed out, possibly due to previous leader failure",
);
pub(crate) const TRANSFER_TIMEOUT: Status =
    known(Code::Unknown, "etcdserver: request timed out, leader transfer took too long");
pub(crate) const NOT_PRIMARY: Status = known(Code::Unknown, "not a primary lessor");
pub(crate) const UNHEALTHY: Status = known(Code::Unavailable, "etcdserver: unhealthy cluster");
pub(crate) const NOT_FOR_LEARNERS: Status =
    known(Code::FailedPrecondition, "etcdserver: rpc not supported for learner");
pub(crate) const MEMBER_BAD_URLS: Status =
    known(Code::InvalidArgument, "etcdserver: given member URLs are invalid");
pub(crate) const NOT_ENOUGH_STARTED: Status =
    known(Code::Unknown, "etcdserver: re-configuration failed due to not enough started members");
pub(crate) const LEARNER_NOT_READY: Status = known(
    Code::FailedPrecondition,
    "etcdserver: can only promote a learner member which is in sync with leader",
);
pub(crate) const CORRUPT: Status = known(Code::DataLoss, "etcdserver: corrupt cluster");
pub(crate) const BAD_TRANSFEREE: Status =
    known(Code::FailedPrecondition, "etcdserver: bad leader transferee");
pub(crate) const AUTH_NOT_ENABLED: Status =
    known(Code::FailedPrecondition, "etcdserver: authentication is not enabled");
pub(crate) const ROOT_USER_NOT_EXIST: Status =
    known(Code::FailedPrecondition, "etcdserver: root user does not exist");
pub(crate) const ROOT_ROLE_NOT_EXIST: Status =
    known(Code::FailedPrecondition, "etcdserver: root user does not have root role");
pub(crate) const USER_EXISTS: Status =
    known(Code::FailedPrecondition, "etcdserver: user name already exists");
pub(crate) const USER_EMPTY: Status =
    known(Code::InvalidArgument, "etcdserver: user name is empty");
pub(crate) const USER_NOT_FOUND: Status =
    known(Code::FailedPrecondition, "etcdserver: user name not found");
pub(crate) const ROLE_EXISTS: Status =
    known(Code::FailedPrecondition, "etcdserver: role name already exists");
pub(crate) const ROLE_NOT_FOUND: Status =
    known(Code::FailedPrecondition, "etcdserver: role name not found");
pub(crate) const ROLE_EMPTY: Status =
    known(Code::InvalidArgument, "etcdserver: role name is empty");
pub(crate) const AUTH_FAILED: Status =
    known(Code::InvalidArgument, "etcdserver: authentication failed, invalid user ID or password");
pub(crate) const PERMISSION_NOT_GIVEN: Status =
    known(Code::InvalidArgument, "etcdserver: permission not given");
pub(crate) const PERMISSION_DENIED: Status =
    known(Code::PermissionDenied, "etcdserver: permission denied");
pub(crate) const ROLE_NOT_GRANTED: Status =
    known(Code::FailedPrecondition, "etcdserver: role is not granted to the user");
pub(crate) const PERMISSION_NOT_GRANTED: Status =
    known(Code::FailedPrecondition, "etcdserver: permission is not granted to the role");
pub(crate) const AUTH_OLD_REVISION: Status =
    known(Code::InvalidArgument, "etcdserver: revision of auth store is old");
pub(crate) const INVALID_AUTH_TOKEN: Status =
    known(Code::Unauthenticated, "etcdserver: invalid auth token");
pub(crate) const VERIFY_ONLY: Status =
    known(Code::Unknown, "auth: token signing attempted with verify-only key");
pub(crate) const PASSWORD_TOO_LONG: Status =
    known(Code::Unknown, "bcrypt: password length exceeds 72 bytes");
pub(crate) const INVALID_AUTH_MANAGEMENT: Status =
    known(Code::InvalidArgument, "etcdserver: invalid auth management");
pub(crate) const NO_PASSWORD_USER: Status =
    known(Code::Unknown, "auth: authentication failed, password was given for no password user");
pub(crate) const DOWNGRADE_VERSION: Status =
    known(Code::InvalidArgument, "etcdserver: wrong downgrade target version format");
pub(crate) const DOWNGRADE_TARGET: Status =
    known(Code::InvalidArgument, "etcdserver: invalid downgrade target version");
pub(crate) const DOWNGRADE_UNDER_WAY: Status =
    known(Code::FailedPrecondition, "etcdserver: cluster has a downgrade job in progress");
pub(crate) const NO_DOWNGRADE: Status =
    known(Code::FailedPrecondition, "etcdserver: no inflight downgrade job");
pub(crate) const NO_CLUSTER_VERSION: Status =
    known(Code::FailedPrecondition, "etcdserver: cluster version not found during downgrade");
pub(crate) const UNKNOWN_METHOD: Status = known(Code::Unknown, "etcdserver: unknown method");
pub(crate) const STREAM_SORT: Status =
    known(Code::Unimplemented, "RangeStream does not support custom sort orders");
pub(crate) const STREAM_FILTER: Status =
    known(Code::Unimplemented, "RangeStream does not support revision filters");

impl From<node::Error> for Status {
    fn from(error: node::Error) -> Self {
        match error {
            node::Error::Rejected(rejected) => from_rejected(rejected),
            node::Error::InvalidAuthToken => INVALID_AUTH_TOKEN,
            node::Error::TooLarge => REQUEST_TOO_LARGE,
            node::Error::TooManyRequests => TOO_MANY_REQUESTS,
            node::Error::NoLeader => NO_LEADER,
            node::Error::Stopped => STOPPED,
            node::Error::Timeout => TIMEOUT,
            node::Error::LeaderLost => LEADER_LOST,
            node::Error::NotPrimary => NOT_PRIMARY,
            node::Error::NotLeader => NOT_LEADER,
            node::Error::BadTransferee => BAD_TRANSFEREE,
            node::Error::TransferTimeout => TRANSFER_TIMEOUT,
            node::Error::NotEnoughStarted => NOT_ENOUGH_STARTED,
            node::Error::Unhealthy => UNHEALTHY,
            node::Error::LearnerNotReady => LEARNER_NOT_READY,
            node::Error::Refused(text) => Self::new(Code::Unknown, text),
            node::Error::Malformed(_) | node::Error::Inconsistent(_) => {
                Self::new(Code::Unknown, error.to_string())
            }
            node::Error::Compacted => COMPACTED,
            node::Error::FutureRevision => FUTURE_REVISION,
            node::Error::DowngradeVersion => DOWNGRADE_VERSION,
            node::Error::DowngradeTarget => DOWNGRADE_TARGET,
            node::Error::DowngradeUnderWay => DOWNGRADE_UNDER_WAY,
            node::Error::NoDowngrade => NO_DOWNGRADE,
            node::Error::NoClusterVersion => NO_CLUSTER_VERSION,
            node::Error::UnknownMethod => UNKNOWN_METHOD,
            node::Error::Storage(text) => Self::new(Code::Unknown, text),
        }
    }
}

pub(crate) fn from_rejected(rejected: Rejected) -> Status {
    match rejected {
        Rejected::KeyNotFound => KEY_NOT_FOUND,
        Rejected::Compacted => COMPACTED,
        Rejected::FutureRevision => FUTURE_REVISION,
        Rejected::NoSpace => NO_SPACE,
        Rejected::Corrupt => CORRUPT,
        Rejected::LeaseNotFound => LEASE_NOT_FOUND,
        Rejected::LeaseExists => LEASE_EXISTS,
        Rejected::LeaseTtlTooLarge => LEASE_TTL_TOO_LARGE,
        Rejected::MemberIdRemoved | Rejected::MemberNotFound => MEMBER_NOT_FOUND,
        Rejected::MemberIdExists => MEMBER_EXISTS,
        Rejected::PeerUrlExists => PEER_URL_EXISTS,
        Rejected::MemberNotLearner => MEMBER_NOT_LEARNER,
        Rejected::TooManyLearners => TOO_MANY_LEARNERS,
        Rejected::RootUserNotExist => ROOT_USER_NOT_EXIST,
        Rejected::RootRoleNotExist => ROOT_ROLE_NOT_EXIST,
        Rejected::UserExists => USER_EXISTS,
        Rejected::UserEmpty => USER_EMPTY,
        Rejected::UserNotFound => USER_NOT_FOUND,
        Rejected::RoleExists => ROLE_EXISTS,
        Rejected::RoleNotFound => ROLE_NOT_FOUND,
        Rejected::RoleEmpty => ROLE_EMPTY,
        Rejected::PermissionNotGiven => PERMISSION_NOT_GIVEN,
        Rejected::PermissionDenied => PERMISSION_DENIED,
        Rejected::RoleNotGranted => ROLE_NOT_GRANTED,
        Rejected::PermissionNotGranted => PERMISSION_NOT_GRANTED,
        Rejected::AuthNotEnabled => AUTH_NOT_ENABLED,
        Rejected::AuthFailed => AUTH_FAILED,
        Rejected::NoPasswordUser => NO_PASSWORD_USER,
        Rejected::AuthOldRevision => AUTH_OLD_REVISION,
        Rejected::InvalidAuthManagement => INVALID_AUTH_MANAGEMENT,
    }
}

const fn known(code: Code, text: &'static str) -> Status {
    Status { code, message: Cow::Borrowed(text) }
}
