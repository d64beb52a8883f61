//! What entries do: gates, leases, alarms, members, versions, users.

use bytes::Bytes;
use mvcc::Bucket;
use proto::Message as _;
use proto::authpb::{Permission, User};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::InternalRaftRequest;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::membershippb;
use proto::raftpb::{ConfChange, ConfState};
use state::{
    AuthReply, ChangeKind, ConfChanged, DeleteRangeReply, Effect, EntryId, Lease, LeaseId, Member,
    MemberChange, MemberId, Options, PutReply, QuotaBytes, Rejected, Reply, State, Version,
};

use crate::kit::{
    Machine, TempDir, bytes, delete, on_compact, on_delete, on_grant, on_put, on_revoke, on_txn,
    open_backend, put, put_op, range, range_op, row,
};

fn on_alarm(action: AlarmAction, member_id: u64, alarm: i32) -> InternalRaftRequest {
    let alarm = pb::AlarmRequest { action: action as i32, member_id, alarm };
    InternalRaftRequest { alarm: Some(alarm), ..Default::default() }
}

const NO_SPACE: i32 = 1;
const CORRUPT: i32 = 2;

fn on_version(version: &str) -> InternalRaftRequest {
    let set = membershippb::ClusterVersionSetRequest { ver: version.into() };
    InternalRaftRequest { cluster_version_set: Some(Box::new(set)), ..Default::default() }
}

fn on_range(key: &str, end: &str) -> InternalRaftRequest {
    InternalRaftRequest { range: Some(Box::new(range(key, end))), ..Default::default() }
}

fn on_ops(ops: Vec<pb::RequestOp>) -> InternalRaftRequest {
    on_txn(pb::TxnRequest { success: ops, ..Default::default() })
}

fn on_checkpoint(checkpoints: &[(i64, i64)]) -> InternalRaftRequest {
    let checkpoints = checkpoints
        .iter()
        .map(|&(id, remaining_ttl)| pb::LeaseCheckpoint { id, remaining_ttl })
        .collect();
    let request = pb::LeaseCheckpointRequest { checkpoints };
    InternalRaftRequest { lease_checkpoint: Some(request), ..Default::default() }
}

fn meta(machine: &Machine, key: &str) -> Option<Bytes> {
    machine.state.views().backend.get(Bucket::Meta, key.as_bytes()).expect("readable")
}

// Keys.

#[test]
fn a_put_answers_its_revision_and_what_was_there() {
    let mut machine = Machine::new();
    let with_prev = |value| on_put(pb::PutRequest { prev_kv: true, ..put("k", value) });
    let first = machine.outcome(&with_prev("1"));
    assert_eq!(first, Ok(Reply::Put(PutReply { revision: 2, prev_kv: None })));
    let Ok(Reply::Put(second)) = machine.outcome(&with_prev("2")) else { panic!("refused") };
    assert_eq!(second.revision, 3);
    assert_eq!(second.prev_kv.as_ref().map(row), Some("k=1 2/2/1/0".into()));
}

#[test]
fn a_put_can_keep_the_value_or_the_lease() {
    let mut machine = Machine::new();
    machine.apply(&on_grant(7, 10));
    machine.apply(&on_grant(8, 10));
    machine.apply(&on_put(pb::PutRequest { lease: 7, ..put("k", "1") }));
    machine.apply(&on_put(pb::PutRequest { ignore_value: true, lease: 8, ..put("k", "") }));
    assert_eq!(machine.rows(), ["k=1 2/3/2/8"]);
    machine.apply(&on_put(pb::PutRequest { ignore_lease: true, ..put("k", "2") }));
    assert_eq!(machine.rows(), ["k=2 2/4/3/8"]);
    let leases = &machine.state.views().leases;
    assert_eq!(leases.keys(LeaseId(7)), Some(vec![]));
    assert_eq!(leases.keys(LeaseId(8)), Some(vec![bytes("k")]));
    for refused in [
        pb::PutRequest { ignore_value: true, ..put("x", "") },
        pb::PutRequest { ignore_lease: true, ..put("x", "1") },
    ] {
        assert_eq!(machine.outcome(&on_put(refused)), Err(Rejected::KeyNotFound));
    }
    let unknown = pb::PutRequest { lease: 9, ..put("x", "1") };
    assert_eq!(machine.outcome(&on_put(unknown)), Err(Rejected::LeaseNotFound));
    assert_eq!(machine.revision(), 4);
}

