//! Changes of membership, and the state that they lead to.

use crate::entry::{Payload, varint_size};
use crate::types::NodeId;
use alloc::vec::Vec;
use core::fmt;

/// A proposed change of membership, in one of the forms that etcd's log knows.
///
/// It is typed from the proposal to the apply: the core decodes no bytes, so no bad encoding can
/// stop it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ConfChange<P> {
    /// etcd's `ConfChange`: one change, one step. etcd's own server proposes only these.
    V1 {
        /// The proposer's request number; the core carries it and never looks at it.
        id: u64,
        change: ConfChangeSingle,
        context: Option<P>,
    },
    /// etcd's `ConfChangeV2`: any number of changes, through a joint configuration if need be.
    V2 {
        transition: ConfChangeTransition,
        changes: Vec<ConfChangeSingle>,
        /// Carried for the application.
        context: Option<P>,
    },
    /// What a leader proposes by itself to leave a joint configuration that was entered with an
    /// automatic transition. In the log it is a V2 without data, so it weighs nothing and no size
    /// limit can refuse it.
    AutoLeave,
}

/// One member's part of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConfChangeSingle {
    pub kind: ConfChangeKind,
    /// `None` for a change that the application has turned into nothing (etcd's server does, when
    /// it rejects a change at apply); it is then skipped.
    pub node: Option<NodeId>,
}

impl ConfChangeSingle {
    pub const fn new(kind: ConfChangeKind, node: Option<NodeId>) -> Self {
        Self { kind, node }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConfChangeKind {
    /// Make it a voter: a new one, or a promoted learner.
    AddNode,
    RemoveNode,
    /// Only the application cares (new URLs, say).
    UpdateNode,
    /// Make it a learner: a new one, or a demoted voter.
    AddLearnerNode,
}

impl fmt::Display for ConfChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AddNode => "ConfChangeAddNode",
            Self::RemoveNode => "ConfChangeRemoveNode",
            Self::UpdateNode => "ConfChangeUpdateNode",
            Self::AddLearnerNode => "ConfChangeAddLearnerNode",
        })
    }
}

/// How a V2 change is carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ConfChangeTransition {
    /// In one step if there is only one change, else through a joint configuration that is left
    /// automatically.
    #[default]
    Auto,
    /// Through a joint configuration that is left automatically.
    JointImplicit,
    /// Through a joint configuration that stays until the application proposes to leave it.
    JointExplicit,
}

impl fmt::Display for ConfChangeTransition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "ConfChangeTransitionAuto",
            Self::JointImplicit => "ConfChangeTransitionJointImplicit",
            Self::JointExplicit => "ConfChangeTransitionJointExplicit",
        })
    }
}

/// What a change does to the configuration. The one definition that both the check at propose and
/// the switch at apply use: with two (as in etcd-io/raft) a change can pass as "leave" and then be
/// applied as "enter", which kills every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Simple,
    EnterJoint { auto_leave: bool },
    LeaveJoint,
}

impl<P> ConfChange<P> {
    /// A V1 change without id and context.
    pub const fn v1(kind: ConfChangeKind, node: Option<NodeId>) -> Self {
        Self::V1 { id: 0, change: ConfChangeSingle { kind, node }, context: None }
    }

    /// A V2 change without context.
    pub const fn v2(transition: ConfChangeTransition, changes: Vec<ConfChangeSingle>) -> Self {
        Self::V2 { transition, changes, context: None }
    }

    /// The V2 change with which an application leaves a joint configuration.
    pub const fn leave_joint() -> Self {
        Self::v2(ConfChangeTransition::Auto, Vec::new())
    }

    pub fn changes(&self) -> &[ConfChangeSingle] {
        match self {
            Self::V1 { change, .. } => core::slice::from_ref(change),
            Self::V2 { changes, .. } => changes,
            Self::AutoLeave => &[],
        }
    }

    pub fn transition(&self) -> ConfChangeTransition {
        match self {
            Self::V2 { transition, .. } => *transition,
            Self::V1 { .. } | Self::AutoLeave => ConfChangeTransition::Auto,
        }
    }

    pub fn context(&self) -> Option<&P> {
        match self {
            Self::V1 { context, .. } | Self::V2 { context, .. } => context.as_ref(),
            Self::AutoLeave => None,
        }
    }

    pub(crate) fn step(&self) -> Step {
        match (self.transition(), self.changes().len()) {
            (ConfChangeTransition::Auto, 0) => Step::LeaveJoint,
            (ConfChangeTransition::Auto, 1) => Step::Simple,
            (ConfChangeTransition::JointExplicit, _) => Step::EnterJoint { auto_leave: false },
            (ConfChangeTransition::Auto | ConfChangeTransition::JointImplicit, _) => {
                Step::EnterJoint { auto_leave: true }
            }
        }
    }
}

impl<P: Payload> ConfChange<P> {
    /// The size of etcd's encoding; `None` if there are no bytes at all.
    pub(crate) fn encoded_size(&self) -> Option<u64> {
        let node_size = |node: Option<NodeId>| 1 + varint_size(node.map_or(0, NodeId::get));
        let context_size = |context: &Option<P>| {
            context.as_ref().map_or(0, |c| {
                let len = c.size() as u64;
                1 + varint_size(len) + len
            })
        };
        match self {
            Self::V1 { id, change, context } => {
                let id = if *id == 0 { 0 } else { 1 + varint_size(*id) };
                Some(id + 2 + node_size(change.node) + context_size(context))
            }
            Self::V2 { changes, context, .. } => {
                let changes = changes.iter().map(|c| 2 + 2 + node_size(c.node)).sum::<u64>();
                Some(2 + changes + context_size(context))
            }
            Self::AutoLeave => None,
        }
    }
}

/// The membership as it is stored and sent: in snapshots, and handed to the application whenever
/// a change was applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConfState {
    /// The voters; in a joint configuration those of its incoming half.
    pub voters: Vec<NodeId>,
    pub learners: Vec<NodeId>,
    /// The voters of the outgoing half; empty if the configuration is not joint.
    pub voters_outgoing: Vec<NodeId>,
    /// Voters of the outgoing half that become learners when the joint configuration is left.
    pub learners_next: Vec<NodeId>,
    /// Whether the leader leaves the joint configuration by itself.
    pub auto_leave: bool,
}

impl ConfState {
    /// Whether both describe the same configuration; order and repetition do not matter.
    pub fn equivalent(&self, other: &Self) -> bool {
        let same = |a: &[NodeId], b: &[NodeId]| {
            a.iter().all(|id| b.contains(id)) && b.iter().all(|id| a.contains(id))
        };
        same(&self.voters, &other.voters)
            && same(&self.learners, &other.learners)
            && same(&self.voters_outgoing, &other.voters_outgoing)
            && same(&self.learners_next, &other.learners_next)
            && self.auto_leave == other.auto_leave
    }

    /// Whether the member has any part in the configuration. `learners_next` need not be looked
    /// at: whoever is there is in `voters_outgoing` too.
    pub fn contains(&self, id: NodeId) -> bool {
        self.voters.contains(&id)
            || self.learners.contains(&id)
            || self.voters_outgoing.contains(&id)
    }
}
