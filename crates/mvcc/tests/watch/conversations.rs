//! Scripts: what is asked, what is done, what is heard.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use mvcc::{
    Event, EventKind, History, HistoryError, Hub, Previous, Revision, WatchCreate,
    WatchCreateError, WatchFilters, WatchNext, WatchOptions, WatchStats,
};

use crate::store::{Bell, Bench, Keep, drain, key, line, lines, next, range};

fn bench() -> Bench {
    Bench::new(WatchOptions::default())
}

/// Everything is cramped: two responses in an inbox, four revisions in the ring.
fn cramped() -> Bench {
    Bench::new(WatchOptions {
        inbox_responses: 2,
        ring_revisions: 4,
        batch_revisions: 3,
        ..WatchOptions::default()
    })
}

#[test]
fn a_key_watcher_sees_its_key_from_now_on() {
    let bench = bench();
    bench.txn("a=0");
    let mut stream = bench.hub.open_stream();
    let created = stream.create(key("a")).unwrap();
    assert_eq!((created.watch_id, created.revision), (0, 2));
    assert_eq!(lines(&mut stream), [""; 0]);
    bench.txn("a=1");
    bench.txn("b=1");
    bench.txn("-a");
    assert_eq!(lines(&mut stream), ["0 @3: a=1@3", "0 @5: -a@5"]);
}

#[test]
fn ranges_are_half_open_or_have_no_end() {
    let bench = bench();
    let mut stream = bench.hub.open_stream();
    for create in [range("b", "d"), range("c", "\0"), range("", "\0"), key("")] {
        stream.create(create).unwrap();
    }
    bench.txn("a=1 b=1 c=1 d=1");
    assert_eq!(
        lines(&mut stream),
        ["2 @2: a=1@2 b=1@2 c=1@2 d=1@2", "0 @2: b=1@2 c=1@2", "1 @2: c=1@2 d=1@2"]
    );
    bench.txn("\0=1");
    assert_eq!(lines(&mut stream), ["3 @3: \0=1@3", "2 @3: \0=1@3"]);
}

#[test]
fn a_live_response_is_one_whole_revision() {
    let bench = bench();
    let mut stream = bench.hub.open_stream();
    stream.create(range("a", "z")).unwrap();
    bench.txn("a=1 b=1 zz=1");
    bench.txn("b=2 -a");
    assert_eq!(lines(&mut stream), ["0 @2: a=1@2 b=1@2", "0 @3: b=2@3 -a@3"]);
}

#[test]
fn a_past_start_is_replayed_inclusively_and_then_goes_live() {
    let bench = bench();
    bench.puts("a", 3);
    let mut stream = bench.hub.open_stream();
    let created = stream.create(WatchCreate { start_revision: 3, ..key("a") }).unwrap();
    assert_eq!(created.revision, 4);
    assert_eq!(next(&mut stream).as_ref().map(line).as_deref(), Some("0 @4: a=1@3 a=2@4"));
    bench.txn("a=9");
    assert_eq!(lines(&mut stream), ["0 @5: a=9@5"]);
}

#[test]
fn a_start_at_the_current_revision_brings_that_revision() {
    let bench = bench();
    bench.puts("a", 3);
    let mut stream = bench.hub.open_stream();
    stream.create(WatchCreate { start_revision: 4, ..key("a") }).unwrap();
    assert_eq!(lines(&mut stream), ["0 @4: a=2@4"]);
}

#[test]
fn a_future_start_sees_nothing_older() {
    let bench = bench();
    let mut stream = bench.hub.open_stream();
    stream.create(WatchCreate { start_revision: 4, ..key("a") }).unwrap();
    bench.puts("a", 4);
    assert_eq!(lines(&mut stream), ["0 @4: a=2@4", "0 @5: a=3@5"]);
}

