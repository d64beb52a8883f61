//! gRPC on HTTP/2: one task per call, straight on the `h2` crate.

mod call;
mod frame;
mod metadata;

pub(crate) use call::answer;
pub(crate) use frame::Frame;
