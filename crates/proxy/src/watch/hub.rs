//! The broadcasts, and who hears them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use client::{Channel, Error, Metadata};
use proto::Message as _;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use proto::mvccpb::Event;
use proto::mvccpb::event::EventType;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::WATCH;
use super::inbox::Inbox;
use crate::metrics;
use crate::namespace::Namespace;

/// Before another member is asked.
const PAUSE: Duration = Duration::from_millis(100);

/// First key and end of what is watched.
pub(super) type Keys = (Bytes, Bytes);

/// Somebody who hears a broadcast.
#[derive(Debug, Clone)]
pub(super) struct Watcher {
    pub(super) inbox: Arc<Inbox>,
    pub(super) watch_id: i64,
    /// The first revision that it has not heard of.
    pub(super) next_revision: i64,
    pub(super) prev_kv: bool,
    pub(super) progress: bool,
    pub(super) no_put: bool,
    pub(super) no_delete: bool,
    /// Who it is for members.
    pub(super) metadata: Metadata,
}

impl Watcher {
    /// Who it is for members when it watches together with others: each of them looks after itself
    /// whether there is a leader.
    fn shared_metadata(&self) -> Metadata {
        Metadata { require_leader: false, ..self.metadata.clone() }
    }

    fn is(&self, inbox: &Arc<Inbox>, watch_id: i64) -> bool {
        self.watch_id == watch_id && Arc::ptr_eq(&self.inbox, inbox)
    }

    /// What of these events it wants to hear.
    fn wanted(&self, events: &[Event]) -> Vec<Event> {
        let wanted = events.iter().filter(|event| {
            let is_delete = event.r#type == EventType::Delete as i32;
            let filtered = if is_delete { self.no_delete } else { self.no_put };
            revision_of(event) >= self.next_revision && !filtered
        });
        let prev_kv = self.prev_kv;
        let wanted = wanted.map(|event| Event {
            prev_kv: event.prev_kv.clone().filter(|_| prev_kv),
            ..event.clone()
        });
        wanted.collect()
    }

    fn tell(&self, response: &WatchResponse, events: Vec<Event>) {
        let response = WatchResponse {
            header: response.header,
            watch_id: self.watch_id,
            canceled: response.canceled,
            compact_revision: response.compact_revision,
            cancel_reason: response.cancel_reason.clone(),
            events,
            ..WatchResponse::default()
        };
        self.inbox.put(response.encode_to_vec().into());
    }
}