#[test]
fn a_compacted_start_is_cancelled_with_header_revision_zero_and_keeps_its_id() {
    let bench = bench();
    bench.puts("a", 5);
    bench.store.compact(4);
    let mut stream = bench.hub.open_stream();
    let create = WatchCreate { start_revision: 3, watch_id: 7, ..key("a") };
    assert_eq!(stream.create(create.clone()).unwrap().watch_id, 7);
    assert_eq!(lines(&mut stream), ["7 @0: compacted 4"]);
    bench.txn("a=9");
    assert_eq!(lines(&mut stream), [""; 0]);
    assert_eq!(stream.create(create.clone()), Err(WatchCreateError::DuplicateId));
    assert_eq!(bench.hub.stats().watchers, 1);
    assert_eq!(stream.cancel(7).unwrap().revision, 7);
    assert!(stream.create(create).is_ok());
}

#[test]
fn the_compacted_revision_itself_can_be_watched() {
    let bench = bench();
    bench.puts("a", 5);
    bench.store.compact(4);
    let mut stream = bench.hub.open_stream();
    stream.create(WatchCreate { start_revision: 4, ..key("a") }).unwrap();
    assert_eq!(lines(&mut stream), ["0 @6: a=2@4 a=3@5 a=4@6"]);
}

#[test]
fn a_negative_start_is_refused() {
    let mut stream = bench().hub.open_stream();
    let error = stream.create(WatchCreate { start_revision: -1, ..key("a") }).unwrap_err();
    assert_eq!(error.to_string(), "etcdserver: mvcc: required revision has been compacted");
}

#[test]
fn an_empty_range_is_refused() {
    let mut stream = bench().hub.open_stream();
    for (start, end) in [("b", "b"), ("b", "a"), ("foo", "f")] {
        let error = stream.create(range(start, end)).unwrap_err();
        assert_eq!(error.to_string(), "mvcc: watcher range is empty");
    }
    assert!(stream.create(range("a", "b")).is_ok());
}

#[test]
fn ids_are_given_from_zero_and_skip_those_in_use() {
    let bench = bench();
    let mut stream = bench.hub.open_stream();
    let mut create = |watch_id| {
        stream.create(WatchCreate { watch_id, ..key("a") }).map(|created| created.watch_id)
    };
    assert_eq!(create(0), Ok(0));
    assert_eq!(create(1), Ok(1));
    assert_eq!(create(-5), Ok(-5));
    assert_eq!(create(0), Ok(2));
    let error = create(1).unwrap_err();
    assert_eq!(error.to_string(), "mvcc: duplicate watch ID provided on the WatchStream");
    assert!(stream.cancel(0).is_some());
    let created = stream.create(key("a")).unwrap();
    assert_eq!(created.watch_id, 3, "an id is not given twice");
    let mut other = bench.hub.open_stream();
    assert_eq!(other.create(key("a")).unwrap().watch_id, 0, "ids belong to the stream");
}

#[test]
fn filters_leave_out_puts_or_deletions_and_empty_responses() {
    let bench = bench();
    let mut stream = bench.hub.open_stream();
    let filtered = |no_put, no_delete| WatchCreate {
        filters: WatchFilters { no_put, no_delete },
        ..range("a", "z")
    };
    for create in [filtered(true, false), filtered(false, true), filtered(true, true)] {
        stream.create(create).unwrap();
    }
    bench.txn("a=1 b=1");
    bench.txn("-a c=1 -b");
    assert_eq!(lines(&mut stream), ["1 @2: a=1@2 b=1@2", "0 @3: -a@3 -b@3", "1 @3: c=1@3"]);
    let late = WatchCreate { start_revision: 1, ..filtered(true, false) };
    stream.create(late).unwrap();
    assert_eq!(lines(&mut stream), ["3 @3: -a@3 -b@3"]);
}

