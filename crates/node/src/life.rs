//! The lines that tell of a member's life, in the words that people know from etcd's log.

use std::path::Path;
use std::time::Duration;

use proto::etcdserverpb::InternalRaftRequest;
use state::{Member, MemberChange, MemberId, Version};

use crate::compactor::AutoCompaction;
use crate::humane_bytes;
use crate::versions::short;

/// Who it is whose life it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who {
    pub(crate) cluster_id: u64,
    pub(crate) member_id: u64,
}

impl Who {
    fn member(self) -> String {
        MemberId(self.member_id).to_string()
    }

    fn cluster(self) -> String {
        format!("{:x}", self.cluster_id)
    }

    /// It begins, or goes on from what the log says was committed.
    pub(crate) fn starts(self, commit: Option<u64>) {
        let (me, cluster) = (self.member(), self.cluster());
        match commit {
            None => tracing::info!(
                "local-member-id" = me,
                "cluster-id" = cluster,
                "starting local member"
            ),
            Some(commit) => tracing::info!(
                "cluster-id" = cluster,
                "local-member-id" = me,
                "commit-index" = commit,
                "restarting local member"
            ),
        }
    }

    /// All is read; the version is the one that the members had agreed on.
    pub(crate) fn runs(self, agreed: Option<Version>) {
        let (me, server) = (self.member(), crate::SERVER_VERSION);
        match agreed {
            None => tracing::info!(
                "local-member-id" = me,
                "local-server-version" = server,
                "cluster-version" = "to_be_decided",
                "starting etcd server"
            ),
            Some(agreed) => tracing::info!(
                "local-member-id" = me,
                "local-server-version" = server,
                "cluster-id" = self.cluster(),
                "cluster-version" = short(agreed),
                "starting etcd server"
            ),
        }
    }

    /// Somebody leads; under the name of the part that etcd has it from.
    pub(crate) fn elected(self, leader: u64, term: u64) {
        let (me, leader) = (self.member(), MemberId(leader).to_string());
        if me == leader {
            tracing::info!(target: "raft", "{me} became leader at term {term}");
        }
        tracing::info!(target: "raft", "raft.node: {me} elected leader {leader} at term {term}");
    }

    /// The members changed.
    pub(crate) fn members_changed(self, change: &MemberChange) {
        let (me, cluster) = (self.member(), self.cluster());
        match change {
            MemberChange::Add(Member { id, peer_urls, is_learner, .. }) => tracing::info!(
                "cluster-id" = cluster,
                "local-member-id" = me,
                "added-peer-id" = %id,
                "added-peer-peer-urls" = ?peer_urls,
                "added-peer-is-learner" = is_learner,
                "added member"
            ),
            MemberChange::Remove(id) => tracing::info!(
                "cluster-id" = cluster,
                "local-member-id" = me,
                "removed-remote-peer-id" = %id,
                "removed member"
            ),
            MemberChange::Promote(id) => tracing::info!(
                "cluster-id" = cluster,
                "local-member-id" = me,
                "promoted-member-id" = %id,
                "promote member"
            ),
            MemberChange::Update(id, peer_urls) => tracing::info!(
                "cluster-id" = cluster,
                "local-member-id" = me,
                "updated-remote-peer-id" = %id,
                "updated-remote-peer-urls" = ?peer_urls,
                "updated member"
            ),
        }
    }

    /// The members agreed on another version.
    pub(crate) fn version_agreed(self, before: Option<Version>, now: Version) {
        let (me, cluster, now) = (self.member(), self.cluster(), short(now));
        match before.map(short) {
            None => tracing::info!(
                "cluster-id" = cluster,
                "local-member-id" = me,
                "cluster-version" = now,
                "set initial cluster version"
            ),
            Some(before) => tracing::info!(
                "cluster-id" = cluster,
                "local-member-id" = me,
                from = before,
                to = now,
                "updated cluster version"
            ),
        }
        tracing::info!("cluster-version" = now, "enabled capabilities for version");
    }

    /// The members know this one's name and addresses now.
    pub(crate) fn published(self, name: &str, client_urls: &[String], timeout: Duration) {
        let attributes = format!("{{Name:{name} ClientURLs:[{}]}}", client_urls.join(" "));
        tracing::info!(
            "local-member-id" = self.member(),
            "local-member-attributes" = attributes,
            "cluster-id" = self.cluster(),
            "publish-timeout" = ?timeout,
            "published local member to cluster through raft"
        );
    }

    /// It has nothing to hand over.
    pub(crate) fn stops_as_follower(self, leader: u64) {
        tracing::info!(
            "local-member-id" = self.member(),
            "current-leader-member-id" = %MemberId(leader),
            "skipped leadership transfer; local server is not leader"
        );
    }

    /// It stops as the leader all the same.
    pub(crate) fn leadership_stays(self, failure: &crate::Error) {
        let error = format!("etcdserver: {failure}");
        tracing::warn!("local-member-id" = self.member(), error, "leadership transfer failed");
    }

    /// Nobody is there to hand leadership to.
    pub(crate) fn stops_alone(self) {
        let me = self.member();
        tracing::info!(
            "local-member-id" = me,
            "current-leader-member-id" = me,
            "skipped leadership transfer for single voting member cluster"
        );
    }
}

