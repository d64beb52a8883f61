//! How members begin: in a new cluster, in one that is there, and alone again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use env::{Access, Disk as _, ManualClock, SimDisk};
use node::{Bootstrap, Fatal, Member, MemberId, Options, Stepped, World};
use state::MemberChange;

use crate::cluster::{Group, Place, url};

const NEWCOMER: u64 = 0xabc;

fn options(name: &str, bootstrap: Option<Bootstrap>) -> Options {
    Options { name: name.to_owned(), bootstrap, ..super::options(Path::new("/srv/data")) }
}

fn boot(disk: &SimDisk, options: &Options) -> Result<Stepped, Fatal> {
    let clock = ManualClock::default();
    let world = World { disk: Arc::new(disk.clone()), clock: Arc::new(clock) };
    Stepped::boot(&world, options, 16 << 10)
}

/// Adds a member to the cluster and starts it with what the others tell of it.
fn join(group: &mut Group, learner: bool) -> usize {
    let leader = group.leader().expect("somebody leads");
    let number = group.places.len();
    let newcomer = Member {
        id: MemberId(NEWCOMER),
        peer_urls: vec![url(number)],
        is_learner: learner,
        ..Member::default()
    };
    let change = group.at(leader).change_members(&MemberChange::Add(newcomer));
    group.until("an answer", |group| group.outcomes.contains_key(&change));
    assert_eq!(group.outcomes[&change].as_ref().err(), None);
    let bootstrap = Bootstrap::Join {
        cluster_id: group.at(leader).cluster_id(),
        member_id: NEWCOMER,
        members: group.at(leader).views().members.list(),
    };
    let place = &group.places[leader];
    let options =
        Options { name: format!("m{number}"), bootstrap: Some(bootstrap), ..place.options.clone() };
    group.places.push(Place {
        disk: SimDisk::new(number as u64),
        clock: place.clock.clone(),
        options,
        outbox: Arc::default(),
        stepped: None,
        cut_off: false,
        hangs: false,
    });
    group.start(number);
    number
}

fn group_of_three() -> Group {
    let mut group = Group::new(3);
    group.until("a leader", |group| group.leader().is_some());
    group
}

fn put_times(group: &mut Group, number: usize, times: usize) {
    for _ in 0..times {
        let put = group.put(number, "k");
        group.until("an answer", |group| group.outcomes.contains_key(&put));
        assert!(group.outcomes[&put].is_ok());
    }
}

#[test]
fn all_first_members_come_to_the_same_ids_in_whatever_order_they_are_named() {
    let names = [("a", ["http://a:1"]), ("b", ["http://b:1"]), ("c", ["http://c:1"])];
    let one = Bootstrap::with_new(names, "t");
    let mut other = names;
    other.reverse();
    assert_eq!(one, Bootstrap::with_new(other, "t"));
    assert_ne!(one, Bootstrap::with_new(names, "another"));
    let begin = |name: &str| boot(&SimDisk::new(1), &options(name, Some(one.clone())));
    let ids = ["a", "b", "c"].map(|name| {
        let member = begin(name).expect("it begins");
        (member.cluster_id(), member.member_id())
    });
    assert!(ids.iter().all(|(cluster, _)| *cluster == ids[0].0));
    let Bootstrap::New { members } = one else { panic!("it is new") };
    let mut told: Vec<_> = ids.iter().map(|(_, member)| MemberId(*member)).collect();
    told.sort();
    assert_eq!(told, members.iter().map(|member| member.id).collect::<Vec<_>>());
}

#[test]
fn who_is_not_among_the_first_members_does_not_begin() {
    let bootstrap = Bootstrap::with_new([("a", ["http://a:1"])], "t");
    let refused = boot(&SimDisk::new(1), &options("b", Some(bootstrap))).map(drop);
    assert_eq!(
        refused.expect_err("it is not named").to_string(),
        "couldn't find local name \"b\" in the initial cluster configuration"
    );
    let refused = boot(&SimDisk::new(1), &options("b", None)).map(drop);
    assert_eq!(
        refused.expect_err("it is not told").to_string(),
        "there is no log in /srv/data/member/wal, and nothing says how to begin one"
    );
}

