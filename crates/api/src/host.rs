//! Whom a server serves for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::sync::watch;

use crate::answer::{Answer, Request};
use crate::door::Offer;
use crate::rpc::{BoxFuture, Caller, Rpc, Table};
use crate::service::Keepalive;
use crate::status::Status;

/// What stands behind a server's sockets: a member, or who asks members.
pub trait Host: Sized + Send + Sync + 'static {
    /// The calls.
    fn table(&self) -> &Table<Self>;
    /// The largest message that is read.
    fn message_bytes(&self) -> usize;
    /// Calls at a time on one connection.
    fn concurrent_streams(&self) -> u32;
    /// How connections are kept alive.
    fn keepalive(&self) -> Keepalive;
    /// Raised when no more is to be served.
    fn stop(&self) -> &watch::Sender<bool>;
    /// What is checked of every call before its handler runs; the request is there where it is a
    /// single one.
    fn admit(
        &self,
        caller: &Caller,
        rpc: &Rpc<Self>,
        request: Option<&Bytes>,
    ) -> Result<(), Status>;
    /// Done when nobody leads, with what streams hear whose clients want to know of it.
    fn leaderless(&self) -> BoxFuture<Status>;
    /// Replies that take longer to send are told of; none where there is no such limit.
    fn slow_requests(&self) -> Option<Duration> {
        None
    }
    /// Answers a request of plain HTTP.
    fn answer(self: Arc<Self>, offer: Offer, request: Request) -> BoxFuture<Response<Answer>>;
}
