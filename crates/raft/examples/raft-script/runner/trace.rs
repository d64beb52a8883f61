//! Events as lines of JSON, in the form that the TLA+ specification of etcd-io/raft reads
//! (`tla/Traceetcdraft.tla`): fields and their order are those of its `state_trace.go`.

use super::cluster::Payload;
use raft::{
    Body, ConfChangeKind, ConfChangeSingle, EntryId, HardState, LogIndex, Message, NodeId, NodeSet,
    TraceEvent, TraceKind,
};
use std::fmt::Write;

fn number(id: Option<NodeId>) -> u64 {
    id.map_or(0, NodeId::get)
}

/// `["1","2"]`
fn list(ids: &NodeSet) -> String {
    let ids: Vec<_> = ids.iter().map(|id| format!("\"{}\"", id.get())).collect();
    format!("[{}]", ids.join(","))
}

/// One event on a line of its own.
pub(crate) fn line(event: &TraceEvent<Payload>) -> String {
    let HardState { term, vote, commit } = event.hard_state;
    let mut line = format!(
        "{{\"tag\":\"trace\",\"event\":{{\"name\":\"{}\",\"nid\":\"{}\",\
         \"state\":{{\"term\":{term},\"vote\":\"{}\",\"commit\":{commit}}},\
         \"role\":\"{}\",\"log\":{},\"conf\":[{},{}]",
        event.kind.name().unwrap_or_default(),
        event.node.get(),
        number(vote),
        event.role,
        event.last_index,
        list(&event.voters.incoming),
        list(&event.voters.outgoing),
    );
    if let TraceKind::Send { message, .. } | TraceKind::Receive(message) = &event.kind {
        line.push_str(&of_message(message));
    }
    line.push_str(&properties(&event.kind));
    line.push_str("}}\n");
    line
}

fn of_message(message: &Message<Payload>) -> String {
    let mut fields = Fields::default();
    match &message.body {
        Body::Append { prev, entries, commit } => {
            (fields.at, fields.commit) = (*prev, *commit);
            fields.entries = entries.len() as u64;
        }
        Body::AppendResp { index, reject } => {
            let hint = reject.unwrap_or_default();
            fields.at = EntryId { term: hint.term, index: *index };
            (fields.reject, fields.hint) = (reject.is_some(), hint.index);
        }
        Body::Vote { last, .. } => fields.at = *last,
        Body::VoteResp { reject, committed } => {
            let committed = committed.unwrap_or_default();
            fields.at.term = committed.term;
            (fields.reject, fields.commit) = (*reject, committed.index);
        }
        Body::Heartbeat { commit, .. } => fields.commit = *commit,
        // An append of all that it stands for.
        Body::Snapshot { snapshot } => fields.entries = snapshot.meta.id.index.0,
        _ => {}
    }
    format!(
        ",\"msg\":{{\"type\":\"{}\",\"term\":{},\"from\":\"{}\",\"to\":\"{}\",\"entries\":{},\
         \"logTerm\":{},\"index\":{},\"commit\":{},\"vote\":\"0\",\"reject\":{},\
         \"rejectHint\":{}}}",
        message.body.name(),
        message.term,
        message.from.get(),
        message.to.get(),
        fields.entries,
        fields.at.term,
        fields.at.index,
        fields.commit,
        fields.reject,
        fields.hint,
    )
}

#[derive(Default)]
struct Fields {
    entries: u64,
    at: EntryId,
    commit: LogIndex,
    reject: bool,
    hint: LogIndex,
}

fn properties(kind: &TraceKind<Payload>) -> String {
    match kind {
        TraceKind::Send { own: Some((matched, next)), .. } => {
            format!(",\"prop\":{{\"match\":{matched},\"next\":{next}}}")
        }
        TraceKind::ChangeConf(changes) => {
            format!(",\"prop\":{{\"cc\":{{\"changes\":[{}]}}}}", of_changes(changes))
        }
        TraceKind::ApplyConfChange(voters) if voters.is_empty() => ",\"prop\":{\"cc\":{}}".into(),
        TraceKind::ApplyConfChange(voters) => {
            format!(",\"prop\":{{\"cc\":{{\"newconf\":{}}}}}", list(voters))
        }
        _ => String::new(),
    }
}

fn of_changes(changes: &[ConfChangeSingle]) -> String {
    let mut text = String::new();
    for change in changes {
        let action = match change.kind {
            ConfChangeKind::AddNode => "AddNewServer",
            ConfChangeKind::RemoveNode => "RemoveServer",
            ConfChangeKind::AddLearnerNode => "AddLearner",
            ConfChangeKind::UpdateNode => continue,
        };
        let comma = if text.is_empty() { "" } else { "," };
        let node = number(change.node);
        let _ = write!(text, "{comma}{{\"nid\":\"{node}\",\"action\":\"{action}\"}}");
    }
    text
}
