//! Checkers of what clients and members say: they know no cluster and no simulation, so histories
//! of real members are judged by the same ones.
//!
//! ```text
//!   operations, events --> [ linear ] --> Replay: every change, in order
//!                                           |
//!   watchers ----------------------------> [ watch ]
//!   grants, renewals, ends --------------> [ lease ]
//!   HashKV of members -------------------> [ hash ]
//!   what each member says per step ------> [ raft ]
//! ```

mod answer;
mod hash;
mod history;
mod keys;
mod lease;
mod linear;
mod raft;
#[cfg(test)]
mod samples;
mod watch;

pub use answer::Answer;
pub(crate) use answer::decoded;
pub use hash::{MemberHash, check_hashes};
pub use history::{History, Operation, Outcome, Request, SeenEvent};
pub use keys::Change;
pub(crate) use keys::{Keys, Rows, holds, keys_of, read};
pub use lease::{LeasePromise, LeaseRecord, Leniency, check_leases};
pub use linear::{Replay, check_linearizable};
pub use raft::{LogId, RaftWatch, Says};
pub use watch::{WatchRecord, Watcher, check_watch};

/// A point of time, in any unit, on one clock for a whole history. Equal ones count as concurrent.
pub type Moment = u64;

/// What a checker found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule:?}: {what}")]
pub struct Broken {
    /// What should have held.
    pub rule: Rule,
    /// What was found.
    pub what: String,
}

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// What was answered before something else was asked comes before it.
    RealTime,
    /// Answers are those of one store that does one request after the other.
    Linearizable,
    /// Not a rule: there were more ways to explain the history than could be tried.
    Undecided,
    /// Watchers see what happened in its order, all of it, each change once and unaltered.
    WatchEvents,
    /// All changes of one revision come together.
    WatchAtomic,
    /// Nobody hears of what has not been asked for yet.
    WatchAhead,
    /// Who hears of progress to a revision has heard everything up to it.
    WatchProgress,
    /// Only who needs what was compacted away is cancelled for it.
    WatchCompacted,
    /// At the end, watchers have heard of everything.
    WatchComplete,
    /// A lease lives as long as it was promised.
    LeaseEarly,
    /// A lease that nobody renews ends.
    LeaseLate,
    /// Members that have the same revisions have the same hash.
    HashEqual,
    /// A term has one leader at most.
    ElectionSafety,
    /// A leader only appends to its log.
    LeaderAppendOnly,
    /// Two logs that have the same entry are the same up to it.
    LogMatching,
    /// What is committed is in the log of every later leader.
    LeaderCompleteness,
    /// No two members apply different entries at one index.
    StateMachineSafety,
    /// A term, a vote and what is applied are not taken back.
    NotTakenBack,
}

pub(crate) fn ensure(right: bool, rule: Rule, what: impl FnOnce() -> String) -> Result<(), Broken> {
    if right { Ok(()) } else { Err(Broken { rule, what: what() }) }
}
