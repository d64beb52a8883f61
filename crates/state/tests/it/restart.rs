//! What a file holds is what the machine was, up to the index that stands in it.

use mvcc::Bucket;
use proto::etcdserverpb::PutRequest;
use state::{EntryId, LeaseId, Options};

use crate::kit::{
    Machine, TempDir, bytes, delete, on_compact, on_delete, on_grant, on_put, on_revoke, put, run,
};

#[test]
fn the_state_moves_to_its_thread_and_views_go_everywhere() {
    fn moves<T: Send>() {}
    fn goes_everywhere<T: Clone + Send + Sync + 'static>() {}
    moves::<state::State>();
    moves::<state::Applied>();
    goes_everywhere::<state::Views>();
}

#[test]
fn a_fresh_file_has_what_etcd_puts_into_it() {
    let dir = TempDir::new();
    let mut machine = Machine::open(&dir.path().join("db"), Options::default());
    assert_eq!(machine.state.applied(), EntryId::default());
    assert_eq!(machine.revision(), 1);
    machine.commit();
    let backend = machine.state.views().backend.clone();
    let revision = backend.get(Bucket::Auth, b"authRevision").expect("readable");
    assert_eq!(revision, Some(bytes("\0\0\0\0\0\0\0\x01")));
    // An index of 0 is never written.
    assert_eq!(backend.get(Bucket::Meta, b"consistent_index").expect("readable"), None);
}

#[test]
fn leases_and_their_keys_come_back() {
    let mut machine = Machine::new();
    for id in [1, 2, 3] {
        machine.apply(&on_grant(id, 10));
    }
    let with = |key: &str, lease| on_put(PutRequest { lease, ..put(key, "v") });
    for (key, lease) in [("moved", 1), ("kept", 1), ("freed", 1), ("gone", 1), ("old", 3)] {
        machine.apply(&with(key, lease));
    }
    machine.apply(&with("moved", 2));
    machine.apply(&with("freed", 0));
    machine.apply(&on_delete(delete("gone", "")));
    machine.apply(&on_revoke(3));

    let mut machine = machine.restart(Options { min_lease_ttl: 20, ..Options::default() });
    let leases = machine.state.views().leases.clone();
    assert_eq!(leases.len(), 2);
    assert_eq!(leases.keys(LeaseId(1)), Some(vec![bytes("kept")]));
    assert_eq!(leases.keys(LeaseId(2)), Some(vec![bytes("moved")]));
    assert_eq!(leases.lease(LeaseId(1)).map(|lease| lease.ttl), Some(20));
    machine.apply(&on_revoke(1));
    assert_eq!(machine.rows().len(), 2);
}

#[test]
fn a_key_of_a_lease_that_has_no_record_hangs_on_nothing() {
    let mut machine = Machine::new();
    machine.apply(&on_grant(1, 10));
    machine.apply(&on_put(PutRequest { lease: 1, ..put("k", "v") }));
    machine.state.views().backend.delete(Bucket::Lease, bytes("\0\0\0\0\0\0\0\x01"));
    let mut machine = machine.restart(Options::default());
    assert!(machine.state.views().leases.is_empty());
    // A put that keeps the lease's number is no reason to stop.
    let keep = PutRequest { ignore_lease: true, ..put("k", "w") };
    machine.outcome(&on_put(keep)).expect("the key lives");
    assert_eq!(machine.rows(), ["k=w 2/3/2/1"]);
}

#[test]
fn entries_behind_the_file_are_applied_again_and_lead_to_the_same() {
    let mut machine = Machine::new();
    let requests = [
        on_grant(1, 10),
        on_put(PutRequest { lease: 1, ..put("a", "1") }),
        on_put(put("b", "1")),
        on_delete(delete("b", "")),
        on_put(put("b", "2")),
        on_compact(4),
        on_revoke(1),
    ];
    for request in &requests[..3] {
        run(machine.apply(request).effect);
    }
    // What is not sealed with its index is not in the file.
    let mut again = machine.restart(Options::default());
    assert_eq!(again.state.applied(), EntryId { index: 3, term: 2 });
    for (index, request) in (1..).zip(&requests) {
        let at = EntryId { index, term: 2 };
        run(again.state.apply(at, request, true).expect("an entry").effect);
    }
    let again = again.restart(Options::default());
    assert_eq!(again.rows(), ["b=2 5/5/1/0"]);
    assert_eq!(again.revision(), 6);
    assert!(again.state.views().leases.is_empty());
}

#[test]
fn nothing_is_written_where_nothing_happened() {
    let mut machine = Machine::new();
    machine.apply(&on_put(put("a", "1")));
    machine.commit();
    assert!(!machine.state.seal());
    machine.state.apply_empty(EntryId { index: 9, term: 3 });
    assert!(machine.state.seal(), "the index moved");
}

#[test]
fn a_compaction_goes_on_after_a_restart() {
    let mut machine = Machine::new();
    for value in ["1", "2", "3"] {
        machine.apply(&on_put(put("a", value)));
    }
    machine.apply(&on_compact(4));
    let mut machine = machine.restart(Options::default());
    assert_eq!(machine.state.views().reader.compact_revision(), 4);
    let job = machine.state.take_resumed_compaction().expect("it was not stepped");
    run(state::Effect::Compaction(job));
    assert!(machine.state.take_resumed_compaction().is_none());
    machine.commit();
    let backend = &machine.state.views().backend;
    let finished = backend.get(Bucket::Meta, b"finishedCompactRev").expect("readable");
    assert!(finished.is_some());
}
