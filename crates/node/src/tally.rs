//! What requests do and how long they take: counted where they are applied, read and proposed.

use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntGauge, exponential_buckets,
    register_histogram_vec,
};
use proto::etcdserverpb::request_op::Request as Op;
use proto::etcdserverpb::{
    DeleteRangeRequest, InternalRaftRequest, PutRequest, RequestOp, TxnRequest,
};
use state::{OpReply, TxnReply};

use crate::metrics;

macro_rules! kinds {
    ($($variant:ident, $field:ident, $name:literal;)*) => {
        /// What a request asks for, by etcd's names.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Kind {
            $($variant,)*
            /// A transaction that only reads, and so does not go through the log.
            ReadonlyTxn,
            Unknown,
        }

        impl Kind {
            const ALL: &[&str] = &[$($name,)* "ReadonlyTxn", "unknown"];

            pub(crate) fn of(request: &InternalRaftRequest) -> Self {
                $(if request.$field.is_some() {
                    return Self::$variant;
                })*
                Self::Unknown
            }
        }
    };
}

kinds! {
    Put, put, "Put";
    Txn, txn, "Txn";
    Range, range, "Range";
    DeleteRange, delete_range, "DeleteRange";
    Compaction, compaction, "Compaction";
    LeaseGrant, lease_grant, "LeaseGrant";
    LeaseRevoke, lease_revoke, "LeaseRevoke";
    LeaseCheckpoint, lease_checkpoint, "LeaseCheckpoint";
    Alarm, alarm, "Alarm";
    Authenticate, authenticate, "Authenticate";
    AuthEnable, auth_enable, "AuthEnable";
    AuthDisable, auth_disable, "AuthDisable";
    AuthStatus, auth_status, "AuthStatus";
    AuthUserAdd, auth_user_add, "AuthUserAdd";
    AuthUserDelete, auth_user_delete, "AuthUserDelete";
    AuthUserChangePassword, auth_user_change_password, "AuthUserChangePassword";
    AuthUserGrantRole, auth_user_grant_role, "AuthUserGrantRole";
    AuthUserGet, auth_user_get, "AuthUserGet";
    AuthUserRevokeRole, auth_user_revoke_role, "AuthUserRevokeRole";
    AuthRoleAdd, auth_role_add, "AuthRoleAdd";
    AuthRoleGrantPermission, auth_role_grant_permission, "AuthRoleGrantPermission";
    AuthRoleGet, auth_role_get, "AuthRoleGet";
    AuthRoleRevokePermission, auth_role_revoke_permission, "AuthRoleRevokePermission";
    AuthRoleDelete, auth_role_delete, "AuthRoleDelete";
    AuthUserList, auth_user_list, "AuthUserList";
    AuthRoleList, auth_role_list, "AuthRoleList";
    ClusterVersionSet, cluster_version_set, "ClusterVersionSet";
    ClusterMemberAttrSet, cluster_member_attr_set, "ClusterMemberAttrSet";
    DowngradeInfoSet, downgrade_info_set, "DowngradeInfoSet";
    DowngradeVersionTest, downgrade_version_test, "DowngradeVersionTest";
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        Self::ALL[self as usize]
    }
}

/// A histogram with labels, found without looking labels up. One that was never observed is not
/// shown, as with etcd.
struct Durations {
    family: HistogramVec,
    /// What labels there are, before the label `success`.
    labels: fn(Kind) -> Vec<&'static str>,
    cells: [[OnceLock<Histogram>; 2]; Kind::ALL.len()],
}

impl Durations {
    fn new(opts: HistogramOpts, names: &[&str], labels: fn(Kind) -> Vec<&'static str>) -> Self {
        let family = register_histogram_vec!(opts, names).expect("the name is registered once");
        Self { family, labels, cells: std::array::from_fn(|_| Default::default()) }
    }

    fn observe(&self, kind: Kind, success: bool, took: Duration) {
        let cell = &self.cells[kind as usize][usize::from(success)];
        let histogram = cell.get_or_init(|| {
            let mut labels = (self.labels)(kind);
            labels.push(if success { "true" } else { "false" });
            self.family.with_label_values(&labels)
        });
        histogram.observe(took.as_secs_f64());
    }
}

fn opts(name: &str, help: &str, start: f64, count: usize) -> HistogramOpts {
    let buckets = exponential_buckets(start, 2.0, count).expect("start and count are positive");
    HistogramOpts::new(name, help).buckets(buckets)
}

static APPLY: LazyLock<Durations> = LazyLock::new(|| {
    let help = "The latency distributions of v2 apply called by backend.";
    let opts = opts("etcd_server_apply_duration_seconds", help, 0.0001, 20);
    Durations::new(opts, &["version", "op", "success"], |kind| vec!["v3", kind.name()])
});
static REQUEST: LazyLock<Durations> = LazyLock::new(|| {
    let help = "Response latency distribution in seconds for each type.";
    let opts = opts("etcd_server_request_duration_seconds", help, 0.001, 14);
    Durations::new(opts, &["type", "success"], |kind| vec![kind.name()])
});
static RANGE: LazyLock<Durations> = LazyLock::new(|| {
    let help = "The latency distributions of txn.Range";
    let opts = opts("etcd_server_range_duration_seconds", help, 0.0001, 20);
    Durations::new(opts, &["success"], |_| Vec::new())
});

