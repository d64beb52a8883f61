//! A reply's header says the revision that was read. A client that lists and then watches from
//! there on relies on it: one too high, and it misses what came in between.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use e2e::{Grpc, Member, Scratch, Server, streams};
use proto::etcdserverpb::{
    HashKvRequest, PutRequest, RangeRequest, RangeResponse, RangeStreamResponse,
};
use tokio::runtime::Runtime;

const KEY: &[u8] = b"k";
const WRITERS: usize = 8;
const READS: u64 = 2000;

#[test]
fn of_pintle_say_what_was_read() {
    let Some(pintle) = Server::pintle() else { return };
    read_under_writes(&pintle);
}

#[test]
fn of_etcd_say_what_was_read() {
    let Some(etcd) = Server::etcd() else { return };
    read_under_writes(&etcd);
}

/// Every revision is a put of the one key, so its newest is the revision of the store.
fn read_under_writes(server: &Server) {
    let scratch = Scratch::new("headers");
    let member = Member::start(server, scratch.path(), &["--unsafe-no-fsync"]).unwrap();
    let address = member.address();
    let runtime = Runtime::new().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> =
        (0..WRITERS).map(|_| runtime.spawn(write(address, Arc::clone(&over)))).collect();
    let reads = e2e::rounds(1) * READS;
    runtime.block_on(async {
        let grpc = Grpc::connect(address).await.unwrap();
        let readers = (0..4).map(|_| tokio::spawn(read(address, reads)));
        for reader in readers.collect::<Vec<_>>() {
            reader.await.unwrap();
        }
        for _ in 0..20 {
            let reply = grpc.call(&HashKvRequest { revision: 0 }).await.unwrap();
            assert_eq!(reply.header.unwrap().revision, reply.hash_revision, "HashKV");
        }
        over.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

async fn write(address: SocketAddr, over: Arc<AtomicBool>) {
    let grpc = Grpc::connect(address).await.unwrap();
    while !over.load(Ordering::Relaxed) {
        let put = PutRequest { key: KEY.into(), ..PutRequest::default() };
        grpc.call(&put).await.unwrap();
    }
}

async fn read(address: SocketAddr, reads: u64) {
    let grpc = Grpc::connect(address).await.unwrap();
    for number in 0..reads {
        let serializable = number % 2 == 0;
        let request =
            RangeRequest { key: KEY.into(), serializable, limit: 5, ..RangeRequest::default() };
        agrees(grpc.call(&request).await.unwrap(), "Range");
        if number % 10 == 0 {
            let mut call = grpc.open(streams::RANGE_STREAM).await.unwrap();
            call.send_last(&request).unwrap();
            let reply = call.next::<RangeStreamResponse>().await.unwrap().unwrap();
            call.finish().await.unwrap();
            agrees(reply.range_response.unwrap(), "RangeStream");
        }
    }
}

fn agrees(reply: RangeResponse, call: &str) {
    let revision = reply.header.unwrap().revision;
    if let Some(kv) = reply.kvs.first() {
        assert_eq!(revision, kv.mod_revision, "{call}");
    }
}