#[test]
fn a_delete_answers_in_key_order_and_without_keys_the_current_revision() {
    let mut machine = Machine::new();
    for key in ["b", "a", "c"] {
        machine.apply(&on_put(put(key, "1")));
    }
    let Ok(Reply::DeleteRange(reply)) = machine.outcome(&on_delete(delete("a", "c"))) else {
        panic!("refused")
    };
    let prev_kvs: Vec<String> = reply.prev_kvs.iter().map(row).collect();
    assert_eq!((reply.revision, reply.deleted), (5, 2));
    assert_eq!(prev_kvs, ["a=1 3/3/1/0", "b=1 2/2/1/0"]);
    let nothing = DeleteRangeReply { revision: 5, ..DeleteRangeReply::default() };
    assert_eq!(machine.outcome(&on_delete(delete("x", ""))), Ok(Reply::DeleteRange(nothing)));
}

#[test]
fn a_compaction_is_refused_behind_the_last_and_ahead_of_the_store() {
    let mut machine = Machine::new();
    machine.apply(&on_put(put("k", "1")));
    assert_eq!(machine.outcome(&on_compact(3)), Err(Rejected::FutureRevision));
    let applied = machine.apply(&on_compact(2));
    assert_eq!((applied.outcome, applied.revision), (Ok(Reply::Compaction), 2));
    assert!(matches!(applied.effect, Effect::Compaction(_)));
    assert_eq!(machine.outcome(&on_compact(2)), Err(Rejected::Compacted));
    assert_eq!(machine.outcome(&on_compact(-5)), Err(Rejected::Compacted));
    let old = pb::RangeRequest { revision: 1, ..range("k", "") };
    let old = InternalRaftRequest { range: Some(Box::new(old)), ..Default::default() };
    assert_eq!(machine.outcome(&old), Err(Rejected::Compacted));
}

#[test]
fn an_entry_is_applied_once() {
    let mut machine = Machine::new();
    machine.apply(&on_put(put("k", "1")));
    let at = machine.state.applied();
    let again = machine.state.apply(at, &on_put(put("k", "2")), true).expect("an entry");
    assert_eq!(again.outcome, Ok(Reply::Nothing));
    machine.state.apply_empty(EntryId { index: 1, term: 1 });
    assert_eq!((machine.rows(), machine.state.applied()), (vec!["k=1 2/2/1/0".into()], at));
    let change = ConfChange { node_id: Some(1), ..ConfChange::default() };
    let old = machine.state.apply_conf_change(at, &change).expect("old");
    assert_eq!(old, ConfChanged::Old);
}

#[test]
fn every_entry_moves_the_index_refused_and_empty_ones_too() {
    let mut machine = Machine::new();
    machine.outcome(&on_revoke(9)).expect_err("no such lease");
    assert_eq!(machine.state.applied(), EntryId { index: 1, term: 2 });
    machine.state.apply_empty(EntryId { index: 2, term: 3 });
    machine.commit();
    assert_eq!(meta(&machine, "consistent_index"), Some(bytes("\0\0\0\0\0\0\0\x02")));
    assert_eq!(meta(&machine, "term"), Some(bytes("\0\0\0\0\0\0\0\x03")));
}

#[test]
fn reads_are_left_out_where_nobody_waits() {
    let mut machine = Machine::new();
    let at = machine.next_id();
    let applied = machine.state.apply(at, &on_range("k", ""), false).expect("an entry");
    assert_eq!(applied.outcome, Ok(Reply::Nothing));
    assert!(matches!(machine.outcome(&on_range("k", "")), Ok(Reply::Range(_))));
}

#[test]
fn an_entry_without_any_known_request_stops_the_member() {
    let mut machine = Machine::new();
    let at = machine.next_id();
    let error = machine.state.apply(at, &InternalRaftRequest::default(), true);
    let error = error.expect_err("nothing to do").to_string();
    assert!(error.starts_with("cannot apply entry 1"), "{error}");
    assert_eq!(machine.state.applied().index, 0);
}

// Leases.

#[test]
fn a_short_ttl_is_raised_and_a_grant_uses_no_revision() {
    let mut machine = Machine::with(Options { min_lease_ttl: 5, ..Options::default() });
    let applied = machine.apply(&on_grant(-3, 0));
    let id = LeaseId(-3);
    assert_eq!(applied.outcome, Ok(Reply::LeaseGrant { id, ttl: 5 }));
    let lease = Lease { id, ttl: 5, remaining_ttl: 0 };
    assert!(matches!(applied.effect, Effect::LeaseGranted(granted) if granted == lease));
    assert_eq!(applied.revision, 1);
    assert_eq!(machine.outcome(&on_grant(-3, 9)), Err(Rejected::LeaseExists));
    assert_eq!(machine.outcome(&on_grant(0, 9)), Err(Rejected::LeaseNotFound));
    let too_long = on_grant(4, 9_000_000_001);
    assert_eq!(machine.outcome(&too_long), Err(Rejected::LeaseTtlTooLarge));
    let record = machine.state.views().backend.get(Bucket::Lease, &id.0.to_be_bytes());
    assert!(record.expect("readable").is_some());
}

