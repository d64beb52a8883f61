//! Passwords in the clear, as etcd before 3.5 wrote them into its log.

use bcrypt::Version;
use bytes::Bytes;
use sha1::{Digest as _, Sha1};

use crate::EntryId;
use crate::members::Roster;

/// What Go's bcrypt takes where nothing else is said.
const COST: u32 = 10;

/// What bcrypt reads of a password.
const LIMIT_BYTES: usize = 72;

/// Makes two hashes of one password differ.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Salt(pub(crate) [u8; 16]);

impl Salt {
    /// The salt for what an entry brings. etcd's members each draw one of their own, and then
    /// store different hashes. This one is the same on all members, and another one for every
    /// entry of every cluster, which is all that a salt has to be.
    pub(crate) fn of(at: EntryId, members: &Roster) -> Self {
        let mut digest = Sha1::new();
        digest.update(b"password in the clear");
        digest.update(at.index.to_be_bytes());
        digest.update(at.term.to_be_bytes());
        for member in members.members() {
            digest.update(member.id.0.to_be_bytes());
        }
        let digest = digest.finalize();
        Self(std::array::from_fn(|at| digest.get(at).copied().unwrap_or_default()))
    }
}

/// The hash of a password; `None` where it is longer than bcrypt reads, which Go refuses.
pub(super) fn hash(password: &str, salt: Salt) -> Option<Bytes> {
    if password.len() > LIMIT_BYTES {
        return None;
    }
    let parts = bcrypt::hash_with_salt(password, COST, salt.0).ok()?;
    Some(parts.format_for_version(Version::TwoA).into())
}
