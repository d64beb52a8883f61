//! Between raft's types and the bytes of the log and of messages.

mod message;

use std::sync::Arc;

use bytes::Bytes;
use proto::etcdserverpb::InternalRaftRequest;
use proto::{Message as _, raftpb};
use raft::{
    ConfChange, ConfChangeKind, ConfChangeSingle, ConfChangeTransition, ConfState, Entry,
    EntryBody, EntryId, HardState, LogIndex, NodeId, Term,
};

use crate::Fatal;

pub(crate) use message::{message, message_pb, snapshot_pb};

/// What an entry carries: the bytes of the log and, on the member that proposed it, the request
/// that they encode. Also what a read is asked for with, and what a snapshot says of the members.
#[derive(Debug, Clone, Default)]
pub(crate) struct Payload {
    pub(crate) encoded: Bytes,
    pub(crate) request: Option<Arc<InternalRaftRequest>>,
}

impl raft::Payload for Payload {
    fn size(&self) -> usize {
        self.encoded.len()
    }
}

impl From<Bytes> for Payload {
    fn from(encoded: Bytes) -> Self {
        Self { encoded, request: None }
    }
}

/// The kind and the data of an entry as the log has them.
pub(crate) fn entry_data(body: &EntryBody<Payload>) -> (raftpb::EntryType, Bytes) {
    match body {
        EntryBody::Empty | EntryBody::Refused => (raftpb::EntryType::EntryNormal, Bytes::new()),
        EntryBody::Normal(payload) => (raftpb::EntryType::EntryNormal, payload.encoded.clone()),
        EntryBody::ConfChange(change) => conf_change_data(change),
    }
}

/// A conf change as etcd's log has it; one of the second version as its first change, which is
/// all that state looks at.
pub(crate) fn conf_change_pb(change: &ConfChange<Payload>) -> raftpb::ConfChange {
    let id = match change {
        ConfChange::V1 { id, .. } => *id,
        ConfChange::V2 { .. } | ConfChange::AutoLeave => 0,
    };
    let single = change.changes().first();
    raftpb::ConfChange {
        id: Some(id),
        r#type: single.map(|change| kind_number(change.kind)),
        node_id: single.map(|change| change.node.map_or(0, NodeId::get)),
        context: change.context().map(|context| context.encoded.clone()),
    }
}

fn conf_change_data(change: &ConfChange<Payload>) -> (raftpb::EntryType, Bytes) {
    match change {
        ConfChange::V1 { .. } => {
            let encoded = conf_change_pb(change).encode_to_vec();
            (raftpb::EntryType::EntryConfChange, encoded.into())
        }
        ConfChange::V2 { transition, changes, context } => {
            let transition = match transition {
                ConfChangeTransition::Auto => 0,
                ConfChangeTransition::JointImplicit => 1,
                ConfChangeTransition::JointExplicit => 2,
            };
            let changes = changes
                .iter()
                .map(|change| raftpb::ConfChangeSingle {
                    r#type: Some(kind_number(change.kind)),
                    node_id: Some(change.node.map_or(0, NodeId::get)),
                })
                .collect();
            let context = context.as_ref().map(|context| context.encoded.clone());
            let encoded = raftpb::ConfChangeV2 { transition: Some(transition), changes, context };
            (raftpb::EntryType::EntryConfChangeV2, encoded.encode_to_vec().into())
        }
        ConfChange::AutoLeave => (raftpb::EntryType::EntryConfChangeV2, Bytes::new()),
    }
}

/// An entry of the log as raft knows it.
pub(crate) fn entry(entry: raftpb::Entry) -> Result<Entry<Payload>, Fatal> {
    let id = EntryId::new(entry.term(), entry.index());
    let data = entry.data.clone().unwrap_or_default();
    let damaged =
        |what: &dyn std::fmt::Display| Fatal::Metadata(format!("entry {}: {what}", entry.index()));
    let body = match raftpb::EntryType::try_from(entry.r#type.unwrap_or_default()) {
        Ok(raftpb::EntryType::EntryNormal) if data.is_empty() => EntryBody::Empty,
        Ok(raftpb::EntryType::EntryNormal) => EntryBody::Normal(Payload::from(data)),
        Ok(raftpb::EntryType::EntryConfChange) => {
            let change = raftpb::ConfChange::decode(data).map_err(|error| damaged(&error))?;
            let single = single(change.r#type.unwrap_or_default(), change.node_id())
                .ok_or_else(|| damaged(&"unknown kind of conf change"))?;
            EntryBody::ConfChange(Box::new(ConfChange::V1 {
                id: change.id(),
                change: single,
                context: change.context.map(Payload::from),
            }))
        }
        Ok(raftpb::EntryType::EntryConfChangeV2) => {
            return Err(damaged(&"conf changes of version 2 are never written by etcd"));
        }
        Err(error) => return Err(damaged(&error)),
    };
    Ok(Entry { id, body })
}

fn single(kind: i32, node: u64) -> Option<ConfChangeSingle> {
    let kind = match raftpb::ConfChangeType::try_from(kind).ok()? {
        raftpb::ConfChangeType::ConfChangeAddNode => ConfChangeKind::AddNode,
        raftpb::ConfChangeType::ConfChangeRemoveNode => ConfChangeKind::RemoveNode,
        raftpb::ConfChangeType::ConfChangeUpdateNode => ConfChangeKind::UpdateNode,
        raftpb::ConfChangeType::ConfChangeAddLearnerNode => ConfChangeKind::AddLearnerNode,
    };
    Some(ConfChangeSingle::new(kind, NodeId::new(node)))
}

fn kind_number(kind: ConfChangeKind) -> i32 {
    (match kind {
        ConfChangeKind::AddNode => raftpb::ConfChangeType::ConfChangeAddNode,
        ConfChangeKind::RemoveNode => raftpb::ConfChangeType::ConfChangeRemoveNode,
        ConfChangeKind::UpdateNode => raftpb::ConfChangeType::ConfChangeUpdateNode,
        ConfChangeKind::AddLearnerNode => raftpb::ConfChangeType::ConfChangeAddLearnerNode,
    }) as i32
}

pub(crate) fn hard_state(state: &raftpb::HardState) -> HardState {
    HardState {
        term: Term(state.term()),
        vote: NodeId::new(state.vote()),
        commit: LogIndex(state.commit()),
    }
}

pub(crate) fn hard_state_pb(state: HardState) -> raftpb::HardState {
    raftpb::HardState {
        term: Some(state.term.0),
        vote: Some(state.vote.map_or(0, NodeId::get)),
        commit: Some(state.commit.0),
    }
}

pub(crate) fn conf_state(state: &raftpb::ConfState) -> ConfState {
    let ids = |ids: &[u64]| ids.iter().copied().filter_map(NodeId::new).collect();
    ConfState {
        voters: ids(&state.voters),
        learners: ids(&state.learners),
        voters_outgoing: ids(&state.voters_outgoing),
        learners_next: ids(&state.learners_next),
        auto_leave: state.auto_leave(),
    }
}

pub(crate) fn conf_state_pb(state: &ConfState) -> raftpb::ConfState {
    let ids = |ids: &[NodeId]| ids.iter().map(|id| id.get()).collect();
    raftpb::ConfState {
        voters: ids(&state.voters),
        learners: ids(&state.learners),
        voters_outgoing: ids(&state.voters_outgoing),
        learners_next: ids(&state.learners_next),
        auto_leave: Some(state.auto_leave),
    }
}
