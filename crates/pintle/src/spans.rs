//! Sends the spans of calls to a collector (OTLP over gRPC, without TLS, as etcd): a thread that
//! takes them from a bounded queue and sends them in batches.
//!
//! A batch that the collector does not take is sent again for a minute. Meanwhile the queue fills,
//! and what it has no room for is lost; the log tells when that begins, and how much it was.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use api::{Services, Tracer};
use client::Client;
use proto::opentelemetry::any_value::Value;
use proto::opentelemetry::span::SpanKind;
use proto::opentelemetry::{
    AnyValue, ExportTraceServiceRequest, ExportTraceServiceResponse, InstrumentationScope,
    KeyValue, Resource, ResourceSpans, ScopeSpans, Span,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::config::{Config, Tracing};
use crate::logging::Logger;

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// Spans that are sent together.
const BATCH_SPANS: usize = 512;
/// How long a span waits for others.
const BATCH_DELAY: Duration = Duration::from_secs(1);
/// For reaching the collector, and for its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(5);
/// How long a batch is sent again.
const BATCH_PATIENCE: Duration = Duration::from_secs(60);
/// What remains to be sent at the end of the member has so long.
const FAREWELL: Duration = Duration::from_secs(3);

/// The thread that sends. Dropping it sends what waits, if the collector is quick, and ends it.
#[derive(Debug)]
pub(crate) struct Sender {
    ends: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Sender {
    fn drop(&mut self) {
        drop(self.ends.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panics has ended the process.
            let _ = thread.join();
        }
    }
}

/// Has calls traced, where that is wanted. An address that is none ends the start.
pub(crate) fn open(
    config: &Config,
    logger: &Logger,
    services: &Services,
) -> anyhow::Result<Option<Sender>> {
    let Some(wanted) = &config.tracing else { return Ok(None) };
    let client = client_of(&wanted.address)?;
    let (tracer, spans) = Tracer::open(wanted.sampling_rate);
    services.trace(Arc::clone(&tracer));
    let sending = Sending {
        spans,
        tracer,
        client,
        resource: resource(wanted),
        batch: Vec::new(),
        lost: 0,
        is_failing: false,
    };
    let (ends, ended) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name("spans".to_owned());
    let thread = thread.spawn(move || runtime.block_on(sending.run(ended)))?;
    logger.info("distributed tracing setup enabled").send();
    Ok(Some(Sender { ends: Some(ends), thread: Some(thread) }))
}

fn client_of(address: &str) -> anyhow::Result<Client> {
    let options = client::Options {
        endpoints: vec![address.to_owned()],
        dial_timeout: PATIENCE,
        request_timeout: PATIENCE,
        keepalive_time: Duration::ZERO,
        keepalive_timeout: Duration::ZERO,
        user: None,
        tls: client::Tls::default(),
    };
    Client::new(options).with_context(|| format!("collector of spans {address:?}"))
}

/// Who it is that sends.
fn resource(wanted: &Tracing) -> Resource {
    let named = |key: &str, value: &str| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) }),
    };
    let mut attributes = vec![named("service.name", &wanted.service_name)];
    if !wanted.instance_id.is_empty() {
        attributes.push(named("service.instance.id", &wanted.instance_id));
    }
    Resource { attributes }
}

struct Sending {
    spans: mpsc::Receiver<Span>,
    tracer: Arc<Tracer>,
    client: Client,
    resource: Resource,
    batch: Vec<Span>,
    /// Since the log was told.
    lost: u64,
    is_failing: bool,
}

impl Sending {
    async fn run(mut self, mut ended: oneshot::Receiver<()>) {
        while self.send_a_batch(&mut ended).await {}
        let _ = timeout(FAREWELL, self.send_rest()).await;
    }

    /// Whether the member goes on. A try is not broken off at once when it ends: what has arrived
    /// already would be sent once more.
    async fn send_a_batch(&mut self, ended: &mut oneshot::Receiver<()>) -> bool {
        tokio::select! {
            biased;
            _ = &mut *ended => return false,
            () = self.gather() => {}
        }
        let give_up = Instant::now() + BATCH_PATIENCE;
        loop {
            let is_sent = tokio::select! {
                biased;
                is_sent = self.try_send() => is_sent,
                () = long_after(ended) => return false,
            };
            if is_sent {
                return true;
            }
            if Instant::now() >= give_up {
                self.lost += self.batch.len() as u64;
                self.batch.clear();
                return true;
            }
            tokio::select! {
                biased;
                _ = &mut *ended => return false,
                () = sleep(PAUSE) => {}
            }
        }
    }

    /// Waits until there is a batch: full, or of a span that has waited long enough.
    async fn gather(&mut self) {
        if self.batch.is_empty()
            && let Some(span) = self.spans.recv().await
        {
            self.batch.push(span);
        }
        let due = Instant::now() + BATCH_DELAY;
        while self.batch.len() < BATCH_SPANS {
            tokio::select! {
                biased;
                Some(span) = self.spans.recv() => self.batch.push(span),
                () = sleep_until(due) => return,
            }
        }
    }

    /// What is there when the member ends, with one try for each batch.
    async fn send_rest(&mut self) {
        loop {
            while self.batch.len() < BATCH_SPANS
                && let Ok(span) = self.spans.try_recv()
            {
                self.batch.push(span);
            }
            if self.batch.is_empty() || !self.try_send().await {
                return;
            }
        }
    }

    /// Whether the collector has the batch now.
    async fn try_send(&mut self) -> bool {
        let request = request(&self.resource, &self.batch);
        let sent = self.client.ask::<ExportTraceServiceResponse>(EXPORT, &request).await;
        self.lost += self.tracer.take_lost();
        match sent {
            Ok(response) => {
                let refused = response.partial_success.map_or(0, |partial| partial.rejected_spans);
                self.lost += u64::try_from(refused).unwrap_or(0);
                self.batch.clear();
                if std::mem::take(&mut self.is_failing) || self.lost > 0 {
                    let lost = std::mem::take(&mut self.lost);
                    tracing::warn!(lost, "spans reach the collector, some may be lost");
                }
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(error = error.to_string(), "failed to send spans");
                }
                false
            }
        }
    }
}

async fn long_after(ended: &mut oneshot::Receiver<()>) {
    let _ = ended.await;
    sleep(FAREWELL).await;
}

fn request(resource: &Resource, batch: &[Span]) -> ExportTraceServiceRequest {
    let (calls, parts): (Vec<_>, Vec<_>) =
        batch.iter().cloned().partition(|span| span.kind() == SpanKind::Server);
    let version = env!("CARGO_PKG_VERSION");
    // The name of the parts is that of etcd's.
    let scopes = [("pintle", version, calls), ("go.etcd.io/etcd", "", parts)];
    let scope_spans = scopes
        .into_iter()
        .filter(|(.., spans)| !spans.is_empty())
        .map(|(name, version, spans)| {
            let (name, version) = (name.to_owned(), version.to_owned());
            ScopeSpans { scope: Some(InstrumentationScope { name, version }), spans }
        })
        .collect();
    let resource_spans = vec![ResourceSpans { resource: Some(resource.clone()), scope_spans }];
    ExportTraceServiceRequest { resource_spans }
}
