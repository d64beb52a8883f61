//! `v3electionpb.Election`: who has put a key under a name first leads, and its value is what the
//! leader says.

use std::sync::Arc;

use bytes::Bytes;
use mvcc::{EventKind, WatchContent};
use proto::Message;
use proto::etcdserverpb::{ResponseHeader, TxnRequest};
use proto::mvccpb::KeyValue;
use proto::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest,
    ProclaimResponse, ResignRequest, ResignResponse,
};

use super::claim::{self, Calls, Claim, Watch};
use super::{Services, decode, decode_received, encode};
use crate::rpc::{self, Caller, Replies, Requests};
use crate::status::{Code, Status};

fn refused(text: &'static str) -> Status {
    Status::new(Code::Unknown, text)
}

fn leader_of(leader: Option<LeaderKey>) -> Result<LeaderKey, Status> {
    leader.ok_or_else(|| refused("\"leader\" field must be provided"))
}

pub(super) async fn campaign(
    services: Arc<Services>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let request: CampaignRequest = decode(request)?;
    let calls = Calls::new(services, caller);
    let lease = calls.lease(request.lease).await?;
    let prefix = claim::prefix_of(&request.name);
    let key = claim::key_of(&prefix, lease);
    let reply = calls
        .txn(&TxnRequest {
            compare: vec![claim::created_at(&key, 0)],
            success: vec![claim::put(&key, request.value.clone(), lease)],
            failure: vec![claim::get(claim::get_key(&key))],
        })
        .await?;
    // Who campaigns again with the same lease has its place already, and maybe something new to
    // say.
    let mine = claim::first_row(&reply.responses, 0).filter(|_| !reply.succeeded);
    let says_otherwise = mine.is_some_and(|mine| mine.value != request.value);
    let rev = mine.map_or(claim::revision_of(reply.header.as_ref()), |mine| mine.create_revision);
    let leader = LeaderKey { name: request.name, key: key.clone(), rev, lease };
    let waiting = Claim::new(calls.clone(), key, rev);
    if says_otherwise && let Err(status) = say(&calls, &leader, request.value).await {
        waiting.give_up().await;
        return Err(status);
    }
    let outcome = calls.wait_for_older(&prefix, rev).await;
    // As in etcd, a key goes with a caller who gives up, and stays where waiting fails.
    waiting.keep();
    outcome?;
    Ok(encode(&CampaignResponse { header: reply.header, leader: Some(leader) }))
}

/// Puts a value under the key of a leader, if it still is that leader's.
async fn say(
    calls: &Calls,
    leader: &LeaderKey,
    value: Bytes,
) -> Result<Option<ResponseHeader>, Status> {
    let request = TxnRequest {
        compare: vec![claim::created_at(&leader.key, leader.rev)],
        success: vec![claim::put(&leader.key, value, leader.lease)],
        failure: Vec::new(),
    };
    let reply = calls.txn(&request).await?;
    if reply.succeeded { Ok(reply.header) } else { Err(refused("election: not leader")) }
}

pub(super) async fn proclaim(
    services: Arc<Services>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let request: ProclaimRequest = decode(request)?;
    let mut leader = leader_of(request.leader)?;
    let calls = Calls::new(services, caller);
    leader.lease = calls.lease(leader.lease).await?;
    let header = say(&calls, &leader, request.value).await?;
    Ok(encode(&ProclaimResponse { header }))
}

/// Who does not lead resigns from nothing, which is no error.
pub(super) async fn resign(
    services: Arc<Services>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let request: ResignRequest = decode(request)?;
    let leader = leader_of(request.leader)?;
    let resigned = TxnRequest {
        compare: vec![claim::created_at(&leader.key, leader.rev)],
        success: vec![claim::delete(&leader.key)],
        failure: Vec::new(),
    };
    let reply = Calls::new(services, caller).txn(&resigned).await?;
    Ok(encode(&ResignResponse { header: reply.header }))
}

