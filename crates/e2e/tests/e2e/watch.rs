//! Watch streams: the same conversations with pintle and etcd.
//!
//! How the past is cut into responses is up to the server, and so is the order of watchers within
//! a revision; everything else must be equal.

mod compaction;
mod events;
mod fragments;
mod ids;
mod many;
mod progress;
mod restart;
mod slow;
mod start;

use std::collections::VecDeque;
use std::time::Duration;

use e2e::{Call, Grpc, Status, streams};
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use proto::mvccpb::Event;

use crate::both::{Talk, soon};

/// What has not come by then does not come.
const SILENCE: Duration = Duration::from_millis(100);

/// One stream.
pub(crate) struct Watching {
    call: Call,
    /// Came while something else was awaited.
    early: VecDeque<WatchResponse>,
}

impl Watching {
    pub(crate) async fn open(grpc: &Grpc) -> Self {
        let call = soon("a watch stream", grpc.open(streams::WATCH)).await.unwrap();
        Self { call, early: VecDeque::new() }
    }

    fn send(&mut self, request: RequestUnion) {
        self.call.send(&WatchRequest { request_union: Some(request) }).unwrap();
    }

    fn cancel(&mut self, watch_id: i64) {
        self.send(RequestUnion::CancelRequest(WatchCancelRequest { watch_id }));
    }

    fn ask_for_progress(&mut self) {
        self.send(RequestUnion::ProgressRequest(WatchProgressRequest {}));
    }

    /// Asks for a watcher, and the answer to that.
    pub(crate) async fn create(&mut self, request: WatchCreateRequest) -> WatchResponse {
        self.send(RequestUnion::CreateRequest(request));
        self.next_that(|response| response.created).await
    }

    pub(crate) async fn next(&mut self) -> WatchResponse {
        match self.early.pop_front() {
            Some(response) => response,
            None => self.receive().await,
        }
    }

    /// The next one of that kind; others wait.
    async fn next_that(&mut self, wanted: impl Fn(&WatchResponse) -> bool) -> WatchResponse {
        if let Some(at) = self.early.iter().position(&wanted) {
            return self.early.remove(at).expect("it is there");
        }
        loop {
            let response = self.receive().await;
            if wanted(&response) {
                return response;
            }
            self.early.push_back(response);
        }
    }

    async fn receive(&mut self) -> WatchResponse {
        self.try_receive().await.expect("a stream without an error").expect("a stream that goes on")
    }

    async fn try_receive(&mut self) -> Result<Option<WatchResponse>, Status> {
        soon("a watch response", self.call.next::<WatchResponse>()).await
    }

    /// Waits until the server has ended the stream, whatever comes before.
    pub(crate) async fn end(&mut self) {
        while let Ok(Some(_)) = self.try_receive().await {}
    }

    /// The events of one watcher up to a revision, in whatever pieces; no revision is in two.
    pub(crate) async fn events_until(&mut self, watch_id: i64, last: i64) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        while events.last().is_none_or(|event| revision(event) < last) {
            let response = self.next_that(|response| response.watch_id == watch_id).await;
            assert!(!response.canceled && !response.created, "{response:?}");
            let first = response.events.first().expect("events are what it is for");
            assert!(
                events.last().is_none_or(|event| revision(event) < revision(first)),
                "a revision is cut in two, or out of order: {response:?}"
            );
            events.extend(response.events);
        }
        assert!(events.is_sorted_by_key(revision), "{events:?}");
        events
    }

    /// Notes down the next responses; of one revision they come in the order of their watchers.
    pub(crate) async fn note_next(&mut self, talk: &mut Talk, count: usize) {
        let mut responses = Vec::new();
        for _ in 0..count {
            responses.push(self.next().await);
        }
        let revisions: Vec<_> = responses.iter().map(at).collect();
        assert!(revisions.is_sorted(), "a revision came before an earlier one: {responses:?}");
        responses.sort_by_key(|response| (at(response), response.watch_id));
        for response in responses {
            talk.note("response", response);
        }
    }

    /// Notes down that nothing comes.
    pub(crate) async fn note_silence(&mut self, talk: &mut Talk) {
        let early: Vec<_> = self.early.drain(..).collect();
        talk.note("early", early);
        let silence = tokio::time::timeout(SILENCE, self.call.next::<WatchResponse>()).await;
        talk.note("silence", silence.map_err(|_| "yes"));
    }
}

/// The revision of its header.
fn at(response: &WatchResponse) -> i64 {
    response.header.as_ref().map_or(0, |header| header.revision)
}

/// The revision at which it happened.
pub(crate) fn revision(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

/// A watcher on a key.
pub(crate) fn on_key(key: &str) -> WatchCreateRequest {
    WatchCreateRequest { key: key.to_owned().into(), ..WatchCreateRequest::default() }
}

/// A watcher on the keys from one to another.
pub(crate) fn on_range(key: &str, range_end: &str) -> WatchCreateRequest {
    WatchCreateRequest { range_end: range_end.to_owned().into(), ..on_key(key) }
}

/// A watcher on everything.
pub(crate) fn on_all() -> WatchCreateRequest {
    on_range("\0", "\0")
}