#[test]
fn prev_kv_comes_with_all_but_creations() {
    for keep in [Keep::AtHand, Keep::InHistory] {
        let mut bench = bench();
        bench.keep = keep;
        let mut stream = bench.hub.open_stream();
        let create = WatchCreate { prev_kv: true, ..range("a", "z") };
        stream.create(create.clone()).unwrap();
        stream.create(key("a")).unwrap();
        bench.txn("a=1");
        bench.txn("a=2 b=1");
        bench.txn("-a -b");
        bench.txn("a=3");
        let with: Vec<_> = lines(&mut stream).into_iter().filter(|l| l.starts_with('0')).collect();
        let expected = [
            "0 @2: a=1@2",
            "0 @3: a=2@3<a=1@2 b=1@3",
            "0 @4: -a@4<a=2@3 -b@4<b=1@3",
            "0 @5: a=3@5",
        ];
        assert_eq!(with, expected, "{keep:?}");
        bench.store.compact(3);
        stream.create(WatchCreate { start_revision: 3, ..create }).unwrap();
        assert_eq!(
            lines(&mut stream),
            ["2 @5: a=2@3 b=1@3 -a@4<a=2@3 -b@4<b=1@3 a=3@5"],
            "what was before the compacted revision is silently absent ({keep:?})"
        );
    }
}

#[test]
fn cancelling_is_answered_once_and_drops_what_is_queued() {
    let bench = bench();
    let mut stream = bench.hub.open_stream();
    stream.create(key("a")).unwrap();
    stream.create(WatchCreate { watch_id: 9, ..key("a") }).unwrap();
    bench.txn("a=1");
    bench.txn("a=2");
    assert_eq!(next(&mut stream).as_ref().map(line).as_deref(), Some("0 @2: a=1@2"));
    assert_eq!(stream.cancel(9).unwrap().revision, 3);
    assert_eq!(stream.cancel(9), None);
    assert_eq!(stream.cancel(33), None);
    stream.create(WatchCreate { watch_id: 9, ..key("a") }).unwrap();
    assert_eq!(lines(&mut stream), ["0 @3: a=2@3"], "not for the new watcher of the old id");
    assert_eq!(bench.hub.stats().pending_events, 0);
}

#[test]
fn catching_up_takes_whole_revisions_in_bounded_batches() {
    let bench = cramped();
    for value in 0..12 {
        bench.txn(&format!("a={value} b={value}"));
    }
    let mut stream = bench.hub.open_stream();
    stream.create(WatchCreate { start_revision: 1, ..range("a", "z") }).unwrap();
    let batches = drain(&mut stream);
    let mut seen = Vec::new();
    for batch in &batches {
        assert_eq!(batch.revision, 13, "the header has the store's revision");
        let mvcc::WatchContent::Events(events) = &batch.content else { panic!("{batch:?}") };
        let mut mains: Vec<_> = events.iter().map(|watched| watched.event.revision.main).collect();
        assert_eq!(mains.len() % 2, 0, "no revision is split");
        seen.extend(mains.clone());
        mains.dedup();
        assert!(mains.len() <= 4);
    }
    let expected: Vec<i64> = (2..=13).flat_map(|main| [main, main]).collect();
    assert_eq!(seen, expected);
    assert!(batches.len() > 2);
}

#[test]
fn a_full_inbox_makes_victims_which_lose_nothing() {
    let bench = cramped();
    let mut slow = bench.hub.open_stream();
    let mut quick = bench.hub.open_stream();
    slow.create(key("a")).unwrap();
    quick.create(key("a")).unwrap();
    for value in 0..20 {
        bench.txn(&format!("a={value}"));
        assert_eq!(lines(&mut quick).len(), 1, "the slow one costs the quick one nothing");
    }
    let stats = bench.hub.stats();
    assert_eq!((stats.victims, stats.unsynced, stats.pending_events), (1, 0, 2));
    assert_eq!(stats.slow_watchers(), 1);
    let heard = lines(&mut slow).join(" ");
    let seen: Vec<&str> = heard.split(' ').filter(|word| word.starts_with("a=")).collect();
    let expected: Vec<String> = (0..20).map(|value| format!("a={value}@{}", value + 2)).collect();
    assert_eq!(seen, expected);
    let stats = bench.hub.stats();
    assert_eq!((stats.slow_watchers(), stats.pending_events), (0, 0));
    bench.txn("a=x");
    assert_eq!(lines(&mut slow), ["0 @22: a=x@22"]);
}

