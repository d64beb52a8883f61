//! What is counted, by etcd's names.

use std::sync::LazyLock;

use prometheus::{IntCounter, IntGauge, register_int_counter, register_int_gauge};

fn gauge(name: &str, help: &str) -> IntGauge {
    register_int_gauge!(name, help).expect("the name is registered once")
}

pub(crate) static WATCHERS: LazyLock<IntGauge> = LazyLock::new(|| {
    gauge(
        "etcd_grpc_proxy_watchers_coalescing_total",
        "Total number of current watchers coalescing",
    )
});
pub(crate) static EVENTS: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "etcd_grpc_proxy_events_coalescing_total",
        "Total number of events coalescing"
    )
    .expect("the name is registered once")
});
pub(crate) static CACHE_KEYS: LazyLock<IntGauge> = LazyLock::new(|| {
    gauge("etcd_grpc_proxy_cache_keys_total", "Total number of keys/ranges cached")
});
pub(crate) static CACHE_HITS: LazyLock<IntGauge> =
    LazyLock::new(|| gauge("etcd_grpc_proxy_cache_hits_total", "Total number of cache hits"));
pub(crate) static CACHE_MISSES: LazyLock<IntGauge> =
    LazyLock::new(|| gauge("etcd_grpc_proxy_cache_misses_total", "Total number of cache misses"));

/// Makes all visible before they count.
pub(crate) fn register() {
    LazyLock::force(&WATCHERS);
    LazyLock::force(&EVENTS);
    LazyLock::force(&CACHE_KEYS);
    LazyLock::force(&CACHE_HITS);
    LazyLock::force(&CACHE_MISSES);
}
