//! A member that dies behind the proxy, and a proxy that ends.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use e2e::{Client, Cluster, Grpc, Proxy, Server, streams};
use proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse, WatchCreateRequest,
};

use super::{proxied, put};
use crate::cluster::alone;
use crate::watch::{Watching, on_key, on_range, revision};

const FLAGS: [&str; 3] = ["--heartbeat-interval=50", "--election-timeout=500", "--unsafe-no-fsync"];
const LEASE: i64 = 7;
/// Before a put that was refused is made again.
const PAUSE: Duration = Duration::from_millis(20);

/// Puts until a member has taken it, and tells at which revision.
async fn put_at_last(grpc: &Grpc, key: &str, value: &str) -> i64 {
    loop {
        match grpc.call(&put(key, value)).await {
            Ok(reply) => return reply.header.expect("every reply has one").revision,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

#[test]
fn watchers_and_renewals_outlive_each_member() {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    let mut cluster = Cluster::start("loss", &[&pintle; 3], &FLAGS).unwrap();
    let endpoints = [0, 1, 2].map(|at| cluster.member(at).endpoint()).join(",");
    let proxy = Proxy::grpc(&pintle, &endpoints, &[]).unwrap();
    let client = Client::connect_to(proxy.address()).unwrap();
    client.call(&LeaseGrantRequest { id: LEASE, ttl: 60 }).unwrap();
    let (mut watching, watch_id, mut renewals) = client.block_on(async |grpc| {
        let mut watching = Watching::open(grpc).await;
        let all = WatchCreateRequest { start_revision: 1, ..on_range("k", "l") };
        let watch_id = watching.create(all).await.watch_id;
        (watching, watch_id, grpc.open(streams::LEASE_KEEP_ALIVE).await.unwrap())
    });
    let mut number = 0;
    for killed in [0, 1, 2] {
        cluster.kill(killed).unwrap();
        client.block_on(async |grpc| {
            for _ in 0..10 {
                number += 1;
                let last = put_at_last(grpc, &format!("k{number}"), "v").await;
                let events = watching.events_until(watch_id, last).await;
                assert!(events.iter().map(revision).any(|revision| revision == last));
            }
            renewals.send(&LeaseKeepAliveRequest { id: LEASE }).unwrap();
            let reply: LeaseKeepAliveResponse = renewals.next().await.unwrap().unwrap();
            assert_eq!((reply.id, reply.ttl), (LEASE, 60));
        });
        cluster.restart(killed).unwrap();
    }
}

#[test]
fn it_ends_by_the_signal_and_tells_its_clients() {
    let Some(pintle) = Server::pintle() else { return };
    let (_scratch, _member, mut proxy) = proxied(&pintle, &[]);
    let client = Client::connect_to(proxy.address()).unwrap();
    client.block_on(async |grpc| {
        let mut watching = Watching::open(grpc).await;
        watching.create(on_key("k")).await;
        let ended = proxy.stop().unwrap();
        assert_eq!(ended.signal(), Some(15));
        watching.end().await;
    });
}

#[test]
fn nobody_behind_it_is_told_soon() {
    let Some(pintle) = Server::pintle() else { return };
    let nobody = e2e::free_port();
    let proxy = Proxy::grpc(&pintle, &format!("127.0.0.1:{nobody}"), &[]).unwrap();
    let refused = Client::connect_to(proxy.address()).unwrap().call(&put("k", "v"));
    let refused = refused.expect_err("there is nobody");
    assert_eq!(refused.code, 14, "{refused:?}");
    assert!(refused.message.contains("connection refused"), "{refused:?}");
    let (code, body) = proxy.get("/health").unwrap();
    assert_eq!(code, 503);
    assert!(body.contains(r#""health":"false""#), "{body}");
}
