//! The verbs.

use super::cluster::{Cluster, Node, Parcel, Payload, node_id};
use super::script::{Command, number};
use raft::{
    Body, ConfChange, ConfChangeKind, ConfChangeSingle, ConfChangeTransition, Config, LogIndex,
    Message, NodeId, ReadOnlyOption, Snapshot, SnapshotMeta, SnapshotStatus, StepError, Storage,
};
use std::num::NonZeroU64;

/// Runs one command; what it prints.
pub(crate) fn run(cluster: &mut Cluster, command: &Command) -> Result<String, String> {
    cluster.output.clear();
    let result = dispatch(cluster, command)?;
    if let Err(error) = result {
        if cluster.quiet {
            return Ok(error);
        }
        cluster.output.push_str(&error);
    }
    if cluster.output.is_empty() {
        return Ok("ok".into());
    }
    Ok(std::mem::take(&mut cluster.output))
}

/// The outer error: the script makes no sense. The inner one: the command failed, which is part
/// of the trace.
fn dispatch(cluster: &mut Cluster, command: &Command) -> Result<Result<(), String>, String> {
    let done = match command.name.as_str() {
        "add-nodes" => add_nodes(cluster, command),
        "log-level" => log_level(cluster, command.arguments.first().map(|a| a.key.as_str())),
        "stabilize" => stabilize_with_level(cluster, command),
        "deliver-msgs" => deliver(cluster, command),
        "process-ready" => for_each(cluster, command, "handling Ready", Cluster::process_ready),
        "process-append-thread" => {
            for_each(cluster, command, "processing append thread", Cluster::process_append_thread)
        }
        "process-apply-thread" => {
            for_each(cluster, command, "processing apply thread", Cluster::process_apply_thread)
        }
        "raft-state" => raft_state(cluster),
        "transfer-leadership" => transfer(cluster, command),
        _ => return on_node(cluster, command),
    };
    Ok(done)
}

/// Commands whose first argument is a node.
fn on_node(cluster: &mut Cluster, command: &Command) -> Result<Result<(), String>, String> {
    let id = command.number(0)?;
    let node = cluster.node(id)?;
    match command.name.as_str() {
        // Refusals are silent in etcd.
        "campaign" => drop(node.raft.campaign()),
        "tick-election" => (0..node.config.election_tick).for_each(|_| node.raft.tick()),
        "tick-heartbeat" => (0..node.config.heartbeat_tick).for_each(|_| node.raft.tick()),
        "forget-leader" => node.raft.forget_leader(),
        "set-randomized-election-timeout" => {
            let ticks = number(command.value("timeout").ok_or("no timeout is given")?)?;
            node.raft.set_randomized_election_timeout(ticks as u32);
        }
        "propose" => {
            let payload = &command.word(1)?.key;
            return Ok(step_result(node.raft.propose(payload.clone().into_bytes())));
        }
        "propose-conf-change" => return Ok(propose_conf_change(node, command)),
        "read-index" => {
            let context = &command.word(1)?.key;
            // Dropped silently, as in etcd: asking again is the asker's part.
            drop(node.raft.read_index(context.clone().into_bytes()));
        }
        "report-unreachable" => node.raft.report_unreachable(node_id(command.number(1)?)?),
        "report-snapshot" => {
            let failed = command.arguments.iter().any(|argument| argument.key == "failure");
            let status = if failed { SnapshotStatus::Failure } else { SnapshotStatus::Finish };
            node.raft.report_snapshot(node_id(command.number(1)?)?, status);
        }
        "restart" => {
            node.restart()?;
            cluster.drop_local_parcels(id);
        }
        "compact" => {
            let index = LogIndex(command.number(1)?);
            if index > node.raft.status().applied {
                return Ok(Err("not applied yet".into()));
            }
            if let Err(error) = node.raft.storage_mut().log.compact(index) {
                return Ok(Err(error.to_string()));
            }
            raft_log(cluster, id)?;
        }
        "raft-log" => raft_log(cluster, id)?,
        "status" => status(cluster, id)?,
        "send-snapshot" => return Ok(send_snapshot(cluster, id, command.number(1)?)),
        _ => return Ok(Err("unknown command".into())),
    }
    Ok(Ok(()))
}

