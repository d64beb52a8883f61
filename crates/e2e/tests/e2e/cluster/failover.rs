//! How long clients wait for their next write when the leader is lost: at the default timings, and
//! etcd's figures beside ours.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use e2e::{Cluster, Grpc, Server, Status, streams};
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{PutRequest, WatchCreateRequest, WatchRequest, WatchResponse};
use tokio::sync::mpsc;

use super::alone;

/// How a leader is lost.
#[derive(Debug, Clone, Copy)]
enum Loss {
    /// Its process dies, and the others' connections to it break.
    Killed,
    /// It hangs, and they do not.
    Hangs,
    /// Nothing goes to it or comes from it.
    CutOff,
}

#[test]
fn writes_go_on_soon_after_the_leader_has_died() {
    compare(Loss::Killed, Duration::from_secs(1));
}

#[test]
fn writes_go_on_soon_after_the_leader_hangs() {
    compare(Loss::Hangs, Duration::from_millis(2500));
}

#[test]
fn writes_go_on_soon_after_the_leader_is_cut_off() {
    compare(Loss::CutOff, Duration::from_millis(2500));
}

/// Watches of a kube-apiserver want a leader, and each of its controllers begins anew when one is
/// refused: between two leaders is no time for that.
#[test]
fn watches_that_want_a_leader_are_taken_between_two_leaders() {
    let Some(pintle) = Server::pintle() else { return };
    let _alone = alone();
    let flags = ["--heartbeat-interval=100", "--election-timeout=2000"];
    let mut cluster = Cluster::start("led", &[&pintle; 3], &flags).unwrap();
    let leader = cluster.wait_for_leader().unwrap();
    let others: Vec<_> = cluster.running().into_iter().filter(|at| *at != leader).collect();
    cluster.kill(leader).unwrap();
    let killed = e2e::now();
    let mut led = None;
    while led.is_none() || e2e::now() < killed + Duration::from_millis(500) {
        for at in &others {
            begin_led_watch(&cluster, *at).unwrap();
        }
        led = led.or(cluster.leader());
    }
    // And if there is none for long, whoever asks is told.
    let leader = cluster.wait_for_leader().unwrap();
    let last = others.into_iter().find(|at| *at != leader).unwrap();
    cluster.kill(leader).unwrap();
    let killed = e2e::now();
    begin_led_watch(&cluster, last).unwrap();
    let refused = e2e::until(Duration::from_secs(10), || begin_led_watch(&cluster, last).err());
    assert_eq!(refused.unwrap().message, "etcdserver: no leader");
    assert!(e2e::now() - killed >= Duration::from_millis(1500), "it was in a hurry");
}

fn begin_led_watch(cluster: &Cluster, at: usize) -> Result<(), Status> {
    let address = cluster.member(at).address();
    cluster.runtime().block_on(async {
        let grpc = Grpc::connect(address).await.unwrap();
        let mut call = grpc.open_with(streams::WATCH, &[("hasleader", "true")]).await?;
        let create = WatchCreateRequest { key: "k".into(), ..WatchCreateRequest::default() };
        let request = Some(RequestUnion::CreateRequest(create));
        call.send(&WatchRequest { request_union: request })?;
        let reply: Option<WatchResponse> = call.next().await?;
        assert!(reply.unwrap().created);
        call.cancel();
        Ok(())
    })
}

/// Bounds are generous, for machines that have other things to do.
fn compare(loss: Loss, bound: Duration) {
    let Some((pintle, etcd)) = Server::both() else { return };
    let _alone = alone();
    let ours = waits(&pintle, loss);
    let theirs = waits(&etcd, loss);
    let (median, etcds) = (ours[ours.len() / 2], theirs[theirs.len() / 2]);
    eprintln!("leader lost ({loss:?}): pintle {median:?} {ours:?}, etcd {etcds:?} {theirs:?}");
    let bound = bound.max(etcds * 3 / 2);
    assert!(median <= bound, "{loss:?}: {median:?}, and at most {bound:?} is right");
}

/// From the loss of the leader to the next write, sorted.
fn waits(server: &Server, loss: Loss) -> Vec<Duration> {
    let mut cluster = Cluster::start("failover", &[server; 3], &[]).unwrap();
    let rounds = e2e::rounds(3);
    let mut waits: Vec<_> = (0..rounds).map(|_| wait(&mut cluster, loss)).collect();
    waits.sort_unstable();
    waits
}

fn wait(cluster: &mut Cluster, loss: Loss) -> Duration {
    let leader = cluster.wait_for_leader().unwrap();
    let others = cluster.running().into_iter().filter(|at| *at != leader);
    let others: Vec<SocketAddr> = others.map(|at| cluster.member(at).address()).collect();
    let connected = async {
        let mut connections = Vec::new();
        for address in others {
            connections.push(Grpc::connect(address).await.unwrap());
        }
        connections
    };
    let connections = cluster.runtime().block_on(connected);
    let lost = e2e::now();
    match loss {
        Loss::Killed => cluster.kill(leader).unwrap(),
        Loss::Hangs => cluster.pause(leader).unwrap(),
        Loss::CutOff => cluster.cut_off(leader),
    }
    let written = cluster.runtime().block_on(first_write(connections));
    match loss {
        Loss::Killed => cluster.restart(leader).unwrap(),
        Loss::Hangs => cluster.resume(leader).unwrap(),
        Loss::CutOff => cluster.heal(),
    }
    cluster.wait_for_leader().unwrap();
    written - lost
}

/// When the first of many writes is acknowledged, of which none waits for the one before: what is
/// sent too early may be lost with the leader.
async fn first_write(connections: Vec<Grpc>) -> Duration {
    let (sender, mut written) = mpsc::channel(1);
    let sender = Arc::new(sender);
    let mut attempts = tokio::task::JoinSet::new();
    for _ in 0..6000 {
        for grpc in &connections {
            let (grpc, sender) = (grpc.clone(), sender.clone());
            attempts.spawn(async move {
                let put = PutRequest { key: "failover".into(), ..PutRequest::default() };
                if grpc.call(&put).await.is_ok() {
                    // Another one was first if there is no room.
                    let _ = sender.try_send(e2e::now());
                }
            });
        }
        let next = Duration::from_millis(5);
        if let Ok(Some(written)) = tokio::time::timeout(next, written.recv()).await {
            return written;
        }
    }
    panic!("no write was acknowledged within half a minute");
}
