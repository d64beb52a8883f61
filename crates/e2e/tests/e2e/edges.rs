//! Requests that chance rarely makes, to etcd and to pintle: numbers at their edges, and modes in
//! which a member refuses. Every reply must be the same.

use bytes::Bytes;
use e2e::{Client, Member, Request, Scratch, Server};
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::compare::TargetUnion;
use proto::etcdserverpb::request_op::Request::{RequestPut, RequestRange, RequestTxn};
use proto::etcdserverpb::{
    AlarmRequest, AlarmType, CompactionRequest, Compare, DeleteRangeRequest, HashKvRequest,
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseLeasesRequest, LeaseRevokeRequest,
    LeaseTimeToLiveRequest, MemberListRequest, PutRequest, RangeRequest, RequestOp, StatusRequest,
    TxnRequest,
};

const NUMBERS: [i64; 13] =
    [i64::MIN, i64::MIN + 1, -2, -1, 0, 1, 2, 4, 5, 10, 11, i64::MAX - 1, i64::MAX];
const FLAGS: [&str; 4] = [
    "--heartbeat-interval=20",
    "--election-timeout=200",
    "--unsafe-no-fsync",
    "--advertise-client-urls=http://127.0.0.1:2379",
];

/// Asks both the same, one after the other.
fn compare(flags: &[&str], requests: &[Request]) {
    let Some((pintle, etcd)) = Server::both() else { return };
    let scratches = [Scratch::new("edges-pintle"), Scratch::new("edges-etcd")];
    let flags = [&FLAGS, flags].concat();
    let start = |server, scratch: &Scratch| Member::start(server, scratch.path(), &flags).unwrap();
    let members = [start(&pintle, &scratches[0]), start(&etcd, &scratches[1])];
    let [ours, theirs] = members.each_ref().map(|member| Client::connect(member).unwrap());
    for request in requests {
        let expected = theirs.block_on(async |grpc| request.ask(grpc).await);
        let answer = ours.block_on(async |grpc| request.ask(grpc).await);
        assert_eq!(answer, expected, "pintle's answer and etcd's to {request:?}");
    }
}

fn range(change: impl FnOnce(&mut RangeRequest)) -> Request {
    Request::Range(range_message(change))
}

fn range_message(change: impl FnOnce(&mut RangeRequest)) -> RangeRequest {
    let (key, range_end) = (Bytes::from_static(b"a"), Bytes::from_static(b"z"));
    let mut range = RangeRequest { key, range_end, ..RangeRequest::default() };
    change(&mut range);
    range
}

fn put(key: &'static str, lease: i64) -> Request {
    Request::Put(PutRequest { key: key.into(), lease, ..PutRequest::default() })
}

fn put_op(key: &'static str) -> RequestOp {
    let put = PutRequest { key: key.into(), ..PutRequest::default() };
    RequestOp { request: Some(RequestPut(put)) }
}

fn txn(compare: Vec<Compare>, success: Vec<RequestOp>) -> Request {
    Request::Txn(TxnRequest { compare, success, failure: Vec::new() })
}

fn compaction(revision: i64) -> Request {
    Request::Compact(CompactionRequest { revision, physical: revision % 2 == 0 })
}

/// Three keys, each written three times: revision 10.
fn three_keys() -> Vec<Request> {
    (0..9).map(|number| put(["a", "b", "c"][number % 3], 0)).collect()
}

#[test]
fn numbers_of_reads() {
    let mut requests = three_keys();
    requests.push(compaction(4));
    for n in NUMBERS {
        let cut = n as i32;
        requests.extend([
            range(|it| it.revision = n),
            range(|it| it.limit = n),
            range(|it| (it.limit, it.sort_order, it.sort_target) = (n, 2, 3)),
            range(|it| (it.limit, it.sort_target) = (n, 3)),
            range(|it| it.min_mod_revision = n),
            range(|it| it.max_mod_revision = n),
            range(|it| it.min_create_revision = n),
            range(|it| it.max_create_revision = n),
            range(|it| (it.max_create_revision, it.limit, it.count_only) = (n, 1, true)),
            range(|it| (it.max_mod_revision, it.limit, it.keys_only) = (n, 1, true)),
            range(|it| it.sort_order = cut),
            range(|it| it.sort_target = cut),
            Request::HashKv(HashKvRequest { revision: n }),
        ]);
        let read = || {
            let range = range_message(|it| it.revision = n);
            RequestOp { request: Some(RequestRange(range)) }
        };
        requests.push(txn(Vec::new(), vec![read()]));
        requests.push(txn(Vec::new(), vec![read(), put_op("zz")]));
    }
    compare(&[], &requests);
}