#[test]
fn a_victim_within_the_ring_does_not_touch_history() {
    let bench = cramped();
    let mut stream = bench.hub.open_stream();
    stream.create(key("a")).unwrap();
    bench.puts("a", 5);
    assert_eq!(lines(&mut stream), ["0 @2: a=0@2", "0 @3: a=1@3", "0 @6: a=2@4 a=3@5 a=4@6"]);
    assert_eq!(bench.store.reads(), 0);
}

#[test]
fn a_victim_overtaken_by_compaction_is_cancelled_after_what_it_has() {
    let bench = cramped();
    let mut stream = bench.hub.open_stream();
    stream.create(key("a")).unwrap();
    bench.puts("a", 10);
    bench.store.compact(9);
    assert_eq!(lines(&mut stream), ["0 @2: a=0@2", "0 @3: a=1@3", "0 @0: compacted 9"]);
    assert_eq!(bench.hub.stats(), WatchStats { streams: 1, watchers: 1, ..WatchStats::default() });
}

#[test]
fn compaction_in_the_middle_of_catching_up_cancels() {
    let bench = cramped();
    bench.puts("a", 20);
    let mut stream = bench.hub.open_stream();
    stream.create(WatchCreate { start_revision: 2, ..key("a") }).unwrap();
    let first = next(&mut stream).unwrap();
    assert_eq!(line(&first), "0 @21: a=0@2 a=1@3 a=2@4");
    bench.store.compact(15);
    assert_eq!(lines(&mut stream), ["0 @0: compacted 15"]);
}

#[test]
fn compaction_during_a_read_of_history_cancels_rather_than_misleads() {
    let bench = cramped();
    bench.puts("a", 20);
    bench.store.compact_at_next_read(15);
    let mut stream = bench.hub.open_stream();
    stream.create(WatchCreate { start_revision: 2, ..key("a") }).unwrap();
    stream.create(WatchCreate { start_revision: 15, ..key("a") }).unwrap();
    let heard = lines(&mut stream);
    assert_eq!(heard[0], "0 @0: compacted 15");
    assert!(heard[1..].iter().all(|line| line.starts_with("1 @21")), "{heard:?}");
}

#[test]
fn a_fall_does_not_strike_the_next_watcher_with_that_id() {
    let bench = cramped();
    let mut stream = bench.hub.open_stream();
    let create = WatchCreate { watch_id: 7, ..key("a") };
    stream.create(create.clone()).unwrap();
    bench.puts("a", 5);
    assert_eq!(bench.hub.stats().victims, 1);
    stream.cancel(7);
    stream.create(create).unwrap();
    assert_eq!(lines(&mut stream), [""; 0]);
    bench.txn("a=9");
    assert_eq!(lines(&mut stream), ["7 @7: a=9@7"]);
    assert_eq!(bench.hub.stats(), WatchStats { streams: 1, watchers: 1, ..WatchStats::default() });
}

#[test]
fn progress_does_not_vouch_for_a_watcher_that_came_after_it() {
    let bench = cramped();
    bench.puts("a", 20);
    let mut stream = bench.hub.open_stream();
    stream.create(key("b")).unwrap();
    stream.request_progress();
    stream.create(WatchCreate { start_revision: 2, ..key("a") }).unwrap();
    let heard = lines(&mut stream);
    assert!(heard.iter().all(|line| line.starts_with("1 @21: a=")), "{heard:?}");
    stream.request_progress();
    assert_eq!(lines(&mut stream), ["-1 @21: progress"]);
}

