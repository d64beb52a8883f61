//! The state of one node, its roles, and what each role does with a message.

mod election;
mod follower;
mod leader;
mod membership;
mod snapshot;
mod tick;
mod transfer;

pub(crate) use leader::payload_bytes;
pub use snapshot::SnapshotStatus;

use crate::conf_change::ConfState;
use crate::conf_changer;
use crate::config::{Config, limit};
use crate::entry::Payload;
use crate::error::{CampaignRefused, Fatal, StartError, StepError};
use crate::log::RaftLog;
use crate::message::{Body, Message};
use crate::read_only::{ReadOnly, ReadRequest, ReadState};
use crate::rng::SplitMix64;
use crate::storage::Storage;
use crate::trace::{TraceEvent, TraceKind};
use crate::tracker::Tracker;
use crate::tracker::progress::Progress;
use crate::types::{HardState, LogIndex, NodeId, SoftState, StateRole, Term};
use alloc::vec::Vec;

/// One node: pure state. Its methods are spread over the files of `raft/`, by role.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Raft<P, S> {
    pub(crate) id: NodeId,
    pub(crate) term: Term,
    pub(crate) vote: Option<NodeId>,
    pub(crate) role: StateRole,
    pub(crate) leader: Option<NodeId>,
    /// The leader of this term that was forgotten and not heard of since.
    forgotten: Option<NodeId>,
    pub(crate) is_learner: bool,
    pub(crate) log: RaftLog<P, S>,
    pub(crate) tracker: Tracker,

    /// To be sent at once.
    pub(crate) messages: Vec<Message<P>>,
    /// To be sent, or taken in by this node itself, when everything before is on disk.
    pub(crate) gated: Vec<Message<P>>,
    pub(crate) read_states: Vec<ReadState<P>>,

    /// The member that the leader hands over to.
    pub(crate) transferee: Option<NodeId>,
    /// Whether this leader has told somebody to campaign: leases are void from then on, even if
    /// the transfer is given up, for the word may still be on its way.
    lease_given_away: bool,
    /// The entry, or the snapshot, from which the configuration in force is.
    config_index: LogIndex,
    /// While a snapshot is being installed: the configuration that belongs to the old state.
    superseded_config: Option<ConfState>,
    /// At or after the last conf change in a leader's log; the next one must wait until this is
    /// applied.
    pending_conf_index: LogIndex,
    /// Bytes of a leader's own proposals that are not applied yet; may be too low, never too high.
    uncommitted_bytes: u64,
    read_only: ReadOnly<P>,
    /// Reads that wait for the first commit in this leader's term.
    early_reads: Vec<ReadRequest<P>>,

    /// Ticks since the last word of the leader or the last campaign; on a leader since the last
    /// check of the quorum.
    election_elapsed: u32,
    heartbeat_elapsed: u32,
    /// Ticks for which a leader has waited for its own oldest append.
    stalled_elapsed: u32,
    randomized_election_timeout: u32,
    rng: SplitMix64,

    pub(crate) fatal: Option<Fatal>,
    /// `None`: nothing is kept.
    pub(crate) trace: Option<Vec<TraceEvent<P>>>,
    pub(crate) config: Config,
}

impl<P: Payload, S: Storage<P>> Raft<P, S> {
    pub(crate) fn new(config: Config, storage: S) -> Result<Self, StartError> {
        config.validate().map_err(StartError::Config)?;
        let (hard_state, conf_state) = storage.initial_state().map_err(Fatal::from)?;
        let mut log = RaftLog::new(
            storage,
            limit(config.max_committed_size_per_ready),
            config.apply_unstable,
        );
        log.commit_to(hard_state.commit)?;
        if config.applied != LogIndex::ZERO {
            let (applied, first, last) = (config.applied, log.first_index(), log.last_index());
            if applied > last || applied < first.prev() {
                return Err(StartError::AppliedOutOfRange { applied, first, last });
            }
            // What was applied is committed, whether or not the commit index came to disk: a state
            // machine may be saved, a commit index alone is not synced.
            log.commit_to(applied)?;
            log.applied_to(applied, 0);
        }
        let mut tracker = Tracker::new(config.inflight_limits());
        (tracker.config, tracker.peers) =
            conf_changer::restore(&tracker, log.last_index(), &conf_state)
                .map_err(StartError::ConfState)?;
        let config_index = log.applied();
        let mut node = Self {
            id: config.id,
            term: hard_state.term,
            vote: hard_state.vote,
            role: StateRole::Follower,
            leader: None,
            forgotten: None,
            is_learner: tracker.peers.get(config.id).is_some_and(Progress::is_learner),
            log,
            tracker,
            messages: Vec::new(),
            gated: Vec::new(),
            read_states: Vec::new(),
            transferee: None,
            lease_given_away: false,
            config_index,
            superseded_config: None,
            pending_conf_index: LogIndex::ZERO,
            uncommitted_bytes: 0,
            read_only: ReadOnly::new(),
            early_reads: Vec::new(),
            election_elapsed: 0,
            heartbeat_elapsed: 0,
            stalled_elapsed: 0,
            randomized_election_timeout: 0,
            rng: SplitMix64::new(config.seed, config.id.get()),
            fatal: None,
            trace: None,
            config,
        };
        node.become_follower(node.term, None);
        node.trace = node.config.trace.then(Vec::new);
        node.trace_start();
        Ok(node)
    }

