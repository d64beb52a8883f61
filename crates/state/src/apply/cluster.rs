use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::{AlarmMember, AlarmRequest, AlarmType};
use proto::membershippb::{ClusterMemberAttrSetRequest, DowngradeInfoSetRequest};
use proto::raftpb::{ConfChange, ConfChangeType};

use super::{Done, Effect};
use crate::members::{Attributes, ChangeError, ChangeKind, Downgrade, MemberChange};
use crate::reply::Reply;
use crate::{EntryId, Error, MemberId, Rejected, State, Version, schema};

/// What came of a conf change entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfChanged {
    /// The members changed. Let raft take the change, and give its new configuration to
    /// [`State::set_conf_state`].
    Accepted(MemberChange),
    /// It did not fit the members: let raft take a change of node 0, which changes nothing and
    /// lets it accept the next one.
    Rejected(Rejected),
    /// It was applied before; raft was started with what came of it.
    Old,
}

impl State {
    /// Applies a conf change to the members. After an error the state must not be used.
    pub fn apply_conf_change(
        &mut self,
        at: EntryId,
        change: &ConfChange,
    ) -> Result<ConfChanged, Error> {
        if !self.is_next(at) {
            return Ok(ConfChanged::Old);
        }
        let malformed = |reason: String| Error::Entry { index: at.index, reason };
        let kind = kind_of(change).ok_or_else(|| {
            malformed(format!("conf change of unknown type {}", change.r#type.unwrap_or_default()))
        })?;
        let id = MemberId(change.node_id());
        let members = self.views.members.read();
        let checked = members.check_change(kind, id, change.context(), self.options.max_learners);
        drop(members);
        let changed = match checked {
            Ok(change) => {
                self.change_members(id, &change);
                ConfChanged::Accepted(change)
            }
            Err(ChangeError::Rejected(rejected)) => ConfChanged::Rejected(rejected),
            Err(ChangeError::Malformed(reason)) => {
                return Err(malformed(format!("conf change of {id}: {reason}")));
            }
        };
        self.applied = at;
        Ok(changed)
    }

    fn change_members(&self, id: MemberId, change: &MemberChange) {
        let member = self.views.members.write().apply_change(change);
        match member {
            Some(member) => self.write([schema::member_put(&member)]),
            None => self.write([schema::member_deleted(id), schema::member_removed(id)]),
        }
    }

    pub(super) fn set_member_attributes(
        &mut self,
        at: EntryId,
        set: &ClusterMemberAttrSetRequest,
    ) -> Result<Done, Error> {
        let id = MemberId(set.member_id);
        let published = set.member_attributes.clone().unwrap_or_default();
        let attributes = Attributes { name: published.name, client_urls: published.client_urls };
        let mut members = self.views.members.write();
        let Some(member) = members.set_attributes(id, attributes) else {
            if members.is_removed(id) {
                tracing::warn!(member = %id, "skipped attributes update of removed member");
                return Ok(Reply::Nothing.into());
            }
            let reason = format!("attributes of unknown member {id}");
            return Err(Error::Entry { index: at.index, reason });
        };
        drop(members);
        self.write([schema::member_put(&member)]);
        Ok(Done::new(Reply::Nothing, Effect::MemberPublished(id)))
    }

    pub(super) fn set_cluster_version(&mut self, at: EntryId, text: &str) -> Result<Done, Error> {
        let now: Version = text.parse().map_err(|error: crate::VersionError| Error::Entry {
            index: at.index,
            reason: format!("cluster version: {error}"),
        })?;
        schema::check_cluster_version(now)?;
        let before = self.views.members.write().set_cluster_version(now);
        self.write([schema::cluster_version(now)]);
        // A file without a storage version has at least the fields of 3.5 from its first commit.
        let stored = schema::stored_version(self.storage_version, at.term > 0);
        self.storage_version = stored;
        self.raise_storage_version()?;
        Ok(Done::new(Reply::Nothing, Effect::ClusterVersion { before, now }))
    }

    /// A target that is no version is not for this machine, nor for etcd, which does not start
    /// again on what it made of it.
    pub(super) fn set_downgrade(
        &mut self,
        at: EntryId,
        set: &DowngradeInfoSetRequest,
    ) -> Result<Done, Error> {
        if set.enabled {
            set.ver.parse::<Version>().map_err(|error| Error::Entry {
                index: at.index,
                reason: format!("downgrade target: {error}"),
            })?;
        }
        let target_version = if set.enabled { set.ver.clone() } else { String::new() };
        let downgrade = Downgrade { target_version, enabled: set.enabled };
        self.write([schema::downgrade(&downgrade)]);
        self.views.members.write().set_downgrade(downgrade);
        Ok(Done::new(Reply::Nothing, Effect::DowngradeChanged))
    }

    pub(super) fn alarm(&mut self, request: AlarmRequest) -> Done {
        let alarm = AlarmMember { member_id: request.member_id, alarm: request.alarm };
        let changed = |alarm| Done::new(Reply::Alarm(vec![alarm]), Effect::AlarmsChanged);
        match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => Reply::Alarm(self.views.alarms.read().get(alarm.alarm)).into(),
            Ok(AlarmAction::Activate) if alarm.alarm != AlarmType::None as i32 => {
                if self.views.alarms.write().activate(alarm) {
                    self.write([schema::alarm_put(&alarm)]);
                }
                changed(alarm)
            }
            Ok(AlarmAction::Deactivate) if self.views.alarms.write().deactivate(alarm) => {
                self.write([schema::alarm_deleted(&alarm)]);
                changed(alarm)
            }
            _ => Reply::Alarm(Vec::new()).into(),
        }
    }
}

fn kind_of(change: &ConfChange) -> Option<ChangeKind> {
    Some(match ConfChangeType::try_from(change.r#type.unwrap_or_default()).ok()? {
        ConfChangeType::ConfChangeAddNode => ChangeKind::AddNode,
        ConfChangeType::ConfChangeRemoveNode => ChangeKind::RemoveNode,
        ConfChangeType::ConfChangeUpdateNode => ChangeKind::UpdateNode,
        ConfChangeType::ConfChangeAddLearnerNode => ChangeKind::AddLearnerNode,
    })
}
