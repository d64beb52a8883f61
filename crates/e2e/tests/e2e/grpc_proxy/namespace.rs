//! What clients of a namespace see is all there is for them.

use e2e::{Client, Server, everything};
use proto::etcdserverpb::{
    Compare, DeleteRangeRequest, LeaseGrantRequest, LeaseTimeToLiveRequest, PutRequest, TxnRequest,
    compare,
};

use super::{get, proxied, put, put_by};
use crate::both::put_op;
use crate::watch::{Watching, on_all, revision};

fn keys(client: &Client) -> Vec<String> {
    let reply = client.call(&everything(0)).unwrap();
    reply.kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect()
}

#[test]
fn clients_of_a_namespace_have_it_to_themselves() {
    let Some(pintle) = Server::pintle() else { return };
    let (_scratch, member, proxy) = proxied(&pintle, &["--namespace=ns/"]);
    let (within, without) =
        (Client::connect_to(proxy.address()).unwrap(), Client::connect(&member).unwrap());
    without.call(&put("a", "theirs")).unwrap();
    without.call(&put("z", "theirs")).unwrap();
    assert!(keys(&within).is_empty());
    within.call(&LeaseGrantRequest { id: 1, ttl: 100 }).unwrap();
    within.call(&PutRequest { lease: 1, ..put("a", "ours") }).unwrap();
    let compare = Compare {
        key: "a".into(),
        target: compare::CompareTarget::Value.into(),
        target_union: Some(compare::TargetUnion::Value("ours".into())),
        ..Compare::default()
    };
    let txn = TxnRequest {
        compare: vec![compare],
        success: vec![put_op("b", "ours")],
        ..TxnRequest::default()
    };
    assert!(within.call(&txn).unwrap().succeeded);
    assert_eq!(keys(&within), ["a", "b"]);
    assert_eq!(keys(&without), ["a", "ns/a", "ns/b", "z"]);
    let left = within.call(&LeaseTimeToLiveRequest { id: 1, keys: true }).unwrap();
    assert_eq!(left.keys, ["a"]);
    for empty in [within.call(&put("", "v")).err(), within.call(&get("")).err()] {
        let refused = empty.expect("a key is needed");
        assert_eq!(refused.message, "etcdserver: key is not provided");
    }
    let (mut watching, watch_id) = within.block_on(async |grpc| {
        let mut watching = Watching::open(grpc).await;
        let watch_id = watching.create(on_all()).await.watch_id;
        (watching, watch_id)
    });
    without.call(&put("b", "theirs")).unwrap();
    within.block_on(async |grpc| {
        let last = put_by(grpc, "c", "ours").await;
        let events = watching.events_until(watch_id, last).await;
        assert_eq!(events.iter().map(revision).collect::<Vec<_>>(), [last]);
        assert_eq!(events[0].kv.as_ref().map(|kv| &kv.key[..]), Some(&b"c"[..]));
    });
    let all = DeleteRangeRequest { key: "\0".into(), range_end: "\0".into(), prev_kv: true };
    let deleted = within.call(&all).unwrap();
    assert_eq!(
        deleted.prev_kvs.iter().map(|kv| &kv.key[..]).collect::<Vec<_>>(),
        [b"a", b"b", b"c"]
    );
    assert_eq!(keys(&without), ["a", "b", "z"]);
}