#[test]
fn a_revoke_deletes_the_keys_in_byte_order_as_one_change() {
    let mut machine = Machine::new();
    machine.apply(&on_grant(7, 10));
    for key in ["b", "a", "c", "aa"] {
        machine.apply(&on_put(pb::PutRequest { lease: 7, ..put(key, "1") }));
    }
    // One hangs on nothing any more, one is gone already.
    machine.apply(&on_put(put("c", "2")));
    machine.apply(&on_delete(delete("aa", "")));
    let before = machine.revision();
    let applied = machine.apply(&on_revoke(7));
    assert_eq!((applied.outcome, applied.revision), (Ok(Reply::LeaseRevoke), before + 1));
    assert!(matches!(applied.effect, Effect::LeaseRevoked(LeaseId(7))));
    let events = machine.state.views().reader.history(before + 1, 1).expect("history");
    let deleted: Vec<_> =
        events.iter().map(|event| (event.key.clone(), event.revision.sub)).collect();
    assert_eq!(deleted, [(bytes("a"), 0), (bytes("b"), 1)]);
    assert_eq!(machine.rows(), ["c=2 4/6/2/0"]);
    assert_eq!(machine.state.views().leases.lease(LeaseId(7)), None);
    let record = machine.state.views().backend.get(Bucket::Lease, &7_i64.to_be_bytes());
    assert_eq!(record.expect("readable"), None);
    assert_eq!(machine.outcome(&on_revoke(7)), Err(Rejected::LeaseNotFound));
}

#[test]
fn a_revoke_without_keys_uses_no_revision() {
    let mut machine = Machine::new();
    machine.apply(&on_grant(7, 10));
    assert_eq!(machine.apply(&on_revoke(7)).revision, 1);
}

#[test]
fn checkpoints_are_kept_from_3_6_on() {
    let mut machine = Machine::new();
    machine.apply(&on_grant(7, 600));
    machine.apply(&on_version("3.5.0"));
    let applied = machine.apply(&on_checkpoint(&[(7, 300), (8, 1)]));
    assert!(
        matches!(applied.effect, Effect::LeasesCheckpointed(noted) if noted == [(LeaseId(7), 300)])
    );
    let seconds_left = |machine: &Machine| {
        machine.state.views().leases.lease(LeaseId(7)).map(|lease| lease.seconds_left())
    };
    assert_eq!(seconds_left(&machine), Some(300));
    let mut machine = machine.restart(Options::default());
    assert_eq!(seconds_left(&machine), Some(600));
    machine.apply(&on_version("3.6.0"));
    machine.apply(&on_checkpoint(&[(7, 200)]));
    let machine = machine.restart(Options::default());
    assert_eq!(seconds_left(&machine), Some(200));
}

#[test]
fn checkpoints_are_kept_earlier_where_that_is_asked_for() {
    let options = Options { persist_checkpoints: true, ..Options::default() };
    let mut machine = Machine::with(options);
    machine.apply(&on_grant(7, 600));
    machine.apply(&on_checkpoint(&[(7, 300)]));
    let machine = machine.restart(options);
    let lease = machine.state.views().leases.lease(LeaseId(7)).expect("kept");
    assert_eq!(lease.remaining_ttl, 300);
}

// Alarms and quota.

