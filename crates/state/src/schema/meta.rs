//! Bucket `meta`: how far the log is in the file (`consistent_index`, `term`), and what raft
//! knew of its members then (`confState`).

use bytes::Bytes;
use mvcc::Bucket;
use proto::raftpb::ConfState;
use serde::{Deserialize, Serialize};

use super::{Record, names, unreadable};
use crate::Error;
use crate::go_json;

pub(crate) fn consistent_index(index: u64) -> Record {
    number(names::CONSISTENT_INDEX, index)
}

pub(crate) fn term(term: u64) -> Record {
    number(names::TERM, term)
}

pub(crate) fn conf_state(state: &ConfState) -> Record {
    Record::put(Bucket::Meta, Bytes::from_static(names::CONF_STATE), conf_state_to_json(state))
}

fn number(key: &'static [u8], value: u64) -> Record {
    let value = Bytes::copy_from_slice(&value.to_be_bytes());
    Record::put(Bucket::Meta, Bytes::from_static(key), value)
}

/// Reads one of the two numbers.
pub(crate) fn read_u64(bucket: Bucket, key: &[u8], value: &[u8]) -> Result<u64, Error> {
    let bytes = value.try_into().map_err(|_| unreadable(bucket, key, "not eight bytes"))?;
    Ok(u64::from_be_bytes(bytes))
}

pub(crate) fn read_conf_state(value: &[u8]) -> Result<ConfState, Error> {
    let state = conf_state_from_json(value);
    state.map_err(|error| unreadable(Bucket::Meta, names::CONF_STATE, error))
}

/// The fields in Go's order; ids are plain numbers, above 2^53 too.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct ConfStateJson {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    voters: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    learners: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    voters_outgoing: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    learners_next: Vec<u64>,
    auto_leave: bool,
}

/// A raft configuration as the db file keeps it.
pub fn conf_state_to_json(state: &ConfState) -> Vec<u8> {
    go_json::to_vec(&ConfStateJson {
        voters: state.voters.clone(),
        learners: state.learners.clone(),
        voters_outgoing: state.voters_outgoing.clone(),
        learners_next: state.learners_next.clone(),
        auto_leave: state.auto_leave(),
    })
}

/// Reads what [`conf_state_to_json`] or any etcd wrote.
pub fn conf_state_from_json(json: &[u8]) -> Result<ConfState, serde_json::Error> {
    let read: ConfStateJson = serde_json::from_slice(json)?;
    Ok(ConfState {
        voters: read.voters,
        learners: read.learners,
        voters_outgoing: read.voters_outgoing,
        learners_next: read.learners_next,
        auto_leave: Some(read.auto_leave),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conf_state_is_the_json_that_etcd_writes() {
        let state = ConfState { voters: vec![7_026_481_039_975_517_645], ..ConfState::default() };
        let json = br#"{"voters":[7026481039975517645],"auto_leave":false}"#;
        assert_eq!(conf_state_to_json(&state), json);
        let read = conf_state_from_json(json).expect("JSON");
        assert_eq!((read.voters, read.auto_leave), (state.voters, Some(false)));
    }

    #[test]
    fn learners_come_after_voters_and_auto_leave_may_miss() {
        let state = ConfState { voters: vec![2, 1], learners: vec![3], ..ConfState::default() };
        let json = br#"{"voters":[2,1],"learners":[3],"auto_leave":false}"#;
        assert_eq!(conf_state_to_json(&state), json);
        assert!(conf_state_from_json(br#"{"voters":[1]}"#).is_ok());
        assert!(conf_state_from_json(br#"{"voters":[-1]}"#).is_err());
    }

    #[test]
    fn numbers_are_eight_bytes() {
        assert_eq!(
            consistent_index(0x1b0).value,
            Some(Bytes::from_static(b"\0\0\0\0\0\0\x01\xb0"))
        );
        assert_eq!(read_u64(Bucket::Meta, names::TERM, &[0, 0, 0, 0, 0, 0, 0, 2]).expect("2"), 2);
        assert!(read_u64(Bucket::Meta, names::TERM, &[1]).is_err());
        assert_eq!(term(2).key.as_ref(), names::TERM);
    }
}
