//! Nodes with their disks and state machines, and the messages between them.

use super::trace;
use raft::{
    AppendTicket, ApplyTicket, Body, ConfState, Config, Entry, EntryBody, EntryId, HardState,
    LogIndex, MemStorage, Message, NodeId, OutOfOrder, PendingAppend, RawNode, ReadState, Ready,
    Snapshot, SnapshotMeta, Storage, StorageAppend, StorageApply, StorageError, Term,
};
use std::collections::VecDeque;
use std::fmt::Write;
use std::ops::Range;

pub(crate) type Payload = Vec<u8>;

/// A log in memory whose snapshot is always the newest state of the state machine.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) log: MemStorage<Payload>,
    pub(crate) newest: Option<Snapshot<Payload>>,
}

impl Storage<Payload> for Disk {
    fn initial_state(&self) -> Result<(HardState, ConfState), StorageError> {
        self.log.initial_state()
    }

    fn entries(
        &self,
        range: Range<LogIndex>,
        max_bytes: u64,
        into: &mut Vec<Entry<Payload>>,
    ) -> Result<(), StorageError> {
        self.log.entries(range, max_bytes, into)
    }

    fn term(&self, index: LogIndex) -> Result<Term, StorageError> {
        self.log.term(index)
    }

    fn first_index(&self) -> LogIndex {
        self.log.first_index()
    }

    fn last_index(&self) -> LogIndex {
        self.log.last_index()
    }

    fn snapshot(&self) -> Result<Snapshot<Payload>, StorageError> {
        self.newest.clone().ok_or(StorageError::SnapshotTemporarilyUnavailable)
    }
}

/// An append that waits for the append thread.
struct AppendWork {
    append: StorageAppend<Payload>,
    /// What the thread prints: the message itself, and its responses.
    line: String,
    responses: Vec<Response>,
}

/// An apply that waits for the apply thread.
struct ApplyWork {
    apply: StorageApply<Payload>,
    line: String,
    response: String,
}

/// A message that leaves when an append is done.
enum Response {
    Wire(Message<Payload>),
    /// To the node itself: taken in all at once when the last of an append is delivered.
    Local {
        line: String,
    },
}

/// A message on its way.
pub(crate) enum Parcel {
    Wire(Message<Payload>),
    Local { to: u64, line: String, done: Option<Done> },
}

/// What a local message reports.
pub(crate) enum Done {
    Append(AppendTicket),
    Apply(ApplyTicket),
}

impl Parcel {
    pub(crate) fn to(&self) -> u64 {
        match self {
            Self::Wire(message) => message.to.get(),
            Self::Local { to, .. } => *to,
        }
    }

    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Wire(message) => message.from == message.to,
            Self::Local { .. } => true,
        }
    }

    /// etcd's name of the message type.
    pub(crate) fn kind(&self) -> &str {
        match self {
            Self::Wire(message) => message.body.name(),
            Self::Local { line, .. } => line.split(' ').nth(1).unwrap_or_default(),
        }
    }

    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Wire(message) => message.to_string(),
            Self::Local { line, .. } => line.clone(),
        }
    }
}

/// One node.
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) raft: RawNode<Payload, Disk>,
    pub(crate) config: Config,
    pub(crate) asynchronous: bool,
    /// The hard state as last put out, for etcd's idea of when a write must be synced.
    put_out: HardState,
    append_work: VecDeque<AppendWork>,
    /// Appends that are done while an older one is not reported yet.
    early: Vec<AppendTicket>,
    apply_work: VecDeque<ApplyWork>,
    /// The state after each applied entry; the state machine strings payloads together.
    history: Vec<Snapshot<Payload>>,
    /// The same for a restart: with the snapshots that were installed and the configurations that
    /// they have brought. etcd's harness does not put these into what it sends.
    states: Vec<Snapshot<Payload>>,
}

#[derive(Default)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) parcels: Vec<Parcel>,
    pub(crate) output: String,
    /// Log level `none`: nothing is printed but errors.
    pub(crate) quiet: bool,
    /// Events for the TLA+ specification, if they are wanted.
    pub(crate) events: Option<String>,
}

