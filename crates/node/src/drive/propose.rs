//! Requests on their way into the log: those of callers, and the member's own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proto::Message as _;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::{
    AlarmRequest, AlarmType, CompactionRequest, InternalRaftRequest, LeaseCheckpoint,
    LeaseCheckpointRequest, LeaseRevokeRequest, RequestHeader,
};
use raft::{DropReason, StateRole, StepError};

use state::Version;

use super::{Drive, Pending};
use crate::queue::{Order, Proposal};
use crate::wire::Payload;
use crate::{Error, Fatal, life, metrics};

/// Since this version members keep checkpoints of leases in their files.
const CHECKPOINTS_ARE_KEPT: Version = Version::new(3, 6);
/// Leases that one look lets expire.
const EXPIRED_AT_ONCE: usize = 500;
/// Requests that may wait for somebody to lead.
const HELD_LIMIT: usize = 5000;
/// How long after a new leader's first entry a request of an earlier term may still come through:
/// it may be on its way by the leader of before.
const LATE: Duration = Duration::from_millis(100);

impl Drive {
    pub(super) fn obey(&mut self, order: Order) -> Result<(), Fatal> {
        match order {
            Order::Change { id, change, answer } => {
                let term = self.parts.raft.status().hard_state.term.0;
                match self.parts.raft.propose_conf_change(change) {
                    Ok(()) => {
                        self.answers.insert(id, Pending { answer, term, since: self.now });
                    }
                    // The caller may have gone away.
                    Err(error) => drop(answer.send(Err(refusal(&error)))),
                }
            }
            Order::Transfer(to) => self.parts.raft.transfer_leader(to),
            Order::Install(prepared) => self.take_prepared(*prepared),
            Order::Synced { number, outcome } => self.synced(number, outcome)?,
        }
        Ok(())
    }

    pub(super) fn propose(&mut self, proposal: Proposal) {
        let Proposal { request, encoded, answer } = proposal;
        let id = request.header.as_ref().map_or(request.id, |header| header.id);
        let status = self.parts.raft.status();
        let term = status.hard_state.term.0;
        if (status.soft_state.leader.is_none() || status.transferee.is_some())
            && !self.is_sole_voter()
        {
            self.hold(Proposal { request, encoded, answer });
            return;
        }
        let payload = Payload { encoded, request: Some(request) };
        match self.parts.raft.propose(payload) {
            Ok(()) => {
                if let Some(answer) = answer {
                    self.answers.insert(id, Pending { answer, term, since: self.now });
                }
            }
            Err(failure) => {
                metrics::PROPOSALS_FAILED.inc();
                tracing::warn!(error = %failure, "raft proposal dropped");
                if let Some(answer) = answer {
                    // The caller may have gone away.
                    let _ = answer.send(Err(refusal(&failure)));
                }
            }
        }
    }

    /// Keeps a request until somebody leads.
    fn hold(&mut self, proposal: Proposal) {
        if self.held.len() >= HELD_LIMIT {
            self.held.retain(|held| held.answer.as_ref().is_some_and(|answer| !answer.is_closed()));
        }
        if self.held.len() < HELD_LIMIT {
            self.held.push(proposal);
        } else if let Some(answer) = proposal.answer {
            let _ = answer.send(Err(Error::TooManyRequests));
        }
    }

    /// Proposes what was held, once somebody leads who takes proposals; whether there was anything.
    pub(super) fn propose_held(&mut self) -> bool {
        let status = self.parts.raft.status();
        if self.held.is_empty() || status.soft_state.leader.is_none() || status.transferee.is_some()
        {
            return false;
        }
        for proposal in std::mem::take(&mut self.held) {
            // Who has stopped waiting must not find it done later.
            if proposal.answer.as_ref().is_none_or(|answer| !answer.is_closed()) {
                self.propose(proposal);
            }
        }
        true
    }

    /// Somebody new leads, and all that came before its term is applied: what was proposed in an
    /// earlier term and is not among it was lost, or comes by way of the leader of before.
    pub(super) fn new_term_begins(&mut self) {
        if !self.answers.is_empty() {
            self.give_up_at = Some(self.now + LATE);
        }
    }

