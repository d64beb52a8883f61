use mvcc::Finished;
use proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest};

use super::{Done, Effect};
use crate::reply::Reply;
use crate::txn::{self, Before, Execution, Plan};
use crate::{Error, Rejected, State, put_cost, txn_cost};

impl State {
    pub(super) fn range(&self, range: &RangeRequest) -> Result<Done, Error> {
        let reply = txn::plain_range(&self.views.reader, range)?;
        Ok(reply.map(Reply::Range).into())
    }

    pub(super) fn put(&mut self, put: &PutRequest, answered: bool) -> Result<Done, Error> {
        let fits = self.views.check_quota(put_cost(put));
        let mut execution = self.execution(answered);
        let reply = txn::plain_put(&mut execution, put)?;
        let finished = execution.finish();
        self.publish(finished);
        Ok(Done::from(reply.map(Reply::Put)).unless_full(fits))
    }

    pub(super) fn delete_range(
        &mut self,
        delete: &DeleteRangeRequest,
        answered: bool,
    ) -> Result<Done, Error> {
        let mut execution = self.execution(answered);
        let reply = txn::plain_delete(&mut execution, delete)?;
        let finished = execution.finish();
        self.publish(finished);
        Ok(Reply::DeleteRange(reply).into())
    }

    pub(super) fn txn(&mut self, txn: &TxnRequest, answered: bool) -> Result<Done, Error> {
        let fits = self.views.check_quota(txn_cost(txn));
        let compact_revision = self.views.reader.compact_revision();
        let mut execution = self.execution(answered);
        let before = Before { txn: &execution.txn, compact_revision };
        let plan = Plan::new(&before, txn)?;
        let checked = plan.check(&before, &execution.leases.read())?;
        if let Err(rejected) = checked {
            return Ok(rejected.into());
        }
        let reply = execution.run(&plan)?;
        let finished = execution.finish();
        self.publish(finished);
        Ok(Done::from(Reply::Txn(reply)).unless_full(fits))
    }

    pub(super) fn compact(&mut self, revision: i64) -> Result<Done, Error> {
        match self.writer.compact(revision) {
            Ok(job) => Ok(Done::new(Reply::Compaction, Effect::Compaction(job))),
            Err(mvcc::Error::Compacted) => Ok(Rejected::Compacted.into()),
            Err(mvcc::Error::FutureRevision) => Ok(Rejected::FutureRevision.into()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn execution(&mut self, answered: bool) -> Execution<'_> {
        Execution { txn: self.writer.txn(), leases: &self.views.leases, answered }
    }

    /// Tells watchers. To be called before the reply leaves.
    pub(super) fn publish(&self, finished: Finished) {
        if finished.changed {
            self.views.hub.publish(finished.revision, finished.events);
        }
    }
}
