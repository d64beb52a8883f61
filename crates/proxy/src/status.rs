//! What clients hear of what the way to members has brought.

use api::{Caller, Code, Status};
use bytes::Bytes;
use client::{Error, Metadata};
use proto::Message;

/// A refusal of a member goes through; what else goes wrong is told as etcd's proxy tells it.
pub(crate) fn of(error: Error) -> Status {
    match error {
        Error::Status { code, message } => {
            let code = Code::ALL.get(code as usize).copied().unwrap_or(Code::Unknown);
            Status::new(code, message)
        }
        Error::Timeout => Status::new(Code::DeadlineExceeded, "context deadline exceeded"),
        Error::Unreachable { endpoint, reason } => {
            let reason = reason.split(" (os error").next().unwrap_or_default().to_lowercase();
            let text = format!(
                "connection error: desc = \"transport: Error while dialing: dial tcp {endpoint}: \
                 connect: {reason}\""
            );
            Status::new(Code::Unavailable, text)
        }
        other => Status::new(Code::Unavailable, other.to_string()),
    }
}

/// What is said to members of who calls.
pub(crate) fn metadata(caller: &Caller) -> Metadata {
    // What has come as a header can be one again.
    let value = |bytes: &Bytes| http::HeaderValue::from_maybe_shared(bytes.clone()).ok();
    Metadata {
        token: caller.credentials.token.as_ref().and_then(value),
        authorization: caller.credentials.authorization.as_ref().and_then(value),
        require_leader: caller.require_leader,
        api_version: caller
            .api_version
            .as_ref()
            .and_then(|text| http::HeaderValue::from_str(text).ok()),
    }
}

/// Reads a request; what is none is refused as gRPC does.
pub(crate) fn decode<M: Message + Default>(bytes: &Bytes) -> Result<M, Status> {
    M::decode(bytes.clone()).map_err(|failure| {
        Status::new(Code::Internal, format!("grpc: error unmarshalling request: {failure}"))
    })
}

/// Reads what a member has answered.
pub(crate) fn answered<M: Message + Default>(bytes: Bytes) -> Result<M, Status> {
    M::decode(bytes).map_err(|failure| Status::new(Code::Internal, failure.to_string()))
}

pub(crate) fn encode(message: &impl Message) -> Bytes {
    Bytes::from(message.encode_to_vec())
}
