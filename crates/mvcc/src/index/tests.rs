use std::collections::BTreeMap;

use env::Random;

use super::*;
use crate::kv::KvFields;
use crate::{KeyRange, Revision};

/// The plain truth: all changes of all keys.
#[derive(Default)]
struct Model {
    keys: BTreeMap<Vec<u8>, Vec<(i64, bool)>>,
}

impl Model {
    fn lives_at(changes: &[(i64, bool)], revision: i64) -> Option<i64> {
        let (main, tombstone) = changes.iter().rfind(|(main, _)| *main <= revision)?;
        (!tombstone).then_some(*main)
    }

    fn rows(&self, range: &KeyRange, revision: i64) -> Vec<(Vec<u8>, i64)> {
        let inside = self.keys.iter().filter(|(key, _)| range.contains(key));
        inside
            .filter_map(|(key, changes)| Some((key.clone(), Self::lives_at(changes, revision)?)))
            .collect()
    }
}

fn value_of(main: i64) -> Vec<u8> {
    format!("{main:0>120}").into_bytes()
}

fn write(index: &mut Index, key: &[u8], main: i64, tombstone: bool) -> bool {
    let mut written = false;
    index.change(key, |slot| {
        if tombstone && !slot.is_some_and(Slot::is_live) {
            return None;
        }
        written = true;
        let value = value_of(main);
        let value: &[u8] = if tombstone { b"" } else { &value };
        let mod_revision = if tombstone { 0 } else { main };
        let fields = KvFields { key, mod_revision, value, ..KvFields::default() };
        Some((fields.encode(), Change::new(Revision::new(main, 0), tombstone)))
    });
    written
}

