//! Reads that do not go through the log, counted and watched.

use proto::etcdserverpb::{RangeRequest, TxnRequest};
use state::{RangeReply, TxnReply};

use crate::tally::{self, Kind, Tally};
use crate::{Error, Node};

impl Node {
    /// Answers a range: unless it says that it may be stale, with all that was acknowledged before.
    pub async fn read_range(&self, request: &RangeRequest) -> Result<RangeReply, Error> {
        let watchful = &self.shared.watchful;
        let begun = watchful.now();
        let outcome = match request.serializable {
            true => self.range(request),
            false => match self.read_barrier().await {
                Ok(()) => self.range(request),
                Err(error) => Err(error),
            },
        };
        let took = watchful.now().saturating_sub(begun);
        tally::answered(Kind::Range, outcome.is_ok(), took);
        watchful.ranged(took, request, outcome.as_ref());
        outcome
    }

    /// A read that goes the way of all reads and finds nothing, for health checks.
    pub async fn probe_read(&self, serializable: bool) -> Result<(), Error> {
        let probe = RangeRequest { limit: 1, keys_only: true, serializable, ..Default::default() };
        self.read_range(&probe).await.map(drop)
    }

    /// Answers a range from what is applied.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeReply, Error> {
        let begun = self.shared.watchful.now();
        let outcome = self.shared.views.reader.range(&state::range_of(request));
        tally::ranged(outcome.is_ok(), self.shared.watchful.now().saturating_sub(begun));
        Ok(outcome?.into())
    }

    /// Answers a transaction that only reads from what is applied.
    pub fn read_txn(&self, request: &TxnRequest) -> Result<TxnReply, Error> {
        let begun = self.shared.watchful.now();
        let outcome = self.shared.views.read_txn(request);
        let outcome = match outcome {
            Ok(outcome) => outcome.map_err(Error::from),
            Err(error) => Err(Error::Storage(error.to_string())),
        };
        let took = self.shared.watchful.now().saturating_sub(begun);
        tally::answered(Kind::ReadonlyTxn, outcome.is_ok(), took);
        if let Ok(reply) = &outcome {
            Tally::of_reads(request, reply).count();
        }
        self.shared.watchful.read(took, request, outcome.as_ref());
        outcome
    }
}
