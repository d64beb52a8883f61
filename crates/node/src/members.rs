//! Changes of the members: what may be asked for, and how.

use std::time::Duration;

use bytes::Bytes;
use proto::etcdserverpb::Member as MemberPb;
use raft::{ConfChange, ConfChangeKind, ConfChangeSingle, NodeId};
use state::{ConfChangeContext, Member, MemberChange, MemberId};
use tokio::sync::oneshot;

use crate::peers::AskError;
use crate::queue::Order;
use crate::wire::Payload;
use crate::{Error, Node, metrics};

/// For how long others must have been heard for the members to be changed.
const HEALTHY: Duration = Duration::from_secs(5);
/// How much of the leader's log a learner must have to be promoted.
const READY: f64 = 0.9;
/// Between two tries to reach the leader.
const RETRY: Duration = Duration::from_millis(50);
/// How long a removal waits for the member that leads to be replaced.
const HAND_OVER: Duration = Duration::from_millis(500);

/// A change of the members, as raft takes it.
pub(crate) fn add(id: u64, member: &Member) -> ConfChange<Payload> {
    let kind = match member.is_learner {
        true => ConfChangeKind::AddLearnerNode,
        false => ConfChangeKind::AddNode,
    };
    let context = ConfChangeContext { member: member.clone(), is_promote: false };
    change(id, kind, member.id, Some(context.to_json()))
}

pub(crate) fn promote(id: u64, member: MemberId) -> ConfChange<Payload> {
    let member = Member { id: member, ..Member::default() };
    let context = ConfChangeContext { member, is_promote: true };
    change(id, ConfChangeKind::AddNode, context.member.id, Some(context.to_json()))
}

pub(crate) fn remove(id: u64, member: MemberId) -> ConfChange<Payload> {
    change(id, ConfChangeKind::RemoveNode, member, None)
}

pub(crate) fn update(id: u64, member: &Member) -> ConfChange<Payload> {
    change(id, ConfChangeKind::UpdateNode, member.id, Some(member.to_json()))
}

/// Any of them.
pub(crate) fn of_change(id: u64, change: &MemberChange) -> ConfChange<Payload> {
    match change {
        MemberChange::Add(member) => add(id, member),
        MemberChange::Promote(member) => promote(id, *member),
        MemberChange::Remove(member) => remove(id, *member),
        MemberChange::Update(member, urls) => {
            update(id, &Member { id: *member, peer_urls: urls.clone(), ..Member::default() })
        }
    }
}

fn change(
    id: u64,
    kind: ConfChangeKind,
    member: MemberId,
    context: Option<Vec<u8>>,
) -> ConfChange<Payload> {
    let change = ConfChangeSingle::new(kind, NodeId::new(member.0));
    let context = context.map(|context| Payload::from(Bytes::from(context)));
    ConfChange::V1 { id, change, context }
}

impl Node {
    /// Adds a member that is reached at these URLs: what it is then, and all members.
    pub async fn add_member(
        &self,
        peer_urls: &[String],
        is_learner: bool,
    ) -> Result<(MemberPb, Vec<MemberPb>), Error> {
        let mut urls = peer_urls.to_vec();
        urls.sort();
        let now = i64::try_from(self.wall_clock().as_secs()).unwrap_or(i64::MAX);
        let id = state::member_id(&urls, "", Some(now));
        let member = Member { id, peer_urls: urls, is_learner, ..Member::default() };
        self.check_add(&member)?;
        let members = self.configure(|id| add(id, &member)).await?;
        Ok((MemberPb::from(&member), members))
    }

    /// Removes a member, for ever.
    pub async fn remove_member(&self, id: u64) -> Result<Vec<MemberPb>, Error> {
        self.check_remove(MemberId(id))?;
        self.unseat(id).await;
        self.configure(|change| remove(change, MemberId(id))).await
    }

    /// Says where a member is reached from now on.
    pub async fn update_member(
        &self,
        id: u64,
        peer_urls: &[String],
    ) -> Result<Vec<MemberPb>, Error> {
        let peer_urls = peer_urls.to_vec();
        let member = Member { id: MemberId(id), peer_urls, ..Member::default() };
        self.configure(|change| update(change, &member)).await
    }

