//! One conversation, held with pintle and with etcd; what was noted down of it must be the same.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use e2e::{Grpc, Member, Rpc, Scratch, Server};
use proto::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, PutRequest, RequestOp, TxnRequest, request_op,
};

/// How long anything may take that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// What every conversation starts its members with, beside flags of its own.
const FLAGS: [&str; 3] = ["--heartbeat-interval=10", "--election-timeout=100", "--unsafe-no-fsync"];

/// About what, and what was told.
type Note = (String, String);

/// A conversation with one of them.
pub(crate) struct Talk {
    pub(crate) member: Member,
    pub(crate) server: Server,
    pub(crate) grpc: Grpc,
    notes: Vec<Note>,
    // Behind the member, which lives in it.
    _scratch: Scratch,
}

/// Holds the conversation with a new member of each kind, or with none where one is missing; with
/// both at once, since much of it is waiting.
pub(crate) fn same(flags: &[&str], conversation: impl AsyncFn(&mut Talk) + Sync) {
    same_but(&[], flags, conversation);
}

/// As [`same`], but for the notes whose names end so, which may differ.
pub(crate) fn same_but(
    different: &[&str],
    flags: &[&str],
    conversation: impl AsyncFn(&mut Talk) + Sync,
) {
    let Some((pintle, etcd)) = Server::both() else { return };
    let (actual, expected) = std::thread::scope(|scope| {
        let expected = scope.spawn(|| hold(&etcd, flags, &conversation));
        let actual = hold(&pintle, flags, &conversation);
        (actual, expected.join().expect("etcd does what the test expects"))
    });
    let pairs = actual.iter().zip(&expected).filter(|(actual, expected)| actual != expected);
    let wrong: Vec<_> = pairs
        .filter(|((what, _), _)| !different.iter().any(|name| what.ends_with(name)))
        .map(|((what, actual), (_, expected))| {
            format!("{what}\n  pintle: {actual}\n  etcd:   {expected}")
        })
        .collect();
    assert!(wrong.is_empty(), "{} notes differ:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(actual.len(), expected.len(), "one of them has more to tell");
}

fn hold(server: &Server, flags: &[&str], conversation: &impl AsyncFn(&mut Talk)) -> Vec<Note> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime starts");
    let scratch = Scratch::new("talk");
    let flags: Vec<_> = FLAGS.iter().chain(flags).copied().collect();
    let member = Member::start(server, scratch.path(), &flags).unwrap();
    runtime.block_on(async {
        let grpc = Grpc::connect(member.address()).await.unwrap();
        let server = server.clone();
        let mut talk = Talk { member, server, grpc, notes: Vec::new(), _scratch: scratch };
        conversation(&mut talk).await;
        assert!(talk.member.is_alive(), "{} has ended", talk.server.name);
        assert!(!talk.member.log().contains("panicked at"), "{}", talk.member.log_tail());
        talk.notes
    })
}

/// What comes of it, which must not take for ever.
pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, work).await;
    done.unwrap_or_else(|_| panic!("{what}: nothing within {PATIENCE:?}"))
}

/// For so long nothing is to happen.
pub(crate) async fn wait_ms(time_ms: u64) {
    tokio::time::sleep(Duration::from_millis(time_ms)).await;
}

impl Talk {
    /// Writes down what both must agree on.
    pub(crate) fn note(&mut self, what: &str, told: impl Debug) {
        self.notes.push((what.to_owned(), format!("{told:?}")));
    }

    /// Asks, and notes the reply down.
    pub(crate) async fn ask<R>(&mut self, request: R) -> Option<R::Reply>
    where
        R: Rpc + Debug,
        R::Reply: Debug,
    {
        let reply = soon(R::PATH, self.grpc.call(&request)).await;
        self.note(&format!("{request:?}"), &reply);
        reply.ok()
    }

    /// The revision of it.
    pub(crate) async fn put(&mut self, key: &str, value: &str) -> i64 {
        let (key, value) = (key.to_owned().into(), value.to_owned().into());
        let request = PutRequest { key, value, ..PutRequest::default() };
        let reply = soon("a put", self.grpc.call(&request)).await.unwrap();
        reply.header.unwrap().revision
    }

    /// The revision of it.
    pub(crate) async fn delete(&mut self, key: &str, range_end: &str) -> i64 {
        let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
        let request = DeleteRangeRequest { key, range_end, prev_kv: false };
        let reply = soon("a delete", self.grpc.call(&request)).await.unwrap();
        reply.header.unwrap().revision
    }

    /// The revision of it.
    pub(crate) async fn txn(&mut self, operations: Vec<RequestOp>) -> i64 {
        let request = TxnRequest { success: operations, ..TxnRequest::default() };
        let reply = soon("a txn", self.grpc.call(&request)).await.unwrap();
        reply.header.unwrap().revision
    }

    pub(crate) async fn compact(&mut self, revision: i64) {
        let request = CompactionRequest { revision, physical: true };
        soon("a compaction", self.grpc.call(&request)).await.unwrap();
    }

    /// Starts a member that was killed.
    pub(crate) async fn restart(&mut self) {
        self.member.restart(&self.server).unwrap();
        self.grpc = Grpc::connect(self.member.address()).await.unwrap();
    }
}

/// A put, as part of a txn.
pub(crate) fn put_op(key: impl Into<Bytes>, value: impl Into<Bytes>) -> RequestOp {
    let request = PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() };
    RequestOp { request: Some(request_op::Request::RequestPut(request)) }
}

/// A delete, as part of a txn.
pub(crate) fn delete_op(key: impl Into<Bytes>, range_end: impl Into<Bytes>) -> RequestOp {
    let (key, range_end) = (key.into(), range_end.into());
    let request = DeleteRangeRequest { key, range_end, prev_kv: false };
    RequestOp { request: Some(request_op::Request::RequestDeleteRange(request)) }
}
