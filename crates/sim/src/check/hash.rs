//! Members that have the same revisions have the same hash.

use std::collections::BTreeMap;

use super::{Broken, Rule, ensure};

/// What a member says that its keys come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberHash {
    /// Who says so.
    pub member: u64,
    /// Up to which revision.
    pub revision: i64,
    /// What was compacted away when it was taken.
    pub compact_revision: i64,
    /// The hash.
    pub hash: u32,
}

/// Compares all hashes of the same revisions.
pub fn check_hashes(hashes: &[MemberHash]) -> Result<(), Broken> {
    let mut known: BTreeMap<(i64, i64), &MemberHash> = BTreeMap::new();
    for hash in hashes {
        let first = *known.entry((hash.revision, hash.compact_revision)).or_insert(hash);
        ensure(first.hash == hash.hash, Rule::HashEqual, || format!("{first:?} and {hash:?}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: MemberHash = MemberHash { member: 1, revision: 9, compact_revision: 3, hash: 77 };

    #[test]
    fn equal_hashes_are_right_and_others_are_not() {
        check_hashes(&[FIRST, MemberHash { member: 2, ..FIRST }]).expect("they are equal");
        let other = MemberHash { member: 2, hash: 78, ..FIRST };
        let broken = check_hashes(&[FIRST, other]).expect_err("they differ");
        assert_eq!(broken.rule, Rule::HashEqual);
    }

    #[test]
    fn hashes_of_other_revisions_say_nothing() {
        let elsewhere = MemberHash { revision: 10, hash: 78, ..FIRST };
        let compacted = MemberHash { compact_revision: 4, hash: 79, ..FIRST };
        check_hashes(&[FIRST, elsewhere, compacted]).expect("nothing to compare");
    }
}
