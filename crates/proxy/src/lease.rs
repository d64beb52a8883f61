//! `etcdserverpb.Lease`: renewals that outlive the member they were sent to, and keys without
//! their prefix.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use api::{Caller, Replies, Requests, Status};
use bytes::Bytes;
use client::{Call, Error, Metadata, Repeat};
use proto::etcdserverpb::LeaseTimeToLiveResponse;
use tokio::time::sleep;

use crate::proxy::Proxy;
use crate::status::{self, answered, encode, metadata};

const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
const TIME_TO_LIVE: &str = "/etcdserverpb.Lease/LeaseTimeToLive";
/// Renewals of a client that may be under way; it is not read further then.
const UNDER_WAY: usize = 1024;
/// Before another member is asked, and how often one is.
const PAUSE: Duration = Duration::from_millis(100);
const ATTEMPTS: u32 = 50;

pub(crate) async fn time_to_live(
    proxy: Arc<Proxy>,
    caller: Caller,
    request: Bytes,
) -> Result<Bytes, Status> {
    let metadata = metadata(&caller);
    let asked = proxy.channel.unary(TIME_TO_LIVE, &metadata, &request, Repeat::Always);
    let reply = asked.await.map_err(status::of)?;
    if proxy.namespace.is_empty() {
        return Ok(reply);
    }
    let mut reply: LeaseTimeToLiveResponse = answered(reply)?;
    reply.keys = reply.keys.iter().filter_map(|key| proxy.namespace.bare(key)).collect();
    Ok(encode(&reply))
}

/// Members answer renewals in their order, and one that is asked for twice does no harm: those
/// that a member has left unanswered are sent to the next one.
pub(crate) async fn keep_alive(
    proxy: Arc<Proxy>,
    caller: Caller,
    mut requests: Box<dyn Requests>,
    mut replies: Box<dyn Replies>,
) -> Result<(), Status> {
    let metadata = metadata(&caller);
    let mut unanswered = VecDeque::new();
    let mut ended = false;
    let mut call = reopen(&proxy, &metadata, &unanswered, ended).await?;
    loop {
        tokio::select! {
            biased;
            reply = call.next_bytes() => match reply {
                Ok(Some(reply)) => {
                    unanswered.pop_front();
                    api::send(&mut *replies, reply).await?;
                }
                Ok(None) => return Ok(()),
                Err(error) if is_of_connection(&error) => {
                    sleep(PAUSE).await;
                    call = reopen(&proxy, &metadata, &unanswered, ended).await?;
                }
                Err(error) => return Err(status::of(error)),
            },
            request = api::next(&mut *requests), if !ended && unanswered.len() < UNDER_WAY => {
                match request {
                    Some(request) => {
                        let request = request?;
                        // What cannot be sent is sent again when the end is seen.
                        let _ = call.send_bytes(&request, false);
                        unanswered.push_back(request);
                    }
                    None => {
                        ended = true;
                        let _ = call.close();
                    }
                }
            }
        }
    }
}

fn is_of_connection(error: &Error) -> bool {
    match error {
        Error::Lost(_) => true,
        Error::Status { code, message } => *code == 14 && message != crate::leader::NO_LEADER,
        _ => false,
    }
}

async fn reopen(
    proxy: &Proxy,
    metadata: &Metadata,
    unanswered: &VecDeque<Bytes>,
    ended: bool,
) -> Result<Call, Status> {
    let mut attempt = 0;
    loop {
        match proxy.channel.stream(KEEP_ALIVE, metadata).await {
            Ok(mut call) => {
                for request in unanswered {
                    // As above.
                    let _ = call.send_bytes(request, false);
                }
                if ended {
                    let _ = call.close();
                }
                return Ok(call);
            }
            Err(error) if attempt >= ATTEMPTS => return Err(status::of(error)),
            Err(_) => sleep(PAUSE).await,
        }
        attempt += 1;
    }
}
