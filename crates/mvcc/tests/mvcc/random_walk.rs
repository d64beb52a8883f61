//! Random work against the model: transactions, ranges of every kind, compactions half done,
//! commits, reopenings and power cuts.

use std::collections::BTreeMap;

use bytes::Bytes;
use env::{Random, SimDisk};
use mvcc::{
    CompactJob, Event, EventKind, Finished, KeyRange, Previous, Progress, Range, Ranged, Reader,
    Revision, SortOrder, SortTarget, Store, WriteTxn, Writer,
};
use prost::Message;
use proto::mvccpb::KeyValue;

use crate::kit::{flush, open, records};
use crate::model::{Change, Model};

struct Walk {
    random: Random,
    keys: u64,
    disk: SimDisk,
    value_budget: usize,
    writer: Writer,
    reader: Reader,
    jobs: Vec<(CompactJob, Option<mvcc::HashKv>)>,
    model: Model,
    /// The last compaction that was finished.
    finished: i64,
}

impl Walk {
    fn new(seed: u64, keys: u64, value_budget: usize) -> Self {
        let disk = SimDisk::new(seed);
        let Store { writer, reader, .. } = open(&disk, value_budget);
        let random = Random::new(seed);
        let (jobs, model) = (Vec::new(), Model::new());
        Self { random, keys, disk, value_budget, writer, reader, jobs, model, finished: -1 }
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            match self.random.below(100) {
                0..=39 => self.transaction(),
                40..=69 => self.compare_range(),
                70..=74 => self.compare_history(),
                75..=79 => self.compare_hash(),
                80..=83 => self.compact(),
                84..=89 => self.step_jobs(),
                90..=93 => drop(self.reader.backend().seal()),
                94..=97 => drop(self.reader.backend().commit_sealed().unwrap()),
                98 => self.reopen(),
                _ => self.crash(),
            }
        }
        self.finish_jobs();
        self.compare_records();
    }

    fn key(&mut self) -> Vec<u8> {
        let n = self.random.below(self.keys);
        format!("{:0width$}", n, width = 1 + (n % 4) as usize).into_bytes()
    }

    fn key_range(&mut self) -> KeyRange {
        let (key, end) = (self.key(), self.key());
        match self.random.below(8) {
            0..=2 => KeyRange::new(key.into(), Bytes::new()),
            3 => KeyRange::all(),
            4 => KeyRange::new(key.into(), Bytes::from_static(b"\0")),
            _ => KeyRange::new(key.into(), end.into()),
        }
    }

    fn revision(&mut self) -> i64 {
        let (from, to) = (self.model.compacted.max(0) - 2, self.model.current + 2);
        match self.random.below(3) {
            0 => 0,
            1 => self.model.current - self.random.below(10) as i64,
            _ => from + self.random.below((to - from) as u64) as i64,
        }
    }

    fn range(&mut self) -> Range {
        let revision = self.revision();
        let mut filter = || if self.random.chance(1, 6) { self.random.below(60) as i64 } else { 0 };
        let (min_mod_revision, max_mod_revision) = (filter(), filter() * 3);
        let (min_create_revision, max_create_revision) = (filter(), filter() * 3);
        let orders = [SortOrder::None, SortOrder::None, SortOrder::Ascend, SortOrder::Descend];
        let targets = [
            SortTarget::Key,
            SortTarget::Key,
            SortTarget::Version,
            SortTarget::Create,
            SortTarget::Mod,
            SortTarget::Value,
        ];
        Range {
            keys: self.key_range(),
            revision,
            limit: if self.random.chance(1, 2) { self.random.below(8) as i64 - 1 } else { 0 },
            count_only: self.random.chance(1, 10),
            keys_only: self.random.chance(1, 4),
            order: orders[self.random.index(orders.len())],
            target: targets[self.random.index(targets.len())],
            min_mod_revision,
            max_mod_revision,
            min_create_revision,
            max_create_revision,
        }
    }

    fn transaction(&mut self) {
        let main = self.model.current + 1;
        let before = self.model.state(self.model.current);
        let ops = match self.random.below(10) {
            0 => 0,
            1..=6 => 1,
            _ => 1 + self.random.index(5),
        };
        let plans: Vec<Plan> = (0..ops).map(|_| self.plan()).collect();
        let mut txn = self.writer.txn();
        for plan in &plans {
            plan.run(&mut txn, &mut self.model, main);
        }
        let changed = self.model.changes.last().is_some_and(|change| change.main == main);
        assert_eq!(txn.begin_revision(), self.model.current);
        assert_eq!(self.reader.current_revision(), self.model.current, "not seen before its end");
        let finished = txn.finish();
        self.model.current += i64::from(changed);
        assert_eq!((finished.revision, finished.changed), (self.model.current, changed));
        let changes: Vec<_> =
            self.model.changes.iter().filter(|change| change.main == main).cloned().collect();
        compare_events(&finished.events, &changes, &|_| before.clone());
    }

    fn plan(&mut self) -> Plan {
        match self.random.below(6) {
            0..=2 => Plan::Put {
                key: self.key(),
                value: vec![b'v'; self.random.index(4) * self.random.index(80)],
                lease: self.random.below(4) as i64 * 1_000_000_007,
            },
            3 => Plan::Delete(self.key_range()),
            4 => Plan::Range(Box::new(self.range())),
            _ => Plan::Get(self.key()),
        }
    }

    fn compare_range(&mut self) {
        let request = self.range();
        let expected = self.model.range(&request, self.model.current);
        compare(&self.reader.range(&request), &expected, &request);
    }

    fn compare_history(&mut self) {
        let from = (self.model.compacted + 1).max(0) + self.random.below(20) as i64;
        let limit = 1 + self.random.index(30);
        let events = self.reader.history(from, limit).unwrap();
        let mut changes = self.model.changes.clone();
        changes.retain(|change| change.main >= from);
        let mut mains: Vec<i64> = changes.iter().map(|change| change.main).collect();
        mains.dedup();
        mains.truncate(limit);
        changes.retain(|change| mains.contains(&change.main));
        compare_events(&events, &changes, &|main| self.model.state(main - 1));

        let (key, revision) = (self.key(), self.revision().max(1));
        let previous = self.reader.previous(&key, revision).ok().flatten();
        let readable = (self.model.compacted..=self.model.current).contains(&revision);
        let expected = readable.then(|| self.model.state(revision).remove(&key)).flatten();
        assert_eq!(previous, expected.map(|kv| kv.encode_to_vec().into()));
        let compacted = self.reader.history(self.model.compacted - 1, 1);
        assert!(self.model.compacted < 0 || matches!(compacted, Err(mvcc::Error::Compacted)));
    }

    fn compare_hash(&mut self) {
        let revision = self.revision().max(0);
        let (hash, expected) = (self.reader.hash_kv(revision), self.model.hash_kv(revision));
        match (hash, expected) {
            (Ok(hash), Ok(expected)) => assert_eq!(hash, expected),
            (hash, expected) => assert_eq!(format!("{hash:?}"), format!("{expected:?}")),
        }
    }

    fn compact(&mut self) {
        let revision = self.revision();
        let previous = self.model.compacted;
        match self.writer.compact(revision) {
            Ok(job) => {
                assert!(revision > previous && revision <= self.model.current);
                let complete = self.finished == previous;
                let hash = complete.then(|| self.model.compaction_hash(revision, previous));
                self.model.compacted = revision;
                self.jobs.push((job, hash));
            }
            Err(mvcc::Error::Compacted) => assert!(revision <= previous),
            Err(mvcc::Error::FutureRevision) => assert!(revision > self.model.current),
            Err(error) => panic!("{error}"),
        }
    }

    fn step_jobs(&mut self) {
        for _ in 0..self.random.below(20) {
            if self.jobs.is_empty() {
                return;
            }
            let at = self.random.index(self.jobs.len());
            let limit = 1 + self.random.index(20);
            let progress = self.jobs[at].0.step(limit).unwrap();
            assert_eq!(progress == Progress::Waiting, at > 0, "compactions take turns");
            if progress == Progress::Done {
                let (job, hash) = self.jobs.remove(at);
                assert_eq!(job.hash(), hash);
                self.finished = job.revision();
                hash.into_iter().for_each(|hash| self.model.store_hash(hash));
                assert_eq!(self.reader.compaction_hashes(), self.model.stored);
            }
        }
    }

    fn finish_jobs(&mut self) {
        while !self.jobs.is_empty() {
            self.step_jobs();
        }
    }

    fn compare_records(&mut self) {
        flush(self.reader.backend());
        let expected = self.model.records();
        let expected = expected.into_iter().map(|(key, value)| (key.into(), value.into()));
        assert_eq!(records(self.reader.backend()), expected.collect::<Vec<(Bytes, Bytes)>>());
        assert_eq!(self.reader.live_keys(), self.model.state(self.model.current).len());
    }

    /// Closes and opens the store, with everything written.
    fn reopen(&mut self) {
        flush(self.reader.backend());
        let disk = self.disk.kill();
        self.open_again(disk);
        assert_eq!(self.reader.current_revision(), self.model.current);
    }

    /// Loses power: what is there after is what was there at the end of some transaction.
    fn crash(&mut self) {
        let disk = self.disk.crash();
        self.open_again(disk);
        let current = self.reader.current_revision();
        assert!(current <= self.model.current);
        self.model.current = current;
        self.model.changes.retain(|change| change.main <= current);
    }

    fn open_again(&mut self, disk: SimDisk) {
        self.disk = disk;
        self.jobs.clear();
        let store = open(&self.disk, self.value_budget);
        (self.writer, self.reader) = (store.writer, store.reader);
        self.model.compacted = self.reader.compact_revision();
        self.model.stored.clear();
        self.finished = self.model.compacted;
        if let Some(job) = store.resumed_compaction {
            assert_eq!(job.revision(), self.model.compacted);
            self.finished = i64::MIN;
            self.jobs.push((job, None));
        }
        let state = self.model.state(self.reader.current_revision());
        let leased = state.values().filter(|kv| kv.lease != 0);
        let leased: Vec<_> = leased.map(|kv| (kv.key.clone(), kv.lease)).collect();
        assert_eq!(store.attachments, leased);
    }
}

