//! Members of one cluster in one thread: simulated disks and clocks, and a network that delivers
//! what is not cut off.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use env::{Clock as _, ManualClock, SimDisk};
use node::{
    AskError, Asked, Bootstrap, HashOfMember, Image, LeaseStanding, Options, Peer, PeerVersion,
    Peers,
};
use node::{Stepped, World};
use proto::etcdserverpb::{InternalRaftRequest, Member, PutRequest};
use proto::raftpb;
use state::MemberChange;

const STEP: Duration = Duration::from_millis(10);

/// Keeps what a member says until it is delivered.
#[derive(Default)]
pub(crate) struct Outbox {
    messages: Mutex<Vec<raftpb::Message>>,
    snapshots: Mutex<Vec<(raftpb::Message, Vec<u8>)>>,
    pub(crate) others: Mutex<Vec<Peer>>,
}

impl Peers for Outbox {
    fn set(&self, others: Vec<Peer>) {
        *self.others.lock().unwrap() = others;
    }

    fn send(&self, messages: &mut Vec<raftpb::Message>) {
        self.messages.lock().unwrap().append(messages);
    }

    fn send_snapshot(&self, message: raftpb::Message, image: Image) {
        self.snapshots.lock().unwrap().push((message, image.bytes().unwrap()));
    }

    fn active_for(&self, _: u64) -> Option<Duration> {
        Some(Duration::from_secs(60))
    }

    fn renew_lease(&self, _: u64, _: i64) -> Asked<i64> {
        unasked()
    }

    fn lease_time_to_live(&self, _: u64, _: i64, _: bool) -> Asked<LeaseStanding> {
        unasked()
    }

    fn promote(&self, _: u64, _: u64, _: Option<Bytes>) -> Asked<Vec<Member>> {
        unasked()
    }

    fn hash_kv(&self, _: u64, _: i64) -> Asked<HashOfMember> {
        unasked()
    }

    fn version(&self, _: u64) -> Asked<PeerVersion> {
        unasked()
    }
}

fn unasked<T: Send + 'static>() -> Asked<T> {
    Box::pin(async { Err(AskError::Unreachable("nobody asks here".to_owned())) })
}

pub(crate) struct Place {
    pub(crate) disk: SimDisk,
    pub(crate) clock: ManualClock,
    pub(crate) options: Options,
    pub(crate) outbox: Arc<Outbox>,
    /// `None` while it is down.
    pub(crate) stepped: Option<Stepped>,
    pub(crate) cut_off: bool,
    /// Its time goes on, and it does nothing.
    pub(crate) hangs: bool,
}

pub(crate) struct Group {
    pub(crate) places: Vec<Place>,
    pub(crate) outcomes: BTreeMap<u64, Result<i64, String>>,
    reads: BTreeMap<u64, bool>,
}

pub(crate) fn url(number: usize) -> String {
    format!("http://m{number}:2380")
}

impl Group {
    pub(crate) fn new(members: usize) -> Self {
        let initial: Vec<_> = (0..members).map(|it| (format!("m{it}"), vec![url(it)])).collect();
        let places = (0..members).map(|number| {
            let options = Options {
                name: format!("m{number}"),
                data_dir: PathBuf::from("/srv/data"),
                bootstrap: Some(Bootstrap::with_new(initial.clone(), "etcd-cluster")),
                snapshot_count: 10,
                catchup_entries: 5,
                ..super::options(&PathBuf::from("/srv/data"))
            };
            let disk = SimDisk::new(number as u64);
            let clock = ManualClock::default();
            let outbox = Arc::default();
            Place { disk, clock, options, outbox, stepped: None, cut_off: false, hangs: false }
        });
        let (outcomes, reads) = Default::default();
        let mut group = Self { places: places.collect(), outcomes, reads };
        for number in 0..members {
            group.start(number);
        }
        group
    }

    pub(crate) fn start(&mut self, number: usize) {
        let place = &mut self.places[number];
        let world =
            World { disk: Arc::new(place.disk.clone()), clock: Arc::new(place.clock.clone()) };
        place.outbox = Arc::default();
        let mut stepped = Stepped::boot(&world, &place.options, 16 << 10).expect("it boots");
        stepped.connect(Arc::clone(&place.outbox) as Arc<dyn Peers>);
        place.stepped = Some(stepped);
    }