/// etcd's words for the errors that show in traces.
fn step_result(result: Result<(), StepError>) -> Result<(), String> {
    result.map_err(|error| match error {
        StepError::Dropped(_) => "raft proposal dropped".into(),
        StepError::PeerNotFound(_) => "raft: cannot step as peer not found".into(),
        other => other.to_string(),
    })
}

fn for_each(
    cluster: &mut Cluster,
    command: &Command,
    what: &str,
    action: fn(&mut Cluster, u64) -> Result<(), String>,
) -> Result<(), String> {
    let ids = command.numbers()?;
    if let [id] = ids[..] {
        return action(cluster, id);
    }
    for id in ids {
        cluster.print(&format!("> {id} {what}\n"));
        cluster.indent(|cluster| action(cluster, id))?;
    }
    Ok(())
}

fn add_nodes(cluster: &mut Cluster, command: &Command) -> Result<(), String> {
    let mut config = Config::new(node_id(1)?);
    config.election_tick = 3;
    config.election_jitter = Some(0);
    config.max_size_per_msg = None;
    config.max_inflight_msgs = i32::MAX as usize;
    config.max_pending_reads = usize::MAX;
    config.check_quorum = false;
    config.pre_vote = false;
    config.step_down_on_removal = false;
    config.step_down_on_stall = false;
    let mut start = Snapshot { meta: SnapshotMeta::default(), data: Payload::new() };
    let mut asynchronous = false;
    let mut max_committed = None;
    for argument in &command.arguments[1..] {
        for value in &argument.values {
            match argument.key.as_str() {
                "voters" => start.meta.conf_state.voters.push(node_id(number(value)?)?),
                "learners" => start.meta.conf_state.learners.push(node_id(number(value)?)?),
                "index" => start.meta.id.index = LogIndex(number(value)?),
                "content" => start.data = value.clone().into_bytes(),
                "async-storage-writes" => asynchronous = value == "true",
                "max-committed-size-per-ready" => max_committed = NonZeroU64::new(number(value)?),
                key => configure(&mut config, key, value)?,
            }
        }
    }
    config.trace = cluster.events.is_some();
    if config.trace && (asynchronous || config.pre_vote) {
        return Err("the TLA+ specification knows neither prevote nor async-storage-writes".into());
    }
    // Zero means "like the messages" here.
    config.max_committed_size_per_ready = max_committed.or(config.max_size_per_msg);
    config.apply_unstable = !asynchronous;
    if start.meta != SnapshotMeta::default() || !start.data.is_empty() {
        if start.meta.id.index.0 <= 1 {
            return Err("index must be specified as > 1 due to bootstrap".into());
        }
        start.meta.id.term = raft::Term(1);
        config.applied = start.meta.id.index;
    }
    for _ in 0..command.number(0)? {
        config.id = node_id(cluster.nodes.len() as u64 + 1)?;
        cluster.nodes.push(Node::new(config.clone(), asynchronous, start.clone())?);
    }
    Ok(())
}

fn configure(config: &mut Config, key: &str, value: &str) -> Result<(), String> {
    let truth = value == "true";
    match key {
        "inflight" => config.max_inflight_msgs = number(value)? as usize,
        "prevote" => config.pre_vote = truth,
        "checkquorum" => config.check_quorum = truth,
        "disable-proposal-forwarding" => config.disable_proposal_forwarding = truth,
        "disable-conf-change-validation" => config.disable_conf_change_validation = truth,
        "step-down-on-removal" => config.step_down_on_removal = truth,
        // Zero is "one entry each" here, and one entry is always allowed.
        "max-size-per-msg" => config.max_size_per_msg = NonZeroU64::new(number(value)?.max(1)),
        "max-inflight-bytes" => config.max_inflight_bytes = NonZeroU64::new(number(value)?),
        "max-uncommitted-size" => config.max_uncommitted_size = NonZeroU64::new(number(value)?),
        "read-only" => {
            config.read_only = match value {
                "safe" => ReadOnlyOption::Safe,
                "lease-based" => ReadOnlyOption::LeaseBased,
                _ => return Err(format!("invalid read-only option {value:?}")),
            }
        }
        _ => {}
    }
    Ok(())
}