impl Node {
    pub(crate) fn new(
        config: Config,
        asynchronous: bool,
        start: Snapshot<Payload>,
    ) -> Result<Self, String> {
        let mut disk = Disk::default();
        if start.meta != SnapshotMeta::default() {
            disk.log.apply_snapshot(start.clone()).map_err(|error| error.to_string())?;
            disk.newest = Some(start.clone());
        }
        let raft = RawNode::new(config.clone(), disk).map_err(|error| error.to_string())?;
        Ok(Self {
            id: config.id.get(),
            put_out: raft.status().hard_state,
            raft,
            config,
            asynchronous,
            append_work: VecDeque::new(),
            early: Vec::new(),
            apply_work: VecDeque::new(),
            states: vec![start.clone()],
            history: vec![start],
        })
    }

    /// Stops and starts again: what is on disk stays, and of the state machine what the stored
    /// commit index covers.
    pub(crate) fn restart(&mut self) -> Result<(), String> {
        let mut disk = self.raft.storage().clone();
        let covered = disk.log.hard_state().commit.max(disk.first_index().prev());
        let state = self
            .states
            .iter()
            .filter(|state| state.meta.id.index <= covered)
            .max_by_key(|state| state.meta.id.index)
            .cloned()
            .ok_or("no state to restart from")?;
        disk.log.set_conf_state(state.meta.conf_state.clone());
        disk.newest = (state.meta.id.index > LogIndex::ZERO).then(|| state.clone());
        let config = Config { applied: state.meta.id.index, ..self.config.clone() };
        self.raft = RawNode::new(config, disk).map_err(|error| error.to_string())?;
        self.put_out = self.raft.status().hard_state;
        self.append_work.clear();
        self.early.clear();
        self.apply_work.clear();
        self.history = vec![state.clone()];
        self.states = vec![state];
        Ok(())
    }

    /// What the state machine would send; of index zero if there is nothing.
    pub(crate) fn newest_state(&self) -> Snapshot<Payload> {
        let nothing = || Snapshot { meta: SnapshotMeta::default(), data: Payload::new() };
        self.history.last().cloned().unwrap_or_else(nothing)
    }

    pub(crate) fn has_append_work(&self) -> bool {
        !self.append_work.is_empty()
    }

    pub(crate) fn has_apply_work(&self) -> bool {
        !self.apply_work.is_empty()
    }

    fn write(
        &mut self,
        hard_state: Option<HardState>,
        snapshot: Option<Snapshot<Payload>>,
        entries: Vec<Entry<Payload>>,
    ) -> Result<(), String> {
        let disk = self.raft.storage_mut();
        if let Some(hard_state) = hard_state {
            disk.log.set_hard_state(hard_state);
        }
        if let Some(snapshot) = snapshot {
            self.states.push(snapshot.clone());
            disk.log.apply_snapshot(snapshot).map_err(|error| error.to_string())?;
        }
        disk.log.append(entries).map_err(|error| error.to_string())
    }

