use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::{Lease, LeaseTable};
use crate::LeaseId;

/// The leases as other threads see them. Clones share them; only apply changes them.
#[derive(Debug, Clone, Default)]
pub struct Leases {
    table: Arc<RwLock<LeaseTable>>,
}

impl Leases {
    pub(crate) fn new(table: LeaseTable) -> Self {
        Self { table: Arc::new(RwLock::new(table)) }
    }

    /// One lease.
    pub fn lease(&self, id: LeaseId) -> Option<Lease> {
        self.read().lease(id)
    }

    /// All leases by ascending id.
    pub fn list(&self) -> Vec<Lease> {
        self.read().leases().collect()
    }

    /// The keys attached to a lease, in byte order; `None` where there is no such lease.
    pub fn keys(&self, id: LeaseId) -> Option<Vec<Bytes>> {
        self.read().keys(id)
    }

    /// How many leases there are.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, LeaseTable> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, LeaseTable> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}