#[test]
fn compaction_does_not_touch_the_synced() {
    let bench = bench();
    let mut stream = bench.hub.open_stream();
    stream.create(key("a")).unwrap();
    bench.puts("b", 20);
    bench.store.compact(20);
    bench.txn("a=1");
    assert_eq!(lines(&mut stream), ["0 @22: a=1@22"]);
}

#[test]
fn progress_is_told_when_all_are_synced_and_there_is_one() {
    let bench = bench();
    bench.puts("a", 2);
    let mut stream = bench.hub.open_stream();
    stream.request_progress();
    assert_eq!(lines(&mut stream), [""; 0], "no watcher, no answer");
    stream.create(key("a")).unwrap();
    stream.request_progress();
    assert_eq!(lines(&mut stream), ["-1 @3: progress"]);
    stream.create(WatchCreate { start_revision: 2, ..key("a") }).unwrap();
    stream.request_progress();
    assert_eq!(lines(&mut stream), ["1 @3: a=0@2 a=1@3"], "one was unsynced: no answer");
    bench.txn("a=9");
    stream.request_progress();
    assert_eq!(
        lines(&mut stream),
        ["0 @4: a=9@4", "1 @4: a=9@4", "-1 @4: progress"],
        "progress stands behind the events that it vouches for"
    );
}

#[test]
fn no_progress_before_a_future_start_or_after_a_compaction_cancel() {
    let bench = bench();
    bench.puts("b", 2);
    let mut stream = bench.hub.open_stream();
    stream.create(WatchCreate { start_revision: 5, progress_notify: true, ..key("a") }).unwrap();
    stream.start_progress(Duration::ZERO, Duration::from_secs(1));
    bench.txn("b=1");
    stream.request_progress();
    stream.tick_progress(Duration::from_secs(1));
    assert_eq!(lines(&mut stream), [""; 0]);
    bench.txn("b=2");
    stream.request_progress();
    stream.tick_progress(Duration::from_secs(2));
    assert_eq!(lines(&mut stream), ["-1 @5: progress", "0 @5: progress"]);
    bench.store.compact(5);
    stream.create(WatchCreate { start_revision: 2, ..key("a") }).unwrap();
    assert_eq!(lines(&mut stream), ["1 @0: compacted 5"]);
    stream.request_progress();
    assert_eq!(lines(&mut stream), [""; 0], "the cancelled one is still among the watchers");
    stream.cancel(1);
    stream.request_progress();
    assert_eq!(lines(&mut stream), ["-1 @5: progress"]);
}

#[test]
fn no_progress_over_a_fall_that_the_stream_has_not_seen() {
    let bench = cramped();
    let mut stream = bench.hub.open_stream();
    stream.create(key("a")).unwrap();
    bench.puts("a", 3);
    assert_eq!(bench.hub.stats().victims, 1);
    stream.request_progress();
    assert_eq!(lines(&mut stream), ["0 @2: a=0@2", "0 @3: a=1@3", "0 @4: a=2@4"]);
    stream.request_progress();
    assert_eq!(lines(&mut stream), ["-1 @4: progress"]);
}

#[test]
fn ticks_tell_progress_to_those_who_heard_nothing_since_the_last() {
    let bench = bench();
    let mut stream = bench.hub.open_stream();
    stream.create(WatchCreate { progress_notify: true, ..key("a") }).unwrap();
    stream.create(key("a")).unwrap();
    let at = Duration::from_secs;
    assert_eq!(stream.tick_progress(at(5)), None, "nobody asked for ticks");
    stream.start_progress(at(10), at(10));
    assert_eq!(stream.tick_progress(at(19)), Some(at(20)));
    assert_eq!(lines(&mut stream), [""; 0]);
    assert_eq!(stream.tick_progress(at(21)), Some(at(31)));
    assert_eq!(lines(&mut stream), ["0 @1: progress"], "the first tick does tell");
    bench.txn("a=1");
    assert_eq!(lines(&mut stream).len(), 2);
    stream.tick_progress(at(31));
    assert_eq!(lines(&mut stream), [""; 0], "an event is progress enough");
    stream.tick_progress(at(41));
    assert_eq!(lines(&mut stream), ["0 @2: progress"]);
    bench.txn("b=1");
    stream.tick_progress(at(51));
    assert_eq!(lines(&mut stream), ["0 @3: progress"]);
}

