//! Against bbolt and etcd's own tools, and files that they wrote.

use std::fs;
use std::io::Write;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bolt::{Db, Options, ReadTx};
use bytes::Bytes;
use env::RealDisk;

use crate::kit::{Keys, Model, Workload, assert_sound, contents};

/// A directory of its own for a test, gone afterwards.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bolt-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A binary of etcd's release, where there is one.
fn peer(name: &str) -> Option<PathBuf> {
    let dir = std::env::var_os("PINTLE_PEERS").map(PathBuf::from);
    let path = dir.unwrap_or_else(|| workspace().join("target/peers/bin-3.7.1")).join(name);
    if path.exists() {
        return Some(path);
    }
    say(&format!("skipped: no {} (set PINTLE_PEERS to the directory that has it)", path.display()));
    None
}

/// The db files that real members wrote, unpacked.
fn fixtures(into: &TempDir) -> Vec<PathBuf> {
    let dir = std::env::var_os("PINTLE_FIXTURES").map(PathBuf::from);
    let archive = dir.unwrap_or_else(|| workspace().join("../shared/fixtures"));
    let archive = archive.join("etcd-data.tar.gz");
    if !archive.exists() {
        say(&format!("skipped: no {} (set PINTLE_FIXTURES to its directory)", archive.display()));
        return Vec::new();
    }
    let mut tar = Command::new("tar");
    tar.arg("xzf").arg(&archive).arg("-C").arg(&into.0).arg("--wildcards");
    assert!(tar.args(["*.snapshot.db", "*/snap/db"]).status().unwrap().success());
    let mut files = Vec::new();
    for entry in fs::read_dir(&into.0).unwrap() {
        let path = entry.unwrap().path();
        files.push(if path.is_dir() { path.join("member/snap/db") } else { path });
    }
    files.sort();
    assert!(files.len() >= 6, "{files:?}");
    files
}

/// The hash that `etcdutl snapshot status` prints: every bucket's name, key and value.
fn status_hash(tx: &ReadTx) -> u32 {
    let mut hash = 0;
    for name in tx.buckets().unwrap() {
        hash = crc32c::crc32c_append(hash, &name);
        let bucket = tx.bucket(&name).unwrap().unwrap();
        for item in bucket.range(Bound::Unbounded, Bound::Unbounded) {
            let (key, value) = item.unwrap();
            hash = crc32c::crc32c_append(hash, &key);
            hash = crc32c::crc32c_append(hash, &value);
        }
    }
    hash
}

fn assert_status_agrees(etcdutl: &Path, path: &Path, tx: &ReadTx) {
    let mut command = Command::new(etcdutl);
    let output = command.args(["snapshot", "status", "-w", "json"]).arg(path).output().unwrap();
    let json = String::from_utf8(output.stdout).unwrap();
    let number = |name: &str| -> u64 {
        let rest = json.split(&format!("\"{name}\":")).nth(1);
        let errors = String::from_utf8_lossy(&output.stderr);
        let rest = rest.unwrap_or_else(|| panic!("{json} {errors}"));
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap();
        digits.parse().unwrap()
    };
    assert_eq!(number("hash"), u64::from(status_hash(tx)), "{}", path.display());
    assert_eq!(number("totalSize"), tx.image_len(), "{}", path.display());
}

pub(crate) fn assert_bbolt_accepts(bbolt: &Path, path: &Path) {
    let output = Command::new(bbolt).arg("check").arg(path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && text.contains("OK"), "{}: {text}{errors}", path.display());
}

fn open(path: &Path, page_size: usize) -> Db {
    let options = Options { page_size, no_sync: true, ..Options::default() };
    Db::open(Arc::new(RealDisk), path, options).unwrap()
}

fn open_image(path: &Path) -> ReadTx {
    Db::open_image(&RealDisk, path, Options::default()).unwrap()
}

#[test]
fn files_of_real_members_read_as_etcdutl_reads_them() {
    let dir = TempDir::new("status");
    let etcdutl = peer("etcdutl");
    for path in fixtures(&dir) {
        let tx = open_image(&path);
        assert_eq!(tx.check(), [], "{}", path.display());
        assert_eq!(tx.check_shape(), [], "{}", path.display());
        assert!(contents(&tx)[b"key".as_slice()].len() > 100);
        if let Some(etcdutl) = &etcdutl {
            assert_status_agrees(etcdutl, &path, &tx);
        }
    }
}

