//! Does with the etcd client of Rust what programs do with it, and prints what came of it. Run with
//! the endpoint as argument; two servers must make it print the same.

mod services;

use etcd_client::{
    AlarmAction, AlarmType, Client, CompactionOptions, Compare, CompareOp, DeleteOptions, Error,
    GetOptions, KeyValue, LeaseGrantOptions, LeaseTimeToLiveOptions, PutOptions, SortOrder,
    SortTarget, Txn, TxnOp, TxnOpResponse, WatchFilterType, WatchOptions,
};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let endpoint = std::env::args().nth(1).unwrap_or_default();
    let mut client = Client::connect([&endpoint], None).await?;
    keys(&mut client).await?;
    txns(&mut client).await?;
    leases(&mut client).await?;
    watches(&mut client).await?;
    maintenance(&mut client).await?;
    services::prefixes(&mut client).await?;
    services::locks(&mut client, &endpoint).await?;
    services::elections(&mut client, &endpoint).await?;
    services::members(&mut client).await?;
    services::users(&mut client, &endpoint).await
}

fn show(what: &str, kvs: &[KeyValue]) {
    for kv in kvs {
        println!("{what}: {kv:?}");
    }
    println!("{what}: {} in all", kvs.len());
}

fn failing<T: std::fmt::Debug>(what: &str, result: Result<T, Error>) {
    match result {
        Ok(value) => println!("{what}: no error but {value:?}"),
        Err(Error::GRpcStatus(status)) => {
            println!("{what}: {:?} {}", status.code(), status.message());
        }
        Err(error) => println!("{what}: {error}"),
    }
}

async fn keys(client: &mut Client) -> Result<(), Error> {
    for number in 0..6 {
        client.put(format!("k/{number}"), format!("value {}", 9 - number), None).await?;
    }
    let options = PutOptions::new().with_prev_key();
    let mut put = client.put("k/3", "new", Some(options)).await?;
    println!("put: {:?} {:?}", put.take_header(), put.prev_key());
    let prefix = || GetOptions::new().with_prefix();
    let gets = [
        ("all", prefix()),
        ("limit", prefix().with_limit(2)),
        ("keys", prefix().with_keys_only()),
        ("sorted", prefix().with_sort(SortTarget::Value, SortOrder::Descend)),
        ("old", prefix().with_revision(4)),
        ("from", GetOptions::new().with_from_key()),
        ("range", GetOptions::new().with_range("k/3")),
        ("serializable", prefix().with_serializable()),
        ("since", prefix().with_min_mod_revision(7)),
        ("count", prefix().with_count_only()),
    ];
    for (what, options) in gets {
        let reply = client.get("k/", Some(options)).await?;
        show(what, reply.kvs());
        println!("{what}: {} {}", reply.count(), reply.more());
    }
    let options = DeleteOptions::new().with_range("k/9").with_prev_key();
    let reply = client.delete("k/4", Some(options)).await?;
    show("deleted", reply.prev_kvs());
    failing("no key", client.put("", "x", None).await);
    failing("too big", client.put("big", vec![0; 1_700 * 1024], None).await);
    let options = GetOptions::new().with_revision(1000);
    failing("future", client.get("k/1", Some(options)).await);
    Ok(())
}

async fn txns(client: &mut Client) -> Result<(), Error> {
    let nested = Txn::new()
        .when([Compare::version("t/2", CompareOp::Equal, 0)])
        .and_then([TxnOp::put("t/2", "b", None)]);
    let txn = Txn::new()
        .when([
            Compare::value("k/1", CompareOp::Equal, "value 8"),
            Compare::mod_revision("k/", CompareOp::Less, 1000).with_prefix(),
        ])
        .and_then([
            TxnOp::put("t/1", "a", None),
            TxnOp::get("k/", Some(GetOptions::new().with_prefix())),
            TxnOp::delete("k/0", None),
            TxnOp::txn(nested),
        ])
        .or_else([TxnOp::put("t/never", "c", None)]);
    let reply = client.txn(txn).await?;
    println!("txn: {}", reply.succeeded());
    for answer in reply.op_responses() {
        match answer {
            TxnOpResponse::Put(put) => println!("txn put: {:?}", put.header()),
            TxnOpResponse::Get(get) => show("txn get", get.kvs()),
            TxnOpResponse::Delete(delete) => println!("txn delete: {}", delete.deleted()),
            TxnOpResponse::Txn(txn) => println!("txn txn: {}", txn.succeeded()),
        }
    }
    let twice = [TxnOp::put("x", "1", None), TxnOp::put("x", "2", None)];
    failing("duplicate", client.txn(Txn::new().and_then(twice)).await);
    Ok(())
}

