//! Our proxy before etcd, etcd's before pintle, and several of both kinds beside each other.

use std::time::Duration;

use e2e::{Client, Member, Proxy, Scratch, Server, streams};
use proto::etcdserverpb::{
    HashKvRequest, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseTimeToLiveRequest, MemberListRequest, PutRequest, SnapshotRequest, SnapshotResponse,
    StatusRequest, TxnRequest, WatchCreateRequest,
};

use super::{get, put, put_by, read_anywhere};
use crate::both::put_op;
use crate::watch::{Watching, on_key, revision};

/// How long a proxy may take to tell of itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// All there is to ask, once.
fn use_it(client: &Client, lease: i64) {
    client.call(&LeaseGrantRequest { id: lease, ttl: 100 }).unwrap();
    client.call(&PutRequest { lease, ..put("k", "v") }).unwrap();
    assert_eq!(client.call(&get("k")).unwrap().kvs[0].lease, lease);
    assert_eq!(read_anywhere(client, "k"), "v");
    let txn = TxnRequest { success: vec![put_op("t", "v")], ..TxnRequest::default() };
    assert!(client.call(&txn).unwrap().succeeded);
    let left = client.call(&LeaseTimeToLiveRequest { id: lease, keys: true }).unwrap();
    assert_eq!(left.keys, ["k"]);
    assert_eq!(client.call(&StatusRequest {}).unwrap().leader, {
        client.call(&HashKvRequest::default()).unwrap().header.unwrap().member_id
    });
    client.block_on(async |grpc| {
        let mut renewals = grpc.open(streams::LEASE_KEEP_ALIVE).await.unwrap();
        // Once: etcd's proxy answers a second one when a third of the time is over.
        renewals.send(&LeaseKeepAliveRequest { id: lease }).unwrap();
        let reply: LeaseKeepAliveResponse = renewals.next().await.unwrap().unwrap();
        assert_eq!((reply.id, reply.ttl), (lease, 100));
        let mut watching = Watching::open(grpc).await;
        let past = WatchCreateRequest { start_revision: 1, ..on_key("w") };
        let watch_id = watching.create(past).await.watch_id;
        let last = put_by(grpc, "w", "v").await;
        let events = watching.events_until(watch_id, last).await;
        assert_eq!(events.last().map(revision), Some(last));
        let mut snapshot = grpc.open(streams::SNAPSHOT).await.unwrap();
        snapshot.send_last(&SnapshotRequest {}).unwrap();
        let mut bytes = 0;
        while let Some(part) = snapshot.next::<SnapshotResponse>().await.unwrap() {
            bytes += part.blob.len();
        }
        assert!(bytes > 16 << 10, "{bytes}");
    });
}

#[test]
fn any_proxy_may_stand_before_any_member() {
    let Some((pintle, etcd)) = Server::both() else { return };
    for (at_front, behind) in [(&pintle, &etcd), (&etcd, &pintle), (&pintle, &pintle)] {
        let scratch = Scratch::new("crossed");
        let member = Member::start(behind, scratch.path(), &["--unsafe-no-fsync"]).unwrap();
        let proxy = Proxy::grpc(at_front, &member.endpoint(), &[]).unwrap();
        use_it(&Client::connect_to(proxy.address()).unwrap(), 1);
        // And one before another.
        let before = Proxy::grpc(&pintle, &proxy.address().to_string(), &[]).unwrap();
        use_it(&Client::connect_to(before.address()).unwrap(), 2);
    }
}

#[test]
fn proxies_of_both_kinds_know_of_each_other() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let scratch = Scratch::new("crossed");
    let member = Member::start(&pintle, scratch.path(), &["--unsafe-no-fsync"]).unwrap();
    let flags = ["--resolver-prefix=proxies", "--resolver-ttl=60"];
    let proxies =
        [&pintle, &etcd].map(|server| Proxy::grpc(server, &member.endpoint(), &flags).unwrap());
    let mut expected = proxies.each_ref().map(|proxy| proxy.address().to_string());
    expected.sort();
    for proxy in &proxies {
        let client = Client::connect_to(proxy.address()).unwrap();
        let listed = e2e::until(PATIENCE, || {
            let list = client.call(&MemberListRequest::default()).ok()?;
            let urls = list.members.into_iter().flat_map(|member| member.client_urls);
            let mut urls: Vec<_> = urls.collect();
            urls.sort();
            (urls == expected).then_some(())
        });
        assert!(listed.is_some(), "{expected:?}\n{}", proxy.log());
    }
}