    pub(crate) fn at(&mut self, number: usize) -> &mut Stepped {
        self.places[number].stepped.as_mut().expect("it runs")
    }

    /// Takes a member down and lets the others see its connections break.
    pub(crate) fn kill(&mut self, number: usize) {
        let id = self.at(number).member_id();
        self.places[number].stepped = None;
        for place in &mut self.places {
            if let Some(stepped) = &mut place.stepped {
                stepped.report_lost(id);
            }
        }
    }

    pub(crate) fn round(&mut self) {
        for place in &mut self.places {
            place.clock.advance(STEP);
            let Some(stepped) = place.stepped.as_mut().filter(|_| !place.hangs) else { continue };
            stepped.step(place.clock.now()).expect("a healthy member");
            stepped.sync();
            stepped.commit_sealed().expect("a healthy disk");
            while stepped.step_compaction(100).expect("a healthy disk").is_some() {}
            for (id, outcome) in stepped.outcomes() {
                let told = outcome.map(|(_, revision)| revision).map_err(|it| it.to_string());
                self.outcomes.insert(id, told);
            }
            for (id, outcome) in stepped.reads() {
                self.reads.insert(id, outcome.is_ok());
            }
        }
        self.deliver();
    }

    fn deliver(&mut self) {
        for from in 0..self.places.len() {
            let outbox = Arc::clone(&self.places[from].outbox);
            let messages = std::mem::take(&mut *outbox.messages.lock().unwrap());
            let snapshots = std::mem::take(&mut *outbox.snapshots.lock().unwrap());
            for message in messages {
                if let Some(to) = self.reach(from, message.to()) {
                    self.at(to).deliver(message).expect("a member's message");
                }
            }
            for (message, db) in snapshots {
                let id = message.to();
                let to = self.reach(from, id);
                if let Some(to) = to {
                    self.at(to).receive_snapshot(message, &db).expect("a leader's state");
                }
                if let Some(sender) = &mut self.places[from].stepped {
                    sender.report_snapshot(id, to.is_some());
                }
            }
        }
    }

    /// Where the member of this id is, if the sender can reach it.
    fn reach(&self, from: usize, id: u64) -> Option<usize> {
        let to = self.places.iter().position(|place| {
            place.stepped.as_ref().is_some_and(|stepped| stepped.member_id() == id)
        })?;
        (!self.places[from].cut_off && !self.places[to].cut_off).then_some(to)
    }

    /// Plays until it is so; how long that took.
    pub(crate) fn until(&mut self, what: &str, so: impl Fn(&Self) -> bool) -> Duration {
        for round in 0..2000 {
            if so(self) {
                return STEP * round;
            }
            self.round();
        }
        panic!("never: {what}");
    }

    pub(crate) fn leader(&self) -> Option<usize> {
        self.places
            .iter()
            .position(|place| !place.cut_off && place.stepped.as_ref().is_some_and(Stepped::leads))
    }

    pub(crate) fn put(&mut self, number: usize, key: &'static str) -> u64 {
        let key = Bytes::from_static(key.as_bytes());
        let put = PutRequest { value: key.clone(), key, ..PutRequest::default() };
        self.at(number).propose(InternalRaftRequest { put: Some(put), ..Default::default() })
    }

    pub(crate) fn revisions(&self) -> Vec<i64> {
        let running = self.places.iter().filter_map(|place| place.stepped.as_ref());
        running.map(|stepped| stepped.views().reader.current_revision()).collect()
    }

    pub(crate) fn agree(&self) -> bool {
        let revisions = self.revisions();
        revisions.iter().all(|revision| *revision == revisions[0])
    }
}

fn watch_of(key: &'static str) -> mvcc::WatchCreate {
    mvcc::WatchCreate {
        key: Bytes::from_static(key.as_bytes()),
        range_end: Bytes::new(),
        start_revision: 0,
        filters: mvcc::WatchFilters { no_put: false, no_delete: false },
        prev_kv: false,
        progress_notify: false,
        watch_id: 0,
        fragment: false,
    }
}