async fn leases(client: &mut Client) -> Result<(), Error> {
    let granted = client.lease_grant(600, Some(LeaseGrantOptions::new().with_id(4711))).await?;
    println!("granted: {} {}", granted.id(), granted.ttl());
    client.put("l/1", "leased", Some(PutOptions::new().with_lease(4711))).await?;
    let (mut keeper, mut kept) = client.lease_keep_alive(4711).await?;
    for _ in 0..3 {
        keeper.keep_alive().await?;
        println!("kept: {:?}", kept.message().await?.map(|reply| reply.ttl()));
    }
    let options = LeaseTimeToLiveOptions::new().with_keys();
    let left = client.lease_time_to_live(4711, Some(options)).await?;
    println!("left: {} {:?}", left.granted_ttl(), left.keys());
    println!("leases: {:?}", client.leases().await?.leases());
    let options = LeaseGrantOptions::new().with_id(4711);
    failing("again", client.lease_grant(60, Some(options)).await);
    client.lease_revoke(4711).await?;
    show("revoked", client.get("l/1", None).await?.kvs());
    failing("revoked", client.lease_revoke(4711).await);
    Ok(())
}

async fn watches(client: &mut Client) -> Result<(), Error> {
    let options = WatchOptions::new().with_prefix().with_prev_key();
    let mut stream = client.watch("w/", Some(options)).await?;
    let deletes = WatchOptions::new().with_prefix().with_filters([WatchFilterType::NoPut]);
    let mut deleted = client.watch("w/", Some(deletes)).await?;
    client.put("w/1", "a", None).await?;
    client.put("w/1", "b", None).await?;
    client.delete("w/", Some(DeleteOptions::new().with_prefix())).await?;
    events("watch", &mut stream, 3).await?;
    events("deletes", &mut deleted, 1).await?;
    let old = WatchOptions::new().with_start_revision(2);
    let mut stream = client.watch("k/0", Some(old)).await?;
    events("old", &mut stream, 2).await?;
    stream.request_progress().await?;
    Ok(())
}

async fn events(
    what: &str,
    stream: &mut etcd_client::WatchStream,
    count: usize,
) -> Result<(), Error> {
    let mut seen = 0;
    while seen < count {
        let Some(reply) = stream.message().await? else { break };
        for event in reply.events() {
            println!("{what}: {:?} {:?} {:?}", event.event_type(), event.kv(), event.prev_kv());
            seen += 1;
        }
    }
    Ok(())
}

async fn maintenance(client: &mut Client) -> Result<(), Error> {
    let revision =
        client.put("last", "x", None).await?.header().map_or(0, |header| header.revision());
    client.compact(revision, Some(CompactionOptions::new().with_physical())).await?;
    failing("compacted", client.compact(revision, None).await);
    let status = client.status().await?;
    println!("status: {} {} {:?}", status.version(), status.is_learner(), status.errors());
    let alarms = client.alarm(AlarmAction::Get, AlarmType::None, None).await?;
    println!("alarms: {}", alarms.alarms().len());
    println!("hash: {}", client.hash_kv(0).await?.hash());
    println!("members: {}", client.member_list().await?.members().len());
    client.defragment().await?;
    let mut snapshot = client.snapshot().await?;
    let mut size = 0;
    while let Some(part) = snapshot.message().await? {
        size += part.blob().len();
    }
    println!("snapshot: {}", size % 512);
    Ok(())
}
