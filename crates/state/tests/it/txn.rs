//! Txns, quirk by quirk.

use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{Compare, PutRequest, RangeRequest, RequestOp, TxnRequest};
use state::{OpReply, PutReply, RangeReply, Rejected, Reply, TxnReply};

use crate::kit::{
    Machine, bytes, delete_op, on_compact, on_grant, on_put, on_txn, op, put, put_op, range,
    range_op, row, txn_op,
};

fn compare(key: &str, result: CompareResult, operand: TargetUnion) -> Compare {
    let target = match operand {
        TargetUnion::Version(_) => CompareTarget::Version,
        TargetUnion::CreateRevision(_) => CompareTarget::Create,
        TargetUnion::ModRevision(_) => CompareTarget::Mod,
        TargetUnion::Value(_) => CompareTarget::Value,
        TargetUnion::Lease(_) => CompareTarget::Lease,
    };
    Compare {
        key: bytes(key),
        result: result as i32,
        target: target as i32,
        target_union: Some(operand),
        ..Compare::default()
    }
}

fn exists(key: &str) -> Compare {
    compare(key, CompareResult::Greater, TargetUnion::Version(0))
}

fn success(ops: Vec<RequestOp>) -> TxnRequest {
    TxnRequest { success: ops, ..TxnRequest::default() }
}

fn txn_reply(machine: &mut Machine, txn: TxnRequest) -> TxnReply {
    match machine.outcome(&on_txn(txn)) {
        Ok(Reply::Txn(reply)) => reply,
        other => panic!("no txn reply: {other:?}"),
    }
}

/// `a` = 1 (created at 2, written again at 3), `b` = 2 (at 4, under lease 7).
fn machine() -> Machine {
    let mut machine = Machine::new();
    machine.apply(&on_grant(7, 100));
    machine.apply(&on_put(put("a", "0")));
    machine.apply(&on_put(put("a", "1")));
    machine.apply(&on_put(PutRequest { lease: 7, ..put("b", "2") }));
    machine
}

fn holds(machine: &mut Machine, compare: Compare) -> bool {
    txn_reply(machine, TxnRequest { compare: vec![compare], ..TxnRequest::default() }).succeeded
}

#[test]
fn compares_know_five_targets_and_four_results() {
    let mut machine = machine();
    use CompareResult::{Equal, Greater, Less, NotEqual};
    for (key, operand) in [
        ("a", TargetUnion::Version(2)),
        ("a", TargetUnion::CreateRevision(2)),
        ("a", TargetUnion::ModRevision(3)),
        ("a", TargetUnion::Value(bytes("1"))),
        ("a", TargetUnion::Lease(0)),
        ("b", TargetUnion::Lease(7)),
    ] {
        for (result, expected) in
            [(Equal, true), (NotEqual, false), (Greater, false), (Less, false)]
        {
            assert_eq!(holds(&mut machine, compare(key, result, operand.clone())), expected);
        }
    }
    assert!(holds(&mut machine, compare("a", Less, TargetUnion::Value(bytes("10")))));
    assert!(holds(&mut machine, compare("a", Greater, TargetUnion::Value(bytes("0zzz")))));
    assert!(holds(&mut machine, compare("a", Greater, TargetUnion::Version(-1))));
}

#[test]
fn a_missing_key_counts_as_zero_but_never_has_a_value() {
    let mut machine = machine();
    use CompareResult::{Equal, NotEqual};
    assert!(holds(&mut machine, compare("x", Equal, TargetUnion::Version(0))));
    assert!(holds(&mut machine, compare("x", Equal, TargetUnion::Lease(0))));
    assert!(!holds(&mut machine, compare("x", Equal, TargetUnion::ModRevision(1))));
    assert!(!holds(&mut machine, compare("x", Equal, TargetUnion::Value(bytes("")))));
    assert!(!holds(&mut machine, compare("x", NotEqual, TargetUnion::Value(bytes("1")))));
}

#[test]
fn an_operand_of_another_kind_counts_as_zero() {
    let mut machine = machine();
    let wrong = |target: CompareTarget, operand: Option<TargetUnion>| Compare {
        key: bytes("a"),
        result: CompareResult::Greater as i32,
        target: target as i32,
        target_union: operand,
        ..Compare::default()
    };
    assert!(holds(&mut machine, wrong(CompareTarget::Version, Some(TargetUnion::Lease(99)))));
    assert!(holds(&mut machine, wrong(CompareTarget::Mod, None)));
    assert!(holds(&mut machine, wrong(CompareTarget::Value, Some(TargetUnion::Version(9)))));
    assert!(!holds(&mut machine, wrong(CompareTarget::Lease, None)));
}

#[test]
fn an_unknown_question_is_true_and_an_unknown_target_equal() {
    let mut machine = machine();
    let odd = |result, target| Compare { key: bytes("a"), result, target, ..Compare::default() };
    assert!(holds(&mut machine, odd(9, 0)));
    assert!(holds(&mut machine, odd(CompareResult::Equal as i32, 9)));
    assert!(!holds(&mut machine, odd(CompareResult::Less as i32, 9)));
}

