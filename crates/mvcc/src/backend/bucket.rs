/// The name of the bucket of records, which only the store itself writes.
pub(crate) const KEY_BUCKET: &[u8] = b"key";

/// Buckets of the db file besides `key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bucket {
    /// Active alarms.
    Alarm,
    /// Whether authentication is on, and its revision.
    Auth,
    /// Roles by name.
    AuthRoles,
    /// Users by name.
    AuthUsers,
    /// The cluster's version and a downgrade in progress.
    Cluster,
    /// Leases by id.
    Lease,
    /// Members by id.
    Members,
    /// Ids that can never come back.
    MembersRemoved,
    /// Consistent index, term, compactions, storage version.
    Meta,
}

impl Bucket {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 9] = [
        Self::Alarm,
        Self::Auth,
        Self::AuthRoles,
        Self::AuthUsers,
        Self::Cluster,
        Self::Lease,
        Self::Members,
        Self::MembersRemoved,
        Self::Meta,
    ];

    /// The name in the file.
    pub const fn name(self) -> &'static [u8] {
        match self {
            Self::Alarm => b"alarm",
            Self::Auth => b"auth",
            Self::AuthRoles => b"authRoles",
            Self::AuthUsers => b"authUsers",
            Self::Cluster => b"cluster",
            Self::Lease => b"lease",
            Self::Members => b"members",
            Self::MembersRemoved => b"members_removed",
            Self::Meta => b"meta",
        }
    }
}
