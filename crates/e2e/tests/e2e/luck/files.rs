//! Files of the data directory that are not what they were.

use std::fs;
use std::path::PathBuf;

use super::{Kept, LOG_ONLY, Saved, complaint, db, end_of, kept, segment, start};
use crate::both::{Talk, same};

/// What happens to the bytes of a file.
type Change = fn(&mut Vec<u8>);

async fn some_puts(talk: &mut Talk) {
    for number in 0..30 {
        talk.put(&format!("key/{number}"), &"v".repeat(number * 20)).await;
    }
}

/// Ends the member, and starts it on each of these changes of a file; what is refused is put back,
/// and then everything must be there.
async fn start_on(talk: &mut Talk, path: PathBuf, changes: &[(&str, Change)]) {
    let before = kept(talk).await;
    talk.member.kill().unwrap();
    let saved = Saved::new(&path);
    for (what, change) in changes {
        saved.change(change);
        match start(talk).await {
            Ok(()) => {
                let after = kept(talk).await;
                // What is cut off is lost, and nothing before it; where records end differs.
                let kvs = before.all.kvs.iter().filter(|kv| kv.mod_revision <= revision(&after));
                assert!(kvs.eq(&after.all.kvs), "{what}: {after:#?}");
                talk.note(what, revision(&after) > revision(&before) - 3);
                talk.member.kill().unwrap();
            }
            Err(log) => {
                talk.note(what, "refused");
                // etcd ends some of these with a panic.
                let told = complaint(&log);
                assert!(!told.is_empty() || talk.server.name == "etcd", "{what}: {log}");
            }
        }
        saved.restore();
    }
    start(talk).await.unwrap();
    let after = kept(talk).await;
    assert!(after == before, "{}: {before:#?}, {after:#?}", talk.server.name);
}

fn revision(kept: &Kept) -> i64 {
    kept.all.header.as_ref().map_or(0, |header| header.revision)
}

#[test]
fn a_log_that_is_cut_or_changed() {
    same(&LOG_ONLY, async |talk| {
        some_puts(talk).await;
        let path = segment(talk);
        start_on(
            talk,
            path,
            &[
                ("a torn record", |bytes| bytes.truncate(end_of(bytes) - 3)),
                ("a torn record, and zeros", |bytes| {
                    let end = end_of(bytes);
                    bytes[end - 600..end].fill(0);
                }),
                ("a bit in the last record", |bytes| {
                    let end = end_of(bytes);
                    bytes[end - 100] ^= 4;
                }),
                ("a bit in the middle", |bytes| {
                    let middle = end_of(bytes) / 2;
                    bytes[middle] ^= 4;
                }),
                ("a bit in the first record", |bytes| bytes[40] ^= 4),
                ("a length beyond the end", |bytes| bytes[0] = 0xff),
                ("nothing", |bytes| bytes.clear()),
                ("zeros", |bytes| bytes.fill(0)),
                ("garbage", |bytes| {
                    bytes.fill(0x5a);
                }),
            ],
        )
        .await;
    });
}

#[test]
fn a_db_that_is_cut_or_changed() {
    same(&[], async |talk| {
        some_puts(talk).await;
        talk.member.stop().unwrap();
        start(talk).await.unwrap();
        let path = db(talk);
        start_on(
            talk,
            path,
            &[
                ("nothing", |bytes| bytes.clear()),
                ("one page", |bytes| bytes.truncate(4096)),
                ("garbage", |bytes| bytes.fill(0x5a)),
                ("both meta pages", |bytes| bytes[..8192].fill(0)),
                ("a version of the future", |bytes| {
                    for page in [0, 4096] {
                        bytes[page + 20] = 3;
                    }
                }),
            ],
        )
        .await;
    });
}

/// With the whole log still there, the db file can be made again.
#[test]
fn a_db_that_is_gone() {
    same(&[], async |talk| {
        some_puts(talk).await;
        let before = kept(talk).await;
        talk.member.kill().unwrap();
        fs::remove_file(db(talk)).unwrap();
        let started = start(talk).await;
        talk.note("started", started.is_ok());
        let after = kept(talk).await;
        talk.note("kept", before == after);
    });
}

/// What a snapshot stands for is in the db file only.
#[test]
fn a_db_that_is_gone_behind_a_snapshot() {
    same(&["--snapshot-count=10"], async |talk| {
        let snap = talk.member.data().join("member/snap");
        let has_snapshot = || {
            let files = fs::read_dir(&snap).unwrap().map(|entry| entry.unwrap().path());
            files.into_iter().any(|path| path.extension().is_some_and(|end| end == "snap"))
        };
        while !has_snapshot() {
            talk.put("a", "1").await;
        }
        talk.member.stop().unwrap();
        let path = db(talk);
        let away = path.with_extension("away");
        fs::rename(&path, &away).unwrap();
        let started = start(talk).await.map_err(|log| complaint(&log));
        talk.note("started", started.is_ok());
        if talk.server.name == "pintle" {
            assert!(started.unwrap_err().contains("is behind the snapshot in the log"));
        }
        fs::rename(&away, &path).unwrap();
        start(talk).await.unwrap();
        talk.note("kept", kept(talk).await.all.count);
    });
}
