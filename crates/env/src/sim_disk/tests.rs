use std::collections::BTreeSet;

use super::*;

fn at(path: &str) -> &Path {
    Path::new(path)
}

fn read(disk: &SimDisk, path: &str) -> Vec<u8> {
    let file = disk.open(at(path), Access::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// `/f` with these bytes, durable.
fn with_file(seed: u64, bytes: &[u8]) -> (SimDisk, Arc<dyn File>) {
    let disk = SimDisk::new(seed);
    let file = disk.open(at("/f"), Access::Create).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(at("/")).unwrap();
    (disk, file)
}

#[test]
fn what_is_synced_survives_every_crash() {
    for seed in 0..200 {
        let (disk, file) = with_file(seed, b"kept");
        file.write_all_at(&[7; 3000], 4).unwrap();
        assert_eq!(&read(&disk.crash(), "/f")[..4], b"kept");
    }
}

#[test]
fn unsynced_writes_survive_wholly_partly_or_not_at_all() {
    let mut kept = BTreeSet::new();
    for seed in 0..500 {
        let (disk, file) = with_file(seed, &[0; 2048]);
        file.write_all_at(&[1; 2048], 0).unwrap();
        let after = read(&disk.crash(), "/f");
        let sectors: Vec<bool> = after.chunks(512).map(|sector| sector[0] == 1).collect();
        for (sector, kept) in after.chunks(512).zip(&sectors) {
            assert!(sector.iter().all(|byte| *byte == u8::from(*kept)), "torn inside a sector");
        }
        kept.insert(sectors);
    }
    assert_eq!(kept.len(), 16, "every subset of the four sectors is seen");
}

#[test]
fn a_sector_holds_one_of_the_states_it_had() {
    let mut seen = BTreeSet::new();
    for seed in 0..300 {
        let (disk, file) = with_file(seed, &[0; 512]);
        for value in 1..=3 {
            file.write_all_at(&[value; 512], 0).unwrap();
        }
        let after = read(&disk.crash(), "/f");
        assert!(after.iter().all(|byte| *byte == after[0]));
        seen.insert(after[0]);
    }
    assert_eq!(seen, BTreeSet::from([0, 1, 2, 3]));
}

#[test]
fn a_cut_file_never_shows_what_was_behind_the_cut() {
    for seed in 0..500 {
        let (disk, file) = with_file(seed, &[1; 4000]);
        file.set_len(1000).unwrap();
        file.set_len(3000).unwrap();
        let after = read(&disk.crash(), "/f");
        match after.len() {
            // The cut is not remembered; the rest of its sector may be zeroed already.
            4000 => assert!(after[..1000].iter().all(|byte| *byte == 1)),
            1000 => assert_eq!(after, [1; 1000]),
            3000 => {
                assert_eq!(after[..1000], [1; 1000]);
                assert_eq!(after[1000..], [0; 2000]);
            }
            other => panic!("length {other} was never there"),
        }
    }
}

#[test]
fn names_survive_only_when_synced_or_by_luck() {
    let mut seen = BTreeSet::new();
    for seed in 0..300 {
        let (disk, file) = with_file(seed, b"old");
        drop(file);
        let new = disk.open(at("/new"), Access::Create).unwrap();
        new.write_all_at(b"new", 0).unwrap();
        new.sync_data().unwrap();
        disk.rename(at("/new"), at("/f")).unwrap();
        assert_eq!(read(&disk, "/f"), b"new");
        let after = disk.crash();
        seen.insert((read(&after, "/f"), after.exists(at("/new")).unwrap()));
    }
    let old = |new| (b"old".to_vec(), new);
    assert_eq!(seen, BTreeSet::from([old(false), old(true), (b"new".to_vec(), false)]));
}

#[test]
fn a_synced_rename_of_a_directory_takes_what_is_in_it_along() {
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        disk.create_dir_all(at("/a.tmp")).unwrap();
        let file = disk.open(at("/a.tmp/f"), Access::Create).unwrap();
        file.write_all_at(b"x", 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(at("/a.tmp")).unwrap();
        disk.rename(at("/a.tmp"), at("/a")).unwrap();
        disk.sync_dir(at("/")).unwrap();
        let after = disk.crash();
        assert_eq!(after.list(at("/")).unwrap(), ["a"]);
        assert_eq!(read(&after, "/a/f"), b"x");
    }
}

#[test]
fn a_rename_between_directories_is_never_in_both() {
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        disk.create_dir_all(at("/a")).unwrap();
        disk.create_dir_all(at("/b")).unwrap();
        disk.sync_dir(at("/")).unwrap();
        disk.open(at("/a/f"), Access::Create).unwrap();
        disk.rename(at("/a/f"), at("/b/f")).unwrap();
        if seed % 2 == 0 {
            disk.sync_dir(at("/b")).unwrap();
        }
        let after = disk.crash();
        let (a, b) = (after.exists(at("/a/f")).unwrap(), after.exists(at("/b/f")).unwrap());
        assert!(!(a && b));
        assert!(b || seed % 2 == 1);
    }
}

#[test]
fn a_failed_sync_drops_what_was_dirty_and_the_next_one_succeeds() {
    let mut lost = 0;
    for seed in 0..100 {
        let (disk, file) = with_file(seed, b"aaaa");
        file.write_all_at(b"bbbb", 0).unwrap();
        disk.fail(Call::SyncData, "/f", 0);
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
        assert_eq!(read(&disk, "/f"), b"bbbb", "memory still has it");
        lost += u32::from(read(&disk.crash(), "/f") == b"aaaa");
    }
    assert!((20..80).contains(&lost), "{lost}");
}

#[test]
fn the_power_goes_at_the_chosen_change_and_stays_off() {
    let (disk, file) = with_file(1, b"");
    disk.crash_after(2);
    file.write_all_at(b"1", 0).unwrap();
    file.sync_data().unwrap();
    assert!(file.write_all_at(b"2", 1).is_err());
    assert!(disk.is_off());
    assert!(file.sync_data().is_err());
    assert!(disk.open(at("/f"), Access::Read).is_err());
    assert!(file.read_at(&mut [0], 0).is_err());
    let after = disk.crash();
    assert_eq!(read(&after, "/f")[0], b'1');
}

#[test]
fn a_full_disk_takes_what_fits_and_has_room_after_a_removal() {
    let (disk, file) = with_file(1, &[1; 100]);
    disk.set_capacity(Some(1200));
    let error = file.write_all_at(&[2; 2000], 100).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), 1024, "whole sectors");
    file.write_all_at(&[3; 1200], 0).unwrap();
    assert_eq!(file.allocate(1201).unwrap_err().kind(), io::ErrorKind::StorageFull);
    drop(file);
    disk.remove_file(at("/f")).unwrap();
    disk.sync_dir(at("/")).unwrap();
    let other = disk.open(at("/g"), Access::Create).unwrap();
    other.write_all_at(&[4; 1200], 0).unwrap();
    assert_eq!(disk.used(), 1200);
}

