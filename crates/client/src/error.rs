/// Why a call has not brought what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Somebody has said no, in his own words.
    #[error("{}", told(*code, message))]
    Status {
        /// The number of gRPC's code.
        code: u32,
        /// What it is about.
        message: String,
    },
    /// The server does not take us for whom we say we are.
    #[error("{0}")]
    Login(Box<Error>),
    /// It is no address that can be dialled.
    #[error("endpoint {endpoint:?}: {reason}")]
    Endpoint {
        /// As it was given.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody could be reached; this was the last one.
    #[error("cannot connect to {endpoint}: {reason}")]
    Unreachable {
        /// Who.
        endpoint: String,
        /// What was in the way.
        reason: String,
    },
    /// The connection broke, or what came over it was no gRPC.
    #[error("connection lost: {0}")]
    Lost(String),
    /// It took too long.
    #[error("context deadline exceeded")]
    Timeout,
    /// The server has ended the watch.
    #[error("watch canceled: {0}")]
    Canceled(String),
}

/// The names of gRPC's codes, from 0 on.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// What etcd says speaks for itself; what comes from elsewhere is told as Go tells it.
fn told(code: u32, message: &str) -> String {
    if message.starts_with("etcdserver: ") {
        return message.to_owned();
    }
    let name =
        CODES.get(code as usize).map_or_else(|| format!("Code({code})"), |&it| it.to_owned());
    format!("rpc error: code = {name} desc = {message}")
}

impl Error {
    /// gRPC's code for somebody whose token is not known (any more).
    const UNAUTHENTICATED: u32 = 16;
    /// What a cluster says that knows no users.
    pub(crate) const NO_USERS: &'static str = "etcdserver: authentication is not enabled";
    /// gRPC's code for a server that cannot answer now.
    pub(crate) const UNAVAILABLE: u32 = 14;
    const RESOURCE_EXHAUSTED: u32 = 8;

    /// A message beyond the limit, in gRPC's words.
    pub(crate) fn too_large(way: &str, bytes: usize, limit: usize) -> Self {
        let way = if way == "received" { "received" } else { "trying to send" };
        let message = format!("grpc: {way} message larger than max ({bytes} vs. {limit})");
        Error::Status { code: Error::RESOURCE_EXHAUSTED, message }
    }

    pub(crate) fn lost(what: impl std::fmt::Display) -> Self {
        Error::Lost(what.to_string())
    }

    /// Whether the next call should be made elsewhere, or as somebody else.
    pub(crate) fn is_of_connection(&self) -> bool {
        match self {
            Error::Status { code, .. } => {
                matches!(*code, Error::UNAUTHENTICATED | Error::UNAVAILABLE)
            }
            Error::Lost(_) | Error::Timeout | Error::Unreachable { .. } => true,
            Error::Login(_) | Error::Endpoint { .. } | Error::Canceled(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::told;

    #[test]
    fn what_etcd_says_speaks_for_itself() {
        assert_eq!(told(3, "etcdserver: key is not provided"), "etcdserver: key is not provided");
        assert_eq!(told(14, "gone"), "rpc error: code = Unavailable desc = gone");
        assert_eq!(told(99, "odd"), "rpc error: code = Code(99) desc = odd");
    }
}