/// There is no log to be seen, but at level `none` nothing else is either.
fn log_level(cluster: &mut Cluster, level: Option<&str>) -> Result<(), String> {
    let level = level.unwrap_or_default().to_ascii_uppercase();
    let levels = ["DEBUG", "INFO", "WARN", "ERROR", "FATAL", "NONE"];
    if !levels.contains(&level.as_str()) {
        return Err(format!("log levels must be either of [{}]", levels.join(" ")));
    }
    cluster.quiet = level == "NONE";
    Ok(())
}

fn stabilize_with_level(cluster: &mut Cluster, command: &Command) -> Result<(), String> {
    let quiet = cluster.quiet;
    if let Some(level) = command.value("log-level") {
        log_level(cluster, Some(level))?;
    }
    let mut ids = command.numbers()?;
    if ids.is_empty() {
        ids = cluster.nodes.iter().map(|node| node.id).collect();
    }
    let result = stabilize(cluster, &ids);
    cluster.quiet = quiet;
    result
}

/// Does everything for these nodes, in rounds, until nothing is left.
fn stabilize(cluster: &mut Cluster, ids: &[u64]) -> Result<(), String> {
    loop {
        let mut done = true;
        for &id in ids {
            if cluster.node(id)?.raft.has_ready() {
                done = false;
                cluster.print(&format!("> {id} handling Ready\n"));
                cluster.indent(|cluster| cluster.process_ready(id))?;
            }
        }
        for &id in ids {
            if cluster.parcels.iter().any(|parcel| parcel.to() == id) {
                done = false;
                cluster.print(&format!("> {id} receiving messages\n"));
                cluster.indent(|cluster| deliver_to(cluster, id, None, false).map(drop))?;
            }
        }
        for &id in ids {
            if cluster.node(id)?.has_append_work() {
                done = false;
                cluster.print(&format!("> {id} processing append thread\n"));
                while cluster.node(id)?.has_append_work() {
                    cluster.indent(|cluster| cluster.process_append_thread(id))?;
                }
            }
        }
        for &id in ids {
            if cluster.node(id)?.has_apply_work() {
                done = false;
                cluster.print(&format!("> {id} processing apply thread\n"));
                while cluster.node(id)?.has_apply_work() {
                    cluster.indent(|cluster| cluster.process_apply_thread(id))?;
                }
            }
        }
        if done {
            return Ok(());
        }
    }
}

fn deliver(cluster: &mut Cluster, command: &Command) -> Result<(), String> {
    let mut recipients = Vec::new();
    for argument in &command.arguments {
        match (argument.key.as_str(), argument.values.as_slice()) {
            ("drop", ids) => {
                for id in ids {
                    recipients.push((number(id)?, true));
                }
            }
            ("type", _) => {}
            (id, _) => recipients.push((number(id)?, false)),
        }
    }
    let mut count = 0;
    for (id, lost) in recipients {
        count += deliver_to(cluster, id, command.value("type"), lost)?;
    }
    if count == 0 {
        cluster.print("no messages\n");
    }
    Ok(())
}

fn deliver_to(
    cluster: &mut Cluster,
    id: u64,
    kind: Option<&str>,
    lost: bool,
) -> Result<usize, String> {
    let (mine, others) = std::mem::take(&mut cluster.parcels).into_iter().partition(|parcel| {
        parcel.to() == id
            && !(lost && parcel.is_local())
            && kind.is_none_or(|kind| parcel.kind() == kind)
    });
    cluster.parcels = others;
    let mine: Vec<Parcel> = mine;
    let count = mine.len();
    for parcel in mine {
        let dropped = if lost { "dropped: " } else { "" };
        cluster.print(&format!("{dropped}{}\n", parcel.describe()));
        match parcel {
            // Also to nodes that are not there yet.
            _ if lost => {}
            Parcel::Wire(message) => {
                let read = matches!(message.body, Body::ReadIndex { .. });
                match step_result(cluster.node(id)?.raft.step(message)) {
                    // Reads are dropped in silence.
                    Err(error) if !read => cluster.print(&format!("{error}\n")),
                    _ => {}
                }
            }
            Parcel::Local { done: Some(done), .. } => cluster.report(id, done)?,
            Parcel::Local { done: None, .. } => {}
        }
    }
    Ok(count)
}