#[test]
fn a_range_holds_if_every_key_does() {
    let mut machine = machine();
    let over = |end: &str, operand| Compare {
        range_end: bytes(end),
        ..compare("a", CompareResult::Less, operand)
    };
    assert!(holds(&mut machine, over("z", TargetUnion::ModRevision(5))));
    assert!(holds(&mut machine, over("\0", TargetUnion::ModRevision(5))));
    assert!(!holds(&mut machine, over("z", TargetUnion::ModRevision(4))));
    assert!(holds(&mut machine, over("b", TargetUnion::ModRevision(4))));
    // Nothing lies in a turned range.
    assert!(holds(&mut machine, over("A", TargetUnion::Version(1))));
    assert!(!holds(&mut machine, over("A", TargetUnion::Value(bytes("z")))));
}

#[test]
fn a_compare_looks_at_all_keys_of_a_large_range() {
    let mut machine = Machine::new();
    for key in 0..2500 {
        machine.apply(&on_put(put(&format!("k{key:04}"), "v")));
    }
    let less = |revision| Compare {
        range_end: bytes("l"),
        ..compare("k", CompareResult::Less, TargetUnion::ModRevision(revision))
    };
    assert!(holds(&mut machine, less(2502)));
    assert!(!holds(&mut machine, less(2501)));
}

#[test]
fn nested_branches_are_chosen_on_the_keys_before_the_txn() {
    let mut machine = machine();
    let nested = TxnRequest {
        compare: vec![exists("new")],
        success: vec![put_op("seen", "yes")],
        failure: vec![put_op("seen", "no")],
    };
    let reply = txn_reply(&mut machine, success(vec![put_op("new", "1"), txn_op(nested)]));
    assert!(matches!(&reply.responses[1], OpReply::Txn(nested) if !nested.succeeded));
    assert_eq!(machine.rows()[3], "seen=no 5/5/1/0");
}

#[test]
fn all_changes_share_one_revision_and_reads_see_those_before() {
    let mut machine = machine();
    let reply = txn_reply(
        &mut machine,
        success(vec![
            range_op("a", ""),
            put_op("a", "x"),
            range_op("a", ""),
            delete_op("a", "c"),
            put_op("a", "y"),
            range_op("a", "\0"),
        ]),
    );
    assert_eq!(reply.revision, 5);
    let rows: Vec<(i64, Vec<String>)> = reply
        .responses
        .iter()
        .map(|response| match response {
            OpReply::Range(range) => (range.revision, range.kvs.iter().map(row).collect()),
            OpReply::Put(put) => (put.revision, vec![]),
            OpReply::DeleteRange(delete) => {
                (delete.revision, delete.prev_kvs.iter().map(row).collect())
            }
            other => panic!("not asked for: {other:?}"),
        })
        .collect();
    let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        rows,
        [
            (4, lines(&["a=1 2/3/2/0"])),
            (5, vec![]),
            (5, lines(&["a=x 2/5/3/0"])),
            (5, lines(&["a=x 2/5/3/0", "b=2 4/4/1/7"])),
            (5, vec![]),
            // Deleted and put in one txn: a new life.
            (5, lines(&["a=y 5/5/1/0"])),
        ]
    );
}

#[test]
fn a_txn_without_changes_uses_no_revision() {
    let mut machine = machine();
    let reply = txn_reply(&mut machine, success(vec![delete_op("x", ""), range_op("a", "")]));
    assert_eq!((reply.revision, machine.revision()), (4, 4));
    assert!(matches!(&reply.responses[0], OpReply::DeleteRange(delete) if delete.revision == 4));
}

#[test]
fn the_header_of_a_nested_txn_is_empty() {
    let mut machine = machine();
    let nested = success(vec![put_op("n", "1")]);
    let reply = txn_reply(&mut machine, success(vec![txn_op(nested)]));
    let put = OpReply::Put(PutReply { revision: 5, prev_kv: None });
    let nested = TxnReply { revision: 0, succeeded: true, responses: vec![put] };
    assert_eq!(reply.responses, [OpReply::Txn(nested)]);
}

#[test]
fn one_refused_operation_refuses_the_txn_whole() {
    let mut machine = machine();
    let range_at =
        |revision| op(Request::RequestRange(RangeRequest { revision, ..range("a", "") }));
    let put_with = |put: PutRequest| op(Request::RequestPut(put));
    let refused = [
        (range_at(5), Rejected::FutureRevision),
        (range_at(-2), Rejected::Compacted),
        (put_with(PutRequest { lease: 9, ..put("a", "") }), Rejected::LeaseNotFound),
        (put_with(PutRequest { ignore_value: true, ..put("x", "") }), Rejected::KeyNotFound),
        (put_with(PutRequest { ignore_lease: true, ..put("x", "") }), Rejected::KeyNotFound),
    ];
    let before = machine.rows();
    for (last, rejected) in refused {
        let plain = success(vec![put_op("a", "9"), last.clone()]);
        assert_eq!(machine.outcome(&on_txn(plain)), Err(rejected));
        let nested = success(vec![put_op("a", "9"), txn_op(success(vec![last]))]);
        assert_eq!(machine.outcome(&on_txn(nested)), Err(rejected));
    }
    assert_eq!((machine.rows(), machine.revision()), (before, 4));
}

