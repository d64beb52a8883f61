//! The stream of a client.

use std::collections::HashMap;
use std::sync::Arc;

use api::{Caller, Code, Replies, Requests, Status};
use bytes::Bytes;
use client::{Metadata, Repeat};
use proto::Message as _;
use proto::etcdserverpb::watch_create_request::FilterType;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{
    RangeRequest, RangeResponse, ResponseHeader, WatchCreateRequest, WatchRequest, WatchResponse,
};

use super::hub::{Keys, Watcher};
use super::inbox::Inbox;
use crate::kv::RANGE;
use crate::proxy::Proxy;
use crate::status::{self, answered, metadata};

/// The watch id of answers that are about no watcher.
const NO_WATCHER: i64 = -1;
const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";

pub(crate) async fn watch(
    proxy: Arc<Proxy>,
    caller: Caller,
    mut requests: Box<dyn Requests>,
    mut replies: Box<dyn Replies>,
) -> Result<(), Status> {
    let mut session = Session::new(proxy, &caller);
    let mut listening_only = false;
    loop {
        while let Some(response) = session.inbox.take() {
            api::send(&mut *replies, response).await?;
        }
        for (keys, watcher) in session.inbox.take_fallen() {
            session.proxy.hub.join(&keys, watcher);
        }
        tokio::select! {
            biased;
            request = api::next(&mut *requests), if !listening_only => match request {
                Some(request) => session.request(decode(request?)?).await,
                None => listening_only = true,
            },
            () = session.inbox.filled.notified() => {}
        }
    }
}

fn decode(request: Bytes) -> Result<WatchRequest, Status> {
    WatchRequest::decode(request).map_err(|failure| {
        let text = format!("grpc: failed to unmarshal the received message: {failure}");
        Status::new(Code::Internal, text)
    })
}

struct Session {
    proxy: Arc<Proxy>,
    metadata: Metadata,
    inbox: Arc<Inbox>,
    watchers: HashMap<i64, Keys>,
    next_id: i64,
    /// The newest that is known of the cluster.
    header: Option<ResponseHeader>,
}

impl Drop for Session {
    fn drop(&mut self) {
        for (watch_id, keys) in &self.watchers {
            self.proxy.hub.leave(keys, &self.inbox, *watch_id);
        }
    }
}

impl Session {
    fn new(proxy: Arc<Proxy>, caller: &Caller) -> Self {
        Self {
            proxy,
            metadata: metadata(caller),
            inbox: Arc::default(),
            watchers: HashMap::new(),
            next_id: 0,
            header: None,
        }
    }

    async fn request(&mut self, request: WatchRequest) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => {
                if let Err(reason) = self.create(create).await {
                    self.answer(WatchResponse {
                        watch_id: NO_WATCHER,
                        created: true,
                        canceled: true,
                        cancel_reason: reason,
                        ..WatchResponse::default()
                    });
                }
            }
            Some(RequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id),
            Some(RequestUnion::ProgressRequest(_)) | None => {
                tracing::error!("not supported request type by gRPC proxy");
            }
        }
    }

    /// Who may read may watch. The answer also says where the watch begins that is to begin now.
    async fn create(&mut self, create: WatchCreateRequest) -> Result<(), String> {
        if create.start_revision < 0 {
            return Err(COMPACTED.to_owned());
        }
        let newest = self.look(&create).await.map_err(|status| status.message.into_owned())?;
        let WatchCreateRequest { key, range_end, start_revision, filters, .. } = create;
        if !range_end.is_empty() && range_end[..] != [0] && range_end <= key {
            return Err(String::new());
        }
        let watch_id = self.watch_id(create.watch_id)?;
        let has = |filter: FilterType| filters.contains(&(filter as i32));
        let watcher = Watcher {
            inbox: Arc::clone(&self.inbox),
            watch_id,
            next_revision: if start_revision == 0 { newest + 1 } else { start_revision },
            prev_kv: create.prev_kv,
            progress: create.progress_notify,
            no_put: has(FilterType::Noput),
            no_delete: has(FilterType::Nodelete),
            metadata: self.metadata.clone(),
        };
        self.answer(WatchResponse { watch_id, created: true, ..WatchResponse::default() });
        let keys = (key, range_end);
        self.proxy.hub.join(&keys, watcher);
        self.watchers.insert(watch_id, keys);
        Ok(())
    }

    /// One that a client has chosen, or the next one that is free.
    fn watch_id(&mut self, wanted: i64) -> Result<i64, String> {
        if wanted != 0 {
            let known = self.watchers.contains_key(&wanted);
            let reason = "mvcc: duplicate watch ID provided on the watch stream";
            return if known { Err(reason.to_owned()) } else { Ok(wanted) };
        }
        while self.watchers.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        Ok(self.next_id - 1)
    }

    async fn look(&mut self, create: &WatchCreateRequest) -> Result<i64, Status> {
        let (mut key, mut range_end) = (create.key.clone(), create.range_end.clone());
        if key.is_empty() {
            (key, range_end) = (Bytes::from_static(&[0]), Bytes::from_static(&[0]));
        }
        self.proxy.namespace.put_on(&mut key, &mut range_end);
        let request = RangeRequest {
            key,
            range_end,
            limit: 1,
            count_only: true,
            serializable: true,
            ..RangeRequest::default()
        };
        let request = request.encode_to_vec();
        let asked = self.proxy.channel.unary(RANGE, &self.metadata, &request, Repeat::Always);
        let reply: RangeResponse = answered(asked.await.map_err(status::of)?)?;
        self.header = reply.header;
        Ok(reply.header.map_or(0, |header| header.revision))
    }

    fn cancel(&mut self, watch_id: i64) {
        // An id that nobody has is passed over in silence.
        let Some(keys) = self.watchers.remove(&watch_id) else { return };
        self.proxy.hub.leave(&keys, &self.inbox, watch_id);
        self.inbox.forget_fallen(watch_id);
        self.answer(WatchResponse { watch_id, canceled: true, ..WatchResponse::default() });
    }

    fn answer(&self, response: WatchResponse) {
        let header = Some(self.header.unwrap_or_default());
        let response = WatchResponse { header, ..response };
        self.inbox.put(response.encode_to_vec().into());
    }
}