#[test]
fn a_write_that_fails_is_done_up_to_a_sector() {
    let mut lens = BTreeSet::new();
    for seed in 0..200 {
        let (disk, file) = with_file(seed, &[1; 100]);
        disk.fail(Call::Write, "", 0);
        file.write_all_at(&[2; 1000], 100).unwrap_err();
        lens.insert(file.len().unwrap());
    }
    assert_eq!(lens, BTreeSet::from([100, 512, 1024]));
}

#[test]
fn planned_faults_hit_the_chosen_call_once() {
    let (disk, file) = with_file(1, b"x");
    disk.fail(Call::Read, "/f", 1);
    assert!(file.read_at(&mut [0], 0).is_ok());
    assert_eq!(file.read_at(&mut [0], 0).unwrap_err().raw_os_error(), Some(5));
    assert!(file.read_at(&mut [0], 0).is_ok());
}

#[test]
fn locks_exclude_other_handles_until_the_holder_closes() {
    let (disk, file) = with_file(1, b"x");
    file.try_lock_segment().unwrap();
    file.try_lock_segment().unwrap();
    let other = disk.open(at("/f"), Access::ReadWrite).unwrap();
    assert_eq!(other.try_lock_segment().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    other.try_lock_db().unwrap();
    drop(file);
    other.try_lock_segment().unwrap();
    let after = disk.kill();
    after.open(at("/f"), Access::Read).unwrap().try_lock_segment().unwrap();
}

#[test]
fn a_killed_process_leaves_its_writes_behind_unsynced() {
    let (disk, file) = with_file(3, b"aaaa");
    file.write_all_at(b"bbbb", 0).unwrap();
    let after = disk.kill();
    assert_eq!(read(&after, "/f"), b"bbbb");
    let lost = (0..50).any(|_| read(&after.clone().kill().crash(), "/f") == b"aaaa");
    assert!(lost || read(&after.crash(), "/f") == b"aaaa");
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let run = |seed| {
        let (disk, file) = with_file(seed, &[0; 5000]);
        for at in 0..20 {
            file.write_all_at(&[at; 700], u64::from(at) * 300).unwrap();
        }
        read(&disk.crash(), "/f")
    };
    assert_eq!(run(9), run(9));
    assert!((0..20).any(|seed| run(seed) != run(9)));
}

#[test]
fn removed_directories_come_back_only_whole_or_emptier() {
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        disk.create_dir_all(at("/d/e")).unwrap();
        disk.open(at("/d/e/f"), Access::Create).unwrap();
        for dir in ["/", "/d", "/d/e"] {
            disk.sync_dir(at(dir)).unwrap();
        }
        disk.remove_dir_all(at("/d")).unwrap();
        assert!(!disk.exists(at("/d")).unwrap());
        let after = disk.crash();
        if after.exists(at("/d")).unwrap() {
            after.remove_dir_all(at("/d")).unwrap();
        }
        assert_eq!(after.list(at("/")).unwrap(), [""; 0]);
    }
}
