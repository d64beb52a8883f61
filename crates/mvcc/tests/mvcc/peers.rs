//! Files that etcd wrote, and etcd's own verdict on files that we write.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use env::Random;
use mvcc::{Error, Range, Reader};
use serde_json::Value;

use crate::kit::{TempDir, all, fields, finish, flush, open_file};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// What real members wrote and said, unpacked.
fn fixtures(into: &TempDir) -> bool {
    let dir = std::env::var_os("PINTLE_FIXTURES").map(PathBuf::from);
    let archive = dir.unwrap_or_else(|| workspace().join("../shared/fixtures"));
    let archive = archive.join("etcd-data.tar.gz");
    if !archive.exists() {
        say(&format!("skipped: no {} (set PINTLE_FIXTURES to its directory)", archive.display()));
        return false;
    }
    let mut tar = Command::new("tar");
    tar.arg("xzf").arg(&archive).arg("-C").arg(&into.0).arg("--wildcards");
    let names = ["./*.snapshot.db", "./*/snap/db", "./*.hashkv.txt", "./*.range.json"];
    assert!(tar.args(names).status().unwrap().success());
    true
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

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// The hashes that the member served, by the revision asked for. A member that was killed may
/// have answered from what its db file did not have yet.
fn compare_hashes(reader: &Reader, said: &str, all_there: bool) -> usize {
    let mut compared = 0;
    for line in said.lines() {
        let (asked, reply) = line.split_once(' ').unwrap();
        let asked: i64 = asked.parse().unwrap();
        let reply: Value = serde_json::from_str(reply).unwrap();
        let current = reply["header"]["revision"].as_i64().unwrap();
        if asked == 0 && reader.current_revision() != current && !all_there {
            continue;
        }
        let hash = match reader.hash_kv(asked) {
            Err(Error::FutureRevision) if !all_there => continue,
            hash => hash.unwrap(),
        };
        assert_eq!(u64::from(hash.hash), reply["hash"].as_u64().unwrap(), "at {asked}");
        assert_eq!(hash.compact_revision, reply["compact_revision"].as_i64().unwrap());
        compared += 1;
    }
    compared
}

fn base64(text: &str) -> Vec<u8> {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::new();
    let (mut bits, mut held) = (0u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let digit = digits.iter().position(|digit| *digit == byte).unwrap();
        bits = bits << 6 | digit as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    out
}

fn compare_rows(reader: &Reader, said: &str) {
    let said: Value = serde_json::from_str(said).unwrap();
    let rows = reader.range(&all()).unwrap();
    assert_eq!(rows.revision, said["header"]["revision"].as_i64().unwrap());
    assert_eq!(rows.count, said["count"].as_i64().unwrap());
    let expected = said["kvs"].as_array().unwrap();
    assert_eq!(rows.kvs.len(), expected.len());
    for (kv, expected) in rows.kvs.iter().zip(expected) {
        let kv = fields(kv);
        let number = |name: &str| expected[name].as_i64().unwrap_or(0);
        let bytes = |name: &str| base64(expected[name].as_str().unwrap_or(""));
        assert_eq!((kv.key, kv.value), (&bytes("key")[..], &bytes("value")[..]));
        assert_eq!(
            [kv.create_revision, kv.mod_revision, kv.version, kv.lease],
            [number("create_revision"), number("mod_revision"), number("version"), number("lease")]
        );
    }
}

/// Old counts, old rows and the history say the same.
fn compare_past(reader: &Reader) {
    let from = reader.compact_revision();
    let events = reader.history(from + 1, usize::MAX).unwrap();
    let mut live = reader.range(&Range { revision: from, ..all() }).unwrap().count;
    let mut events = events.iter().peekable();
    for revision in from + 1..=reader.current_revision() {
        while let Some(event) = events.next_if(|event| event.revision.main == revision) {
            match event.kind {
                mvcc::EventKind::Delete => live -= 1,
                mvcc::EventKind::Put => live += i64::from(fields(&event.kv).version == 1),
            }
        }
        let rows = reader.range(&Range { revision, ..all() }).unwrap();
        let counted = reader.range(&Range { revision, count_only: true, ..all() }).unwrap();
        assert_eq!((rows.kvs.len() as i64, rows.count, counted.count), (live, live, live));
    }
    assert!(events.next().is_none());
}

#[test]
fn what_etcd_wrote_reads_and_hashes_as_etcd_said() {
    let dir = TempDir::new("fixtures");
    if !fixtures(&dir) {
        return;
    }
    let names = std::fs::read_dir(&dir.0).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    let members: Vec<&str> =
        names.iter().filter_map(|name| name.strip_suffix(".hashkv.txt")).collect();
    assert!(members.len() >= 6, "{members:?}");
    for member in members {
        let file = |suffix: &str| dir.0.join(format!("{member}{suffix}"));
        let snapshot = open_file(&file(".snapshot.db"));
        let hashes = read(&file(".hashkv.txt"));
        assert_eq!(compare_hashes(&snapshot.reader, &hashes, true), 5, "{member}");
        compare_rows(&snapshot.reader, &read(&file(".range.json")));
        compare_past(&snapshot.reader);
        let store = open_file(&file("/member/snap/db"));
        compare_hashes(&store.reader, &hashes, member.ends_with("clean"));
        compare_past(&store.reader);
    }
}

/// Runs `etcdutl hashkv` on a db file.
fn etcdutl_hash(etcdutl: &Path, db: &Path, revision: i64) -> Value {
    let mut command = Command::new(etcdutl);
    command.args(["hashkv", "-w", "json", "--rev", &revision.to_string()]).arg(db);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn etcd_hashes_what_we_write_as_we_do() {
    let Some(etcdutl) = peer("etcdutl") else { return };
    let dir = TempDir::new("etcdutl");
    let mut random = Random::new(7);
    for round in 0..6 {
        let path = dir.0.join(format!("db{round}"));
        let mut store = open_file(&path);
        for _ in 0..60 {
            let mut txn = store.writer.txn();
            for _ in 0..1 + random.below(3) {
                let key = format!("key{}", random.below(15));
                match random.below(3) {
                    0 => drop(txn.delete_range(&crate::kit::single(&key))),
                    _ => drop(txn.put(key.as_bytes(), key.as_bytes(), random.below(3) as i64)),
                }
            }
            txn.finish();
        }
        if round % 2 == 1 {
            let revision = 20 + random.below(30) as i64;
            let mut job = store.writer.compact(revision).unwrap();
            finish(&mut job);
        }
        let (from, to) = (store.reader.compact_revision().max(1), store.reader.current_revision());
        let asked: Vec<i64> = [0, to, to - 1, from + 3, from + 1].into_iter().collect();
        // The hash that the compaction stored says more than a file can.
        let ours: Vec<_> =
            asked.iter().map(|revision| store.reader.hash_kv(*revision).unwrap()).collect();
        flush(store.reader.backend());
        drop(store);
        for (revision, ours) in asked.into_iter().zip(ours) {
            let theirs = etcdutl_hash(&etcdutl, &path, revision);
            assert_eq!(theirs["hash"].as_u64().unwrap(), u64::from(ours.hash), "at {revision}");
            assert_eq!(theirs["hashRevision"].as_i64().unwrap(), ours.revision);
        }
    }
}

/// A member of its own on loopback.
struct Etcd {
    process: std::process::Child,
    etcdctl: PathBuf,
    url: String,
    _dir: TempDir,
}

impl Etcd {
    fn start() -> Option<Self> {
        let (etcd, etcdctl) = (peer("etcd")?, peer("etcdctl")?);
        let dir = TempDir::new("etcd");
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (client, peer) = (free(), free());
        let (url, peer_url) = (format!("http://{client}"), format!("http://{peer}"));
        let process = Command::new(etcd)
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &format!("default={peer_url}")])
            .arg("--data-dir")
            .arg(dir.0.join("data"))
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let etcd = Self { process, etcdctl, url, _dir: dir };
        let healthy = (0..50).any(|_| etcd.try_run(&["endpoint", "health"], "").is_some());
        assert!(healthy, "etcd does not come up");
        Some(etcd)
    }

    fn try_run(&self, args: &[&str], input: &str) -> Option<String> {
        let mut command = Command::new(&self.etcdctl);
        command.args(["--endpoints", &self.url, "--command-timeout", "5s"]).args(args);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    fn run(&self, args: &[&str], input: &str) -> String {
        self.try_run(args, input).unwrap_or_else(|| panic!("etcdctl {args:?} {input}"))
    }

    /// Hash, compaction revision and revision, as served.
    fn hash(&self, revision: i64) -> [i64; 3] {
        let args = ["endpoint", "hashkv", "-w", "json", "--rev", &revision.to_string()];
        let reply: Value = serde_json::from_str(&self.run(&args, "")).unwrap();
        let number = |name: &str| reply[0]["HashKV"][name].as_i64().unwrap();
        [number("hash"), number("compact_revision"), number("hash_revision")]
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One transaction of a few puts and deletions, on both sides.
fn same_on_both(random: &mut Random, etcd: &Etcd, store: &mut mvcc::Store) {
    let mut script = String::from("\n");
    let mut txn = store.writer.txn();
    let first = random.below(12);
    for n in 0..1 + random.below(4) {
        let key = format!("key{}", (first + n) % 12);
        if random.chance(1, 3) {
            script += &format!("del {key}\n");
            txn.delete_range(&crate::kit::single(&key));
        } else {
            script += &format!("put {key} value{n}\n");
            txn.put(key.as_bytes(), format!("value{n}").as_bytes(), 0);
        }
    }
    txn.finish();
    etcd.run(&["txn"], &(script + "\n\n"));
}

#[test]
fn a_running_etcd_serves_the_same_hashes_through_compactions() {
    let Some(etcd) = Etcd::start() else { return };
    let mut store = crate::kit::fresh();
    let mut random = Random::new(3);
    for _ in 0..5 {
        for _ in 0..12 {
            same_on_both(&mut random, &etcd, &mut store);
        }
        let current = store.reader.current_revision();
        let compacted = current - random.below(4) as i64;
        etcd.run(&["compaction", "--physical", &compacted.to_string()], "");
        finish(&mut store.writer.compact(compacted).unwrap());
        for revision in [0, compacted, current, compacted + 1] {
            if revision > current {
                continue;
            }
            let ours = store.reader.hash_kv(revision).unwrap();
            let ours = [i64::from(ours.hash), ours.compact_revision, ours.revision];
            assert_eq!(etcd.hash(revision), ours, "at {revision}, compacted at {compacted}");
        }
    }
}
