//! What the log promises on a healthy disk.

use super::*;
use ::wal::{Error, purge};

#[test]
fn a_log_and_its_jobs_move_between_threads() {
    fn moves<T: Send + 'static>(_: &T) {}
    let wal = create(&disk(1), small(80));
    moves(&wal);
    moves(&wal.sync_job());
    moves(&wal.next_segment_job().unwrap());
}

#[test]
fn what_was_appended_is_read_back() {
    let disk = disk(1);
    assert!(!Wal::exists(&disk, dir()).unwrap());
    let mut wal = create(&disk, Options::default());
    assert!(Wal::exists(&disk, dir()).unwrap());
    let big = vec![7; 300_000];
    let entries = [entry(1, 1, b""), entry(1, 2, b"x"), entry(2, 3, &big)];
    assert_eq!(wal.append(&entries, Some(state(2, 9, 2))).unwrap(), MustSync::Yes);
    wal.close().unwrap();
    let (_, recovered) = open(&disk, Options::default()).unwrap();
    assert_eq!(places(&recovered), [(1, 1), (1, 2), (2, 3)]);
    assert_eq!(recovered.entries[2].data.as_ref().unwrap(), &big);
    assert_eq!(recovered.entries[0].data, None);
    assert_eq!(recovered.hard_state, state(2, 9, 2));
    assert_eq!(recovered.metadata, METADATA);
    assert_eq!(recovered.repaired, None);
}

#[test]
fn only_entries_votes_and_terms_must_be_synced() {
    let disk = disk(1);
    let mut wal = create(&disk, Options::default());
    assert_eq!(wal.append(&[], None).unwrap(), MustSync::No);
    assert_eq!(wal.append(&[], Some(HardState::default())).unwrap(), MustSync::No);
    assert_eq!(wal.append(&[], Some(state(1, 0, 0))).unwrap(), MustSync::Yes);
    assert_eq!(wal.append(&[], Some(state(1, 0, 1))).unwrap(), MustSync::No);
    assert_eq!(wal.append(&[], Some(state(1, 2, 1))).unwrap(), MustSync::Yes);
    assert_eq!(wal.append(&[entry(1, 1, b"")], None).unwrap(), MustSync::Yes);
    wal.close().unwrap();
    let (mut wal, _) = open(&disk, Options::default()).unwrap();
    assert_eq!(wal.append(&[], Some(state(1, 2, 7))).unwrap(), MustSync::No);
}

#[test]
fn an_overwritten_tail_is_dropped() {
    let disk = disk(1);
    let mut wal = create(&disk, Options::default());
    let first: Vec<_> = (1..=5).map(|index| entry(1, index, b"old")).collect();
    let _ = wal.append(&first, None).unwrap();
    let _ = wal.append(&[entry(2, 3, b"new")], Some(state(2, 1, 1))).unwrap();
    wal.close().unwrap();
    let (_, recovered) = open(&disk, Options::default()).unwrap();
    assert_eq!(places(&recovered), [(1, 1), (1, 2), (2, 3)]);
}

/// etcd's own reader would bring the old tail back here.
#[test]
fn a_tail_overwritten_before_the_snapshot_stays_dropped() {
    let disk = disk(1);
    let mut wal = create(&disk, Options::default());
    let first: Vec<_> = (1..=9).map(|index| entry(1, index, b"old")).collect();
    let _ = wal.append(&first, None).unwrap();
    let _ = wal.append(&[entry(2, 3, b"new"), entry(2, 4, b"new")], None).unwrap();
    wal.save_snapshot(&snapshot_record(6, 2)).unwrap();
    let _ = wal.append(&[], Some(state(2, 1, 6))).unwrap();
    drop(wal);
    let from = |index, term| ::wal::read(&disk, dir(), SnapshotMark { index, term }).unwrap();
    assert_eq!(places(&from(6, 2)), []);
    assert_eq!(places(&from(0, 0)), [(1, 1), (1, 2), (2, 3), (2, 4)]);
}

#[test]
fn a_snapshot_of_another_log_replaces_the_tail() {
    let disk = disk(1);
    let mut wal = create(&disk, Options::default());
    let entries: Vec<_> = (1..=9).map(|index| entry(1, index, b"")).collect();
    let _ = wal.append(&entries, Some(state(1, 1, 5))).unwrap();
    // One taken here keeps what is behind it; one of a leader with another log does not.
    wal.save_snapshot(&snapshot_record(5, 1)).unwrap();
    wal.save_snapshot(&snapshot_record(7, 2)).unwrap();
    let _ = wal.append(&[entry(2, 8, b"")], Some(state(2, 1, 7))).unwrap();
    drop(wal);
    let from = |index, term| ::wal::read(&disk, dir(), SnapshotMark { index, term }).unwrap();
    assert_eq!(places(&from(5, 1)), [(1, 6), (1, 7), (2, 8)]);
    assert_eq!(places(&from(7, 2)), [(2, 8)]);
}

