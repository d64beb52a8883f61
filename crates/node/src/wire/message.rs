//! Messages of members, as raft knows them and as they are on the wire.

use bytes::Bytes;
use proto::raftpb::{self, MessageType};
use raft::{Body, EntryBody, EntryId, LogIndex, Message, NodeId, Snapshot, SnapshotMeta, Term};

use super::{Payload, conf_state, conf_state_pb, entry, entry_data};

/// What marks the vote of a leader transfer.
const TRANSFER: &[u8] = b"CampaignTransfer";

/// Encodes a message for the wire. The bytes of entries are shared, not copied.
pub(crate) fn message_pb(message: Message<Payload>) -> raftpb::Message {
    let Message { from, to, term, body } = message;
    let mut out = raftpb::Message {
        r#type: Some(kind(&body) as i32),
        to: Some(to.get()),
        from: Some(from.get()),
        term: (term != Term::ZERO).then_some(term.0),
        ..Default::default()
    };
    match body {
        Body::Propose { entries } => out.entries = entries.iter().map(proposed).collect(),
        Body::Append { prev, entries, commit } => {
            place(&mut out, prev);
            out.commit = Some(commit.0);
            out.entries = entries
                .iter()
                .map(|entry| raftpb::Entry {
                    term: Some(entry.id.term.0),
                    index: Some(entry.id.index.0),
                    ..proposed(&entry.body)
                })
                .collect();
        }
        Body::AppendResp { index, reject } => {
            out.index = Some(index.0);
            if let Some(hint) = reject {
                out.reject = Some(true);
                out.reject_hint = Some(hint.index.0);
                out.log_term = Some(hint.term.0);
            }
        }
        Body::Vote { last, transfer } => {
            place(&mut out, last);
            out.context = transfer.then(|| Bytes::from_static(TRANSFER));
        }
        Body::PreVote { last } => place(&mut out, last),
        Body::VoteResp { reject, committed } | Body::PreVoteResp { reject, committed } => {
            out.reject = Some(reject);
            if let Some(committed) = committed {
                out.commit = Some(committed.index.0);
                out.log_term = Some(committed.term.0);
            }
        }
        Body::Snapshot { snapshot } => out.snapshot = Some(snapshot_pb(&snapshot)),
        Body::Heartbeat { commit, context } => {
            out.commit = Some(commit.0);
            out.context = context.map(context_bytes);
        }
        Body::HeartbeatResp { context } => out.context = context.map(context_bytes),
        Body::TransferLeader | Body::TimeoutNow => {}
        Body::ReadIndex { context } => out.entries = vec![carrying(context)],
        Body::ReadIndexResp { index, context } => {
            out.index = Some(index.0);
            out.entries = vec![carrying(context)];
        }
    }
    out
}

fn kind(body: &Body<Payload>) -> MessageType {
    match body {
        Body::Propose { .. } => MessageType::MsgProp,
        Body::Append { .. } => MessageType::MsgApp,
        Body::AppendResp { .. } => MessageType::MsgAppResp,
        Body::Vote { .. } => MessageType::MsgVote,
        Body::VoteResp { .. } => MessageType::MsgVoteResp,
        Body::PreVote { .. } => MessageType::MsgPreVote,
        Body::PreVoteResp { .. } => MessageType::MsgPreVoteResp,
        Body::Snapshot { .. } => MessageType::MsgSnap,
        Body::Heartbeat { .. } => MessageType::MsgHeartbeat,
        Body::HeartbeatResp { .. } => MessageType::MsgHeartbeatResp,
        Body::TransferLeader => MessageType::MsgTransferLeader,
        Body::TimeoutNow => MessageType::MsgTimeoutNow,
        Body::ReadIndex { .. } => MessageType::MsgReadIndex,
        Body::ReadIndexResp { .. } => MessageType::MsgReadIndexResp,
    }
}

fn place(out: &mut raftpb::Message, id: EntryId) {
    out.index = Some(id.index.0);
    out.log_term = Some(id.term.0);
}

