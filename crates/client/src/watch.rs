use bytes::Bytes;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use proto::mvccpb::Event;

use crate::Error;
use crate::call::Call;
use crate::connection::{Connection, KeepAlive};

/// A watch; who drops it ends it.
#[derive(Debug)]
pub struct Watch {
    call: Call,
    _alive: KeepAlive,
    _connection: Connection,
}

impl Watch {
    pub(crate) fn new(call: Call, alive: KeepAlive, connection: Connection) -> Watch {
        Watch { call, _alive: alive, _connection: connection }
    }

    /// Asks for a watch and waits until there is one.
    pub(crate) async fn begin(
        call: &mut Call,
        key: Bytes,
        range_end: Bytes,
        start_revision: i64,
    ) -> Result<(), Error> {
        let create =
            WatchCreateRequest { key, range_end, start_revision, ..WatchCreateRequest::default() };
        let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        call.send(&request, false)?;
        let first = next(call).await?;
        if first.created { Ok(()) } else { Err(Error::lost("a watch that was never created")) }
    }

    /// The next events; there is at least one.
    pub async fn next(&mut self) -> Result<Vec<Event>, Error> {
        loop {
            let WatchResponse { events, .. } = next(&mut self.call).await?;
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }
}

async fn next(call: &mut Call) -> Result<WatchResponse, Error> {
    let response: Option<WatchResponse> = call.next().await?;
    let response = response.ok_or_else(|| Error::Canceled("the server has ended it".to_owned()))?;
    if !response.canceled {
        return Ok(response);
    }
    let compacted = response.compact_revision != 0;
    Err(Error::Canceled(match compacted && response.cancel_reason.is_empty() {
        true => format!("compacted up to revision {}", response.compact_revision),
        false => response.cancel_reason,
    }))
}