#[test]
fn a_put_may_not_rely_on_a_key_that_the_same_txn_makes() {
    let mut machine = machine();
    let ignore = PutRequest { ignore_value: true, ..put("x", "") };
    let txn = success(vec![put_op("x", "1"), op(Request::RequestPut(ignore))]);
    assert_eq!(machine.outcome(&on_txn(txn)), Err(Rejected::KeyNotFound));
}

#[test]
fn checks_are_made_whether_or_not_somebody_waits() {
    let mut machine = machine();
    let future = RangeRequest { revision: 99, ..range("a", "") };
    let txn = success(vec![put_op("a", "9"), op(Request::RequestRange(future))]);
    let at = machine.next_id();
    let applied = machine.state.apply(at, &on_txn(txn), false).expect("an entry");
    assert_eq!(applied.outcome, Err(Rejected::FutureRevision));
    assert_eq!(machine.revision(), 4);
}

#[test]
fn ranges_of_a_txn_are_not_read_where_nobody_waits() {
    let mut machine = machine();
    let txn = on_txn(success(vec![put_op("a", "9"), range_op("a", "\0")]));
    let at = machine.next_id();
    let applied = machine.state.apply(at, &txn, false).expect("an entry");
    let Ok(Reply::Txn(reply)) = applied.outcome else { panic!("refused") };
    let unread = RangeReply { revision: 5, ..RangeReply::default() };
    assert_eq!(reply.responses[1], OpReply::Range(unread));
}

#[test]
fn minus_one_can_be_read_until_the_first_compaction() {
    let mut machine = machine();
    let read = |machine: &mut Machine, revision| {
        let range = RangeRequest { revision, ..range("a", "") };
        machine.outcome(&on_txn(success(vec![op(Request::RequestRange(range))]))).map(drop)
    };
    assert_eq!(read(&mut machine, -1), Ok(()));
    assert_eq!(read(&mut machine, -2), Err(Rejected::Compacted));
    machine.apply(&on_compact(3));
    assert_eq!(read(&mut machine, -1), Err(Rejected::Compacted));
    assert_eq!(read(&mut machine, 2), Err(Rejected::Compacted));
    assert_eq!(read(&mut machine, 3), Ok(()));
    assert_eq!(read(&mut machine, 0), Ok(()));
}

#[test]
fn an_operation_that_names_nothing_is_passed_over() {
    let mut machine = machine();
    let reply =
        txn_reply(&mut machine, success(vec![RequestOp { request: None }, put_op("a", "2")]));
    assert_eq!(reply.responses[0], OpReply::Empty);
    assert_eq!(machine.revision(), 5);
}

#[test]
fn a_reader_answers_read_only_txns_as_of_one_revision() {
    let mut machine = machine();
    let views = machine.state.views().clone();
    let txn = TxnRequest {
        compare: vec![compare("b", CompareResult::Equal, TargetUnion::Lease(7))],
        success: vec![
            range_op("a", ""),
            op(Request::RequestRange(RangeRequest { revision: 2, ..range("a", "\0") })),
        ],
        failure: vec![],
    };
    assert!(state::is_read_only(&txn) && !state::is_serializable(&txn));
    let by_reader = views.read_txn(&txn).expect("readable").expect("allowed");
    assert_eq!(Ok(Reply::Txn(by_reader.clone())), machine.outcome(&on_txn(txn)));
    assert!(by_reader.succeeded);
    let OpReply::Range(old) = &by_reader.responses[1] else { panic!("a range") };
    assert_eq!((old.revision, old.count), (4, 1));
    assert_eq!(row(&old.kvs[0]), "a=0 2/2/1/0");
    let future = RangeRequest { revision: 5, ..range("a", "") };
    let refused = views.read_txn(&success(vec![op(Request::RequestRange(future))]));
    assert_eq!(refused.expect("readable"), Err(Rejected::FutureRevision));
}

#[test]
fn what_counts_as_read_only_and_serializable() {
    let serializable =
        |key| op(Request::RequestRange(RangeRequest { serializable: true, ..range(key, "") }));
    assert!(state::is_read_only(&TxnRequest::default()));
    assert!(state::is_serializable(&TxnRequest::default()));
    assert!(state::is_serializable(&success(vec![serializable("a")])));
    assert!(!state::is_serializable(&success(vec![serializable("a"), range_op("a", "")])));
    // A nested txn is a write, whatever it does.
    let nested = success(vec![txn_op(success(vec![range_op("a", "")]))]);
    assert!(!state::is_read_only(&nested) && !state::is_serializable(&nested));
    let put = TxnRequest { failure: vec![put_op("a", "")], ..TxnRequest::default() };
    assert!(!state::is_read_only(&put));
}