#[test]
fn members_go_on_after_all_of_them_were_down_and_need_not_be_told_again() {
    let mut group = group_of_three();
    put_times(&mut group, 0, 3);
    for number in 0..3 {
        group.kill(number);
        let place = &mut group.places[number];
        place.disk = place.disk.crash();
        place.options.bootstrap = None;
    }
    for number in 0..3 {
        group.start(number);
    }
    group.until("a leader", |group| group.leader().is_some());
    put_times(&mut group, 1, 1);
    group.until("the same revision", |group| group.agree());
    assert_eq!(group.revisions(), [5, 5, 5]);
}

#[test]
fn who_joins_learns_all_from_the_others() {
    // With a log that is whole, with one that begins behind a snapshot; with and without a vote.
    for (puts, learner) in [(2, false), (60, false), (60, true)] {
        let mut group = group_of_three();
        let leader = group.leader().unwrap();
        put_times(&mut group, leader, puts);
        let joined = join(&mut group, learner);
        group.until("the same revision", |group| group.agree());
        let members = group.at(leader).views().members.list();
        assert_eq!(group.at(joined).views().members.list(), members);
        assert_eq!(group.at(joined).cluster_id(), group.at(leader).cluster_id());
        // It is known to others by now, and asks them.
        put_times(&mut group, joined, 1);
        // After a restart it knows from its own log who it is.
        group.kill(joined);
        group.places[joined].options.bootstrap = None;
        group.places[joined].disk = group.places[joined].disk.crash();
        group.start(joined);
        put_times(&mut group, joined, 1);
        group.until("the same revision", |group| group.agree());
    }
}

#[test]
fn who_joins_speaks_to_others_before_its_log_tells_of_them() {
    let mut group = group_of_three();
    put_times(&mut group, 0, 2);
    let joined = join(&mut group, false);
    let others = |group: &Group| group.places[joined].outbox.others.lock().unwrap().len();
    assert_eq!(others(&group), 3);
    group.until("the same revision", |group| group.agree());
    assert_eq!(others(&group), 3);
}

#[test]
fn who_joins_and_is_stopped_before_it_was_told_anything_waits_on() {
    let mut group = group_of_three();
    put_times(&mut group, 0, 2);
    let joined = join(&mut group, false);
    group.kill(joined);
    group.places[joined].options.bootstrap = None;
    group.start(joined);
    assert_eq!(group.at(joined).member_id(), NEWCOMER);
    group.until("the same revision", |group| group.agree());
}

#[test]
fn more_learners_than_were_told_of_are_refused_at_the_start() {
    let mut group = group_of_three();
    join(&mut group, true);
    group.until("a learner", |group| {
        let stepped = group.places[0].stepped.as_ref().expect("it runs");
        stepped.views().members.list().len() == 4
    });
    group.at(0).seal();
    group.at(0).commit_sealed().expect("a healthy disk");
    group.kill(0);
    let place = &group.places[0];
    let options = Options { max_learners: 0, ..place.options.clone() };
    let refused = boot(&place.disk, &options).map(drop).expect_err("there is one");
    assert_eq!(refused.to_string(), "membership: too many learner members in cluster");
    group.start(0);
}

fn segment(disk: &SimDisk) -> PathBuf {
    let wal = Path::new("/srv/data/member/wal");
    let names = disk.list(wal).expect("there is a log");
    wal.join(names.iter().find(|name| name.ends_with(".wal")).expect("a segment"))
}

