//! Users, roles, permissions: the replicated part of auth. Passwords and tokens are checked at
//! the door; here is what an entry changes, and what its caller may change.

mod clear;
mod gate;
mod permissions;
mod store;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;

use crate::Rejected;

pub(crate) use clear::Salt;
pub(crate) use gate::Gate;
pub use gate::Need;
pub(crate) use store::{AuthStore, Caller, Changed};

/// Who calls, as a token or a certificate says, and of which state of users it says so. No user
/// of no revision is nobody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthInfo {
    /// The name of the user.
    pub username: Arc<str>,
    /// The auth revision; of an older one the state wants to know nothing.
    pub revision: u64,
}

/// Users and roles as other threads see them. Clones share them; only apply changes them.
#[derive(Debug, Clone, Default)]
pub struct Auth {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    store: RwLock<AuthStore>,
    // What every call asks, without the lock; moved while it is held.
    enabled: AtomicBool,
    revision: AtomicU64,
}

impl Auth {
    pub(crate) fn new(store: AuthStore) -> Self {
        let enabled = AtomicBool::new(store.is_enabled());
        let revision = AtomicU64::new(store.revision());
        Self { shared: Arc::new(Shared { store: RwLock::new(store), enabled, revision }) }
    }

    /// Whether requests need a user.
    pub fn is_enabled(&self) -> bool {
        self.shared.enabled.load(Ordering::Acquire)
    }

    /// How often users and roles were changed.
    pub fn revision(&self) -> u64 {
        self.shared.revision.load(Ordering::Acquire)
    }

    /// The stored hash of a user's password, and the revision of which that holds.
    pub fn password(&self, name: &str) -> Result<(Bytes, u64), Rejected> {
        self.read().password(name)
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, AuthStore> {
        self.shared.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes users and roles.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut AuthStore) -> T) -> T {
        let mut store = self.shared.store.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut store);
        self.shared.enabled.store(store.is_enabled(), Ordering::Release);
        self.shared.revision.store(store.revision(), Ordering::Release);
        changed
    }
}