fn rows(index: &Index, range: &KeyRange, revision: i64, chunk: usize) -> Vec<(Vec<u8>, i64)> {
    let mut rows = Vec::new();
    let mut span = Some(Span::from(range));
    while let Some(part) = span.take() {
        let mut left = chunk;
        let _ = index.visit(&part, revision, &mut |slot| {
            match slot.at(revision) {
                StateAt::Absent => return ControlFlow::Continue(()),
                StateAt::Ready(encoded) => {
                    let fields = KvFields::parse(encoded).expect("a KeyValue");
                    assert_eq!(fields.value, value_of(fields.mod_revision));
                    rows.push((fields.key.to_vec(), fields.mod_revision));
                }
                StateAt::Cold(_, at) | StateAt::Older(at) => {
                    rows.push((slot.key().to_vec(), at.main));
                }
            }
            left -= 1;
            if left == 0 {
                span = Some(part.after(slot.shared_key()));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
    }
    rows
}

fn count(index: &Index, range: &KeyRange, revision: i64, budget: usize) -> usize {
    let mut sum = 0;
    let mut span = Some(Span::from(range));
    while let Some(part) = span {
        let counted = index.count(&part, revision, budget);
        sum += counted.count;
        span = counted.rest;
    }
    sum
}

fn compact_all(index: &mut Index, revision: i64, budget: usize) {
    let mut after = None;
    loop {
        after = index.compact(revision, after, budget);
        if after.is_none() {
            return;
        }
    }
}

/// Checks shape, order and summaries; returns the depth.
fn check(child: &Child) -> usize {
    let mut truth = child.node.summarise();
    assert!(truth.turned <= child.summary.turned, "turned is a bound");
    truth.turned = child.summary.turned;
    assert_eq!(truth, child.summary);
    match &child.node {
        Node::Leaf(leaf) => {
            let slots = &leaf.slots;
            assert!(slots.len() <= tree::LEAF_MAX);
            assert!((0..slots.len()).all(|at| leaf.find(slots[at].key()) == Ok(at)));
            assert!(slots.windows(2).all(|pair| pair[0].key() < pair[1].key()));
            1
        }
        Node::Inner(inner) => {
            assert!((1..=tree::INNER_MAX).contains(&inner.children.len()));
            assert_eq!(inner.separators.len() + 1, inner.children.len());
            assert!(inner.separators.windows(2).all(|pair| pair[0] < pair[1]));
            for (at, separator) in inner.separators.iter().enumerate() {
                each_key(&inner.children[at], &mut |key| assert!(*key < **separator));
                each_key(&inner.children[at + 1], &mut |key| assert!(*key >= **separator));
            }
            let depths: Vec<usize> = inner.children.iter().map(check).collect();
            assert!(depths.iter().all(|depth| *depth == depths[0]));
            depths[0] + 1
        }
    }
}

fn each_key(child: &Child, see: &mut impl FnMut(&[u8])) {
    match &child.node {
        Node::Leaf(leaf) => leaf.slots.iter().for_each(|slot| see(slot.key())),
        Node::Inner(inner) => inner.children.iter().for_each(|child| each_key(child, see)),
    }
}

fn some_key(random: &mut Random, keys: u64) -> Vec<u8> {
    // Different lengths and shared prefixes, so that separators get cut.
    match random.below(keys) {
        0 => Vec::new(),
        n => format!("{:0width$}", n, width = 1 + (n % 5) as usize).into_bytes(),
    }
}

fn some_range(random: &mut Random, keys: u64) -> KeyRange {
    let (key, end) = (some_key(random, keys), some_key(random, keys));
    match random.below(6) {
        0 => KeyRange::Single(key.into()),
        1 => KeyRange::From(key.into()),
        2 => KeyRange::From(Bytes::new()),
        _ => KeyRange::Between(key.into(), end.into()),
    }
}

fn compare(index: &Index, model: &Model, random: &mut Random, keys: u64, from: i64, to: i64) {
    let range = some_range(random, keys);
    let revision = from + random.below((to - from + 1) as u64) as i64;
    let expected = model.rows(&range, revision);
    let chunk = 1 + random.index(100);
    assert_eq!(rows(index, &range, revision, chunk), expected, "{range:?} at {revision}");
    let budget = 1 + random.index(300);
    assert_eq!(count(index, &range, revision, budget), expected.len(), "{range:?} at {revision}");
}

fn equals_the_model(seed: u64, keys: u64, steps: usize, value_budget: usize) {
    let mut random = Random::new(seed);
    let mut index = Index::new(value_budget);
    let mut model = Model::default();
    let (mut main, mut compacted) = (1, 0);
    for step in 0..steps {
        let key = some_key(&mut random, keys);
        let tombstone = random.chance(2, 5);
        if write(&mut index, &key, main + 1, tombstone) {
            main += 1;
            model.keys.entry(key).or_default().push((main, tombstone));
        }
        if random.chance(1, 50) {
            compare(&index, &model, &mut random, keys, compacted, main);
        }
        if random.chance(1, 1000) {
            compacted += random.below((main - compacted + 1) as u64) as i64;
            let budget = 1 + random.index(200);
            compact_all(&mut index, compacted, budget);
        }
        if step % 500 == 0 {
            check(&index.root);
            let allowed = value_budget.saturating_add(1000);
            assert!(index.hot_bytes() <= allowed, "{} bytes", index.hot_bytes());
        }
    }
    for _ in 0..50 {
        compare(&index, &model, &mut random, keys, compacted, main);
    }
    assert_eq!(index.live(), model.rows(&KeyRange::From(Bytes::new()), main).len());
}

#[test]
fn equals_a_plain_history() {
    for seed in 0..4 {
        equals_the_model(seed, 40, 3000, usize::MAX);
        equals_the_model(seed, 3000, 4000, usize::MAX);
    }
    equals_the_model(100, 20_000, 20_000, usize::MAX);
}

#[test]
fn a_small_budget_keeps_few_values_and_all_answers() {
    for seed in 0..4 {
        equals_the_model(seed, 500, 5000, 20_000);
        equals_the_model(seed, 500, 3000, 0);
    }
}

#[test]
fn ascending_keys_fill_their_leaves() {
    let mut index = Index::new(usize::MAX);
    for main in 0..10_000i64 {
        write(&mut index, format!("{main:06}").as_bytes(), main + 2, false);
    }
    assert_eq!(check(&index.root), 3);
    let Node::Inner(root) = &index.root.node else { panic!("three levels") };
    let Node::Inner(first) = &root.children[0].node else { panic!("three levels") };
    assert!(first.children.iter().all(|child| child.node.len() == tree::LEAF_MAX));
}

#[test]
fn compaction_empties_the_tree_of_dead_keys() {
    let mut index = Index::new(usize::MAX);
    let keys: Vec<String> = (0..5000).map(|n| format!("{:04}", n * 7919 % 5000)).collect();
    for (main, key) in (2..).zip(&keys) {
        write(&mut index, key.as_bytes(), main, false);
    }
    for (main, key) in (10_000..).zip(&keys[1..]) {
        write(&mut index, key.as_bytes(), main, true);
    }
    compact_all(&mut index, 20_000, 64);
    assert_eq!(check(&index.root), 1);
    assert_eq!((index.root.node.len(), index.live()), (1, 1));
    write(&mut index, keys[0].as_bytes(), 30_000, true);
    compact_all(&mut index, 30_000, 64);
    assert_eq!(index.root.node.len(), 0);
}

#[test]
fn counting_now_looks_at_few_slots() {
    let mut index = Index::new(usize::MAX);
    for n in 0..20_000i64 {
        write(&mut index, format!("{:05}", n * 7919 % 20_000).as_bytes(), n + 2, false);
    }
    // A whole answer from one chunk's budget means that the summaries gave it.
    let range = KeyRange::Between("00100".into(), "19900".into());
    let counted = index.count(&Span::from(&range), 30_000, 2 * tree::LEAF_MAX + 1);
    assert_eq!(counted, Counted { count: 19_800, rest: None });
}

#[test]
fn counting_in_the_past_passes_over_keys_that_only_changed() {
    let mut index = Index::new(usize::MAX);
    let key = |n: i64| format!("{n:05}");
    for n in 0..20_000 {
        write(&mut index, key(n).as_bytes(), n + 2, false);
    }
    for n in 0..20_000 {
        write(&mut index, key(n).as_bytes(), n + 30_000, false);
    }
    for n in [7, 9_000, 19_000] {
        write(&mut index, key(n).as_bytes(), n + 60_000, true);
    }
    let counted = index.count(&Span::everything(), 25_000, 4 * tree::LEAF_MAX);
    assert_eq!(counted, Counted { count: 20_000, rest: None });
}
