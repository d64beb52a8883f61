//! Bucket `alarm`: the key is the encoded `AlarmMember`, the value is empty.

use bytes::Bytes;
use mvcc::Bucket;
use proto::Message;
use proto::etcdserverpb::AlarmMember;

use super::{Record, unreadable};
use crate::Error;

pub(crate) fn alarm_put(alarm: &AlarmMember) -> Record {
    Record::put(Bucket::Alarm, alarm.encode_to_vec(), Bytes::new())
}

pub(crate) fn alarm_deleted(alarm: &AlarmMember) -> Record {
    Record::deleted(Bucket::Alarm, alarm.encode_to_vec())
}

pub(crate) fn read_alarm(key: &[u8]) -> Result<AlarmMember, Error> {
    AlarmMember::decode(key).map_err(|error| unreadable(Bucket::Alarm, key, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_whole_record() {
        let alarm = AlarmMember { member_id: 7, alarm: 1 };
        let record = alarm_put(&alarm);
        assert_eq!(record.key.as_ref(), [0x08, 7, 0x10, 1]);
        assert_eq!(record.value, Some(Bytes::new()));
        assert_eq!(read_alarm(&record.key).expect("own bytes"), alarm);
        assert_eq!(alarm_deleted(&alarm).key, record.key);
    }

    #[test]
    fn corruption_without_a_member_is_two_bytes() {
        let record = alarm_put(&AlarmMember { member_id: 0, alarm: 2 });
        assert_eq!(record.key.as_ref(), [0x10, 2]);
        assert!(read_alarm(b"\xff").is_err());
    }
}
