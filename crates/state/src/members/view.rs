use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Downgrade, Member, Roster};
use crate::{MemberId, Version};

/// The roster as other threads see it. Clones share it; only apply changes it.
#[derive(Debug, Clone, Default)]
pub struct Members {
    roster: Arc<RwLock<Roster>>,
}

impl Members {
    pub(crate) fn new(roster: Roster) -> Self {
        Self { roster: Arc::new(RwLock::new(roster)) }
    }

    /// All members by ascending id: the list that clients get.
    pub fn list(&self) -> Vec<Member> {
        self.read().members().cloned().collect()
    }

    /// One member.
    pub fn member(&self, id: MemberId) -> Option<Member> {
        self.read().member(id).cloned()
    }

    /// Whether this id was removed for ever.
    pub fn is_removed(&self, id: MemberId) -> bool {
        self.read().is_removed(id)
    }

    /// Whether this member exists and has no vote.
    pub fn is_learner(&self, id: MemberId) -> bool {
        self.read().member(id).is_some_and(|member| member.is_learner)
    }

    /// What the members agreed to speak.
    pub fn cluster_version(&self) -> Option<Version> {
        self.read().cluster_version()
    }

    /// Whether a downgrade is under way.
    pub fn downgrade(&self) -> Downgrade {
        self.read().downgrade().clone()
    }

    /// A copy of everything, for what must look at several things at one moment.
    pub fn roster(&self) -> Roster {
        self.read().clone()
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Roster> {
        self.roster.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Roster> {
        self.roster.write().unwrap_or_else(PoisonError::into_inner)
    }
}
