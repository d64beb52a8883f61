//! Faster than the election timeout: a member that loses its connection to the leader asks at once
//! whether it could be elected.
//!
//! It asks by pre-vote, which changes no term, and which a member that still hears of the leader
//! refuses. So a link that breaks while the leader lives costs a few messages; and when the
//! leader's process is gone, the connections of all break and an election takes moments.
//!
//! Votes must not be split for long, whatever has begun the election. So who has given a vote lets
//! that election come to its end; of two that ask at the same time the one with the lower id stands
//! back; and whoever sees nobody elected asks again, each time later.

use std::time::Duration;

use raft::{Body, EntryId, NodeId, StateRole};

use super::Drive;

/// Members that lose the leader at the same moment must not all ask at the same moment.
const JITTER: Duration = Duration::from_millis(40);
/// Between two tries at least: others may not have noticed yet, or votes were split.
const PAUSE: Duration = Duration::from_millis(30);
/// Tries before the election timeout is waited for after all.
const TRIES: u32 = 5;
/// How long a vote that was given has to lead to something: two ways, and syncs of the vote and of
/// the new leader's first entry.
const SETTLES: Duration = Duration::from_millis(150);
/// How often a member stands back: who asks in vain must not keep all others from asking.
const STANDS_BACK: u32 = 2;

/// A campaign that is due before its time.
#[derive(Debug)]
pub(super) struct FastCampaign {
    at: Duration,
    tries: u32,
    stood_back: u32,
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
            self.fast = Some(FastCampaign { at, tries: 0, stood_back: 0 });
        }
    }

    /// The connection to a member is back. If it led, it leads on: were it not remembered, links
    /// that break one after the other would add up to a majority that has lost it.
    pub(super) fn heard_again(&mut self, id: NodeId) {
        self.parts.raft.remember_leader(id);
    }

    /// Nobody leads, and this member has something to wait for: it asks (again) if that comes to
    /// nothing, after `rounds` pauses.
    pub(super) fn ask_after(&mut self, rounds: u32) {
        if !self.pace.pre_vote || self.is_sole_voter() || self.leader().is_some() {
            return;
        }
        let fresh = FastCampaign { at: self.now, tries: 0, stood_back: 0 };
        let tries = self.fast.get_or_insert(fresh).tries;
        // Each time further apart: what is late now may be late again.
        let longer = 1 << tries.min(4);
        let at = self.now + (PAUSE * rounds + self.jitter()) * longer;
        if let Some(fast) = &mut self.fast {
            fast.at = fast.at.max(at);
        }
    }

    pub(super) fn campaign_if_due(&mut self) {
        let due = self.fast.as_mut().filter(|fast| fast.at <= self.now);
        let Some(fast) = due else { return };
        fast.tries += 1;
        if fast.tries > TRIES || self.leader().is_some() {
            self.fast = None;
            return;
        }
        // A refusal passes: a learner never asks, a member with changes of the members to apply
        // asks later.
        let _ = self.parts.raft.pre_campaign();
        self.ask_after(1);
    }

    /// This member asks for votes, having given itself its own.
    pub(super) fn stands(&mut self) {
        self.settles_until = self.now + SETTLES;
        self.ask_after(2);
    }

    /// Whether an election that this member has given its vote to may still come to something.
    /// Nobody is encouraged to begin another one meanwhile: it would depose the leader that is
    /// just being made, whose followers then wait for it for a whole election timeout.
    pub(super) fn is_settling(&self) -> bool {
        self.leader().is_none() && self.now < self.settles_until
    }

    /// Another member has asked for a vote, or by pre-vote whether it would get one.
    pub(super) fn was_asked(&mut self, from: NodeId, asked: Asked) {
        if self.leader().is_some() {
            return;
        }
        let status = self.parts.raft.status();
        let role = status.soft_state.role;
        match asked {
            // Its election needs a sync and two ways; then its first words come.
            Asked::Vote if status.hard_state.vote == Some(from) => {
                self.settles_until = self.now + SETTLES;
                self.ask_after(3);
            }
            Asked::Vote => {}
            // Refused, then: this member is needed.
            Asked::Word(last) if !self.parts.raft.is_up_to_date(last) => self.ask_after(0),
            Asked::Word(_) if role == StateRole::Follower => self.ask_after(2),
            Asked::Word(_) => self.stand_back(from),
        }
    }

    /// Two that ask at once give each other their word, and then no votes.
    fn stand_back(&mut self, other: NodeId) {
        let status = self.parts.raft.status();
        let stood_back = self.fast.as_ref().map_or(0, |fast| fast.stood_back);
        if status.soft_state.role != StateRole::PreCandidate
            || other < status.id
            || stood_back >= STANDS_BACK
        {
            return;
        }
        self.parts.raft.stand_back();
        self.ask_after(2);
        if let Some(fast) = &mut self.fast {
            fast.stood_back += 1;
        }
    }

    fn jitter(&mut self) -> Duration {
        let micros = self.parts.random.below(JITTER.as_micros() as u64);
        Duration::from_micros(micros)
    }
}

/// What another member has asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    Vote,
    /// A pre-vote, for a log that ends there.
    Word(EntryId),
}

impl Asked {
    pub(super) fn of<P>(body: &Body<P>) -> Option<Self> {
        match body {
            Body::Vote { .. } => Some(Self::Vote),
            Body::PreVote { last } => Some(Self::Word(*last)),
            _ => None,
        }
    }
}
