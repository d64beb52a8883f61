//! Bucket `cluster`: the version all members agreed on, and whether they go back to an older one.

use bytes::Bytes;
use mvcc::Bucket;

use super::{Record, names, text, unreadable};
use crate::members::Downgrade;
use crate::{Error, Version};

pub(crate) fn cluster_version(version: Version) -> Record {
    let key = Bytes::from_static(names::CLUSTER_VERSION);
    Record::put(Bucket::Cluster, key, version.to_string())
}

pub(crate) fn downgrade(downgrade: &Downgrade) -> Record {
    Record::put(Bucket::Cluster, Bytes::from_static(names::DOWNGRADE), downgrade.to_json())
}

pub(crate) fn read_cluster_version(value: &[u8]) -> Result<Version, Error> {
    let parsed = text(value).and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| unreadable(Bucket::Cluster, names::CLUSTER_VERSION, "not a version"))
}

pub(crate) fn read_downgrade(value: &[u8]) -> Result<Downgrade, Error> {
    let bad = |reason: String| unreadable(Bucket::Cluster, names::DOWNGRADE, reason);
    let downgrade: Downgrade =
        serde_json::from_slice(value).map_err(|error| bad(error.to_string()))?;
    if downgrade.enabled && downgrade.target_version.parse::<Version>().is_err() {
        return Err(bad(format!("target {:?} is not a version", downgrade.target_version)));
    }
    Ok(downgrade)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_text() {
        let record = cluster_version(Version::new(3, 7));
        assert_eq!(record.value, Some(Bytes::from_static(b"3.7.0")));
        assert_eq!(read_cluster_version(b"3.7.0").expect("a version"), Version::new(3, 7));
        assert!(read_cluster_version(b"three").is_err());
    }

    #[test]
    fn a_downgrade_needs_a_target() {
        let on = br#"{"target-version":"3.6.0","enabled":true}"#;
        let read = read_downgrade(on).expect("a downgrade");
        assert!(read.enabled);
        assert_eq!(downgrade(&read).value, Some(Bytes::from_static(on)));
        assert!(read_downgrade(br#"{"target-version":"","enabled":true}"#).is_err());
        assert!(read_downgrade(br#"{"enabled":false}"#).is_ok());
    }
}
