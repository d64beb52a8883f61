//! `etcdserverpb.Watch`: one stream of a client, with as many watchers as it likes.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use mvcc::{
    EventKind, WatchBatch, WatchContent, WatchCreate, WatchEvent, WatchFilters, WatchNext,
    WatchStream,
};
use node::Need;
use proto::etcdserverpb::watch_create_request::FilterType;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{ResponseHeader, WatchCreateRequest, WatchRequest};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Services, decode_received};
use crate::encode::{Encoder, part_len};
use crate::rpc::{self, Caller, Replies, Requests};
use crate::status::{Code, Status};
use crate::trace::{self, Span};
use crate::{error, metrics};

/// The watch id of answers that are about no watcher.
const NO_WATCHER: i64 = -1;

pub(super) async fn watch(
    services: Arc<Services>,
    caller: Caller,
    mut requests: Box<dyn Requests>,
    mut replies: Box<dyn Replies>,
) -> Result<(), Status> {
    let mut session = Session::new(services, caller);
    loop {
        while let Some(message) = session.outgoing.pop_front() {
            rpc::send(&mut *replies, message).await?;
        }
        // What was begun by the last wake-up is on its way.
        session.under_way.take().observe();
        let wake = std::future::poll_fn(|cx| session.poll(cx, &mut *requests)).await;
        session.under_way = UnderWay::begin(&wake);
        match wake {
            Wake::Request(Some(request)) => session.request(decode_received(request?)?).await,
            // A client that has said all it wants may go on listening.
            Wake::Request(None) => session.listening_only = true,
            Wake::Next(WatchNext::Batch(batch)) => session.batch(&batch),
            // Messages of other clients come in meanwhile.
            Wake::Next(WatchNext::Pause) => tokio::task::yield_now().await,
            Wake::Next(WatchNext::Over) => return Err(session.failure()),
            Wake::Tick => session.tick(),
        }
    }
}

enum Wake {
    Request(Option<Result<Bytes, Status>>),
    Next(WatchNext),
    Tick,
}

/// What the send loop is at, and since when.
#[derive(Default)]
enum UnderWay {
    #[default]
    Nothing,
    Control(Instant),
    Events(Instant, usize),
    Progress(Instant),
}

impl UnderWay {
    fn begin(wake: &Wake) -> Self {
        match wake {
            Wake::Request(Some(_)) => Self::Control(Instant::now()),
            Wake::Next(WatchNext::Batch(batch)) => {
                let events = match &batch.content {
                    WatchContent::Events(events) => events.len(),
                    WatchContent::Progress | WatchContent::Compacted { .. } => 0,
                };
                Self::Events(Instant::now(), events)
            }
            Wake::Tick => Self::Progress(Instant::now()),
            Wake::Request(None) | Wake::Next(WatchNext::Pause | WatchNext::Over) => Self::Nothing,
        }
    }

    fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    fn observe(self) {
        match self {
            Self::Nothing => {}
            Self::Control(since) => metrics::WATCH_CONTROL.observe(seconds(since)),
            Self::Progress(since) => metrics::WATCH_PROGRESS.observe(seconds(since)),
            Self::Events(since, count) => {
                let took = seconds(since);
                metrics::WATCH_SEND.observe(took);
                if count > 0 {
                    metrics::WATCH_SEND_EVENT.observe(took / count as f64);
                    metrics::EVENTS.inc_by(count as u64);
                }
            }
        }
    }
}

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

struct Session {
    under_way: UnderWay,
    services: Arc<Services>,
    caller: Caller,
    stream: WatchStream,
    outgoing: VecDeque<Bytes>,
    /// Of the watchers, where the stream is traced.
    spans: HashMap<i64, Arc<Span>>,
    listening_only: bool,
    begun: Instant,
    /// Runs once a watcher has asked to hear of progress.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Session {
    fn new(services: Arc<Services>, caller: Caller) -> Self {
        let stream = services.node.watch_hub().open_stream();
        Self {
            under_way: UnderWay::Nothing,
            services,
            caller,
            stream,
            outgoing: VecDeque::new(),
            spans: HashMap::new(),
            listening_only: false,
            begun: Instant::now(),
            timer: None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, requests: &mut dyn Requests) -> Poll<Wake> {
        if !self.listening_only
            && let Poll::Ready(request) = requests.poll_next(cx)
        {
            return Poll::Ready(Wake::Request(request));
        }
        if let Poll::Ready(next) = self.stream.poll_next(cx) {
            return Poll::Ready(Wake::Next(next));
        }
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(cx).map(|()| Wake::Tick),
            None => Poll::Pending,
        }
    }

