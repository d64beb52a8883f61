//! Bucket `lease`: the key is the id as eight bytes, the value a `leasepb.Lease`.

use bytes::Bytes;
use mvcc::Bucket;
use proto::Message;
use proto::leasepb;

use super::{Record, unreadable};
use crate::lease::Lease;
use crate::{Error, LeaseId};

pub(crate) fn lease_put(lease: &Lease) -> Record {
    let value =
        leasepb::Lease { id: lease.id.0, ttl: lease.ttl, remaining_ttl: lease.remaining_ttl };
    Record::put(Bucket::Lease, key(lease.id), value.encode_to_vec())
}

pub(crate) fn lease_deleted(id: LeaseId) -> Record {
    Record::deleted(Bucket::Lease, key(id))
}

pub(crate) fn read_lease(key: &[u8], value: &[u8]) -> Result<Lease, Error> {
    let lease =
        leasepb::Lease::decode(value).map_err(|error| unreadable(Bucket::Lease, key, error))?;
    Ok(Lease { id: LeaseId(lease.id), ttl: lease.ttl, remaining_ttl: lease.remaining_ttl })
}

fn key(id: LeaseId) -> Bytes {
    Bytes::copy_from_slice(&id.0.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_stored_as_etcd_does() {
        let lease = Lease { id: LeaseId(0x0dcd_a1f8_8e22_9009), ttl: 1000, remaining_ttl: 0 };
        let record = lease_put(&lease);
        assert_eq!(record.key.as_ref(), 0x0dcd_a1f8_8e22_9009_u64.to_be_bytes());
        let value = record.value.expect("a put");
        let expected = b"\x08\x89\xa0\x8a\xf1\x88\xbf\xe8\xe6\x0d\x10\xe8\x07";
        assert_eq!(value.as_ref(), expected);
        assert_eq!(read_lease(&record.key, &value).expect("own bytes"), lease);
    }

    #[test]
    fn a_checkpoint_is_the_third_field() {
        let lease = Lease { id: LeaseId(-1), ttl: 10, remaining_ttl: 5 };
        let record = lease_put(&lease);
        let value = record.value.expect("a put");
        assert!(value.ends_with(&[0x10, 10, 0x18, 5]));
        assert_eq!(record.key.as_ref(), [0xff; 8]);
        assert_eq!(lease_deleted(lease.id).key, record.key);
        assert_eq!(read_lease(&record.key, &value).expect("own bytes"), lease);
    }
}