#[test]
fn a_snapshot_ahead_of_the_entries_is_found_after_a_cut() {
    let disk = disk(1);
    let mut wal = create(&disk, small(2000));
    let _ = wal.append(&[entry(1, 1, b"")], Some(state(1, 1, 1))).unwrap();
    wal.save_snapshot(&snapshot_record(9, 2)).unwrap();
    drop(wal);
    // It was not installed; the leader sent entries after all.
    let (mut wal, _) = open(&disk, small(2000)).unwrap();
    let _ = wal.append(&[entry(2, 2, &[1; 2000])], None).unwrap();
    let more: Vec<_> = (3..=10).map(|index| entry(2, index, b"")).collect();
    let _ = wal.append(&more, Some(state(2, 1, 9))).unwrap();
    drop(wal);
    assert_eq!(segments(&disk)[1], "0000000000000001-000000000000000a.wal");
    let valid = Wal::valid_snapshots(&disk, dir()).unwrap();
    let mark = SnapshotMark::from(valid.last().unwrap());
    assert_eq!(mark, SnapshotMark { index: 9, term: 2 });
    let (_, recovered) = Wal::open_with(shared(&disk), dir(), mark, small(2000)).unwrap();
    assert_eq!(places(&recovered), [(2, 10)]);
}

#[test]
fn a_full_segment_is_followed_by_the_next() {
    let disk = disk(1);
    let mut wal = create(&disk, small(4000));
    for index in 1..=100 {
        let synced = wal.append(&[entry(1, index, &[1; 100])], Some(state(1, 1, index))).unwrap();
        let _ = synced;
    }
    let names = segments(&disk);
    assert!(names.len() > 3, "{names:?}");
    assert_eq!(names[0], "0000000000000000-0000000000000000.wal");
    assert!(names[1].starts_with("0000000000000001-00000000000000"));
    drop(wal);
    let (mut wal, recovered) = open(&disk, small(4000)).unwrap();
    assert_eq!(recovered.entries.len(), 100);
    assert_eq!(recovered.hard_state, state(1, 1, 100));
    let _ = wal.append(&[entry(1, 101, b"")], None).unwrap();
    drop(wal);
    assert_eq!(open(&disk, small(4000)).unwrap().1.entries.len(), 101);
}

#[test]
fn the_next_segment_may_be_made_ahead() {
    let disk = disk(1);
    let mut wal = create(&disk, small(4096));
    assert!(wal.next_segment_job().is_none(), "too early");
    let _ = wal.append(&[entry(1, 1, &[1; 1000])], None).unwrap();
    let job = wal.next_segment_job().unwrap();
    assert!(wal.next_segment_job().is_none());
    drop(job);
    wal.next_segment_job().unwrap().run().unwrap();
    assert!(wal.next_segment_job().is_none());
    assert_eq!(disk.list(dir()).unwrap()[0], "0.tmp");
    let _ = wal.append(&[entry(1, 2, &[1; 4000])], None).unwrap();
    assert_eq!(disk.list(dir()).unwrap()[1], "0000000000000001-0000000000000003.wal");
    let _ = wal.append(&[entry(1, 3, &[1; 1000])], None).unwrap();
    let late = wal.next_segment_job().unwrap();
    drop(wal);
    late.run().unwrap();
    assert_eq!(disk.list(dir()).unwrap().len(), 2, "nothing is left behind");
    assert_eq!(open(&disk, small(4096)).unwrap().1.entries.len(), 3);
}

#[test]
fn a_snapshot_is_where_a_reader_may_begin() {
    let disk = disk(1);
    let mut wal = create(&disk, small(2000));
    for index in 1..=30 {
        let _ = wal.append(&[entry(1, index, &[1; 100])], Some(state(1, 1, index))).unwrap();
        if index % 10 == 0 {
            wal.save_snapshot(&snapshot_record(index, 1)).unwrap();
        }
    }
    wal.save_snapshot(&snapshot_record(31, 1)).unwrap();
    drop(wal);
    let valid = Wal::valid_snapshots(&disk, dir()).unwrap();
    let indexes: Vec<u64> = valid.iter().map(|snapshot| snapshot.index.unwrap()).collect();
    assert_eq!(indexes, [0, 10, 20, 30], "31 is not committed");
    assert_eq!(valid[1], snapshot_record(10, 1));

    let at = |index, term| ::wal::read(&disk, dir(), SnapshotMark { index, term });
    assert_eq!(at(20, 1).unwrap().entries.len(), 10);
    assert!(matches!(at(20, 2), Err(Error::SnapshotMismatch { found: 1, .. })));
    assert!(matches!(at(21, 1), Err(Error::SnapshotNotFound { index: 21, .. })));
    let mark = SnapshotMark { index: 20, term: 1 };
    let (_, recovered) = Wal::open_with(shared(&disk), dir(), mark, small(2000)).unwrap();
    assert_eq!(recovered.entries[0].index, Some(21));
}