enum Plan {
    Put { key: Vec<u8>, value: Vec<u8>, lease: i64 },
    Delete(KeyRange),
    Range(Box<Range>),
    Get(Vec<u8>),
}

impl Plan {
    fn run(&self, txn: &mut WriteTxn<'_>, model: &mut Model, main: i64) {
        match self {
            Self::Put { key, value, lease } => {
                let before = model.state(main).remove(key);
                let prior = txn.put(key, value, *lease);
                model.put(main, key, value, *lease);
                assert_eq!(
                    prior.as_ref().map(|prior| prior.lease()),
                    before.as_ref().map(|kv| kv.lease)
                );
                let whole = prior.map(|prior| txn.whole(&prior).unwrap());
                assert_eq!(whole, before.map(|kv| kv.encode_to_vec().into()));
            }
            Self::Delete(range) => {
                let before = model.state(main);
                let deleted = txn.delete_range(range);
                let expected = model.delete_range(main, range);
                assert_eq!(deleted.len(), expected.len());
                for (deleted, expected) in deleted.iter().zip(expected) {
                    assert_eq!(deleted.key, expected);
                    let whole = txn.whole(&deleted.prior).unwrap();
                    assert_eq!(whole, before[&expected].encode_to_vec());
                }
            }
            Self::Range(request) => {
                let changed = model.changes.last().is_some_and(|change| change.main == main);
                let current = main - i64::from(!changed);
                compare(&txn.range(request), &model.range(request, current), request);
            }
            Self::Get(key) => {
                let expected = model.state(main).remove(key);
                let kv = txn.get(key).unwrap();
                assert_eq!(kv, expected.map(|kv| kv.encode_to_vec().into()));
            }
        }
    }
}