    /// Gives a learner a vote. Only the leader knows whether it is ready for that: others ask it,
    /// and show it the token of who asks them.
    pub async fn promote_member(
        &self,
        id: u64,
        token: Option<Bytes>,
    ) -> Result<Vec<MemberPb>, Error> {
        match self.promote_member_here(id).await {
            Ok(members) => {
                metrics::LEARNERS_PROMOTED.inc();
                return Ok(members);
            }
            Err(Error::NotLeader) => {}
            Err(error) => {
                let text = error.to_string();
                metrics::PROMOTIONS_REFUSED.with_label_values(&[text.as_str()]).inc();
                return Err(error);
            }
        }
        let forwarded = async {
            loop {
                let leader = self.wait_leader().await?;
                let Some(others) = self.shared.others.get() else { return Err(Error::NoLeader) };
                match others.promote(leader, id, token.clone()).await {
                    Ok(members) => return Ok(members),
                    Err(AskError::NotFound) => {
                        return Err(Error::Rejected(state::Rejected::MemberNotFound));
                    }
                    Err(AskError::Refused(text)) => return Err(refused_promotion(&text)),
                    Err(AskError::Timeout | AskError::Unreachable(_)) => {
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        };
        self.within_request_timeout(forwarded).await
    }

    /// As [`Node::promote_member`], of the leader itself.
    pub async fn promote_member_here(&self, id: u64) -> Result<Vec<MemberPb>, Error> {
        self.check_promote(MemberId(id))?;
        self.configure(|change| promote(change, MemberId(id))).await
    }

    /// All members, as agreed on by now.
    pub async fn members_linearizable(&self) -> Result<Vec<MemberPb>, Error> {
        self.read_barrier().await?;
        Ok(self.members())
    }

    /// Hands the lead over to a voter; returns when it leads.
    pub async fn move_leader(&self, to: u64) -> Result<(), Error> {
        if !self.is_leader() {
            return Err(Error::NotLeader);
        }
        let voter = self.shared.views().members.member(MemberId(to));
        let voter = voter.filter(|member| !member.is_learner);
        let (Some(_), Some(id)) = (voter, NodeId::new(to)) else {
            return Err(Error::BadTransferee);
        };
        let (me, begun) = (MemberId(self.shared.member_id).to_string(), self.now());
        let transferee = MemberId(to).to_string();
        tracing::info!(
            "local-member-id" = me,
            "current-leader-member-id" = me,
            "transferee-member-id" = transferee,
            "leadership transfer starting"
        );
        let mut leaders = self.shared.standing.leaders();
        self.shared.queue.order(Order::Transfer(id));
        self.shared.wake();
        let moved = leaders.wait_for(|leader| *leader == to);
        match tokio::time::timeout(self.shared.limits.request_timeout, moved).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Err(Error::Stopped),
            Err(_) => return Err(Error::TransferTimeout),
        }
        tracing::info!(
            "local-member-id" = me,
            "old-leader-member-id" = me,
            "new-leader-member-id" = transferee,
            took = ?self.now().saturating_sub(begun),
            "leadership transfer finished"
        );
        Ok(())
    }

    /// Sees to it that somebody else leads, if that can be done soon. A leader that removes itself
    /// leaves the others to wait for an election timeout; and of two voters the other one for
    /// ever, if it is cut off before that one knows.
    async fn unseat(&self, id: u64) {
        let mut leaders = self.shared.standing.leaders();
        if *leaders.borrow() != id {
            return;
        }
        let (me, learns) = (self.shared.member_id, self.is_learner());
        let heir = if id == me || learns { self.longest_connected() } else { Some(me) };
        let Some(heir) = heir.filter(|heir| *heir != id).and_then(NodeId::new) else { return };
        self.shared.queue.order(Order::Transfer(heir));
        self.shared.wake();
        let moved = leaders.wait_for(|leader| *leader != id && *leader != 0);
        // Without it, the removal does as well.
        let _ = tokio::time::timeout(HAND_OVER, moved).await;
    }

    /// The voter that has been heard the longest.
    pub(crate) fn longest_connected(&self) -> Option<u64> {
        let others = self.shared.others.get()?;
        let voters = self.shared.views().members.list();
        let voters = voters.iter().filter(|it| !it.is_learner && it.id.0 != self.shared.member_id);
        let heard = voters.filter_map(|it| Some((others.active_for(it.id.0)?, it.id.0)));
        heard.max().map(|(_, id)| id)
    }

    /// Who leads, once somebody does.
    pub(crate) async fn wait_leader(&self) -> Result<u64, Error> {
        let mut leaders = self.shared.standing.leaders();
        let leader = leaders.wait_for(|leader| *leader != 0).await;
        leader.map(|leader| *leader).map_err(|_| Error::Stopped)
    }

    pub(crate) async fn within_request_timeout<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::time::timeout(self.shared.limits.request_timeout, work)
            .await
            .unwrap_or(Err(Error::Timeout))
    }

    /// Sends a change through the log; answered with all members when it is applied.
    async fn configure(
        &self,
        change: impl FnOnce(u64) -> ConfChange<Payload>,
    ) -> Result<Vec<MemberPb>, Error> {
        if self.shared.standing.stopped.is_up() {
            return Err(Error::Stopped);
        }
        let applied = async {
            // Before a leader has applied all that it had when it was elected, it takes a change
            // for nothing and tells nobody. It answers reads only then, too.
            self.read_barrier().await?;
            let id = self.shared.ids.next();
            let (answer, outcome) = oneshot::channel();
            self.shared.queue.order(Order::Change { id, change: change(id), answer });
            self.shared.wake();
            outcome.await.unwrap_or(Err(Error::Stopped))
        };
        self.within_request_timeout(applied).await?;
        Ok(self.members())
    }

    fn check_add(&self, member: &Member) -> Result<(), Error> {
        if !self.shared.limits.strict_reconfig {
            return Ok(());
        }
        let roster = self.shared.views().members.roster();
        let refuse = |error: Error, text: &str| {
            let id = MemberId(self.shared.member_id).to_string();
            let (error_text, member) = (error.to_string(), format!("{member:?}"));
            tracing::warn!(
                "local-member-id" = id,
                "requested-member-add" = member,
                error = error_text,
                "{text}"
            );
            Err(error)
        };
        if !member.is_learner && !roster.may_add_voter() {
            let text = "rejecting member add request; not enough healthy members";
            return refuse(Error::NotEnoughStarted, text);
        }
        let voters = roster.voters().count();
        if voters > 1 && self.connected() < quorum(voters + 1) {
            return refuse(
                Error::Unhealthy,
                "rejecting member add request; local member has not been connected to majority \
                 peers, reconfigure breaks active quorum",
            );
        }
        Ok(())
    }

    fn check_remove(&self, id: MemberId) -> Result<(), Error> {
        let roster = self.shared.views().members.roster();
        let is_learner = roster.member(id).is_some_and(|member| member.is_learner);
        if !self.shared.limits.strict_reconfig || is_learner {
            return Ok(());
        }
        let refuse = |error: Error, text: &str| {
            let me = MemberId(self.shared.member_id).to_string();
            let (error_text, member) = (error.to_string(), id.to_string());
            tracing::warn!(
                "local-member-id" = me,
                "requested-member-remove" = member,
                error = error_text,
                "{text}"
            );
            Err(error)
        };
        if !roster.may_remove_voter(id) {
            let text = "rejecting member remove request; not enough healthy members";
            return refuse(Error::NotEnoughStarted, text);
        }
        // One that is down is no part of the quorum that there is.
        let heard = self.shared.others.get().and_then(|others| others.active_for(id.0));
        if id.0 != self.shared.member_id && heard.is_none() {
            return Ok(());
        }
        if self.connected() < 2 + (roster.voters().count() - 1) / 2 {
            return refuse(
                Error::Unhealthy,
                "rejecting member remove request; local member has not been connected to all \
                 peers, reconfigure breaks active quorum",
            );
        }
        Ok(())
    }

    fn check_promote(&self, id: MemberId) -> Result<(), Error> {
        let (learner, own) = {
            let drive = self.shared.drive();
            let status = drive.status();
            if status.soft_state.role != raft::StateRole::Leader {
                return Err(Error::NotLeader);
            }
            let matched = |id: u64| {
                let found = status.progress.iter().find(|(member, _)| member.get() == id);
                found.map(|(_, progress)| progress.matched().0)
            };
            (matched(id.0), matched(self.shared.member_id).unwrap_or_default())
        };
        let Some(learner) = learner else {
            return Err(Error::Rejected(state::Rejected::MemberNotFound));
        };
        let percent = learner as f64 / own.max(1) as f64;
        if percent < READY {
            tracing::error!(
                "learner-ready-percent" = percent,
                "ready-percent-threshold" = READY,
                "rejecting promote learner: learner is not ready"
            );
            return Err(Error::LearnerNotReady);
        }
        let roster = self.shared.views().members.roster();
        if self.shared.limits.strict_reconfig && !roster.may_promote() {
            return Err(Error::NotEnoughStarted);
        }
        Ok(())
    }

    /// How many voters have been heard for long enough, with this member.
    fn connected(&self) -> usize {
        let heard = |id: u64| {
            let others = self.shared.others.get();
            others.and_then(|others| others.active_for(id)).is_some_and(|time| time >= HEALTHY)
        };
        let members = self.shared.views().members.list();
        let voters = members.iter().filter(|member| !member.is_learner);
        voters.filter(|it| it.id.0 == self.shared.member_id || heard(it.id.0)).count()
    }
}

fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

/// What the leader says of a promotion, in its words.
fn refused_promotion(text: &str) -> Error {
    if text.contains("can only promote a learner member which is in sync with leader") {
        Error::LearnerNotReady
    } else if text.contains("can only promote a learner member") {
        Error::Rejected(state::Rejected::MemberNotLearner)
    } else {
        let refused = [state::Rejected::PermissionDenied, state::Rejected::UserEmpty]
            .map(Error::Rejected)
            .into_iter()
            .chain([Error::InvalidAuthToken])
            .find(|known| text.contains(&known.to_string()));
        refused.unwrap_or_else(|| Error::Refused(text.to_owned()))
    }
}
