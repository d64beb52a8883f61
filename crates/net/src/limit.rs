//! How many connections may be open at a time.

use std::sync::Arc;

use rustix::process::{Resource, getrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// File descriptors that connections leave for the WAL, the db file, peers and logs.
pub const RESERVED_DESCRIPTORS: u64 = 150;

/// The process may open so few files that no connection could be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "file descriptor limit of the process is too low: {limit}; needs more than \
     {RESERVED_DESCRIPTORS}"
)]
pub struct DescriptorsTooFew {
    /// The process's limit.
    pub limit: u64,
}

/// The number of files that the process may have open; `None` when there is no limit.
pub fn descriptor_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Permits for connections; clones share them.
#[derive(Debug, Clone)]
pub struct ConnectionLimit {
    permits: Arc<Semaphore>,
}

impl ConnectionLimit {
    /// At most so many connections at a time.
    pub fn new(connections: u64) -> ConnectionLimit {
        let connections = usize::try_from(connections).unwrap_or(usize::MAX);
        ConnectionLimit {
            permits: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// What a descriptor limit leaves for the connections of one listener.
    pub fn from_descriptors(limit: Option<u64>) -> Result<ConnectionLimit, DescriptorsTooFew> {
        match limit {
            None => Ok(ConnectionLimit::new(u64::MAX)),
            Some(limit) if limit <= RESERVED_DESCRIPTORS => Err(DescriptorsTooFew { limit }),
            Some(limit) => Ok(ConnectionLimit::new(limit - RESERVED_DESCRIPTORS)),
        }
    }

    pub(crate) async fn permit(&self) -> OwnedSemaphorePermit {
        let permits = Arc::clone(&self.permits);
        permits.acquire_owned().await.expect("nobody closes the semaphore")
    }
}

#[cfg(test)]
mod tests {
    use super::{ConnectionLimit, DescriptorsTooFew};

    #[test]
    fn descriptors_leave_room_for_files() {
        let refused = ConnectionLimit::from_descriptors(Some(150)).expect_err("too few");
        assert_eq!(refused, DescriptorsTooFew { limit: 150 });
        let limit = ConnectionLimit::from_descriptors(Some(153)).expect("enough");
        assert_eq!(limit.permits.available_permits(), 3);
        assert!(ConnectionLimit::from_descriptors(None).is_ok());
    }
}
