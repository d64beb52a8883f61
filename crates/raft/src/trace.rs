//! Events for the TLA+ specification of etcd-io/raft, which can tell whether a run of ours is one
//! that it allows.
//!
//! The events, their names and their moments are etcd-io/raft's (`state_trace.go`, build tag
//! `with_tla`). Here they are only kept; to write them down is the harness's, which alone knows
//! of JSON (`raft-script --trace`). A node that is not told to keep them pays for one branch each.
//!
//! The specification knows no pre-vote, and takes what a `Ready` hands out to be on disk at once:
//! traces for it are of nodes without the one and of drivers that do the other.

use crate::conf_change::ConfChangeSingle;
use crate::entry::{EntryBody, Payload};
use crate::message::{Body, Message};
use crate::quorum::joint::JointConfig;
use crate::raft::Raft;
use crate::storage::Storage;
use crate::types::{HardState, LogIndex, NodeId, NodeSet, StateRole};
use alloc::vec::Vec;

/// One event at one node, and what the node was then.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TraceEvent<P> {
    pub kind: TraceKind<P>,
    pub node: NodeId,
    pub hard_state: HardState,
    pub role: StateRole,
    pub last_index: LogIndex,
    pub voters: JointConfig,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TraceKind<P> {
    /// The node starts. If it is on what it had before, this says what that is; a new one is
    /// without anything, and its first configuration follows as `ApplyConfChange`.
    InitState,
    BecomeFollower,
    BecomeCandidate,
    BecomeLeader,
    /// A leader has looked how far it can commit.
    Commit,
    /// A leader is about to append an entry that is no conf change.
    Replicate,
    /// A leader is about to append a conf change.
    ChangeConf(Vec<ConfChangeSingle>),
    /// The incoming voters from now on.
    ApplyConfChange(NodeSet),
    /// All that happened so far is handed out, to be stored and sent.
    Ready,
    /// Queued, perhaps to be sent only after it is stored. With an append: what the sender has and
    /// the index after it.
    Send {
        message: Message<P>,
        own: Option<(LogIndex, LogIndex)>,
    },
    Receive(Message<P>),
}

impl<P> TraceKind<P> {
    /// etcd's name of the event. `None` for messages that the specification does not know.
    pub fn name(&self) -> Option<&'static str> {
        let of_message = |message: &Message<P>, names: [&'static str; 4]| {
            Some(match message.body {
                Body::Append { .. } | Body::Heartbeat { .. } | Body::Snapshot { .. } => names[0],
                Body::AppendResp { .. } | Body::HeartbeatResp { .. } => names[1],
                Body::Vote { .. } => names[2],
                Body::VoteResp { .. } => names[3],
                _ => return None,
            })
        };
        match self {
            Self::InitState => Some("InitState"),
            Self::BecomeFollower => Some("BecomeFollower"),
            Self::BecomeCandidate => Some("BecomeCandidate"),
            Self::BecomeLeader => Some("BecomeLeader"),
            Self::Commit => Some("Commit"),
            Self::Replicate => Some("Replicate"),
            Self::ChangeConf(_) => Some("ChangeConf"),
            Self::ApplyConfChange(_) => Some("ApplyConfChange"),
            Self::Ready => Some("Ready"),
            Self::Send { message, .. } => of_message(
                message,
                [
                    "SendAppendEntriesRequest",
                    "SendAppendEntriesResponse",
                    "SendRequestVoteRequest",
                    "SendRequestVoteResponse",
                ],
            ),
            Self::Receive(message) => of_message(
                message,
                [
                    "ReceiveAppendEntriesRequest",
                    "ReceiveAppendEntriesResponse",
                    "ReceiveRequestVoteRequest",
                    "ReceiveRequestVoteResponse",
                ],
            ),
        }
    }
}

impl<P: Payload, S: Storage<P>> Raft<P, S> {
    /// Keeps an event, if events are kept.
    pub(crate) fn trace(&mut self, kind: impl FnOnce(&Self) -> TraceKind<P>) {
        if self.trace.is_none() {
            return;
        }
        let event = TraceEvent {
            kind: kind(self),
            node: self.id,
            hard_state: self.hard_state(),
            role: self.role,
            last_index: self.log.last_index(),
            voters: self.tracker.config.voters.clone(),
        };
        if let Some(trace) = &mut self.trace
            && event.kind.name().is_some()
        {
            trace.push(event);
        }
    }

    /// The start of a node that is whole already. One without a history starts, for the
    /// specification, without members, and gets them then.
    pub(crate) fn trace_start(&mut self) {
        let new = self.hard_state().term == crate::types::Term::ZERO
            && self.log.last_index() == LogIndex::ZERO;
        if !new {
            self.trace(|_| TraceKind::InitState);
            return;
        }
        let members = core::mem::take(&mut self.tracker.config.voters);
        self.trace(|_| TraceKind::InitState);
        self.trace(|_| TraceKind::ApplyConfChange(members.incoming.clone()));
        self.tracker.config.voters = members;
        self.trace(|_| TraceKind::BecomeFollower);
    }

    pub(crate) fn trace_send(&mut self, message: &Message<P>) {
        self.trace(|raft| {
            let own = match message.body {
                Body::Append { .. } => {
                    raft.tracker.peers.get(raft.id).map(|own| (own.matched(), own.next()))
                }
                _ => None,
            };
            TraceKind::Send { message: message.clone(), own }
        });
    }

    pub(crate) fn trace_append(&mut self, body: &EntryBody<P>) {
        if !body.is_conf_change() {
            self.trace(|_| TraceKind::Replicate);
        }
    }
}