#[test]
fn an_incomplete_snapshot_record_is_refused() {
    let disk = disk(1);
    let mut wal = create(&disk, Options::default());
    for broken in [
        walpb::Snapshot { index: None, ..snapshot_record(1, 1) },
        walpb::Snapshot { term: None, ..snapshot_record(1, 1) },
        walpb::Snapshot { conf_state: None, ..snapshot_record(1, 1) },
    ] {
        assert!(matches!(wal.save_snapshot(&broken), Err(Error::IncompleteSnapshot)));
    }
    wal.save_snapshot(&snapshot_record(1, 1)).unwrap();
}

#[test]
fn released_segments_are_purged_and_others_are_not() {
    let disk = disk(1);
    let mut wal = create(&disk, small(1000));
    // One entry fills a segment: the names have indexes 0, 2, 3, ... 9.
    for index in 1..=8 {
        let _ = wal.append(&[entry(1, index, &[1; 1000])], Some(state(1, 1, index))).unwrap();
    }
    wal.save_snapshot(&snapshot_record(5, 1)).unwrap();
    assert_eq!(segments(&disk).len(), 9);
    assert_eq!(purge(&disk, dir(), 1).unwrap(), [""; 0]);
    wal.release_to(5);
    let removed = purge(&disk, dir(), 1).unwrap();
    assert_eq!(removed.len(), 3);
    assert_eq!(segments(&disk)[0], "0000000000000003-0000000000000004.wal");
    assert_eq!(purge(&disk, dir(), 1).unwrap().len(), 0);
    let valid = Wal::valid_snapshots(&disk, dir()).unwrap();
    assert_eq!(valid, [snapshot_record(5, 1)]);
    drop(wal);
    let mark = SnapshotMark::from(&valid[0]);
    let (mut wal, recovered) = Wal::open_with(shared(&disk), dir(), mark, small(1000)).unwrap();
    assert_eq!(places(&recovered), [(1, 6), (1, 7), (1, 8)]);
    wal.release_to(100);
    assert_eq!(purge(&disk, dir(), 2).unwrap().len(), 4);
    assert_eq!(segments(&disk).len(), 2);
}

#[test]
fn a_log_in_use_is_locked_but_can_be_read() {
    let disk = disk(1);
    let wal = create(&disk, Options::default());
    let error = open(&disk, Options::default()).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    assert!(error.to_string().ends_with("is locked by another process"));
    assert!(::wal::read(&disk, dir(), SnapshotMark::default()).is_ok());
    drop(wal);
    open(&disk, Options::default()).unwrap();
}

#[test]
fn a_log_is_not_created_over_another() {
    let disk = disk(1);
    drop(create(&disk, Options::default()));
    let again = Wal::create(shared(&disk), dir(), METADATA);
    assert!(matches!(again, Err(Error::Exists(_))));
}

#[test]
fn a_missing_log_or_segment_is_named() {
    let disk = disk(1);
    disk.create_dir_all(dir()).unwrap();
    assert!(matches!(open(&disk, Options::default()), Err(Error::NoSegments(_))));
    let mut wal = create(&disk, small(1000));
    for index in 1..=4 {
        let _ = wal.append(&[entry(1, index, &[1; 1000])], Some(state(1, 1, index))).unwrap();
    }
    drop(wal);
    disk.remove_file(&dir().join("0000000000000002-0000000000000003.wal")).unwrap();
    let error = open(&disk, Options::default()).unwrap_err();
    assert!(matches!(error, Error::MissingSegment(_)), "{error}");
    disk.remove_file(&dir().join("0000000000000000-0000000000000000.wal")).unwrap();
    assert!(matches!(open(&disk, Options::default()), Err(Error::NoSegmentFor(0))));
}

