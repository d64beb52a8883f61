//! Faster than the election timeout: a member that loses its connection to the leader asks at once
//! whether it could be elected.
//!
//! It asks by pre-vote, which changes no term, and which a member that still hears of the leader
//! refuses. So a link that breaks while the leader lives costs a few messages; and when the
//! leader's process is gone, the connections of all break and an election takes moments.

use std::time::Duration;

use raft::NodeId;

use super::Drive;

/// Members that lose the leader at the same moment must not all ask at the same moment.
const JITTER: Duration = Duration::from_millis(40);
/// Between two tries; others may not have noticed yet, or votes were split.
const PAUSE: Duration = Duration::from_millis(30);
/// Tries before the election timeout is waited for after all.
const TRIES: u32 = 5;

/// A campaign that is due before its time.
#[derive(Debug)]
pub(super) struct FastCampaign {
    at: Duration,
    tries_left: u32,
}

impl FastCampaign {
    pub(super) fn at(&self) -> Duration {
        self.at
    }
}

impl Drive {
    /// The connection to a member has broken.
    pub(super) fn lost(&mut self, id: NodeId) {
        self.parts.raft.report_unreachable(id);
        // Without pre-vote, to ask is to begin a term, which no leader survives.
        if self.leader() != Some(id) || !self.pace.pre_vote {
            return;
        }
        self.parts.raft.forget_leader();
        if self.leader().is_none() {
            let at = self.now + self.jitter();
            self.fast = Some(FastCampaign { at, tries_left: TRIES });
        }
    }

    pub(super) fn campaign_if_due(&mut self) {
        let Some(fast) = self.fast.take_if(|fast| fast.at <= self.now) else { return };
        if self.leader().is_some() {
            return;
        }
        // A refusal passes: a learner never asks, a member with changes of the members to apply
        // asks later.
        let _ = self.parts.raft.campaign();
        if fast.tries_left > 1 {
            let at = self.now + PAUSE + self.jitter();
            self.fast = Some(FastCampaign { at, tries_left: fast.tries_left - 1 });
        }
    }

    fn jitter(&mut self) -> Duration {
        let micros = self.parts.random.below(JITTER.as_micros() as u64);
        Duration::from_micros(micros)
    }
}
