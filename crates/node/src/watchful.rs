//! Tells of requests that take too long, in etcd's words.

use std::sync::Arc;
use std::time::Duration;

use env::Clock;
use proto::etcdserverpb::{InternalRaftRequest, RangeRequest, TxnRequest};
use state::{OpReply, Outcome, RangeReply, Rejected, TxnReply};

use crate::{describe, metrics, sizes};

/// A clock and what is too long by it.
#[derive(Debug, Clone)]
pub(crate) struct Watchful {
    pub(crate) clock: Arc<dyn Clock>,
    /// `--warning-apply-duration`.
    pub(crate) too_long: Duration,
}

/// How a request is named in front of its text.
const RANGE: &str = "read-only range ";
const TXN: &str = "read-only txn ";

impl Watchful {
    pub(crate) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// An entry of the log was applied.
    pub(crate) fn applied(&self, took: Duration, request: &InternalRaftRequest, outcome: &Outcome) {
        let error = outcome.as_ref().err();
        if took > self.too_long {
            let response = outcome.as_ref().map_or(String::new(), sizes::described);
            self.slow(took, "", &describe::entry(request), &response, error.map(rejection));
        }
        let Some(rejected) = error.filter(|rejected| **rejected != Rejected::Compacted) else {
            return;
        };
        tracing::warn!(
            took = ?took,
            request = describe::entry(request),
            response = "",
            error = rejection(rejected),
            "failed to apply request"
        );
    }

    /// A range was read outside of the log.
    pub(crate) fn ranged(
        &self,
        took: Duration,
        request: &RangeRequest,
        outcome: Result<&RangeReply, &crate::Error>,
    ) {
        if took <= self.too_long {
            return;
        }
        let response = outcome.map_or(String::new(), |rows| {
            let size = sizes::range(rows);
            format!("range_response_count:{} size:{size}", rows.kvs.len())
        });
        self.slow(took, RANGE, &describe::range(request), &response, outcome.err().map(failure));
    }

    /// A transaction that only reads was answered outside of the log.
    pub(crate) fn read(
        &self,
        took: Duration,
        request: &TxnRequest,
        outcome: Result<&TxnReply, &crate::Error>,
    ) {
        if took <= self.too_long {
            return;
        }
        let response = outcome.map_or(String::new(), |reply| {
            let counts = reply.responses.iter().filter_map(|reply| match reply {
                OpReply::Range(rows) => Some(format!("range_response_count:{}", rows.kvs.len())),
                _ => None,
            });
            let counts: Vec<_> = counts.collect();
            format!("responses:<{}> size:{}", counts.join(" "), sizes::txn(reply))
        });
        self.slow(took, TXN, &describe::txn(request), &response, outcome.err().map(failure));
    }

    fn slow(
        &self,
        took: Duration,
        prefix: &str,
        request: &str,
        response: &str,
        error: Option<String>,
    ) {
        metrics::SLOW_APPLIES.inc();
        let expected = self.too_long;
        // A field that is absent is left out.
        tracing::warn!(
            took = ?took,
            "expected-duration" = ?expected,
            prefix,
            request,
            response,
            error,
            "apply request took too long"
        );
    }
}

/// The refusal as etcd's own packages say it.
fn rejection(rejected: &Rejected) -> String {
    match rejected {
        Rejected::Compacted | Rejected::FutureRevision => format!("mvcc: {rejected}"),
        Rejected::LeaseNotFound | Rejected::LeaseExists | Rejected::LeaseTtlTooLarge => {
            rejected.to_string()
        }
        _ => format!("etcdserver: {rejected}"),
    }
}

fn failure(error: &crate::Error) -> String {
    match error {
        crate::Error::Rejected(rejected) => rejection(rejected),
        crate::Error::Compacted | crate::Error::FutureRevision => format!("mvcc: {error}"),
        _ => format!("etcdserver: {error}"),
    }
}