    pub(crate) fn soft_state(&self) -> SoftState {
        SoftState { leader: self.leader, role: self.role }
    }

    pub(crate) fn hard_state(&self) -> HardState {
        HardState { term: self.term, vote: self.vote, commit: self.log.committed() }
    }

    /// What makes this node stop, if anything does.
    pub(crate) fn halted(&self) -> Option<&Fatal> {
        self.fatal.as_ref().filter(|fatal| fatal.halts())
    }

    /// Notes that the node has failed, unless it has before.
    pub(crate) fn fail(&mut self, fatal: Fatal) {
        // A node that lost its log may also lose its disk: the worse news wins.
        if self.fatal.as_ref().is_none_or(|known| !known.halts()) {
            self.fatal = Some(fatal);
        }
    }

    /// Passes a result on and notes that the node has failed, if it has.
    pub(crate) fn note<T>(&mut self, result: Result<T, Fatal>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(fatal) => {
                self.fail(fatal);
                None
            }
        }
    }

    pub(crate) fn set_randomized_election_timeout(&mut self, ticks: u32) {
        self.randomized_election_timeout = ticks;
    }

    pub(crate) fn randomized_election_timeout(&self) -> u32 {
        self.randomized_election_timeout
    }

    /// For the exploration of states: two that differ only in what chance will bring are one.
    #[cfg(test)]
    pub(crate) fn forget_chance(&mut self) {
        self.rng = SplitMix64::new(0, 0);
    }

    fn send(&mut self, to: NodeId, body: Body<P>) {
        let term = if body.has_no_term() { Term::ZERO } else { self.term };
        self.send_in(term, to, body);
    }

    /// Votes and pre-votes name the term that they are about.
    fn send_in(&mut self, term: Term, to: NodeId, body: Body<P>) {
        self.route(Message { from: self.id, to, term, body });
    }

    fn route(&mut self, message: Message<P>) {
        self.trace_send(&message);
        if message.body.waits_for_append() {
            self.gated.push(message);
        } else {
            debug_assert_ne!(message.to, self.id, "only gated messages go to the node itself");
            self.messages.push(message);
        }
    }

    fn reset(&mut self, term: Term) {
        if self.term != term {
            self.term = term;
            // Only here: stepping down within a term must not allow a second vote in it
            // (microsoft/CCF #8094).
            self.vote = None;
        }
        self.leader = None;
        self.forgotten = None;
        self.election_elapsed = 0;
        self.heartbeat_elapsed = 0;
        self.stalled_elapsed = 0;
        let jitter = self.config.election_jitter.unwrap_or(self.config.election_tick);
        self.randomized_election_timeout =
            self.config.election_tick.saturating_add(self.rng.below(jitter));
        self.transferee = None;
        self.lease_given_away = false;
        self.tracker.reset_votes();
        let last = self.log.last_index();
        let limits = self.tracker.limits;
        for (id, progress) in self.tracker.peers.iter_mut() {
            *progress = Progress::new(last.next(), limits, progress.is_learner());
            if id == self.id {
                progress.set_matched(last);
            }
        }
        self.pending_conf_index = LogIndex::ZERO;
        self.uncommitted_bytes = 0;
        // Reads of an earlier leadership are void; whoever asked sees the change of role.
        self.read_only = ReadOnly::new();
        self.early_reads.clear();
    }

    pub(crate) fn become_follower(&mut self, term: Term, leader: Option<NodeId>) {
        self.reset(term);
        self.leader = leader;
        self.role = StateRole::Follower;
        self.trace(|_| TraceKind::BecomeFollower);
    }

    /// Takes a message in.
    pub(crate) fn step(&mut self, message: Message<P>) -> Result<(), StepError> {
        if let Some(fatal) = self.halted() {
            return Err(fatal.clone().into());
        }
        self.trace(|_| TraceKind::Receive(message.clone()));
        let result = self.step_by_term(message);
        if let Err(StepError::Fatal(fatal)) = &result {
            self.fail(fatal.clone());
        }
        result
    }

    fn step_by_term(&mut self, message: Message<P>) -> Result<(), StepError> {
        if !message.is_well_formed() {
            return Err(StepError::Malformed);
        }
        if let Body::VoteResp { committed: Some(id), .. }
        | Body::PreVoteResp { committed: Some(id), .. } = message.body
            && self.log.matches(id)?
        {
            // Whatever the term: what is committed stays so.
            self.log.commit_to(id.index)?;
        }
        if !message.body.has_no_term() {
            if message.term > self.term {
                if !self.accept_higher_term(&message) {
                    return Ok(());
                }
            } else if message.term < self.term {
                self.answer_lower_term(&message);
                return Ok(());
            }
        }
        match message.body {
            Body::Vote { last, transfer: _ } => {
                self.handle_vote(message.from, message.term, last, false)
            }
            Body::PreVote { last } => self.handle_vote(message.from, message.term, last, true),
            _ => match self.role {
                StateRole::Follower => self.step_follower(message),
                StateRole::PreCandidate | StateRole::Candidate => self.step_candidate(message),
                StateRole::Leader => self.step_leader(message),
            },
        }
    }

    /// A message from a later term. Whether it is to be looked at; as a rule it moves us there.
    fn accept_higher_term(&mut self, message: &Message<P>) -> bool {
        let (vote, by_order) = match message.body {
            Body::Vote { transfer, .. } => (true, transfer),
            Body::PreVote { .. } => (true, false),
            _ => (false, false),
        };
        // Whoever has heard of a leader within an election timeout does not help to depose it
        // (thesis 4.2.3 and 6.4.1), unless the leader itself hands over. In particular a removed
        // member, which no longer hears of the leader, can disturb nobody.
        if vote && !by_order && self.in_lease() {
            return false;
        }
        match message.body {
            // The asker has not raised its term for it, neither do we.
            Body::PreVote { .. } | Body::PreVoteResp { reject: false, .. } => {}
            _ => {
                let leader = message.body.is_from_leader().then_some(message.from);
                self.become_follower(message.term, leader);
            }
        }
        true
    }

    fn in_lease(&self) -> bool {
        self.config.check_quorum
            && self.leader.is_some()
            && self.election_elapsed < self.config.election_tick
    }

    /// A message from an earlier term: old news, with two exceptions that keep a cluster from
    /// getting stuck.
    fn answer_lower_term(&mut self, message: &Message<P>) {
        match message.body {
            // A leader that is behind us. With check-quorum or pre-vote our higher term does not
            // reach it by way of elections, since the others ignore us; our answer does, it steps
            // down, and an election can free us (etcd #8243, openraft #1796).
            Body::Append { .. } | Body::Heartbeat { .. }
                if self.config.check_quorum || self.config.pre_vote =>
            {
                self.send(message.from, Body::AppendResp { index: LogIndex::ZERO, reject: None });
            }
            // Pre-vote may have been switched on while a candidate without it had a higher term
            // and a shorter log: dropping this would lock both out (etcd #8501).
            Body::PreVote { .. } => {
                let committed = self.committed_for_stale_voters();
                self.send(message.from, Body::PreVoteResp { reject: true, committed });
            }
            _ => {}
        }
    }

    /// Starts an election, if that is allowed now.
    pub(crate) fn campaign(&mut self) -> Result<(), CampaignRefused> {
        let kind = if self.config.pre_vote {
            election::Campaign::PreElection
        } else {
            election::Campaign::Election
        };
        self.start_campaign(kind)
    }

    /// The same, with a pre-vote in any case.
    pub(crate) fn pre_campaign(&mut self) -> Result<(), CampaignRefused> {
        self.start_campaign(election::Campaign::PreElection)
    }

    pub(crate) fn stand_back(&mut self) {
        if self.role == StateRole::PreCandidate {
            self.tracker.reset_votes();
            self.role = StateRole::Follower;
        }
    }

    /// A call that takes no reads or proposals from a node that has stopped.
    pub(crate) fn refuse_if_halted(&self) -> Result<(), StepError> {
        match self.halted() {
            Some(fatal) => Err(fatal.clone().into()),
            None => Ok(()),
        }
    }
}
