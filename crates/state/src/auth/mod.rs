//! Users, roles, permissions: the replicated part of auth. Passwords and tokens are checked at
//! the door; here is what an entry changes, and what its caller may change.

mod base64;
mod gate;
mod permissions;
mod store;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub(crate) use gate::Gate;
pub(crate) use store::{AuthError, AuthStore, Caller, Changed};

/// Users and roles as other threads see them. Clones share them; only apply changes them.
#[derive(Debug, Clone, Default)]
pub struct Auth {
    store: Arc<RwLock<AuthStore>>,
}

impl Auth {
    pub(crate) fn new(store: AuthStore) -> Self {
        Self { store: Arc::new(RwLock::new(store)) }
    }

    /// Whether requests need a user.
    pub fn is_enabled(&self) -> bool {
        self.read().is_enabled()
    }

    /// How often users and roles were changed.
    pub fn revision(&self) -> u64 {
        self.read().revision()
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, AuthStore> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, AuthStore> {
        self.store.write().unwrap_or_else(PoisonError::into_inner)
    }
}
