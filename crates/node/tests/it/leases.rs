//! Leases of a cluster, whoever leads: what is left of them, and whose word ends them.

use std::time::Duration;

use env::Clock as _;

use proto::etcdserverpb::{InternalRaftRequest, LeaseGrantRequest};
use proto::membershippb::ClusterVersionSetRequest;
use state::{LeaseId, Renewal};

use crate::cluster::Group;

const ID: LeaseId = LeaseId(7);
const STEP: Duration = Duration::from_millis(10);

/// Three members that have agreed on a version, and a lease.
fn group(version: &str, ttl: i64) -> Group {
    let mut group = Group::new(3);
    group.until("a leader", |group| group.leader().is_some());
    let set = ClusterVersionSetRequest { ver: version.to_owned() };
    propose(
        &mut group,
        InternalRaftRequest { cluster_version_set: Some(Box::new(set)), ..Default::default() },
    );
    let grant = LeaseGrantRequest { id: ID.0, ttl };
    propose(&mut group, InternalRaftRequest { lease_grant: Some(grant), ..Default::default() });
    group
}

fn propose(group: &mut Group, request: InternalRaftRequest) {
    let leader = group.leader().expect("somebody leads");
    let id = group.at(leader).propose(request);
    group.until("an answer", |group| group.outcomes.contains_key(&id));
    assert!(group.outcomes[&id].is_ok(), "{:?}", group.outcomes[&id]);
}

fn pass(group: &mut Group, time: Duration) {
    for _ in 0..time.as_millis() / STEP.as_millis() {
        group.round();
    }
}

/// What each member has on disk of what is left.
fn written_down(group: &Group) -> Vec<i64> {
    let running = group.places.iter().filter_map(|place| place.stepped.as_ref());
    let leases = running.map(|stepped| stepped.views().leases.lease(ID));
    leases.map(|lease| lease.expect("it is there").remaining_ttl).collect()
}

/// Lets another member lead, and says what is left of the lease then.
fn left_after_change(group: &mut Group) -> i64 {
    let old = group.leader().expect("somebody leads");
    group.kill(old);
    group.until("another leader", |group| group.leader().is_some());
    let new = group.leader().expect("somebody leads");
    let now = group.places[new].clock.now();
    let left = group.at(new).lease_left(now, ID).expect("it leads");
    group.start(old);
    group.until("the same revision", Group::agree);
    left
}

#[test]
fn what_is_left_of_a_lease_survives_changes_of_the_leader() {
    let mut group = group("3.7.0", 1000);
    pass(&mut group, Duration::from_secs(301));
    // Five minutes after the grant, all were told.
    assert_eq!(written_down(&group), [700; 3]);
    // An election timeout is added each time, in which nobody could renew.
    let first = left_after_change(&mut group);
    assert!((699..=702).contains(&first), "{first}");
    let second = left_after_change(&mut group);
    assert!((699..=702).contains(&second), "{second}");
    // A renewal takes back what was written down, so that it counts for the next leader too.
    let leader = group.leader().expect("somebody leads");
    let now = group.places[leader].clock.now();
    assert_eq!(group.at(leader).renew_lease(now, ID), Renewal::ClearCheckpoint);
}

#[test]
fn nothing_is_written_down_where_a_member_could_not_read_it() {
    let mut group = group("3.5.0", 1000);
    pass(&mut group, Duration::from_secs(301));
    assert_eq!(written_down(&group), [0; 3]);
    let left = left_after_change(&mut group);
    assert!((999..=1002).contains(&left), "it begins anew: {left}");
}

#[test]
fn a_leader_that_hung_cannot_end_what_the_next_one_renewed() {
    let ttl = 5;
    let mut group = group("3.7.0", ttl);
    let stuck = group.leader().expect("somebody leads");
    let place = &mut group.places[stuck];
    (place.hangs, place.cut_off) = (true, true);
    group.until("another leader", |group| group.leader().is_some());
    let new = group.leader().expect("somebody leads");
    for _ in 0..2 * ttl {
        pass(&mut group, Duration::from_secs(1));
        let now = group.places[new].clock.now();
        assert_eq!(group.at(new).renew_lease(now, ID), Renewal::Renewed { ttl });
    }
    // It goes on before it hears of anything: for all it knows it leads, and the lease is over.
    group.places[stuck].hangs = false;
    group.round();
    assert!(group.at(stuck).leads());
    let now = group.places[stuck].clock.now();
    let overdue = group.at(stuck).lease_left(now, ID).expect("for all it knows");
    assert!(overdue < 0, "{overdue}");
    group.places[stuck].cut_off = false;
    for _ in 0..2 * ttl {
        pass(&mut group, Duration::from_secs(1));
        let leader = group.leader().expect("somebody leads");
        let now = group.places[leader].clock.now();
        assert_eq!(group.at(leader).renew_lease(now, ID), Renewal::Renewed { ttl });
        assert_eq!(written_down(&group).len(), 3, "all have it");
    }
    assert!(!group.at(stuck).leads());
    // When nobody renews it any more, it ends everywhere.
    group.until("its end", |group| {
        let running = group.places.iter().filter_map(|place| place.stepped.as_ref());
        running.into_iter().all(|stepped| stepped.views().leases.lease(ID).is_none())
    });
}
