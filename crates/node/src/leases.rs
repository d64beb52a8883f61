//! When leases end: the leader's clockwork, shared by the drive and by those who renew.

use std::sync::{Mutex, MutexGuard};

use state::Expiry;

/// [`Expiry`] behind a lock that is held for one look at a time.
#[derive(Debug)]
pub(crate) struct Clockwork {
    expiry: Mutex<Expiry>,
}

impl Clockwork {
    pub(crate) fn new(expiry: Expiry) -> Self {
        Self { expiry: Mutex::new(expiry) }
    }

    pub(crate) fn look(&self) -> MutexGuard<'_, Expiry> {
        self.expiry.lock().expect("no holder of this lock panics")
    }
}