fn revision_of(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

#[derive(Debug)]
struct Broadcast {
    id: u64,
    /// For whom members take it.
    metadata: Metadata,
    /// The first revision that it has not told of.
    next_revision: i64,
    /// Whether a member has said that it watches.
    started: bool,
    watchers: Vec<Watcher>,
    task: Option<AbortHandle>,
}

impl Drop for Broadcast {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// All broadcasts, by what they watch.
#[derive(Debug)]
pub(crate) struct Hub {
    channel: Channel,
    namespace: Namespace,
    runtime: Handle,
    groups: Mutex<Groups>,
}

#[derive(Debug, Default)]
struct Groups {
    by_keys: HashMap<Keys, Vec<Broadcast>>,
    last_id: u64,
}

/// Whether a broadcast goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    On,
    Over,
}

impl Hub {
    pub(crate) fn new(channel: Channel, namespace: Namespace, runtime: Handle) -> Arc<Self> {
        Arc::new(Self { channel, namespace, runtime, groups: Mutex::default() })
    }

    fn groups(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().expect("no holder of this lock panics")
    }

    /// Has a watcher hear of these keys.
    pub(super) fn join(self: &Arc<Self>, keys: &Keys, watcher: Watcher) {
        let mut groups = self.groups();
        let group = groups.by_keys.entry(keys.clone()).or_default();
        let wanted = watcher.next_revision;
        let fitting = group.iter_mut().filter(|one| {
            // One that has no member yet may still be refused for where it begins.
            one.next_revision == wanted || (one.started && one.next_revision < wanted)
        });
        if let Some(broadcast) = fitting.max_by_key(|one| one.next_revision) {
            broadcast.watchers.push(watcher);
            groups.show();
            return;
        }
        let metadata = watcher.shared_metadata();
        groups.last_id += 1;
        let id = groups.last_id;
        let run = run(Arc::clone(self), keys.clone(), id, wanted, metadata.clone());
        let task = self.runtime.spawn(run);
        let broadcast = Broadcast {
            id,
            metadata,
            next_revision: wanted,
            started: false,
            watchers: vec![watcher],
            task: Some(task.abort_handle()),
        };
        groups.by_keys.entry(keys.clone()).or_default().push(broadcast);
        groups.show();
    }

    /// Has a watcher hear nothing more.
    pub(super) fn leave(&self, keys: &Keys, inbox: &Arc<Inbox>, watch_id: i64) {
        let mut groups = self.groups();
        if let Some(group) = groups.by_keys.get_mut(keys) {
            for broadcast in &mut *group {
                broadcast.watchers.retain(|watcher| !watcher.is(inbox, watch_id));
            }
            group.retain(|broadcast| !broadcast.watchers.is_empty());
        }
        groups.tidy(keys);
    }

    /// A member has said something.
    fn hear(self: &Arc<Self>, keys: &Keys, id: u64, mut response: WatchResponse) -> Next {
        if !self.namespace.is_empty() {
            for event in &mut response.events {
                let kvs = event.kv.iter_mut().chain(&mut event.prev_kv);
                kvs.for_each(|kv| self.namespace.take_off(&mut kv.key));
            }
        }
        let mut groups = self.groups();
        let Some(group) = groups.by_keys.get_mut(keys) else { return Next::Over };
        let Some(at) = group.iter().position(|one| one.id == id) else { return Next::Over };
        if response.canceled {
            let mut broadcast = group.swap_remove(at);
            let again = broadcast.cancel(&response);
            groups.tidy(keys);
            drop(groups);
            for watcher in again {
                self.join(keys, watcher);
            }
            return Next::Over;
        }
        let next = group.get_mut(at).map_or(Next::Over, |one| one.hear(keys, &response));
        if next == Next::Over || merge(group, at) {
            group.swap_remove(at);
            groups.tidy(keys);
            return Next::Over;
        }
        groups.show();
        Next::On
    }
}

/// Gives the watchers of a broadcast to one that is not ahead of it, if there is one.
fn merge(group: &mut [Broadcast], at: usize) -> bool {
    let Some((id, next_revision)) = group.get(at).map(|one| (one.id, one.next_revision)) else {
        return false;
    };
    let Some(other) = group
        .iter()
        .position(|one| one.id != id && one.started && one.next_revision <= next_revision)
    else {
        return false;
    };
    let watchers = group.get_mut(at).map(|one| std::mem::take(&mut one.watchers));
    if let Some(other) = group.get_mut(other) {
        other.watchers.extend(watchers.unwrap_or_default());
    }
    true
}

impl Broadcast {
    /// Tells those whom it concerns that it is over. Whoever never wanted what is gone, or is
    /// somebody else than who was refused, is given back.
    fn cancel(&mut self, response: &WatchResponse) -> Vec<Watcher> {
        let compacted = response.compact_revision;
        let watchers = std::mem::take(&mut self.watchers).into_iter();
        let (again, over): (Vec<_>, Vec<_>) = watchers.partition(|watcher| match compacted {
            0 => watcher.shared_metadata() != self.metadata,
            _ => watcher.next_revision >= compacted,
        });
        // It is told however full the inbox is: it is the last thing of this watcher.
        over.iter().for_each(|watcher| watcher.tell(response, Vec::new()));
        again
    }

    fn hear(&mut self, keys: &Keys, response: &WatchResponse) -> Next {
        self.started = true;
        let header_revision = response.header.map_or(0, |header| header.revision);
        let newest = response.events.iter().map(revision_of).max();
        let is_progress = newest.is_none() && !response.created;
        match newest {
            Some(newest) => self.next_revision = self.next_revision.max(newest + 1),
            None if is_progress => {
                self.next_revision = self.next_revision.max(header_revision + 1);
            }
            None => {}
        }
        if newest.is_some() {
            metrics::EVENTS.inc_by(self.watchers.len().saturating_sub(1) as u64);
        }
        let next_revision = self.next_revision;
        self.watchers.retain_mut(|watcher| {
            let events = watcher.wanted(&response.events);
            let speaks = !events.is_empty() || (is_progress && watcher.progress);
            if speaks && !watcher.inbox.has_room() {
                watcher.inbox.fall(keys.clone(), watcher.clone());
                return false;
            }
            if newest.is_some() {
                watcher.next_revision = watcher.next_revision.max(next_revision);
            }
            if speaks {
                watcher.tell(response, events);
            }
            true
        });
        if self.watchers.is_empty() { Next::Over } else { Next::On }
    }
}

impl Groups {
    fn tidy(&mut self, keys: &Keys) {
        if self.by_keys.get(keys).is_some_and(Vec::is_empty) {
            self.by_keys.remove(keys);
        }
        self.show();
    }

    /// Watchers that have no watch of their own at a member.
    fn show(&self) {
        let broadcasts = || self.by_keys.values().flatten();
        let watchers: usize = broadcasts().map(|one| one.watchers.len()).sum();
        let shared = watchers.saturating_sub(broadcasts().count());
        metrics::WATCHERS.set(i64::try_from(shared).unwrap_or(i64::MAX));
    }
}

/// Watches at one member after the other, always from where the last one was left.
async fn run(hub: Arc<Hub>, keys: Keys, id: u64, from: i64, metadata: Metadata) {
    let (mut key, mut range_end) = keys.clone();
    hub.namespace.put_on(&mut key, &mut range_end);
    let mut create = WatchCreateRequest {
        key,
        range_end,
        start_revision: from,
        progress_notify: true,
        prev_kv: true,
        ..WatchCreateRequest::default()
    };
    loop {
        let ended = watch_once(&hub, &keys, id, &mut create, &metadata).await;
        let over = match ended {
            Ok(Next::Over) => return,
            Ok(Next::On) => None,
            Err(Error::Status { code, message }) if code != 14 => Some(message),
            Err(_) => None,
        };
        if let Some(cancel_reason) = over {
            let response =
                WatchResponse { canceled: true, cancel_reason, ..WatchResponse::default() };
            hub.hear(&keys, id, response);
            return;
        }
        sleep(PAUSE).await;
    }
}

async fn watch_once(
    hub: &Arc<Hub>,
    keys: &Keys,
    id: u64,
    create: &mut WatchCreateRequest,
    metadata: &Metadata,
) -> Result<Next, Error> {
    let mut call = hub.channel.stream(WATCH, metadata).await?;
    let union = RequestUnion::CreateRequest(create.clone());
    let request = WatchRequest { request_union: Some(union) };
    call.send_bytes(&request.encode_to_vec(), false)?;
    while let Some(message) = call.next_bytes().await? {
        let Ok(response) = WatchResponse::decode(message) else {
            return Err(Error::Lost("no watch response".to_owned()));
        };
        let newest = response.events.iter().map(revision_of).max();
        let header_revision = response.header.map_or(0, |header| header.revision);
        if let Some(newest) = newest {
            create.start_revision = create.start_revision.max(newest + 1);
        } else if !response.created && !response.canceled {
            create.start_revision = create.start_revision.max(header_revision + 1);
        }
        if hub.hear(keys, id, response) == Next::Over {
            return Ok(Next::Over);
        }
    }
    Ok(Next::On)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proto::etcdserverpb::ResponseHeader;
    use proto::mvccpb::KeyValue;

    use super::*;

    fn keys() -> Keys {
        (Bytes::from("a"), Bytes::new())
    }

    fn watcher(watch_id: i64, next_revision: i64) -> Watcher {
        Watcher {
            inbox: Arc::default(),
            watch_id,
            next_revision,
            prev_kv: false,
            progress: false,
            no_put: false,
            no_delete: false,
            metadata: Metadata::default(),
        }
    }

    fn broadcast(id: u64, next_revision: i64, watchers: Vec<Watcher>) -> Broadcast {
        let metadata = Metadata::default();
        Broadcast { id, metadata, next_revision, started: true, watchers, task: None }
    }

    fn event(revision: i64, size: usize) -> Event {
        let kv = |mod_revision| KeyValue {
            key: Bytes::from("a"),
            value: vec![b'v'; size].into(),
            mod_revision,
            ..KeyValue::default()
        };
        Event { kv: Some(kv(revision)), prev_kv: Some(kv(revision - 1)), ..Event::default() }
    }

    fn said(revision: i64, events: Vec<Event>) -> WatchResponse {
        let header = Some(ResponseHeader { revision, ..ResponseHeader::default() });
        WatchResponse { header, events, ..WatchResponse::default() }
    }

    /// The revisions that it was told of in each response.
    fn heard(watcher: &Watcher) -> Vec<Vec<i64>> {
        let responses = std::iter::from_fn(|| watcher.inbox.take());
        let responses = responses.map(|bytes| WatchResponse::decode(bytes).expect("a response"));
        responses.map(|response| response.events.iter().map(revision_of).collect()).collect()
    }

    #[test]
    fn each_hears_what_it_wants() {
        let plain = watcher(1, 5);
        let progress = Watcher { progress: true, ..watcher(2, 7) };
        let none = Watcher { no_put: true, ..watcher(3, 1) };
        let previous = Watcher { prev_kv: true, ..watcher(4, 1) };
        let all = [&plain, &progress, &none, &previous];
        let mut broadcast = broadcast(1, 5, all.map(Clone::clone).to_vec());
        assert_eq!(broadcast.hear(&keys(), &said(6, vec![event(5, 1), event(6, 1)])), Next::On);
        assert_eq!(broadcast.next_revision, 7);
        assert_eq!(broadcast.hear(&keys(), &said(9, Vec::new())), Next::On);
        assert_eq!(broadcast.next_revision, 10, "nothing has happened until then");
        assert_eq!(heard(&plain), [[5, 6]]);
        assert_eq!(heard(&progress), [[0_i64; 0]]);
        assert_eq!(heard(&none), [[0_i64; 0]; 0]);
        let with_previous = previous.inbox.take().expect("it was told");
        let with_previous = WatchResponse::decode(with_previous).expect("a response");
        assert!(with_previous.events.iter().all(|event| event.prev_kv.is_some()));
    }

    #[test]
    fn who_does_not_read_falls_out_where_it_stands() {
        let (slow, other) = (watcher(1, 1), watcher(2, 1));
        let mut broadcast = broadcast(1, 1, vec![slow.clone(), other.clone()]);
        let mut revision = 0;
        while slow.inbox.has_room() {
            revision += 1;
            broadcast.hear(&keys(), &said(revision, vec![event(revision, 1 << 20)]));
            assert_eq!(heard(&other), [[revision]]);
        }
        broadcast.hear(&keys(), &said(revision + 1, vec![event(revision + 1, 1)]));
        assert_eq!(heard(&other), [[revision + 1]], "others do not wait for it");
        assert_eq!(broadcast.watchers.len(), 1);
        let fallen = slow.inbox.take_fallen();
        let next: Vec<_> = fallen.iter().map(|(_, watcher)| watcher.next_revision).collect();
        assert_eq!(next, [revision + 1], "it goes on with what it has not heard");
    }

    #[test]
    fn who_has_caught_up_is_given_to_who_is_not_ahead() {
        let (early, late) = (watcher(1, 5), watcher(2, 9));
        let mut group = vec![broadcast(1, 5, vec![early]), broadcast(2, 9, vec![late])];
        assert!(!merge(&mut group, 0), "the other one is ahead");
        group[0].next_revision = 9;
        assert!(merge(&mut group, 0));
        assert_eq!(group[1].watchers.len(), 2);
        group[1].started = false;
        group[0].watchers = vec![watcher(3, 9)];
        assert!(!merge(&mut group, 0), "one without a member may still be refused");
    }

    #[test]
    fn a_compaction_ends_only_who_wanted_what_is_gone() {
        let (gone, there) = (watcher(1, 3), watcher(2, 8));
        let mut broadcast = broadcast(1, 3, vec![gone.clone(), there]);
        let over = WatchResponse { canceled: true, compact_revision: 5, ..said(9, Vec::new()) };
        let again = broadcast.cancel(&over);
        assert_eq!(again.iter().map(|watcher| watcher.watch_id).collect::<Vec<_>>(), [2]);
        let told = WatchResponse::decode(gone.inbox.take().expect("it is told")).expect("reads");
        assert!(told.canceled && told.compact_revision == 5 && told.watch_id == 1);
    }

    #[test]
    fn a_refusal_is_for_who_was_refused() {
        let token = Some(HeaderValue::from_static("another"));
        let metadata = Metadata { token, ..Metadata::default() };
        let (refused, other) = (watcher(1, 1), Watcher { metadata, ..watcher(2, 1) });
        let leaderless = Metadata { require_leader: true, ..Metadata::default() };
        let same = Watcher { metadata: leaderless, ..watcher(3, 1) };
        let mut broadcast = broadcast(1, 1, vec![refused.clone(), other, same.clone()]);
        let cancel_reason = "etcdserver: invalid auth token".to_owned();
        let over = WatchResponse { canceled: true, cancel_reason, ..WatchResponse::default() };
        let again = broadcast.cancel(&over);
        assert_eq!(again.iter().map(|watcher| watcher.watch_id).collect::<Vec<_>>(), [2]);
        assert!(refused.inbox.take().is_some() && same.inbox.take().is_some());
    }
}
