//! Bad luck of operators: files that are cut or changed, a disk that is full, a directory that is
//! in use, or not ours to use. Either a member starts and has all that was acknowledged, or it says
//! what is wrong and ends; and once that is mended, everything is there.

mod disk;
mod files;
mod places;

use std::fs;
use std::path::{Path, PathBuf};

use e2e::Grpc;
use proto::etcdserverpb::{HashKvRequest, RangeResponse};

use crate::both::{Talk, soon};

/// The flags that keep all changes in the log and out of the db file, whatever becomes of the
/// process.
const LOG_ONLY: [&str; 2] = ["--backend-batch-interval=10m", "--backend-batch-limit=1000000"];

/// What a member has, as clients see it.
#[derive(Debug, PartialEq)]
struct Kept {
    all: RangeResponse,
    hash: u32,
}

async fn kept(talk: &Talk) -> Kept {
    let mut all = soon("all keys", talk.grpc.call(&e2e::everything(0))).await.unwrap();
    // The term tells how often it was started.
    all.header.as_mut().expect("a reply has a header").raft_term = 0;
    let hash = soon("a hash", talk.grpc.call(&HashKvRequest { revision: 0 })).await.unwrap();
    Kept { all, hash: hash.hash }
}

/// Starts it on what is there. If it does not start: what it logged.
async fn start(talk: &mut Talk) -> Result<(), String> {
    let server = talk.server.clone();
    let started = talk.member.restart(&server);
    let log = talk.member.log();
    let panicked = talk.server.name == "pintle" && log.contains("panicked at");
    assert!(!panicked, "{}", talk.member.log_tail());
    if started.is_ok() {
        talk.grpc = Grpc::connect(talk.member.address()).await.unwrap();
        return Ok(());
    }
    let status = talk.member.ended().expect("a member that does not serve ends");
    if talk.server.name == "pintle" {
        assert_eq!(status.code(), Some(1), "{}", talk.member.log_tail());
    }
    Err(log)
}

/// The last error that was logged, with all that is said about it.
fn complaint(log: &str) -> String {
    let bad =
        |line: &&str| line.contains("\"level\":\"fatal\"") || line.contains("\"level\":\"error\"");
    log.lines().rfind(bad).unwrap_or_default().to_owned()
}

/// A file, as it was.
struct Saved {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Saved {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), bytes: fs::read(path).unwrap() }
    }

    /// Writes the file with a change.
    fn change(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.bytes.clone();
        change(&mut bytes);
        fs::write(&self.path, bytes).unwrap();
    }

    fn restore(&self) {
        fs::write(&self.path, &self.bytes).unwrap();
    }
}

fn db(talk: &Talk) -> PathBuf {
    talk.member.data().join("member/snap/db")
}

/// The newest segment of the log.
fn segment(talk: &Talk) -> PathBuf {
    let folder = fs::read_dir(talk.member.data().join("member/wal")).unwrap();
    let paths = folder.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "wal")).max().unwrap()
}

/// Behind the last byte that says something.
fn end_of(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}