/// The db file is open.
pub(crate) fn db_opened(path: &Path, took: Duration) {
    tracing::info!(path = path.display().to_string(), took = ?took, "opened backend db");
}

/// What it holds is read.
pub(crate) fn restored(consistent_index: u64, revision: i64) {
    tracing::info!(index = consistent_index, "restore consistentIndex");
    tracing::info!("current-rev" = revision, "kvstore restored");
}

/// The db file is one of another version.
pub(crate) fn storage_version_set(version: Version) {
    let version = version.to_string();
    tracing::info!("new-storage-version" = version, "updated storage version");
}

/// How much the db file may hold; what was asked for is the option's own value.
pub(crate) fn quota_set(asked: i64, limit: Option<u64>) {
    let name = "v3-applier";
    let Some(limit) = limit else {
        let bytes = asked;
        tracing::info!("quota-name" = name, "quota-size-bytes" = bytes, "disabled backend quota");
        return;
    };
    warn_of_large_quota(name, limit);
    let size = humane_bytes(limit);
    if asked == 0 {
        tracing::info!(
            "quota-name" = name,
            "quota-size-bytes" = limit,
            "quota-size" = size,
            "enabled backend quota with default value"
        );
    } else {
        tracing::info!(
            "quota-name" = name,
            "quota-size-bytes" = limit,
            "quota-size" = size,
            "enabled backend quota"
        );
    }
}

/// A member may hold more than this, but etcd's makers would not.
const LARGEST_QUOTA_BYTES: u64 = 8 << 30;

fn warn_of_large_quota(name: &str, limit: u64) {
    if limit > LARGEST_QUOTA_BYTES {
        tracing::warn!(
            "quota-name" = name,
            "quota-size-bytes" = limit,
            "quota-size" = humane_bytes(limit),
            "quota-maximum-size-bytes" = LARGEST_QUOTA_BYTES,
            "quota-maximum-size" = humane_bytes(LARGEST_QUOTA_BYTES),
            "quota exceeds the maximum value"
        );
    }
}

/// An entry was applied that there was no room for.
pub(crate) fn quota_exceeded(limit: Option<u64>) {
    let limit = limit.unwrap_or(0);
    tracing::warn!(
        "quota-size-bytes" = limit,
        "quota-size" = humane_bytes(limit),
        error = "etcdserver: no space",
        "message exceeded backend quota; raising alarm"
    );
}

/// History is about to go by itself.
pub(crate) fn compaction_begins(mode: AutoCompaction, revision: i64) {
    match mode {
        AutoCompaction::Off => {}
        AutoCompaction::Periodic(period) => tracing::info!(
            revision,
            "compact-period" = ?period,
            "starting auto periodic compaction"
        ),
        AutoCompaction::Revision(kept) => tracing::info!(
            revision,
            "revision-compaction-retention" = kept,
            "starting auto revision compaction"
        ),
    }
}

/// It is no longer to be read; dropping it goes on.
pub(crate) fn compaction_done(mode: AutoCompaction, revision: i64, took: Duration) {
    match mode {
        AutoCompaction::Off => {}
        AutoCompaction::Periodic(period) => tracing::info!(
            revision,
            "compact-period" = ?period,
            took = ?took,
            "completed auto periodic compaction"
        ),
        AutoCompaction::Revision(kept) => tracing::info!(
            revision,
            "revision-compaction-retention" = kept,
            took = ?took,
            "completed auto revision compaction"
        ),
    }
}

/// Users, roles or the switch were changed, as the request says.
pub(crate) fn auth_changed(request: &InternalRaftRequest) {
    if request.auth_enable.is_some() {
        tracing::info!("enabled authentication");
    } else if request.auth_disable.is_some() {
        tracing::info!("disabled authentication");
    } else if let Some(add) = &request.auth_user_add {
        tracing::info!("user-name" = add.name, "added a user");
    } else if let Some(delete) = &request.auth_user_delete {
        tracing::info!("user-name" = delete.name, "deleted a user");
    } else if let Some(change) = &request.auth_user_change_password {
        tracing::info!("user-name" = change.name, "changed a password of a user");
    } else if let Some(grant) = &request.auth_user_grant_role {
        let (user, role) = (&grant.user, &grant.role);
        tracing::info!("user-name" = user, "added-role-name" = role, "granted a role to a user");
    } else if let Some(revoke) = &request.auth_user_revoke_role {
        let (user, role) = (&revoke.name, &revoke.role);
        tracing::info!(
            "user-name" = user,
            "revoked-role-name" = role,
            "revoked a role from a user"
        );
    } else if let Some(add) = &request.auth_role_add {
        tracing::info!("role-name" = add.name, "created a role");
    } else if let Some(delete) = &request.auth_role_delete {
        tracing::info!("role-name" = delete.role, "deleted a role");
    } else if let Some(grant) = &request.auth_role_grant_permission {
        // Its name is the role's; etcd's line says so, too.
        tracing::info!("user-name" = grant.name, "granted/updated a permission to a user");
    } else if let Some(revoke) = &request.auth_role_revoke_permission {
        tracing::info!("role-name" = revoke.role, "revoked a permission on range");
    }
}
