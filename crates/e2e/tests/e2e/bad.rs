//! What nobody should send: the same to pintle and etcd. A server answers, or ends the stream or
//! the connection; it goes on for everybody else, and keeps nothing of it.

mod calls;
mod floods;
mod frames;
mod http1;
mod pings;
mod wire;

use proto::etcdserverpb::PutRequest;

use crate::both::{Talk, soon};

/// A client that does everything right is served.
async fn note_that_others_are_served(talk: &mut Talk) {
    let request = PutRequest { key: "others".into(), ..PutRequest::default() };
    let served = soon("a good put", talk.grpc.call(&request)).await.is_ok();
    talk.note("others are served", served);
}