fn proposed(body: &EntryBody<Payload>) -> raftpb::Entry {
    let (kind, data) = entry_data(body);
    let data = (!matches!(body, EntryBody::Empty | EntryBody::Refused)).then_some(data);
    raftpb::Entry { r#type: Some(kind as i32), data, ..Default::default() }
}

fn carrying(context: Payload) -> raftpb::Entry {
    raftpb::Entry { data: Some(context.encoded), ..Default::default() }
}

fn context_bytes(context: u64) -> Bytes {
    Bytes::copy_from_slice(&context.to_be_bytes())
}

pub(crate) fn snapshot_pb(snapshot: &Snapshot<Payload>) -> raftpb::Snapshot {
    let Snapshot { meta, data } = snapshot;
    raftpb::Snapshot {
        data: Some(data.encoded.clone()),
        metadata: Some(raftpb::SnapshotMetadata {
            conf_state: Some(conf_state_pb(&meta.conf_state)),
            index: Some(meta.id.index.0),
            term: Some(meta.id.term.0),
        }),
    }
}

/// Reads a message of another member. `None`: one that is not for other members, or means nothing
/// to this version. An error: no member can have sent it.
pub(crate) fn message(message: raftpb::Message) -> Result<Option<Message<Payload>>, String> {
    let node = |id: u64| NodeId::new(id).ok_or_else(|| "a message of or for member 0".to_owned());
    let Ok(kind) = MessageType::try_from(message.r#type.unwrap_or_default()) else {
        return Ok(None);
    };
    let (to, from, term) = (message.to(), message.from(), Term(message.term()));
    let Some(body) = body(kind, message)? else { return Ok(None) };
    Ok(Some(Message { from: node(from)?, to: node(to)?, term, body }))
}

fn body(kind: MessageType, message: raftpb::Message) -> Result<Option<Body<Payload>>, String> {
    let index = LogIndex(message.index());
    let at = EntryId { term: Term(message.log_term()), index };
    let commit = LogIndex(message.commit());
    let reject = message.reject();
    // What a member knows to be committed, beside a refusal; etcd leaves both out.
    let committed = || {
        let known = reject && message.commit() > 0 && message.log_term() > 0;
        known.then(|| EntryId { term: Term(message.log_term()), index: commit })
    };
    let body = match kind {
        MessageType::MsgProp => {
            let bodies = message.entries.into_iter().map(|it| Ok(checked(it)?.body));
            Body::Propose { entries: bodies.collect::<Result<_, String>>()? }
        }
        MessageType::MsgApp => {
            let entries = message.entries.into_iter().map(checked).collect::<Result<_, _>>()?;
            Body::Append { prev: at, entries, commit }
        }
        MessageType::MsgAppResp => {
            let hint = EntryId { term: at.term, index: LogIndex(message.reject_hint()) };
            Body::AppendResp { index, reject: reject.then_some(hint) }
        }
        MessageType::MsgVote => {
            let transfer = message.context() == TRANSFER;
            Body::Vote { last: at, transfer }
        }
        MessageType::MsgPreVote => Body::PreVote { last: at },
        MessageType::MsgVoteResp => Body::VoteResp { reject, committed: committed() },
        MessageType::MsgPreVoteResp => Body::PreVoteResp { reject, committed: committed() },
        MessageType::MsgSnap => Body::Snapshot { snapshot: Box::new(snapshot(message)?) },
        MessageType::MsgHeartbeat => {
            Body::Heartbeat { commit, context: context_number(message.context()) }
        }
        MessageType::MsgHeartbeatResp => {
            Body::HeartbeatResp { context: context_number(message.context()) }
        }
        MessageType::MsgTransferLeader => Body::TransferLeader,
        MessageType::MsgTimeoutNow => Body::TimeoutNow,
        MessageType::MsgReadIndex => Body::ReadIndex { context: carried(message)? },
        MessageType::MsgReadIndexResp => Body::ReadIndexResp { index, context: carried(message)? },
        // Of a member to itself, or of a kind that asks for nothing here.
        _ => return Ok(None),
    };
    Ok(Some(body))
}

fn checked(encoded: raftpb::Entry) -> Result<raft::Entry<Payload>, String> {
    entry(encoded).map_err(|error| error.to_string())
}

/// etcd's members, too, confirm reads by eight bytes.
fn context_number(context: &[u8]) -> Option<u64> {
    context.try_into().ok().map(u64::from_be_bytes)
}

fn carried(message: raftpb::Message) -> Result<Payload, String> {
    let [entry] = <[raftpb::Entry; 1]>::try_from(message.entries)
        .map_err(|_| "a read without its one context".to_owned())?;
    Ok(Payload::from(entry.data.unwrap_or_default()))
}

fn snapshot(message: raftpb::Message) -> Result<Snapshot<Payload>, String> {
    let missing = || "a snapshot without metadata".to_owned();
    let snapshot = message.snapshot.ok_or_else(missing)?;
    let metadata = snapshot.metadata.ok_or_else(missing)?;
    let id = EntryId::new(metadata.term(), metadata.index());
    let conf_state = conf_state(&metadata.conf_state.unwrap_or_default());
    let data = Payload::from(snapshot.data.unwrap_or_default());
    Ok(Snapshot { meta: SnapshotMeta { id, conf_state }, data })
}
