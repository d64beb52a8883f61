//! Members of one cluster in one thread: simulated disks and clocks, and a network that delivers
//! what is not cut off.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use env::{Clock as _, Disk as _, ManualClock, SimDisk};
use node::{
    AskError, Asked, Bootstrap, HashKv, Image, LeaseStanding, Options, Peer, PeerVersion, Peers,
};
use node::{Stepped, World};
use proto::etcdserverpb::{InternalRaftRequest, Member, PutRequest};
use proto::raftpb;
use state::MemberChange;

const STEP: Duration = Duration::from_millis(10);

/// Keeps what a member says until it is delivered.
#[derive(Default)]
struct Outbox {
    messages: Mutex<Vec<raftpb::Message>>,
    snapshots: Mutex<Vec<(raftpb::Message, Vec<u8>)>>,
    others: Mutex<Vec<Peer>>,
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

    fn promote(&self, _: u64, _: u64) -> Asked<Vec<Member>> {
        unasked()
    }

    fn hash_kv(&self, _: u64, _: i64) -> Asked<HashKv> {
        unasked()
    }

    fn version(&self, _: u64) -> Asked<PeerVersion> {
        unasked()
    }
}

fn unasked<T: Send + 'static>() -> Asked<T> {
    Box::pin(async { Err(AskError::Unreachable("nobody asks here".to_owned())) })
}

struct Place {
    disk: SimDisk,
    clock: ManualClock,
    options: Options,
    outbox: Arc<Outbox>,
    /// `None` while it is down.
    stepped: Option<Stepped>,
    cut_off: bool,
}

impl Place {
    fn new(number: usize, bootstrap: Bootstrap) -> Self {
        let options = Options {
            name: format!("m{number}"),
            data_dir: PathBuf::from("/srv/data"),
            bootstrap,
            snapshot_count: 10,
            catchup_entries: 5,
            ..super::options(&PathBuf::from("/srv/data"))
        };
        let (disk, clock) = (SimDisk::new(number as u64), ManualClock::default());
        Self { disk, clock, options, outbox: Arc::default(), stepped: None, cut_off: false }
    }
}

struct Group {
    places: Vec<Place>,
    outcomes: BTreeMap<u64, Result<i64, String>>,
    reads: BTreeMap<u64, bool>,
}

fn url(number: usize) -> String {
    format!("http://m{number}:2380")
}

impl Group {
    fn new(members: usize) -> Self {
        let initial: Vec<_> = (0..members).map(|it| (format!("m{it}"), vec![url(it)])).collect();
        let places = (0..members)
            .map(|number| Place::new(number, Bootstrap::New { members: initial.clone() }));
        let (outcomes, reads) = Default::default();
        let mut group = Self { places: places.collect(), outcomes, reads };
        for number in 0..members {
            group.start(number);
        }
        group
    }

    fn start(&mut self, number: usize) {
        let place = &mut self.places[number];
        let world =
            World { disk: Arc::new(place.disk.clone()), clock: Arc::new(place.clock.clone()) };
        place.outbox = Arc::default();
        let mut stepped = Stepped::boot(&world, &place.options, 16 << 10).expect("it boots");
        stepped.connect(Arc::clone(&place.outbox) as Arc<dyn Peers>);
        place.stepped = Some(stepped);
    }

    /// The members as the leader knows them, with names, as a member that joins is told of them.
    fn join(&self) -> Bootstrap {
        let leader = self.places[self.leader().expect("a leader")].stepped.as_ref().unwrap();
        let number = |member: &state::Member| member.peer_urls[0].replace("http://", "");
        let members = leader.views().members.list();
        let members = members.iter().map(|member| {
            let name = number(member).replace(":2380", "");
            Member { name, ..Member::from(member) }
        });
        Bootstrap::Join { cluster_id: leader.cluster_id(), members: members.collect() }
    }

    fn change(&mut self, change: &MemberChange) {
        let leader = self.leader().expect("a leader");
        let asked = self.at(leader).change_members(change);
        self.until("an answer", |group| group.outcomes.contains_key(&asked));
        assert!(self.outcomes[&asked].is_ok(), "{change:?}: {:?}", self.outcomes[&asked]);
    }

    /// Adds one more member and starts it; its number and its id.
    fn grow(&mut self, is_learner: bool) -> (usize, u64) {
        let added = self.places.len();
        let id = 1000 + added as u64;
        let member = state::Member {
            id: state::MemberId(id),
            peer_urls: vec![url(added)],
            is_learner,
            ..Default::default()
        };
        self.change(&MemberChange::Add(member));
        let place = Place::new(added, self.join());
        self.places.push(place);
        self.start(added);
        (added, id)
    }

    fn at(&mut self, number: usize) -> &mut Stepped {
        self.places[number].stepped.as_mut().expect("it runs")
    }

    /// Takes a member down and lets the others see its connections break.
    fn kill(&mut self, number: usize) {
        let id = self.at(number).member_id();
        self.places[number].stepped = None;
        for place in &mut self.places {
            if let Some(stepped) = &mut place.stepped {
                stepped.report_lost(id);
            }
        }
    }

