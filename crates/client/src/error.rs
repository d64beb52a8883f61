/// Why a call has not brought what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Somebody has said no, in his own words.
    #[error("rpc error: code = {code} desc = {message}")]
    Status {
        /// The number of gRPC's code.
        code: u32,
        /// What it is about.
        message: String,
    },
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

impl Error {
    /// gRPC's code for somebody whose token is not known (any more).
    const UNAUTHENTICATED: u32 = 16;
    /// gRPC's code for a server that cannot answer now.
    const UNAVAILABLE: u32 = 14;

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
            Error::Endpoint { .. } | Error::Canceled(_) => false,
        }
    }
}