#[test]
fn files_of_real_members_can_be_written_on() {
    let dir = TempDir::new("members");
    let bbolt = peer("bbolt");
    for (seed, path) in fixtures(&dir).into_iter().enumerate() {
        let db = open(&path, 4096);
        let mut model = contents(&db.read());
        assert_eq!(db.check(), []);
        let mut workload = Workload::new(seed as u64, 200);
        for _ in 0..10 {
            let mut tx = db.write();
            workload.change(&mut tx, &mut model).unwrap();
            // A part of the oldest revisions, as a compaction would.
            for _ in 0..workload.random.below(60) {
                if let Some((key, _)) = model.get_mut(b"key".as_slice()).and_then(Keys::pop_first) {
                    assert!(tx.delete(b"key", &key).unwrap());
                }
            }
            tx.commit().unwrap();
        }
        assert_eq!(contents(&db.read()), model);
        assert_eq!(db.check(), []);
        drop(db);
        if let Some(bbolt) = &bbolt {
            assert_bbolt_accepts(bbolt, &path);
        }
        assert_eq!(contents(&open(&path, 4096).read()), model);
    }
}

#[test]
fn bbolt_and_etcdutl_accept_what_we_write() {
    let dir = TempDir::new("accept");
    let (Some(bbolt), Some(etcdutl)) = (peer("bbolt"), peer("etcdutl")) else { return };
    for (seed, page_size) in [4096, 8192, 16384, 4096, 1024, 65536].into_iter().enumerate() {
        let path = dir.path(&format!("db{seed}"));
        let db = open(&path, page_size);
        assert_bbolt_accepts_image(&bbolt, &db, &dir);
        let mut model = Model::new();
        let mut workload = Workload::new(seed as u64, 400);
        for round in 0..30 {
            let mut tx = db.write();
            workload.change(&mut tx, &mut model).unwrap();
            tx.commit().unwrap();
            if round % 10 == 9 {
                assert_sound(&db);
                assert_bbolt_accepts_image(&bbolt, &db, &dir);
                while db.vacuum(100).unwrap().more {}
                assert_sound(&db);
                assert_bbolt_accepts_image(&bbolt, &db, &dir);
            }
        }
        // etcdutl asks the bucket for the storage version, whether it is there or not.
        let mut tx = db.write();
        tx.create_bucket(b"meta").unwrap();
        tx.commit().unwrap();
        model.entry(b"meta".to_vec()).or_default();
        let tx = db.read();
        assert_eq!(contents(&tx), model);
        drop(db);
        let image = dir.path("image");
        write_image(&tx, &image);
        assert_status_agrees(&etcdutl, &image, &tx);
        drop(tx);
        assert_bbolt_accepts(&bbolt, &path);
    }
}

/// Writes a transaction's image in odd pieces and lets bbolt look at it.
fn assert_bbolt_accepts_image(bbolt: &Path, db: &Db, dir: &TempDir) {
    let (path, tx) = (dir.path("image"), db.read());
    write_image(&tx, &path);
    assert_bbolt_accepts(bbolt, &path);
    assert_eq!(contents(&open_image(&path)), contents(&tx));
}

fn write_image(tx: &ReadTx, path: &Path) {
    let mut image = fs::File::create(path).unwrap();
    let mut piece = vec![0; 10_007];
    let mut offset = 0;
    loop {
        match tx.read_image(offset, &mut piece).unwrap() {
            0 => break,
            len => image.write_all(&piece[..len]).unwrap(),
        }
        offset = image.metadata().unwrap().len();
    }
    assert_eq!(offset, tx.image_len());
}

#[test]
fn a_key_that_bbolt_wrote_is_read() {
    let dir = TempDir::new("bench");
    let Some(bbolt) = peer("bbolt") else { return };
    let path = dir.path("db");
    // bbolt's benchmark writes sub-buckets and a stored freelist, which etcd never does.
    let mut bench = Command::new(&bbolt);
    bench.args(["bench", "--work", "--count", "3000", "--batch-size", "1000", "--path"]).arg(&path);
    bench.args(["--write-mode", "rnd-nest"]);
    assert!(bench.output().unwrap().status.success());
    let db = open(&path, 4096);
    assert_eq!(db.check(), []);
    let nested = |db: &Db| -> Model {
        let tx = db.read();
        let bench = tx.bucket(b"bench").unwrap().unwrap();
        let names = bench.buckets().unwrap();
        let keys = |name: &Bytes| {
            let bucket = bench.bucket(name).unwrap().unwrap();
            let all = bucket.range(Bound::Unbounded, Bound::Unbounded).map(Result::unwrap);
            all.map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
        };
        names.iter().map(|name| (name.to_vec(), keys(name))).collect()
    };
    let before = nested(&db);
    assert_eq!(before.values().map(|keys| keys.len()).sum::<usize>(), 3000);
    let mut tx = db.write();
    for key in 0..2000u32 {
        let key = Bytes::from(key.to_be_bytes().to_vec());
        tx.put(b"bench", key.clone(), key).unwrap();
    }
    tx.commit().unwrap();
    assert_eq!(nested(&db), before);
    assert_sound(&db);
    assert_bbolt_accepts_image(&bbolt, &db, &dir);
    let mut tx = db.write();
    tx.delete_bucket(b"bench").unwrap();
    tx.commit().unwrap();
    assert_eq!(db.check(), []);
    assert_eq!(db.size_in_use(), 3 * 4096);
}
