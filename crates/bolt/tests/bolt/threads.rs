//! Readers on other threads see frozen states while one thread commits and vacuums.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use bolt::{Db, Options, ReadTx};
use bytes::Bytes;
use env::{Access, Disk, File, Random, SimDisk};

use crate::kit::{PATH, assert_sound, bytes, options};

/// Every commit writes its number and the sum of all values' checksums, so that a reader can tell
/// alone whether what it sees is one commit's state.
fn assert_frozen(tx: &ReadTx) -> u64 {
    let bucket = tx.bucket(b"key").unwrap().unwrap();
    let meta = tx.bucket(b"meta").unwrap().unwrap();
    let number = |key: &[u8]| {
        let bytes = meta.get(key).unwrap().unwrap();
        u64::from_be_bytes(bytes.as_ref().try_into().unwrap())
    };
    let mut sum = 0u64;
    let mut count = 0;
    for item in bucket.range(Bound::Unbounded, Bound::Unbounded) {
        let (key, value) = item.unwrap();
        sum = sum.wrapping_add(u64::from(crc32c::crc32c_append(crc32c::crc32c(&key), &value)));
        count += 1;
    }
    assert_eq!((number(b"sum"), number(b"count")), (sum, count));
    number(b"commit")
}

fn write(db: &Db, commits: u64, random: &mut Random) {
    let mut model: BTreeMap<u64, Bytes> = BTreeMap::new();
    let mut next = 0;
    for commit in 1..=commits {
        let mut tx = db.write();
        tx.create_bucket(b"key").unwrap();
        tx.create_bucket(b"meta").unwrap();
        for _ in 0..random.below(60) {
            next += 1;
            let most = if random.chance(1, 20) { 9000 } else { 300 };
            let len = random.index(most);
            model.insert(next, bytes(len, random));
            tx.put(b"key", next.to_be_bytes().to_vec().into(), model[&next].clone()).unwrap();
        }
        for _ in 0..random.index(model.len().min(100) + 1) {
            let at = if random.chance(1, 2) { 0 } else { random.index(model.len()) };
            let key = *model.keys().nth(at).unwrap();
            model.remove(&key);
            assert!(tx.delete(b"key", &key.to_be_bytes()).unwrap());
        }
        let sums = model.iter().map(|(key, value)| {
            u64::from(crc32c::crc32c_append(crc32c::crc32c(&key.to_be_bytes()), value))
        });
        let sum = sums.fold(0u64, u64::wrapping_add);
        for (name, number) in [("sum", sum), ("count", model.len() as u64), ("commit", commit)] {
            tx.put(b"meta", name.into(), number.to_be_bytes().to_vec().into()).unwrap();
        }
        tx.commit().unwrap();
        if random.chance(1, 5) {
            db.vacuum(1 + random.index(50)).unwrap();
        }
    }
}

#[test]
fn readers_see_whole_commits_only() {
    let disk = SimDisk::new(1);
    // A cache that holds next to nothing, so that readers and writer meet at the file.
    let small = Options { cache_bytes: 64 << 10, ..options(1024) };
    let db = Db::open(Arc::new(disk), Path::new(PATH), small).unwrap();
    let mut random = Random::new(1);
    write(&db, 1, &mut random);
    let done = AtomicBool::new(false);
    let kept: Mutex<Vec<(ReadTx, u64)>> = Mutex::default();
    thread::scope(|scope| {
        for seed in 0..3 {
            let (db, done, kept) = (&db, &done, &kept);
            scope.spawn(move || {
                let mut random = Random::new(seed);
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    let tx = db.read();
                    let commit = assert_frozen(&tx);
                    assert!(commit >= last, "time goes on");
                    last = commit;
                    // Some are kept for long, and read on another thread.
                    let mut kept = kept.lock().unwrap();
                    if kept.len() < 5 && random.chance(1, 4) {
                        kept.push((tx, commit));
                    } else if let Some((tx, commit)) = kept.pop() {
                        drop(kept);
                        assert_eq!(assert_frozen(&tx), commit);
                    }
                }
            });
        }
        write(&db, 150, &mut random);
        done.store(true, Ordering::Relaxed);
    });
    for (tx, commit) in kept.into_inner().unwrap() {
        assert_eq!(assert_frozen(&tx), commit);
    }
    while db.vacuum(50).unwrap().more {}
    assert_frozen(&db.read());
    assert_sound(&db);
}

