use super::super::SeenEvent;
use super::super::samples::{delete, get, get_at, kv, lost_put, put, put_if, txn};
use super::*;

fn of(operations: Vec<Operation>) -> History {
    History { operations, ..History::default() }
}

#[track_caller]
fn holds(operations: Vec<Operation>) -> Replay {
    check_linearizable(&of(operations)).unwrap_or_else(|broken| panic!("{broken}"))
}

#[track_caller]
fn breaks(operations: Vec<Operation>, rule: Rule) {
    let broken = check_linearizable(&of(operations)).expect_err("it is wrong");
    assert_eq!(broken.rule, rule, "{broken}");
}

#[test]
fn one_after_the_other_is_right() {
    let replay = holds(vec![
        get(0, 1, 1, None),
        put(2, 3, "a", 2),
        get(4, 5, 2, Some(kv("k", "a", 2, 2, 1))),
        put(6, 7, "b", 3),
        delete(8, 9, 4, 1),
        delete(10, 11, 4, 0),
        get_at(12, 2, 4, Some(kv("k", "a", 2, 2, 1))),
        get(14, 15, 4, None),
    ]);
    assert_eq!((replay.revision, replay.changes.len()), (4, 3));
    assert_eq!(replay.called.get(&3), Some(&6));
}

#[test]
fn what_is_concurrent_may_come_in_either_order() {
    for (revision, found) in [(1, None), (2, Some(kv("k", "a", 2, 2, 1)))] {
        holds(vec![put(0, 9, "a", 2), get(1, 2, revision, found)]);
    }
}

#[test]
fn a_stale_read_is_noticed() {
    breaks(vec![put(0, 1, "a", 2), get(2, 3, 1, None)], Rule::RealTime);
    let mut serializable = get(2, 3, 1, None);
    if let Request::Range(range) = &mut serializable.request {
        range.serializable = true;
    }
    holds(vec![put(0, 1, "a", 2), serializable]);
}

#[test]
fn a_read_of_what_is_not_written_yet_is_noticed() {
    let early = get(0, 1, 2, Some(kv("k", "a", 2, 2, 1)));
    breaks(vec![early, put(2, 3, "a", 2)], Rule::RealTime);
}

#[test]
fn a_revision_that_is_made_twice_is_noticed() {
    breaks(vec![put(0, 1, "a", 2), put(0, 1, "b", 2)], Rule::Linearizable);
}

#[test]
fn a_lost_write_is_noticed() {
    let operations = vec![put(0, 1, "a", 2), put(2, 3, "b", 3), get(4, 5, 3, None)];
    breaks(operations, Rule::Linearizable);
    // The revision is used again.
    breaks(vec![put(0, 1, "a", 2), put(2, 3, "b", 2)], Rule::Linearizable);
}

#[test]
fn a_row_that_nobody_wrote_is_noticed() {
    let stray = get(2, 3, 2, Some(kv("k", "other", 2, 2, 1)));
    breaks(vec![put(0, 1, "a", 2), stray], Rule::Linearizable);
    let past = get_at(4, 2, 3, Some(kv("k", "b", 2, 2, 1)));
    breaks(vec![put(0, 1, "a", 2), put(2, 3, "b", 3), past], Rule::Linearizable);
}

#[test]
fn a_put_without_an_answer_explains_a_revision() {
    let seen = get(6, 7, 3, Some(kv("k", "b", 2, 3, 2)));
    let replay = holds(vec![put(0, 1, "a", 2), lost_put(2, "b"), lost_put(2, "c"), seen.clone()]);
    assert_eq!((replay.unanswered_done, replay.called.get(&3)), (1, Some(&2)));
    // It was asked too late for that, or was not asked at all.
    breaks(vec![put(0, 1, "a", 2), lost_put(8, "b"), seen.clone()], Rule::Linearizable);
    breaks(vec![put(0, 1, "a", 2), lost_put(2, "c"), seen], Rule::Linearizable);
}

#[test]
fn a_put_without_an_answer_need_not_be_done() {
    let replay = holds(vec![lost_put(0, "b"), put(1, 2, "a", 2)]);
    assert_eq!(replay.unanswered_done, 0);
}

#[test]
fn a_put_without_an_answer_is_done_once_at_most() {
    let twice = get(6, 7, 3, Some(kv("k", "b", 2, 3, 2)));
    breaks(vec![lost_put(0, "b"), twice], Rule::Linearizable);
    let twice = get(6, 7, 3, Some(kv("k", "b", 2, 3, 2)));
    holds(vec![lost_put(0, "b"), lost_put(0, "b"), twice]);
}

#[test]
fn the_search_takes_back_a_wrong_guess() {
    // Only the version at the end tells that "x" is behind the deletion.
    let operations = vec![
        lost_put(0, "x"),
        lost_put(0, "y"),
        delete(1, 2, 3, 1),
        get(5, 6, 4, Some(kv("k", "x", 4, 4, 1))),
    ];
    let replay = holds(operations);
    assert_eq!(replay.changes[0].kv.value, "y");
    assert_eq!(replay.changes[2].kv.value, "x");
}

