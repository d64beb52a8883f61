//! Logs that real servers wrote (3.4 to 3.7, stopped cleanly or killed), where they are at hand.

use std::path::PathBuf;
use std::process::Command;

use ::wal::snap;
use env::RealDisk;
use proto::Message;
use proto::etcdserverpb::{InternalRaftRequest, Metadata};
use serde_json::Value;

use super::*;

struct TempDir(PathBuf);

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Unpacks the logs and snapshot files; `None` (and a line that says so) where there are none.
fn unpack() -> Option<TempDir> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures");
    let dir = std::env::var_os("PINTLE_FIXTURES").map_or_else(|| beside.into(), PathBuf::from);
    let archive = dir.join("etcd-data.tar.gz");
    if !archive.exists() {
        eprintln!("skipped: no fixtures in {} (set PINTLE_FIXTURES)", dir.display());
        return None;
    }
    let name = format!("pintle-wal-fixtures-{}", std::process::id());
    let temporary = TempDir(std::env::temp_dir().join(name));
    std::fs::create_dir_all(&temporary.0).unwrap();
    let status = Command::new("tar")
        .arg("-xzf")
        .arg(&archive)
        .arg("-C")
        .arg(&temporary.0)
        .args(["--exclude=*.tmp", "--exclude=db", "--exclude=*.db", "--exclude=cap"])
        .status()
        .unwrap();
    assert!(status.success());
    Some(temporary)
}

#[test]
fn logs_of_real_servers_are_read_and_continued() {
    let Some(root) = unpack() else { return };
    let mut checked = 0;
    for name in RealDisk.list(&root.0).unwrap() {
        if root.0.join(&name).join("member/wal").exists() {
            check(&root.0, &name);
            checked += 1;
        }
    }
    assert!(checked >= 6, "{checked} data directories");
}

fn check(root: &Path, name: &str) {
    let member = root.join(name).join("member");
    let (dir, snap_dir) = (member.join("wal"), member.join("snap"));
    let requests = std::fs::read(root.join(format!("{name}.requests.json"))).unwrap();
    let requests: Vec<Value> = serde_json::from_slice(&requests).unwrap();

    // From the beginning, and from each snapshot: always the same log.
    let all = ::wal::read(&RealDisk, &dir, SnapshotMark::default()).unwrap();
    let valid = Wal::valid_snapshots(&RealDisk, &dir).unwrap();
    assert!(valid.len() >= 13, "{name}: {valid:?}");
    for snapshot in &valid {
        let mark = SnapshotMark::from(snapshot);
        let part = ::wal::read(&RealDisk, &dir, mark).unwrap();
        assert_eq!(part.entries, all.entries[mark.index as usize..], "{name} from {mark:?}");
        assert_eq!(part.hard_state, all.hard_state);
    }
    for (at, entry) in all.entries.iter().enumerate() {
        assert_eq!(entry.index, Some(at as u64 + 1));
    }
    check_identity(name, &all, &requests);
    check_puts(name, &all, &requests);

    // Every snapshot file is known to the log.
    let files = snap::list(&RealDisk, &snap_dir).unwrap();
    for file in &files {
        let snapshot = snap::read(&RealDisk, &snap_dir.join(file)).unwrap();
        let metadata = snapshot.metadata.unwrap();
        let (term, index) = (metadata.term.unwrap(), metadata.index.unwrap());
        assert_eq!(*file, snap::file_name(term, index));
        assert!(
            valid.iter().any(|known| SnapshotMark::from(known) == SnapshotMark { index, term })
        );
    }
    let newest = snap::load_newest_matching(&RealDisk, &snap_dir, &valid).unwrap();
    let newest = newest.snapshot.unwrap();
    assert_eq!(snap::decode(snap::encode(&newest).into()).unwrap(), newest);
    let mark = SnapshotMark::from(valid.last().unwrap());
    assert_eq!(newest.metadata.unwrap().index, Some(mark.index));

    go_on(name, &dir, mark, &all);
}

/// The ids and the term that the server told its clients.
fn check_identity(name: &str, all: &Recovered, requests: &[Value]) {
    let header = |field: &str| -> u64 {
        let header = requests.iter().rev().find_map(|request| request[3]["header"].as_object());
        header.unwrap()[field].as_str().unwrap().parse().unwrap()
    };
    let metadata = Metadata::decode(all.metadata.clone()).unwrap();
    assert_eq!(metadata.node_id, Some(header("member_id")), "{name}");
    assert_eq!(metadata.cluster_id, Some(header("cluster_id")), "{name}");
    assert!(all.hard_state.term >= Some(header("raft_term")), "{name}");
    let commit = all.hard_state.commit.unwrap();
    assert!(commit > 380 && commit <= all.entries.len() as u64, "{name}: {commit}");
}

/// The puts in the log are the puts that clients sent, in their order.
fn check_puts(name: &str, all: &Recovered, requests: &[Value]) {
    let sent = requests.iter().filter(|request| request[0] == "/v3/kv/put");
    let sent: Vec<Vec<u8>> =
        sent.map(|request| base64(request[1]["key"].as_str().unwrap())).collect();
    let logged = all.entries.iter().filter(|entry| entry.r#type.unwrap_or_default() == 0);
    let logged: Vec<Vec<u8>> = logged
        .filter_map(|entry| InternalRaftRequest::decode(entry.data.clone()?).ok()?.put)
        .map(|put| put.key.to_vec())
        .collect();
    let differ = logged.iter().zip(&sent).position(|(logged, sent)| logged != sent);
    assert_eq!(differ, None, "{name}");
    // One more came after the requests that were kept.
    assert!((sent.len()..=sent.len() + 1).contains(&logged.len()), "{name}: {}", logged.len());
}

/// Opened for writing, the log takes more and reads back.
fn go_on(name: &str, dir: &Path, mark: SnapshotMark, all: &Recovered) {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let (mut wal, recovered) = Wal::open(Arc::clone(&disk), dir, mark).unwrap();
    assert_eq!(recovered.entries, all.entries[mark.index as usize..], "{name}");
    assert_eq!(recovered.repaired, None);
    let next = all.entries.len() as u64 + 1;
    let hard_state = state(all.hard_state.term.unwrap(), all.hard_state.vote.unwrap(), next);
    let appended = entry(hard_state.term.unwrap(), next, b"one more");
    assert_eq!(wal.append(&[appended], Some(hard_state)).unwrap(), MustSync::Yes);
    wal.save_snapshot(&snapshot_record(next, hard_state.term.unwrap())).unwrap();
    wal.close().unwrap();
    let valid = Wal::valid_snapshots(&*disk, dir).unwrap();
    assert_eq!(valid.last().unwrap().index, Some(next));
    let (_, recovered) = Wal::open(disk, dir, mark).unwrap();
    assert_eq!(recovered.entries.last().unwrap().index, Some(next));
    assert_eq!(recovered.hard_state, hard_state);
}

fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for digit in text.bytes().take_while(|digit| *digit != b'=') {
        let value = DIGITS.iter().position(|known| *known == digit).unwrap();
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
