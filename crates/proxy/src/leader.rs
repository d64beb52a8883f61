//! Whether the members hear of a leader: one stream that ends when they do not, for all clients
//! that want to know.

use std::time::Duration;

use api::{Code, Status};
use client::{Channel, Error, Metadata};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::watch::WATCH;

pub(crate) const NO_LEADER: &str = "etcdserver: no leader";
/// A stream that lives so long is one of a member that is led.
const PROOF: Duration = Duration::from_millis(300);
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) fn no_leader() -> Status {
    Status::new(Code::Unavailable, NO_LEADER)
}

/// Says for ever whether the leader is lost. Nothing is said on the stream: it is enough that a
/// member ends it.
pub(crate) async fn look(channel: Channel, lost: watch::Sender<bool>) {
    let metadata = Metadata { require_leader: true, ..Metadata::default() };
    loop {
        let ended = match channel.stream(WATCH, &metadata).await {
            Err(error) => error,
            Ok(mut call) => {
                let early = timeout(PROOF, call.next_bytes()).await;
                let ended = match early {
                    Ok(ended) => ended,
                    Err(_) => {
                        lost.send_replace(false);
                        call.next_bytes().await
                    }
                };
                ended.err().unwrap_or(Error::Timeout)
            }
        };
        if matches!(&ended, Error::Status { message, .. } if message == NO_LEADER) {
            lost.send_replace(true);
        }
        sleep(PAUSE).await;
    }
}
