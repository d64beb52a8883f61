/// A deterministic refusal: a result like any other, the same on all members. It changes
/// nothing (but see [`Rejected::NoSpace`]), and the log goes on.
///
/// The texts and codes that clients see are the door's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Rejected {
    /// `ignore_value` or `ignore_lease` on a key that does not live.
    #[error("key not found")]
    KeyNotFound,
    /// The revision asked for was compacted.
    #[error("required revision has been compacted")]
    Compacted,
    /// The revision asked for lies ahead.
    #[error("required revision is a future revision")]
    FutureRevision,
    /// A NOSPACE alarm stands. Or this member's own quota is used up: then the change *was*
    /// made (what a quota says differs between members, what they hold must not), and only
    /// the answer says so.
    #[error("database space exceeded")]
    NoSpace,
    /// A CORRUPT alarm stands.
    #[error("corrupt cluster")]
    Corrupt,
    /// No such lease, or lease id 0.
    #[error("lease not found")]
    LeaseNotFound,
    /// The lease id is taken.
    #[error("lease already exists")]
    LeaseExists,
    /// More than 9 000 000 000 seconds.
    #[error("too large lease TTL")]
    LeaseTtlTooLarge,
    /// The id was a member once and can never be one again.
    #[error("the member has been permanently removed from the cluster")]
    MemberIdRemoved,
    /// No such member.
    #[error("member not found")]
    MemberNotFound,
    /// The id is a member already.
    #[error("member ID already exist")]
    MemberIdExists,
    /// A member has this peer URL already.
    #[error("peer URLs already exists")]
    PeerUrlExists,
    /// Only a learner can be promoted.
    #[error("can only promote a learner member")]
    MemberNotLearner,
    /// More learners than `--max-learners`.
    #[error("too many learner members in cluster")]
    TooManyLearners,
    /// Auth cannot be enabled without a user `root`.
    #[error("root user does not exist")]
    RootUserNotExist,
    /// Auth cannot be enabled before `root` has the role `root`.
    #[error("root user does not have root role")]
    RootRoleNotExist,
    /// The user name is taken.
    #[error("user already exists")]
    UserExists,
    /// No user name was given.
    #[error("user name is empty")]
    UserEmpty,
    /// No such user.
    #[error("user not found")]
    UserNotFound,
    /// The role name is taken.
    #[error("role already exists")]
    RoleExists,
    /// No such role.
    #[error("role not found")]
    RoleNotFound,
    /// No role name was given.
    #[error("role name is empty")]
    RoleEmpty,
    /// The grant of a permission named none.
    #[error("permission not given")]
    PermissionNotGiven,
    /// The user may not do this.
    #[error("permission denied")]
    PermissionDenied,
    /// The user does not have the role that is to be revoked.
    #[error("role is not granted to the user")]
    RoleNotGranted,
    /// The role does not have the permission that is to be revoked.
    #[error("permission is not granted to the role")]
    PermissionNotGranted,
    /// Auth is off.
    #[error("authentication is not enabled")]
    AuthNotEnabled,
    /// Wrong user or password.
    #[error("authentication failed, invalid user ID or password")]
    AuthFailed,
    /// A password came for a user that has none, or in a form that cannot be read.
    #[error("authentication failed, password was given for no password user")]
    NoPasswordUser,
    /// Users or permissions changed since the request was checked.
    #[error("revision of auth store is old")]
    AuthOldRevision,
    /// `root` cannot be taken away while auth is on, and a permission needs a real range.
    #[error("invalid auth management")]
    InvalidAuthManagement,
}

/// What this member cannot go on from: log it and stop. The db file stays as it was at the
/// last commit.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store or its db file failed.
    #[error(transparent)]
    Storage(#[from] mvcc::Error),
    /// A record of the db file cannot be read.
    #[error("cannot read {what} from bucket {bucket:?}: {reason}")]
    Record {
        /// Where it lies.
        bucket: mvcc::Bucket,
        /// Which record.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The db file was written by a newer etcd.
    #[error("storage version {found} is not supported, the newest known one is {newest}")]
    SchemaUnsupported {
        /// What the file says.
        found: String,
        /// What this binary knows.
        newest: crate::Version,
    },
    /// The cluster agreed on a version that this binary is too old for.
    #[error(
        "invalid downgrade; server version {server} is lower than determined cluster version {cluster}"
    )]
    ClusterVersionAhead {
        /// What the cluster agreed on.
        cluster: crate::Version,
        /// What this binary is.
        server: crate::Version,
    },
    /// An entry of the log makes no sense; every member that applies it stops.
    #[error("cannot apply entry {index}: {reason}")]
    Entry {
        /// Which one.
        index: u64,
        /// What is wrong with it.
        reason: String,
    },
}
