//! Reads that never go back: `--experimental-serializable-ordering`.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use api::{Code, Status};
use bytes::Bytes;
use client::{Channel, Metadata, Repeat};
use proto::Message as _;
use proto::etcdserverpb::{CompactionResponse, RangeRequest};
use tokio::time::sleep;

use crate::kv::RANGE;
use crate::namespace::Namespace;

/// How often each member is asked for something newer, as etcd's client does it.
const ROUNDS: usize = 5;
/// Between rounds: members that are behind are about to catch up.
const PAUSE: Duration = Duration::from_millis(25);
/// Before members are asked again how far they are.
const RECOVERY_PAUSE: Duration = Duration::from_secs(1);

/// The newest revision that anything was read at.
#[derive(Debug)]
pub(crate) struct Order {
    newest: AtomicI64,
    members: usize,
}

/// All replies begin with the same header.
fn revision_of(reply: &Bytes) -> i64 {
    let reply = CompactionResponse::decode(reply.clone()).ok();
    reply.and_then(|reply| reply.header).map_or(0, |header| header.revision)
}

impl Order {
    pub(crate) fn new(members: usize) -> Self {
        Self { newest: AtomicI64::new(0), members }
    }

    /// Whether a reply is as new as all that was read before it ended. It counts from now on.
    pub(crate) fn admits(&self, reply: &Bytes) -> bool {
        let revision = revision_of(reply);
        self.newest.fetch_max(revision, Ordering::AcqRel) <= revision
    }

    /// How long to wait after so many replies of members that are behind, if there is hope.
    pub(crate) fn pause(&self, behind: usize) -> Result<Duration, Status> {
        let members = self.members.max(1);
        if behind >= ROUNDS * members {
            let text = "etcdclient: no cluster members have a revision higher than the previously \
                        received revision";
            return Err(Status::new(Code::Unknown, text));
        }
        Ok(if behind.is_multiple_of(members) { PAUSE } else { Duration::ZERO })
    }

    /// Learns from the cluster how far it is, which takes as long as it takes.
    pub(crate) async fn recover(&self, channel: &Channel, namespace: &Namespace) {
        tracing::info!("waiting for linearized read from cluster to recover ordering");
        let key = namespace.key(b"_");
        let request = RangeRequest { key, keys_only: true, ..RangeRequest::default() };
        let request = request.encode_to_vec();
        loop {
            match channel.unary(RANGE, &Metadata::default(), &request, Repeat::Always).await {
                Ok(reply) => {
                    self.admits(&reply);
                    return;
                }
                Err(error) => tracing::warn!(%error, "ordering recovery failed, retrying in 1s"),
            }
            sleep(RECOVERY_PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::etcdserverpb::{RangeResponse, ResponseHeader};

    use super::*;

    fn reply(revision: i64) -> Bytes {
        let header = Some(ResponseHeader { revision, ..ResponseHeader::default() });
        RangeResponse { header, count: 7, ..RangeResponse::default() }.encode_to_vec().into()
    }

    #[test]
    fn who_is_behind_is_not_admitted() {
        let order = Order::new(2);
        let admitted = [3, 5, 4, 5, 6, 5].map(|revision| order.admits(&reply(revision)));
        assert_eq!(admitted, [true, true, false, true, true, false]);
    }

    #[test]
    fn members_are_asked_in_turn_until_there_is_no_hope() {
        let order = Order::new(3);
        let pauses = [1, 2, 3, 4].map(|behind| order.pause(behind).expect("there is hope"));
        assert_eq!(pauses, [Duration::ZERO, Duration::ZERO, PAUSE, Duration::ZERO]);
        let refused = order.pause(ROUNDS * 3).expect_err("nobody is as far");
        assert!(refused.message.starts_with("etcdclient: no cluster members"), "{refused:?}");
    }
}