fn raft_state(cluster: &mut Cluster) -> Result<(), String> {
    let mut lines = String::new();
    for node in &cluster.nodes {
        let status = node.raft.status();
        let voter =
            if status.config.voters.contains(status.id) { "(Voter)" } else { "(Non-Voter)" };
        lines += &format!(
            "{}: {} {voter} Term:{} Lead:{}\n",
            node.id,
            status.soft_state.role,
            status.hard_state.term,
            status.soft_state.leader.map_or(0, NodeId::get)
        );
    }
    cluster.print(&lines);
    Ok(())
}

fn raft_log(cluster: &mut Cluster, id: u64) -> Result<(), String> {
    let log = &cluster.node(id)?.raft.storage().log;
    let text = if log.last_index() < log.first_index() {
        format!("log is empty: first index={}, last index={}", log.first_index(), log.last_index())
    } else {
        log.iter().map(|entry| format!("{entry}\n")).collect()
    };
    cluster.print(&text);
    Ok(())
}

fn status(cluster: &mut Cluster, id: u64) -> Result<(), String> {
    let status = cluster.node(id)?.raft.status();
    let leads = status.soft_state.role == raft::StateRole::Leader;
    let lines: String = (status.progress.iter().filter(|_| leads))
        .map(|(id, progress)| format!("{}: {progress}\n", id.get()))
        .collect();
    cluster.print(&lines);
    Ok(())
}

fn transfer(cluster: &mut Cluster, command: &Command) -> Result<(), String> {
    let from = number(command.value("from").ok_or("from is missing")?)?;
    let to = number(command.value("to").ok_or("to is missing")?)?;
    cluster.node(from)?.raft.transfer_leader(node_id(to)?);
    Ok(())
}

fn send_snapshot(cluster: &mut Cluster, from: u64, to: u64) -> Result<(), String> {
    let node = cluster.node(from)?;
    let snapshot = node.newest_state();
    let message = Message {
        from: node_id(from)?,
        to: node_id(to)?,
        term: node.raft.status().hard_state.term,
        body: Body::Snapshot { snapshot: Box::new(snapshot) },
    };
    cluster.print(&message.to_string());
    cluster.parcels.push(Parcel::Wire(message));
    Ok(())
}

fn propose_conf_change(node: &mut Node, command: &Command) -> Result<(), String> {
    let transition = match command.value("transition").unwrap_or("auto") {
        "auto" => ConfChangeTransition::Auto,
        "implicit" => ConfChangeTransition::JointImplicit,
        "explicit" => ConfChangeTransition::JointExplicit,
        other => return Err(format!("unknown transition {other}")),
    };
    let changes = conf_changes(&command.input)?;
    let change = if command.value("v1") == Some("true") {
        let [change] = changes[..] else {
            return Err("v1 conf change can only have one operation and no transition".into());
        };
        if transition != ConfChangeTransition::Auto {
            return Err("v1 conf change can only have one operation and no transition".into());
        }
        ConfChange::V1 { id: 0, change, context: None }
    } else {
        ConfChange::v2(transition, changes)
    };
    step_result(node.raft.propose_conf_change(change))
}

/// `v1 l2 r3 u4`
fn conf_changes(text: &str) -> Result<Vec<ConfChangeSingle>, String> {
    let change = |token: &str| {
        let (kind, id) = token.split_at_checked(1).ok_or(format!("unknown token {token}"))?;
        let kind = match kind {
            "v" => ConfChangeKind::AddNode,
            "l" => ConfChangeKind::AddLearnerNode,
            "r" => ConfChangeKind::RemoveNode,
            "u" => ConfChangeKind::UpdateNode,
            _ => return Err(format!("unknown input: {token}")),
        };
        Ok(ConfChangeSingle::new(kind, NodeId::new(number(id)?)))
    };
    text.split_whitespace().map(change).collect()
}
