//! A table of data: what is counted of the network, by etcd's names.

use std::sync::LazyLock;

use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, exponential_buckets,
    register_histogram_vec, register_int_counter_vec, register_int_gauge_vec,
};

macro_rules! counters {
    ($($static:ident, $name:literal, $help:literal, $labels:expr;)*) => {
        $(#[doc = $help]
        pub(crate) static $static: LazyLock<IntCounterVec> = LazyLock::new(|| {
            register_int_counter_vec!(Opts::new($name, $help), $labels)
                .expect("the name is registered once")
        });)*
    };
}

counters! {
    SENT_BYTES, "etcd_network_peer_sent_bytes_total", "The total number of bytes sent to peers.", &["To"];
    RECEIVED_BYTES, "etcd_network_peer_received_bytes_total", "The total number of bytes received from peers.", &["From"];
    SENT_FAILURES, "etcd_network_peer_sent_failures_total", "The total number of send failures from peers.", &["To"];
    RECEIVED_FAILURES, "etcd_network_peer_received_failures_total", "The total number of receive failures from peers.", &["From"];
    DISCONNECTED, "etcd_network_disconnected_peers_total", "The total number of disconnected peers.", &["Local", "Remote"];
    SNAPSHOT_SENT, "etcd_network_snapshot_send_success", "Total number of successful snapshot sends", &["To"];
    SNAPSHOT_SEND_FAILURES, "etcd_network_snapshot_send_failures", "Total number of snapshot send failures", &["To"];
    SNAPSHOT_RECEIVED, "etcd_network_snapshot_receive_success", "Total number of successful snapshot receives", &["From"];
    SNAPSHOT_RECEIVE_FAILURES, "etcd_network_snapshot_receive_failures", "Total number of snapshot receive failures", &["From"];
}

/// Members that are heard right now.
pub(crate) static ACTIVE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        Opts::new("etcd_network_active_peers", "The current number of active peer connections."),
        &["Local", "Remote"]
    )
    .expect("the name is registered once")
});

/// Snapshots on their way to a member.
pub(crate) static SNAPSHOTS_OUT: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        Opts::new(
            "etcd_network_snapshot_send_inflights_total",
            "Total number of inflight snapshot sends"
        ),
        &["To"]
    )
    .expect("the name is registered once")
});

/// Snapshots on their way from a member.
pub(crate) static SNAPSHOTS_IN: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        Opts::new(
            "etcd_network_snapshot_receive_inflights_total",
            "Total number of inflight snapshot receives"
        ),
        &["From"]
    )
    .expect("the name is registered once")
});

macro_rules! histograms {
    ($($static:ident, $name:literal, $help:literal, $label:literal, $start:literal, $count:literal;)*) => {
        $(#[doc = $help]
        pub(crate) static $static: LazyLock<HistogramVec> = LazyLock::new(|| {
            let buckets = exponential_buckets($start, 2.0, $count)
                .expect("start and count are positive");
            register_histogram_vec!(HistogramOpts::new($name, $help).buckets(buckets), &[$label])
                .expect("the name is registered once")
        });)*
    };
}

histograms! {
    ROUND_TRIP, "etcd_network_peer_round_trip_time_seconds", "Round-Trip-Time histogram between peers", "To", 0.0001, 16;
    SNAPSHOT_SEND_TIME, "etcd_network_snapshot_send_total_duration_seconds", "Total latency distributions of v3 snapshot sends", "To", 0.1, 10;
    SNAPSHOT_RECEIVE_TIME, "etcd_network_snapshot_receive_total_duration_seconds", "Total latency distributions of v3 snapshot receives", "From", 0.1, 10;
}