#[test]
fn a_full_cluster_refuses_what_takes_space_and_nothing_else() {
    let mut machine = Machine::new();
    machine.apply(&on_put(put("k", "1")));
    machine.apply(&on_grant(7, 10));
    let raised = machine.apply(&on_alarm(AlarmAction::Activate, 5, NO_SPACE));
    let alarm = pb::AlarmMember { member_id: 5, alarm: NO_SPACE };
    assert_eq!(raised.outcome, Ok(Reply::Alarm(vec![alarm])));
    assert!(matches!(raised.effect, Effect::AlarmsChanged));
    let nested = on_ops(vec![crate::kit::txn_op(pb::TxnRequest {
        failure: vec![put_op("k", "2")],
        ..Default::default()
    })]);
    for full in [on_put(put("k", "2")), on_grant(8, 10), on_ops(vec![put_op("k", "2")]), nested] {
        let applied = machine.apply(&full);
        assert_eq!(applied.outcome, Err(Rejected::NoSpace));
        assert!(!applied.raise_no_space, "it is said already");
    }
    for fine in
        [on_ops(vec![range_op("k", "")]), on_delete(delete("k", "")), on_compact(2), on_revoke(7)]
    {
        machine.outcome(&fine).expect("not refused");
    }
    machine.outcome(&on_alarm(AlarmAction::Deactivate, 0, NO_SPACE)).expect("just another id");
    assert_eq!(machine.outcome(&on_put(put("k", "2"))), Err(Rejected::NoSpace));
    machine.apply(&on_alarm(AlarmAction::Deactivate, 5, NO_SPACE));
    machine.outcome(&on_put(put("k", "2"))).expect("room again");
}

#[test]
fn a_corrupt_cluster_touches_no_key_and_corruption_goes_before_space() {
    let mut machine = Machine::new();
    machine.apply(&on_grant(7, 10));
    machine.apply(&on_alarm(AlarmAction::Activate, 5, NO_SPACE));
    machine.apply(&on_alarm(AlarmAction::Activate, 0, CORRUPT));
    for corrupt in [
        on_put(put("k", "1")),
        on_range("k", ""),
        on_delete(delete("k", "")),
        on_ops(vec![]),
        on_compact(1),
        on_grant(8, 10),
        on_revoke(7),
    ] {
        assert_eq!(machine.outcome(&corrupt), Err(Rejected::Corrupt));
    }
    machine.outcome(&on_checkpoint(&[])).expect("no key is touched");
    machine.outcome(&on_version("3.7.0")).expect("no key is touched");
    let machine = machine.restart(Options::default());
    assert_eq!(machine.state.views().alarms.get(pb::AlarmType::None).len(), 2);
}

#[test]
fn alarms_are_asked_for_by_kind_and_unknown_actions_do_nothing() {
    let mut machine = Machine::new();
    machine.apply(&on_alarm(AlarmAction::Activate, 5, NO_SPACE));
    machine.apply(&on_alarm(AlarmAction::Activate, 5, NO_SPACE));
    machine.apply(&on_alarm(AlarmAction::Activate, 6, CORRUPT));
    let get =
        |machine: &mut Machine, kind| match machine.outcome(&on_alarm(AlarmAction::Get, 0, kind)) {
            Ok(Reply::Alarm(alarms)) => alarms.len(),
            other => panic!("no alarms: {other:?}"),
        };
    assert_eq!(get(&mut machine, 0), 2);
    assert_eq!(get(&mut machine, NO_SPACE), 1);
    let none = machine.apply(&on_alarm(AlarmAction::Activate, 7, 0));
    assert_eq!(none.outcome, Ok(Reply::Alarm(vec![])));
    let odd = pb::AlarmRequest { action: 9, member_id: 7, alarm: NO_SPACE };
    let odd = InternalRaftRequest { alarm: Some(odd), ..Default::default() };
    assert_eq!(machine.outcome(&odd), Ok(Reply::Alarm(vec![])));
    assert_eq!(get(&mut machine, 0), 2);
}

#[test]
fn a_used_up_quota_changes_the_answer_but_not_the_data() {
    let mut machine =
        Machine::with(Options { quota: QuotaBytes::from_flag(1), ..Options::default() });
    let full = machine.apply(&on_put(put("k", "1")));
    assert_eq!(full.outcome, Err(Rejected::NoSpace));
    assert!(full.raise_no_space);
    assert_eq!(full.revision, 2);
    let granted = machine.apply(&on_grant(7, 10));
    assert_eq!(granted.outcome, Err(Rejected::NoSpace));
    assert!(matches!(granted.effect, Effect::LeaseGranted(_)), "the clock must start");
    let txn = machine.apply(&on_ops(vec![put_op("k", "2")]));
    assert_eq!((txn.outcome, txn.revision), (Err(Rejected::NoSpace), 3));
    assert_eq!(machine.rows(), ["k=2 2/3/2/0"]);
    // What is wrong anyway is said first.
    let unknown = pb::PutRequest { lease: 9, ..put("k", "1") };
    let refused = machine.apply(&on_put(unknown));
    assert_eq!(refused.outcome, Err(Rejected::LeaseNotFound));
    assert!(!refused.raise_no_space);
    machine.outcome(&on_ops(vec![range_op("k", "")])).expect("costs nothing");
    let views = machine.state.views();
    assert_eq!(views.check_quota(300), Err(Rejected::NoSpace));
    assert_eq!(views.check_quota(0), Ok(()));
}

