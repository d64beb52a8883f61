//! A collector of spans, as members send them (OTLP over gRPC).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use bytes::{BufMut as _, Bytes, BytesMut};
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use proto::Message as _;
use proto::opentelemetry::{ExportTraceServiceRequest, ResourceSpans};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// It collects until it is dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    collected: Arc<Mutex<Vec<ResourceSpans>>>,
    _runtime: Runtime,
}

impl Collector {
    /// Listens on a port of its own.
    pub fn start() -> anyhow::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let collected = Arc::new(Mutex::new(Vec::new()));
        let place = Arc::clone(&collected);
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let place = Arc::clone(&place);
                // What is wrong with a connection shows in what is missing.
                tokio::spawn(async move { serve(socket, &place).await.unwrap_or_default() });
            }
        });
        Ok(Self { address, collected, _runtime: runtime })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has come so far.
    pub fn collected(&self) -> Vec<ResourceSpans> {
        self.collected.lock().expect("no holder of this lock panics").clone()
    }
}

async fn serve(socket: TcpStream, place: &Mutex<Vec<ResourceSpans>>) -> anyhow::Result<()> {
    let mut connection = h2::server::handshake(socket).await?;
    while let Some(asked) = connection.accept().await {
        let (request, reply) = asked?;
        // One after the other: a member sends a batch when the last one was taken. Its body comes
        // while the connection is looked at.
        let answered = answer(request, reply, place);
        tokio::select! {
            answered = answered => answered?,
            more = connection.accept() => anyhow::ensure!(more.is_none(), "two calls at a time"),
        }
    }
    Ok(())
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut reply: SendResponse<Bytes>,
    place: &Mutex<Vec<ResourceSpans>>,
) -> anyhow::Result<()> {
    anyhow::ensure!(request.uri().path() == EXPORT, "{}", request.uri());
    let mut body = request.into_body();
    let mut received = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        received.put(data);
    }
    let message = received.get(5..).context("a message")?;
    let request = ExportTraceServiceRequest::decode(message)?;
    place.lock().expect("no holder of this lock panics").extend(request.resource_spans);
    let head = Response::builder().header("content-type", "application/grpc").body(())?;
    let mut answer = reply.send_response(head, false)?;
    answer.send_data(Bytes::from_static(&[0; 5]), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    answer.send_trailers(trailers)?;
    Ok(())
}
