//! Where the binaries are: ours, etcd's, and the tools of both.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A server under test or to compare with.
#[derive(Debug, Clone)]
pub struct Server {
    /// What it is called in messages.
    pub name: &'static str,
    /// Its binary.
    pub path: PathBuf,
}

impl Server {
    /// Our server: `$PINTLE_BIN`, or the one that is built now beside the running test.
    pub fn pintle() -> Option<Self> {
        static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
        let path = BUILT.get_or_init(|| match std::env::var_os("PINTLE_BIN") {
            Some(path) => Some(PathBuf::from(path)),
            None => Some(build_pintle()).filter(|path| serves(path)),
        });
        or_skip("pintle", path.clone()).map(|path| Self { name: "pintle", path })
    }

    /// etcd 3.7.1, the one to be equal to.
    pub fn etcd() -> Option<Self> {
        peer("etcd").map(|path| Self { name: "etcd", path })
    }

    /// The newest etcd 3.6, which can be in one cluster with 3.7: `$PINTLE_PEER_3_6`, or where
    /// `.ci/run` builds it.
    pub fn etcd_3_6() -> Option<Self> {
        Self::older("etcd-3.6", "PINTLE_PEER_3_6", "bin-3.6.16")
    }

    /// The newest etcd 3.5, which a member of 3.7 can join too: `$PINTLE_PEER_3_5`, or where
    /// `.ci/run` builds it.
    pub fn etcd_3_5() -> Option<Self> {
        Self::older("etcd-3.5", "PINTLE_PEER_3_5", "bin-3.5.35")
    }

    fn older(name: &'static str, variable: &str, folder: &str) -> Option<Self> {
        let path = match std::env::var_os(variable) {
            Some(path) => PathBuf::from(path),
            None => root().join("target/peers").join(folder).join("etcd"),
        };
        or_skip(name, path.is_file().then_some(path)).map(|path| Self { name, path })
    }

    /// What we test and what we compare it with.
    pub fn both() -> Option<(Self, Self)> {
        Some((Self::pintle()?, Self::etcd()?))
    }
}

/// A program of etcd, or bbolt: in `$PINTLE_PEERS`, or where `.ci/run` builds them.
pub fn peer(name: &str) -> Option<PathBuf> {
    let folder = match std::env::var_os("PINTLE_PEERS") {
        Some(folder) => PathBuf::from(folder),
        None => root().join("target/peers/bin-3.7.1"),
    };
    let path = folder.join(name);
    or_skip(&format!("{name} of the peers"), path.is_file().then_some(path))
}

/// A program of Kubernetes, or a client of it: in `$PINTLE_KUBERNETES`, or where `.ci/run` builds
/// them.
pub fn kubernetes(name: &str) -> Option<PathBuf> {
    let folder = match std::env::var_os("PINTLE_KUBERNETES") {
        Some(folder) => PathBuf::from(folder),
        None => root().join("target/peers/kubernetes-1.37.2"),
    };
    let path = folder.join(name);
    or_skip(&format!("{name} of Kubernetes"), path.is_file().then_some(path))
}

/// The distribution's etcdctl (3.4 in Debian), or whatever the `PATH` has by this name.
pub fn in_path(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join(name));
    or_skip(&format!("{name} in the PATH"), found.into_iter().find(|path| path.is_file()))
}

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn or_skip<T>(what: &str, found: Option<T>) -> Option<T> {
    if found.is_none() {
        eprintln!("skipped: {what} is not here");
    }
    found
}

/// Builds in the folder and profile of the running test, which takes a blink if all is built.
fn build_pintle() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    // target/<profile>/deps/e2e-<hash>
    let profile = test.ancestors().nth(2).expect("cargo puts tests into <profile>/deps");
    let target = profile.parent().expect("a profile is in a target folder");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "-p", "pintle", "--target-dir"]).arg(target);
    match profile.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => {}
        Some(name) => {
            command.args(["--profile", name]);
        }
    }
    let status = command.current_dir(root()).status().expect("cargo can be started");
    assert!(status.success(), "cargo build -p pintle: {status}");
    profile.join("pintle")
}

/// Whether it is a server already: one says which version it is.
fn serves(path: &Path) -> bool {
    Command::new(path).arg("--version").output().is_ok_and(|output| !output.stdout.is_empty())
}