// Members and versions.

fn change(kind: ChangeKind, id: u64, context: &str) -> ConfChange {
    let number = match kind {
        ChangeKind::AddNode => 0,
        ChangeKind::RemoveNode => 1,
        ChangeKind::UpdateNode => 2,
        ChangeKind::AddLearnerNode => 3,
    };
    ConfChange {
        id: Some(1),
        r#type: Some(number),
        node_id: Some(id),
        context: (!context.is_empty()).then(|| bytes(context)),
    }
}

fn add(id: u64) -> ConfChange {
    let context = format!(r#"{{"id":{id},"peerURLs":["http://m{id}:1"],"name":"m{id}"}}"#);
    change(ChangeKind::AddNode, id, &context)
}

fn member_record(machine: &Machine, id: u64) -> Option<String> {
    let key = MemberId(id).to_string();
    let record = machine.state.views().backend.get(Bucket::Members, key.as_bytes());
    record.expect("readable").map(|json| String::from_utf8_lossy(&json).into_owned())
}

#[test]
fn members_come_and_go_in_their_buckets() {
    let mut machine = Machine::new();
    assert!(matches!(machine.change(&add(10)), ConfChanged::Accepted(MemberChange::Add(_))));
    let learner = r#"{"id":11,"peerURLs":["http://l:1"],"isLearner":true}"#;
    machine.change(&change(ChangeKind::AddLearnerNode, 11, learner));
    assert_eq!(member_record(&machine, 11), Some(learner.to_owned()));
    let promote = change(ChangeKind::AddNode, 11, r#"{"id":11,"peerURLs":null,"isPromote":true}"#);
    let promoted = machine.change(&promote);
    assert_eq!(promoted, ConfChanged::Accepted(MemberChange::Promote(MemberId(11))));
    let voter = r#"{"id":11,"peerURLs":["http://l:1"]}"#;
    assert_eq!(member_record(&machine, 11), Some(voter.to_owned()));
    assert_eq!(machine.change(&promote), ConfChanged::Rejected(Rejected::MemberNotLearner));
    machine.change(&change(ChangeKind::RemoveNode, 11, ""));
    assert_eq!(member_record(&machine, 11), None);
    assert_eq!(machine.change(&promote), ConfChanged::Rejected(Rejected::MemberIdRemoved));

    let machine = machine.restart(Options::default());
    let members = &machine.state.views().members;
    assert_eq!(members.list().iter().map(|member| member.id.0).collect::<Vec<_>>(), [10]);
    assert!(members.is_removed(MemberId(11)) && !members.is_removed(MemberId(10)));
}

#[test]
fn a_change_that_makes_no_sense_stops_the_member() {
    let mut machine = Machine::new();
    let other = change(ChangeKind::AddNode, 10, r#"{"id":11}"#);
    let unknown = ConfChange { r#type: Some(9), node_id: Some(10), ..ConfChange::default() };
    for change in [change(ChangeKind::AddNode, 10, "{"), other, unknown] {
        let at = machine.next_id();
        let error = machine.state.apply_conf_change(at, &change).expect_err("nonsense");
        assert!(error.to_string().starts_with("cannot apply entry"), "{error}");
    }
    assert_eq!(machine.state.views().members.list(), []);
}

#[test]
fn a_member_publishes_itself() {
    let mut machine = Machine::new();
    machine.change(&add(10));
    let publish = |id| {
        let set = membershippb::ClusterMemberAttrSetRequest {
            member_id: id,
            member_attributes: Some(membershippb::Attributes {
                name: "n".into(),
                client_urls: vec!["http://c:1".into()],
            }),
        };
        InternalRaftRequest { cluster_member_attr_set: Some(Box::new(set)), ..Default::default() }
    };
    let applied = machine.apply(&publish(10));
    assert!(matches!(applied.effect, Effect::MemberPublished(MemberId(10))));
    assert_eq!(
        machine.state.views().members.member(MemberId(10)),
        Some(Member {
            id: MemberId(10),
            peer_urls: vec!["http://m10:1".into()],
            is_learner: false,
            name: "n".into(),
            client_urls: vec!["http://c:1".into()],
        })
    );
    machine.change(&change(ChangeKind::RemoveNode, 10, ""));
    let late = machine.apply(&publish(10));
    assert!(matches!((late.outcome, late.effect), (Ok(Reply::Nothing), Effect::None)));
    let at = machine.next_id();
    machine.state.apply(at, &publish(77), true).expect_err("nobody knows it");
}

#[test]
fn the_storage_version_follows_the_cluster_version_upwards() {
    let mut machine = Machine::new();
    machine.apply(&on_version("3.0.0"));
    assert_eq!(meta(&machine, "storageVersion"), None);
    machine.apply(&on_version("3.5.0"));
    assert_eq!(meta(&machine, "storageVersion"), None);
    let applied = machine.apply(&on_version("3.7.0"));
    assert!(matches!(
        applied.effect,
        Effect::ClusterVersion { before: Some(before), now }
            if (before, now) == (Version::new(3, 5), Version::new(3, 7))
    ));
    assert_eq!(meta(&machine, "storageVersion"), Some(bytes("3.7.0")));
    let views = machine.state.views();
    assert_eq!(views.storage_version().expect("readable"), Some(Version::new(3, 7)));
    // Down only when the caller knows that the log allows it.
    machine.apply(&on_version("3.6.0"));
    assert_eq!(meta(&machine, "storageVersion"), Some(bytes("3.7.0")));
    machine.state.lower_storage_version(Version::new(3, 6)).expect("a known path");
    assert_eq!(meta(&machine, "storageVersion"), Some(bytes("3.6.0")));
    machine.state.lower_storage_version(Version::new(3, 5)).expect("a known path");
    assert_eq!(meta(&machine, "storageVersion"), None);
}

/// Its first version, as long as not all members have been heard of, is the oldest there is.
#[test]
fn a_cluster_that_begins_lowers_no_file() {
    let mut machine = Machine::new();
    machine.apply(&on_version("3.7.0"));
    for version in ["3.0.0", "3.4.0"] {
        machine.apply(&on_version(version));
        assert_eq!(machine.state.agreed_below_storage(), None, "{version}");
    }
    machine.apply(&on_version("3.6.0"));
    assert_eq!(machine.state.agreed_below_storage(), Some(Version::new(3, 6)));
}

#[test]
fn a_cluster_that_is_ahead_stops_the_member() {
    let mut machine = Machine::new();
    for version in ["3.8.0", "nonsense"] {
        let at = machine.next_id();
        machine.state.apply(at, &on_version(version), true).expect_err("not for us");
    }
    assert_eq!(machine.state.views().members.cluster_version(), None);
}

#[test]
fn a_downgrade_is_noted_and_forgotten() {
    let mut machine = Machine::new();
    let set = |enabled, ver: &str| {
        let set = membershippb::DowngradeInfoSetRequest { enabled, ver: ver.into() };
        InternalRaftRequest { downgrade_info_set: Some(Box::new(set)), ..Default::default() }
    };
    let record = |machine: &Machine| {
        let record = machine.state.views().backend.get(Bucket::Cluster, b"downgrade");
        record.expect("readable").expect("noted")
    };
    let applied = machine.apply(&set(true, "3.6.0"));
    assert!(matches!(applied.effect, Effect::DowngradeChanged));
    assert_eq!(record(&machine), bytes(r#"{"target-version":"3.6.0","enabled":true}"#));
    let mut machine = machine.restart(Options::default());
    assert!(machine.state.views().members.downgrade().enabled);
    machine.apply(&set(false, "3.6.0"));
    assert_eq!(record(&machine), bytes(r#"{"target-version":"","enabled":false}"#));
}

/// etcd writes it, and panics at its next start.
#[test]
fn a_downgrade_to_no_version_is_not_written() {
    for ver in ["", "three", "3.6"] {
        let mut machine = Machine::new();
        let set = membershippb::DowngradeInfoSetRequest { enabled: true, ver: ver.into() };
        let request =
            InternalRaftRequest { downgrade_info_set: Some(Box::new(set)), ..Default::default() };
        let at = machine.next_id();
        machine.state.apply(at, &request, true).expect_err("not for us");
        let machine = machine.restart(Options::default());
        assert!(!machine.state.views().members.downgrade().enabled);
    }
}

#[test]
fn the_test_request_of_downgrades_does_nothing() {
    let mut machine = Machine::new();
    let request = InternalRaftRequest {
        downgrade_version_test: Some(Box::default()),
        put: Some(put("k", "1")),
        ..Default::default()
    };
    assert_eq!(machine.outcome(&request), Ok(Reply::Nothing));
    assert_eq!(machine.revision(), 1);
}

#[test]
fn a_file_of_a_newer_etcd_is_refused() {
    let dir = TempDir::new();
    let db = dir.path().join("db");
    let backend = open_backend(&db);
    backend.put(Bucket::Meta, bytes("storageVersion"), bytes("3.8.0"));
    let error = State::open(backend, Options::default()).expect_err("too new").to_string();
    assert_eq!(error, "storage version 3.8.0 is not supported, the newest known one is 3.7.0");
}

#[test]
fn a_damaged_record_is_named() {
    let dir = TempDir::new();
    let backend = open_backend(&dir.path().join("db"));
    backend.put(Bucket::Lease, bytes("12345678"), bytes("\x08"));
    let error = State::open(backend, Options::default()).expect_err("damaged").to_string();
    assert!(error.starts_with("cannot read 12345678 from bucket Lease"), "{error}");
}

// Users.

fn as_user(username: &str, revision: u64, request: InternalRaftRequest) -> InternalRaftRequest {
    let header = pb::RequestHeader { id: 1, username: username.into(), auth_revision: revision };
    InternalRaftRequest { header: Some(header), ..request }
}

/// `root`, and `u` who may write `a`; auth is on.
fn with_users(machine: &mut Machine) -> u64 {
    let user = |name: &str| InternalRaftRequest {
        auth_user_add: Some(Box::new(pb::AuthUserAddRequest {
            name: name.into(),
            hashed_password: "aGFzaA==".into(),
            ..Default::default()
        })),
        ..Default::default()
    };
    let grant = |user: &str, role: &str| InternalRaftRequest {
        auth_user_grant_role: Some(Box::new(pb::AuthUserGrantRoleRequest {
            user: user.into(),
            role: role.into(),
        })),
        ..Default::default()
    };
    let role = pb::AuthRoleAddRequest { name: "r".into() };
    let permit = pb::AuthRoleGrantPermissionRequest {
        name: "r".into(),
        perm: Some(Permission { perm_type: 1, key: bytes("a"), range_end: Bytes::new() }),
    };
    for request in [
        user("root"),
        grant("root", "root"),
        InternalRaftRequest { auth_role_add: Some(Box::new(role)), ..Default::default() },
        user("u"),
        grant("u", "r"),
        InternalRaftRequest {
            auth_role_grant_permission: Some(Box::new(permit)),
            ..Default::default()
        },
        InternalRaftRequest { auth_enable: Some(Box::default()), ..Default::default() },
    ] {
        let applied = machine.apply(&request);
        assert_eq!(applied.outcome, Ok(Reply::Auth(AuthReply::Done)));
        assert!(matches!(applied.effect, Effect::AuthChanged));
    }
    machine.state.views().auth.revision()
}

#[test]
fn the_caller_in_the_entry_decides_whether_it_has_an_effect() {
    let mut machine = Machine::new();
    let now = with_users(&mut machine);
    assert_eq!(now, 7);
    let mut put_as = |name: &str, revision, key: &str| {
        machine.outcome(&as_user(name, revision, on_put(put(key, "1")))).map(drop)
    };
    assert_eq!(put_as("u", now, "a"), Ok(()));
    assert_eq!(put_as("u", now, "b"), Err(Rejected::PermissionDenied));
    assert_eq!(put_as("u", now - 1, "a"), Err(Rejected::AuthOldRevision));
    assert_eq!(put_as("", 0, "a"), Err(Rejected::UserEmpty));
    assert_eq!(put_as("root", now, "b"), Ok(()));
    assert_eq!(machine.revision(), 3);
    let disable = InternalRaftRequest { auth_disable: Some(Box::default()), ..Default::default() };
    let refused = machine.outcome(&as_user("u", now, disable.clone()));
    assert_eq!(refused, Err(Rejected::PermissionDenied));
    machine.outcome(&as_user("root", now, disable)).expect("root may");
    assert!(!machine.state.views().auth.is_enabled());
}

#[test]
fn a_token_carries_the_index_before_its_entry() {
    let mut machine = Machine::new();
    with_users(&mut machine);
    let authenticate = pb::InternalAuthenticateRequest {
        name: "u".into(),
        simple_token: "abcdefghijklmnop".into(),
        ..Default::default()
    };
    let request =
        InternalRaftRequest { authenticate: Some(Box::new(authenticate)), ..Default::default() };
    let before = machine.state.applied().index;
    let token = format!("abcdefghijklmnop.{before}");
    let authenticated = AuthReply::Authenticated { username: "u".into(), token };
    assert_eq!(machine.outcome(&request), Ok(Reply::Auth(authenticated)));
}

#[test]
fn questions_about_users_are_answered() {
    let mut machine = Machine::new();
    let revision = with_users(&mut machine);
    let ask = |request| as_user("root", revision, request);
    let status = InternalRaftRequest { auth_status: Some(Box::default()), ..Default::default() };
    let on = AuthReply::Status { enabled: true, revision };
    assert_eq!(machine.outcome(&ask(status)), Ok(Reply::Auth(on)));
    let users = InternalRaftRequest { auth_user_list: Some(Box::default()), ..Default::default() };
    let names = AuthReply::Users(vec!["root".into(), "u".into()]);
    assert_eq!(machine.outcome(&ask(users)), Ok(Reply::Auth(names)));
    let roles = InternalRaftRequest { auth_role_list: Some(Box::default()), ..Default::default() };
    assert_eq!(machine.outcome(&ask(roles)), Ok(Reply::Auth(AuthReply::Roles(vec!["r".into()]))));
    let user = |name: &str| InternalRaftRequest {
        auth_user_get: Some(Box::new(pb::AuthUserGetRequest { name: name.into() })),
        ..Default::default()
    };
    let held = AuthReply::UserRoles(vec!["r".into()]);
    assert_eq!(machine.outcome(&ask(user("u"))), Ok(Reply::Auth(held)));
    assert_eq!(machine.outcome(&ask(user("x"))), Err(Rejected::UserNotFound));
}

/// A user as it is in the db file.
fn stored_user(machine: &Machine, name: &str) -> User {
    let stored = machine.state.views().backend.get(Bucket::AuthUsers, name.as_bytes());
    User::decode(stored.expect("readable").expect("is there")).expect("is one")
}

#[test]
fn a_password_in_the_clear_is_hashed_alike_on_all_members() {
    let add = |name: &str, password: &str| {
        let (name, password) = (name.into(), password.into());
        let add = pb::AuthUserAddRequest { name, password, ..Default::default() };
        InternalRaftRequest { auth_user_add: Some(Box::new(add)), ..Default::default() }
    };
    let change = |name: &str, password: &str| {
        let (name, password) = (name.into(), password.into());
        let change = pb::AuthUserChangePasswordRequest { name, password, ..Default::default() };
        InternalRaftRequest {
            auth_user_change_password: Some(Box::new(change)),
            ..Default::default()
        }
    };
    let done = || Ok(Reply::Auth(AuthReply::Done));
    let member = || {
        let mut machine = Machine::new();
        assert_eq!(machine.outcome(&add("u", "secret")), done());
        assert_eq!(machine.outcome(&add("v", "secret")), done());
        // What bcrypt does not read in whole is refused, and the member goes on.
        let long = "x".repeat(73);
        assert_eq!(machine.outcome(&add("w", &long)), Err(Rejected::NoPasswordUser));
        assert_eq!(machine.outcome(&change("v", &long)), Err(Rejected::NoPasswordUser));
        assert_eq!(machine.outcome(&change("v", &long[..72])), done());
        machine.commit();
        ["u", "v"].map(|name| stored_user(&machine, name))
    };
    let (users, others) = (member(), member());
    assert_eq!(users, others);
    let passwords = [("u", "secret".to_owned()), ("v", "x".repeat(72))];
    for (user, (name, password)) in users.iter().zip(&passwords) {
        assert_eq!(user.name, name.as_bytes());
        let hash = std::str::from_utf8(&user.password).expect("is text");
        assert!(hash.starts_with("$2a$10$"), "{hash}");
        assert!(bcrypt::verify(password, hash).expect("is a hash"));
    }
    // One password, two salts.
    let mut machine = Machine::new();
    machine.outcome(&add("v", "other")).expect("new");
    machine.outcome(&add("u", "secret")).expect("new");
    machine.commit();
    assert_ne!(stored_user(&machine, "u").password, users[0].password);
}

#[test]
fn the_configuration_of_raft_is_kept() {
    let mut machine = Machine::new();
    machine.change(&add(10));
    assert_eq!(machine.state.conf_state(), None);
    machine.state.set_conf_state(ConfState { voters: vec![10], ..ConfState::default() });
    machine.commit();
    let json = r#"{"voters":[10],"auto_leave":false}"#;
    assert_eq!(meta(&machine, "confState"), Some(bytes(json)));
    let machine = machine.restart(Options::default());
    let voters = machine.state.conf_state().map(|state| state.voters.clone());
    assert_eq!(voters, Some(vec![10]));
}
