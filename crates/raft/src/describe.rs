//! How things look in traces: etcd's line formats, as `Display`.
//!
//! Payloads are shown as Go's `%q` shows them, so this needs payloads that are bytes.

use crate::conf_change::{ConfChange, ConfChangeKind, ConfState};
use crate::entry::{Entry, EntryBody};
use crate::message::{Body, Message};
use crate::storage::SnapshotMeta;
use crate::types::{EntryId, HardState, LogIndex, NodeId, SoftState};
use alloc::vec::Vec;
use core::fmt;

/// A payload in double quotes, as Go's `%q` writes it.
struct Quoted<'a>(&'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '"' => f.write_str("\\\"")?,
                    '\\' => f.write_str("\\\\")?,
                    '\x07' => f.write_str("\\a")?,
                    '\x08' => f.write_str("\\b")?,
                    '\x0c' => f.write_str("\\f")?,
                    '\n' => f.write_str("\\n")?,
                    '\r' => f.write_str("\\r")?,
                    '\t' => f.write_str("\\t")?,
                    '\x0b' => f.write_str("\\v")?,
                    c if c.is_ascii_control() => write!(f, "\\x{:02x}", c as u32)?,
                    c if c.is_control() => write!(f, "\\u{:04x}", c as u32)?,
                    c => write!(f, "{c}")?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        f.write_str("\"")
    }
}

/// `[1 2 3]`, as Go's `%v` writes a slice.
struct List<'a>(&'a [NodeId]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (at, id) in self.0.iter().enumerate() {
            write!(f, "{}{}", if at > 0 { " " } else { "" }, id.get())?;
        }
        f.write_str("]")
    }
}

/// `Lead:1 State:StateLeader`
impl fmt::Display for SoftState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lead:{} State:{}", self.leader.map_or(0, NodeId::get), self.role)
    }
}

/// `Term:1 Vote:1 Commit:11`
impl fmt::Display for HardState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Term:{}", self.term)?;
        if let Some(vote) = self.vote {
            write!(f, " Vote:{}", vote.get())?;
        }
        write!(f, " Commit:{}", self.commit)
    }
}

impl fmt::Display for ConfState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Voters:{} VotersOutgoing:{} Learners:{} LearnersNext:{} AutoLeave:{}",
            List(&self.voters),
            List(&self.voters_outgoing),
            List(&self.learners),
            List(&self.learners_next),
            self.auto_leave
        )
    }
}

impl fmt::Display for SnapshotMeta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EntryId { term, index } = self.id;
        write!(f, "Index:{index} Term:{term} ConfState:{}", self.conf_state)
    }
}

/// `v1 l2 r3 u4`
impl<P> fmt::Display for ConfChange<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, change) in self.changes().iter().enumerate() {
            let kind = match change.kind {
                ConfChangeKind::AddNode => 'v',
                ConfChangeKind::AddLearnerNode => 'l',
                ConfChangeKind::RemoveNode => 'r',
                ConfChangeKind::UpdateNode => 'u',
            };
            let id = change.node.map_or(0, NodeId::get);
            write!(f, "{}{kind}{id}", if at > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

impl<P: AsRef<[u8]>> fmt::Display for EntryBody<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty | Self::Refused => f.write_str("EntryNormal \"\""),
            Self::Normal(payload) => write!(f, "EntryNormal {}", Quoted(payload.as_ref())),
            Self::ConfChange(change) => {
                let v1 = matches!(**change, ConfChange::V1 { .. });
                f.write_str(if v1 { "EntryConfChange" } else { "EntryConfChangeV2" })?;
                if change.changes().is_empty() {
                    return Ok(());
                }
                write!(f, " {change}")
            }
        }
    }
}

/// `1/11 EntryNormal "payload"`
impl<P: AsRef<[u8]>> fmt::Display for Entry<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} {}", self.id.term, self.id.index, self.body)
    }
}

/// An entry that has no place in a log yet.
struct Proposed<'a, P>(&'a EntryBody<P>);

impl<P: AsRef<[u8]>> fmt::Display for Proposed<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0/0 {}", self.0)
    }
}

/// ` Entries:[...]`: one on the line, several on lines of their own.
fn entries<E: fmt::Display>(f: &mut fmt::Formatter<'_>, entries: &[E]) -> fmt::Result {
    match entries {
        [] => Ok(()),
        [one] => write!(f, " Entries:[{one}]"),
        many => {
            f.write_str(" Entries:[")?;
            for entry in many {
                write!(f, "\n  {entry}")?;
            }
            f.write_str("\n]")
        }
    }
}

/// `1->2 MsgApp Term:1 Log:1/10 Commit:10 Entries:[1/11 EntryNormal "payload"]`
impl<P: AsRef<[u8]>> fmt::Display for Message<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{} {} Term:{}", self.from, self.to, self.body.name(), self.term)?;
        let log = match &self.body {
            Body::Append { prev, .. } => *prev,
            Body::Vote { last, .. } | Body::PreVote { last } => *last,
            Body::AppendResp { index, reject } => EntryId {
                term: reject.map_or_else(Default::default, |hint| hint.term),
                index: *index,
            },
            Body::ReadIndexResp { index, .. } => EntryId { index: *index, ..EntryId::default() },
            _ => EntryId::default(),
        };
        write!(f, " Log:{}/{}", log.term, log.index)?;
        match &self.body {
            Body::AppendResp { reject: Some(hint), .. } => {
                write!(f, " Rejected (Hint: {})", hint.index)?;
            }
            Body::VoteResp { reject: true, .. } | Body::PreVoteResp { reject: true, .. } => {
                f.write_str(" Rejected (Hint: 0)")?;
            }
            Body::Append { commit, .. } | Body::Heartbeat { commit, .. }
                if *commit != LogIndex::ZERO =>
            {
                write!(f, " Commit:{commit}")?;
            }
            _ => {}
        }
        match &self.body {
            Body::Append { entries: list, .. } => entries(f, list),
            Body::Propose { entries: list } => {
                let list: Vec<_> = list.iter().map(Proposed).collect();
                entries(f, &list)
            }
            Body::ReadIndex { context } | Body::ReadIndexResp { context, .. } => {
                write!(f, " Entries:[0/0 EntryNormal {}]", Quoted(context.as_ref()))
            }
            Body::Snapshot { snapshot } if snapshot.meta.id.index > LogIndex::ZERO => {
                write!(f, "\n  Snapshot: {}", snapshot.meta)
            }
            _ => Ok(()),
        }
    }
}
