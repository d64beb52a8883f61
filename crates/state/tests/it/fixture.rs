use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kit::TempDir;

const PARTS: [&str; 3] = ["hashkv.txt", "range.json", "requests.json"];

/// Data that a real etcd wrote, unpacked for one test.
pub(crate) struct Fixture {
    dir: TempDir,
    name: &'static str,
}

impl Fixture {
    /// Unpacks `VERSION-HOW`; `None` (said aloud) where no fixtures are at hand.
    pub(crate) fn unpack(name: &'static str) -> Option<Self> {
        let archive = archive();
        if !archive.exists() {
            eprintln!("skipped: no {} (set PINTLE_FIXTURES)", archive.display());
            return None;
        }
        let dir = TempDir::new();
        let status = Command::new("tar")
            .arg("-xzf")
            .arg(&archive)
            .arg("-C")
            .arg(dir.path())
            .arg(format!("./{name}"))
            .args(PARTS.map(|part| format!("./{name}.{part}")))
            .status()
            .expect("tar runs");
        assert!(status.success(), "cannot unpack {name}");
        Some(Self { dir, name })
    }

    pub(crate) fn wal(&self) -> PathBuf {
        self.dir.path().join(self.name).join("member/wal")
    }

    pub(crate) fn db(&self) -> PathBuf {
        self.dir.path().join(self.name).join("member/snap/db")
    }

    pub(crate) fn snap(&self) -> PathBuf {
        self.dir.path().join(self.name).join("member/snap")
    }

    /// A place for a db file of our own.
    pub(crate) fn new_db(&self) -> PathBuf {
        self.dir.path().join("db")
    }

    /// What etcd answered for HashKV: revision asked, and the fields of the reply.
    pub(crate) fn hashes(&self) -> Vec<(i64, serde_json::Value)> {
        let text = self.read("hashkv.txt");
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let parsed = lines.map(|(revision, reply)| {
            let reply = serde_json::from_str(reply).expect("JSON");
            (revision.parse().expect("a revision"), reply)
        });
        parsed.collect()
    }

    /// All keys at the end, as etcd's gateway gave them.
    pub(crate) fn range(&self) -> serde_json::Value {
        serde_json::from_str(&self.read("range.json")).expect("JSON")
    }

    /// What it was asked and what it answered: path, body, status, reply.
    pub(crate) fn requests(&self) -> Vec<serde_json::Value> {
        serde_json::from_str(&self.read("requests.json")).expect("JSON")
    }

    fn read(&self, suffix: &str) -> String {
        let path = self.dir.path().join(format!("{}.{suffix}", self.name));
        std::fs::read_to_string(path).expect("part of the fixture")
    }
}

fn archive() -> PathBuf {
    const NAME: &str = "etcd-data.tar.gz";
    match std::env::var_os("PINTLE_FIXTURES") {
        Some(dir) => Path::new(&dir).join(NAME),
        None => {
            let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
            workspace.join("../shared/fixtures").join(NAME)
        }
    }
}

/// As the gateway writes bytes.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const SYMBOLS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let symbol = (bits >> (18 - 6 * place)) & 63;
            text.push(if place <= chunk.len() { SYMBOLS[symbol as usize].into() } else { '=' });
        }
    }
    text
}
