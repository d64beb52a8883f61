use thiserror::Error;

/// Why a question about the history has no answer.
#[derive(Debug, Error)]
pub enum Error {
    /// The revision lies before the last compaction.
    #[error("mvcc: required revision has been compacted")]
    Compacted,
    /// The revision has not happened yet.
    #[error("mvcc: required revision is a future revision")]
    FutureRevision,
    /// The db file says something that it cannot say: it is damaged, or not etcd's.
    #[error("db file is damaged: {0}")]
    Damaged(String),
    /// The db file could not be read or written.
    #[error(transparent)]
    Db(#[from] bolt::Error),
}
