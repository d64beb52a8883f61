//! What a node is started with.

use crate::error::ConfigError;
use crate::read_only::ReadOnlyOption;
use crate::tracker::InflightLimits;
use crate::types::{LogIndex, NodeId};
use core::num::NonZeroU64;

/// What a node is started with. [`Config::new`] gives what etcd's server uses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    pub id: NodeId,

    /// Ticks without a word from the leader before a follower campaigns. Ten times
    /// `heartbeat_tick` is usual.
    pub election_tick: u32,
    /// Fewer than so many ticks are added to `election_tick`, by chance and each time anew, so
    /// that members do not campaign at once. `None`: as many as `election_tick`. Zero is for traces
    /// only.
    pub election_jitter: Option<u32>,
    /// Ticks between a leader's heartbeats.
    pub heartbeat_tick: u32,
    /// Feeds the jitter of election timeouts, and nothing else.
    pub seed: u64,

    /// Up to where the state machine has applied, on a restart; entries up to here are not handed
    /// out again. `LogIndex::ZERO` for "up to the first entry of the log".
    ///
    /// The storage's `ConfState` must be of this same index. Were the configuration older than
    /// the state machine, a change that others have seen applied would be undone (5.2).
    pub applied: LogIndex,

    /// Bytes of entries in one append message; one entry is always allowed. `None`: no limit.
    pub max_size_per_msg: Option<NonZeroU64>,
    /// Bytes of committed entries handed out and not yet reported applied; one entry is always
    /// allowed. `None`: no limit.
    pub max_committed_size_per_ready: Option<NonZeroU64>,
    /// Hand out committed entries together with the append that stores them. Only for a driver
    /// that finishes the append of a `Ready` before it begins with the apply: it then needs one
    /// `Ready` where it would need two.
    pub apply_unstable: bool,
    /// Bytes of proposals in a leader's log that are not yet applied; beyond it proposals are
    /// dropped. `None`: no limit.
    pub max_uncommitted_size: Option<NonZeroU64>,
    /// Append messages on their way to one follower.
    pub max_inflight_msgs: usize,
    /// Bytes of entries on their way to one follower. `None`: no limit.
    pub max_inflight_bytes: Option<NonZeroU64>,
    /// Reads that wait for confirmation; beyond it they are dropped.
    pub max_pending_reads: usize,

    /// A leader that has not heard of a quorum for an election timeout steps down, and members
    /// that hear of a leader do not vote against it.
    pub check_quorum: bool,
    /// Ask whether an election could be won before raising the term for it (thesis 9.6).
    pub pre_vote: bool,
    pub read_only: ReadOnlyOption,
    /// Followers drop proposals instead of sending them on to the leader.
    pub disable_proposal_forwarding: bool,
    /// Take every conf change into the log, whether it is possible or not; an impossible one is
    /// then an error when it is applied. For drivers that check by themselves.
    pub disable_conf_change_validation: bool,
    /// A leader that is removed or demoted steps down when it applies that. To turn it off is to
    /// repeat traces of etcd-io/raft, nothing else.
    pub step_down_on_removal: bool,
    /// A leader of several whose own storage completes no append for an election timeout steps
    /// down: it could no longer commit without the others, and they are better off without it
    /// (etcd #13527).
    pub step_down_on_stall: bool,
    /// Keep the events of the TLA+ specification until [`crate::RawNode::take_trace`] takes them.
    /// There is no bound: whoever asks for them must take them.
    pub trace: bool,
}

impl Config {
    pub const fn new(id: NodeId) -> Self {
        const MIB: Option<NonZeroU64> = NonZeroU64::new(1 << 20);
        Self {
            id,
            election_tick: 10,
            election_jitter: None,
            heartbeat_tick: 1,
            seed: 0,
            applied: LogIndex::ZERO,
            max_size_per_msg: MIB,
            max_committed_size_per_ready: MIB,
            apply_unstable: false,
            max_uncommitted_size: None,
            max_inflight_msgs: 512,
            max_inflight_bytes: None,
            max_pending_reads: 4096,
            check_quorum: true,
            pre_vote: true,
            read_only: ReadOnlyOption::Safe,
            disable_proposal_forwarding: false,
            disable_conf_change_validation: false,
            step_down_on_removal: true,
            step_down_on_stall: true,
            trace: false,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if self.heartbeat_tick == 0 {
            return Err(ConfigError::HeartbeatTickZero);
        }
        if self.election_tick <= self.heartbeat_tick {
            return Err(ConfigError::ElectionTickNotAboveHeartbeatTick);
        }
        if self.max_inflight_msgs == 0 {
            return Err(ConfigError::MaxInflightMsgsZero);
        }
        if self.max_inflight_bytes.is_some()
            && limit(self.max_inflight_bytes) < limit(self.max_size_per_msg)
        {
            return Err(ConfigError::MaxInflightBytesBelowMaxSizePerMsg);
        }
        if self.read_only == ReadOnlyOption::LeaseBased && !self.check_quorum {
            return Err(ConfigError::LeaseBasedReadsWithoutCheckQuorum);
        }
        Ok(())
    }

    pub(crate) fn inflight_limits(&self) -> InflightLimits {
        InflightLimits { messages: self.max_inflight_msgs, bytes: limit(self.max_inflight_bytes) }
    }
}

/// A limit as a number that nothing reaches if there is none.
pub(crate) fn limit(limit: Option<NonZeroU64>) -> u64 {
    limit.map_or(u64::MAX, NonZeroU64::get)
}