    fn round(&mut self) {
        for place in &mut self.places {
            place.clock.advance(STEP);
            let Some(stepped) = &mut place.stepped else { continue };
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
    fn until(&mut self, what: &str, so: impl Fn(&Self) -> bool) -> Duration {
        for round in 0..2000 {
            if so(self) {
                return STEP * round;
            }
            self.round();
        }
        panic!("never: {what}");
    }

    fn leader(&self) -> Option<usize> {
        self.places
            .iter()
            .position(|place| !place.cut_off && place.stepped.as_ref().is_some_and(Stepped::leads))
    }

    fn put(&mut self, number: usize, key: &'static str) -> u64 {
        let key = Bytes::from_static(key.as_bytes());
        let put = PutRequest { value: key.clone(), key, ..PutRequest::default() };
        self.at(number).propose(InternalRaftRequest { put: Some(put), ..Default::default() })
    }

    fn revisions(&self) -> Vec<i64> {
        let running = self.places.iter().filter_map(|place| place.stepped.as_ref());
        running.map(|stepped| stepped.views().reader.current_revision()).collect()
    }

    fn agree(&self) -> bool {
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

#[test]
fn who_joins_catches_up_and_has_a_vote() {
    for puts in [0, 40] {
        let mut group = Group::new(1);
        group.until("a leader", |group| group.leader().is_some());
        let mut last = 0;
        for _ in 0..puts {
            last = group.put(0, "k");
            group.round();
        }
        group.until("answers", |group| puts == 0 || group.outcomes.contains_key(&last));
        let (added, id) = group.grow(false);
        assert_eq!(group.at(added).member_id(), id);
        assert_eq!(group.at(added).cluster_id(), group.at(0).cluster_id());
        group.until("its own coming", |group| {
            let stepped = group.places[added].stepped.as_ref().unwrap();
            stepped.views().members.member(state::MemberId(id)).is_some() && group.agree()
        });
        // Neither can do without the other now.
        let put = group.put(added, "k");
        group.until("an answer", |group| group.outcomes.contains_key(&put));
        assert_eq!(group.outcomes[&put], Ok(puts + 2));
        group.kill(added);
        let lonely = group.put(0, "k");
        for _ in 0..50 {
            group.round();
        }
        assert!(!group.outcomes.get(&lonely).is_some_and(|outcome| outcome.is_ok()));
        // It goes on from its log, whatever the options say of beginnings.
        group.places[added].options.bootstrap = Bootstrap::Resume;
        group.start(added);
        group.until("the same revision", |group| group.agree() && group.leader().is_some());
    }
}

#[test]
fn a_learner_that_joins_is_promoted() {
    let mut group = Group::new(1);
    group.until("a leader", |group| group.leader().is_some());
    for _ in 0..40 {
        group.put(0, "k");
        group.round();
    }
    let (added, id) = group.grow(true);
    let knows_itself = |group: &Group, learns| {
        let members = &group.places[added].stepped.as_ref().unwrap().views().members;
        members.member(state::MemberId(id)).is_some_and(|member| member.is_learner == learns)
    };
    group.until("its own coming", |group| knows_itself(group, true) && group.agree());
    group.change(&MemberChange::Promote(state::MemberId(id)));
    group.until("its promotion", |group| knows_itself(group, false));
    group.at(0).transfer(id);
    group.until("its lead", |group| group.leader() == Some(added));
}

#[test]
fn a_member_that_joins_and_is_cut_short_before_it_heard_anything_joins_again() {
    for later in [true, false] {
        let mut group = Group::new(1);
        group.until("a leader", |group| group.leader().is_some());
        group.put(0, "k");
        let (added, id) = group.grow(false);
        group.kill(added);
        if !later {
            group.places[added].options.bootstrap = Bootstrap::Resume;
        }
        group.start(added);
        assert_eq!(group.at(added).member_id(), id);
        group.until("the same revision", |group| group.agree() && group.revisions()[1] > 1);
    }
}

fn refusal(name: &str, bootstrap: Bootstrap) -> String {
    let mut place = Place::new(0, bootstrap);
    place.options.name = name.to_owned();
    let world = World { disk: Arc::new(place.disk.clone()), clock: Arc::new(place.clock.clone()) };
    let refused = Stepped::boot(&world, &place.options, 16 << 10).map(drop);
    let refused = refused.expect_err("it has no place there").to_string();
    assert!(!place.disk.exists(&PathBuf::from("/srv/data/member/wal")).unwrap());
    refused
}

#[test]
fn beginnings_that_make_no_sense_are_refused_in_etcds_words() {
    let new = |members: &[(&str, &str)]| Bootstrap::New {
        members: members.iter().map(|it| (it.0.to_owned(), vec![it.1.to_owned()])).collect(),
    };
    let unknown = "couldn't find local name \"m9\" in the initial cluster configuration";
    assert_eq!(refusal("m9", new(&[("m0", "http://m0:1")])), unknown);
    assert_eq!(
        refusal("m0", new(&[("m1", "http://m0:1"), ("m0", "http://m0:1")])),
        "initial cluster m0=http://m0:1,m1=http://m0:1 has duplicate url"
    );
    let member = |name: &str, id, is_learner| Member {
        id,
        name: name.to_owned(),
        peer_urls: vec![format!("http://{name}:1")],
        is_learner,
        ..Default::default()
    };
    let members = vec![member("m0", 1, true), member("m1", 2, true)];
    let join = Bootstrap::Join { cluster_id: 7, members };
    assert_eq!(refusal("m9", join.clone()), unknown);
    assert_eq!(refusal("m0", join), "membership: too many learner members in cluster");
    assert!(refusal("m0", Bootstrap::Resume).starts_with("there is no log in"));
}