#[test]
fn after_a_restore_everybody_goes_on_where_they_were() {
    let bench = bench();
    let mut stream = bench.hub.open_stream();
    stream.create(WatchCreate { prev_kv: true, ..key("a") }).unwrap();
    stream.create(WatchCreate { start_revision: 9, ..key("a") }).unwrap();
    bench.txn("a=1");
    let restored = Arc::new(bench.store.copy());
    for value in 2..9 {
        let ops = [crate::store::op(&format!("a={value}"))];
        restored.apply(&ops, Keep::AtHand);
    }
    bench.hub.restored(Arc::clone(&restored) as Arc<dyn History>);
    assert_eq!(bench.hub.revision(), 9);
    assert_eq!(bench.hub.stats().victims, 2);
    assert_eq!(
        lines(&mut stream),
        [
            "0 @2: a=1@2",
            "0 @9: a=2@3<a=1@2 a=3@4<a=2@3 a=4@5<a=3@4 a=5@6<a=4@5 a=6@7<a=5@6 a=7@8<a=6@7 a=8@9<a=7@8",
            "1 @9: a=8@9",
        ]
    );
    let (revision, events) = restored.apply(&[crate::store::op("a=9")], Keep::AtHand);
    bench.hub.publish(revision, events);
    assert_eq!(lines(&mut stream), ["0 @10: a=9@10<a=8@9", "1 @10: a=9@10"]);
}

#[test]
fn a_restore_does_not_cancel_those_who_were_up_to_date() {
    let bench = bench();
    let mut stream = bench.hub.open_stream();
    stream.create(key("a")).unwrap();
    bench.puts("b", 20);
    let restored = Arc::new(bench.store.copy());
    restored.apply(&[crate::store::op("a=1")], Keep::AtHand);
    restored.compact(20);
    bench.hub.restored(Arc::clone(&restored) as Arc<dyn History>);
    assert_eq!(lines(&mut stream), ["0 @22: a=1@22"]);
    restored.compact(22);
    stream.create(WatchCreate { start_revision: 30, ..key("a") }).unwrap();
    let store = Arc::clone(&restored);
    bench.hub.restored(restored);
    assert_eq!(lines(&mut stream), [""; 0], "a future start stays in the future");
    assert_eq!(bench.hub.stats().slow_watchers(), 0);
    stream.cancel(0);
    for _ in 23..=30 {
        let (revision, events) = store.apply(&[crate::store::op("a=2")], Keep::AtHand);
        bench.hub.publish(revision, events);
    }
    assert_eq!(lines(&mut stream), ["1 @30: a=2@30"]);
}

#[test]
fn one_wake_for_all_that_came_since_the_last_poll() {
    let bench = bench();
    let mut stream = bench.hub.open_stream();
    stream.create(key("a")).unwrap();
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    let mut cx = Context::from_waker(&waker);
    assert!(stream.poll_next(&mut cx).is_pending());
    bench.txn("b=1");
    assert_eq!(bell.rung(), 0, "not for others' keys");
    bench.puts("a", 5);
    assert_eq!(bell.rung(), 1);
    while stream.poll_next(&mut cx).is_ready() {}
    bench.puts("a", 5);
    assert_eq!(bell.rung(), 2);
    while stream.poll_next(&mut cx).is_ready() {}
    stream.create(WatchCreate { start_revision: 1, ..key("a") }).unwrap();
    assert_eq!(bell.rung(), 3, "a watcher that has to catch up wakes its task");
}

