//! The counters of calls, by etcd's names.

use std::sync::LazyLock;

use prometheus::{IntCounter, IntCounterVec, Opts, register_int_counter, register_int_counter_vec};

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

/// Counts a call by the version that its client says it has.
pub(crate) fn count_client(kind: &str, api_version: Option<&str>) {
    REQUESTS.with_label_values(&[kind, api_version.unwrap_or("unknown")]).inc();
}

/// The counters of one row of the rpc table, all there from the start, as etcd fills them.
#[derive(Clone)]
pub(crate) struct RpcMetrics {
    started: IntCounter,
    handled: [IntCounter; Code::ALL.len()],
    received: IntCounter,
    sent: IntCounter,
}

impl RpcMetrics {
    pub(crate) fn new(service: &str, method: &str, kind: &str) -> Self {
        let labels = [kind, service, method];
        Self {
            started: STARTED.with_label_values(&labels),
            handled: Code::ALL
                .map(|code| HANDLED.with_label_values(&[kind, service, method, code.name()])),
            received: RECEIVED.with_label_values(&labels),
            sent: SENT.with_label_values(&labels),
        }
    }

    pub(crate) fn started(&self) {
        self.started.inc();
    }

    pub(crate) fn handled(&self, code: Code) {
        self.handled[code as usize].inc();
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.received.inc();
        RECEIVED_BYTES.inc_by(bytes as u64);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.sent.inc();
        SENT_BYTES.inc_by(bytes as u64);
    }
}

/// Makes the counters visible before the first call.
pub(crate) fn register() {
    LazyLock::force(&RECEIVED_BYTES);
    LazyLock::force(&SENT_BYTES);
    LazyLock::force(&REQUESTS);
}