#[test]
fn a_first_write_that_was_torn_anywhere_is_made_anew() {
    let names = (0..3).map(|number| (format!("m{number}"), [url(number)]));
    let bootstrap = Bootstrap::with_new(names, "t");
    let options = options("m0", Some(bootstrap));
    let disk = SimDisk::new(1);
    drop(boot(&disk, &options).expect("it begins"));
    let empty = read(&disk, &segment(&disk));
    let mut member = boot(&disk, &options).expect("it goes on");
    member.step(std::time::Duration::ZERO).expect("a healthy disk");
    drop(member);
    let whole = read(&disk, &segment(&disk));
    let wrote = whole.iter().zip(empty.iter()).position(|(one, other)| one != other);
    let mut cut = wrote.expect("it wrote");
    let mut cuts = 0;
    loop {
        // Records whole up to here, zeros behind.
        let torn: Vec<u8> = whole[..cut].iter().chain(&empty[cut..]).copied().collect();
        let disk = SimDisk::new(1);
        drop(boot(&disk, &options).expect("it begins"));
        write(&disk, &segment(&disk), &torn);
        let mut member = boot(&disk, &options).expect("it goes on");
        member.step(std::time::Duration::ZERO).expect("a healthy disk");
        assert_eq!(member.views().members.list().len(), 3, "cut at {cut}");
        assert_eq!(member.raft().last_index.0, 3);
        // A record says its length and how many bytes fill it up to a multiple of 8.
        let head: [u8; 8] = whole[cut..cut + 8].try_into().expect("eight bytes");
        if head == [0; 8] {
            break;
        }
        let padding = if head[7] & 0x80 == 0 { 0 } else { usize::from(head[7] & 7) };
        let len = u64::from_le_bytes(head) & ((1 << 56) - 1);
        cut += 8 + len as usize + padding;
        cuts += 1;
    }
    assert_eq!(cuts, 4, "three entries and a hard state");
}

fn read(disk: &SimDisk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, Access::Read).expect("it is there");
    let mut bytes = vec![0; file.len().expect("a length") as usize];
    file.read_exact_at(&mut bytes, 0).expect("it is read");
    bytes
}

fn write(disk: &SimDisk, path: &Path, bytes: &[u8]) {
    let file = disk.open(path, Access::Create).expect("it can be made");
    file.set_len(0).expect("it can be emptied");
    file.write_all_at(bytes, 0).expect("it can be written");
}

#[test]
fn who_is_forced_goes_on_alone_with_what_was_committed() {
    for crash in [false, true] {
        let mut group = group_of_three();
        let leader = group.leader().unwrap();
        put_times(&mut group, leader, 30);
        let revision = group.at(leader).views().reader.current_revision();
        // What nobody else has is not committed.
        for number in (0..3).filter(|number| *number != leader) {
            group.kill(number);
        }
        group.put(leader, "lost");
        group.round();
        let (cluster_id, member_id) = (group.at(leader).cluster_id(), group.at(leader).member_id());
        group.kill(leader);
        let place = &mut group.places[leader];
        if crash {
            place.disk = place.disk.crash();
        }
        place.options.bootstrap = None;
        place.options.force_new_cluster = true;
        group.start(leader);
        group.until("a leader", |group| group.leader() == Some(leader));
        let alone = group.at(leader);
        assert_eq!((alone.cluster_id(), alone.member_id()), (cluster_id, member_id));
        assert_eq!(alone.views().reader.current_revision(), revision);
        let members = alone.views().members.list();
        assert_eq!(members.iter().map(|member| member.id.0).collect::<Vec<_>>(), [member_id]);
        put_times(&mut group, leader, 1);
        // It needs to be forced once only, also after a power cut.
        group.kill(leader);
        group.places[leader].disk = group.places[leader].disk.crash();
        group.places[leader].options.force_new_cluster = false;
        group.start(leader);
        put_times(&mut group, leader, 1);
        assert_eq!(group.at(leader).views().reader.current_revision(), revision + 2);
    }
}

#[test]
fn who_was_told_nothing_yet_can_be_forced_too() {
    let mut group = group_of_three();
    put_times(&mut group, 0, 2);
    let joined = join(&mut group, false);
    for number in 0..4 {
        group.kill(number);
    }
    let place = &mut group.places[joined];
    place.options.bootstrap = None;
    place.options.force_new_cluster = true;
    group.start(joined);
    group.until("a leader", |group| group.leader() == Some(joined));
    let members = group.at(joined).views().members.list();
    assert_eq!(members.len(), 1);
    assert_eq!((members[0].id.0, &*members[0].peer_urls[0]), (NEWCOMER, "http://localhost:2380"));
    put_times(&mut group, joined, 1);
}
