//! Every message that a client can send or a log can hold. The first byte says which.
#![no_main]

use fuzz::byte;
use libfuzzer_sys::fuzz_target;
use proto::Message;
use proto::etcdserverpb as pb;

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    let kinds: &[fn(&[u8])] = &[
        again::<pb::RangeRequest>,
        again::<pb::PutRequest>,
        again::<pb::DeleteRangeRequest>,
        again::<pb::TxnRequest>,
        again::<pb::CompactionRequest>,
        again::<pb::WatchRequest>,
        again::<pb::LeaseGrantRequest>,
        again::<pb::LeaseRevokeRequest>,
        again::<pb::LeaseKeepAliveRequest>,
        again::<pb::LeaseTimeToLiveRequest>,
        again::<pb::MemberListRequest>,
        again::<pb::AlarmRequest>,
        again::<pb::HashKvRequest>,
        again::<pb::MoveLeaderRequest>,
        again::<pb::InternalRaftRequest>,
        again::<pb::Metadata>,
        again::<pb::Request>,
        again::<proto::health::HealthCheckRequest>,
        again::<proto::raftpb::Entry>,
        again::<proto::raftpb::HardState>,
        again::<proto::raftpb::ConfChange>,
        again::<proto::raftpb::Snapshot>,
        again::<proto::raftpb::Message>,
        again::<proto::authpb::User>,
        again::<proto::authpb::Role>,
        again::<proto::leasepb::Lease>,
    ];
    kinds[usize::from(byte(&mut rest)) % kinds.len()](rest);
});

/// What is read is written so that the same is read, in the same bytes.
fn again<M: Message + Default + PartialEq + std::fmt::Debug>(data: &[u8]) {
    let Ok(message) = M::decode(data) else { return };
    let encoded = message.encode_to_vec();
    assert_eq!(encoded.len(), message.encoded_len());
    let read = M::decode(&encoded[..]).expect("ours is read");
    assert!(read == message, "{read:?} is not {message:?}");
    assert_eq!(read.encode_to_vec(), encoded);
}
