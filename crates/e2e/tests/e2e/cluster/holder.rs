//! A client whose keys live by leases. It renews them at whatever member it finds, ends them, or
//! lets them run out, and writes down what it was promised.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use e2e::{Grpc, Rpc, Status, now, streams};
use env::Random;
use proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseRevokeRequest,
    PutRequest,
};
use sim::{Answer, LeasePromise, LeaseRecord, Operation, Outcome, Request};

use super::load::{PATIENCE, Shared, moment};

const TTL: i64 = 4;

/// Between two renewals.
const PAUSE: Duration = Duration::from_millis(300);

/// For the end of all leases, of a cluster that is well.
const END: Duration = Duration::from_secs(30);

pub(crate) struct Holder {
    number: u64,
    random: Random,
    shared: Arc<Shared>,
    granted: i64,
    /// Those that may live still.
    left: Vec<i64>,
    held: Held,
}

/// What it has asked for and was told.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) operations: Vec<Operation>,
    pub(crate) records: Vec<LeaseRecord>,
}

impl Holder {
    pub(crate) fn new(number: u64, random: Random, shared: Arc<Shared>) -> Self {
        Self { number, random, shared, granted: 0, left: Vec::new(), held: Held::default() }
    }

    /// Holds one lease after the other until the load is over; then none is left that could end by
    /// itself while others compare what there is.
    pub(crate) async fn hold(mut self) -> Held {
        while !self.is_over() {
            self.hold_one().await;
            tokio::time::sleep(PAUSE / 10).await;
        }
        let deadline = now() + END;
        while let Some(id) = self.left.last().copied() {
            self.revoke(id).await;
            assert!(now() < deadline, "lease {id} can be revoked within {END:?}");
        }
        self.held
    }

    fn is_over(&self) -> bool {
        self.shared.over.load(Ordering::Relaxed)
    }

    async fn hold_one(&mut self) {
        let Some(id) = self.grant().await else { return };
        self.put(id).await;
        let end = now() + PAUSE * (self.random.below(20) as u32);
        while now() < end && !self.is_over() {
            tokio::time::sleep(PAUSE).await;
            if !self.renew(id).await {
                return;
            }
        }
        if self.random.chance(1, 2) {
            self.revoke(id).await;
        }
    }

    async fn grant(&mut self) -> Option<i64> {
        self.granted += 1;
        let id = ((self.number as i64) << 32) + self.granted;
        let called = now();
        let reply = self.ask(&LeaseGrantRequest { ttl: TTL, id }).await?.ok()?;
        let promise = promise(id, called, reply.ttl);
        self.held.records.push(LeaseRecord::Granted(promise));
        self.left.push(id);
        Some(id)
    }

    async fn put(&mut self, id: i64) {
        let key = format!("h{}", self.number).into();
        let value = format!("{id}-{:x}", self.random.next_u64()).into();
        let put = PutRequest { key, value, lease: id, ..PutRequest::default() };
        let called = moment();
        let reply = self.ask(&put).await.map(|reply| reply.map(Answer::from));
        self.note(called, Request::Put(put), reply);
    }

    /// False if it has ended.
    async fn renew(&mut self, id: i64) -> bool {
        let called = now();
        let Some(ttl) = self.ask_for_renewal(id).await else { return true };
        if ttl > 0 {
            self.held.records.push(LeaseRecord::Renewed(promise(id, called, ttl)));
            return true;
        }
        self.held.records.push(LeaseRecord::Gone { id, at: now() });
        self.left.retain(|left| *left != id);
        false
    }

    async fn ask_for_renewal(&mut self, id: i64) -> Option<i64> {
        let grpc = self.connect().await?;
        let renewal = async {
            let mut call = grpc.open(streams::LEASE_KEEP_ALIVE).await.ok()?;
            call.send(&LeaseKeepAliveRequest { id }).ok()?;
            call.next::<LeaseKeepAliveResponse>().await.ok().flatten().map(|reply| reply.ttl)
        };
        tokio::time::timeout(PATIENCE, renewal).await.ok().flatten()
    }

    async fn revoke(&mut self, id: i64) {
        self.held.records.push(LeaseRecord::Revoked { id, called: now() });
        let called = moment();
        let reply = self.ask(&LeaseRevokeRequest { id }).await;
        let is_gone = |status: &Status| status.message == "etcdserver: requested lease not found";
        if reply.as_ref().is_some_and(|reply| reply.as_ref().map_or_else(is_gone, |_| true)) {
            self.left.retain(|left| *left != id);
        }
        self.note(called, Request::LeaseRevoke(id), reply.map(|reply| reply.map(Answer::from)));
    }

    /// What was refused has done nothing.
    fn note(&mut self, called: u64, request: Request, reply: Option<Result<Answer, Status>>) {
        let outcome = match reply {
            Some(Ok(answer)) => Outcome::Answered { returned: moment(), answer },
            Some(Err(status)) if status.message.ends_with("lease not found") => return,
            Some(Err(_)) => Outcome::Unknown,
            None => return,
        };
        self.held.operations.push(Operation { client: self.number, called, request, outcome });
    }

    /// None if nobody was reached to be asked.
    async fn ask<R: Rpc>(&mut self, request: &R) -> Option<Result<R::Reply, Status>> {
        let grpc = self.connect().await?;
        let late = |_| Err(Status { code: 4, message: "(no reply) in time".to_owned() });
        Some(tokio::time::timeout(PATIENCE, grpc.call(request)).await.unwrap_or_else(late))
    }

    async fn connect(&mut self) -> Option<Grpc> {
        let address = {
            let endpoints = self.shared.endpoints();
            endpoints[self.random.index(endpoints.len())]
        };
        tokio::time::timeout(PATIENCE, Grpc::connect(address)).await.ok()?.ok()
    }
}

fn promise(id: i64, called: Duration, ttl: i64) -> LeasePromise {
    let ttl = Duration::from_secs(u64::try_from(ttl).unwrap_or(0));
    LeasePromise { id, called, returned: now(), ttl }
}
