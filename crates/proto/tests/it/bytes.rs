//! Messages against bytes that etcd wrote, and against bytes that nobody should write.

use std::fmt::Debug;

use bytes::Bytes;
use proptest::prelude::{ProptestConfig, any, prop};
use proto::etcdserverpb::{
    AlarmMember, AlarmType, Compare, InternalRaftRequest, Metadata, PutRequest, RangeResponse,
    Request, RequestHeader, RequestOp, TxnRequest, WatchRequest, WatchResponse, compare,
    request_op,
};
use proto::leasepb::Lease;
use proto::mvccpb::KeyValue;
use proto::{Message, authpb, raftpb, snappb, walpb};

/// Bytes of hex text, with blanks where it reads better.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|digit| !digit.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("hex"))
        .collect()
}

/// `message` is written as `text`, and `text` is read as `message`.
#[track_caller]
fn assert_wire<M: Message + Default + PartialEq + Debug>(message: &M, text: &str) {
    assert_eq!(message.encode_to_vec(), hex(text));
    assert_eq!(M::decode(hex(text).as_slice()).as_ref(), Ok(message));
}

#[test]
fn db_records_are_what_etcd_writes() {
    let put = KeyValue {
        key: Bytes::from_static(b"a"),
        create_revision: 2,
        mod_revision: 2,
        version: 1,
        value: Bytes::from_static(b"1"),
        lease: 0,
    };
    assert_wire(&put, "0a0161 1002 1802 2001 2a0131");
    assert_wire(&KeyValue { key: Bytes::from_static(b"a"), ..KeyValue::default() }, "0a0161");

    let lease = Lease { id: 0x0dcd_a1f8_8e22_9009, ttl: 1000, remaining_ttl: 0 };
    assert_wire(&lease, "08 89a08af188bfe8e60d 10 e807");

    let alarm = |member_id, kind: AlarmType| AlarmMember { member_id, alarm: kind.into() };
    assert_wire(&alarm(300, AlarmType::Nospace), "08 ac02 1001");
    assert_wire(&alarm(0, AlarmType::Corrupt), "1002");
}

#[test]
fn users_and_roles_are_what_etcd_writes() {
    let mut user = authpb::User {
        name: Bytes::from_static(b"bob"),
        roles: vec!["r1".to_owned()],
        options: Some(authpb::UserAddOptions { no_password: true }),
        ..authpb::User::default()
    };
    assert_wire(&user, "0a03 626f62 1a02 7231 2202 0801");
    // Options are written even when they say nothing.
    user.options = Some(authpb::UserAddOptions::default());
    assert_wire(&user, "0a03 626f62 1a02 7231 2200");

    let role = authpb::Role {
        name: Bytes::from_static(b"r1"),
        key_permission: vec![authpb::Permission {
            perm_type: authpb::permission::Type::Readwrite.into(),
            key: Bytes::from_static(b"foo"),
            range_end: Bytes::from_static(b"zoo"),
        }],
    };
    assert_wire(&role, "0a02 7231 120c 0802 1203 666f6f 1a03 7a6f6f");
}