#[test]
fn a_log_of_two_members_is_refused() {
    let disk = disk(1);
    let mut wal = create(&disk, small(1000));
    let _ = wal.append(&[entry(1, 1, &[1; 1000])], None).unwrap();
    drop(wal);
    let path = dir().join("0000000000000001-0000000000000002.wal");
    let bytes = read_file(&disk, &path);
    // The same chain with another byte of metadata: take its crc from a log made with it.
    let mut other = METADATA.to_vec();
    other[3] ^= 1;
    let crc = u32::from_le_bytes(crc_before(&bytes).to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &other);
    let record = proto::walpb::Record { r#type: Some(1), crc: Some(crc), data: Some(other.into()) };
    let mut changed = bytes[..frame_len(&bytes)].to_vec();
    changed.extend(frame(&record));
    write_file(&disk, &path, &changed);
    let error = open(&disk, Options::default()).unwrap_err();
    assert!(error.to_string().contains("conflicting metadata found"), "{error}");
}

#[test]
fn entries_behind_a_gap_are_refused() {
    let disk = disk(1);
    let mut wal = create(&disk, Options::default());
    let _ = wal.append(&[entry(1, 1, b""), entry(1, 3, b"")], None).unwrap();
    drop(wal);
    let error = open(&disk, Options::default()).unwrap_err();
    let text = "slice bounds out of range, snapshot[Index: 0, Term: 0], \
                current entry[Index: 3, Term: 1], len(ents): 1";
    assert!(error.to_string().contains(text), "{error}");
}

#[test]
fn a_full_disk_is_named_and_ends_the_log() {
    let disk = disk(1);
    let mut wal = create(&disk, small(4096));
    disk.set_capacity(Some(disk.used() + 100));
    let error = wal.append(&[entry(1, 1, &[1; 5000])], None).unwrap_err();
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    assert!(matches!(wal.append(&[entry(1, 1, b"")], None), Err(Error::Broken)));
    assert!(matches!(wal.sync(), Err(Error::Broken)));
    drop(wal);
    disk.set_capacity(None);
    let (mut wal, recovered) = open(&disk, small(4096)).unwrap();
    assert_eq!(recovered.entries, []);
    let _ = wal.append(&[entry(1, 1, b"")], None).unwrap();
}

#[test]
fn nothing_is_accepted_after_a_failed_sync() {
    let disk = disk(1);
    let mut wal = create(&disk, Options::default());
    let _ = wal.append(&[entry(1, 1, b"x")], None).unwrap();
    let job = wal.sync_job();
    disk.fail(env::Call::SyncData, ".wal", 0);
    assert!(matches!(job.run(), Err(Error::Io { action: "sync", .. })));
    assert!(matches!(wal.append(&[entry(1, 2, b"")], None), Err(Error::Broken)));
    assert!(matches!(wal.sync_job().run(), Err(Error::Broken)));
}

/// After a failed sync the machine reads what the disk does not have, and a later sync does not
/// write it. What a new start has read, and a member relies on, must not go with the power.
#[test]
fn what_is_read_after_a_failed_sync_stays_however_much_it_is() {
    let data = vec![7; 900 << 10];
    let long = vec![9; 7 << 20];
    for seed in 0..8 {
        let disk = disk(seed);
        let mut wal = create(&disk, Options::default());
        disk.fail(env::Call::SyncData, ".wal", seed % 4);
        let mut index = 0;
        while index < 40 {
            let entries: Vec<_> = (index + 1..=index + 10)
                .map(|index| entry(1, index, if index % 8 == 0 { &long } else { &data }))
                .collect();
            index += 10;
            let appended = wal.append(&entries, None);
            if appended.and_then(|_| wal.sync()).is_err() {
                break;
            }
        }
        assert!(index < 40, "seed {seed}: the sync has failed");
        drop(wal);
        let disk = disk.kill();
        let (wal, recovered) = open(&disk, Options::default()).unwrap();
        drop(wal);
        let disk = disk.crash();
        let (_, again) = open(&disk, Options::default()).unwrap();
        assert_eq!(again.entries.len(), recovered.entries.len(), "seed {seed}");
        assert!(again.entries == recovered.entries, "seed {seed}");
    }
}

#[test]
fn a_log_need_not_be_synced_at_all() {
    let disk = disk(1);
    let options = Options { sync: false, segment_bytes: 1000 };
    let mut wal = create(&disk, options);
    disk.fail(env::Call::SyncData, "", 0);
    disk.fail(env::Call::SyncDir, "", 0);
    for index in 1..=4 {
        let _ = wal.append(&[entry(1, index, &[1; 1000])], Some(state(1, 1, index))).unwrap();
    }
    wal.close().unwrap();
    assert_eq!(open(&disk, options).unwrap().1.entries.len(), 4);
}

fn frame_len(bytes: &[u8]) -> usize {
    let field = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    8 + ((field & (u64::MAX >> 8)) as usize).next_multiple_of(8)
}

fn crc_before(bytes: &[u8]) -> u32 {
    use proto::Message;
    let len = bytes[0] as usize;
    proto::walpb::Record::decode(&bytes[8..8 + len]).unwrap().crc.unwrap()
}

fn frame(record: &proto::walpb::Record) -> Vec<u8> {
    use proto::Message;
    let body = record.encode_to_vec();
    let padding = body.len().next_multiple_of(8) - body.len();
    let top = if padding > 0 { (0x80 | padding as u64) << 56 } else { 0 };
    let mut bytes = (body.len() as u64 | top).to_le_bytes().to_vec();
    bytes.extend(body);
    bytes.resize(bytes.len() + padding, 0);
    bytes
}
