//! `--force-new-cluster`: what is left of a cluster that has lost its quorum goes on alone.
//!
//! What the log has committed counts, what it has not is dropped, and entries are added that take
//! all other members out. They count as committed at once, since nobody is left to agree. The
//! cluster keeps its id.

use std::collections::BTreeSet;

use proto::Message as _;
use proto::raftpb::{self, ConfChangeType, EntryType};
use state::{Member, MemberId, State};
use wal::{EntryRef, MustSync, Recovered, Wal};

use crate::Fatal;
use crate::life::Who;

/// Where a member is said to be that is not in its own log. etcd's choice, too.
const NOWHERE: &str = "http://localhost:2380";

/// Makes the member the only one, in what was recovered and, durably, in the log.
pub(crate) fn alone(
    mut recovered: Recovered,
    state: &State,
    who: Who,
    wal: &mut Wal,
) -> Result<Recovered, Fatal> {
    let applied = state.applied().index;
    let committed = recovered.hard_state.commit();
    // A commit index that came alone was never synced, though what it commits may be applied.
    let commit = committed.max(applied);
    let found = recovered.entries.len();
    recovered.entries.retain(|entry| entry.index() <= commit);
    if recovered.entries.len() < found {
        tracing::info!(
            "commit-index-from-wal" = commit,
            "number-of-discarded-entries" = found - recovered.entries.len(),
            "discarding uncommitted WAL entries"
        );
    }
    let members = state.views().members.list().into_iter().map(|member| member.id.0);
    let members = members_after(members.collect(), &recovered.entries, applied)?;
    let term = recovered.hard_state.term();
    let entries = entries_to_be_alone(&members, who.member_id, term, commit);
    recovered.hard_state.commit = Some(commit + entries.len() as u64);
    recovered.entries.extend(entries.iter().cloned());
    write(wal, &entries, &recovered.hard_state)?;
    tracing::info!(
        "cluster-id" = MemberId(who.cluster_id).to_string(),
        "local-member-id" = MemberId(who.member_id).to_string(),
        "wal-commit-index" = committed,
        "commit-index" = recovered.hard_state.commit(),
        "forcing restart member"
    );
    Ok(recovered)
}

/// Who is a member once all these entries are applied.
fn members_after(
    mut members: BTreeSet<u64>,
    entries: &[raftpb::Entry],
    applied: u64,
) -> Result<BTreeSet<u64>, Fatal> {
    for entry in entries.iter().filter(|entry| entry.index() > applied) {
        if entry.r#type() != EntryType::EntryConfChange {
            continue;
        }
        let data = entry.data.clone().unwrap_or_default();
        let change = raftpb::ConfChange::decode(data)
            .map_err(|error| Fatal::Metadata(format!("entry {}: {error}", entry.index())))?;
        match change.r#type() {
            ConfChangeType::ConfChangeAddNode | ConfChangeType::ConfChangeAddLearnerNode => {
                members.insert(change.node_id());
            }
            ConfChangeType::ConfChangeRemoveNode => {
                members.remove(&change.node_id());
            }
            ConfChangeType::ConfChangeUpdateNode => {}
        }
    }
    Ok(members)
}

/// First this member comes in, if it has to: a cluster without any would be none.
fn entries_to_be_alone(
    members: &BTreeSet<u64>,
    me: u64,
    term: u64,
    commit: u64,
) -> Vec<raftpb::Entry> {
    let mut changes = Vec::new();
    if !members.contains(&me) {
        let member =
            Member { id: MemberId(me), peer_urls: vec![NOWHERE.to_owned()], ..Member::default() };
        changes.push(raftpb::ConfChange {
            r#type: Some(ConfChangeType::ConfChangeAddNode.into()),
            node_id: Some(me),
            context: Some(member.to_json().into()),
            ..raftpb::ConfChange::default()
        });
    }
    let others = members.iter().filter(|id| **id != me);
    changes.extend(others.map(|id| raftpb::ConfChange {
        r#type: Some(ConfChangeType::ConfChangeRemoveNode.into()),
        node_id: Some(*id),
        ..raftpb::ConfChange::default()
    }));
    let numbered = changes.iter().zip(commit + 1..);
    numbered
        .map(|(change, index)| raftpb::Entry {
            r#type: Some(EntryType::EntryConfChange.into()),
            term: Some(term),
            index: Some(index),
            data: Some(change.encode_to_vec().into()),
        })
        .collect()
}

fn write(
    wal: &mut Wal,
    entries: &[raftpb::Entry],
    hard_state: &raftpb::HardState,
) -> Result<(), Fatal> {
    let refs: Vec<_> = entries
        .iter()
        .map(|entry| EntryRef {
            kind: entry.r#type(),
            term: entry.term(),
            index: entry.index(),
            data: entry.data.as_deref().unwrap_or_default(),
        })
        .collect();
    match wal.append(&refs, Some(*hard_state))? {
        MustSync::Yes => wal.sync()?,
        MustSync::No => {}
    }
    Ok(())
}
