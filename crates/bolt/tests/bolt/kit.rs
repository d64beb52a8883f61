//! What the tests share.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bolt::{Db, Options, ReadTx};
use bytes::Bytes;
use env::{Disk, Random, SimDisk};

pub(crate) type Keys = BTreeMap<Vec<u8>, Vec<u8>>;
/// What a db should hold: buckets of keys and values.
pub(crate) type Model = BTreeMap<Vec<u8>, Keys>;

pub(crate) const PATH: &str = "/db";

/// Small steps of growth: thousands of files are made in memory.
pub(crate) fn options(page_size: usize) -> Options {
    Options { page_size, cache_bytes: 1 << 20, grow_bytes: 64 << 10, ..Options::default() }
}

pub(crate) fn open(disk: &SimDisk, page_size: usize) -> Db {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Db::open(disk, Path::new(PATH), options(page_size)).unwrap()
}

/// So many seeds, or BOLT_SEEDS times as many.
pub(crate) fn seeds(count: u64) -> std::ops::Range<u64> {
    let times = std::env::var("BOLT_SEEDS").ok().and_then(|times| times.parse().ok());
    0..count * times.unwrap_or(1u64)
}

/// All that a transaction sees, read by walking up.
pub(crate) fn contents(tx: &ReadTx) -> Model {
    let mut model = Model::new();
    for name in tx.buckets().unwrap() {
        let bucket = tx.bucket(&name).unwrap().unwrap();
        let all = bucket.range(Bound::Unbounded, Bound::Unbounded);
        let keys = all.map(|item| item.map(|(key, value)| (key.to_vec(), value.to_vec())));
        model.insert(name.to_vec(), keys.collect::<Result<_, _>>().unwrap());
    }
    model
}

/// Nothing is wrong with the file, and its trees have the shape that bbolt asks for.
pub(crate) fn assert_sound(db: &Db) {
    assert_eq!(db.check(), []);
    assert_eq!(db.read().check_shape(), []);
}

pub(crate) fn bytes(len: usize, random: &mut Random) -> Bytes {
    let mut bytes = vec![0; len];
    random.fill(&mut bytes);
    bytes.into()
}

/// Changes a few keys of a few buckets, in the db and in the model alike.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    pub(crate) random: Random,
    /// How many different keys a bucket can have.
    pub(crate) keys: u64,
    pub(crate) big_values: bool,
    next_sequential: u64,
}

impl Workload {
    pub(crate) fn new(seed: u64, keys: u64) -> Self {
        Self { random: Random::new(seed), keys, big_values: true, next_sequential: 0 }
    }

    /// One transaction's changes. After an error db and model may differ.
    pub(crate) fn change(
        &mut self,
        tx: &mut bolt::WriteTx,
        model: &mut Model,
    ) -> Result<(), bolt::Error> {
        for _ in 0..=self.random.below(4) {
            match self.random.below(10) {
                0 => self.drop_bucket(tx, model)?,
                1..=3 => self.append(tx, model)?,
                4..=6 => self.put(tx, model)?,
                7 => self.delete_some(tx, model)?,
                _ => self.delete_front(tx, model)?,
            }
        }
        Ok(())
    }

    fn name(&mut self) -> Vec<u8> {
        let names: [&[u8]; 5] = [b"cluster", b"meta", b"lease", b"alarm", b"auth"];
        names[self.random.index(names.len())].to_vec()
    }

    fn bucket<'a>(
        &mut self,
        name: &[u8],
        tx: &mut bolt::WriteTx,
        model: &'a mut Model,
    ) -> Result<&'a mut Keys, bolt::Error> {
        assert_eq!(tx.create_bucket(name)?, !model.contains_key(name));
        Ok(model.entry(name.to_vec()).or_default())
    }

    fn value(&mut self) -> Bytes {
        let len = match self.random.below(20) {
            0 if self.big_values => self.random.index(30_000),
            1..=4 => self.random.index(2000),
            _ => self.random.index(200),
        };
        bytes(len, &mut self.random)
    }

    fn random_key(&mut self) -> Bytes {
        let number = self.random.below(self.keys);
        // Of different lengths, so that pages hold different numbers of them.
        format!("{number:04}{}", "x".repeat((number % 40) as usize)).into()
    }

    fn append(&mut self, tx: &mut bolt::WriteTx, model: &mut Model) -> Result<(), bolt::Error> {
        let keys = self.bucket(b"sequential", tx, model)?;
        tx.set_fill_percent(b"sequential", 90)?;
        for _ in 0..self.random.below(self.keys) {
            self.next_sequential += 1;
            let key = Bytes::from(format!("{:016}", self.next_sequential));
            let value = self.value();
            tx.put(b"sequential", key.clone(), value.clone())?;
            keys.insert(key.to_vec(), value.to_vec());
        }
        Ok(())
    }

    fn put(&mut self, tx: &mut bolt::WriteTx, model: &mut Model) -> Result<(), bolt::Error> {
        let name = self.name();
        let keys = self.bucket(&name, tx, model)?;
        for _ in 0..self.random.below(self.keys) {
            let (key, value) = (self.random_key(), self.value());
            tx.put(&name, key.clone(), value.clone())?;
            keys.insert(key.to_vec(), value.to_vec());
        }
        Ok(())
    }

    fn delete_some(
        &mut self,
        tx: &mut bolt::WriteTx,
        model: &mut Model,
    ) -> Result<(), bolt::Error> {
        let name = self.name();
        let keys = self.bucket(&name, tx, model)?;
        for _ in 0..self.random.below(self.keys * 2) {
            let key = self.random_key();
            let was_there = keys.remove(&*key).is_some();
            assert_eq!(tx.delete(&name, &key)?, was_there);
        }
        Ok(())
    }

    /// As compaction does: the oldest keys go.
    fn delete_front(
        &mut self,
        tx: &mut bolt::WriteTx,
        model: &mut Model,
    ) -> Result<(), bolt::Error> {
        let keys = self.bucket(b"sequential", tx, model)?;
        for _ in 0..self.random.index(keys.len() + 1) {
            let (key, _) = keys.pop_first().unwrap();
            assert!(tx.delete(b"sequential", &key)?);
        }
        Ok(())
    }

    fn drop_bucket(
        &mut self,
        tx: &mut bolt::WriteTx,
        model: &mut Model,
    ) -> Result<(), bolt::Error> {
        let name = self.name();
        if model.remove(&name).is_some() {
            return tx.delete_bucket(&name);
        }
        assert!(tx.delete_bucket(&name).is_err());
        Ok(())
    }
}
