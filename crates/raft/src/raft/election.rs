//! Elections: campaigning and voting.

use super::Raft;
use crate::entry::{EntryBody, Payload};
use crate::error::{CampaignRefused, DropReason, Fatal, StepError};
use crate::message::{Body, Message};
use crate::quorum::VoteResult;
use crate::storage::Storage;
use crate::trace::TraceKind;
use crate::types::{EntryId, NodeId, StateRole, Term};

/// The kinds of campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Campaign {
    /// Ask first whether it could be won (thesis 9.6).
    PreElection,
    Election,
    /// By order of the leader: no pre-vote, and leases do not stand against it.
    Transfer,
}

impl<P: Payload, S: Storage<P>> Raft<P, S> {
    /// Whether this node can become leader: it votes, and its state is whole.
    pub(crate) fn is_promotable(&self) -> bool {
        self.fatal.is_none()
            && self.tracker.peers.get(self.id).is_some_and(|own| !own.is_learner())
            && self.log.unstable.snapshot().is_none()
    }

    pub(super) fn start_campaign(&mut self, kind: Campaign) -> Result<(), CampaignRefused> {
        if self.fatal.is_some() {
            return Err(CampaignRefused::Fatal);
        }
        if self.role == StateRole::Leader {
            return Err(CampaignRefused::AlreadyLeader);
        }
        if !self.is_promotable() {
            return Err(CampaignRefused::NotPromotable);
        }
        if self.term.next() == Term::MAX {
            return Err(CampaignRefused::LastTerm);
        }
        // Between commit and apply of a conf change two members can hold different ideas of what
        // a quorum is (etcd #7280); that goes for a transfer too.
        let unapplied = self.log.has_unapplied_conf_change();
        match self.note(unapplied) {
            Some(false) => {}
            Some(true) => return Err(CampaignRefused::ConfChangePending),
            None => return Err(CampaignRefused::Fatal),
        }
        let asked = self.ask_for_votes(kind);
        self.note(asked).ok_or(CampaignRefused::Fatal)
    }

    fn ask_for_votes(&mut self, kind: Campaign) -> Result<(), Fatal> {
        let last = self.log.last_id()?;
        let term = match kind {
            Campaign::PreElection => {
                self.become_pre_candidate();
                self.term.next()
            }
            Campaign::Election | Campaign::Transfer => {
                self.become_candidate();
                self.term
            }
        };
        let pre = kind == Campaign::PreElection;
        for id in self.tracker.config.voters.ids().iter() {
            let body = match (pre, id == self.id) {
                // Our own vote counts like any other, and not before it is on disk.
                (true, true) => Body::PreVoteResp { reject: false, committed: None },
                (false, true) => Body::VoteResp { reject: false, committed: None },
                (true, false) => Body::PreVote { last },
                (false, false) => Body::Vote { last, transfer: kind == Campaign::Transfer },
            };
            self.send_in(term, id, body);
        }
        Ok(())
    }

    fn become_candidate(&mut self) {
        self.reset(self.term.next());
        self.vote = Some(self.id);
        self.role = StateRole::Candidate;
        self.trace(|_| TraceKind::BecomeCandidate);
    }

    /// Changes no term and no vote: nothing has happened yet. But the leader and the votes of an
    /// earlier try must go, or with check-quorum nobody would ever be elected (etcd #9586, #10355).
    fn become_pre_candidate(&mut self) {
        self.tracker.reset_votes();
        self.leader = None;
        self.role = StateRole::PreCandidate;
    }

    fn become_leader(&mut self) -> Result<(), Fatal> {
        self.reset(self.term);
        self.leader = Some(self.id);
        self.role = StateRole::Leader;
        let last = self.log.last_index();
        if let Some(own) = self.tracker.peers.get_mut(self.id) {
            own.become_replicate();
            own.set_recent_active(true);
        }
        // There may be a conf change in the tail that is not committed yet. Looking for it could
        // be slow; refusing new ones until the tail is applied cannot be wrong.
        self.pending_conf_index = last;
        self.trace(|_| TraceKind::BecomeLeader);
        // An entry of its own term: only by this can it commit what it has inherited (paper 5.4.2)
        // and learn what was committed before it (paper 8). Weighs nothing, is never refused.
        self.append_entries([EntryBody::Empty]);
        self.broadcast_append()
    }