#[test]
fn numbers_of_compares() {
    let mut requests = three_keys();
    for n in NUMBERS {
        let unions = [
            TargetUnion::Version(n),
            TargetUnion::CreateRevision(n),
            TargetUnion::ModRevision(n),
            TargetUnion::Value(Bytes::new()),
            TargetUnion::Lease(n),
            TargetUnion::Version(n),
        ];
        for (target, union) in (0..).zip(unions) {
            for (key, range_end) in [("a", ""), ("a", "d"), ("none", ""), ("none", "x")] {
                requests.extend((0..5).map(|result| {
                    let compare = Compare {
                        result,
                        target,
                        key: key.into(),
                        range_end: range_end.into(),
                        target_union: Some(union.clone()),
                    };
                    txn(vec![compare], Vec::new())
                }));
            }
        }
    }
    compare(&[], &requests);
}

#[test]
fn numbers_of_leases_and_compactions() {
    let mut requests = three_keys();
    for n in NUMBERS {
        requests.extend([
            put("l", n),
            Request::LeaseGrant(LeaseGrantRequest { ttl: n, id: 77 }),
            Request::LeaseTimeToLive(LeaseTimeToLiveRequest { id: 77, keys: true }),
            Request::LeaseRevoke(LeaseRevokeRequest { id: 77 }),
            Request::KeepAlive(LeaseKeepAliveRequest { id: n }),
        ]);
        if n != 0 {
            requests.extend([
                Request::LeaseGrant(LeaseGrantRequest { ttl: 1000, id: n }),
                put("l", n),
                Request::LeaseTimeToLive(LeaseTimeToLiveRequest { id: n, keys: true }),
                Request::LeaseLeases(LeaseLeasesRequest {}),
            ]);
        }
        requests.push(Request::LeaseRevoke(LeaseRevokeRequest { id: n }));
    }
    requests.extend(NUMBERS.map(compaction));
    compare(&[], &requests);
}

/// What a client may try, once under each mode.
fn tries() -> Vec<Request> {
    let key = || Bytes::from_static(b"a");
    let nested = |op| {
        let nested = TxnRequest { failure: vec![op], ..TxnRequest::default() };
        RequestOp { request: Some(RequestTxn(nested)) }
    };
    let read = || RequestOp { request: Some(RequestRange(range_message(|_| {}))) };
    vec![
        range(|_| {}),
        range(|it| it.serializable = true),
        put("a", 0),
        put("", 0),
        put("a", 999),
        Request::DeleteRange(DeleteRangeRequest { key: key(), ..DeleteRangeRequest::default() }),
        txn(Vec::new(), Vec::new()),
        txn(Vec::new(), vec![read()]),
        txn(Vec::new(), vec![put_op("a")]),
        txn(Vec::new(), vec![put_op("")]),
        txn(Vec::new(), vec![nested(put_op("a"))]),
        txn(Vec::new(), vec![nested(read())]),
        txn(Vec::new(), vec![RequestOp { request: None }]),
        Request::LeaseGrant(LeaseGrantRequest { ttl: 1000, id: 2 }),
        Request::LeaseGrant(LeaseGrantRequest { ttl: i64::MAX, id: 3 }),
        Request::LeaseLeases(LeaseLeasesRequest {}),
        Request::KeepAlive(LeaseKeepAliveRequest { id: 2 }),
        Request::LeaseRevoke(LeaseRevokeRequest { id: 2 }),
        Request::LeaseRevoke(LeaseRevokeRequest { id: 7 }),
        compaction(2),
        compaction(1000),
        Request::HashKv(HashKvRequest { revision: 0 }),
        Request::MemberList(MemberListRequest { linearizable: true }),
    ]
}

fn alarm(action: AlarmAction, member_id: u64, alarm: AlarmType) -> Request {
    Request::Alarm(AlarmRequest { action: action.into(), member_id, alarm: alarm.into() })
}

#[test]
fn under_alarms() {
    use AlarmAction::{Activate, Deactivate, Get};
    use AlarmType::{Corrupt, None, Nospace};
    let mut requests = vec![put("a", 0)];
    for raised in [vec![], vec![Nospace], vec![Corrupt], vec![Nospace, Corrupt]] {
        // Nobody says in which order several are told, so each is asked for by its kind.
        requests.extend(raised.iter().map(|kind| alarm(Activate, 7, *kind)));
        requests.extend(raised.iter().map(|kind| alarm(Activate, 7, *kind)));
        requests.extend([alarm(Get, 7, Nospace), alarm(Get, 0, Corrupt)]);
        requests.extend(tries());
        for kind in raised {
            requests.extend([alarm(Deactivate, 0, kind), alarm(Deactivate, 7, kind)]);
            requests.push(alarm(Deactivate, 7, kind));
        }
    }
    requests.extend([alarm(Activate, 0, None), alarm(Activate, 0, Corrupt)]);
    requests.push(Request::Status(StatusRequest {}));
    compare(&[], &requests);
}

#[test]
fn with_a_used_up_quota() {
    let get = || alarm(AlarmAction::Get, 0, AlarmType::None);
    let mut requests = vec![Request::LeaseGrant(LeaseGrantRequest { ttl: 1000, id: 2 }), get()];
    requests.extend(tries());
    requests.push(get());
    compare(&["--quota-backend-bytes=1"], &requests);
}
