use std::io;
use std::path::{Path, PathBuf};

/// Why the log or a snapshot file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is a log already where one was to be created.
    #[error("wal: {0} already holds a log")]
    Exists(PathBuf),
    /// There is no segment in the directory.
    #[error("wal: file not found in {0}")]
    NoSegments(PathBuf),
    /// Every segment starts behind the snapshot.
    #[error("wal: file not found which matches the snapshot index '{0}'")]
    NoSegmentFor(u64),
    /// A segment between others is missing.
    #[error("wal: file sequence numbers do not increase continuously before {0}")]
    MissingSegment(String),
    /// Bytes that were written and synced have changed.
    #[error("wal: crc mismatch: in file '{segment}' at position: {offset}")]
    Crc { segment: String, offset: u64 },
    /// A record that is whole (by its frame and, except for the outermost, its crc) but not valid.
    #[error("wal: cannot decode {what}: in file '{segment}' at position: {offset}: {source}")]
    Decode { what: &'static str, segment: String, offset: u64, source: proto::DecodeError },
    /// A record of a type that no version writes.
    #[error("wal: unexpected block type {kind}: in file '{segment}' at position: {offset}")]
    UnknownKind { kind: i64, segment: String, offset: u64 },
    /// A record that was not written to its end; at the end of the log this can be repaired.
    #[error("wal: unexpected EOF: in file '{segment}' at position: {offset}")]
    UnexpectedEof { segment: String, offset: u64 },
    /// Segments that belong to different members or clusters.
    #[error("wal: conflicting metadata found: in file '{segment}'")]
    MetadataConflict { segment: String },
    /// The log has another term at the snapshot's index.
    #[error("wal: snapshot mismatch: index {index} has term {found}, not {wanted}")]
    SnapshotMismatch { index: u64, found: u64, wanted: u64 },
    /// The log has no record of the snapshot.
    #[error("wal: snapshot not found: index {index}, term {term}")]
    SnapshotNotFound { index: u64, term: u64 },
    /// Entries are missing between the snapshot (or the last entry) and this one.
    #[error(
        "wal: slice bounds out of range, snapshot[Index: {snapshot_index}, Term: {snapshot_term}], \
         current entry[Index: {index}, Term: {term}], len(ents): {len}"
    )]
    EntriesMissing { snapshot_index: u64, snapshot_term: u64, index: u64, term: u64, len: usize },
    /// A snapshot record that readers would refuse.
    #[error("wal: snapshot record needs an index, a term and (above index 0) a conf state")]
    IncompleteSnapshot,
    /// An earlier write or sync failed: what is on the disk is unknown until the log is reopened.
    #[error("wal: an earlier write failed; the log must be reopened")]
    Broken,
    /// There is no snapshot file that can be used.
    #[error("snap: no available snapshot")]
    NoSnapshot,
    /// A snapshot file with nothing in it.
    #[error("snap: empty snapshot")]
    EmptySnapshot,
    /// The bytes of a snapshot file have changed.
    #[error("snap: crc mismatch")]
    SnapshotCrc,
    /// A snapshot file that is not one.
    #[error("snap: cannot decode the snapshot: {0}")]
    SnapshotDecode(proto::DecodeError),
    /// Somebody else has the file open for writing.
    #[error("{path} is locked by another process")]
    Locked { path: PathBuf },
    /// No room to write.
    #[error("disk full: cannot {action} {path}: {source}")]
    DiskFull { action: &'static str, path: PathBuf, source: io::Error },
    /// The file system failed.
    #[error("cannot {action} {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

impl Error {
    /// Says what was attempted on what.
    pub(crate) fn io<'a>(
        action: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Error::DiskFull { action, path, source }
                }
                io::ErrorKind::WouldBlock if action == LOCK => Error::Locked { path },
                _ => Error::Io { action, path, source },
            }
        }
    }

    /// Whether a record was cut off, which [`Wal::open`](crate::Wal::open) repairs at the end.
    pub fn is_unexpected_eof(&self) -> bool {
        matches!(self, Error::UnexpectedEof { .. })
    }
}

/// The action of taking a lock; `WouldBlock` means something in it.
pub(crate) const LOCK: &str = "lock";