fn compare(
    answer: &Result<Ranged, mvcc::Error>,
    expected: &Result<Ranged, mvcc::Error>,
    request: &Range,
) {
    match (answer, expected) {
        (Ok(answer), Ok(expected)) => assert_eq!(answer, expected, "{request:?}"),
        _ => assert_eq!(format!("{answer:?}"), format!("{expected:?}"), "{request:?}"),
    }
}

fn compare_events(
    events: &[Event],
    changes: &[Change],
    before: &dyn Fn(i64) -> BTreeMap<Vec<u8>, KeyValue>,
) {
    assert_eq!(events.len(), changes.len());
    for (event, change) in events.iter().zip(changes) {
        assert_eq!(event.revision, Revision::new(change.main, change.sub));
        assert_eq!(event.key, change.key);
        let (kind, kv) = match &change.kv {
            Some(kv) => (EventKind::Put, kv.clone()),
            None => {
                let (key, mod_revision) = (change.key.clone().into(), change.main);
                (EventKind::Delete, KeyValue { key, mod_revision, ..KeyValue::default() })
            }
        };
        assert_eq!((event.kind, &event.kv), (kind, &kv.encode_to_vec().into()));
        let before = before(change.main).remove(&change.key);
        match &event.previous {
            // As etcd has it, a creation has no past, even where a deletion came just before it.
            Previous::None => assert!(kv.create_revision == kv.mod_revision),
            Previous::Encoded(kv) => assert_eq!(*kv, before.expect("it lived").encode_to_vec()),
            Previous::InHistory => {}
        }
    }
}

#[test]
fn equals_the_model() {
    for seed in 0..30 {
        Walk::new(seed, 12, usize::MAX).run(400);
        Walk::new(1000 + seed, 60, 2000).run(300);
    }
}

#[test]
fn equals_the_model_without_values_in_memory() {
    for seed in 0..10 {
        Walk::new(2000 + seed, 20, 0).run(300);
    }
}

#[test]
fn an_empty_transaction_changes_nothing() {
    let mut store = crate::kit::fresh();
    let Finished { revision, changed, events } = store.writer.txn().finish();
    assert_eq!((revision, changed, events.len()), (1, false, 0));
}