    pub(super) fn give_up_if_due(&mut self) {
        if self.give_up_at.is_none_or(|at| self.now < at) {
            return;
        }
        self.give_up_at = None;
        let term = self.parts.state.applied().term;
        let lost = self.answers.extract_if(|_, pending| pending.term < term);
        for (_, pending) in lost {
            metrics::PROPOSALS_FAILED.inc();
            let _ = pending.answer.send(Err(Error::LeaderLost));
        }
    }

    pub(super) fn expire_leases(&mut self) {
        let now = self.now;
        let checkpoint = self.pace.checkpoint_leases || self.others_need_checkpoints();
        let (expired, checkpoints) = {
            let mut expiry = self.parts.clockwork.look();
            let due = match checkpoint {
                true => expiry.due_checkpoints(now, EXPIRED_AT_ONCE),
                false => Vec::new(),
            };
            (expiry.expired(now, EXPIRED_AT_ONCE), due)
        };
        for id in expired {
            metrics::LEASES_EXPIRED.inc();
            let revoke = LeaseRevokeRequest { id: id.0 };
            self.propose_as_leader(InternalRaftRequest {
                lease_revoke: Some(revoke),
                header: self.as_root(),
                ..Default::default()
            });
        }
        if !checkpoints.is_empty() {
            let checkpoints = checkpoints
                .into_iter()
                .map(|(id, remaining_ttl)| LeaseCheckpoint { id: id.0, remaining_ttl })
                .collect();
            self.propose_as_leader(InternalRaftRequest {
                lease_checkpoint: Some(LeaseCheckpointRequest { checkpoints }),
                ..Default::default()
            });
        }
    }

    /// What the leader does needs a user too, where users are asked for.
    fn as_root(&self) -> Option<RequestHeader> {
        let auth = &self.parts.state.views().auth;
        auth.is_enabled().then(|| RequestHeader {
            username: "root".to_owned(),
            auth_revision: auth.revision(),
            ..RequestHeader::default()
        })
    }

    /// Whether another member may lead some day, and would give every lease its whole time again
    /// if it did not know what was left; and whether all members keep what they are told of that.
    fn others_need_checkpoints(&self) -> bool {
        let agreed = self.parts.state.views().members.cluster_version();
        !self.is_sole_voter() && agreed.is_some_and(|version| version >= CHECKPOINTS_ARE_KEPT)
    }

    pub(super) fn compact_if_due(&mut self) {
        let now = self.now;
        let current = self.parts.state.views().reader.current_revision();
        let Some(revision) = self.parts.compactor.tick(now, current) else { return };
        life::compaction_begins(self.parts.compactor.mode(), revision);
        self.auto_compaction = Some((revision, now));
        self.parts.compactor.succeeded(now, revision);
        let compaction = CompactionRequest { revision, physical: false };
        self.propose_as_leader(InternalRaftRequest {
            compaction: Some(compaction),
            ..Default::default()
        });
    }

    /// A request that only the leader may make, by what it knows as such. It never goes to another
    /// leader by way of this member: that one knows better (etcd #15247).
    fn propose_as_leader(&mut self, request: InternalRaftRequest) {
        let status = self.parts.raft.status();
        if status.soft_state.role == StateRole::Leader && status.transferee.is_none() {
            self.propose_own(request);
        }
    }

    /// A request that no client waits for.
    pub(super) fn propose_own(&mut self, mut request: InternalRaftRequest) {
        request.header.get_or_insert_default().id = self.parts.ids.next();
        let encoded = Bytes::from(request.encode_to_vec());
        self.propose(Proposal { request: Arc::new(request), encoded, answer: None });
    }

    pub(super) fn raise_no_space(&mut self) {
        life::quota_exceeded(self.parts.state.views().quota().limit());
        self.propose_own(InternalRaftRequest {
            alarm: Some(no_space_alarm(self.parts.who.member_id)),
            ..Default::default()
        });
    }
}

/// What the caller hears of a proposal that was not taken.
fn refusal(failure: &StepError) -> Error {
    match failure {
        StepError::Dropped(DropReason::UncommittedLimit | DropReason::TooManyReads) => {
            Error::TooManyRequests
        }
        StepError::Dropped(DropReason::Removed) | StepError::Fatal(_) => Error::Stopped,
        _ => Error::NoLeader,
    }
}

/// Asks for this member's NOSPACE alarm.
pub(crate) fn no_space_alarm(member_id: u64) -> AlarmRequest {
    AlarmRequest {
        action: AlarmAction::Activate as i32,
        member_id,
        alarm: AlarmType::Nospace as i32,
    }
}
