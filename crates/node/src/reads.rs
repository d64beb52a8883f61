//! Reads that do not go through the log, counted and watched.

use std::sync::Arc;

use mvcc::{KeyRange, Range, Reader};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{RangeRequest, TxnRequest};
use state::{RangeReply, TxnReply};

use crate::tally::{self, Kind, Tally};
use crate::{Error, Node};

/// Reads of more rows are done on a thread that may take its time: this one has other clients.
const ROWS_HERE: usize = 2000;

impl Node {
    /// Answers a range: unless it says that it may be stale, with all that was acknowledged before.
    /// Whether it may be answered is asked when that is seen here.
    pub async fn read_range(
        &self,
        request: &RangeRequest,
        permit: impl Future<Output = Result<(), Error>>,
    ) -> Result<RangeReply, Error> {
        let watchful = &self.shared.watchful;
        let begun = watchful.now();
        let mut confirmed = begun;
        let outcome = async {
            if !request.serializable {
                self.read_barrier().await?;
                confirmed = watchful.now();
            }
            permit.await?;
            self.range(request).await
        };
        let outcome = outcome.await;
        let took = watchful.now().saturating_sub(begun);
        if outcome.is_ok() {
            self.shared.slow.read(Kind::Range, took, confirmed.saturating_sub(begun));
        }
        tally::answered(Kind::Range, outcome.is_ok(), took);
        watchful.ranged(took, request, outcome.as_ref());
        outcome
    }

    /// A read that goes the way of all reads and finds nothing, for health checks.
    pub async fn probe_read(&self, serializable: bool) -> Result<(), Error> {
        let probe = RangeRequest { limit: 1, keys_only: true, serializable, ..Default::default() };
        self.read_range(&probe, std::future::ready(Ok(()))).await.map(drop)
    }

    /// Does what takes long away from the threads of connections, a few such things at a time.
    pub async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let turn = Arc::clone(&self.shared.turns_aside).acquire_owned().await;
        let turn = turn.map_err(|_| Error::Stopped)?;
        let work = move || {
            // Also where nobody waits for the outcome any more, the turn lasts until it is done.
            let _turn = turn;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Error::Stopped)
    }

    /// Answers a range from what is applied.
    pub async fn range(&self, request: &RangeRequest) -> Result<RangeReply, Error> {
        let begun = self.shared.watchful.now();
        let range = state::range_of(request);
        let reader = self.shared.views().reader.clone();
        let outcome = if reader.rows_ahead(&range, ROWS_HERE) <= ROWS_HERE {
            reader.range(&range).map_err(Error::from)
        } else {
            let reader = reader.clone();
            match self.aside(move || reader.range(&range)).await {
                Ok(outcome) => outcome.map_err(Error::from),
                Err(error) => Err(error),
            }
        };
        tally::ranged(outcome.is_ok(), self.shared.watchful.now().saturating_sub(begun));
        Ok(outcome?.into())
    }

    /// Answers a transaction that only reads: unless all of it may be stale, with all that was
    /// acknowledged before. Whether it may be answered is asked when that is seen here.
    pub async fn read_txn(
        &self,
        request: &TxnRequest,
        permit: impl Future<Output = Result<(), Error>>,
    ) -> Result<TxnReply, Error> {
        let watchful = &self.shared.watchful;
        let begun = watchful.now();
        let mut confirmed = begun;
        if !state::is_serializable(request) {
            self.read_barrier().await?;
            confirmed = watchful.now();
        }
        permit.await?;
        let outcome = self.txn(request).await;
        let ended = watchful.now();
        if outcome.is_ok() {
            let (took, confirmed) = (ended.saturating_sub(begun), confirmed.saturating_sub(begun));
            self.shared.slow.read(Kind::ReadonlyTxn, took, confirmed);
        }
        // As in etcd, what is counted of a transaction begins when the leader is confirmed.
        let took = ended.saturating_sub(confirmed);
        tally::answered(Kind::ReadonlyTxn, outcome.is_ok(), took);
        watchful.read(took, request, outcome.as_ref());
        outcome
    }

    /// Answers a transaction that only reads from what is applied.
    async fn txn(&self, request: &TxnRequest) -> Result<TxnReply, Error> {
        let views = self.shared.views();
        let outcome = if rows_of_txn(&views.reader, request) <= ROWS_HERE {
            views.read_txn(request)
        } else {
            let (views, request) = (views.clone(), request.clone());
            self.aside(move || views.read_txn(&request)).await?
        };
        let reply = outcome.map_err(|error| Error::Storage(error.to_string()))??;
        Tally::of_reads(request, &reply).count();
        Ok(reply)
    }
}

/// How many rows the transaction may look at, counted until that is too many.
fn rows_of_txn(reader: &Reader, txn: &TxnRequest) -> usize {
    let compares = txn
        .compare
        .iter()
        .map(|compare| Range::of(KeyRange::new(compare.key.clone(), compare.range_end.clone())));
    let ranges = txn.success.iter().chain(&txn.failure).filter_map(|op| match &op.request {
        Some(Request::RequestRange(range)) => Some(state::range_of(range)),
        _ => None,
    });
    let mut rows: usize = 0;
    for range in compares.chain(ranges) {
        rows = rows.saturating_add(reader.rows_ahead(&range, ROWS_HERE));
        if rows > ROWS_HERE {
            break;
        }
    }
    rows
}