#[test]
fn a_txn_that_took_the_wrong_side_is_noticed() {
    let row = || kv("k", "a", 2, 2, 1);
    holds(vec![put(0, 1, "a", 2), txn(2, 3, put_if(2, "b"), 3, None)]);
    holds(vec![put(0, 1, "a", 2), txn(2, 3, put_if(7, "b"), 2, Some(row()))]);
    breaks(vec![put(0, 1, "a", 2), txn(2, 3, put_if(7, "b"), 3, None)], Rule::Linearizable);
    breaks(vec![put(0, 1, "a", 2), txn(2, 3, put_if(2, "b"), 2, Some(row()))], Rule::Linearizable);
}

#[test]
fn the_end_of_a_lease_deletes_its_keys() {
    let mut hung = put(0, 1, "a", 2);
    if let Request::Put(put) = &mut hung.request {
        put.lease = 5;
    }
    // Nobody asked for it: its time was over.
    holds(vec![hung.clone(), get(2, 3, 3, None)]);
    let revoke = |called, revision| Operation {
        client: 3,
        called,
        request: Request::LeaseRevoke(5),
        outcome: Outcome::Answered { returned: called + 1, answer: Answer::Revoke { revision } },
    };
    holds(vec![hung.clone(), revoke(2, 3), get(4, 5, 3, None)]);
    // The second one finds nothing.
    holds(vec![hung.clone(), revoke(2, 3), revoke(4, 3), get(6, 7, 3, None)]);
    breaks(vec![hung.clone(), revoke(2, 2), get(4, 5, 2, None)], Rule::Linearizable);
    breaks(vec![put(0, 1, "a", 2), revoke(2, 3), get(4, 5, 3, None)], Rule::Linearizable);
}

#[test]
fn what_watchers_saw_settles_a_guess() {
    let operations = vec![lost_put(0, "x"), lost_put(0, "y"), put(1, 2, "a", 3)];
    let seen = SeenEvent { at: 5, deleted: false, kv: kv("k", "y", 2, 2, 1) };
    let mut history = History { operations, events: vec![seen], ..History::default() };
    let replay = check_linearizable(&history).expect("it is right");
    assert_eq!(replay.changes[0].kv.value, "y");
    // It was not even asked for when it was seen.
    let early = SeenEvent { at: 0, ..history.events[0].clone() };
    history.operations[1].called = 1;
    let known = std::mem::replace(&mut history.events, vec![early]);
    assert!(check_linearizable(&history).is_err());
    history.events = known;
    history.events[0].kv.value = "z".into();
    assert!(check_linearizable(&history).is_err());
}

#[test]
fn a_history_may_begin_on_what_was_there() {
    let row = kv("k", "old", 5, 8, 3);
    let operations = vec![get(0, 1, 9, Some(row.clone())), put(2, 3, "a", 10)];
    let history = History { revision: 9, rows: vec![row], operations, ..History::default() };
    let replay = check_linearizable(&history).expect("it is right");
    assert_eq!(replay.changes[0].kv.version, 4);
}

/// Histories that a store has really lived, with answers and unanswered requests in any order.
mod lived {
    use env::Random;

    use super::*;

    fn live(seed: u64, lost_of_ten: u64) -> Vec<Operation> {
        let mut random = Random::new(seed);
        let (mut keys, mut operations) = (Keys::new(1, []), Vec::new());
        for moment in 0..400_u64 {
            let value = format!("v{moment}");
            let request = match random.below(10) {
                0..5 => lost_put(0, &value).request,
                5 => delete(0, 0, 0, 0).request,
                6 | 7 => put_if(keys.revision - random.below(3) as i64, &value),
                _ => get(0, 0, 0, None).request,
            };
            let called = (moment * 10).saturating_sub(random.below(40));
            let returned = moment * 10 + random.below(40);
            let is_lost = random.chance(lost_of_ten, 10);
            let outcome = match (is_lost, random.chance(1, 2)) {
                (true, false) => Outcome::Unknown,
                (is_lost, _) => {
                    let answer = keys.apply(&request, &|_| None).expect("it can be done");
                    match is_lost {
                        true => Outcome::Unknown,
                        false => Outcome::Answered { returned, answer },
                    }
                }
            };
            operations.push(Operation { client: moment, called, request, outcome });
        }
        let turned = random.index(operations.len());
        operations.rotate_left(turned);
        operations
    }

    #[test]
    fn they_are_explained() {
        for seed in 0..60 {
            let lost = seed % 5;
            let checked = check_linearizable(&of(live(seed, lost)));
            assert!(checked.is_ok(), "seed {seed}: {checked:?}");
        }
    }

    #[test]
    fn a_value_that_was_changed_is_noticed() {
        let mut noticed = 0;
        for seed in 0..40 {
            let mut operations = live(seed, 2);
            let mut random = Random::new(seed);
            let shown: Vec<&mut KeyValue> = operations
                .iter_mut()
                .filter_map(|operation| match &mut operation.outcome {
                    Outcome::Answered { answer: Answer::Range { kvs, .. }, .. } => kvs.first_mut(),
                    _ => None,
                })
                .collect();
            let at = random.index(shown.len());
            for (index, kv) in shown.into_iter().enumerate() {
                if index == at {
                    kv.version += 1;
                }
            }
            noticed += usize::from(check_linearizable(&of(operations)).is_err());
        }
        assert_eq!(noticed, 40);
    }
}
