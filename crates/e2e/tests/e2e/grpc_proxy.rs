//! `grpc-proxy start`: what clients see through it, and what members see of it.
//!
//! etcdctl's scripts are played through it in `transcripts`, its words are in `proxies`.

mod cache;
mod crossed;
mod loss;
mod namespace;
mod tls;
mod watchers;

use e2e::{Client, Grpc, Member, Proxy, Scratch, Server};
use proto::etcdserverpb::{PutRequest, RangeRequest};

/// A member, and a proxy before it that is told these flags.
fn proxied(server: &Server, flags: &[&str]) -> (Scratch, Member, Proxy) {
    let scratch = Scratch::new("proxied");
    let member = Member::start(server, scratch.path(), &["--unsafe-no-fsync"]).unwrap();
    let proxy = Proxy::grpc(server, &member.endpoint(), flags).unwrap();
    (scratch, member, proxy)
}

fn put(key: &str, value: &str) -> PutRequest {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    PutRequest { key, value, ..PutRequest::default() }
}

fn get(key: &str) -> RangeRequest {
    RangeRequest { key: key.to_owned().into(), ..RangeRequest::default() }
}

/// The revision of it.
async fn put_by(grpc: &Grpc, key: &str, value: &str) -> i64 {
    grpc.call(&put(key, value)).await.expect("a put").header.expect("every reply has one").revision
}

/// The value of a key, as any member that is asked first has it.
fn read_anywhere(client: &Client, key: &str) -> String {
    let request = RangeRequest { serializable: true, ..get(key) };
    let reply = client.call(&request).expect("a read");
    let value = reply.kvs.first().map(|kv| kv.value.clone()).unwrap_or_default();
    String::from_utf8_lossy(&value).into_owned()
}