#[test]
fn dropping_a_stream_removes_all_of_it() {
    let bench = cramped();
    bench.puts("a", 5);
    let mut keeper = bench.hub.open_stream();
    keeper.create(key("a")).unwrap();
    let mut stream = bench.hub.open_stream();
    for start_revision in [0, 0, 2, 3, 1000] {
        stream.create(WatchCreate { start_revision, ..key("a") }).unwrap();
        stream.create(WatchCreate { start_revision, ..range("a", "\0") }).unwrap();
    }
    bench.puts("a", 3);
    assert!(next(&mut stream).is_some());
    drop(stream);
    lines(&mut keeper);
    let expected = WatchStats { streams: 1, watchers: 1, ..WatchStats::default() };
    assert_eq!(bench.hub.stats(), expected);
    bench.txn("a=9");
    assert_eq!(lines(&mut keeper), ["0 @10: a=9@10"]);
}

#[test]
fn a_stream_ends_when_history_cannot_be_read() {
    let bench = cramped();
    bench.puts("a", 20);
    bench.store.break_disk();
    let mut stream = bench.hub.open_stream();
    stream.create(WatchCreate { start_revision: 2, ..key("a") }).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(stream.poll_next(&mut cx), Poll::Ready(WatchNext::Over)));
    assert!(matches!(stream.poll_next(&mut cx), Poll::Ready(WatchNext::Over)));
    let error = stream.failure().unwrap();
    assert_eq!(*error, HistoryError::Unreadable("the disk is gone".to_owned()));
}

#[test]
fn a_watcher_from_long_ago_does_not_hold_up_the_others() {
    let bench = cramped();
    bench.puts("a", 100);
    let mut stream = bench.hub.open_stream();
    stream.create(WatchCreate { start_revision: 2, ..key("a") }).unwrap();
    stream.create(WatchCreate { start_revision: 99, ..key("a") }).unwrap();
    stream.create(WatchCreate { start_revision: 60, ..key("a") }).unwrap();
    let ids: Vec<i64> = drain(&mut stream).iter().map(|batch| batch.watch_id).collect();
    let last = |id| ids.iter().rposition(|own| *own == id).unwrap();
    assert!(last(1) <= 2, "{ids:?}");
    assert!(last(2) < last(0), "{ids:?}");
}

#[test]
fn those_who_come_back_at_once_read_history_once() {
    let bench = Bench::new(WatchOptions { ring_revisions: 1, ..WatchOptions::default() });
    bench.puts("a", 500);
    let mut streams: Vec<_> = (0..50).map(|_| bench.hub.open_stream()).collect();
    for (at, stream) in (0..).zip(&mut streams) {
        stream.create(WatchCreate { start_revision: 100 + at, ..key("a") }).unwrap();
        let heard = lines(stream).join(" ");
        assert_eq!(heard.matches("a=").count(), usize::try_from(402 - at).unwrap());
    }
    assert!(bench.store.reads() < 5, "{} reads", bench.store.reads());
}

#[test]
fn very_many_watchers_of_one_stream_come_back_together() {
    let bench = bench();
    bench.puts("a", 3);
    let mut stream = bench.hub.open_stream();
    for _ in 0..1000 {
        stream.create(WatchCreate { start_revision: 3, ..key("a") }).unwrap();
    }
    assert_eq!(bench.hub.stats().unsynced, 1000);
    assert!(next(&mut stream).is_some());
    assert_eq!(bench.hub.stats().unsynced, 0);
    assert_eq!(lines(&mut stream).len(), 999);
}

