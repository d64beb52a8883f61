//! Damage done to the files of a member that is down.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use env::{Access, Disk as _, SimDisk};

use crate::run::{Bug, Run};

const DB: &str = "/data/member/snap/db";

/// Does what the plan's bug asks for.
pub(crate) fn before_start(run: &Run) {
    let disk = &run.disk;
    match run.plan.bug {
        Some(Bug::NoLog) => {
            // Where there is none yet, none is lost.
            let _ = disk.remove_dir_all(Path::new("/data/member/wal"));
        }
        Some(Bug::IndexAhead) => skip_an_entry(disk),
        Some(Bug::StrayLease) => change_db(disk, |tx| {
            // A lease of 9 seconds as etcd writes it: id 77 in both places.
            let key = Bytes::copy_from_slice(&77_u64.to_be_bytes());
            tx.put(b"lease", key, Bytes::from_static(&[8, 77, 16, 9])).ok()
        }),
        Some(Bug::OddTombstone) => change_db(disk, |tx| {
            let mut records = Vec::new();
            for record in tx.range(b"key", Bound::Unbounded, Bound::Unbounded).ok()? {
                records.push(record.ok()?);
            }
            let (key, value) = records.into_iter().rfind(|(key, _)| key.len() == 18)?;
            // The record says more: version 1.
            let value = [value.as_ref(), &[32, 1]].concat();
            tx.put(b"key", key, value.into()).ok()
        }),
        Some(Bug::LeasesSwapped) => {
            // Where there is no file yet, there are no leases.
            let _ = swap_leases(disk);
        }
        _ => {}
    }
}

/// Lets the db file say that it has the effect of one entry more.
pub(crate) fn skip_an_entry(disk: &SimDisk) {
    change_db(disk, |tx| {
        let index = tx.get(b"meta", b"consistent_index").ok()??;
        let index = u64::from_be_bytes(index.as_ref().try_into().ok()?) + 1;
        let value = Bytes::copy_from_slice(&index.to_be_bytes());
        tx.put(b"meta", Bytes::from_static(b"consistent_index"), value).ok()
    });
}

/// Swaps the first two keys of the bucket of leases, in each page that it was ever written to as
/// a part of the root. Who reads all leases sees no difference.
fn swap_leases(disk: &SimDisk) -> std::io::Result<()> {
    // Behind the key: the bucket's head, then the head of the page within, then its elements.
    const BEFORE_ELEMENTS: usize = 32;
    const ELEMENT: usize = 16;
    let file = disk.open(Path::new(DB), Access::ReadWrite)?;
    let mut bytes = vec![0; file.len()? as usize];
    file.read_exact_at(&mut bytes, 0)?;
    // In the order of names the bucket of members follows, so this is the key, not a part of one.
    let name = b"lease\0\0\0\0\0\0\0\0";
    let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == name[0]).map(|(at, _)| at);
    let found = starts.filter(|at| bytes[*at..].starts_with(name));
    let places: Vec<usize> = found.map(|at| at + 5 + BEFORE_ELEMENTS).collect();
    for at in places {
        let Some(elements) = bytes.get(at..at + 2 * ELEMENT) else { continue };
        let number = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| elements[at + byte]));
        // A lease has a key of eight bytes.
        if (number(8), number(ELEMENT + 8)) != (8, 8) {
            continue;
        }
        // Positions count from their own element.
        let (first, second) = (number(4) - 16, number(ELEMENT + 4) + 16);
        let mut swapped = [&elements[ELEMENT..], &elements[..ELEMENT]].concat();
        swapped[4..8].copy_from_slice(&second.to_le_bytes());
        swapped[ELEMENT + 4..ELEMENT + 8].copy_from_slice(&first.to_le_bytes());
        file.write_all_at(&swapped, at as u64)?;
    }
    file.sync_data()
}

/// Changes the db file where there is one with something in it.
fn change_db(disk: &SimDisk, change: impl FnOnce(&mut bolt::WriteTx) -> Option<()>) {
    let open = bolt::Db::open(Arc::new(disk.clone()), Path::new(DB), bolt::Options::default());
    let Ok(db) = open else { return };
    let mut tx = db.write();
    if change(&mut tx).is_some() {
        tx.commit().expect("the disk is well");
    }
}