pub(super) async fn leader(
    services: Arc<Services>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let request: LeaderRequest = decode(request)?;
    let prefix = claim::prefix_of(&request.name);
    let reply = Calls::new(services, caller).range(&claim::by_creation(&prefix)).await?;
    let kv = reply.kvs.into_iter().next().ok_or_else(|| refused("election: no leader"))?;
    Ok(encode(&LeaderResponse { header: reply.header, kv: Some(kv) }))
}

/// Sends the leader's value, and each one that comes after it. As in etcd, whatever keeps it from
/// seeing more ends the stream without an error.
pub(super) async fn observe(
    services: Arc<Services>,
    caller: Caller,
    mut requests: Box<dyn Requests>,
    mut replies: Box<dyn Replies>,
) -> Result<(), Status> {
    let Some(request) = rpc::next(&mut *requests).await else { return Ok(()) };
    let request: LeaderRequest = decode_received(request?)?;
    let prefix = claim::prefix_of(&request.name);
    let observer = Observer { calls: Calls::new(services, caller), prefix };
    loop {
        match observer.one_leader(&mut *replies).await {
            Ok(()) => {}
            Err(End::Blind) => return Ok(()),
            Err(End::Client(status)) => return Err(status),
        }
    }
}

/// Why an observer sees no more.
enum End {
    /// There is nothing to be seen any more.
    Blind,
    /// The client is gone.
    Client(Status),
}

struct Observer {
    calls: Calls,
    prefix: Bytes,
}

impl Observer {
    /// Sends what one leader says, until it leads no more.
    async fn one_leader(&self, replies: &mut dyn Replies) -> Result<(), End> {
        let reply = self.calls.range(&claim::by_creation(&self.prefix)).await;
        let reply = reply.map_err(|_| End::Blind)?;
        let seen = claim::revision_of(reply.header.as_ref());
        let (header, kv) = match reply.kvs.into_iter().next() {
            Some(kv) => (reply.header.unwrap_or_default(), kv),
            None => self.first_to_come(seen).await.map_err(|_| End::Blind)?,
        };
        let (services, from) = (self.calls.services(), header.revision + 1);
        let watch = Watch::open(services, kv.key.clone(), Bytes::new(), from);
        let mut watch = watch.map_err(|_| End::Blind)?;
        send(replies, header, kv).await?;
        loop {
            let batch = watch.next().await.map_err(|_| End::Blind)?;
            let WatchContent::Events(events) = &batch.content else { continue };
            for event in events.iter() {
                if event.event.kind == EventKind::Delete {
                    return Ok(());
                }
                let kv = read(&event.event.kv).map_err(|_| End::Blind)?;
                send(replies, self.header(batch.revision), kv).await?;
            }
        }
    }

    /// The first key that comes where there was none at this revision.
    async fn first_to_come(&self, seen: i64) -> Result<(ResponseHeader, KeyValue), Status> {
        let end = claim::end_of(&self.prefix);
        let mut watch = Watch::open(self.calls.services(), self.prefix.clone(), end, seen)?;
        loop {
            let batch = watch.next().await?;
            let WatchContent::Events(events) = &batch.content else { continue };
            if let Some(put) = events.iter().find(|event| event.event.kind == EventKind::Put) {
                let kv = read(&put.event.kv)?;
                return Ok((self.header(kv.mod_revision), kv));
            }
        }
    }

    fn header(&self, revision: i64) -> ResponseHeader {
        ResponseHeader { revision, ..self.calls.services().node.header() }
    }
}

async fn send(replies: &mut dyn Replies, header: ResponseHeader, kv: KeyValue) -> Result<(), End> {
    let message = encode(&LeaderResponse { header: Some(header), kv: Some(kv) });
    rpc::send(replies, message).await.map_err(End::Client)
}

/// A key and its value, as the store has encoded them.
fn read(kv: &Bytes) -> Result<KeyValue, Status> {
    KeyValue::decode(kv.clone()).map_err(|failure| Status::new(Code::Internal, failure.to_string()))
}