    fn apply(&mut self, entries: &[Entry<Payload>]) -> Result<(), String> {
        for entry in entries {
            let Some(last) = self.history.last() else { continue };
            let mut conf_state = last.meta.conf_state.clone();
            let mut data = last.data.clone();
            match &entry.body {
                EntryBody::Normal(payload) => data.extend_from_slice(payload),
                EntryBody::ConfChange(change) => {
                    data.extend(change.context().into_iter().flatten());
                    conf_state = self
                        .raft
                        .apply_conf_change(entry.id.index, change)
                        .map_err(|error| error.to_string())?;
                }
                EntryBody::Empty | EntryBody::Refused => {}
            }
            let now = self.raft.status().config.conf_state();
            self.states.push(Snapshot {
                meta: SnapshotMeta { id: entry.id, conf_state: now },
                data: data.clone(),
            });
            let state = Snapshot { meta: SnapshotMeta { id: entry.id, conf_state }, data };
            self.raft.storage_mut().newest = Some(state.clone());
            self.history.push(state);
        }
        Ok(())
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// ` Entries:[...]` and what follows it, as in a message.
fn entry_list(entries: &[Entry<Payload>]) -> String {
    match entries {
        [] => String::new(),
        [one] => format!(" Entries:[{one}]"),
        many => {
            let lines: String = many.iter().map(|entry| format!("\n  {entry}")).collect();
            format!(" Entries:[{lines}\n]")
        }
    }
}

fn snapshot_line(snapshot: &Option<Snapshot<Payload>>) -> String {
    snapshot.as_ref().map_or(String::new(), |s| format!("\n  Snapshot: {}", s.meta))
}

/// The append as the message to the append thread that it is in etcd.
fn append_line(node: &Node, append: &StorageAppend<Payload>) -> String {
    let id = node.id;
    let hard_state = append.hard_state.filter(|now| *now != node.put_out).unwrap_or_default();
    let mut line =
        format!("{id:x}->AppendThread MsgStorageAppend Term:{} Log:0/0", hard_state.term);
    if hard_state.commit > LogIndex::ZERO {
        let _ = write!(line, " Commit:{}", hard_state.commit);
    }
    if let Some(vote) = hard_state.vote {
        let _ = write!(line, " Vote:{}", vote.get());
    }
    line + &entry_list(&append.entries) + &snapshot_line(&append.snapshot)
}

fn responses_of(
    id: u64,
    append: &StorageAppend<Payload>,
    pending: &PendingAppend<Payload>,
) -> Vec<Response> {
    let response = |message: &Message<Payload>| match message.to.get() == id {
        true => Response::Local { line: message.to_string() },
        false => Response::Wire(message.clone()),
    };
    let mut responses: Vec<_> = pending.responses().iter().map(response).collect();
    if pending.stable().is_some() || append.snapshot.is_some() {
        let EntryId { term, index } = pending.stable().unwrap_or_default();
        let line = format!(
            "AppendThread->{id:x} MsgStorageAppendResp Term:{} Log:{term}/{index}{}",
            pending.term(),
            snapshot_line(&append.snapshot)
        );
        responses.push(Response::Local { line });
    }
    responses
}

impl Response {
    fn line(&self) -> String {
        match self {
            Self::Wire(message) => message.to_string(),
            Self::Local { line } => line.clone(),
        }
    }
}

fn with_responses(line: &str, responses: impl Iterator<Item = String>) -> String {
    let responses: String = responses.map(|line| indented(&line)).collect();
    if responses.is_empty() {
        return line.to_string();
    }
    format!("{line} Responses:[\n{responses}]")
}

/// What is printed of a `Ready`, in etcd's order.
fn ready_text(node: &Node, ready: &Ready<Payload>, must_sync: bool, messages: &[String]) -> String {
    let mut text = String::new();
    let hard_state = ready.append.as_ref().and_then(|append| append.hard_state);
    if let Some(soft_state) = ready.soft_state {
        let _ = writeln!(text, "{soft_state}");
    }
    if let Some(hard_state) = hard_state.filter(|now| *now != node.put_out) {
        let _ = writeln!(text, "HardState {hard_state}");
    }
    if !ready.read_states.is_empty() {
        let states: Vec<_> = ready.read_states.iter().map(read_state).collect();
        let _ = writeln!(text, "ReadStates [{}]", states.join(" "));
    }
    if let Some(append) = &ready.append {
        if !append.entries.is_empty() {
            text.push_str("Entries:\n");
            text.extend(append.entries.iter().map(|entry| format!("{entry}\n")));
        }
        if let Some(snapshot) = &append.snapshot {
            let _ = writeln!(text, "Snapshot {}", snapshot.meta);
        }
    }
    if let Some(apply) = &ready.apply {
        text.push_str("CommittedEntries:\n");
        text.extend(apply.entries.iter().map(|entry| format!("{entry}\n")));
    }
    if !messages.is_empty() {
        text.push_str("Messages:\n");
        text.extend(messages.iter().map(|message| format!("{message}\n")));
    }
    if text.is_empty() {
        return "<empty Ready>".into();
    }
    format!("Ready MustSync={must_sync}:\n{text}")
}

fn read_state(state: &ReadState<Payload>) -> String {
    let bytes: Vec<_> = state.context.iter().map(u8::to_string).collect();
    format!("{{{} [{}]}}", state.index, bytes.join(" "))
}

impl Cluster {
    pub(crate) fn node(&mut self, id: u64) -> Result<&mut Node, String> {
        // Whatever happens next happens after what has happened at any node so far.
        self.take_events();
        let at = (id as usize).checked_sub(1);
        at.and_then(|at| self.nodes.get_mut(at)).ok_or_else(|| format!("there is no node {id}"))
    }

    pub(crate) fn take_events(&mut self) {
        let Some(events) = &mut self.events else { return };
        for node in &mut self.nodes {
            events.extend(node.raft.take_trace().iter().map(trace::line));
        }
    }

    pub(crate) fn print(&mut self, text: &str) {
        if !self.quiet {
            self.output.push_str(text);
        }
    }

    /// Runs `action` and indents what it prints.
    pub(crate) fn indent(
        &mut self,
        action: impl FnOnce(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let outer = std::mem::take(&mut self.output);
        let result = action(self);
        let inner = std::mem::replace(&mut self.output, outer);
        self.print(&indented(&inner));
        result
    }

    pub(crate) fn process_ready(&mut self, id: u64) -> Result<(), String> {
        let mut ready = Ready::default();
        let node = self.node(id)?;
        node.raft.ready(&mut ready).map_err(|fatal| fatal.to_string())?;
        let text = if node.asynchronous {
            self.process_ready_async(id, ready)?
        } else {
            self.process_ready_sync(id, ready)?
        };
        self.print(&text);
        Ok(())
    }

    fn process_ready_async(
        &mut self,
        id: u64,
        mut ready: Ready<Payload>,
    ) -> Result<String, String> {
        let node = self.node(id)?;
        if let Some(append) = ready.append.take_if(|append| node.only_we_sync(append)) {
            node.report_append(append.ticket);
        }
        let must_sync = node.must_sync(ready.append.as_ref());
        let mut lines: Vec<String> = ready.messages.iter().map(Message::to_string).collect();
        let mut work = None;
        if let Some(append) = &ready.append {
            let pending = node.raft.pending_appends().last().ok_or("an append is not pending")?;
            let line = append_line(node, append);
            let responses = responses_of(id, append, pending);
            lines.push(with_responses(&line, responses.iter().map(Response::line)));
            work = Some((line, responses));
        }
        let mut apply_lines = None;
        if let Some(apply) = &ready.apply {
            let list = entry_list(&apply.entries);
            let line = format!("{id:x}->ApplyThread MsgStorageApply Term:0 Log:0/0{list}");
            let response = format!("ApplyThread->{id:x} MsgStorageApplyResp Term:0 Log:0/0{list}");
            lines.push(with_responses(&line, std::iter::once(response.clone())));
            apply_lines = Some((line, response));
        }
        let text = ready_text(node, &ready, must_sync, &lines);
        node.note_put_out(ready.append.as_ref());
        if let (Some(append), Some((line, responses))) = (ready.append.take(), work) {
            node.append_work.push_back(AppendWork { append, line, responses });
        }
        if let (Some(apply), Some((line, response))) = (ready.apply.take(), apply_lines) {
            node.apply_work.push_back(ApplyWork { apply, line, response });
        }
        self.parcels.extend(ready.messages.into_iter().map(Parcel::Wire));
        Ok(text)
    }

    fn process_ready_sync(&mut self, id: u64, mut ready: Ready<Payload>) -> Result<String, String> {
        let node = self.node(id)?;
        let must_sync = node.must_sync(ready.append.as_ref());
        let mut messages = std::mem::take(&mut ready.messages);
        if ready.append.is_some() {
            let pending = node.raft.pending_appends().last().ok_or("an append is not pending")?;
            let held = pending.responses().iter().filter(|message| message.to.get() != id);
            let (votes, others): (Vec<_>, Vec<_>) =
                held.cloned().partition(|message| matches!(message.body, Body::Vote { .. }));
            // In etcd votes are not held back, so they stand before what is.
            messages.extend(votes);
            messages.extend(others);
        }
        let lines: Vec<String> = messages.iter().map(Message::to_string).collect();
        let text = ready_text(node, &ready, must_sync, &lines);
        node.note_put_out(ready.append.as_ref());
        let mut append_ticket = None;
        if let Some(append) = ready.append.take() {
            node.write(append.hard_state, append.snapshot, append.entries)?;
            append_ticket = Some(append.ticket);
        }
        let mut apply_ticket = None;
        if let Some(apply) = ready.apply.take() {
            node.apply(&apply.entries)?;
            apply_ticket = Some(apply.ticket);
        }
        if let Some(ticket) = append_ticket {
            // What was held back is in `messages` already.
            node.raft.on_append_done(ticket, &mut Vec::new()).map_err(|error| error.to_string())?;
        }
        if let Some(ticket) = apply_ticket {
            node.raft.on_apply_done(ticket).map_err(|error| error.to_string())?;
        }
        self.parcels.extend(messages.into_iter().map(Parcel::Wire));
        Ok(text)
    }

    pub(crate) fn process_append_thread(&mut self, id: u64) -> Result<(), String> {
        let Some(work) = self.node(id)?.append_work.pop_front() else {
            self.print("no append work to perform");
            return Ok(());
        };
        self.print(&format!("Processing:\n{}\n", work.line));
        let StorageAppend { hard_state, snapshot, entries, ticket, .. } = work.append;
        let node = self.node(id)?;
        node.write(hard_state, snapshot, entries)?;
        self.print("Responses:\n");
        let last_local = work.responses.iter().rposition(|r| matches!(r, Response::Local { .. }));
        let mut done = Some(Done::Append(ticket));
        for (at, response) in work.responses.into_iter().enumerate() {
            self.print(&format!("{}\n", response.line()));
            self.parcels.push(match response {
                Response::Wire(message) => Parcel::Wire(message),
                Response::Local { line } => {
                    let done = if Some(at) == last_local { done.take() } else { None };
                    Parcel::Local { to: id, line, done }
                }
            });
        }
        match done {
            // Nothing that the node would have to be told by a message.
            Some(done) => self.report(id, done),
            None => Ok(()),
        }
    }

    pub(crate) fn process_apply_thread(&mut self, id: u64) -> Result<(), String> {
        let Some(work) = self.node(id)?.apply_work.pop_front() else {
            self.print("no apply work to perform");
            return Ok(());
        };
        self.print(&format!("Processing:\n{}\n", work.line));
        self.node(id)?.apply(&work.apply.entries)?;
        self.print(&format!("Responses:\n{}\n", work.response));
        let done = Some(Done::Apply(work.apply.ticket));
        self.parcels.push(Parcel::Local { to: id, line: work.response, done });
        Ok(())
    }

    pub(crate) fn report(&mut self, id: u64, done: Done) -> Result<(), String> {
        let node = self.node(id)?;
        match done {
            Done::Append(ticket) => node.report_append(ticket),
            Done::Apply(ticket) => {
                node.raft.on_apply_done(ticket).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// Loses what is on its way from a node to itself.
    pub(crate) fn drop_local_parcels(&mut self, id: u64) {
        self.parcels.retain(|parcel| !(parcel.is_local() && parcel.to() == id));
    }
}

impl Node {
    /// Whether etcd would sync this write: ours is synced in some cases more.
    fn must_sync(&self, append: Option<&StorageAppend<Payload>>) -> bool {
        append.is_some_and(|append| {
            let now = append.hard_state.unwrap_or(self.put_out);
            let before = self.put_out;
            !append.entries.is_empty() || (now.term, now.vote) != (before.term, before.vote)
        })
    }

    /// Whether etcd would not have this append at all: it only makes a commit index durable.
    fn only_we_sync(&self, append: &StorageAppend<Payload>) -> bool {
        let pending = self.raft.pending_appends().last();
        append.hard_state.is_none_or(|now| now == self.put_out)
            && append.entries.is_empty()
            && append.snapshot.is_none()
            && pending.is_some_and(|pending| pending.responses().is_empty())
    }

    /// Reports an append done. Nodes want that in order, etcd's threads answer in any: what comes
    /// early waits.
    fn report_append(&mut self, ticket: AppendTicket) {
        self.early.push(ticket);
        self.early.sort_by_key(AppendTicket::number);
        for ticket in std::mem::take(&mut self.early) {
            if let Err(OutOfOrder::Append { ticket, .. }) =
                self.raft.on_append_done(ticket, &mut Vec::new())
            {
                self.early.push(ticket);
            }
        }
    }

    fn note_put_out(&mut self, append: Option<&StorageAppend<Payload>>) {
        if let Some(hard_state) = append.and_then(|append| append.hard_state) {
            self.put_out = hard_state;
        }
    }
}

pub(crate) fn node_id(id: u64) -> Result<NodeId, String> {
    NodeId::new(id).ok_or_else(|| "zero is no node".into())
}
