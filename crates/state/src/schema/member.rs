//! Buckets `members` (id in hex to JSON) and `members_removed` (id in hex to a fixed word).

use bytes::Bytes;
use mvcc::Bucket;

use super::{Record, text, unreadable};
use crate::members::Member;
use crate::{Error, MemberId};

pub(crate) fn member_put(member: &Member) -> Record {
    Record::put(Bucket::Members, member.id.to_string(), member.to_json())
}

pub(crate) fn member_deleted(id: MemberId) -> Record {
    Record::deleted(Bucket::Members, id.to_string())
}

pub(crate) fn member_removed(id: MemberId) -> Record {
    Record::put(Bucket::MembersRemoved, id.to_string(), Bytes::from_static(b"removed"))
}

pub(crate) fn read_member(key: &[u8], value: &[u8]) -> Result<Member, Error> {
    let id = read_id(Bucket::Members, key)?;
    let member =
        Member::from_json(value).map_err(|error| unreadable(Bucket::Members, key, error))?;
    if member.id != id && member.id != MemberId(0) {
        return Err(unreadable(Bucket::Members, key, "another member's record"));
    }
    Ok(Member { id, ..member })
}

pub(crate) fn read_removed(key: &[u8]) -> Result<MemberId, Error> {
    read_id(Bucket::MembersRemoved, key)
}

fn read_id(bucket: Bucket, key: &[u8]) -> Result<MemberId, Error> {
    let parsed = text(key).and_then(|hex| hex.parse().ok());
    parsed.ok_or_else(|| unreadable(bucket, key, "not a member id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_unpadded_hex() {
        let member = Member {
            id: MemberId(0xabc),
            peer_urls: vec!["http://a:1".into()],
            ..Member::default()
        };
        let record = member_put(&member);
        assert_eq!(record.key.as_ref(), b"abc");
        let value = record.value.expect("a put");
        assert_eq!(value.as_ref(), br#"{"id":2748,"peerURLs":["http://a:1"]}"#);
        assert_eq!(read_member(&record.key, &value).expect("own bytes"), member);
        assert_eq!(member_removed(member.id).value, Some(Bytes::from_static(b"removed")));
        assert_eq!(read_removed(b"abc").expect("an id"), member.id);
        assert_eq!(member_deleted(member.id).key, record.key);
    }

    #[test]
    fn records_of_nobody_are_refused() {
        assert!(read_member(b"xyz", b"{}").is_err());
        assert!(read_member(b"1", br#"{"id":2}"#).is_err());
        assert!(read_member(b"1", b"").is_err());
        assert!(read_removed(b"").is_err());
    }
}
