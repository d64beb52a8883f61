use std::io;
use std::path::PathBuf;

/// What is done to an open file without changing it.
pub(crate) const READ_PAGE: &str = "read a page of";
pub(crate) const READ_IMAGE: &str = "read an image of";

/// What an operation on an open db came back with instead of its result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system said no. After a failed commit the db stands at its last commit.
    #[error("cannot {action} the db file: {source}")]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// A page does not hold what a db file may hold there.
    #[error("page {page} of the db file is corrupt: {problem}")]
    Corrupt {
        /// The page's id; 0 also stands for an inline page.
        page: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// No bucket has this name.
    #[error("bucket {0:?} not found")]
    BucketNotFound(String),
    /// A bucket needs a name.
    #[error("bucket name required")]
    BucketNameRequired,
    /// A key needs at least one byte.
    #[error("key required")]
    KeyRequired,
    /// A key is longer than the format's 32768 bytes.
    #[error("key too large: {0} bytes")]
    KeyTooLarge(usize),
    /// A value is longer than the format's 2^31 - 2 bytes.
    #[error("value too large: {0} bytes")]
    ValueTooLarge(usize),
    /// The key holds a nested bucket where a value was meant, or the other way round.
    #[error("incompatible value: a bucket and a plain value cannot take each other's place")]
    Incompatible,
    /// A commit would have made the file longer where that was not allowed.
    #[error("no room without growing the db file")]
    NoRoom,
}

impl Error {
    pub(crate) fn corrupt(page: u64, problem: &'static str) -> Self {
        Self::Corrupt { page, problem }
    }

    pub(crate) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }

    /// Whether something could not be written, or not be made durable. After that nobody knows what
    /// the disk has, and a later sync would not tell.
    pub fn is_write_failure(&self) -> bool {
        matches!(self, Self::Io { action, .. } if ![READ_PAGE, READ_IMAGE].contains(action))
    }

    /// Whether the disk was full.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        ))
    }
}

/// Why a db file could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process (or another handle of this one) has it open.
    #[error("another process holds the lock on {}", .path.display())]
    Locked {
        /// The db file.
        path: PathBuf,
    },
    /// The file system said no.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The db file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// Neither meta page is that of a db file.
    #[error("{} is not a db file: both meta pages are invalid", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
    },
    /// The meta page speaks of another format version.
    #[error("{} has format version {version}, expected 2", .path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version found.
        version: u32,
    },
    /// The file is shorter than its meta page says.
    #[error("{} is cut short: {len} bytes of {expected}", .path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its length.
        len: u64,
        /// The length that its pages need.
        expected: u64,
    },
    /// The options ask for a page size that the format does not have.
    #[error("page size {0} is not a power of two between 1024 and 65536")]
    PageSize(usize),
    /// A page does not hold what it may hold.
    #[error("cannot use {}: {source}", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Error,
    },
}
