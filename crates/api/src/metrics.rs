//! The counters of calls, by etcd's names.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock, OnceLock};

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, exponential_buckets,
    register_histogram, register_int_counter, register_int_counter_vec,
};

use crate::status::Code;

/// Makes a labelled counter; names and labels are constants, so making it cannot fail.
fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register_int_counter_vec!(Opts::new(name, help), labels).expect("the name is registered once")
}

static STARTED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "grpc_server_started_total",
        "Total number of RPCs started on the server.",
        &["grpc_type", "grpc_service", "grpc_method"],
    )
});
static HANDLED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "grpc_server_handled_total",
        "Total number of RPCs completed on the server, regardless of success or failure.",
        &["grpc_type", "grpc_service", "grpc_method", "grpc_code"],
    )
});
static RECEIVED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "grpc_server_msg_received_total",
        "Total number of RPC stream messages received on the server.",
        &["grpc_type", "grpc_service", "grpc_method"],
    )
});
static SENT: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "grpc_server_msg_sent_total",
        "Total number of gRPC stream messages sent by the server.",
        &["grpc_type", "grpc_service", "grpc_method"],
    )
});
static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(
        "etcd_server_client_requests_total",
        "The total number of client requests per client version.",
        &["type", "client_api_version"],
    )
});
/// Bytes received from clients, as gRPC messages.
pub(crate) static RECEIVED_BYTES: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "etcd_network_client_grpc_received_bytes_total",
        "The total number of bytes received from grpc clients."
    )
    .expect("the name is registered once")
});
/// Bytes sent to clients, as gRPC messages.
pub(crate) static SENT_BYTES: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "etcd_network_client_grpc_sent_bytes_total",
        "The total number of bytes sent to grpc clients."
    )
    .expect("the name is registered once")
});

/// Makes a histogram of the send loop of watches; from 1 ms in fourteen doublings.
fn send_loop(name: &str, help: &str) -> Histogram {
    let buckets = exponential_buckets(0.001, 2.0, 14).expect("start and count are positive");
    register_histogram!(HistogramOpts::new(name, help).buckets(buckets))
        .expect("the name is registered once")
}

/// Events that were sent to watchers.
pub(crate) static EVENTS: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "etcd_debugging_mvcc_events_total",
        "Total number of events sent by this member."
    )
    .expect("the name is registered once")
});
/// The time from events to the client's stream.
pub(crate) static WATCH_SEND: LazyLock<Histogram> = LazyLock::new(|| {
    send_loop(
        "etcd_debugging_server_watch_send_loop_watch_stream_duration_seconds",
        "The total duration in seconds of running through the send loop watch stream response all \
         events.",
    )
});
/// The same, divided by the number of events.
pub(crate) static WATCH_SEND_EVENT: LazyLock<Histogram> = LazyLock::new(|| {
    send_loop(
        "etcd_debugging_server_watch_send_loop_watch_stream_duration_per_event_seconds",
        "The average duration in seconds of running through the send loop watch stream response, \
         per event.",
    )
});
/// The time to answer a request of a watch stream.
pub(crate) static WATCH_CONTROL: LazyLock<Histogram> = LazyLock::new(|| {
    send_loop(
        "etcd_debugging_server_watch_send_loop_control_stream_duration_seconds",
        "The total duration in seconds of running through the send loop control stream response.",
    )
});
/// The time to see which watchers are to hear of progress.
pub(crate) static WATCH_PROGRESS: LazyLock<Histogram> = LazyLock::new(|| {
    send_loop(
        "etcd_debugging_server_watch_send_loop_progress_duration_seconds",
        "The total duration in seconds of running through the progress loop control stream \
         response.",
    )
});

/// Counts a call by the version that its client says it has.
pub(crate) fn count_client(kind: &'static str, api_version: Option<&str>) {
    thread_local! {
        /// The counter of the last call: the next one is mostly of the same kind and client.
        static LAST: RefCell<Option<(&'static str, String, IntCounter)>> =
            const { RefCell::new(None) };
    }
    let version = api_version.unwrap_or("unknown");
    LAST.with_borrow_mut(|last| match last {
        Some((of_kind, of_version, counter)) if *of_kind == kind && of_version == version => {
            counter.inc();
        }
        _ => {
            let counter = REQUESTS.with_label_values(&[kind, version]);
            counter.inc();
            *last = Some((kind, version.to_owned(), counter));
        }
    });
}

/// The counters of one row of the rpc table. They are shown from the first call on, or before.
#[derive(Clone)]
pub(crate) struct RpcMetrics {
    counters: Arc<Counters>,
}

struct Counters {
    labels: [&'static str; 3],
    started: OnceLock<IntCounter>,
    handled: [OnceLock<IntCounter>; Code::ALL.len()],
    received: OnceLock<IntCounter>,
    sent: OnceLock<IntCounter>,
}

impl RpcMetrics {
    pub(crate) fn new(service: &'static str, method: &'static str, kind: &'static str) -> Self {
        let counters = Counters {
            labels: [kind, service, method],
            started: OnceLock::new(),
            handled: [const { OnceLock::new() }; Code::ALL.len()],
            received: OnceLock::new(),
            sent: OnceLock::new(),
        };
        Self { counters: Arc::new(counters) }
    }

    /// Shows all of them before the first call.
    pub(crate) fn show(&self) {
        let counters = &*self.counters;
        counters.started();
        counters.received();
        counters.sent();
        for code in Code::ALL {
            counters.handled(code);
        }
    }

    pub(crate) fn started(&self) {
        self.counters.started().inc();
    }

    pub(crate) fn handled(&self, code: Code) {
        self.counters.handled(code).inc();
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.counters.received().inc();
        RECEIVED_BYTES.inc_by(bytes as u64);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.counters.sent().inc();
        SENT_BYTES.inc_by(bytes as u64);
    }
}

impl Counters {
    fn started(&self) -> &IntCounter {
        self.started.get_or_init(|| STARTED.with_label_values(&self.labels))
    }

    fn handled(&self, code: Code) -> &IntCounter {
        self.handled[code as usize].get_or_init(|| {
            let [kind, service, method] = self.labels;
            HANDLED.with_label_values(&[kind, service, method, code.name()])
        })
    }

    fn received(&self) -> &IntCounter {
        self.received.get_or_init(|| RECEIVED.with_label_values(&self.labels))
    }

    fn sent(&self) -> &IntCounter {
        self.sent.get_or_init(|| SENT.with_label_values(&self.labels))
    }
}

/// Makes the counters visible before the first call.
pub(crate) fn register() {
    LazyLock::force(&RECEIVED_BYTES);
    LazyLock::force(&SENT_BYTES);
    LazyLock::force(&REQUESTS);
    LazyLock::force(&EVENTS);
    LazyLock::force(&WATCH_SEND);
    LazyLock::force(&WATCH_SEND_EVENT);
    LazyLock::force(&WATCH_CONTROL);
    LazyLock::force(&WATCH_PROGRESS);
}