#[test]
fn there_is_one_writer_at_a_time() {
    let db = Db::open(Arc::new(SimDisk::new(2)), Path::new(PATH), options(4096)).unwrap();
    write(&db, 3, &mut Random::new(2));
    let mut tx = db.write();
    tx.put(b"key", Bytes::from_static(b"k"), Bytes::from_static(b"v")).unwrap();
    let (send, receive) = sync_channel(0);
    thread::scope(|scope| {
        let db = &db;
        scope.spawn(move || {
            let second = db.write();
            send.send(()).unwrap();
            drop(second);
        });
        assert!(receive.try_recv().is_err());
        assert_eq!(assert_frozen(&db.read()), 3);
        drop(tx);
        receive.recv().unwrap();
    });
}

/// A disk whose syncs wait to be let through, one by one.
#[derive(Debug)]
struct GatedDisk {
    disk: SimDisk,
    gate: Arc<Gate>,
}

#[derive(Debug)]
struct Gate {
    arrived: SyncSender<()>,
    pass: Mutex<Receiver<()>>,
    closed: AtomicBool,
}

#[derive(Debug)]
struct GatedFile {
    file: Arc<dyn File>,
    gate: Arc<Gate>,
}

impl Disk for GatedDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn File>> {
        let gate = Arc::clone(&self.gate);
        Ok(Arc::new(GatedFile { file: self.disk.open(path, access)?, gate }))
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.disk.list(path)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir_all(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }
}

impl File for GatedFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        if self.gate.closed.load(Ordering::SeqCst) {
            self.gate.arrived.send(()).map_err(io::Error::other)?;
            self.gate.pass.lock().unwrap().recv().map_err(io::Error::other)?;
        }
        self.file.sync_data()
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }
    fn try_lock_segment(&self) -> io::Result<()> {
        self.file.try_lock_segment()
    }
    fn try_lock_db(&self) -> io::Result<()> {
        self.file.try_lock_db()
    }
}

#[test]
fn readers_pass_a_commit_that_waits_for_the_disk() {
    let (arrived, arrivals) = sync_channel(0);
    let (let_pass, pass) = sync_channel(0);
    let gate = Arc::new(Gate { arrived, pass: Mutex::new(pass), closed: AtomicBool::new(false) });
    let disk = GatedDisk { disk: SimDisk::new(3), gate: Arc::clone(&gate) };
    let db = Db::open(Arc::new(disk), Path::new(PATH), options(4096)).unwrap();
    write(&db, 3, &mut Random::new(3));
    let before = db.read();
    gate.closed.store(true, Ordering::SeqCst);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut tx = db.write();
            tx.put(b"meta", "commit".into(), 4u64.to_be_bytes().to_vec().into()).unwrap();
            tx.commit().unwrap();
        });
        // Once the commit waits for its pages, then for its meta page: nobody sees it yet, and
        // everybody reads on.
        for _ in 0..2 {
            arrivals.recv().unwrap();
            assert_eq!(assert_frozen(&db.read()), 3);
            assert_eq!(assert_frozen(&before), 3);
            assert!(db.size() >= db.size_in_use());
            let_pass.send(()).unwrap();
        }
    });
    gate.closed.store(false, Ordering::SeqCst);
    assert_eq!(assert_frozen(&db.read()), 4);
    assert_eq!(assert_frozen(&before), 3);
}

#[test]
fn everything_can_be_kept_and_sent_anywhere() {
    fn free<T: Send + Sync + 'static>() {}
    free::<Db>();
    free::<ReadTx>();
    free::<bolt::Bucket>();
    free::<bolt::Range>();
    free::<bolt::WriteTx>();
    free::<bolt::Error>();
    free::<bolt::OpenError>();
}