    async fn request(&mut self, request: WatchRequest) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => match self.permit(&create).await {
                Ok(()) => self.create(create),
                Err(reason) => self.refuse(&reason),
            },
            Some(RequestUnion::CancelRequest(cancel)) => {
                // An id that nobody has is passed over in silence, as etcd does.
                if let Some(cancelled) = self.stream.cancel(cancel.watch_id) {
                    self.spans.remove(&cancel.watch_id);
                    let mut response = self.response(cancelled.revision, cancel.watch_id);
                    response.flag(4, true);
                    self.outgoing.push_back(response.finish());
                }
            }
            Some(RequestUnion::ProgressRequest(_)) => self.stream.request_progress(),
            None => {}
        }
    }

    /// Whether the caller may read what it wants to watch; else why not, as etcd tells it.
    async fn permit(&self, create: &WatchCreateRequest) -> Result<(), String> {
        // What can never be watched is refused for that, whoever asks.
        if create.start_revision < 0 {
            return Ok(());
        }
        let key = if create.key.is_empty() { &[0][..] } else { &create.key };
        let need = Need::Read { key, range_end: &create.range_end };
        let Err(failure) = self.services.permit(&self.caller, need).await else { return Ok(()) };
        let status = Status::from(failure);
        let known = [error::INVALID_AUTH_TOKEN, error::AUTH_OLD_REVISION, error::USER_EMPTY];
        let told = known.into_iter().find(|known| *known == status);
        let told = told.unwrap_or(error::PERMISSION_DENIED);
        Err(format!("rpc error: code = {:?} desc = {}", told.code, told.message))
    }

    fn refuse(&mut self, reason: &str) {
        let mut response = self.response(self.stream.revision(), NO_WATCHER);
        response.flag(3, true).flag(4, true).text(6, reason);
        self.outgoing.push_back(response.finish());
    }

    fn create(&mut self, create: WatchCreateRequest) {
        let ticks = create.progress_notify;
        let span = self.caller.span.as_ref();
        let told = span.map(|span| (span.clone(), trace::watch(&create)));
        match self.stream.create(wanted(create)) {
            Ok(created) => {
                let span = told.and_then(|(span, told)| span.child("watch", told));
                self.spans.extend(span.map(|span| (created.watch_id, span)));
                let mut response = self.response(created.revision, created.watch_id);
                response.flag(3, true);
                self.outgoing.push_back(response.finish());
                if ticks && self.timer.is_none() {
                    self.start_ticking();
                }
            }
            Err(reason) => self.refuse(&reason.to_string()),
        }
    }

    /// Streams that were opened together must not all speak at the same moment.
    fn start_ticking(&mut self) {
        let every = self.services.limits.watch_progress_interval;
        let jitter = every.as_millis() as u64 / 10;
        let extra = RandomState::new().hash_one(0u8) % jitter.max(1);
        let every = every + Duration::from_millis(extra);
        self.stream.start_progress(self.begun.elapsed(), every);
        self.timer = Some(Box::pin(sleep_until(Instant::now() + every)));
    }

    fn tick(&mut self) {
        if let Some(due) = self.stream.tick_progress(self.begun.elapsed())
            && let Some(timer) = &mut self.timer
        {
            timer.as_mut().reset(self.begun + due);
        }
    }

    fn batch(&mut self, batch: &WatchBatch) {
        match &batch.content {
            WatchContent::Progress => {
                let response = self.response(batch.revision, batch.watch_id);
                self.outgoing.push_back(response.finish());
            }
            WatchContent::Compacted { compact_revision } => {
                let mut response = self.response(batch.revision, batch.watch_id);
                response.flag(4, true).signed(5, *compact_revision);
                self.outgoing.push_back(response.finish());
            }
            WatchContent::Events(events) => {
                let limit =
                    if batch.fragment { self.services.limits.message_bytes() } else { usize::MAX };
                self.events(batch, &events.iter().collect::<Vec<_>>(), limit);
            }
        }
    }

    /// Encodes the events, in several responses where the client allows it and one is too large.
    fn events(&mut self, batch: &WatchBatch, events: &[WatchEvent<'_>], limit: usize) {
        let head_len = self.response(batch.revision, batch.watch_id).len();
        let lens: Vec<usize> = events.iter().map(|event| part_len(event_len(event))).collect();
        let mut rest = events;
        for count in pieces(head_len, &lens, limit) {
            let (now, later) = rest.split_at(count);
            let bytes: usize = lens[events.len() - rest.len()..][..count].iter().sum();
            rest = later;
            let mut response = Encoder::with_capacity(head_len + FRAGMENT_LEN + bytes);
            self.head(&mut response, batch.revision, batch.watch_id);
            response.flag(7, !rest.is_empty());
            for event in now {
                put_event(&mut response, event);
            }
            self.outgoing.push_back(response.finish());
        }
    }

    fn response(&self, revision: i64, watch_id: i64) -> Encoder {
        let mut response = Encoder::with_capacity(64);
        self.head(&mut response, revision, watch_id);
        response
    }

    fn head(&self, response: &mut Encoder, revision: i64, watch_id: i64) {
        let header = ResponseHeader { revision, ..self.services.node.header() };
        response.message(1, &header).signed(2, watch_id);
    }

    fn failure(&self) -> Status {
        let text = self.stream.failure().map_or_else(String::new, ToString::to_string);
        Status::new(Code::Unknown, text)
    }
}