#[test]
fn what_is_not_published_yet_is_not_told_early() {
    let bench = cramped();
    bench.puts("a", 10);
    let options = WatchOptions { batch_revisions: 3, ..WatchOptions::default() };
    let hub = Hub::new(Arc::clone(&bench.store) as Arc<dyn History>, options);
    let (revision, events) = bench.store.apply(&[crate::store::op("a=x")], Keep::AtHand);
    let mut stream = hub.open_stream();
    for start_revision in [10, 11, 12] {
        stream.create(WatchCreate { start_revision, ..key("a") }).unwrap();
    }
    assert_eq!(lines(&mut stream), ["0 @11: a=8@10 a=9@11", "1 @11: a=9@11"]);
    hub.publish(revision, events);
    let mut heard = lines(&mut stream);
    heard.sort();
    assert_eq!(heard, ["0 @12: a=x@12", "1 @12: a=x@12", "2 @12: a=x@12"]);
}

#[test]
fn what_history_does_not_show_yet_is_waited_for() {
    let bench = cramped();
    bench.puts("a", 4);
    bench.store.show_only(4);
    bench.puts("a", 6);
    let mut stream = bench.hub.open_stream();
    stream.create(WatchCreate { start_revision: 5, ..key("a") }).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..3 {
        assert!(matches!(stream.poll_next(&mut cx), Poll::Ready(WatchNext::Pause)));
    }
    bench.store.show_only(i64::MAX);
    let heard = lines(&mut stream).join(" ");
    let seen: Vec<&str> = heard.split(' ').filter(|word| word.starts_with("a=")).collect();
    assert_eq!(seen, ["a=3@5", "a=0@6", "a=1@7", "a=2@8", "a=3@9", "a=4@10", "a=5@11"]);
}

#[test]
fn bytes_bound_an_inbox_but_never_block_the_first() {
    let bench = Bench::new(WatchOptions { inbox_bytes: 10, ..WatchOptions::default() });
    let mut stream = bench.hub.open_stream();
    stream.create(key("a")).unwrap();
    bench.puts("a", 3);
    assert_eq!(bench.hub.stats().pending_events, 1);
    assert_eq!(lines(&mut stream), ["0 @2: a=0@2", "0 @4: a=1@3 a=2@4"]);
}

#[test]
fn responses_share_the_bytes_of_the_event() {
    let bench = bench();
    let mut streams: Vec<_> = (0..3).map(|_| bench.hub.open_stream()).collect();
    for stream in &mut streams {
        stream.create(WatchCreate { fragment: true, ..key("a") }).unwrap();
    }
    let kv = Bytes::from_static(b"encoded");
    let event = Event {
        kind: EventKind::Put,
        revision: Revision::new(2, 0),
        key: Bytes::from_static(b"a"),
        kv: kv.clone(),
        previous: Previous::None,
    };
    bench.hub.publish(2, Arc::from([event]));
    for stream in &mut streams {
        let batch = next(stream).unwrap();
        assert!(batch.fragment);
        let mvcc::WatchContent::Events(events) = batch.content else { panic!("no events") };
        assert_eq!(events.len(), 1);
        assert_eq!(events.iter().next().unwrap().event.kv.as_ptr(), kv.as_ptr());
    }
}

#[test]
fn hub_and_streams_may_go_to_other_threads() {
    fn shared(_: &(impl Send + Sync + Clone + 'static)) {}
    fn owned(_: &(impl Send + 'static)) {}
    let bench = bench();
    shared(&bench.hub);
    owned(&bench.hub.open_stream());
}

#[test]
#[should_panic(expected = "every changing revision is published once")]
fn a_gap_in_what_is_published_is_a_bug() {
    let bench = bench();
    bench.hub.publish(3, Arc::from([]));
}

#[test]
fn a_long_past_that_concerns_nobody_is_read_in_turns_with_others() {
    let bench = cramped();
    bench.puts("a", 100);
    let mut stream = bench.hub.open_stream();
    stream.create(WatchCreate { start_revision: 2, ..key("nothing") }).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(stream.poll_next(&mut cx), Poll::Ready(WatchNext::Pause)));
    bench.txn("nothing=1");
    assert_eq!(lines(&mut stream), ["0 @102: nothing=1@102"]);
}
