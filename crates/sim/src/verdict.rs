/// What a member did that it must not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}, action {action}: {checker:?}: {what}")]
pub struct Violation {
    /// Of the run.
    pub seed: u64,
    /// How many actions had been done.
    pub action: u64,
    /// Who noticed.
    pub checker: Checker,
    /// What was noticed.
    pub what: String,
}

/// The checkers by what they watch over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Checker {
    /// A member opens its own files whatever happened to it, and fails only where the disk did.
    Boot,
    /// It leads and serves soon after.
    Serving,
    /// What was acknowledged is in the log.
    Acknowledged,
    /// The log has what was asked as it was asked, in order, and nothing else.
    Log,
    /// Answers are what the model answers, with its revisions.
    Answer,
    /// Reads and events showed what the log confirms.
    Seen,
    /// The db file has exactly the effect of the entries up to its index, which lies between the
    /// newest snapshot (or commit) and the end of the log.
    Index,
    /// Keys at all revisions, leases, alarms and members are those of the model.
    State,
    /// Hashes are those of a state that never crashed.
    Hash,
    /// The db file is well formed.
    File,
    /// A lease ends when its time is over, not before.
    Lease,
    /// What members of a cluster say of consensus keeps Raft's promises.
    Raft,
    /// The history that clients have seen is that of one store.
    Linearizable,
    /// Watchers of a cluster are told everything, in order, once.
    Watch,
    /// A leader that is well goes on leading.
    Stable,
}

/// What a checker found; the run adds where.
pub(crate) type Checked<T = ()> = Result<T, (Checker, String)>;

/// Says what is wrong unless it is right.
pub(crate) fn ensure(right: bool, checker: Checker, what: impl FnOnce() -> String) -> Checked {
    if right { Ok(()) } else { Err((checker, what())) }
}
