//! `meta/storageVersion`: which etcd's fields may be in the file. It follows the cluster's
//! version, not the binary's: 3.5 had no such field, 3.6 brought it, 3.7 added nothing.

use bytes::Bytes;
use mvcc::Bucket;

use super::{Record, names, text};
use crate::{Error, Version};

/// The newest schema that this binary knows.
pub(crate) const NEWEST: Version = Version::new(3, 7);
/// The schema that brought the field.
const FIRST_WITH_FIELD: Version = Version::new(3, 6);
/// What a file without the field is, when it has a `term`.
const WITHOUT_FIELD: Version = Version::new(3, 5);

/// Reads the field; as in etcd, a text that is no version counts as none.
pub(crate) fn read_storage_version(value: &[u8]) -> Option<Version> {
    text(value)?.parse().ok()
}

/// What the file is: `None` for one older than 3.5, or one that was never committed to.
pub(crate) fn stored_version(field: Option<Version>, has_term: bool) -> Option<Version> {
    field.or(has_term.then_some(WITHOUT_FIELD))
}

/// Refuses a file that a newer (or unheard-of) etcd wrote.
pub(crate) fn check_supported(stored: Version) -> Result<(), Error> {
    let stored = stored.to_minor();
    if (WITHOUT_FIELD..=NEWEST).contains(&stored) {
        return Ok(());
    }
    Err(Error::SchemaUnsupported { found: stored.to_string(), newest: NEWEST })
}

/// Refuses a cluster that agreed on a version which this binary is too old for.
pub(crate) fn check_cluster_version(cluster: Version) -> Result<(), Error> {
    if cluster <= NEWEST {
        return Ok(());
    }
    Err(Error::ClusterVersionAhead { cluster, server: NEWEST })
}

/// What takes the file from one schema to another: nothing, or one record.
pub(crate) fn migrate(stored: Version, target: Version) -> Result<Option<Record>, Error> {
    check_supported(stored)?;
    check_supported(target)?;
    let (stored, target) = (stored.to_minor(), target.to_minor());
    if stored == target {
        return Ok(None);
    }
    let key = Bytes::from_static(names::STORAGE_VERSION);
    Ok(Some(if target < FIRST_WITH_FIELD {
        Record::deleted(Bucket::Meta, key)
    } else {
        Record::put(Bucket::Meta, key, target.to_string())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn migrated(from: u64, to: u64) -> Option<Option<Bytes>> {
        let record = migrate(Version::new(3, from), Version::new(3, to)).expect("a known path");
        record.map(|record| record.value)
    }

    #[test]
    fn the_field_follows_the_target() {
        assert_eq!(migrated(5, 7), Some(Some(Bytes::from_static(b"3.7.0"))));
        assert_eq!(migrated(6, 7), Some(Some(Bytes::from_static(b"3.7.0"))));
        assert_eq!(migrated(7, 6), Some(Some(Bytes::from_static(b"3.6.0"))));
        assert_eq!(migrated(7, 5), Some(None));
        assert_eq!(migrated(7, 7), None);
        assert_eq!(migrated(5, 5), None);
    }

    #[test]
    fn files_of_a_newer_etcd_are_refused() {
        for found in [Version::new(3, 8), Version::new(4, 0), Version::new(3, 4)] {
            let error = check_supported(found).expect_err("unknown");
            assert!(error.to_string().starts_with("storage version"), "{error}");
        }
        assert!(check_supported(Version { patch: 9, ..NEWEST }).is_ok());
    }

    #[test]
    fn a_file_without_the_field_is_known_by_its_term() {
        assert_eq!(stored_version(None, true), Some(Version::new(3, 5)));
        assert_eq!(stored_version(None, false), None);
        assert_eq!(stored_version(read_storage_version(b"3.6.0"), true), Some(Version::new(3, 6)));
        assert_eq!(read_storage_version(b""), None);
    }
}
