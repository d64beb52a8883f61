//! Directories that a member cannot use.

use std::fs;
use std::process::Command;

use e2e::{Outcome, Scratch, Server};

use super::{complaint, db, kept, start};
use crate::both::same;

fn run(server: &Server, data: &std::path::Path, scratch: &Scratch) -> Outcome {
    let mut command = Command::new(&server.path);
    command.arg("--data-dir").arg(data).args([
        "--listen-client-urls=http://127.0.0.1:0",
        "--advertise-client-urls=http://127.0.0.1:0",
        "--listen-peer-urls=http://127.0.0.1:0",
    ]);
    e2e::run(command.args(e2e::member_flags()), "", scratch.path()).unwrap()
}

#[test]
fn one_that_another_process_holds() {
    same(&[], async |talk| {
        talk.put("a", "1").await;
        let scratch = Scratch::new("held");
        if talk.server.name == "pintle" {
            let outcome = run(&talk.server, &talk.member.data(), &scratch);
            assert_eq!(outcome.code, 1, "{}", outcome.stderr);
            let told = complaint(&outcome.stderr);
            assert!(told.contains("lock"), "{told}");
        }
        // The one that holds it did not notice.
        let revision = talk.put("a", "2").await;
        talk.note("goes on", revision);
        let _ = kept(talk).await;
    });
}

#[test]
fn one_that_is_none_or_cannot_be_made() {
    let Some(pintle) = Server::pintle() else { return };
    let scratch = Scratch::new("places");
    let file = scratch.join("file");
    fs::write(&file, "not a folder").unwrap();
    for place in [file.clone(), file.join("below"), "/proc/no".into(), "/sys/no".into()] {
        let outcome = run(&pintle, &place, &scratch);
        let told = complaint(&outcome.stderr);
        assert_eq!(outcome.code, 1, "{}: {}", place.display(), outcome.stderr);
        assert!(told.contains(&*place.to_string_lossy()), "{}: {told}", place.display());
        assert!(!outcome.stderr.contains("panicked at"), "{}", outcome.stderr);
    }
}

/// A db file in which a version of etcd has written that is to come.
#[test]
fn one_of_a_newer_version() {
    same(&[], async |talk| {
        talk.put("a", "1").await;
        talk.member.wait_for_storage_version().unwrap();
        talk.member.stop().unwrap();
        for version in ["3.8.0", "4.0.0"] {
            set_storage_version(&db(talk), version);
            let started = start(talk).await.map_err(|log| complaint(&log));
            talk.note(version, started.is_ok());
            let told = started.unwrap_err();
            let both = told.contains(version) && told.contains("3.7.0");
            assert!(both || talk.server.name == "etcd", "{told}");
        }
        set_storage_version(&db(talk), "3.7.0");
        start(talk).await.unwrap();
        talk.note("kept", kept(talk).await.all.count);
    });
}

fn set_storage_version(path: &std::path::Path, version: &str) {
    let disk: std::sync::Arc<dyn env::Disk> = std::sync::Arc::new(env::RealDisk);
    let db = bolt::Db::open(disk, path, bolt::Options::default()).unwrap();
    let mut tx = db.write();
    tx.put(b"meta", "storageVersion".into(), version.to_owned().into()).unwrap();
    tx.commit().unwrap();
}
