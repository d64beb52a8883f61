//! Snapshot files.

use std::collections::BTreeSet;
use std::path::PathBuf;

use ::wal::{Error, snap};
use proto::raftpb::{ConfState, Snapshot, SnapshotMetadata};

use super::*;

fn home() -> &'static Path {
    Path::new("/data")
}

fn snapshot(term: u64, index: u64) -> Snapshot {
    let conf_state = Some(ConfState { voters: vec![1], ..ConfState::default() });
    let metadata = SnapshotMetadata { conf_state, index: Some(index), term: Some(term) };
    Snapshot { data: Some(format!("{{{term} {index}}}").into()), metadata: Some(metadata) }
}

fn save(disk: &SimDisk, term: u64, index: u64) -> PathBuf {
    snap::save(disk, home(), &snapshot(term, index)).unwrap().unwrap()
}

#[test]
fn the_newest_snapshot_is_loaded() {
    let disk = disk(1);
    assert_eq!(snap::save(&disk, home(), &Snapshot::default()).unwrap(), None);
    assert!(snap::load_newest(&disk, home()).unwrap().snapshot.is_none());
    for (term, index) in [(1, 10), (2, 16), (1, 300)] {
        let path = save(&disk, term, index);
        assert_eq!(path, home().join(snap::file_name(term, index)));
        assert_eq!(snap::read(&disk, &path).unwrap(), snapshot(term, index));
    }
    let names = snap::list(&disk, home()).unwrap();
    assert_eq!(names[0], "0000000000000002-0000000000000010.snap");
    assert_eq!(names[1], "0000000000000001-000000000000012c.snap");
    let newest = snap::load_newest(&disk, home()).unwrap();
    assert_eq!(newest.snapshot, Some(snapshot(2, 16)));

    let known = [snapshot_record(10, 1), snapshot_record(300, 1), snapshot_record(16, 3)];
    let loaded = snap::load_newest_matching(&disk, home(), &known).unwrap();
    assert_eq!(loaded.snapshot, Some(snapshot(1, 300)));
    assert_eq!(snap::load_newest_matching(&disk, home(), &[]).unwrap().snapshot, None);
}

#[test]
fn an_unreadable_snapshot_is_set_aside() {
    let disk = disk(1);
    save(&disk, 1, 1);
    let files: [(u64, Vec<u8>, &str); 5] = [
        (2, Vec::new(), "snap: empty snapshot"),
        (3, vec![0x08, 1], "snap: empty snapshot"),
        (4, vec![0x12, 1, 1], "snap: empty snapshot"),
        (5, vec![0x08, 1, 0x12, 1, 1], "snap: crc mismatch"),
        (6, vec![0xff; 9], "snap: cannot decode the snapshot: "),
    ];
    for (index, bytes, _) in &files {
        write_file(&disk, &home().join(snap::file_name(1, *index)), bytes);
    }
    let loaded = snap::load_newest(&disk, home()).unwrap();
    assert_eq!(loaded.snapshot, Some(snapshot(1, 1)));
    for ((name, error), (index, _, text)) in loaded.broken.iter().rev().zip(&files) {
        assert_eq!(*name, snap::file_name(1, *index));
        assert!(error.to_string().starts_with(text), "{error}");
        assert!(disk.exists(&home().join(format!("{name}.broken"))).unwrap());
    }
    assert_eq!(loaded.broken.len(), files.len());
    assert_eq!(snap::list(&disk, home()).unwrap().len(), 1);
}

#[test]
fn every_flipped_bit_of_a_snapshot_is_noticed_or_harmless() {
    let bytes = snap::encode(&snapshot(3, 500));
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        if let Ok(read) = snap::decode(changed.into()) {
            assert_eq!(read, snapshot(3, 500));
        }
    }
    for len in 0..bytes.len() {
        assert!(snap::decode(bytes[..len].to_vec().into()).is_err());
    }
}

#[test]
fn old_snapshots_and_dbs_are_purged_apart() {
    let disk = disk(1);
    for index in 1..=5 {
        save(&disk, 1, index);
        write_file(&disk, &home().join(snap::db_file_name(index)), b"db");
    }
    write_file(&disk, &home().join("db"), b"db");
    write_file(&disk, &home().join("db.tmp.123"), b"db");
    let removed = snap::purge(&disk, home(), 3).unwrap();
    let expected = [
        "0000000000000001-0000000000000001.snap",
        "0000000000000001-0000000000000002.snap",
        "0000000000000001.snap.db",
        "0000000000000002.snap.db",
    ];
    assert_eq!(removed, expected);
    let released = snap::release_dbs(&disk, home(), 5).unwrap();
    assert_eq!(released, ["0000000000000003.snap.db", "0000000000000004.snap.db"]);
    assert_eq!(snap::list(&disk, home()).unwrap().len(), 3);
    assert!(disk.exists(&home().join("db")).unwrap());
    assert!(!disk.exists(&home().join("db.tmp.123")).unwrap());
}

#[test]
fn a_saved_snapshot_survives_a_power_cut_at_any_change() {
    for seed in 0..300 {
        for changes in 0.. {
            let disk = disk(seed);
            save(&disk, 1, 1);
            disk.crash_after(changes);
            // The second time it replaces a file of the same name.
            let saves = [(1, 2), (1, 2)];
            let saved: Vec<_> = saves
                .iter()
                .map(|(term, index)| snap::save(&disk, home(), &snapshot(*term, *index)).is_ok())
                .collect();
            let after = disk.crash();
            let loaded = snap::load_newest(&after, home()).unwrap();
            assert!(loaded.broken.is_empty(), "{:?}", loaded.broken);
            let newest = loaded.snapshot.unwrap();
            assert!(newest == snapshot(1, 2) || (!saved[0] && newest == snapshot(1, 1)));
            if saved == [true, true] {
                break;
            }
        }
    }
}

#[test]
fn a_snapshot_that_cannot_be_written_leaves_nothing_behind() {
    let disk = disk(1);
    disk.set_capacity(Some(10));
    let error = snap::save(&disk, home(), &snapshot(1, 2)).unwrap_err();
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    assert_eq!(disk.list(home()).unwrap(), [""; 0]);
    let names: BTreeSet<String> = disk.list(home()).unwrap().into_iter().collect();
    assert!(names.is_empty());
}