#[test]
fn three_members_agree_whoever_is_asked() {
    let mut group = Group::new(3);
    group.until("a leader", |group| group.leader().is_some());
    let ids: Vec<u64> = (0..3).map(|number| group.put(number, "k")).collect();
    group.until("answers", |group| ids.iter().all(|id| group.outcomes.contains_key(id)));
    let mut revisions: Vec<_> = ids.iter().map(|id| group.outcomes[id].clone().unwrap()).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, [2, 3, 4]);
    group.until("the same revision", |group| group.agree());
    assert_eq!(group.revisions(), [4, 4, 4]);
}

#[test]
fn a_read_of_any_member_sees_what_was_acknowledged_before() {
    let mut group = Group::new(3);
    group.until("a leader", |group| group.leader().is_some());
    for round in 0..10 {
        let put = group.put(round % 3, "k");
        group.until("an answer", |group| group.outcomes.contains_key(&put));
        let revision = group.outcomes[&put].clone().unwrap();
        for number in 0..3 {
            let read = group.at(number).read();
            group.until("a read", |group| group.reads.contains_key(&read));
            assert!(group.reads[&read]);
            assert!(group.revisions()[number] >= revision);
        }
    }
}

#[test]
fn the_others_go_on_at_once_when_the_leaders_process_is_gone() {
    for members in [3, 5] {
        let mut group = Group::new(members);
        group.until("a leader", |group| group.leader().is_some());
        let leader = group.leader().unwrap();
        let before = group.put(leader, "before");
        group.until("an answer", |group| group.outcomes.contains_key(&before));
        group.kill(leader);
        // It waits for somebody to lead.
        let after = group.put((leader + 1) % members, "after");
        let took = group.until("an answer", |group| group.outcomes.contains_key(&after));
        assert!(group.outcomes[&after].is_ok());
        assert!(took < Duration::from_millis(300), "{took:?}");
        group.start(leader);
        group.until("the same revision", |group| group.agree());
    }
}

#[test]
fn who_was_away_for_long_gets_the_state_and_its_watchers_miss_nothing() {
    let mut group = Group::new(3);
    group.until("a leader", |group| group.leader().is_some());
    let leader = group.leader().unwrap();
    let away = (leader + 1) % 3;
    let hub = group.at(away).views().hub.clone();
    let mut stream = hub.open_stream();
    let create = watch_of("k");
    stream.create(create).expect("a watcher");
    group.places[away].cut_off = true;
    let mut last = 0;
    for _ in 0..100 {
        last = group.put(leader, "k");
        group.round();
    }
    group.until("an answer", |group| group.outcomes.contains_key(&last));
    group.places[away].cut_off = false;
    group.until("the same revision", |group| group.agree());
    let status = group.at(away).raft();
    assert!(status.first_index.0 > 50, "it has no log of what it was away for: {status:?}");
    let mut seen = Vec::new();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    while seen.len() < 100 {
        let std::task::Poll::Ready(next) = stream.poll_next(&mut cx) else {
            group.round();
            continue;
        };
        let mvcc::WatchNext::Batch(batch) = next else { panic!("the stream has ended") };
        if let mvcc::WatchContent::Events(events) = &batch.content {
            seen.extend(events.iter().map(|event| event.event.revision.main));
        }
    }
    assert_eq!(seen, (2..102).collect::<Vec<i64>>());
    // What it was given is its own also after a crash.
    group.kill(away);
    group.places[away].disk = group.places[away].disk.crash();
    group.start(away);
    group.until("the same revision", |group| group.agree());
}

#[test]
fn members_come_and_go() {
    let mut group = Group::new(3);
    group.until("a leader", |group| group.leader().is_some());
    let leader = group.leader().unwrap();
    let gone = (leader + 1) % 3;
    let id = group.at(gone).member_id();
    let change = group.at(leader).change_members(&MemberChange::Remove(state::MemberId(id)));
    group.until("an answer", |group| group.outcomes.contains_key(&change));
    assert!(group.outcomes[&change].is_ok());
    assert_eq!(group.at(leader).views().members.list().len(), 2);
    assert_eq!(group.places[leader].outbox.others.lock().unwrap().len(), 1);
    let again = group.at(leader).change_members(&MemberChange::Remove(state::MemberId(id)));
    group.until("an answer", |group| group.outcomes.contains_key(&again));
    assert!(group.outcomes[&again].as_ref().is_err_and(|error| error.contains("removed")));
}
