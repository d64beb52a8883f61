//! What lies in the db file beside the keys: one file per kind of record, each with its bucket,
//! its keys, its values and how they are read back.
//!
//! Nothing here reads or writes the file: a [`Record`] says what to put (or delete) where.

mod alarm;
mod auth;
mod cluster;
mod lease;
mod member;
mod meta;
mod storage_version;

use bytes::Bytes;
use mvcc::{Backend, Bucket};

use crate::Error;

pub(crate) use alarm::{alarm_deleted, alarm_put, read_alarm};
pub(crate) use auth::{
    auth_enabled, auth_revision, read_auth_enabled, read_auth_revision, read_role, read_user,
    role_deleted, role_put, user_deleted, user_put,
};
pub(crate) use cluster::{cluster_version, downgrade, read_cluster_version, read_downgrade};
pub(crate) use lease::{lease_deleted, lease_put, read_lease};
pub(crate) use member::{member_deleted, member_put, member_removed, read_member, read_removed};
pub(crate) use meta::{conf_state, consistent_index, read_conf_state, read_u64, term};
pub use meta::{conf_state_from_json, conf_state_to_json};
pub(crate) use storage_version::{
    check_cluster_version, check_supported, migrate, read_storage_version, stored_version,
};

/// The fixed keys.
pub(crate) mod names {
    pub(crate) const CONSISTENT_INDEX: &[u8] = b"consistent_index";
    pub(crate) const TERM: &[u8] = b"term";
    pub(crate) const CONF_STATE: &[u8] = b"confState";
    pub(crate) const STORAGE_VERSION: &[u8] = b"storageVersion";
    pub(crate) const CLUSTER_VERSION: &[u8] = b"clusterVersion";
    pub(crate) const DOWNGRADE: &[u8] = b"downgrade";
    pub(crate) const AUTH_ENABLED: &[u8] = b"authEnabled";
    pub(crate) const AUTH_REVISION: &[u8] = b"authRevision";
}

/// One change of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Where.
    pub(crate) bucket: Bucket,
    /// The record's key.
    pub(crate) key: Bytes,
    /// Its new value; `None` deletes it.
    pub(crate) value: Option<Bytes>,
}

impl Record {
    /// Makes the change; it is visible at once and on disk with the next commit.
    pub(crate) fn write(self, backend: &Backend) {
        match self.value {
            Some(value) => backend.put(self.bucket, self.key, value),
            None => backend.delete(self.bucket, self.key),
        }
    }

    fn put(bucket: Bucket, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self { bucket, key: key.into(), value: Some(value.into()) }
    }

    fn deleted(bucket: Bucket, key: impl Into<Bytes>) -> Self {
        Self { bucket, key: key.into(), value: None }
    }
}

fn unreadable(bucket: Bucket, key: &[u8], reason: impl ToString) -> Error {
    Error::Record { bucket, what: key.escape_ascii().to_string(), reason: reason.to_string() }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