/// Makes the families known before the first observation.
pub(crate) fn register() {
    LazyLock::force(&APPLY);
    LazyLock::force(&REQUEST);
    LazyLock::force(&RANGE);
}

/// An entry was applied.
pub(crate) fn applied(kind: Kind, success: bool, took: Duration) {
    APPLY.observe(kind, success, took);
}

/// A request was answered.
pub(crate) fn answered(kind: Kind, success: bool, took: Duration) {
    REQUEST.observe(kind, success, took);
}

/// A range was read outside of the log.
pub(crate) fn ranged(success: bool, took: Duration) {
    RANGE.observe(Kind::Range, success, took);
    metrics::RANGES.inc();
}

/// What requests do to keys. Counted as etcd counts: also the reads that a put or a compare needs.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    ranges: u64,
    puts: u64,
    deletes: u64,
    put_bytes: u64,
}

impl Tally {
    /// What a request did that was applied and not refused. The keys of a lease that it revoked
    /// are `lease_keys`.
    pub(crate) fn of(
        request: &InternalRaftRequest,
        txn: Option<&TxnReply>,
        lease_keys: usize,
    ) -> Self {
        let mut tally = Self::default();
        if let Some(put) = &request.put {
            tally.put(put);
        } else if let Some(request) = &request.txn {
            if let Some(reply) = txn {
                tally.txn(request, reply);
            }
        } else if let Some(delete) = &request.delete_range {
            tally.delete(delete);
        } else if request.range.is_some() {
            tally.ranges = 1;
        } else if request.lease_revoke.is_some() {
            tally.deletes = lease_keys as u64;
        }
        tally
    }

    /// What a transaction did that only reads.
    pub(crate) fn of_reads(request: &TxnRequest, reply: &TxnReply) -> Self {
        let mut tally = Self::default();
        tally.txn(request, reply);
        tally
    }

    /// Adds it up. Most requests are one put or one range: others cost a little more.
    pub(crate) fn count(self) {
        let Self { ranges, puts, deletes, put_bytes } = self;
        let add = |counter: &LazyLock<IntCounter>, by: u64| {
            if by > 0 {
                counter.inc_by(by);
            }
        };
        add(&metrics::RANGES, ranges);
        add(&metrics::PUTS, puts);
        add(&metrics::DELETES, deletes);
        if puts > 0 {
            let bytes: &IntGauge = &metrics::PUT_BYTES;
            bytes.add(i64::try_from(put_bytes).unwrap_or(i64::MAX));
        }
        if ranges + puts + deletes > 1 {
            metrics::TXNS.inc();
        }
    }

    fn put(&mut self, put: &PutRequest) {
        self.puts += 1;
        self.put_bytes += (put.key.len() + put.value.len()) as u64;
        self.ranges += u64::from(put.prev_kv || put.ignore_value || put.ignore_lease);
    }

    fn delete(&mut self, delete: &DeleteRangeRequest) {
        self.deletes += 1;
        self.ranges += u64::from(delete.prev_kv);
    }

    fn txn(&mut self, request: &TxnRequest, reply: &TxnReply) {
        self.ranges += request.compare.len() as u64;
        let taken = if reply.succeeded { &request.success } else { &request.failure };
        for (RequestOp { request }, reply) in taken.iter().zip(&reply.responses) {
            match (request, reply) {
                (Some(Op::RequestPut(put)), _) => self.put(put),
                (Some(Op::RequestDeleteRange(delete)), _) => self.delete(delete),
                (Some(Op::RequestRange(_)), _) => self.ranges += 1,
                (Some(Op::RequestTxn(request)), OpReply::Txn(reply)) => self.txn(request, reply),
                (Some(Op::RequestTxn(_)) | None, _) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proto::etcdserverpb::{Compare, RangeRequest};
    use state::{PutReply, RangeReply};

    use super::*;

    #[test]
    fn kinds_have_the_names_of_their_fields() {
        let request = InternalRaftRequest {
            downgrade_version_test: Some(Box::default()),
            ..Default::default()
        };
        assert_eq!(Kind::of(&request).name(), "DowngradeVersionTest");
        assert_eq!(Kind::of(&InternalRaftRequest::default()).name(), "unknown");
        assert_eq!(Kind::ReadonlyTxn.name(), "ReadonlyTxn");
    }

    #[test]
    fn a_txn_counts_the_branch_it_took() {
        let put = PutRequest {
            key: Bytes::from_static(b"k"),
            value: Bytes::from_static(b"value"),
            prev_kv: true,
            ..Default::default()
        };
        let op = |request| RequestOp { request: Some(request) };
        let nested = TxnRequest { success: vec![op(Op::RequestPut(put))], ..Default::default() };
        let request = TxnRequest {
            compare: vec![Compare::default()],
            success: vec![op(Op::RequestDeleteRange(DeleteRangeRequest::default()))],
            failure: vec![
                op(Op::RequestRange(RangeRequest::default())),
                op(Op::RequestTxn(nested)),
            ],
        };
        let inner = TxnReply {
            succeeded: true,
            responses: vec![OpReply::Put(PutReply::default())],
            ..Default::default()
        };
        let responses = vec![OpReply::Range(RangeReply::default()), OpReply::Txn(inner)];
        let reply = TxnReply { succeeded: false, responses, ..Default::default() };
        let tally = Tally::of_reads(&request, &reply);
        assert_eq!(tally, Tally { ranges: 3, puts: 1, deletes: 0, put_bytes: 6 });
    }
}
