//! Buckets `auth` (on or off, revision), `authUsers` and `authRoles` (name to record).

use bytes::Bytes;
use mvcc::Bucket;
use proto::Message;
use proto::authpb::{Role, User};

use super::{Record, names, read_u64, unreadable};
use crate::Error;

pub(crate) fn auth_enabled(enabled: bool) -> Record {
    let value = Bytes::from_static(if enabled { &[1] } else { &[0] });
    Record::put(Bucket::Auth, Bytes::from_static(names::AUTH_ENABLED), value)
}

pub(crate) fn auth_revision(revision: u64) -> Record {
    let value = Bytes::copy_from_slice(&revision.to_be_bytes());
    Record::put(Bucket::Auth, Bytes::from_static(names::AUTH_REVISION), value)
}

pub(crate) fn user_put(user: &User) -> Record {
    Record::put(Bucket::AuthUsers, user.name.clone(), user.encode_to_vec())
}

pub(crate) fn user_deleted(name: &str) -> Record {
    Record::deleted(Bucket::AuthUsers, name.to_owned())
}

pub(crate) fn role_put(role: &Role) -> Record {
    Record::put(Bucket::AuthRoles, role.name.clone(), role.encode_to_vec())
}

pub(crate) fn role_deleted(name: &str) -> Record {
    Record::deleted(Bucket::AuthRoles, name.to_owned())
}

/// Anything but the byte 1 is "off", as in etcd.
pub(crate) fn read_auth_enabled(value: &[u8]) -> bool {
    value == [1]
}

pub(crate) fn read_auth_revision(value: &[u8]) -> Result<u64, Error> {
    read_u64(Bucket::Auth, names::AUTH_REVISION, value)
}

pub(crate) fn read_user(key: &[u8], value: &[u8]) -> Result<User, Error> {
    User::decode(value).map_err(|error| unreadable(Bucket::AuthUsers, key, error))
}

pub(crate) fn read_role(key: &[u8], value: &[u8]) -> Result<Role, Error> {
    Role::decode(value).map_err(|error| unreadable(Bucket::AuthRoles, key, error))
}

#[cfg(test)]
mod tests {
    use proto::authpb::{Permission, UserAddOptions};

    use super::*;

    #[test]
    fn users_and_roles_are_stored_as_etcd_does() {
        let user = User {
            name: Bytes::from_static(b"bob"),
            roles: vec!["r1".into()],
            options: Some(UserAddOptions { no_password: true }),
            ..User::default()
        };
        let record = user_put(&user);
        let value = record.value.expect("a put");
        assert_eq!(value.as_ref(), b"\x0a\x03bob\x1a\x02r1\x22\x02\x08\x01");
        assert_eq!(read_user(&record.key, &value).expect("own bytes"), user);
        let permission = Permission {
            perm_type: 2,
            key: Bytes::from_static(b"foo"),
            range_end: Bytes::from_static(b"zoo"),
        };
        let role = Role { name: Bytes::from_static(b"r1"), key_permission: vec![permission] };
        let value = role_put(&role).value.expect("a put");
        assert_eq!(value.as_ref(), b"\x0a\x02r1\x12\x0c\x08\x02\x12\x03foo\x1a\x03zoo");
        assert_eq!(read_role(b"r1", &value).expect("own bytes"), role);
        assert_eq!(user_deleted("bob").key, record.key);
        assert_eq!(role_deleted("r1").key.as_ref(), b"r1");
    }

    #[test]
    fn default_options_are_an_empty_message() {
        let user = User { options: Some(UserAddOptions::default()), ..User::default() };
        assert_eq!(user_put(&user).value, Some(Bytes::from_static(b"\x22\x00")));
    }

    #[test]
    fn only_one_is_on() {
        assert!(read_auth_enabled(&[1]));
        for off in [&[][..], &[0], &[2], &[1, 0]] {
            assert!(!read_auth_enabled(off));
        }
        assert_eq!(auth_enabled(true).value, Some(Bytes::from_static(&[1])));
        let revision = auth_revision(13).value.expect("a put");
        assert_eq!(read_auth_revision(&revision).expect("own bytes"), 13);
    }
}
