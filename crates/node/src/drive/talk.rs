//! What is said to other members, and what they say.

use std::time::Duration;

use proto::raftpb;
use raft::{Body, Message, NodeId, SnapshotStatus, StepError};

use super::Drive;
use super::failover::Asked;
use crate::queue::Incoming;
use crate::snapshot::Place;
use crate::wire::{self, Payload};
use crate::{Image, Peer, metrics};

/// How long the log is kept for who was sent a state, once he has it.
const CATCH_UP: Duration = Duration::from_secs(30);

/// States that are to be sent, or are under way.
#[derive(Debug, Default)]
pub(super) struct SnapshotsOut {
    /// Who is to get one. It has to wait for a commit of the db file.
    wanted: Vec<NodeId>,
    /// What the db file holds after the commit that is under way.
    place: Option<Place>,
    under_way: Vec<NodeId>,
    /// Until when the log is kept for who has just got one.
    keep_until: Option<Duration>,
}

impl SnapshotsOut {
    /// Whether the log must be kept for somebody who is being sent a state.
    pub(super) fn keeps_log(&self, now: Duration) -> bool {
        !self.wanted.is_empty()
            || !self.under_way.is_empty()
            || self.keep_until.is_some_and(|until| now < until)
    }

    /// Whether a commit of the db file should come soon.
    pub(super) fn wants_image(&self) -> bool {
        !self.wanted.is_empty() && self.place.is_none()
    }
}

impl Drive {
    pub(super) fn hear(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Message(message) => self.take_message(message),
            Incoming::Unreachable(id) => self.parts.raft.report_unreachable(id),
            Incoming::SnapshotSent(id, arrived) => self.snapshot_sent(id, arrived),
            Incoming::Lost(id) => self.lost(id),
            Incoming::Heard(id) => self.heard_again(id),
        }
    }

    fn take_message(&mut self, message: Message<Payload>) {
        // A state comes with its db file, by `Node::begin_snapshot`.
        if matches!(message.body, Body::Snapshot { .. }) {
            return;
        }
        // Who was removed has nothing to say, and must not be answered as if he had.
        let views = self.parts.state.views();
        if views.members.is_removed(state::MemberId(message.from.get())) {
            return;
        }
        let (from, name) = (message.from, message.body.name());
        let asked = Asked::of(&message.body);
        if matches!(asked, Some(Asked::Word(_))) && self.is_settling() {
            return;
        }
        match self.parts.raft.step(message) {
            Ok(()) | Err(StepError::Dropped(_)) => {}
            Err(error) => {
                let from = state::MemberId(from.get());
                tracing::debug!(%from, message = name, %error, "message was not taken");
            }
        }
        if let Some(asked) = asked {
            self.was_asked(from, asked);
        }
    }

    /// Sends messages; leaves the list empty. A state is held back until its db file is there.
    pub(super) fn send(&mut self, messages: &mut Vec<Message<Payload>>) {
        if messages.is_empty() {
            return;
        }
        for message in messages.drain(..) {
            if matches!(message.body, Body::Heartbeat { .. }) {
                self.heartbeat_leaves(message.to);
            }
            if matches!(message.body, Body::Snapshot { .. }) {
                self.snapshots_out.wanted.push(message.to);
            } else {
                self.outbox.push(wire::message_pb(message));
            }
        }
        if self.outbox.is_empty() {
            return;
        }
        match self.parts.others.get() {
            Some(others) => others.send(&mut self.outbox),
            None => self.outbox.clear(),
        }
    }

    fn heartbeat_leaves(&mut self, to: NodeId) {
        let interval = self.pace.tick;
        let Some(exceeded) = self.heartbeats.leaves(to, self.now, interval) else { return };
        tracing::warn!(
            to = %state::MemberId(to.get()),
            "heartbeat-interval" = ?interval,
            "expected-duration" = ?interval * 2,
            "exceeded-duration" = ?exceeded,
            "leader failed to send out heartbeat on time; took too long, leader is overloaded \
             likely from slow disk"
        );
        metrics::HEARTBEAT_FAILURES.inc();
    }

    /// Notes what the db file will hold, for who waits for it.
    pub(super) fn mark_for_sending(&mut self) {
        let wanted = !self.snapshots_out.wanted.is_empty();
        self.snapshots_out.place = wanted.then(|| Place::of(&self.parts.state)).flatten();
    }

    /// The db file holds what was noted: sends it.
    pub(super) fn send_snapshots(&mut self) {
        let Some(place) = self.snapshots_out.place.take() else { return };
        let status = self.parts.raft.status();
        let (from, term) = (status.id, status.hard_state.term);
        for to in std::mem::take(&mut self.snapshots_out.wanted) {
            let Some(others) = self.parts.others.get() else {
                self.parts.raft.report_snapshot(to, SnapshotStatus::Failure);
                continue;
            };
            let message = raftpb::Message {
                r#type: Some(raftpb::MessageType::MsgSnap as i32),
                to: Some(to.get()),
                from: Some(from.get()),
                term: Some(term.0),
                snapshot: Some(place.to_snapshot()),
                ..Default::default()
            };
            self.snapshots_out.under_way.push(to);
            others.send_snapshot(message, Image::of(&self.parts.state.views().backend));
        }
    }

    fn snapshot_sent(&mut self, id: NodeId, arrived: bool) {
        self.snapshots_out.under_way.retain(|to| *to != id);
        if arrived {
            self.snapshots_out.keep_until = Some(self.now + CATCH_UP);
        }
        let status = if arrived { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.parts.raft.report_snapshot(id, status);
    }

    /// Who leads no longer sends no states.
    pub(super) fn fail_snapshots_out(&mut self) {
        self.snapshots_out.wanted.clear();
        self.snapshots_out.place = None;
    }

    /// Takes over who the members are: who carries our words must know the others.
    pub(crate) fn introduce(&self) {
        let me = self.parts.who.member_id;
        let learns = self.parts.state.views().members.is_learner(state::MemberId(me));
        self.parts.standing.learner.set(learns);
        let Some(others) = self.parts.others.get() else { return };
        let views = &self.parts.state.views().members;
        let members = views.list().into_iter();
        let mut peers: Vec<_> =
            members.map(|member| Peer { id: member.id.0, urls: member.peer_urls }).collect();
        // Who joins must be able to answer a leader of whom his log tells only later.
        for remote in &self.parts.remotes {
            let told = peers.iter().any(|peer| peer.id == remote.id);
            if !told && !views.is_removed(state::MemberId(remote.id)) {
                peers.push(remote.clone());
            }
        }
        peers.retain(|peer| peer.id != me);
        others.set(peers);
    }
}