fn wanted(create: WatchCreateRequest) -> WatchCreate {
    let filters = WatchFilters {
        no_put: create.filters.contains(&(FilterType::Noput as i32)),
        no_delete: create.filters.contains(&(FilterType::Nodelete as i32)),
    };
    WatchCreate {
        key: create.key,
        range_end: create.range_end,
        start_revision: create.start_revision,
        filters,
        prev_kv: create.prev_kv,
        progress_notify: create.progress_notify,
        watch_id: create.watch_id,
        fragment: create.fragment,
    }
}

/// The encoded length of the field `fragment`.
const FRAGMENT_LEN: usize = 2;

/// How many of the events (of these lengths) go into each response, so that it stays below the
/// limit or is a single one.
fn pieces(head_len: usize, lens: &[usize], limit: usize) -> Vec<usize> {
    if lens.len() < 2 || head_len + lens.iter().sum::<usize>() < limit {
        return vec![lens.len()];
    }
    let mut pieces = Vec::new();
    let (mut bytes, mut count) = (head_len + FRAGMENT_LEN, 0);
    for len in lens {
        if count > 0 && bytes + len >= limit {
            pieces.push(count);
            (bytes, count) = (head_len + FRAGMENT_LEN, 0);
        }
        bytes += len;
        count += 1;
    }
    pieces.push(count);
    pieces
}

/// The encoded length of a `mvccpb.Event`.
fn event_len(event: &WatchEvent<'_>) -> usize {
    let kind = match event.event.kind {
        EventKind::Put => 0,
        EventKind::Delete => 2,
    };
    kind + part_len(event.event.kv.len()) + event.prev_kv.map_or(0, |kv| part_len(kv.len()))
}

fn put_event(response: &mut Encoder, event: &WatchEvent<'_>) {
    response.open(11, event_len(event));
    response.number(1, u64::from(event.event.kind == EventKind::Delete));
    response.part(2, &event.event.kv);
    if let Some(kv) = event.prev_kv {
        response.part(3, kv);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_stay_below_the_limit_with_the_mark_that_makes_them_pieces() {
        assert_eq!(pieces(10, &[10, 10, 10], 41), [3]);
        assert_eq!(pieces(10, &[10, 10, 10], 40), [2, 1], "not above, but below");
        assert_eq!(pieces(10, &[10, 10, 10], 33), [2, 1]);
        assert_eq!(pieces(10, &[10, 10, 10], 32), [1, 1, 1], "two and the mark are 32");
        assert_eq!(pieces(10, &[100], 20), [1]);
        assert_eq!(pieces(10, &[5, 100, 5], 30), [1, 1, 1]);
        assert_eq!(pieces(10, &[7; 9], usize::MAX), [9]);
    }
}
