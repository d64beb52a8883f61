//! One call: its request out of a body, and what becomes of it.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use proto::json::Schema;
use tokio::time::{Instant, timeout_at};

use super::paths::Route;
use super::stream::{self, Opening, Source};
use super::values::Values;
use super::{metadata, reply};
use crate::answer::{Answer, Request};
use crate::door::Via;
use crate::host::Host as _;
use crate::rpc::{Caller, Kind, Rpc, Unary};
use crate::service::Services;
use crate::status::{Code, Status};

/// Replies up to this size are written on the thread of the connection.
const WRITTEN_HERE_BYTES: usize = 1 << 20;

/// How much more is read of a body that is no JSON.
const REFUSED_BODY_BYTES: usize = 256 << 10;

/// Makes the call that a request asks for.
pub(super) async fn answer(
    services: &Arc<Services>,
    route: Route,
    request: Request,
) -> Result<Response<Answer>, Status> {
    let (mut caller, deadline) = metadata::of(&request.parts)?;
    caller.remote = request.peer;
    caller.local = request.parts.extensions.get::<Via>().and_then(|via| via.local);
    let Some(rpc) = services.table.find(route.path).cloned() else {
        return Err(services.table.unknown(route.path));
    };
    let mut values = Values::new(request.body, route.request, services.limits.message_bytes());
    let (handler, source) = match rpc.kind {
        Kind::Unary(handler) => {
            let message = only(&mut values, request.endless).await?;
            let gone = async {
                match request.gone {
                    Some(gone) => gone.await,
                    None => std::future::pending().await,
                }
            };
            let reply = tokio::select! {
                biased;
                reply = unary(services, &rpc, handler, caller, message, deadline) => reply?,
                () = gone => return Err(Status::new(Code::Canceled, "context canceled")),
            };
            let body = written(services, route.response, reply).await?;
            return Ok(reply::good(Answer::Whole(body)));
        }
        Kind::ServerStream(handler) => {
            let message = only(&mut values, request.endless).await?;
            (handler, Source::One(Some(message)))
        }
        Kind::Bidi(handler) => (handler, Source::Many(values)),
    };
    let gone = request.gone;
    stream::open(services, Opening { route, rpc, handler, caller, source, deadline, gone }).await
}

/// The one message of a body; what follows it does not count, but is waited for.
async fn only(values: &mut Values, endless: bool) -> Result<Bytes, Status> {
    let message = poll_fn(|cx| values.poll_next(cx)).await.transpose();
    if !endless {
        // Who is refused hears of it only if what it still says is taken.
        let mut patience_bytes = match &message {
            Err(status) if status.code == Code::InvalidArgument => REFUSED_BODY_BYTES,
            _ => usize::MAX,
        };
        let rest = poll_fn(|cx| values.poll_end(&mut patience_bytes, cx)).await;
        if message.is_ok() {
            rest?;
        }
    }
    Ok(message?.unwrap_or_default())
}

async fn unary(
    services: &Arc<Services>,
    rpc: &Arc<Rpc>,
    handler: Unary,
    caller: Caller,
    message: Bytes,
    deadline: Option<Instant>,
) -> Result<Bytes, Status> {
    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        return Err(too_late());
    }
    let count = Count::begin(rpc);
    rpc.metrics.received(message.len());
    let made = async {
        services.admit(&caller, rpc, Some(&message))?;
        handler(Arc::clone(services), caller, message).await
    };
    let outcome = match deadline {
        Some(deadline) => timeout_at(deadline, made).await.unwrap_or_else(|_| Err(too_late())),
        None => made.await,
    };
    if let Ok(reply) = &outcome {
        rpc.metrics.sent(reply.len());
    }
    count.end(outcome.as_ref().map_or_else(|status| status.code, |_| Code::Ok));
    outcome
}

/// Writes a reply as JSON: a large one on another thread, as this one has other clients.
async fn written(
    services: &Services,
    schema: &'static Schema,
    reply: Bytes,
) -> Result<Bytes, Status> {
    if reply.len() <= WRITTEN_HERE_BYTES {
        return reply::message(schema, &reply);
    }
    services.node.aside(move || reply::message(schema, &reply)).await?
}

/// What a call hears whose deadline has passed.
pub(super) fn too_late() -> Status {
    Status::new(Code::DeadlineExceeded, "context deadline exceeded")
}

/// Counts a call, also one that is dropped.
pub(super) struct Count {
    rpc: Arc<Rpc>,
    code: Code,
}

impl Count {
    pub(super) fn begin(rpc: &Arc<Rpc>) -> Self {
        rpc.metrics.started();
        Self { rpc: Arc::clone(rpc), code: Code::Canceled }
    }

    pub(super) fn end(mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.rpc.metrics.handled(self.code);
    }
}
