//! One call from its headers to its trailers.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderValue, Request, Response};
use tokio::time::{Instant, timeout_at};

use crate::error;
use crate::grpc::frame::{Frame, Reader};
use crate::grpc::metadata;
use crate::rpc::{BoxFuture, Caller, Kind, Replies, Requests, Rpc, Streaming, Unary};
use crate::service::Services;
use crate::status::{Code, Status};

/// Answers one gRPC request. The client hears of every outcome but its own disappearance.
pub(crate) async fn answer(
    services: Arc<Services>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Frame>,
) {
    let (parts, body) = request.into_parts();
    let Some(rpc) = services.table.find(parts.uri.path()) else {
        refuse(&mut respond, services.table.unknown(parts.uri.path()));
        return;
    };
    rpc.metrics.started();
    let begun = metadata::caller(&parts.headers)
        .and_then(|caller| Ok((caller, metadata::timeout(&parts.headers)?)));
    let (caller, limit) = match begun {
        Ok(begun) => begun,
        Err(status) => {
            rpc.metrics.handled(status.code);
            refuse(&mut respond, status);
            return;
        }
    };
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let reader = Reader::new(body, services.limits.message_bytes());
    let call = Call { services: &services, rpc, caller, deadline };
    let code = match rpc.kind {
        Kind::Unary(handler) => call.unary(handler, reader, &mut respond).await,
        Kind::ServerStream(handler) | Kind::Bidi(handler) => {
            call.streaming(handler, reader, &mut respond).await
        }
    };
    rpc.metrics.handled(code);
}

struct Call<'a> {
    services: &'a Arc<Services>,
    rpc: &'a Rpc,
    caller: Caller,
    deadline: Option<Instant>,
}

impl Call<'_> {
    async fn unary(
        self,
        handler: Unary,
        mut reader: Reader,
        respond: &mut SendResponse<Frame>,
    ) -> Code {
        let outcome = match std::future::poll_fn(|cx| reader.poll_message(cx)).await {
            Some(Ok(message)) => {
                self.rpc.metrics.received(message.len());
                match self.services.admit(&self.caller, self.rpc.kind) {
                    Ok(()) => {
                        let call = handler(Arc::clone(self.services), self.caller, message);
                        within(self.deadline, call).await
                    }
                    Err(status) => Err(status),
                }
            }
            Some(Err(status)) => Err(status),
            None => Err(Status::new(Code::Internal, "EOF")),
        };
        match outcome {
            Ok(message) => {
                self.rpc.metrics.sent(message.len());
                match reply(respond, message) {
                    Ok(()) => Code::Ok,
                    Err(_) => Code::Canceled,
                }
            }
            Err(status) => {
                let code = status.code;
                refuse(respond, status);
                code
            }
        }
    }

    async fn streaming(
        self,
        handler: Streaming,
        reader: Reader,
        respond: &mut SendResponse<Frame>,
    ) -> Code {
        if let Err(status) = self.services.admit(&self.caller, self.rpc.kind) {
            let code = status.code;
            refuse(respond, status);
            return code;
        }
        let Ok(stream) = respond.send_response(head(), false) else { return Code::Canceled };
        let shared = Arc::new(std::sync::Mutex::new(stream));
        let requests = Box::new(GrpcRequests { reader, metrics: self.rpc.metrics.clone() });
        let replies = Box::new(GrpcReplies {
            stream: Arc::clone(&shared),
            metrics: self.rpc.metrics.clone(),
        });
        let call = handler(Arc::clone(self.services), self.caller, requests, replies);
        let mut call = std::pin::pin!(within(self.deadline, call));
        // A stream has no end of its own: clients go on at another member, or here after a restart.
        let mut stopped = self.services.stop.subscribe();
        let mut stop = std::pin::pin!(stopped.wait_for(|stop| *stop));
        let outcome = std::future::poll_fn(|cx| {
            if stop.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(error::STOPPED));
            }
            if let Poll::Ready(outcome) = call.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
            // The client may go away without closing its half: only the reset says so.
            let mut stream = shared.lock().expect("no holder of this lock panics");
            stream.poll_reset(cx).map(|_| Err(gone()))
        })
        .await;
        let mut trailers = http::HeaderMap::with_capacity(2);
        metadata::put_status(&mut trailers, &outcome);
        let mut stream = shared.lock().expect("no holder of this lock panics");
        // A client that is gone misses its trailers.
        let _ = stream.send_trailers(trailers);
        outcome.map_or_else(|status| status.code, |()| Code::Ok)
    }
}

async fn within<T>(
    deadline: Option<Instant>,
    call: BoxFuture<Result<T, Status>>,
) -> Result<T, Status> {
    let Some(deadline) = deadline else { return call.await };
    match timeout_at(deadline, call).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Status::new(Code::DeadlineExceeded, "context deadline exceeded")),
    }
}

fn head() -> Response<()> {
    let mut response = Response::new(());
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn reply(respond: &mut SendResponse<Frame>, message: Bytes) -> Result<(), h2::Error> {
    let mut stream = respond.send_response(head(), false)?;
    stream.send_data(Frame::new(message), false)?;
    let mut trailers = http::HeaderMap::with_capacity(1);
    metadata::put_status(&mut trailers, &Ok(()));
    stream.send_trailers(trailers)
}

/// A refusal is headers alone, as gRPC's "trailers only" form.
fn refuse(respond: &mut SendResponse<Frame>, status: Status) {
    let mut response = head();
    metadata::put_status(response.headers_mut(), &Err(status));
    // A client that is gone misses the refusal.
    let _ = respond.send_response(response, true);
}

struct GrpcRequests {
    reader: Reader,
    metrics: crate::metrics::RpcMetrics,
}

impl Requests for GrpcRequests {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        let polled = self.reader.poll_message(cx);
        if let Poll::Ready(Some(Ok(message))) = &polled {
            self.metrics.received(message.len());
        }
        polled
    }
}

struct GrpcReplies {
    /// Shared with the call, which writes the trailers; both run in one task, so it never waits.
    stream: Arc<std::sync::Mutex<SendStream<Frame>>>,
    metrics: crate::metrics::RpcMetrics,
}

impl Replies for GrpcReplies {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        let mut stream = self.stream.lock().expect("no holder of this lock panics");
        loop {
            if stream.capacity() > 0 {
                return Poll::Ready(Ok(()));
            }
            // One byte of window is leave to send: at most one message waits inside h2.
            stream.reserve_capacity(1);
            match std::task::ready!(stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(gone())),
            }
        }
    }

    fn send(&mut self, message: Bytes) -> Result<(), Status> {
        let mut stream = self.stream.lock().expect("no holder of this lock panics");
        self.metrics.sent(message.len());
        stream.send_data(Frame::new(message), false).map_err(|_| gone())?;
        Ok(())
    }
}

fn gone() -> Status {
    Status::new(Code::Canceled, "context canceled")
}
