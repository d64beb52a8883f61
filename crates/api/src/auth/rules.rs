//! What each call asks of its caller while auth is on, before its handler runs.

/// What a caller needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Nothing: the call is about who one is, or about nobody's data.
    Everybody,
    /// To be somebody.
    User,
    /// The role `root`.
    Admin,
    /// That depends on the request: its handler asks, or the entry that it becomes is judged when
    /// it is applied.
    ByRequest,
}

/// The rule of a call. One that is not named here is for `root`.
pub(super) fn rule(service: &str, method: &str) -> Rule {
    match (service, method) {
        ("etcdserverpb.KV", "Compact") => Rule::Admin,
        ("etcdserverpb.KV" | "etcdserverpb.Watch", _) => Rule::ByRequest,
        ("etcdserverpb.Lease", "LeaseKeepAlive" | "LeaseGrant") => Rule::ByRequest,
        ("etcdserverpb.Lease", _) => Rule::User,
        ("etcdserverpb.Cluster", _) => Rule::ByRequest,
        ("etcdserverpb.Maintenance", "Status") => Rule::User,
        ("etcdserverpb.Maintenance", "Alarm") => Rule::ByRequest,
        ("etcdserverpb.Auth", "Authenticate") => Rule::Everybody,
        ("etcdserverpb.Auth", _) => Rule::ByRequest,
        // What they do to keys is asked for each key.
        ("v3lockpb.Lock" | "v3electionpb.Election", _) => Rule::ByRequest,
        ("grpc.health.v1.Health", _) => Rule::Everybody,
        _ => Rule::Admin,
    }
}
