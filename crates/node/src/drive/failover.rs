//! Faster than the election timeout: a member that loses its connection to the leader asks at once
//! whether it could be elected.
//!
//! It asks by pre-vote, which changes no term, and which a member that still hears of the leader
//! refuses. So a link that breaks while the leader lives costs a few messages; and when the
//! leader's process is gone, the connections of all break and an election takes moments. Where
//! votes are split it asks again soon, whatever has begun the election.

use std::time::Duration;

use raft::{NodeId, StateRole};

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
    /// Votes that were under way have been waited for.
    was_patient: bool,
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
            self.fast = Some(FastCampaign { at, tries_left: TRIES, was_patient: false });
        }
    }

    /// The connection to a member is back. If it led, it leads on: were it not remembered, links
    /// that break one after the other would add up to a majority that has lost it.
    pub(super) fn heard_again(&mut self, id: NodeId) {
        self.parts.raft.remember_leader(id);
    }

    /// This member stands for election. Where votes are split, or somebody has not noticed yet, it
    /// asks again long before another election timeout.
    pub(super) fn stands(&mut self) {
        if self.fast.is_none() && self.pace.pre_vote && !self.is_sole_voter() {
            let at = self.now + PAUSE + self.jitter();
            self.fast = Some(FastCampaign { at, tries_left: TRIES, was_patient: false });
        }
    }

    pub(super) fn campaign_if_due(&mut self) {
        let Some(fast) = self.fast.take_if(|fast| fast.at <= self.now) else { return };
        if self.leader().is_some() || fast.tries_left == 0 {
            return;
        }
        // Votes that were asked for get twice the time to come: to ask anew gives them up.
        let votes = self.parts.raft.status().soft_state.role == StateRole::Candidate;
        let patient = votes && !fast.was_patient;
        if !patient {
            // A refusal passes: a learner never asks, a member with changes of the members to
            // apply asks later.
            let _ = self.parts.raft.pre_campaign();
        }
        let tries_left = fast.tries_left - u32::from(!patient);
        // Each time further apart: who asks within a message's time of another one splits votes.
        let at = self.now + PAUSE + self.jitter() * (1 << (TRIES - tries_left).min(3));
        self.fast = Some(FastCampaign { at, tries_left, was_patient: patient });
    }

    /// Another member asks for votes: it may well get them, if it is let.
    pub(super) fn let_ask(&mut self) {
        let at = self.now + PAUSE + self.jitter();
        if let Some(fast) = &mut self.fast
            && self.parts.raft.status().soft_state.role == StateRole::Follower
        {
            fast.at = fast.at.max(at);
        }
    }

    fn jitter(&mut self) -> Duration {
        let micros = self.parts.random.below(JITTER.as_micros() as u64);
        Duration::from_micros(micros)
    }
}
