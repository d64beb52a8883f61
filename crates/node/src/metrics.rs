//! A table of data: what a member counts, by etcd's names.

use std::sync::LazyLock;

use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    exponential_buckets, register_gauge, register_histogram, register_int_counter,
    register_int_counter_vec, register_int_gauge, register_int_gauge_vec,
};

use state::MemberId;

use crate::{Feature, SERVER_VERSION};

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
    LEARNERS_PROMOTED, "etcd_server_learner_promote_successes", "The total number of successful learner promotions while this member is leader.";
    RANGES, "etcd_mvcc_range_total", "Total number of ranges seen by this member.";
    PUTS, "etcd_mvcc_put_total", "Total number of puts seen by this member.";
    DELETES, "etcd_mvcc_delete_total", "Total number of deletes seen by this member.";
    TXNS, "etcd_mvcc_txn_total", "Total number of txns seen by this member.";
    LEASES_GRANTED, "etcd_debugging_lease_granted_total", "The total number of granted leases.";
    LEASES_REVOKED, "etcd_debugging_lease_revoked_total", "The total number of revoked leases.";
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
    OPEN_READS, "etcd_mvcc_db_open_read_transactions", "The number of currently open read transactions";
    PUT_BYTES, "etcd_debugging_mvcc_total_put_size_in_bytes", "The total size of put kv pairs seen by this member.";
    AUTH_REVISION, "etcd_debugging_auth_revision", "The current revision of auth store.";
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
    SNAP_MARSHAL, "etcd_debugging_snap_save_marshalling_duration_seconds", "The marshalling cost distributions of save called by snapshot.", 0.001, 2.0, 14;
    SNAP_SAVE, "etcd_debugging_snap_save_total_duration_seconds", "The total latency distributions of save called by snapshot.", 0.001, 2.0, 14;
    SNAP_DB_FSYNC, "etcd_snap_db_fsync_duration_seconds", "The latency distributions of fsyncing .snap.db file", 0.001, 2.0, 14;
    SNAP_DB_SAVE, "etcd_snap_db_save_total_duration_seconds", "The total latency distributions of v3 snapshot save", 0.1, 2.0, 10;
    LEASE_TTLS, "etcd_debugging_lease_ttl_total", "Bucketed histogram of lease TTLs.", 1.0, 2.0, 24;
    INDEX_COMPACTION_PAUSE, "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds", "Bucketed histogram of index compaction pause duration.", 0.5, 2.0, 14;
    COMPACTION_TOTAL, "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds", "Bucketed histogram of db compaction total duration.", 100.0, 2.0, 14;
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

macro_rules! labelled {
    ($($static:ident, $name:literal, $help:literal, $labels:expr;)*) => {
        $(#[doc = $help]
        pub(crate) static $static: LazyLock<IntGaugeVec> = LazyLock::new(|| {
            register_int_gauge_vec!(Opts::new($name, $help), $labels)
                .expect("the name is registered once")
        });)*
    };
}

labelled! {
    VERSION, "etcd_server_version", "Which version is running. 1 for 'server_version' label with current version.", &["server_version"];
    SERVER_ID, "etcd_server_id", "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.", &["server_id"];
    FEATURES, "etcd_server_feature_enabled", "Whether or not a feature is enabled. 1 is enabled, 0 is not.", &["name", "stage"];
    CLUSTER_VERSION, "etcd_cluster_version", "Which version is running. 1 for 'cluster_version' label with current cluster version", &["cluster_version"];
    KNOWN_PEERS, "etcd_network_known_peers", "The current number of known peers.", &["Local", "Remote"];
    ALARMS, "etcd_debugging_server_alarms", "Alarms for every member in cluster. 1 for 'server_id' label with current ID. 2 for 'alarm_type' label with type of this alarm", &["server_id", "alarm_type"];
}

/// Promotions that were refused, by what was said.
pub(crate) static PROMOTIONS_REFUSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "etcd_server_learner_promote_failures",
        "The total number of failed learner promotions (likely learner not ready) while this member is leader.",
        &["Reason"]
    )
    .expect("the name is registered once")
});

/// Says once who this member is and what it can do.
pub(crate) fn name_member(id: u64, features: &[Feature]) {
    VERSION.with_label_values(&[SERVER_VERSION]).set(1);
    SERVER_ID.with_label_values(&[MemberId(id).to_string().as_str()]).set(1);
    for Feature { name, stage, enabled } in features {
        FEATURES.with_label_values(&[*name, *stage]).set(i64::from(*enabled));
    }
}

/// Makes all of them visible from the start.
pub(crate) fn register() {
    force_counters();
    force_gauges();
    force_histograms();
    LazyLock::force(&COMPACTION_LAST);
    crate::tally::register();
}
