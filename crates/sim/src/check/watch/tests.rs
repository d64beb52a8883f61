use super::super::samples::{delete, get, kv, put};
use super::super::{History, check_linearizable};
use super::*;
use proto::mvccpb::KeyValue;

/// Puts at 2 and 3, a deletion at 4, a put at 5; asked for at 0, 10, 20 and 30.
fn replay(compacted: i64) -> Replay {
    let operations = vec![
        put(0, 1, "a", 2),
        put(10, 11, "b", 3),
        delete(20, 21, 4, 1),
        put(30, 31, "c", 5),
        get(40, 41, 5, Some(kv("k", "c", 5, 5, 1))),
    ];
    let history = History { operations, compacted, ..History::default() };
    check_linearizable(&history).expect("it is right")
}

fn event(revision: i64) -> Event {
    let (r#type, kv) = match revision {
        2 => (EventType::Put, kv("k", "a", 2, 2, 1)),
        3 => (EventType::Put, kv("k", "b", 2, 3, 2)),
        4 => (EventType::Delete, KeyValue { mod_revision: 4, ..kv("k", "", 0, 0, 0) }),
        _ => (EventType::Put, kv("k", "c", 5, 5, 1)),
    };
    Event { r#type: r#type as i32, kv: Some(kv), prev_kv: None }
}

fn events(at: Moment, revisions: &[i64]) -> WatchRecord {
    let events: Vec<Event> = revisions.iter().copied().map(event).collect();
    WatchRecord::Events { at, revision: 5, events, fragment: false }
}

fn from(start_revision: i64) -> WatchRecord {
    WatchRecord::Created { start_revision, revision: 1 }
}

fn watcher(records: Vec<WatchRecord>) -> Watcher {
    Watcher { key: b"k".to_vec(), records, ..Watcher::default() }
}

#[track_caller]
fn holds(records: Vec<WatchRecord>, until: Option<i64>) {
    let checked = check_watch(&watcher(records), &replay(0), until);
    checked.unwrap_or_else(|broken| panic!("{broken}"));
}

#[track_caller]
fn breaks(records: Vec<WatchRecord>, rule: Rule) {
    let broken = check_watch(&watcher(records), &replay(3), Some(5)).expect_err("it is wrong");
    assert_eq!(broken.rule, rule, "{broken}");
}

#[test]
fn all_events_in_order_are_right() {
    holds(vec![from(0), events(50, &[2, 3]), events(51, &[4, 5])], Some(5));
    holds(vec![from(3), events(50, &[3, 4, 5])], Some(5));
    holds(vec![from(2), events(10, &[2, 3])], None);
    holds(vec![from(2), events(50, &[2]), from(3), events(60, &[3, 4, 5])], Some(5));
    // Who begins again before the last event hears of it again.
    holds(vec![from(2), events(50, &[2, 3]), from(3), events(60, &[3, 4, 5])], Some(5));
}

#[test]
fn an_event_that_is_dropped_is_noticed() {
    breaks(vec![from(2), events(50, &[2, 4, 5])], Rule::WatchEvents);
    breaks(vec![from(2), events(50, &[2, 3, 4])], Rule::WatchComplete);
    breaks(vec![from(2), events(50, &[2]), from(3), events(60, &[4, 5])], Rule::WatchEvents);
}

#[test]
fn an_event_that_comes_twice_or_too_early_is_noticed() {
    breaks(vec![from(2), events(50, &[2, 2, 3])], Rule::WatchEvents);
    breaks(vec![from(2), events(50, &[3, 2])], Rule::WatchEvents);
    breaks(vec![from(3), events(50, &[2, 3])], Rule::WatchEvents);
}

#[test]
fn an_event_that_is_altered_is_noticed() {
    let mut altered = event(2);
    altered.kv = Some(kv("k", "z", 2, 2, 1));
    let record =
        WatchRecord::Events { at: 50, revision: 5, events: vec![altered], fragment: false };
    breaks(vec![from(2), record], Rule::WatchEvents);
}

#[test]
fn an_event_before_its_request_is_noticed() {
    breaks(vec![from(2), events(5, &[2, 3])], Rule::WatchAhead);
    let old = WatchRecord::Events { at: 50, revision: 1, events: vec![event(2)], fragment: false };
    breaks(vec![from(2), old], Rule::WatchAhead);
}

#[test]
fn progress_tells_that_nothing_is_missing() {
    let progress = |at, revision| WatchRecord::Progress { at, revision };
    holds(vec![from(2), events(50, &[2, 3]), progress(51, 3), events(52, &[4, 5])], Some(5));
    breaks(vec![from(2), events(50, &[2]), progress(51, 3)], Rule::WatchProgress);
    breaks(vec![from(2), progress(51, 9)], Rule::WatchAhead);
}

#[test]
fn only_who_is_behind_a_compaction_may_be_cancelled() {
    let compacted = |compact_revision| WatchRecord::Compacted { compact_revision };
    let until = Some(5);
    check_watch(&watcher(vec![from(2), compacted(3)]), &replay(3), until).expect("it is behind");
    breaks(vec![from(2), events(50, &[2, 3]), compacted(3)], Rule::WatchCompacted);
    breaks(vec![from(2), compacted(4)], Rule::WatchCompacted);
}

#[test]
fn pairs_before_are_compared() {
    let with = |prev_kv: Option<KeyValue>| {
        let event = Event { prev_kv, ..event(3) };
        let events = vec![event];
        let events = WatchRecord::Events { at: 50, revision: 5, events, fragment: false };
        Watcher { prev_kv: true, ..watcher(vec![from(3), events]) }
    };
    let right = with(Some(kv("k", "a", 2, 2, 1)));
    check_watch(&right, &replay(0), None).expect("it is right");
    for wrong in [None, Some(kv("k", "b", 2, 2, 1))] {
        let broken = check_watch(&with(wrong), &replay(0), None).expect_err("it is wrong");
        assert_eq!(broken.rule, Rule::WatchEvents);
    }
    check_watch(&with(None), &replay(3), None).expect("it was compacted away");
}

#[test]
fn who_wants_no_deletions_is_not_told_of_them() {
    let puts = Watcher { no_delete: true, ..watcher(vec![from(2), events(50, &[2, 3, 5])]) };
    check_watch(&puts, &replay(0), Some(5)).expect("it is right");
    check_watch(&watcher(vec![from(2), events(50, &[2, 3, 5])]), &replay(0), Some(5))
        .expect_err("it wants all");
}