    /// A request for our vote, or for our word that we would give it.
    pub(super) fn handle_vote(
        &mut self,
        from: NodeId,
        term: Term,
        last: EntryId,
        pre: bool,
    ) -> Result<(), StepError> {
        if self.fatal.is_some() {
            // What we promised before is lost with the log; another promise could contradict it.
            return Ok(());
        }
        // A repeated vote, or the first and nobody leads yet, or a mere word for a later term.
        let can_vote = self.vote == Some(from)
            || (self.vote.is_none() && self.leader.is_none())
            || (pre && term > self.term);
        // Learners vote too, when asked: a learner that was promoted may be the one who makes the
        // quorum, and does not know it yet. Whoever asks without being a candidate of the newest
        // configuration will not win.
        let granted = can_vote && self.log.is_up_to_date(last)?;
        // A granted answer names the term asked for: for a pre-vote ours is older, and the asker
        // would ignore it. A refusal names ours, so that an asker who is behind learns of it.
        let answer_term = if granted { term } else { self.term };
        let reject = !granted;
        let committed = if reject { self.committed_for_stale_voters() } else { None };
        let body = match pre {
            true => Body::PreVoteResp { reject, committed },
            false => Body::VoteResp { reject, committed },
        };
        self.send_in(answer_term, from, body);
        if granted && !pre {
            // Only a real vote puts our own campaign off.
            self.election_elapsed = 0;
            self.vote = Some(from);
        }
        Ok(())
    }

    /// What to tell a member that asks us for a vote although we have none.
    ///
    /// A leader that was removed may have a longer log than those who stay, and they may not know
    /// that its removal is committed. Then they need its vote and it cannot give it: with {1, 2}
    /// less 1 that would be for ever, once the last word of leader 1 is lost. But it can tell them
    /// how far the log is committed, and with its removal applied they need it no more.
    pub(super) fn committed_for_stale_voters(&self) -> Option<EntryId> {
        if self.tracker.config.voters.contains(self.id) {
            return None;
        }
        let index = self.log.committed();
        let term = self.log.term(index).ok().flatten()?;
        Some(EntryId { term, index })
    }

    pub(super) fn step_candidate(&mut self, message: Message<P>) -> Result<(), StepError> {
        match message.body {
            Body::Propose { .. } => Err(StepError::Dropped(DropReason::NoLeader)),
            Body::ReadIndex { .. } => Err(StepError::Dropped(DropReason::NoLeader)),
            // The election is lost: the term has a leader.
            ref body if body.is_from_leader() => {
                self.become_follower(message.term, Some(message.from));
                self.step_follower(message)
            }
            // Answers to a pre-vote may arrive when we already campaign in earnest, within the
            // same term: they are not votes.
            Body::VoteResp { reject, .. } if self.role == StateRole::Candidate => {
                self.handle_vote_response(message.from, !reject)
            }
            Body::PreVoteResp { reject, .. } if self.role == StateRole::PreCandidate => {
                self.handle_vote_response(message.from, !reject)
            }
            _ => Ok(()),
        }
    }

    fn handle_vote_response(&mut self, from: NodeId, granted: bool) -> Result<(), StepError> {
        self.tracker.record_vote(from, granted);
        match self.tracker.vote_result() {
            VoteResult::Won if self.role == StateRole::PreCandidate => {
                self.ask_for_votes(Campaign::Election)?;
            }
            VoteResult::Won => self.become_leader()?,
            // A refused pre-vote may have carried a later term; then we are there already.
            VoteResult::Lost => self.become_follower(self.term, None),
            VoteResult::Pending => {}
        }
        Ok(())
    }
}
