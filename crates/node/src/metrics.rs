//! A table of data: what a member counts, by etcd's names.

use std::sync::LazyLock;

use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntGauge, exponential_buckets, register_gauge,
    register_histogram, register_int_counter, register_int_gauge,
};

macro_rules! counters {
    ($($static:ident, $name:literal, $help:literal;)*) => {
        $(#[doc = $help]
        pub(crate) static $static: LazyLock<IntCounter> = LazyLock::new(|| {
            register_int_counter!($name, $help).expect("the name is registered once")
        });)*
        fn force_counters() {
            $(LazyLock::force(&$static);)*
        }
    };
}

macro_rules! gauges {
    ($($static:ident, $name:literal, $help:literal;)*) => {
        $(#[doc = $help]
        pub(crate) static $static: LazyLock<IntGauge> = LazyLock::new(|| {
            register_int_gauge!($name, $help).expect("the name is registered once")
        });)*
        fn force_gauges() {
            $(LazyLock::force(&$static);)*
        }
    };
}

macro_rules! histograms {
    ($($static:ident, $name:literal, $help:literal, $start:literal, $factor:literal, $count:literal;)*) => {
        $(#[doc = $help]
        pub(crate) static $static: LazyLock<Histogram> = LazyLock::new(|| {
            let buckets = exponential_buckets($start, $factor, $count)
                .expect("start, factor and count are positive");
            register_histogram!(HistogramOpts::new($name, $help).buckets(buckets))
                .expect("the name is registered once")
        });)*
        fn force_histograms() {
            $(LazyLock::force(&$static);)*
        }
    };
}

counters! {
    LEADER_CHANGES, "etcd_server_leader_changes_seen_total", "The number of leader changes seen.";
    PROPOSALS_FAILED, "etcd_server_proposals_failed_total", "The total number of failed proposals seen.";
    SLOW_APPLIES, "etcd_server_slow_apply_total", "The total number of slow apply requests (likely overloaded from slow disk).";
    LEASES_EXPIRED, "etcd_debugging_server_lease_expired_total", "The total number of expired leases.";
    LEASES_RENEWED, "etcd_debugging_lease_renewed_total", "The number of renewed leases seen by the leader.";
    COMPACTED_KEYS, "etcd_debugging_mvcc_db_compaction_keys_total", "Total number of db keys compacted.";
    READ_INDEX_FAILED, "etcd_server_read_indexes_failed_total", "The total number of failed read indexes seen.";
    SLOW_READ_INDEX, "etcd_server_slow_read_indexes_total", "The total number of pending read indexes not in sync with leader's or timed out read index requests.";
    HEARTBEAT_FAILURES, "etcd_server_heartbeat_send_failures_total", "The total number of leader heartbeat send failures (likely overloaded from slow disk).";
}

gauges! {
    HAS_LEADER, "etcd_server_has_leader", "Whether or not a leader exists. 1 is existence, 0 is not.";
    IS_LEADER, "etcd_server_is_leader", "Whether or not this member is a leader. 1 if is, 0 otherwise.";
    IS_LEARNER, "etcd_server_is_learner", "Whether or not this member is a learner. 1 if is, 0 otherwise.";
    PROPOSALS_COMMITTED, "etcd_server_proposals_committed_total", "The total number of consensus proposals committed.";
    PROPOSALS_APPLIED, "etcd_server_proposals_applied_total", "The total number of consensus proposals applied.";
    PROPOSALS_PENDING, "etcd_server_proposals_pending", "The current number of pending proposals to commit.";
    SNAPSHOT_APPLYING, "etcd_server_snapshot_apply_in_progress_total", "1 if the server is applying the incoming snapshot. 0 if none.";
    QUOTA_BYTES, "etcd_server_quota_backend_bytes", "Current backend storage quota size in bytes.";
    DB_SIZE, "etcd_mvcc_db_total_size_in_bytes", "Total size of the underlying database physically allocated in bytes.";
    DB_SIZE_IN_USE, "etcd_mvcc_db_total_size_in_use_in_bytes", "Total size of the underlying database logically in use in bytes.";
    DEFRAG_INFLIGHT, "etcd_disk_defrag_inflight", "Whether or not defrag is active on the member. 1 means active, 0 means not.";
    WAL_WRITE_BYTES, "etcd_disk_wal_write_bytes_total", "Total number of bytes written in WAL.";
    KEYS, "etcd_debugging_mvcc_keys_total", "Total number of keys.";
    CURRENT_REVISION, "etcd_debugging_mvcc_current_revision", "The current revision of store.";
    COMPACT_REVISION, "etcd_debugging_mvcc_compact_revision", "The revision of the last compaction in store.";
    WATCH_STREAMS, "etcd_debugging_mvcc_watch_stream_total", "Total number of watch streams.";
    WATCHERS, "etcd_debugging_mvcc_watcher_total", "Total number of watchers.";
    SLOW_WATCHERS, "etcd_debugging_mvcc_slow_watcher_total", "Total number of unsynced slow watchers.";
    PENDING_EVENTS, "etcd_debugging_mvcc_pending_events_total", "Total number of pending events to be sent.";
}

histograms! {
    WAL_FSYNC, "etcd_disk_wal_fsync_duration_seconds", "The latency distributions of fsync called by WAL.", 0.001, 2.0, 14;
    WAL_WRITE, "etcd_disk_wal_write_duration_seconds", "The latency distributions of write called by WAL.", 0.001, 2.0, 14;
    BACKEND_COMMIT, "etcd_disk_backend_commit_duration_seconds", "The latency distributions of commit called by backend.", 0.001, 2.0, 14;
    BACKEND_DEFRAG, "etcd_disk_backend_defrag_duration_seconds", "The latency distribution of backend defragmentation.", 0.1, 2.0, 13;
    BACKEND_SNAPSHOT, "etcd_disk_backend_snapshot_duration_seconds", "The latency distribution of backend snapshots.", 0.01, 2.0, 17;
    SNAP_FSYNC, "etcd_snap_fsync_duration_seconds", "The latency distributions of fsync called by snap.", 0.001, 2.0, 14;
    HASH, "etcd_mvcc_hash_duration_seconds", "The latency distribution of storage hash operation.", 0.01, 2.0, 15;
    HASH_REV, "etcd_mvcc_hash_rev_duration_seconds", "The latency distribution of storage hash by revision operation.", 0.01, 2.0, 15;
    COMPACTION_PAUSE, "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds", "Bucketed histogram of db compaction pause duration.", 1.0, 2.0, 13;
}

/// Unix time of the last compaction.
pub(crate) static COMPACTION_LAST: LazyLock<Gauge> = LazyLock::new(|| {
    register_gauge!(
        "etcd_debugging_mvcc_db_compaction_last",
        "The unix time of the last db compaction. Resets to 0 on start."
    )
    .expect("the name is registered once")
});

/// Makes all of them visible from the start.
pub(crate) fn register() {
    force_counters();
    force_gauges();
    force_histograms();
    LazyLock::force(&COMPACTION_LAST);
}