#[test]
fn wal_records_are_what_etcd_writes() {
    let metadata =
        Metadata { node_id: Some(0x6183_1347_28c2_0dcd), cluster_id: Some(0xd11f_c824_6bb9_2517) };
    assert_wire(&metadata, "08 cd9b88c6f2e8c4c161 10 97cae4ddc684f28fd101");

    // Zeros that are set are written: the first snapshot mark, the first crc record.
    let start = walpb::Snapshot { index: Some(0), term: Some(0), conf_state: None };
    assert_wire(&start, "0800 1000");
    assert_wire(&walpb::Record { r#type: Some(4), crc: Some(0), data: None }, "0804 1000");

    let file = snappb::Snapshot { crc: Some(1), data: Some(Bytes::from_static(b"x")) };
    assert_wire(&file, "0801 120178");
}

#[test]
fn absent_and_zero_both_read_as_zero() {
    let spelled = raftpb::Entry::decode(hex("0800 1001 1802 2200").as_slice()).expect("decodes");
    let left_out = raftpb::Entry::decode(hex("1001 1802").as_slice()).expect("decodes");
    assert_ne!(spelled, left_out);
    for entry in [spelled, left_out] {
        assert_eq!(entry.r#type(), raftpb::EntryType::EntryNormal);
        assert_eq!((entry.term(), entry.index(), entry.data()), (1, 2, &[][..]));
    }
}

#[test]
fn voters_are_written_one_by_one_and_read_either_way() {
    let state = raftpb::ConfState {
        voters: vec![1, 300],
        auto_leave: Some(false),
        ..raftpb::ConfState::default()
    };
    assert_wire(&state, "0801 08ac02 2800");
    assert_eq!(raftpb::ConfState::decode(hex("0a03 01ac02 2800").as_slice()), Ok(state));
}

#[test]
fn a_put_in_the_log_is_what_etcd_writes() {
    let request = InternalRaftRequest {
        put: Some(PutRequest {
            key: Bytes::from_static(b"fromn2"),
            value: Bytes::from_static(b"w"),
            ..PutRequest::default()
        }),
        header: Some(RequestHeader { id: 0xfc0c_a1f8_9487_b005, ..RequestHeader::default() }),
        ..InternalRaftRequest::default()
    };
    // The header's number is 100, so it comes last.
    assert_wire(&request, "22 0b 0a06 66726f6d6e32 1201 77 a206 0b 08 85e09ea489bfa886fc01");
}

#[test]
fn an_old_request_is_readable_inside_and_outside_of_the_envelope() {
    let old = Request {
        method: Some("PUT".to_owned()),
        path: Some("/0/version".to_owned()),
        val: Some("3.5.0".to_owned()),
        ..Request::default()
    };
    let wrapped =
        InternalRaftRequest { v2: Some(Box::new(old.clone())), ..InternalRaftRequest::default() };
    let read = InternalRaftRequest::decode(wrapped.encode_to_vec().as_slice());
    assert_eq!(read.map(|request| request.v2), Ok(Some(Box::new(old.clone()))));

    // Bare, as 3.4 and 3.5 write it, it must not pass for an envelope.
    let bare = old.encode_to_vec();
    assert_eq!(Request::decode(bare.as_slice()), Ok(old));
    assert!(InternalRaftRequest::decode(bare.as_slice()).is_err());
}

#[test]
fn numbers_of_the_client_messages_are_on_the_wire() {
    let compare = Compare {
        range_end: Bytes::from_static(b"z"),
        target_union: Some(compare::TargetUnion::Lease(7)),
        ..Compare::default()
    };
    assert_wire(&compare, "4007 8204 017a");
    let events = WatchResponse { events: vec![Default::default()], ..WatchResponse::default() };
    assert_wire(&events, "5a00");
    let unset = WatchRequest { request_union: None };
    assert_wire(&unset, "");
}

#[test]
fn an_unknown_enum_number_survives() {
    let wire = hex("3063");
    let range = proto::etcdserverpb::RangeRequest::decode(wire.as_slice()).expect("decodes");
    assert_eq!(range.sort_target, 0x63);
    assert_eq!(range.encode_to_vec(), wire);
}

#[test]
fn an_unknown_field_is_skipped() {
    let read = KeyValue::decode(hex("0a0161 fa7f 03 010203 2001").as_slice()).expect("decodes");
    assert_eq!((&read.key[..], read.version), (&b"a"[..], 1));
}

#[test]
fn decoded_bytes_share_the_memory_they_came_in() {
    let value = Bytes::from(vec![7; 4096]);
    let put = PutRequest { key: Bytes::from_static(b"k"), value, ..PutRequest::default() };
    let wire = Bytes::from(put.encode_to_vec());
    let read = PutRequest::decode(wire.clone()).expect("decodes");
    assert!(wire.as_ptr_range().contains(&read.value.as_ptr()));
}

#[test]
fn a_truncated_message_is_an_error() {
    let wire = hex("12 09 0a0161 1002 1802 2001");
    assert!(RangeResponse::decode(wire.as_slice()).is_ok());
    for length in 1..wire.len() {
        assert!(RangeResponse::decode(&wire[..length]).is_err(), "cut at {length}");
    }
}

/// Moved through queues for every write, so its size is a cost.
#[test]
fn the_envelope_stays_small() {
    assert!(size_of::<InternalRaftRequest>() <= 576, "{}", size_of::<InternalRaftRequest>());
}

#[test]
fn txns_nested_without_end_are_an_error_and_no_overflow() {
    let mut txn = TxnRequest::default();
    for _ in 0..5_000 {
        let wire = txn.encode_to_vec();
        if wire.len() > 1 << 20 || TxnRequest::decode(wire.as_slice()).is_err() {
            break;
        }
        let op = RequestOp { request: Some(request_op::Request::RequestTxn(txn)) };
        txn = TxnRequest { success: vec![op], ..TxnRequest::default() };
    }
    assert!(TxnRequest::decode(txn.encode_to_vec().as_slice()).is_err());
}

/// Reads `wire`, which may fail; what could be read must come back the same after it was written.
fn assert_settles<M: Message + Default + PartialEq>(wire: &Bytes) {
    if let Ok(message) = M::decode(wire.clone()) {
        let written = message.encode_to_vec();
        assert_eq!(written.len(), message.encoded_len());
        assert!(M::decode(written.as_slice()).is_ok_and(|again| again == message));
    }
}

proptest::proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A garbled but plausible message: fields with small numbers, some of them nested.
    #[test]
    fn no_bytes_upset_a_decoder(
        fields in prop::collection::vec(
            (1u8..16, 0u8..6, prop::collection::vec(any::<u8>(), 0..9)),
            0..12,
        ),
    ) {
        let mut wire = Vec::new();
        for (number, kind, content) in fields {
            wire.push(number << 3 | kind);
            if kind == 2 {
                wire.push(content.len() as u8);
            }
            wire.extend(content);
        }
        let wire = Bytes::from(wire);
        for settles in [
            assert_settles::<InternalRaftRequest>,
            assert_settles::<Request>,
            assert_settles::<TxnRequest>,
            assert_settles::<WatchRequest>,
            assert_settles::<KeyValue>,
            assert_settles::<raftpb::Message>,
            assert_settles::<raftpb::ConfChange>,
            assert_settles::<raftpb::Snapshot>,
            assert_settles::<walpb::Record>,
            assert_settles::<walpb::Snapshot>,
            assert_settles::<snappb::Snapshot>,
        ] {
            settles(&wire);
        }
    }
}
