//! Answers in a form that the model can make and a member's can be brought to.

use proto::etcdserverpb::AlarmMember;
use state::{OpReply, Reply};

use crate::check::Answer;

/// What a client is told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Told {
    Nothing,
    Op(Answer),
    Compaction,
    LeaseGrant {
        id: i64,
        ttl: i64,
    },
    LeaseRevoke,
    LeaseCheckpoint,
    Alarm(Vec<AlarmMember>),
    /// What no request of a run asks for.
    Other,
}

impl From<Reply> for Told {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Nothing => Self::Nothing,
            Reply::Range(range) => Self::Op(range.into()),
            Reply::Put(put) => Self::Op(OpReply::Put(put).into()),
            Reply::DeleteRange(delete) => Self::Op(OpReply::DeleteRange(delete).into()),
            Reply::Txn(txn) => Self::Op(OpReply::Txn(txn).into()),
            Reply::Compaction => Self::Compaction,
            Reply::LeaseGrant { id, ttl } => Self::LeaseGrant { id: id.0, ttl },
            Reply::LeaseRevoke => Self::LeaseRevoke,
            Reply::LeaseCheckpoint => Self::LeaseCheckpoint,
            Reply::Alarm(alarms) => Self::Alarm(alarms),
            Reply::Auth(_) => Self::Other,
        }
    }
}
